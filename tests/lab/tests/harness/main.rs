//! The harness proves itself: real daemons talk among each other, links are cut, and nothing is left behind.

mod cleanup;
mod sessions;
