//! Pure planning: Kubernetes objects in, intent out.
//!
//! Controller and router, cluster and folder share these functions. They know no client, no clock
//! and no socket: equal objects give an equal intent.

mod addresses;
pub mod covers;
pub mod daemonset;
pub mod endpoints;
pub mod fib;
pub mod gateway;
pub mod gateway_class;
pub mod interfaces;
mod meta;
pub mod networks;
pub mod problem;
pub mod rollup;
pub mod router;
pub mod services;
pub mod snapshot;
mod text;

pub use problem::{Problem, Severity};
