//! Connection collisions (RFC 4271 section 6.8), made to happen: both sides dial while TCP is cut, and are stopped before
//! it is joined. Their kernels open both connections, and when the processes go on, each finds its own call answered and
//! the other's waiting.

use l34_lab::{Host, Link, Process, wait_until};
use std::time::Duration;

/// Both sides have dialled within this time, whatever they wait for before.
const DIALLED: Duration = Duration::from_secs(30);
/// A kernel repeats its SYN within this time.
const OPENED: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";

/// Cuts TCP and nothing else: neighbours stay known, so that a call waits and doesn't fail.
#[track_caller]
pub(crate) fn cut(link: &Link) {
    link.cut_only("ip protocol tcp");
}

/// Waits until both ends dial over the link that is [`cut`], and lets their calls cross. The end with the number `first`
/// goes on first.
#[track_caller]
pub(crate) fn collide(link: &Link, ends: [(&Host, &Process); 2], first: usize) {
    wait_until(DIALLED, "both dial", || {
        let dialling = || match ends.map(|(host, _)| connections(host, SYN_SENT)) {
            [1, 1] => Ok(()),
            seen => Err(format!("{seen:?} calls")),
        };
        dialling()?;
        ends.iter().for_each(|(_, process)| process.signal(libc::SIGSTOP));
        // One may have given up in the meantime.
        dialling().inspect_err(|_| ends.iter().for_each(|(_, process)| process.signal(libc::SIGCONT)))
    });
    link.join();
    wait_until(OPENED, "both calls are through", || {
        match ends.map(|(host, _)| connections(host, ESTABLISHED)) {
            [2, 2] => Ok(()),
            seen => Err(format!("{seen:?} connections")),
        }
    });
    ends[first].1.signal(libc::SIGCONT);
    ends[1 - first].1.signal(libc::SIGCONT);
}

/// One of the two has gone.
#[track_caller]
pub(crate) fn one_connection_is_left(host: &Host) {
    wait_until(SOON, "one connection is left", || match connections(host, ESTABLISHED) {
        1 => Ok(()),
        seen => Err(format!("{seen} connections")),
    });
}

/// IPv4 TCP connections of a host in the given state, as the kernel numbers it.
fn connections(host: &Host, state: &str) -> usize {
    let table = host.netns.run("cat", &["/proc/net/tcp"]);
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some(state)).count()
}
