//! Which of our addresses a BFD session sends from. It is one of the peer's interface, in the peer's network (RFC 5881
//! section 6), and where there is a choice the one of the BGP session over the path: the peer's BFD expects no other.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use l34_bfd::SessionKey;
use l34_bgp::config::PeerKey;
use l34_kernel::LinkView;

/// The addresses in use. A choice stays as it is while it can: a new address in the same network moves no session.
#[derive(Debug, Default)]
pub(crate) struct BfdSources {
    /// Our address of each Established BGP session.
    sessions: BTreeMap<PeerKey, IpAddr>,
    /// The last choice for each BFD session.
    chosen: BTreeMap<SessionKey, IpAddr>,
}

impl BfdSources {
    /// A BGP session is Established from this address of ours, or is over.
    pub(crate) fn session(&mut self, peer: PeerKey, local: Option<IpAddr>) {
        match local {
            Some(local) => self.sessions.insert(peer, local),
            None => self.sessions.remove(&peer),
        };
    }

    /// The address for a BFD session on the interface as it is now; nothing while the interface has none that fits.
    /// `kernel_choice` says from which address the kernel would send; it is asked only where there are several.
    pub(crate) fn choose(
        &mut self,
        path: &SessionKey,
        link: Option<&LinkView>,
        kernel_choice: impl FnOnce() -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let link = link?;
        let over_path = |peer: &PeerKey| {
            peer.address == path.remote && peer.interface.as_deref() == Some(path.interface.as_str())
        };
        let of_sessions = self.sessions.iter().filter(|(peer, _)| over_path(peer)).map(|(_, local)| *local);
        // One that has been taken off the interface goes on for a while in TCP, but nothing can be sent from it.
        let of_sessions: Vec<IpAddr> = of_sessions.filter(|local| link.addresses.contains(local)).collect();
        let fitting = in_network_of(path.remote, link);
        let current = self.chosen.get(path).copied();
        let choice = current
            .filter(|current| of_sessions.contains(current))
            .or_else(|| of_sessions.first().copied())
            .or_else(|| current.filter(|current| fitting.contains(current)))
            .or_else(|| match fitting.as_slice() {
                [] => None,
                [only] => Some(*only),
                [first, ..] => Some(kernel_choice().filter(|own| fitting.contains(own)).unwrap_or(*first)),
            })?;
        self.chosen.insert(path.clone(), choice);
        Some(choice)
    }

    /// Forgets the choices for BFD sessions that are no longer wanted.
    pub(crate) fn keep_only(&mut self, wanted: impl Fn(&SessionKey) -> bool) {
        self.chosen.retain(|path, _| wanted(path));
    }
}

/// The interface's own addresses in the narrowest on-link prefix that has the peer and any of them. Where none has, as
/// with a /32 and an on-link route to the peer, all those of the peer's family and scope; none for a peer that is not on
/// link.
fn in_network_of(peer: IpAddr, link: &LinkView) -> Vec<IpAddr> {
    let fits = |own: &&IpAddr| own.is_ipv4() == peer.is_ipv4() && is_link_local(own) == is_link_local(&peer);
    let own: Vec<IpAddr> = link.addresses.iter().filter(fits).copied().collect();
    let mut networks: Vec<_> = link.on_link.iter().filter(|network| network.contains(&peer)).collect();
    if networks.is_empty() {
        return Vec::new();
    }
    networks.sort_by_key(|network| Reverse(network.prefix_len()));
    let within = networks
        .into_iter()
        .map(|network| own.iter().copied().filter(|own| network.contains(own)).collect::<Vec<_>>());
    within.into_iter().find(|within| !within.is_empty()).unwrap_or(own)
}

