//! Attributes that are being read or changed.

use super::{AttrBuf, Attrs, NextHop, Origin, RawAttr, RawAttrs, code, flag, segment};

impl AttrBuf {
    /// Attributes of a route that originates here: ORIGIN IGP and an empty AS_PATH.
    pub fn local(next_hop: NextHop) -> AttrBuf {
        let mut attrs = AttrBuf::empty(next_hop);
        attrs.set_origin(Origin::Igp);
        attrs.set(flag::TRANSITIVE, code::AS_PATH, &[]);
        attrs
    }

    /// No attribute at all; the caller fills in what it has read.
    pub(crate) fn empty(next_hop: NextHop) -> AttrBuf {
        Attrs {
            origin: Origin::Igp,
            path_len: 0,
            neighbor_as: None,
            med: None,
            local_pref: None,
            next_hop,
            wire: Vec::new(),
        }
    }

    /// Takes the content of another set over, keeping this one's buffer.
    pub fn copy_from<B: AsRef<[u8]>>(&mut self, other: &Attrs<B>) {
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        wire.extend_from_slice(other.wire.as_ref());
        *self = Attrs {
            origin: other.origin,
            path_len: other.path_len,
            neighbor_as: other.neighbor_as,
            med: other.med,
            local_pref: other.local_pref,
            next_hop: other.next_hop,
            wire,
        };
    }

    /// Sets the next hop.
    pub fn set_next_hop(&mut self, next_hop: NextHop) {
        self.next_hop = next_hop;
    }

    /// Sets ORIGIN.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
        self.set(flag::TRANSITIVE, code::ORIGIN, &[origin as u8]);
    }

    /// Sets or removes MULTI_EXIT_DISC.
    pub fn set_med(&mut self, med: Option<u32>) {
        self.med = med;
        self.set_or_remove(flag::OPTIONAL, code::MULTI_EXIT_DISC, med);
    }

    /// Sets or removes LOCAL_PREF.
    pub fn set_local_pref(&mut self, local_pref: Option<u32>) {
        self.local_pref = local_pref;
        self.set_or_remove(flag::TRANSITIVE, code::LOCAL_PREF, local_pref);
    }

    /// Puts an AS in front of the path, `times` over (RFC 4271 section 5.1.2): into the leading AS_SEQUENCE while it
    /// has room, else into a new one.
    pub fn prepend(&mut self, asn: u32, times: u8) {
        if times == 0 {
            return;
        }
        let old = self.get(code::AS_PATH).unwrap_or_default();
        let mut path = Vec::with_capacity(old.len() + 2 + 4 * usize::from(times));
        let (room, rest) = match old {
            [segment::AS_SEQUENCE, count, rest @ ..] if *count <= u8::MAX - times => (*count, rest),
            _ => (0, old),
        };
        path.extend([segment::AS_SEQUENCE, room + times]);
        for _ in 0..times {
            path.extend(asn.to_be_bytes());
        }
        path.extend(rest);
        self.set(flag::TRANSITIVE, code::AS_PATH, &path);
        self.path_len = self.path_len.saturating_add(u16::from(times));
        self.neighbor_as = Some(asn);
    }

    /// Replaces the COMMUNITIES; none removes the attribute.
    pub fn set_communities(&mut self, communities: impl IntoIterator<Item = u32>) {
        let value: Vec<u8> = communities.into_iter().flat_map(u32::to_be_bytes).collect();
        self.set_list(code::COMMUNITIES, &value);
    }

    /// Adds a community, once.
    pub fn add_community(&mut self, community: u32) {
        let mut all: Vec<u32> = self.communities().collect();
        if !all.contains(&community) {
            all.push(community);
            self.set_communities(all);
        }
    }

    /// Replaces the large communities; none removes the attribute.
    pub fn set_large_communities(&mut self, communities: impl IntoIterator<Item = (u32, u32, u32)>) {
        let words = communities.into_iter().flat_map(|(global, one, two)| [global, one, two]);
        let value: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        self.set_list(code::LARGE_COMMUNITIES, &value);
    }

    /// Removes an attribute.
    pub fn remove(&mut self, code: u8) {
        if let Some((start, end)) = self.find(code) {
            self.wire.drain(start..end);
        }
    }

    /// Keeps the attributes for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(RawAttr<'_>) -> bool) {
        let mut at = 0;
        while let Some(attr) = RawAttrs(&self.wire[at..]).next() {
            let len = attr.value.len() + header_len(attr.value.len());
            if keep(attr) {
                at += len;
            } else {
                self.wire.drain(at..at + len);
            }
        }
    }

    /// Adds or replaces an attribute at its place in the order. The fields that repeat it are the caller's to keep.
    pub(crate) fn set(&mut self, flags: u8, code: u8, value: &[u8]) {
        let (start, end) = self.find(code).unwrap_or_else(|| {
            let at = self.insertion_point(code);
            (at, at)
        });
        let mut header = [flags, code, 0, 0];
        let header = if value.len() > 255 {
            header[0] |= flag::EXTENDED;
            header[2..].copy_from_slice(&(value.len() as u16).to_be_bytes());
            &header[..]
        } else {
            header[2] = value.len() as u8;
            &header[..3]
        };
        self.wire.splice(start..end, header.iter().chain(value).copied());
    }

    fn set_or_remove(&mut self, flags: u8, code: u8, value: Option<u32>) {
        match value {
            Some(value) => self.set(flags, code, &value.to_be_bytes()),
            None => self.remove(code),
        }
    }

    fn set_list(&mut self, code: u8, value: &[u8]) {
        if value.is_empty() {
            self.remove(code);
        } else {
            self.set(flag::OPTIONAL | flag::TRANSITIVE, code, value);
        }
    }

    fn find(&self, code: u8) -> Option<(usize, usize)> {
        let mut at = 0;
        self.iter().find_map(|attr| {
            let start = at;
            at += header_len(attr.value.len()) + attr.value.len();
            (attr.code == code).then_some((start, at))
        })
    }

    fn insertion_point(&self, code: u8) -> usize {
        let before = self.iter().take_while(|attr| attr.code < code);
        before.map(|attr| header_len(attr.value.len()) + attr.value.len()).sum()
    }
}

