//! What the tool says: one JSON object a line. Times are nanoseconds of CLOCK_MONOTONIC.

use std::io::Write;

use serde::Serialize;

use crate::witness::Told;

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// Commands may come. `feeds` has one entry for each source.
    Ready { prefixes: usize, feeds: Vec<FeedSize> },
    /// All peers that were told to connect are Established. `begun` is when the first one began.
    Established { begun: u64, first: u64, last: u64, attempts: u64 },
    /// Every sink has exactly the table.
    Complete { first: u64, last: u64 },
    /// Every sink has lost the table again.
    Emptied { first: u64, last: u64 },
    /// The next change of a prefix will be reported, when so many sinks have it.
    Watching { sinks: usize },
    /// The watched change has reached every sink: first and last of them.
    Seen { prefix: String, first: u64, last: u64 },
    /// A command has been carried out, begun at this time.
    Done { command: &'a str, at: u64 },
    /// A session that was Established is over.
    Down { peer: usize, why: String, at: u64 },
    /// A command that makes no sense.
    Refused { command: &'a str, why: String },
    /// Answer to `stats`.
    Stats { at: u64, cpu_s: f64, established: usize, peers: Vec<PeerStats<'a>> },
}

#[derive(Debug, Serialize)]
pub(crate) struct FeedSize {
    pub(crate) octets: usize,
    pub(crate) messages: usize,
    pub(crate) attribute_sets: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct PeerStats<'a> {
    pub(crate) sink: bool,
    pub(crate) octets_read: u64,
    #[serde(flatten)]
    pub(crate) told: Option<&'a Told>,
}

/// Writes one event. A reader that is gone ends the tool through its standard input.
pub(crate) fn say(event: &Event<'_>) {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
