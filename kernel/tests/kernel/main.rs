//! The router's routes in a real kernel. Needs root and `ip`; each test has a network namespace of its own.

// Tests against a real kernel have real deadlines; a helper that cannot go on has failed the test.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod namespace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use l34_kernel::{
    Feature, GROUP_IDS, HOP_IDS, Handle, LinkView, LockError, NamespaceLock, NextHop, NextHops, Options,
    Report, RuleMode, StartError, Wanted, spawn, sysctl, try_feature,
};
use namespace::{add_addresses, add_interface, in_namespace, ip, ip_batch};

const DEADLINE: Duration = Duration::from_secs(5);

struct Router {
    handle: Handle,
    report: Arc<Mutex<Report>>,
    links: Arc<Mutex<BTreeMap<String, LinkView>>>,
}

impl Router {
    fn start(hold_stale: bool) -> Router {
        let report = Arc::new(Mutex::new(Report::default()));
        let links = Arc::new(Mutex::new(BTreeMap::new()));
        let (to_report, to_links) = (Arc::clone(&report), Arc::clone(&links));
        let on_report = move |report| *to_report.lock().unwrap() = report;
        let on_links = move |links| *to_links.lock().unwrap() = links;
        let handle = spawn(Options { hold_stale, ..Options::default() }, on_report, on_links)
            .expect("the kernel thread starts");
        Router { handle, report, links }
    }

    /// A router with marks and these routes, which are in the kernel.
    fn with_routes(routes: &[(&str, &[&str])]) -> Router {
        let router = Router::start(false);
        router.handle.set_rules(RuleMode::Marks);
        let generation = router.handle.replace(wanted(routes));
        eventually("the routes are reported", || router.report().generation >= generation);
        assert_eq!(router.report().problems, []);
        router
    }

    fn report(&self) -> Report {
        self.report.lock().unwrap().clone()
    }
}

fn wanted(routes: &[(&str, &[&str])]) -> Wanted {
    Wanted { routes: routes.iter().map(|(to, hops)| (to.parse().unwrap(), via(hops))).collect() }
}

fn via(hops: &[&str]) -> NextHops {
    let hop = |text: &&str| {
        let (gateway, interface) = text.split_once('@').unwrap();
        NextHop { gateway: gateway.parse().unwrap(), interface: interface.to_owned() }
    };
    hops.iter().map(hop).collect()
}

/// Waits until it holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}\n{}", state());
        thread::sleep(Duration::from_millis(1));
    }
}

/// All that the router may have made, without the expiry of anything.
fn state() -> String {
    ["route show table 4096", "-6 route show table 4096", "nexthop show", "rule show", "-6 rule show"]
        .map(ip)
        .concat()
}

/// Where a packet with the VIP mark goes.
fn lookup(to: &str) -> String {
    let family = if to.contains(':') { "-6 " } else { "" };
    ip(&format!("{family}route get {to} mark 0x4c000001"))
}

const A: &str = "10.0.1.1@net1";
const B: &str = "10.0.2.1@net2";
const A6: &str = "fd00:1::1@net1";
const B6: &str = "fd00:2::1@net2";
const ROUTES: &[(&str, &[&str])] = &[
    ("1.0.0.0/8", &[A]),
    ("2.0.0.0/8", &[A, B]),
    ("3.0.0.0/8", &[A6]),
    ("2001:1::/32", &[A6]),
    ("2001:2::/32", &[A6, B6]),
    ("::/0", &[B6]),
];

