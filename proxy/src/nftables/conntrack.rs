//! Connection tracking over netlink: finds stale flows and deletes them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::expr::protocol_family;
use crate::flows::Flow;
use crate::netlink::{Head, Socket, Writer, attribute, number, path};
use crate::service::{Family, Protocol};
use crate::table::Table;

/// The connection tracking table of the network namespace of the thread that opened this.
#[derive(Debug)]
pub(super) struct Conntrack {
    socket: Socket,
}

/// What names an entry when it is to be deleted, as the kernel showed it.
struct Entry {
    original: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

impl Conntrack {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Conntrack { socket: Socket::open()? })
    }

    /// Deletes the flows of these protocols that are stale by the tables; returns how many.
    pub(super) fn delete_stale(
        &mut self,
        protocols: &[Protocol],
        tables: &BTreeMap<Family, Table>,
        former: &BTreeSet<IpAddr>,
    ) -> io::Result<u64> {
        let mut deleted = 0;
        for (family, table) in tables {
            for protocol in protocols {
                let stale = self.find(*family, *protocol, |flow| flow.is_stale(table, former))?;
                for some in stale.chunks(DELETIONS_AT_ONCE) {
                    self.delete(*family, some)?;
                }
                deleted += stale.len() as u64;
            }
        }
        Ok(deleted)
    }

    fn find(
        &mut self,
        family: Family,
        protocol: Protocol,
        wanted: impl Fn(&Flow) -> bool,
    ) -> io::Result<Vec<Entry>> {
        let mut request = Writer::default();
        request.message(head(family, IPCTNL_MSG_CT_GET, libc::NLM_F_DUMP), |writer| {
            // Spares us what is not asked for. Kernels before 5.8 show it all the same.
            writer.nest(CTA_TUPLE_ORIG, |writer| {
                writer.nest(CTA_TUPLE_PROTO, |writer| writer.attribute(CTA_PROTO_NUM, &[protocol.number()]));
            });
            writer.nest(CTA_FILTER, |writer| {
                writer.attribute(CTA_FILTER_ORIG_FLAGS, &FILTER_PROTO_NUM.to_ne_bytes());
                writer.attribute(CTA_FILTER_REPLY_FLAGS, &0_u32.to_ne_bytes());
            });
            if protocol == Protocol::Tcp {
                // There may be a million of others. Kernels before 5.18 show these as well.
                writer.attribute(CTA_STATUS, &0_u32.to_be_bytes());
                writer.attribute(CTA_STATUS_MASK, &IPS_SEEN_REPLY.to_be_bytes());
            }
        });
        let mut found = Vec::new();
        self.socket.ask(&request, |message| {
            if let Some(flow) = read_flow(message.body)
                && flow.protocol == protocol
                && wanted(&flow)
            {
                found.extend(read_entry(message.body));
            }
        })?;
        Ok(found)
    }

    fn delete(&mut self, family: Family, entries: &[Entry]) -> io::Result<()> {
        let mut requests = Writer::default();
        for entry in entries {
            requests.message(head(family, IPCTNL_MSG_CT_DELETE, 0), |writer| {
                writer.attribute(CTA_TUPLE_ORIG | libc::NLA_F_NESTED as u16, &entry.original);
                writer.attribute(CTA_ID, &entry.id);
                if let Some(zone) = &entry.zone {
                    writer.attribute(CTA_ZONE, zone);
                }
            });
        }
        match self.socket.ask(&requests, |_| {}) {
            // It timed out meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }
}

fn read_flow(body: &[u8]) -> Option<Flow> {
    let original = attribute(body, CTA_TUPLE_ORIG)?;
    let protocol = *path(original, &[CTA_TUPLE_PROTO, CTA_PROTO_NUM])?.first()?;
    Some(Flow {
        protocol: Protocol::from_number(protocol)?,
        called: read_end(original, [CTA_IP_V4_DST, CTA_IP_V6_DST], CTA_PROTO_DST_PORT)?,
        answers: read_end(
            attribute(body, CTA_TUPLE_REPLY)?,
            [CTA_IP_V4_SRC, CTA_IP_V6_SRC],
            CTA_PROTO_SRC_PORT,
        )?,
        mark: attribute(body, CTA_MARK).and_then(number).unwrap_or(0),
        replied: attribute(body, CTA_STATUS).and_then(number).is_none_or(|bits| bits & IPS_SEEN_REPLY != 0),
    })
}

/// One end of a tuple.
fn read_end(tuple: &[u8], [v4, v6]: [u16; 2], port: u16) -> Option<SocketAddr> {
    let addresses = attribute(tuple, CTA_TUPLE_IP)?;
    let ip = match attribute(addresses, v4) {
        Some(octets) => IpAddr::from(Ipv4Addr::from(*octets.first_chunk()?)),
        None => Ipv6Addr::from(*attribute(addresses, v6)?.first_chunk::<16>()?).into(),
    };
    let port = path(tuple, &[CTA_TUPLE_PROTO, port])?.first_chunk()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

fn read_entry(body: &[u8]) -> Option<Entry> {
    Some(Entry {
        original: attribute(body, CTA_TUPLE_ORIG)?.to_vec(),
        id: attribute(body, CTA_ID)?.to_vec(),
        zone: attribute(body, CTA_ZONE).map(<[u8]>::to_vec),
    })
}

fn head(family: Family, message: i32, flags: i32) -> Head {
    Head {
        kind: (libc::NFNL_SUBSYS_CTNETLINK << 8 | message) as u16,
        flags: flags as u16,
        family: protocol_family(family),
        resource: 0,
    }
}

const DELETIONS_AT_ONCE: usize = 1000;

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_GET: i32 = 1;
const IPCTNL_MSG_CT_DELETE: i32 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_MARK: u16 = 8;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
// linux/netfilter/nf_conntrack_common.h
const IPS_SEEN_REPLY: u32 = 1 << 1;
/// Compare the protocol number of the original direction; numbered in the kernel's nf_internals.h.
const FILTER_PROTO_NUM: u32 = 1 << 3;
