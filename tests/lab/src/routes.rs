//! Routes of a host's kernel, read through `ip -j`.

use crate::lab::Host;
use serde_json::Value;
use std::collections::BTreeMap;

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination in `ip`'s form: `default`, `20.0.0.1`, `10.0.0.0/8`.
    pub destination: String,
    /// Number of the originating protocol, as `12` for bird.
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
        let entries = match self.netns.try_run("ip", &["-j", "-N", family, "route", "show", "table", table]) {
            Ok(text) => parse(&text),
            // `ip` answers so for a table that holds no route.
            Err(error) if error.contains("FIB table does not exist") => return Vec::new(),
            Err(error) => panic!("{error}"),
        };
        let by_object = entries.iter().any(|entry| !entry["nhid"].is_null());
        let objects = if by_object { self.next_hop_objects() } else { BTreeMap::new() };
        entries.iter().map(|entry| route(entry, &objects)).collect()
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

    /// Next-hop objects by their number, groups resolved: without `nexthop_compat_mode` a route names just the number.
    #[track_caller]
    fn next_hop_objects(&self) -> BTreeMap<u64, Vec<NextHop>> {
        let entries = parse(&self.netns.run("ip", &["-j", "nexthop", "show"]));
        let id = |entry: &Value| entry["id"].as_u64().unwrap_or_default();
        let singles = entries.iter().filter(|entry| entry["group"].is_null());
        let mut objects: BTreeMap<u64, Vec<NextHop>> =
            singles.map(|entry| (id(entry), vec![next_hop(entry)])).collect();
        for entry in entries.iter().filter(|entry| !entry["group"].is_null()) {
            let members = entry["group"].as_array().into_iter().flatten();
            let hops = members.filter_map(|member| objects.get(&id(member))).flatten().cloned().collect();
            objects.insert(id(entry), hops);
        }
        objects
    }
}

#[track_caller]
fn parse(text: &str) -> Vec<Value> {
    // `ip -j` prints nothing at all for some empty tables.
    if text.trim().is_empty() {
        return Vec::new();
    }
    match serde_json::from_str(text) {
        Ok(entries) => entries,
        Err(error) => panic!("`ip -j` printed no JSON: {error}: {text}"),
    }
}

fn route(entry: &Value, objects: &BTreeMap<u64, Vec<NextHop>>) -> Route {
    let object = entry["nhid"].as_u64().and_then(|id| objects.get(&id));
    let mut next_hops = match (entry["nexthops"].as_array(), object) {
        (Some(hops), _) => hops.iter().map(next_hop).collect(),
        (None, Some(hops)) => hops.clone(),
        (None, None) if entry["dev"].is_string() => vec![next_hop(entry)],
        (None, None) => Vec::new(),
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