#[test]
fn marked_packets_take_the_learned_routes_and_never_the_main_table() {
    in_namespace(|| {
        ip("route add default via 10.0.3.1");
        ip("-6 route add default via fd00:3::1");
        let router = Router::with_routes(ROUTES);
        assert!(lookup("1.2.3.4").contains("via 10.0.1.1 dev net1 table 4096"), "{}", lookup("1.2.3.4"));
        assert!(
            lookup("3.2.3.4").contains("via inet6 fd00:1::1 dev net1"),
            "RFC 8950: {}",
            lookup("3.2.3.4")
        );
        assert!(lookup("2001:1::9").contains("via fd00:1::1 dev net1"), "{}", lookup("2001:1::9"));
        assert!(lookup("2003::9").contains("via fd00:2::1 dev net2"), "{}", lookup("2003::9"));
        let nexthops = ip("nexthop show");
        assert_eq!(nexthops.lines().filter(|line| line.contains("group")).count(), 6, "{nexthops}");

        // What has no route is dropped rather than sent to the main table's default.
        router.handle.update(vec![("::/0".parse().unwrap(), None), ("1.0.0.0/8".parse().unwrap(), None)]);
        eventually("the routes are withdrawn", || !state().contains("default nhid"));
        for (family, to) in [("", "1.2.3.4"), ("-6", "2003::9")] {
            let output = std::process::Command::new("ip")
                .args(family.split_whitespace().chain(["route", "get", to, "mark", "0x4c000001"]))
                .output()
                .unwrap();
            assert!(!output.status.success(), "a packet to {to} would leave");
        }
    });
}

#[test]
fn a_restart_finds_everything_and_changes_nothing() {
    in_namespace(|| {
        drop(Router::with_routes(ROUTES));
        let before = state();
        let router = Router::start(true);
        router.handle.set_rules(RuleMode::Marks);
        let generation = router.handle.replace(Wanted::default());
        eventually("the replacement is reported", || router.report().generation >= generation);
        assert_eq!(state(), before);
        assert_eq!(router.report().routes.stale, ROUTES.len());
        router.handle.replace(wanted(&ROUTES[1..]));
        let generation = router.handle.converged();
        eventually("the end is reported", || router.report().generation >= generation);
        assert_eq!(router.report().routes.installed, ROUTES.len() - 1);
        let gone = before.lines().filter(|line| !state().contains(line)).collect::<Vec<_>>();
        assert!(
            gone.len() == 2 && gone[0].starts_with("1.0.0.0/8"),
            "the route and its group are gone: {gone:?}"
        );
    });
}

#[test]
fn whatever_somebody_deletes_comes_back() {
    in_namespace(|| {
        let _router = Router::with_routes(ROUTES);
        let before = state();
        let (hop, group) = (HOP_IDS.start, GROUP_IDS.start);
        for harm in [
            "route del 1.0.0.0/8 table 4096".to_owned(),
            "-6 route del 2001:1::/32 table 4096".to_owned(),
            "route flush table 4096".to_owned(),
            "-6 route flush table 4096".to_owned(),
            "route flush table 4097".to_owned(),
            format!("nexthop del id {hop}"),
            format!("nexthop del id {group}"),
            "nexthop flush proto 196".to_owned(),
            format!("nexthop replace id {} group {hop},7 proto 196", group + 1),
            format!("nexthop replace id {} group {hop}", group + 1),
            format!("nexthop replace id {hop} via 10.0.1.77 dev net1 proto 196"),
            "rule del priority 100".to_owned(),
            "-6 rule del priority 101".to_owned(),
        ] {
            ip(&harm);
            eventually(&harm, || state() == before && ip("route show table 4097").contains("blackhole"));
        }
    });
}

#[test]
fn links_may_go_down_lose_their_carrier_change_their_name_and_be_made_anew() {
    in_namespace(|| {
        let router = Router::with_routes(ROUTES);
        let before = state();
        let waits = |words: &str| {
            let router = &router;
            let words = words.to_owned();
            move || router.report().problems.iter().any(|problem| problem.words == words)
        };
        ip("link set net1 down");
        eventually("down is reported", waits("waiting for interface net1, which is down"));
        assert!(ip("route show table 4096").contains("2.0.0.0/8"), "the other next hop is left: {}", state());
        ip("link set net1 up");
        add_addresses(1);
        eventually("the link is up again", || state() == before);

        ip("link set far1 down");
        eventually("no carrier is reported", waits("waiting for interface net1, which has no carrier"));
        ip("link set far1 up");
        eventually("the carrier is back", || state() == before);

        ip("link set net1 name other");
        eventually("absence is reported", waits("waiting for interface net1"));
        assert!(!state().contains("dev other"), "{}", state());
        ip("link set other name net1");
        eventually("the name is back", || state() == before);

        ip("link del net1");
        eventually("absence is reported", waits("waiting for interface net1"));
        add_interface(1);
        eventually("the interface is back", || state() == before);
        eventually("all is well", || router.report().problems.is_empty());
    });
}

