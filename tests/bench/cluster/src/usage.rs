//! What processes use.

use std::fs;

use serde_json::{Value, json};

/// Resident memory of a process in MiB: now, at most so far, and what of it is neither program nor file.
pub(crate) fn memory(pid: u32) -> Value {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<f64> =
            line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
        kib.map(|kib| (kib / 102.4).round() / 10.0)
    };
    json!({"rss_mib": of("VmRSS:"), "peak_mib": of("VmHWM:"), "anon_mib": of("RssAnon:")})
}

/// Processor time of a process so far, in seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanos.sum::<u64>() as f64 / 1e9
}

/// Milliseconds with two decimals.
pub(crate) fn ms(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
