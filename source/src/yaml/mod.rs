//! YAML text to typed values, with the place and the path of whatever is wrong.
//!
//! Text is cut into documents ([`split()`]), each becomes a tree of [`Node`]s that know their line and column
//! ([`parse`]), and a tree deserializes into any serde type ([`decode`]).
//!
//! A tree of our own, rather than a serde front end to a YAML parser, because three things are wanted at
//! once from one pass: the line of a *type* error deep inside an object, the fields that nobody asked for, and
//! the meaning that `kubectl apply` gives to scalars, so that a file means the same in a folder as in a cluster.

mod de;
mod scalar;
mod split;
mod tree;

pub(crate) use de::decode;
pub(crate) use split::{Chunk, split};
pub(crate) use tree::{Node, Value, parse};

/// A place in a file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}