#[test]
fn a_next_hop_that_the_kernel_refuses_is_named_and_works_once_its_address_is_there() {
    in_namespace(|| {
        ip("addr flush dev net1");
        let router = Router::start(false);
        router.handle.replace(wanted(&[("1.0.0.0/8", &[A]), ("2.0.0.0/8", &[B])]));
        eventually("the refusal is reported", || {
            router
                .report()
                .problems
                .iter()
                .any(|problem| problem.words.contains("Nexthop has invalid gateway"))
        });
        assert_eq!(router.report().routes.installed, 1);
        add_addresses(1);
        eventually("both are installed", || router.report().routes.installed == 2);
        assert_eq!(router.report().problems, []);
    });
}

#[test]
fn a_listener_that_was_overrun_looks_at_everything_again() {
    in_namespace(|| {
        let router = Router::with_routes(ROUTES);
        let before = state();
        {
            // The kernel thread stands still in its callback while others change more than fits into its buffer.
            let _still = router.links.lock().unwrap();
            ip("addr add 192.0.2.1/32 dev net3");
            let routes = |verb: &str| -> String {
                (0..40_000)
                    .map(|n| format!("route {verb} 30.{}.{}.0/24 dev lo table 77\n", n / 256, n % 256))
                    .collect()
            };
            ip_batch(&(routes("add") + &routes("del")));
            ip("nexthop flush proto 196");
            ip("rule del priority 100");
            assert!(dropped_notifications(), "the listener was not overrun");
        }
        eventually("all is back", || state() == before);
    });
}

/// True when a netlink socket of this network namespace has lost messages.
fn dropped_notifications() -> bool {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let mut drops = sockets.lines().skip(1).filter_map(|line| line.split_whitespace().nth(8));
    drops.any(|count| count != "0")
}

#[test]
fn nothing_foreign_is_touched_and_nothing_of_ours_is_left() {
    in_namespace(|| {
        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").unwrap();
        let theirs = HOP_IDS.start;
        ip(&format!("nexthop add id {theirs} via 10.0.3.1 dev net3"));
        ip("nexthop add id 7 via 10.0.3.2 dev net3 proto 196");
        ip(&format!("route add 1.0.0.0/8 nhid {theirs} table 4096 metric 196"));
        ip("route add 9.0.0.0/8 via 10.0.3.1 table 4096");
        ip("route add 9.0.0.0/8 via 10.0.3.1 proto 196");
        ip("rule add priority 100 from 7.7.7.7 lookup 77");
        ip("rule add priority 100 fwmark 0x4c000000/0xff000000 lookup 4096");
        ip("rule add priority 99 fwmark 0x4c000000/0xff000000 lookup 4096");
        let everything = || state() + &ip("route show") + &ip("-6 route show");
        let before = everything();
        let router = Router::start(false);
        router
            .handle
            .set_rules(RuleMode::SourceRules(["20.0.0.1", "2000::1"].map(|vip| vip.parse().unwrap()).into()));
        router.handle.replace(wanted(ROUTES));
        eventually("all but the conflict is installed", || {
            router.report().routes.installed == ROUTES.len() - 1
        });
        for of in ["route 1.0.0.0/8", "route 9.0.0.0/8", "rule IPv4 100: from 7.7.7.7/32 lookup 77"] {
            assert!(
                router.report().problems.iter().any(|problem| problem.subject == of),
                "{:?}",
                router.report()
            );
        }
        assert!(ip("rule show").contains("from 20.0.0.1 lookup 4096"));
        router.handle.remove_all(DEADLINE).unwrap();
        assert_eq!(everything(), before);
        assert!(router.handle.view().is_none(), "the thread has ended");
    });
}