fn header_len(value_len: usize) -> usize {
    if value_len > 255 { 4 } else { 3 }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn buf() -> AttrBuf {
        AttrBuf::local(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1)))
    }

    #[test]
    fn attributes_stay_in_ascending_order_whatever_the_order_of_setting() {
        let mut attrs = buf();
        attrs.set_large_communities([(1, 2, 3)]);
        attrs.set_communities([0xffff_0000, 7]);
        attrs.set_local_pref(Some(200));
        attrs.set_med(Some(5));
        let codes: Vec<u8> = attrs.iter().map(|attr| attr.code).collect();
        assert_eq!(codes, [1, 2, 4, 5, 8, 32]);
        assert_eq!(attrs.communities().collect::<Vec<_>>(), [0xffff_0000, 7]);
        assert_eq!(attrs.large_communities().collect::<Vec<_>>(), [(1, 2, 3)]);
        attrs.set_med(None);
        attrs.set_communities([]);
        let codes: Vec<u8> = attrs.iter().map(|attr| attr.code).collect();
        assert_eq!(codes, [1, 2, 5, 32]);
    }

    #[test]
    fn prepending_opens_a_new_segment_when_the_first_is_full() {
        let mut attrs = buf();
        for _ in 0..256 {
            attrs.prepend(65001, 1);
        }
        attrs.prepend(65002, 3);
        let lens: Vec<usize> = attrs.as_path().segments().map(|s| s.asns().count()).collect();
        assert_eq!(lens, [4, 255]);
        assert_eq!((attrs.path_len(), attrs.neighbor_as()), (259, Some(65002)));
    }

    #[test]
    fn a_value_longer_than_255_octets_gets_the_extended_length_and_loses_it_again() {
        let mut attrs = buf();
        attrs.set_communities(0..100);
        assert_eq!(attrs.communities().count(), 100);
        let plain = attrs.clone();
        attrs.set_communities(0..2);
        assert_eq!(attrs.communities().count(), 2);
        assert!(plain != attrs);
        attrs.retain(|attr| attr.code != code::COMMUNITIES);
        assert!(attrs == buf());
    }
}
