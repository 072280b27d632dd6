//! Pure planning: Kubernetes objects in, intent out.
