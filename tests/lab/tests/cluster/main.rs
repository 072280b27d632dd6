//! The product against a real Kubernetes API server. One module per subject. Tests that can share one control plane
//! do, each in Kubernetes namespaces of its own.

mod check;
mod control_plane;
mod controller;
mod examples;
mod gateway;
mod kernel;
mod rbac;
mod router;
mod schema;
