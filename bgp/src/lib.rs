//! A BGP-4 speaker: a pure core (wire, fsm, rib, policy) and a tokio driver.
//!
//! The core takes bytes, commands and the time as arguments and returns values. It never reads a clock, opens a
//! socket or starts a task; the driver behind the feature `driver` does.

pub mod attrs;
pub mod config;
#[cfg(feature = "driver")]
pub mod driver;
mod fsm;
pub mod net;
pub mod policy;
mod rib;
pub mod speaker;
mod timers;
pub mod wire;

pub use fsm::State;
pub use fsm::collision::Direction;
pub use fsm::connection::{ConnId, MessageCounts};
pub use rib::{
    DEFAULT_LOCAL_PREF, ForwardingPath, Multipath, PathStatus, PathView, RouteView, Step, community,
};
