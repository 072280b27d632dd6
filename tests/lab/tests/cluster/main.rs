//! The product against a real Kubernetes API server. One module per subject. Tests that can share one control plane
//! do, each in Kubernetes namespaces of its own.

mod control_plane;
mod examples;
mod rbac;
mod schema;
