//! The static rules, as data: the same for any number of services. The adapter encodes them for the kernel, the fake
//! carries them out, so there is one text of them.
//!
//! Registers: expressions leave their results in sixteen 32-bit words. The key of a service starts at word 0 and is an
//! address (one word, or four), protocol and port; the slot follows it. The input of a hash ends at the last word for
//! IPv6, so nothing can be added there; the kernel reads all of it before it writes the result over its first word.

mod rules;

use crate::element::Set;

pub use rules::{shared_rules, skeleton};

/// What the table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The whole service data plane. The host forwards nothing else: it may stand between networks that must not
    /// reach each other.
    Services,
    /// The whole service data plane, on a host that forwards other traffic too.
    ServicesBesideOthers,
    /// Someone else carries the traffic: what has a VIP as its source gets the packet mark, nothing more.
    MarksOnly,
}

/// A whole table without elements and shared chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its named counters.
    pub counters: Vec<Counter>,
    /// Its chains. A rule may go to a chain that stands further down.
    pub chains: Vec<Chain>,
}

/// Named counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Connections given to an endpoint (for UDP: flows).
    Connections,
    /// Pings answered, counted once for each run of `ping`.
    Pings,
    /// Packets refused with a reset or an ICMP error.
    Refused,
    /// Packets that were to be forwarded, belonged to no VIP, and were dropped.
    Filtered,
    /// Packets from outside that cannot have the source they claim, dropped.
    Spoofed,
}

/// A chain and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets enter it; `None` for a chain that rules go to.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain. The policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What its rules can do.
    pub kind: Kind,
    /// When it is run.
    pub hook: Hook,
    /// Order among chains of one hook.
    pub priority: i32,
}

/// Types of base chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sees every packet.
    Filter,
    /// Sees every local packet and routes it again when the mark changes.
    Route,
    /// Sees the first packet of each connection and may translate it.
    Nat,
}

/// Netfilter hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// Between two interfaces.
    Forward,
    /// Made here.
    Output,
    /// Before it leaves.
    Postrouting,
}

/// A rule: expressions that are run until one does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for, shown by `nft list`. It also names the rule when a table is adopted.
    pub comment: &'static str,
    /// What it does.
    pub exprs: Vec<Expr>,
}

/// A register: index of a 32-bit word, 0 to 15.
pub type Word = u8;

/// The nftables expressions that we use.
#[expect(missing_docs, reason = "what the fields are is said with each variant")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Source address of the packet.
    Source(Word),
    /// Destination address of the packet.
    Destination(Word),
    /// `len` bytes of the transport header from `offset`.
    Transport { offset: u32, len: u32, to: Word },
    /// Protocol number.
    Protocol(Word),
    /// Name of the interface it came in on.
    InterfaceIn(Word),
    /// The packet mark.
    Mark(Word),
    /// Sets the packet mark.
    SetMark(Word),
    /// A property of its connection; no match for a packet without.
    Ct { key: Ct, to: Word },
    /// Sets the connection mark.
    SetCtMark(Word),
    /// `word = (word & mask) ^ xor`.
    Bitwise { word: Word, mask: u32, xor: u32 },
    /// Matches if the bytes at the word are these.
    Equal { word: Word, bytes: Vec<u8> },
    /// Matches if the word is not 0.
    NotZero(Word),
    /// Matches if the set has the key at the word.
    In { set: Set, key: Word },
    /// Matches if the map has the key at the word; its data go to `to`.
    Map { map: Set, key: Word, to: Word },
    /// Matches if the map has the key at the word; its verdict is carried out.
    VerdictMap { map: Set, key: Word },
    /// A random number below `below`; so 0 where that is 1.
    Random { below: u32, to: Word },
    /// Hash of `len` bytes from a word, with our [`SEED`](crate::shared::SEED), scaled to a number below `below`.
    Hash { from: Word, len: u32, below: u32, to: Word },
    /// Matches if an unmarked packet to this one's source would find no route.
    NoRouteBack(Word),
    /// As [`Expr::NoRouteBack`], or if the route would lead through another interface than the one it came in on.
    NoRouteBackThere(Word),
    /// Matches if the source is an address of this host.
    SourceIsLocal(Word),
    /// Counts the packet.
    Count(Counter),
    /// New destination.
    Dnat { address: Word, port: Word },
    /// The destination becomes an address of ours.
    Redirect,
    /// The source becomes an address of ours, with a random port.
    Masquerade,
    /// Answers with a TCP reset.
    Reset,
    /// Answers with ICMP port unreachable.
    Unreachable,
    /// Drops the packet.
    Drop,
    /// Leaves the base chain with its policy.
    Return,
    /// Goes to a chain of the skeleton for good.
    Goto(&'static str),
}

/// Properties of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ct {
    /// State bits: [`STATE_INVALID`], [`STATE_NEW`].
    State,
    /// 1 for a reply.
    Direction,
    /// Status bits: [`STATUS_DNAT`].
    Status,
    /// The connection mark.
    Mark,
    /// Destination address of the first packet as it came in.
    OriginalDestination,
}

/// Bit of [`Ct::State`]: belongs to no connection and can't start one. Such a packet has no NAT either.
pub const STATE_INVALID: u32 = 1;
/// Bit of [`Ct::State`]: the first packets of a connection, until it is answered.
pub const STATE_NEW: u32 = 8;
impl Mode {
    /// Whether services are carried.
    pub const fn has_services(self) -> bool {
        matches!(self, Mode::Services | Mode::ServicesBesideOthers)
    }
}

/// Bit of [`Ct::Status`]: its destination was translated.
pub const STATUS_DNAT: u32 = 0x20;

impl Counter {
    /// All of them.
    pub const ALL: [Counter; 5] =
        [Counter::Connections, Counter::Pings, Counter::Refused, Counter::Filtered, Counter::Spoofed];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Counter::Connections => "connections",
            Counter::Pings => "pings",
            Counter::Refused => "refused",
            Counter::Filtered => "filtered",
            Counter::Spoofed => "spoofed",
        }
    }
}
