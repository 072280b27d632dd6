//! The gateway router.
fn main() {}
