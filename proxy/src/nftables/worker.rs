//! The thread that owns the tables: carries out snapshots, hears of changes by others and repairs them, and
//! removes stale flows.
#![allow(clippy::disallowed_methods, reason = "the driver is where the clock is read")]

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attr::TABLE_NAME;
use super::conntrack::Conntrack;
use super::handle::{End, Shared};
use super::wait::wait;
use super::{Nftables, protocol_family};
use crate::TABLE;
use crate::netlink::{Socket, attribute, messages, string};
use crate::plane::{Status, VipStatus};
use crate::service::{Family, Protocol, Snapshot};
use crate::skeleton::Mode;
use crate::table::VipChange;

/// What the thread owns.
pub(super) struct Worker {
    shared: Arc<Shared>,
    nftables: Nftables,
    watch: Socket,
    conntrack: Option<Conntrack>,
    wanted: Arc<Snapshot>,
    /// Number of `wanted`; 0 before the first, when nothing is to be done.
    generation: u64,
    /// The snapshot that is in place as a whole, if the kernel is known to have it.
    in_place: Option<Arc<Snapshot>>,
    status: Status,
    /// VIPs that went lately, until no packet on its way can make a flow to them.
    former: BTreeSet<IpAddr>,
    due: Due,
}

/// What is to be done when.
struct Due {
    /// Bring the kernel to what is wanted.
    apply: Option<Instant>,
    /// Look for stale flows.
    flows: Instant,
    /// Whether to look once more soon: a packet that saw the old table may make its entry after we looked.
    flows_again: bool,
    /// There was a change before the last look.
    change_is_old: bool,
    last_repair: Option<Instant>,
    last_flows: Option<Instant>,
    backoff: Duration,
}

impl Worker {
    /// Opens what the thread needs, in the network namespace of the calling thread.
    pub(super) fn open(mode: Mode, shared: Arc<Shared>) -> io::Result<Self> {
        let nftables = Nftables::open(mode)?;
        // Subscribed before anything is read: no change can fall in between.
        let watch = nftables.watch()?;
        let conntrack = match mode {
            Mode::Services | Mode::ServicesBesideOthers => Some(Conntrack::open()?),
            Mode::MarksOnly => None,
        };
        let due = Due {
            apply: None,
            flows: Instant::now(),
            flows_again: false,
            change_is_old: false,
            last_repair: None,
            last_flows: None,
            backoff: RETRY_FIRST,
        };
        Ok(Worker {
            shared,
            nftables,
            watch,
            conntrack,
            wanted: Arc::default(),
            generation: 0,
            in_place: None,
            status: Status::default(),
            former: BTreeSet::new(),
            due,
        })
    }