/// IPv4 link-local addresses are like any others here: the example's network is of them.
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(addresses: &[&str], on_link: &[&str]) -> LinkView {
        LinkView {
            name: "net1".into(),
            index: 2,
            up: true,
            carrier: true,
            mtu: 1500,
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            on_link: on_link.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        }
    }

    fn path(remote: &str) -> SessionKey {
        SessionKey { remote: ip(remote), interface: "net1".into() }
    }

    fn peer(remote: &str, interface: &str, local_port: u16) -> PeerKey {
        PeerKey { address: ip(remote), interface: Some(interface.into()), local_port }
    }

    /// Chooses where the kernel has nothing to say.
    fn choose(sources: &mut BfdSources, remote: &str, link: &LinkView) -> Option<String> {
        sources.choose(&path(remote), Some(link), || None).map(|local| local.to_string())
    }

    #[test]
    fn the_address_is_of_the_peers_interface_and_in_the_peers_network() {
        type Row = (&'static str, &'static [&'static str], &'static [&'static str], Option<&'static str>);
        #[rustfmt::skip]
        let table: [Row; 11] = [
            // (peer, own addresses, on link, choice)
            ("10.0.0.150", &[], &[], None),
            ("10.0.0.150", &["2001:db8::2", "fe80::2"], &["2001:db8::/64", "fe80::/64"], None),
            ("10.0.0.150", &["10.0.0.2"], &["10.0.0.0/24"], Some("10.0.0.2")),
            ("10.0.0.150", &["10.0.1.2", "192.0.2.9"], &["10.0.1.0/24", "10.0.0.0/24", "192.0.2.0/24"], Some("10.0.1.2")),
            ("10.0.0.150", &["10.0.0.1", "10.9.0.2"], &["10.0.0.0/8", "10.0.0.128/25"], Some("10.0.0.1")),
            ("10.0.0.150", &["10.0.0.1", "10.0.0.200"], &["10.0.0.0/8", "10.0.0.128/25"], Some("10.0.0.200")),
            // A cloud's /32 with an on-link route.
            ("10.0.0.150", &["172.16.0.9"], &["10.0.0.150/32"], Some("172.16.0.9")),
            ("2001:db8::150", &["fe80::2"], &["2001:db8::/64", "fe80::/64"], None),
            ("2001:db8::150", &["fe80::2", "2001:db8::2"], &["2001:db8::/64", "fe80::/64"], Some("2001:db8::2")),
            ("fe80::150", &["2001:db8::2"], &["2001:db8::/64"], None),
            ("fe80::150", &["2001:db8::2", "fe80::2"], &["2001:db8::/64", "fe80::/64"], Some("fe80::2")),
        ];
        for (peer, addresses, on_link, wanted) in table {
            let chosen = choose(&mut BfdSources::default(), peer, &link(addresses, on_link));
            assert_eq!(chosen.as_deref(), wanted, "{peer} from {addresses:?}, on link {on_link:?}");
        }
        let missing = BfdSources::default().choose(&path("10.0.0.150"), None, || Some(ip("10.0.0.2")));
        assert_eq!(missing, None, "the interface does not exist");
    }

    #[test]
    fn of_several_the_kernels_choice_counts_if_it_fits() {
        let net1 = link(&["10.0.0.2", "10.0.0.9", "192.0.2.2"], &["10.0.0.0/24", "192.0.2.0/24"]);
        for (kernel, wanted) in
            [(Some("10.0.0.9"), "10.0.0.9"), (Some("192.0.2.2"), "10.0.0.2"), (None, "10.0.0.2")]
        {
            let asked = || kernel.map(ip);
            let chosen = BfdSources::default().choose(&path("10.0.0.150"), Some(&net1), asked);
            assert_eq!(chosen, Some(ip(wanted)), "the kernel says {kernel:?}");
        }
    }

    #[test]
    fn a_choice_stays_until_its_address_goes() {
        let sources = &mut BfdSources::default();
        let net = &["10.0.0.0/24"];
        let mut steps = [
            (link(&["10.0.0.5"], net), Some("10.0.0.5")),
            (link(&["10.0.0.2", "10.0.0.5"], net), Some("10.0.0.5")),
            (link(&["10.0.0.2"], net), Some("10.0.0.2")),
            (link(&[], &[]), None),
            (link(&["10.0.0.1", "10.0.0.2"], net), Some("10.0.0.2")),
        ]
        .into_iter();
        assert!(steps.all(|(link, wanted)| choose(sources, "10.0.0.150", &link).as_deref() == wanted));
    }

    #[test]
    fn the_bgp_sessions_own_address_comes_first_while_it_is_on_the_interface() {
        let sources = &mut BfdSources::default();
        let both = link(&["10.0.0.2", "10.0.0.9"], &["10.0.0.0/24"]);
        assert_eq!(choose(sources, "10.0.0.150", &both).as_deref(), Some("10.0.0.2"));
        sources.session(peer("10.0.0.151", "net1", 179), Some(ip("10.0.0.9")));
        sources.session(peer("10.0.0.150", "net2", 179), Some(ip("10.0.0.9")));
        assert_eq!(choose(sources, "10.0.0.150", &both).as_deref(), Some("10.0.0.2"), "other paths");
        sources.session(peer("10.0.0.150", "net1", 179), Some(ip("10.0.0.9")));
        assert_eq!(choose(sources, "10.0.0.150", &both).as_deref(), Some("10.0.0.9"));
        sources.session(peer("10.0.0.150", "net1", 178), Some(ip("10.0.0.2")));
        assert_eq!(choose(sources, "10.0.0.150", &both).as_deref(), Some("10.0.0.9"), "either; it stays");
        sources.session(peer("10.0.0.150", "net1", 178), None);
        let one = link(&["10.0.0.2"], &["10.0.0.0/24"]);
        assert_eq!(choose(sources, "10.0.0.150", &one).as_deref(), Some("10.0.0.2"), "it was removed");
        sources.session(peer("10.0.0.150", "net1", 179), None);
        assert_eq!(choose(sources, "10.0.0.150", &both).as_deref(), Some("10.0.0.2"));
    }
}
