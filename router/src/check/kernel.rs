//! What this kernel can do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use l34_kernel::{Feature, sysctl};
use l34_proxy::nftables::Nftables;
use l34_proxy::{Affinity, Entry, Family, Mode, Protocol, ServiceKey, Snapshot};

use super::finding::Finding;
use super::namespace;

/// Tries it. This thread is in another network namespace afterwards.
pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![rights(), realtime()];
    findings.push(match namespace::leave() {
        Ok(()) => {
            findings.extend(Family::ALL.map(nftables));
            findings.extend(Feature::ALL.map(routing));
            findings.extend(sysctls());
            return with_md5(findings);
        }
        Err(error) => Finding::unknown(format!(
            "nftables, next-hop objects, rules and sysctls were not tried: that takes a network namespace of its own, and \
             none is allowed ({error}); run this as root on the node"
        )),
    });
    with_md5(findings)
}

/// Version of the kernel.
pub(super) fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|error| error.to_string(), |release| release.trim().to_owned())
}

fn with_md5(mut findings: Vec<Finding>) -> Vec<Finding> {
    let tried = l34_bgp::driver::try_md5().map_err(|error| error.to_string());
    let otherwise = "peers with spec.bgp.auth stay down; the kernel needs CONFIG_TCP_MD5SIG";
    findings.push(Finding::of("TCP MD5", tried, otherwise).optional());
    findings
}

/// Capabilities of this process, which are those of a gateway pod only inside of one.
fn rights() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Finding::unknown("capabilities of this process").optional();
    };
    let lacks = CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0);
    let lacks: Vec<&str> = lacks.map(|(_, name)| *name).collect();
    let result = if lacks.is_empty() { Ok(()) } else { Err(format!("without {}", lacks.join(", "))) };
    let otherwise =
        "l34-router run would be refused in this place; gateway pods get them by their own manifest";
    Finding::of("CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE here", result, otherwise).optional()
}

fn realtime() -> Finding {
    let tried = l34_bfd::driver::try_realtime().map_err(|error| error.to_string());
    Finding::of("real-time priority", tried, "on a busy node, BFD may miss short intervals").optional()
}

/// The whole of our table, with one service in it.
fn nftables(family: Family) -> Finding {
    let vip: IpAddr = match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    };
    let key = ServiceKey { vip, protocol: Protocol::Tcp, port: 4000 };
    let endpoints = [SocketAddr::new(vip, 4000)].into();
    let entry = Entry { endpoints, affinity: Affinity::default(), masquerade: true };
    let wanted = Snapshot {
        vips: BTreeSet::from([vip]),
        outside: BTreeSet::new(),
        target_networks: BTreeSet::from([IpNet::from(vip)]),
        services: BTreeMap::from([(key, entry)]),
    };
    let tried = Nftables::open(Mode::Services).map_err(|error| error.to_string()).and_then(|mut nftables| {
        nftables.apply(&wanted, None, |_, _| {}).map(drop).map_err(|error| error.to_string())
    });
    let what = format!("nftables tables with NAT, sets and maps, {family}");
    let finding = Finding::of(&what, tried, &format!("no {family} VIP is served or announced"));
    if family == Family::V4 { finding } else { finding.optional() }
}

fn routing(feature: Feature) -> Finding {
    let (what, otherwise, needed) = match feature {
        Feature::NexthopGroups => (
            "next-hop objects and groups".to_owned(),
            "no learned route gets into the kernel; Linux has them since 5.3".to_owned(),
            true,
        ),
        Feature::Rules(family) => {
            let (option, needed) = match family {
                l34_kernel::Family::V4 => ("CONFIG_IP_MULTIPLE_TABLES", true),
                l34_kernel::Family::V6 => ("CONFIG_IPV6_MULTIPLE_TABLES", false),
            };
            let otherwise =
                format!("{family} replies do not find the learned routes; the kernel needs {option}");
            (format!("rules by mark, {family}"), otherwise, needed)
        }
    };
    let finding = match l34_kernel::try_feature(feature) {
        Ok(None) => Finding::good(what),
        Ok(Some(refusal)) if refusal.errno == libc::EPERM => Finding::unknown(format!(
            "{what}: not permitted without CAP_NET_ADMIN; run this as root on the node"
        )),
        Ok(Some(refusal)) => Finding::bad(format!("{what}: {}; {otherwise}", refusal.words)),
        Err(error) => Finding::bad(format!("{what}: {error}; {otherwise}")),
    };
    if needed { finding } else { finding.optional() }
}

/// In the namespace that this thread is in.
fn sysctls() -> Vec<Finding> {
    let settings = sysctl::set(["lo"]);
    let wrong: Vec<_> = settings.iter().filter(|setting| !setting.is_right()).collect();
    if wrong.is_empty() {
        return vec![Finding::good("sysctls can be read and set")];
    }
    let in_words = |setting: &&sysctl::Setting| match &setting.current {
        Some(current) => format!("sysctl {} stays {current}: {}", setting.name, setting.meaning),
        None => format!("sysctl {} is not there: {}", setting.name, setting.meaning),
    };
    wrong.iter().map(|setting| Finding::bad(in_words(setting)).optional()).collect()
}

/// Bits of capability sets.
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (10, "CAP_NET_BIND_SERVICE")];
