//! As much of BGP-4 as a peer in a benchmark needs: IPv4 unicast, four-octet AS numbers, messages up to 4096 octets.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Octets of a message header (RFC 4271 section 4.1).
pub(crate) const HEADER: usize = 19;
/// The longest message (RFC 4271 section 4.1).
pub(crate) const LONGEST: usize = 4096;

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;

/// A prefix takes at most its length and four octets.
const LONGEST_PREFIX: usize = 5;

/// The AS number of two octets that stands for one of four (RFC 6793).
const AS_TRANS: u16 = 23456;

/// Path attributes of an announcement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) as_path: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) communities: Vec<u32>,
    pub(crate) large_communities: Vec<[u32; 3]>,
}

/// An OPEN with the capabilities for IPv4 unicast, route refresh and four-octet AS numbers.
pub(crate) fn open(local_as: u32, hold_time_s: u16, id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    capabilities.extend(local_as.to_be_bytes());
    let mut body = vec![4];
    body.extend(u16::try_from(local_as).unwrap_or(AS_TRANS).to_be_bytes());
    body.extend(hold_time_s.to_be_bytes());
    body.extend(id.octets());
    let length = capabilities.len() as u8;
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    let mut out = Vec::new();
    message(&mut out, OPEN, |out| out.extend(body));
    out
}

pub(crate) fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, KEEPALIVE, |_| {});
    out
}

/// Appends as many UPDATEs as the prefixes need, all with the same attributes. Returns how many.
pub(crate) fn announce(
    out: &mut Vec<u8>,
    attributes: &Attributes,
    next_hop: Ipv4Addr,
    prefixes: &[Ipv4Net],
) -> usize {
    let attributes = attributes.encode(next_hop);
    let room = LONGEST - HEADER - 4 - attributes.len();
    let batches = prefixes.chunks(room / LONGEST_PREFIX);
    let count = batches.len();
    for batch in batches {
        message(out, UPDATE, |out| {
            out.extend([0, 0]);
            out.extend((attributes.len() as u16).to_be_bytes());
            out.extend(&attributes);
            batch.iter().for_each(|prefix| put_prefix(out, *prefix));
        });
    }
    count
}

/// Appends one UPDATE that withdraws one prefix.
pub(crate) fn withdraw(out: &mut Vec<u8>, prefix: Ipv4Net) {
    message(out, UPDATE, |out| {
        let mut withdrawn = Vec::new();
        put_prefix(&mut withdrawn, prefix);
        out.extend((withdrawn.len() as u16).to_be_bytes());
        out.extend(withdrawn);
        out.extend([0, 0]);
    });
}

pub(crate) fn end_of_rib(out: &mut Vec<u8>) {
    message(out, UPDATE, |out| out.extend([0; 4]));
}

impl Attributes {
    fn encode(&self, next_hop: Ipv4Addr) -> Vec<u8> {
        let mut out = Vec::new();
        attribute(&mut out, 0x40, 1, [0]);
        let path = self.as_path.iter().flat_map(|number| number.to_be_bytes());
        attribute(&mut out, 0x40, 2, [2, self.as_path.len() as u8].into_iter().chain(path));
        attribute(&mut out, 0x40, 3, next_hop.octets());
        if let Some(med) = self.med {
            attribute(&mut out, 0x80, 4, med.to_be_bytes());
        }
        if !self.communities.is_empty() {
            attribute(&mut out, 0xc0, 8, self.communities.iter().flat_map(|value| value.to_be_bytes()));
        }
        if !self.large_communities.is_empty() {
            let words = self.large_communities.iter().flatten();
            attribute(&mut out, 0xc0, 32, words.flat_map(|value| value.to_be_bytes()));
        }
        out
    }
}

/// What one UPDATE says.
#[derive(Debug)]
pub(crate) struct Update<'a> {
    withdrawn: &'a [u8],
    announced: &'a [u8],
    attributes: &'a [u8],
}

/// The attributes of a received UPDATE that tell whose route it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pub(crate) as_path: Vec<u32>,
    pub(crate) next_hop: Ipv4Addr,
}

impl<'a> Update<'a> {
    /// Splits the body of an UPDATE, what follows the header.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, &'static str> {
        let (withdrawn, rest) = counted(body).ok_or("withdrawn routes longer than the message")?;
        let (attributes, announced) = counted(rest).ok_or("path attributes longer than the message")?;
        Ok(Update { withdrawn, announced, attributes })
    }

    /// The End-of-RIB marker of IPv4 unicast (RFC 4724 section 2).
    pub(crate) fn is_end_of_rib(&self) -> bool {
        self.withdrawn.is_empty() && self.attributes.is_empty() && self.announced.is_empty()
    }

    pub(crate) fn withdrawn(&self) -> impl Iterator<Item = Result<Ipv4Net, &'static str>> + use<'a> {
        Prefixes(self.withdrawn)
    }

    pub(crate) fn announced(&self) -> impl Iterator<Item = Result<Ipv4Net, &'static str>> + use<'a> {
        Prefixes(self.announced)
    }

    /// The path of the announced prefixes; none if there are no such. Checks what an external peer may rely on: the
    /// mandatory attributes once each, and no LOCAL_PREF (RFC 4271 section 5).
    pub(crate) fn path(&self) -> Result<Option<Path>, &'static str> {
        if self.announced.is_empty() {
            return Ok(None);
        }
        let (mut origin, mut as_path, mut next_hop) = (None, None, None);
        let mut rest = self.attributes;
        while let [flags, code, tail @ ..] = rest {
            let (value, tail) = if flags & 0x10 != 0 { counted(tail) } else { counted_by_octet(tail) }
                .ok_or("attribute longer than the message")?;
            rest = tail;
            let again = match code {
                1 => origin.replace(value).is_some(),
                2 => as_path.replace(value).is_some(),
                3 => next_hop.replace(value).is_some(),
                5 => return Err("LOCAL_PREF sent to an external peer"),
                14 | 15 => return Err("multiprotocol attribute in a session without it"),
                _ => false,
            };
            if again {
                return Err("attribute that stands twice");
            }
        }
        if !rest.is_empty() {
            return Err("attributes that end in the middle of one");
        }
        origin.ok_or("no ORIGIN")?;
        let as_path = sequence(as_path.ok_or("no AS_PATH")?).ok_or("AS_PATH that is not one AS_SEQUENCE")?;
        let next_hop = next_hop.ok_or("no NEXT_HOP")?;
        let next_hop = <[u8; 4]>::try_from(next_hop).map_err(|_| "NEXT_HOP that is not four octets")?;
        Ok(Some(Path { as_path, next_hop: next_hop.into() }))
    }
}

