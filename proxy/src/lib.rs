//! Service data plane: VIP:port to endpoints with nftables: pure table, netlink adapter, packet-walking fake.
