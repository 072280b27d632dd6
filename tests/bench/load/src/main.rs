//! `bgp-load`: plays many external BGP peers at once against one speaker under test.
//!
//! *Sinks* receive and check each route against the exact set they must have; *sources* announce a table that was
//! encoded before the clock starts. One thread, one epoll loop. Commands come on standard input, one a line; events
//! go to standard output, one JSON object a line. The end of standard input ends the tool.
//!
//! ```text
//! connect [sinks|sources]          watch announce|withdraw PREFIX      stats
//! feed SOURCE                      announce|withdraw SOURCE PREFIX     quit
//! close SOURCE                     (the TCP connection, without a NOTIFICATION)
//! ```

mod event;
mod session;
mod table;
mod troop;
mod wire;
mod witness;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use anyhow::Context;
use clap::Parser;
use event::{Event, FeedSize, say};
use session::Identity;
use table::Table;
use troop::{Pace, Part, Peer, Troop};
use witness::{Expected, Witness};

/// Plays many external BGP peers at once against one speaker.
#[derive(Debug, Parser)]
struct Options {
    /// Address of the speaker under test.
    #[arg(long)]
    speaker: Ipv4Addr,
    #[arg(long)]
    speaker_as: u32,
    #[arg(long, default_value_t = 179)]
    port: u16,
    /// Wait for the speaker's connection instead of connecting.
    #[arg(long)]
    listen: bool,
    #[arg(long, default_value_t = 0)]
    sinks: u32,
    /// Address of the first sink; the next one has the next.
    #[arg(long, default_value = "10.99.1.1")]
    first_sink: Ipv4Addr,
    /// AS of all sinks.
    #[arg(long, default_value_t = 65100)]
    sink_as: u32,
    #[arg(long, default_value_t = 0)]
    sources: u32,
    /// Address of the first source; the next one has the next.
    #[arg(long, default_value = "10.99.200.1")]
    first_source: Ipv4Addr,
    /// AS of the first source; the next one has the next.
    #[arg(long, default_value_t = 65201)]
    source_as: u32,
    /// What sinks must get comes from a router of this AS behind the speaker, which another tool plays.
    #[arg(long, conflicts_with = "sources")]
    relayed_from: Option<u32>,
    #[arg(long, default_value_t = 90)]
    hold_time: u16,
    /// Milliseconds before a failed connection is tried again.
    #[arg(long, default_value_t = 10)]
    retry_ms: u64,
    /// At most so many connections that the speaker has not answered yet. Some have a short listen queue.
    #[arg(long, default_value_t = usize::MAX)]
    at_once: usize,
    /// Sinks must get so many VIPs, host routes from 20.0.0.0 on.
    #[arg(long, default_value_t = 0, conflicts_with = "table")]
    vips: u32,
    /// Sinks must get a table of so many prefixes, announced by the sources.
    #[arg(long, default_value_t = 0)]
    table: usize,
    /// Different sets of attributes for each 100 prefixes of the table.
    #[arg(long, default_value_t = 12)]
    sets_per_100: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let table = match options.table {
        0 => Table::vips(options.vips),
        count => Table::mixed(count, options.sets_per_100).map_err(anyhow::Error::msg)?,
    };
    let mut feeds = Vec::new();
    let mut peers = Vec::new();
    for n in 0..options.sinks {
        let identity = options.identity(options.first_sink, n, options.sink_as);
        peers.push(Peer::new(identity, Part::Sink(Witness::new(&table)), options.listen));
    }
    let mut next_hops = vec![options.speaker];
    for n in 0..options.sources {
        let identity = options.identity(options.first_source, n, options.source_as + n);
        let feed = table.feed(n, identity.local_as, identity.local);
        feeds.push(FeedSize {
            octets: feed.bytes.len(),
            messages: feed.messages,
            attribute_sets: feed.attribute_sets,
        });
        next_hops.push(identity.local);
        peers.push(Peer::new(identity, Part::Source { feed: feed.bytes.into() }, options.listen));
    }
    let listener = options.listen.then(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.port)));
    let listener = listener.transpose().context("cannot listen")?;
    let prefixes = table.len();
    let source_ases = match options.relayed_from {
        Some(number) => number..number + 1,
        None => options.source_as..options.source_as + options.sources,
    };
    let expected = Expected { table, speaker_as: options.speaker_as, source_ases, next_hops };
    let pace = Pace { retry: options.retry_ms * 1_000_000, at_once: options.at_once };
    let mut troop = Troop::new(peers, expected, pace, listener)?;
    say(&Event::Ready { prefixes, feeds });
    troop.run().context("the loop ended")
}

impl Options {
    fn identity(&self, first: Ipv4Addr, n: u32, local_as: u32) -> Identity {
        Identity {
            local: Ipv4Addr::from(u32::from(first) + n),
            local_as,
            remote: SocketAddrV4::new(self.speaker, self.port),
            hold_time_s: self.hold_time,
        }
    }
}