    /// Works until told to end.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            let timeout = self.poll_timeout().saturating_duration_since(Instant::now());
            wait([self.shared.wake(), &self.watch], timeout)?;
            let now = Instant::now();
            let inbox = self.shared.take();
            if let Some(wanted) = inbox.wanted {
                (self.wanted, self.generation) = (wanted, inbox.generation);
                self.due.apply = Some(now);
            }
            match inbox.end {
                Some(End::Leave) => return Ok(()),
                Some(End::Remove) => return self.nftables.remove_all(),
                None => {}
            }
            if self.someone_changed_our_table() && self.generation > 0 {
                self.nftables.forget();
                self.in_place = None;
                let earliest = self.due.last_repair.map_or(now, |last| last + REPAIR_GAP);
                self.due.apply.get_or_insert(earliest.max(now));
            }
            self.handle_timeout(now);
        }
    }

    fn poll_timeout(&self) -> Instant {
        self.due.apply.map_or(self.due.flows, |apply| apply.min(self.due.flows))
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.due.apply.is_some_and(|due| due <= now) {
            self.due.apply = None;
            self.apply(now);
        }
        if self.due.flows <= now {
            self.delete_stale_flows(now);
        }
    }

    fn apply(&mut self, now: Instant) {
        let was_in_place = self.in_place.take();
        let only = was_in_place.as_ref().map(|before| self.wanted.changed_vips(before));
        let repairing = was_in_place.is_none() && self.status.generation == self.generation;
        let (status, former, shared) = (&mut self.status, &mut self.former, &self.shared);
        let outcome = self.nftables.apply(&self.wanted, only.as_ref(), |nftables, changes| {
            note_progress(nftables, changes, status, former);
            shared.publish(status);
        });
        match outcome {
            Ok(applied) => {
                self.in_place = Some(self.wanted.clone());
                self.status.generation = self.generation;
                self.status.problem = None;
                self.due.backoff = RETRY_FIRST;
                if applied.changes + applied.replaced > 0 {
                    self.look_at_flows_soon(now);
                    if repairing {
                        self.status.repairs += 1;
                        self.due.last_repair = Some(now);
                        tracing::warn!("nftables table was changed by someone else and is repaired");
                    }
                }
            }
            Err(error) => {
                let problem = error.to_string();
                if self.status.problem.as_ref() != Some(&problem) {
                    tracing::error!(%error, "service data plane");
                }
                self.status.problem = Some(problem);
                self.due.apply = Some(now + self.due.backoff);
                self.due.backoff = (self.due.backoff * 2).min(RETRY_LAST);
            }
        }
        self.shared.publish(&self.status);
    }

    fn look_at_flows_soon(&mut self, now: Instant) {
        let earliest = self.due.last_flows.map_or(now, |last| last + FLOWS_GAP);
        self.due.flows = self.due.flows.min(earliest.max(now));
        self.due.flows_again = true;
    }

    fn delete_stale_flows(&mut self, now: Instant) {
        self.due.last_flows = Some(now);
        self.due.flows = now + FLOWS_PERIOD;
        let Some(conntrack) = self.conntrack.as_mut().filter(|_| self.in_place.is_some()) else { return };
        // Who was called a moment ago may answer yet, and TCP has many entries: it is looked at a while after a change.
        let protocols: &[Protocol] = match self.due.change_is_old {
            true => &[Protocol::Udp, Protocol::Sctp, Protocol::Tcp],
            false => &[Protocol::Udp, Protocol::Sctp],
        };
        match conntrack.delete_stale(protocols, self.nftables.tables(), &self.former) {
            Ok(0) => {}
            Ok(deleted) => {
                self.status.stale_flows_deleted += deleted;
                self.shared.publish(&self.status);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot remove stale flows");
                return;
            }
        }
        self.due.change_is_old = std::mem::take(&mut self.due.flows_again);
        if self.due.change_is_old {
            self.due.flows = now + FLOWS_GAP;
        } else {
            self.former.clear();
        }
    }

    /// Reads what the watch has heard.
    fn someone_changed_our_table(&mut self) -> bool {
        let mut changed = false;
        loop {
            match self.watch.receive() {
                Ok(Some(bytes)) => {
                    changed |=
                        messages(bytes).any(|message| is_about_us(message.kind, message.family, message.body))
                }
                Ok(None) => return changed,
                // Something was lost; it may have been about us.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => return true,
            }
        }
    }
}

/// Brings the status up to date with what was acknowledged. After an adoption, which names no VIPs, all are looked at.
fn note_progress(
    nftables: &Nftables,
    changes: &[VipChange],
    status: &mut Status,
    former: &mut BTreeSet<IpAddr>,
) {
    let adopted = nftables.tables().values().flat_map(|table| table.vips()).filter(|_| changes.is_empty());
    for vip in adopted.chain(changes.iter().map(|change| change.vip)) {
        let Some(table) = nftables.tables().get(&Family::of(&vip)) else { continue };
        let now = table.has_vip(vip).then(|| VipStatus { services: table.services_of(vip) });
        // The map is shared with whoever reads the status, and only copied if it has to change.
        if status.vips.get(&vip) == now.as_ref() {
            continue;
        }
        let vips = Arc::make_mut(&mut status.vips);
        match now {
            Some(now) => {
                vips.insert(vip, now);
                former.remove(&vip);
            }
            None => {
                vips.remove(&vip);
                former.insert(vip);
            }
        }
    }
}

/// Whether a notification is about one of our tables. All kinds name the table in the same attribute.
fn is_about_us(kind: u16, family: u8, body: &[u8]) -> bool {
    let new_generation = (libc::NFNL_SUBSYS_NFTABLES << 8 | libc::NFT_MSG_NEWGEN) as u16;
    kind != new_generation
        && Family::ALL.into_iter().any(|ours| protocol_family(ours) == family)
        && attribute(body, TABLE_NAME).and_then(string) == Some(TABLE)
}

/// Someone who changes our table again and again gets an answer only so often.
const REPAIR_GAP: Duration = Duration::from_millis(200);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Looking at all flows costs, so bursts of changes share a look.
const FLOWS_GAP: Duration = Duration::from_secs(1);
const FLOWS_PERIOD: Duration = Duration::from_secs(30);
