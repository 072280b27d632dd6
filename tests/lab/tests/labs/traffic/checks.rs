//! What labs claim of traffic, as functions that say what they found instead: `guards` shows that they can fail.

use super::scene::{Sink, Traffic, at, client};
use l34_lab::{Answers, Attempt, Host};
use std::io::ErrorKind;
use std::time::Duration;

/// A refusal is no time-out.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Makes `count` connections from the client's address, at most 64 at a time.
#[track_caller]
pub(crate) fn connect(vpn: &Host, vip: &str, port: u16, count: u64, more: &str) -> Answers {
    let source = client(vip);
    let length = if source.is_ipv6() { 128 } else { 32 };
    vpn.connect(&format!("-address {} -nconn {count} -srccidr {source}/{length} {more}", at(vip, port)))
}

/// No connection failed.
pub(crate) fn all_answered(answers: &Answers) -> Result<(), String> {
    let good = answers.failed_connects == 0 && answers.failed_reads == 0 && !answers.hosts.is_empty();
    if good { Ok(()) } else { Err(format!("{answers:?}")) }
}

/// All are answered, by exactly these targets, and no target by less than half of its share: with 50 connections for each,
/// chance fails that once in 50,000 times.
pub(crate) fn spread_over(answers: &Answers, targets: &[&str]) -> Result<(), String> {
    all_answered(answers)?;
    let all: u64 = answers.hosts.values().sum();
    let names: Vec<&str> = answers.hosts.keys().map(String::as_str).collect();
    let least = all / targets.len() as u64 / 2;
    let good = names == targets && answers.hosts.values().all(|count| *count >= least);
    if good { Ok(()) } else { Err(format!("{answers:?}")) }
}

/// A connection or datagram is refused by a reset or an ICMP error, at once.
pub(crate) fn refused(attempt: &Attempt) -> Result<(), String> {
    match attempt.result {
        Err(ErrorKind::ConnectionRefused) if attempt.took < AT_ONCE => Ok(()),
        _ => Err(format!("{:?} after {:?}", attempt.result, attempt.took)),
    }
}

/// The VIP answers three pings out of three.
pub(crate) fn pings(vpn: &Host, vip: &str) -> Result<(), String> {
    let source = client(vip).to_string();
    let args = ["-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", "-I", &source, vip];
    let output = vpn.netns.try_run("ping", &args)?;
    if output.contains("3 received") { Ok(()) } else { Err(output) }
}

/// Nothing went by the main table.
pub(crate) fn dry(sink: &Sink) -> Result<(), String> {
    match sink.packets() {
        0 => Ok(()),
        packets => Err(format!("{packets} packets left by the main table's default route")),
    }
}

/// How soon after a connection began the route may go, for it to be one that the withdraw cut in two: its SYN found a
/// way, and what the client had to say next did not.
const CUT_IN_TWO: Duration = Duration::from_millis(50);

/// Whoever has a route to the VIP is served: either the vpn knows no way there, or a target answers.
pub(crate) fn served_while_announced(attempts: &[Attempt]) -> Result<(), String> {
    let no_way = |attempt: &Attempt| attempt.result == Err(ErrorKind::NetworkUnreachable);
    let cut = |attempt: &Attempt| {
        let until = attempt.began + CUT_IN_TWO;
        attempts.iter().any(|other| no_way(other) && (attempt.began..until).contains(&other.began))
    };
    let bad = attempts.iter().filter(|attempt| attempt.result.is_err() && !no_way(attempt) && !cut(attempt));
    let bad: Vec<&Attempt> = bad.collect();
    if bad.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = bad.iter().take(5).map(|attempt| around(attempt, attempts)).collect();
    Err(format!("{} of {} connections: {} ...", bad.len(), attempts.len(), told.join("; ")))
}

/// A connection, and when those before and after it began that had no way, or were answered.
fn around(attempt: &Attempt, attempts: &[Attempt]) -> String {
    let near = |what: &str, fits: &dyn Fn(&Attempt) -> bool| {
        let before = attempts.iter().rev().find(|other| other.began < attempt.began && fits(other));
        let after = attempts.iter().find(|other| other.began > attempt.began && fits(other));
        let before = before.map(|other| attempt.began - other.began);
        let after = after.map(|other| other.began - attempt.began);
        format!("{what} {before:.1?} before and {after:.1?} after")
    };
    let no_way = near("no way", &|other| other.result == Err(ErrorKind::NetworkUnreachable));
    let answered = near("answered", &|other| other.result.is_ok());
    format!("{:?} within {:.1?} ({no_way}, {answered})", attempt.result, attempt.took)
}

/// No connection failed.
pub(crate) fn none_failed(attempts: &[Attempt]) -> Result<(), String> {
    let failed: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.result.is_err()).collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} of {} failed: {first:?}", failed.len(), attempts.len())),
    }
}

/// A check that has to hold.
#[track_caller]
pub(crate) fn holds(what: &str, check: Result<(), String>) {
    if let Err(found) = check {
        panic!("{what}: {found}");
    }
}

/// The end of every lab.
#[track_caller]
pub(crate) fn nothing_leaked(traffic: &Traffic) {
    holds("replies leave by learned routes", dry(&traffic.sink));
}
