//! Routes of a host's kernel, read through `ip -j route`.

use crate::lab::Host;
use serde_json::Value;

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination in `ip`'s form: `default`, `20.0.0.1`, `10.0.0.0/8`.
    pub destination: String,
    /// Originating protocol, as `bird`, `bgp`, or its number.
    pub protocol: String,
    /// Next hops in the order of their gateways; none for a blackhole.
    pub next_hops: Vec<NextHop>,
}

/// One next hop of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Address of the gateway; empty when the destination is on link.
    pub gateway: String,
    /// Outgoing interface.
    pub interface: String,
}

impl Host {
    /// All routes of one table (`main`, `4096`) in the order of `ip`; empty when the table does not exist.
    #[track_caller]
    pub fn routes(&self, ipv6: bool, table: &str) -> Vec<Route> {
        let family = if ipv6 { "-6" } else { "-4" };
        match self.netns.try_run("ip", &["-j", family, "route", "show", "table", table]) {
            Ok(text) => parse(&text),
            // `ip` answers so for a table that holds no route.
            Err(error) if error.contains("FIB table does not exist") => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Gateways of one route, sorted; empty when there is no such route. `destination` as in [`Route`].
    #[track_caller]
    pub fn gateways(&self, table: &str, destination: &str, ipv6: bool) -> Vec<String> {
        let routes = self.routes(ipv6, table);
        let found = routes.iter().filter(|route| route.destination == destination);
        let mut gateways: Vec<String> =
            found.flat_map(|route| route.next_hops.iter().map(|hop| hop.gateway.clone())).collect();
        gateways.sort();
        gateways
    }
}

#[track_caller]
fn parse(text: &str) -> Vec<Route> {
    // `ip -j` prints nothing at all for some empty tables.
    if text.trim().is_empty() {
        return Vec::new();
    }
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(entries) => entries.iter().map(route).collect(),
        Err(error) => panic!("`ip -j route` printed no JSON: {error}: {text}"),
    }
}

fn route(entry: &Value) -> Route {
    let mut next_hops = match entry["nexthops"].as_array() {
        Some(hops) => hops.iter().map(next_hop).collect(),
        None if entry["dev"].is_string() => vec![next_hop(entry)],
        None => Vec::new(),
    };
    next_hops.sort();
    Route { destination: text(&entry["dst"]), protocol: text(&entry["protocol"]), next_hops }
}

fn next_hop(entry: &Value) -> NextHop {
    // A next hop of the other family (RFC 8950) stands under `via`.
    let gateway = if entry["gateway"].is_string() { &entry["gateway"] } else { &entry["via"]["host"] };
    NextHop { gateway: text(gateway), interface: text(&entry["dev"]) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
