//! EndpointSlices: the objects, where each endpoint stands, and that remembering changes nothing.

// The helpers stand outside of tests, and panic as tests do.
#![allow(clippy::unwrap_used)]

mod churn;
mod facts;
mod objects;
mod packing;
mod world;
