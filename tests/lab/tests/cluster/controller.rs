//! The controller as a process, with its service account's token, on a real API server.
//!
//! Most tests share one control plane with one controller, each in a Kubernetes namespace and with VIPs of its own; those
//! that stop something have their own. Nothing here runs Pods: the tests write what scheduler, kubelet and Multus would.

mod addresses;
mod bad_input;
mod classes;
mod cleanup;
mod endpoints;
mod failover;
mod gateway_pods;
mod missing;
mod quiet;
mod rights;
pub(crate) mod scene;
mod status;
mod versions;
