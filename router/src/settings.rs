//! Settings of the host that the router needs: set where it may, named where it may not.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::translate::Interfaces;

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

/// The host's name, as EndpointSlices name a node by default.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}
