//! API types of the L34 Gateway, and the one version of the Kubernetes and Gateway API types.
