//! The table in the kernel, over netlink. Needs CAP_NET_ADMIN in the network namespace, and no `nft` binary.

mod attr;
mod conntrack;
mod dump;
mod encode;
mod expr;
mod handle;
mod wait;
mod words;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use crate::TABLE;
use crate::netlink::{Socket, TransactError, Writer, attribute, path, string};
use crate::service::{Family, Snapshot};
use crate::skeleton::{Counter, Mode};
use crate::table::{Op, Table, VipChange};
use dump::Found;
use encode::Encoder;
use expr::protocol_family;

pub use handle::{Handle, spawn};

/// Kernel settings of the network namespace, beside forwarding, that the rules rely on: name and value. Setting them is
/// left to whoever starts the router.
///
/// - `fwmark_reflect`: the kernel looks for a route before our rules see what it sends of its own. With this, the answer
///   to a ping or a refusal takes over the mark of what it answers, and with it the learned routes; else it is not
///   sent at all where the main table has no route to the client.
/// - `nf_conntrack_tcp_be_liberal`: a late packet of a connection must not count as invalid. It would not be
///   translated back and meet the gateway's own TCP, which would reset the endpoint's connection.
pub const SYSCTLS: [(&str, &str); 3] = [
    ("net.ipv4.fwmark_reflect", "1"),
    ("net.ipv6.fwmark_reflect", "1"),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
];

/// Our tables in the network namespace of the thread that opened this.
///
/// Every call is carried out when it returns. [`Nftables::apply`] adopts at first what is found, changes only what is
/// different, and makes the tables anew in one transaction each if they are not as they should be.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    mode: Mode,
    /// Mirrors of the tables; absent until read.
    tables: BTreeMap<Family, Table>,
}

/// Why the kernel is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused to show the table.
    #[error("cannot read the nftables table of {0}: {words}", words = words::of_read(.1))]
    Read(Family, io::Error),
    /// The kernel refused a change; nothing of that change was done.
    #[error("cannot write the nftables table of {0}: {words}", words = words::of_write(.1))]
    Write(Family, io::Error),
}

/// What a call had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Number of element changes and shared chains made.
    pub changes: usize,
    /// Tables of ours that were not as they should be, and were made anew.
    pub replaced: usize,
}

impl Nftables {
    /// Opens the way to the kernel; touches nothing yet.
    ///
    /// # Errors
    /// The kernel has none; its missing option is named.
    pub fn open(mode: Mode) -> io::Result<Self> {
        let socket = Socket::open().map_err(words::of_open)?;
        Ok(Nftables { socket, mode, tables: BTreeMap::new() })
    }

    /// Brings the kernel to what is wanted. `progress` is called after each transaction that was acknowledged: what it
    /// was about is in place then, as [`Nftables::tables`] shows.
    ///
    /// Whoever knows that services changed for some VIPs alone since the last call, and that one was carried out, may
    /// say so with `only`: then it takes as long with many VIPs as with few.
    pub fn apply(
        &mut self,
        wanted: &Snapshot,
        only: Option<&BTreeSet<IpAddr>>,
        mut progress: impl FnMut(&Self, &[VipChange]),
    ) -> Result<Applied, ApplyError> {
        let reduced;
        let wanted = match self.mode {
            Mode::Services | Mode::ServicesBesideOthers => wanted,
            Mode::MarksOnly => {
                reduced = Snapshot { vips: wanted.vips.clone(), ..Snapshot::default() };
                &reduced
            }
        };
        let mut applied = Applied::default();
        let mut outcome = Ok(());
        for family in Family::ALL {
            let mut work =
                Work { nftables: self, family, wanted, progress: &mut progress, applied: &mut applied };
            // A family that the kernel does not have must not stop the other one.
            if let Err(error) = work.carry_out(only) {
                self.tables.remove(&family);
                let needless = wanted.vips_of(family).next().is_none();
                outcome = if needless && error.is_unsupported() { outcome } else { outcome.and(Err(error)) };
            }
        }
        outcome.map(|()| applied)
    }

