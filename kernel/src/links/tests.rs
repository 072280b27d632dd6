use super::*;
use crate::object::MainRoute;

fn address(ifindex: u32, local: &str, prefix: &str) -> Address {
    let (local, prefix) = (local.parse().unwrap(), prefix.parse().unwrap());
    Address { ifindex, local, prefix, tentative: false }
}

fn route(ifindex: u32, prefix: &str, source: Option<&str>) -> MainRoute {
    MainRoute {
        prefix: prefix.parse().unwrap(),
        metric: 0,
        on_link: Some(ifindex),
        source: source.map(|source| source.parse().unwrap()),
        replaces: false,
    }
}

fn link(ifindex: u32, name: &str) -> Link {
    Link { ifindex, name: name.to_owned(), up: true, carrier: true, mtu: 1500 }
}

/// An interface `net1` with index 2 and what else happened.
fn links(events: &[Event]) -> Links {
    let mut links = Links::default();
    links.observe(&Event::Link(link(2, "net1")));
    for event in events {
        links.observe(event);
    }
    links
}

fn is_on_link(links: &Links, neighbour: &str) -> bool {
    links.view()["net1"].is_on_link(neighbour.parse().unwrap())
}

#[test]
fn a_neighbour_is_on_link_and_the_own_address_is_not() {
    let links = links(&[
        Event::Address(address(2, "10.0.0.1", "10.0.0.1/24")),
        Event::MainRoute(route(2, "10.0.0.0/24", Some("10.0.0.1"))),
        Event::Address(address(2, "fe80::1", "fe80::1/64")),
    ]);
    for (neighbour, on_link) in
        [("10.0.0.2", true), ("10.0.0.1", false), ("10.0.1.1", false), ("fe80::9", true), ("2001::1", false)]
    {
        assert_eq!(is_on_link(&links, neighbour), on_link, "{neighbour}");
    }
}

#[test]
fn routes_say_what_is_on_link_and_addresses_do_not() {
    // A cloud's /32, and an address added with noprefixroute.
    let mut links = links(&[
        Event::Address(address(2, "10.0.0.5", "10.0.0.5/32")),
        Event::Address(address(2, "2001:db8::5", "2001:db8::5/64")),
    ]);
    assert!(!is_on_link(&links, "10.0.0.1") && !is_on_link(&links, "2001:db8::1"));
    assert!(links.observe(&Event::MainRoute(route(2, "10.0.0.1/32", None))));
    assert!(links.observe(&Event::MainRoute(route(2, "2001:db8::/64", None))));
    assert!(is_on_link(&links, "10.0.0.1") && is_on_link(&links, "2001:db8::1"));
    assert!(links.observe(&Event::MainRouteGone(route(2, "10.0.0.1/32", None))));
    assert!(!is_on_link(&links, "10.0.0.1") && is_on_link(&links, "2001:db8::1"));
}

#[test]
fn a_route_that_is_replaced_by_one_with_a_gateway_is_on_link_no_more() {
    let mut links = links(&[Event::MainRoute(route(2, "10.0.0.0/24", None))]);
    let by_gateway = MainRoute { on_link: None, replaces: true, ..route(2, "10.0.0.0/24", None) };
    assert!(links.observe(&Event::MainRoute(by_gateway)));
    assert!(!is_on_link(&links, "10.0.0.1"));
}

#[test]
fn what_the_kernel_deletes_in_silence_is_gone() {
    let two = [
        Event::Address(address(2, "10.0.0.1", "10.0.0.1/24")),
        Event::Address(address(2, "10.0.1.1", "10.0.1.1/24")),
        Event::MainRoute(route(2, "10.0.9.0/24", None)),
        Event::MainRoute(route(2, "10.0.8.0/24", Some("10.0.1.1"))),
        Event::MainRoute(route(2, "2001:db8::/64", None)),
    ];
    let mut links = links(&two);
    links.observe(&Event::AddressGone(address(2, "10.0.1.1", "10.0.1.1/24")));
    assert!(is_on_link(&links, "10.0.9.1") && !is_on_link(&links, "10.0.8.1"), "its source went");
    links.observe(&Event::AddressGone(address(2, "10.0.0.1", "10.0.0.1/24")));
    assert!(!is_on_link(&links, "10.0.9.1"), "no IPv4 address is left");
    assert!(is_on_link(&links, "2001:db8::1"));
    assert!(links.observe(&Event::Link(Link { up: false, ..link(2, "net1") })));
    assert!(!is_on_link(&links, "2001:db8::1"), "the interface is down");
}

#[test]
fn a_recreated_interface_has_none_of_the_old_addresses_and_routes() {
    let mut links = links(&[
        Event::Address(address(2, "10.0.0.1", "10.0.0.1/24")),
        Event::MainRoute(route(2, "10.0.0.0/24", None)),
    ]);
    assert!(links.observe(&Event::LinkGone { ifindex: 2 }));
    assert!(links.observe(&Event::Link(link(3, "net1"))));
    assert!(!links.observe(&Event::Link(link(3, "net1"))), "reported twice, nothing changed");
    assert!(links.view()["net1"].addresses.is_empty() && links.view()["net1"].on_link.is_empty());
    assert_eq!(links.view()["net1"].index, 3);
}
