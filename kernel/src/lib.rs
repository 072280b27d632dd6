//! Routes, next-hop groups and rules in the Linux kernel: pure diff, netlink adapter, fake.
