//! A BGP-4 speaker: a pure core (wire, fsm, rib, policy) and a tokio driver.
//!
//! The core takes bytes, commands and the time as arguments and returns values. It never reads a clock, opens a
//! socket or starts a task; the driver behind the feature `driver` does.

pub mod attrs;
pub mod net;
pub mod wire;