    /// Makes the tables that are not there, empty: from then on nothing is forwarded but what the mode lets through, before
    /// anybody knows what is wanted. Tables that are there stay as they are.
    ///
    /// # Errors
    /// The kernel refused; a family that it does not have is no error.
    pub fn prepare(&mut self) -> Result<(), ApplyError> {
        let nothing = Snapshot::default();
        for family in Family::ALL {
            let found = dump::read(&mut self.socket, family, self.mode);
            let outcome = match found.map_err(|error| ApplyError::Read(family, error)) {
                Ok(Found::Nothing) => {
                    let (progress, applied) = (&mut |_: &Self, _: &[VipChange]| {}, &mut Applied::default());
                    let mut work = Work { nftables: self, family, wanted: &nothing, progress, applied };
                    work.replace(&nothing).map_err(|error| ApplyError::Write(family, error))
                }
                other => other.map(drop),
            };
            match outcome {
                Err(error) if !error.is_unsupported() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The tables as the kernel has acknowledged them.
    pub fn tables(&self) -> &BTreeMap<Family, Table> {
        &self.tables
    }

    /// Forgets what is known of the tables: they are read again when next something is applied.
    pub fn forget(&mut self) {
        self.tables.clear();
    }

    /// Deletes our tables. That they are not there is no error.
    pub fn remove_all(&mut self) -> io::Result<()> {
        self.tables.clear();
        for family in Family::ALL {
            let outcome = self.socket.transact(|writer| Encoder::new(writer, family).delete_table());
            match outcome {
                Ok(()) | Err(TransactError::OutOfStep(_)) => {}
                Err(TransactError::Io(error)) if is_unsupported(&error) => {}
                Err(TransactError::Io(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A socket that hears of changes to our tables by others.
    pub(crate) fn watch(&self) -> io::Result<Socket> {
        Socket::watch(&self.socket)
    }
}

/// Packets counted since the tables were made, both families together, in the network namespace of the calling thread.
/// Without our tables there are none.
pub fn counters() -> io::Result<BTreeMap<Counter, u64>> {
    let mut socket = Socket::open()?;
    let mut counters: BTreeMap<Counter, u64> = BTreeMap::new();
    for family in Family::ALL {
        let mut request = Writer::default();
        request.message(encode::head(family, libc::NFT_MSG_GETOBJ, libc::NLM_F_DUMP), |writer| {
            writer.string(attr::OBJ_TABLE, TABLE);
        });
        let answer = socket.ask(&request, |message| {
            if let Some((counter, packets)) = read_counter(message.body) {
                *counters.entry(counter).or_default() += packets;
            }
        });
        match answer {
            Err(error) if !is_unsupported(&error) && error.raw_os_error() != Some(libc::ENOENT) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(counters)
}

fn read_counter(body: &[u8]) -> Option<(Counter, u64)> {
    attribute(body, attr::OBJ_TABLE).and_then(string).filter(|table| *table == TABLE)?;
    let name = attribute(body, attr::OBJ_NAME).and_then(string)?;
    let counter = Counter::ALL.into_iter().find(|counter| counter.name() == name)?;
    let packets = path(body, &[attr::OBJ_DATA, attr::COUNTER_PACKETS])?.first_chunk()?;
    Some((counter, u64::from_be_bytes(*packets)))
}

/// Brings one table to what is wanted.
struct Work<'a, P> {
    nftables: &'a mut Nftables,
    family: Family,
    wanted: &'a Snapshot,
    progress: &'a mut P,
    applied: &'a mut Applied,
}

impl<P: FnMut(&Nftables, &[VipChange])> Work<'_, P> {
    fn carry_out(&mut self, only: Option<&BTreeSet<IpAddr>>) -> Result<(), ApplyError> {
        let mut only = only;
        if !self.nftables.tables.contains_key(&self.family) {
            self.adopt()?;
            only = None;
        }
        let outcome = match self.change(only) {
            Err(TransactError::OutOfStep(error)) => {
                tracing::warn!(family = %self.family, %error, "nftables table is made anew");
                self.applied.replaced += 1;
                self.replace(self.wanted)
            }
            other => other.map_err(TransactError::into),
        };
        outcome.map_err(|error| ApplyError::Write(self.family, error))
    }

    /// Takes the table that is there as ours, or makes it.
    fn adopt(&mut self) -> Result<(), ApplyError> {
        let found = dump::read(&mut self.nftables.socket, self.family, self.nftables.mode)
            .map_err(|error| ApplyError::Read(self.family, error))?;
        let outcome = match found {
            Found::Ours(table) => {
                self.nftables.tables.insert(self.family, table);
                (self.progress)(self.nftables, &[]);
                Ok(())
            }
            // Nothing is in use, so the empty table may come first and the rest VIP by VIP.
            Found::Nothing => self.replace(&Snapshot::default()),
            Found::Other(why) => {
                tracing::warn!(family = %self.family, %why, "nftables table is made anew");
                self.applied.replaced += 1;
                self.replace(self.wanted)
            }
        };
        outcome.map_err(|error| ApplyError::Write(self.family, error))
    }

    /// Makes the table with all its elements in one transaction, in the place of what is there.
    fn replace(&mut self, wanted: &Snapshot) -> io::Result<()> {
        let mut table = Table::new(self.family);
        let (outside, changes) = (table.diff_networks(wanted), table.diff(wanted));
        let (family, mode) = (self.family, self.nftables.mode);
        self.nftables.socket.transact(|writer| {
            let mut encoder = Encoder::new(writer, family);
            encoder.replace_table(mode);
            encoder.changes(all_ops(&outside, &changes));
        })?;
        table.record(all_ops(&outside, &changes));
        self.nftables.tables.insert(self.family, table);
        self.done(&outside, &changes);
        Ok(())
    }

    /// Changes what is different, some VIPs in each transaction.
    fn change(&mut self, only: Option<&BTreeSet<IpAddr>>) -> Result<(), TransactError> {
        let Some(table) = self.nftables.tables.get(&self.family) else { return Ok(()) };
        let mut outside = table.diff_networks(self.wanted);
        let changes = match only {
            None => table.diff(self.wanted),
            Some(vips) => table.diff_vips(self.wanted, vips.iter().copied()),
        };
        let mut rest = changes.as_slice();
        while !(outside.is_empty() && rest.is_empty()) {
            let (some, later) = rest.split_at(transaction_len(rest));
            let family = self.family;
            let changes = |writer: &mut Writer| Encoder::new(writer, family).changes(all_ops(&outside, some));
            self.nftables.socket.transact(changes)?;
            if let Some(table) = self.nftables.tables.get_mut(&self.family) {
                table.record(all_ops(&outside, some));
            }
            self.done(&outside, some);
            outside.clear();
            rest = later;
        }
        Ok(())
    }

    fn done(&mut self, outside: &[Op], changes: &[VipChange]) {
        self.applied.changes += all_ops(outside, changes).count();
        (self.progress)(self.nftables, changes);
    }
}

/// How many of the changes go into the next transaction: VIPs are in place sooner if they need not wait for all others,
/// and a transaction has its own cost.
fn transaction_len(changes: &[VipChange]) -> usize {
    let mut ops = 0;
    let fit = changes.iter().take_while(|change| {
        let fits = ops < OPS_PER_TRANSACTION;
        ops += change.ops.len();
        fits
    });
    fit.count()
}

fn all_ops<'a>(outside: &'a [Op], changes: &'a [VipChange]) -> impl Iterator<Item = &'a Op> {
    outside.iter().chain(changes.iter().flat_map(|change| &change.ops))
}

impl ApplyError {
    fn is_unsupported(&self) -> bool {
        let (ApplyError::Read(_, error) | ApplyError::Write(_, error)) = self;
        is_unsupported(error)
    }
}

/// Whether the kernel does not have the family at all.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP))
}

impl From<TransactError> for io::Error {
    fn from(error: TransactError) -> Self {
        let (TransactError::OutOfStep(error) | TransactError::Io(error)) = error;
        error
    }
}

const OPS_PER_TRANSACTION: usize = 4096;
