//! Settings of the host that the router needs: set where it may, named where it may not.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tracing::warn;

use crate::translate::Interfaces;
use crate::{cli, plane_link};

/// What has been complained about already.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Sets forwarding, multipath hashing and the like, and names once what stays wrong. With `--fib none` the kernel is
/// left alone.
pub(crate) fn set(interfaces: &Interfaces, writes_kernel: bool) {
    if !writes_kernel {
        return;
    }
    let names = interfaces.keys().map(String::as_str).filter(|name| *name != "lo");
    for setting in l34_kernel::sysctl::set(names) {
        let news = || TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(setting.name.clone());
        if !setting.is_right() && news() {
            warn!("{setting}");
        }
    }
}

/// `sysctls`: sets all of it, for interfaces that are yet to come as well. What cannot be set is named in one line each and
/// is no failure: the router says the same when it runs, and may do without.
///
/// # Errors
/// This is no Linux with /proc.
pub(crate) fn command(args: &cli::Sysctls) -> Result<()> {
    // Before forwarding is switched on.
    let prepared = plane_link::prepare(args.forward_other_traffic);
    prepared.unwrap_or_else(|error| eprintln!("l34-router: {error:#}"));
    // Unlike /sys/class/net, this shows the interfaces of the caller's network namespace.
    let interfaces = std::fs::read_dir(CONF).with_context(|| format!("cannot read {CONF}"))?;
    let names = interfaces.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| name != "all" && name != "lo").collect();
    let settings = l34_kernel::sysctl::set(names.iter().map(String::as_str));
    for setting in settings.iter().filter(|setting| !setting.is_right()) {
        eprintln!("l34-router: {setting}");
    }
    Ok(())
}

/// Where the endpoint for probes and metrics listens in a pod: on each of its own addresses, which the downward API
/// tells. Never on all: the external network must not see it.
///
/// # Errors
/// $POD_IPS is there and is no list of addresses.
pub(crate) fn pod_listeners() -> Result<Vec<SocketAddr>> {
    let addresses = std::env::var("POD_IPS").unwrap_or_default();
    let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
    let listeners = addresses.map(|address| {
        let address: IpAddr =
            address.parse().with_context(|| format!("POD_IPS: {address:?} is no address"))?;
        Ok(SocketAddr::new(address, PROBE_PORT))
    });
    listeners.collect()
}

/// Where probes and Prometheus ask.
const PROBE_PORT: u16 = 9474;

/// A folder for each interface, and `all` and `default`.
const CONF: &str = "/proc/sys/net/ipv4/conf";

/// The host's name, as EndpointSlices name a node by default.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
