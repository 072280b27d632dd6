//! The kernel settings that the router needs.
//!
//! In a pod an init container sets them, and the router finds them read-only; standalone the router sets them, or
//! names in one line each what is wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A setting of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name as `sysctl` takes it.
    pub name: String,
    /// File under /proc/sys.
    pub path: PathBuf,
    /// What it is; `None` when it cannot be read, as with IPv6 switched off.
    pub current: Option<String>,
    /// What it should be.
    pub wanted: String,
    /// Other values that are as good.
    #[serde(skip)]
    also: &'static [&'static str],
    /// What happens otherwise.
    pub meaning: &'static str,
}

impl Setting {
    /// True when it is as it should be. One that cannot be read is not: what it belongs to does not work either.
    pub fn is_right(&self) -> bool {
        self.current.as_deref().is_some_and(|value| value == self.wanted || self.also.contains(&value))
    }

    /// Sets it, unless it is right.
    ///
    /// # Errors
    /// As writing a file; in a pod the files are mostly read-only.
    pub fn set(&mut self) -> io::Result<()> {
        if self.is_right() {
            return Ok(());
        }
        fs::write(&self.path, &self.wanted)?;
        self.current = read(&self.path);
        Ok(())
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let current = self.current.as_deref().unwrap_or("missing");
        write!(f, "{} is {current}, wanted {}: {}", self.name, self.wanted, self.meaning)
    }
}

/// The settings, as they are in the caller's network namespace, right or wrong. `interfaces` are those that peers and
/// endpoints are reached on.
pub fn check<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Vec<Setting> {
    let mut settings = vec![
        setting("net/ipv4/ip_forward", "1", &[], "IPv4 packets to endpoints are dropped"),
        setting("net/ipv6/conf/all/forwarding", "1", &[], "IPv6 packets to endpoints are dropped"),
        setting(
            "net/ipv4/fib_multipath_hash_policy",
            "1",
            &["2", "3"],
            "IPv4 replies between two addresses all take one of several next hops",
        ),
        setting(
            "net/ipv6/fib_multipath_hash_policy",
            "1",
            &["2", "3"],
            "IPv6 replies between two addresses all take one of several next hops",
        ),
        setting(
            NEXTHOP_COMPAT_MODE,
            "0",
            &[],
            "each change of a next-hop group is told route by route, which takes longer and floods listeners",
        ),
        setting(
            "net/ipv4/fwmark_reflect",
            "1",
            &[],
            "pings to VIPs and refusals are answered by the main table, or not at all",
        ),
        setting(
            "net/ipv6/fwmark_reflect",
            "1",
            &[],
            "pings to VIPs and refusals are answered by the main table, or not at all",
        ),
    ];
    let liberal = setting(
        "net/netfilter/nf_conntrack_tcp_be_liberal",
        "1",
        &[],
        "a late packet of a connection counts as invalid and is not translated back",
    );
    // Not there until somebody tracks connections.
    settings.extend(liberal.current.is_some().then_some(liberal));
    // The stricter of `all` and the interface's own counts, so both have to be right.
    for interface in std::iter::once("all").chain(interfaces) {
        // A slash would lead elsewhere; no interface has one.
        if !interface.contains('/') {
            settings.push(setting(
                &format!("net/ipv4/conf/{interface}/rp_filter"),
                "0",
                &["2"],
                "strict: packets are dropped that came another way than replies to them would leave",
            ));
        }
    }
    settings
}

/// Sets what is not right, as far as that is allowed, and returns all settings as they are then.
pub fn set<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Vec<Setting> {
    let mut settings = check(interfaces);
    for setting in &mut settings {
        if let Err(error) = setting.set() {
            tracing::debug!(name = setting.name, %error, "cannot be set");
        }
    }
    settings
}

/// Switches off the notifications per route when a group changes. Says so when that is not allowed.
pub(crate) fn quiet_nexthops() {
    let mut setting = setting(NEXTHOP_COMPAT_MODE, "0", &[], "");
    if let Err(error) = setting.set() {
        tracing::warn!(
            name = setting.name,
            %error,
            "cannot be set to 0: changes of next-hop groups take longer and are told route by route"
        );
    }
}

const NEXTHOP_COMPAT_MODE: &str = "net/ipv4/nexthop_compat_mode";

fn setting(path: &str, wanted: &str, also: &'static [&'static str], meaning: &'static str) -> Setting {
    let file = Path::new("/proc/sys").join(path);
    Setting {
        // sysctl takes slashes as well, and names of interfaces may have dots.
        name: if path.contains("/conf/") { path.to_owned() } else { path.replace('/', ".") },
        current: read(&file),
        path: file,
        wanted: wanted.to_owned(),
        also,
        meaning,
    }
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
