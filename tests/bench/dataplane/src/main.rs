//! `plane-load`: fills what is measured, and sends connections and datagrams through several gateways in turn.
//!
//! `table` and `next-hops` work in the network namespace they are started in. `connections` and `datagrams` play both
//! ends, the client in one named namespace and the endpoints in another, each on a core of its own; they go round the
//! targets in slices of a fraction of a second, so that whatever disturbs the machine disturbs all alike. Results go to
//! standard output, one JSON object a line.

mod connections;
mod datagrams;
mod ends;
mod next_hops;
mod rounds;
mod table;

use clap::{Parser, Subcommand};

/// Fills the data plane under test, and sends connections and datagrams through it.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fills the router's nftables tables with services, each on a VIP of its own, and leaves them there.
    Table(table::Options),
    /// Fills the router's route table, then changes the next hops of all routes to and fro.
    NextHops(next_hops::Options),
    /// Opens TCP connections, as many as will go: each is answered with an octet, and closed.
    Connections(rounds::Options),
    /// Sends UDP datagrams of established flows, as many as will go, and counts them where they arrive.
    Datagrams(rounds::Options),
}

fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Table(options) => table::fill(&options),
        Command::NextHops(options) => next_hops::measure(&options),
        Command::Connections(options) => connections::play(&options),
        Command::Datagrams(options) => datagrams::play(&options),
    }
}