#[test]
fn one_router_per_network_namespace() {
    in_namespace(|| {
        let lock = NamespaceLock::take().unwrap();
        match NamespaceLock::take() {
            Err(LockError::Taken { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        in_namespace(|| assert!(NamespaceLock::take().is_ok(), "another namespace, another lock"));
        drop(lock);
        // Not at once: a child that another test is just starting has a copy until it runs its program.
        eventually("the lock is free", || NamespaceLock::take().is_ok());
    });
}

#[test]
fn links_are_told_with_what_is_on_link() {
    in_namespace(|| {
        let router = Router::start(false);
        let on_link = |name: &str, address: &str| {
            let links = router.links.lock().unwrap();
            links.get(name).is_some_and(|link| link.usable() && link.is_on_link(address.parse().unwrap()))
        };
        eventually("what is there at start", || on_link("net1", "10.0.1.1") && on_link("net2", "fd00:2::1"));
        assert!(!on_link("net1", "10.0.2.1") && !on_link("net1", "10.0.1.254"));
        ip("addr add 192.0.2.1 peer 192.0.2.2/32 dev net1");
        eventually("a new address", || on_link("net1", "192.0.2.2"));
        ip("addr del 10.0.1.254/24 dev net1");
        eventually("a lost address", || !on_link("net1", "10.0.1.1"));
        ip("link set net2 down");
        eventually("a lost link", || !on_link("net2", "10.0.2.1"));
    });
}

#[test]
fn settings_are_checked_and_set() {
    in_namespace(|| {
        // A new namespace takes some values over from the host.
        for (path, wrong) in [
            ("conf/net1/rp_filter", "1"),
            ("conf/net2/rp_filter", "0"),
            ("ip_forward", "0"),
            ("nexthop_compat_mode", "1"),
        ] {
            std::fs::write(format!("/proc/sys/net/ipv4/{path}"), wrong).unwrap();
        }
        let wrong = |settings: Vec<sysctl::Setting>| -> Vec<String> {
            settings.into_iter().filter(|setting| !setting.is_right()).map(|setting| setting.name).collect()
        };
        let found = wrong(sysctl::check(["net1", "net2"]));
        for name in ["net.ipv4.ip_forward", "net.ipv4.nexthop_compat_mode", "net/ipv4/conf/net1/rp_filter"] {
            assert!(found.iter().any(|of| of == name), "{name} in {found:?}");
        }
        assert!(!found.iter().any(|of| of == "net/ipv4/conf/net2/rp_filter"));
        assert_eq!(wrong(sysctl::set(["net1", "net2"])), [] as [String; 0]);
    });
}

#[test]
fn without_the_capability_the_start_is_refused_in_words() {
    in_namespace(|| {
        drop_net_admin();
        match spawn(Options::default(), |_| {}, |_| {}) {
            Err(error @ StartError::NotPermitted) => assert!(error.to_string().contains("CAP_NET_ADMIN")),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn one_that_only_watches_needs_no_permission_and_leaves_what_it_finds() {
    in_namespace(|| {
        drop(Router::with_routes(&[("20.0.0.0/8", &["10.0.1.1@net1"])]));
        let before = ip("route show table 4096");
        drop_net_admin();
        let links = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::clone(&links);
        let options = Options { watch_only: true, ..Options::default() };
        let handle = spawn(options, |_| {}, move |new| *seen.lock().unwrap() = new).expect("it starts");
        handle.replace(Wanted::default());
        handle.set_rules(RuleMode::Off);
        handle.converged();
        eventually("the interface is seen", || links.lock().unwrap().contains_key("net1"));
        handle.remove_all(DEADLINE).expect("there is nothing to remove");
        assert_eq!(ip("route show table 4096"), before);
        assert!(!before.is_empty());
    });
}

#[test]
fn features_are_tried() {
    in_namespace(|| {
        for feature in Feature::ALL {
            assert_eq!(try_feature(feature).expect("the kernel answers"), None, "{feature:?}");
        }
        drop_net_admin();
        for feature in Feature::ALL {
            let refusal = try_feature(feature).expect("the kernel answers");
            assert_eq!(refusal.map(|refusal| refusal.errno), Some(libc::EPERM), "{feature:?}");
        }
    });
}

/// Takes CAP_NET_ADMIN from this thread.
fn drop_net_admin() {
    const VERSION_3: u32 = 0x2008_0522;
    const NET_ADMIN: u32 = 12;
    let header = [VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: the kernel reads a header of two words, and writes and reads two sets of three words.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()), 0);
        sets[0][0] &= !(1 << NET_ADMIN);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()), 0);
    }
}
