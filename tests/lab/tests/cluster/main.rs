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

/// The account of the example's routers with its rights, as the controller makes them.
const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: l34-my-kpng-gateway}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: l34-my-kpng-gateway}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: l34-router}
subjects: [{kind: ServiceAccount, name: l34-my-kpng-gateway}]
";