/// Prefixes as RFC 4271 section 4.3 encodes them.
struct Prefixes<'a>(&'a [u8]);

impl Iterator for Prefixes<'_> {
    type Item = Result<Ipv4Net, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first()?;
        let octets = usize::from(length.div_ceil(8));
        let Some((network, rest)) = rest.split_at_checked(octets).filter(|_| octets <= 4) else {
            self.0 = &[];
            return Some(Err("prefix longer than the message or than 32 bits"));
        };
        self.0 = rest;
        let mut address = [0; 4];
        address[..octets].copy_from_slice(network);
        Some(Ipv4Net::new(address.into(), *length).map_err(|_| "prefix longer than 32 bits"))
    }
}

fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0xff; 16]);
    out.extend([0, 0, kind]);
    body(out);
    let length = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

fn attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: impl IntoIterator<Item = u8>) {
    out.extend([flags, code, 0]);
    let start = out.len();
    out.extend(value);
    out[start - 1] = (out.len() - start) as u8;
}

fn put_prefix(out: &mut Vec<u8>, prefix: Ipv4Net) {
    out.push(prefix.prefix_len());
    out.extend(&prefix.network().octets()[..usize::from(prefix.prefix_len().div_ceil(8))]);
}

fn sequence(value: &[u8]) -> Option<Vec<u32>> {
    let (&[kind, count], numbers) = value.split_first_chunk::<2>()?;
    let (numbers, rest) = numbers.as_chunks::<4>();
    let whole = kind == 2 && usize::from(count) == numbers.len() && rest.is_empty();
    whole.then(|| numbers.iter().map(|number| u32::from_be_bytes(*number)).collect())
}

fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn counted_by_octet(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut bodies = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            assert!((HEADER..=LONGEST).contains(&length));
            bodies.push(&bytes[HEADER..length]);
            bytes = &bytes[length..];
        }
        bodies
    }

    #[test]
    fn what_is_announced_is_read_back() {
        let prefixes: Vec<Ipv4Net> =
            (0..3000).map(|n| Ipv4Net::new_assert((0x1400_0000 + n).into(), 32)).collect();
        let attributes = Attributes {
            as_path: vec![65201, 7, 200_000],
            med: Some(5),
            communities: vec![7],
            large_communities: vec![[1, 2, 3]],
        };
        let next_hop = Ipv4Addr::new(10, 0, 0, 1);
        let mut out = Vec::new();
        let count = announce(&mut out, &attributes, next_hop, &prefixes);
        let bodies = bodies(&out);
        assert_eq!(bodies.len(), count);
        let mut read = Vec::new();
        for body in bodies {
            let update = Update::parse(body).unwrap();
            assert_eq!(
                update.path(),
                Ok(Some(Path { as_path: attributes.as_path.clone(), next_hop })),
                "every UPDATE has the path"
            );
            read.extend(update.announced().map(Result::unwrap));
        }
        assert_eq!(read, prefixes);
    }

    #[test]
    fn a_withdraw_and_the_end_of_rib_are_read_back() {
        let prefix: Ipv4Net = "16.32.0.0/13".parse().unwrap();
        let mut out = Vec::new();
        withdraw(&mut out, prefix);
        end_of_rib(&mut out);
        let bodies = bodies(&out);
        let update = Update::parse(bodies[0]).unwrap();
        assert_eq!(update.withdrawn().collect::<Vec<_>>(), [Ok(prefix)]);
        assert_eq!(update.path(), Ok(None));
        assert!(Update::parse(bodies[1]).unwrap().is_end_of_rib());
    }

    #[test]
    fn a_damaged_update_is_refused_and_never_panics() {
        let mut out = Vec::new();
        let attributes = Attributes { as_path: vec![1], ..Attributes::default() };
        announce(&mut out, &attributes, Ipv4Addr::LOCALHOST, &["20.0.0.1/32".parse().unwrap()]);
        let whole = bodies(&out)[0].to_vec();
        for length in 0..whole.len() {
            let cut = &whole[..length];
            let read = Update::parse(cut).and_then(|update| {
                update.path()?;
                update.announced().collect::<Result<Vec<_>, _>>()
            });
            assert!(read.is_err() || read == Ok(Vec::new()), "{length} of {} octets: {read:?}", whole.len());
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Ok(update) = Update::parse(&damaged) {
                let _ = (update.path(), update.announced().count(), update.withdrawn().count());
            }
        }
    }
}
