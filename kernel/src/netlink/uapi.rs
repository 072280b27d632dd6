//! Numbers of the kernel's user interface that the libc crate does not have.

pub(super) const NHA_ID: u16 = 1;
pub(super) const NHA_GROUP: u16 = 2;
pub(super) const NHA_BLACKHOLE: u16 = 4;
pub(super) const NHA_OIF: u16 = 5;
pub(super) const NHA_GATEWAY: u16 = 6;
pub(super) const NHA_ENCAP: u16 = 8;
pub(super) const NHA_FDB: u16 = 11;
/// `struct nhmsg`.
pub(super) const NHMSG: usize = 8;
/// `struct nexthop_grp`.
pub(super) const NEXTHOP_GRP: usize = 8;

pub(super) const RTM_NEWNEXTHOP: u16 = 104;
pub(super) const RTM_DELNEXTHOP: u16 = 105;
pub(super) const RTM_GETNEXTHOP: u16 = 106;

pub(super) const RTNLGRP_LINK: u32 = 1;
pub(super) const RTNLGRP_IPV4_IFADDR: u32 = 5;
pub(super) const RTNLGRP_IPV4_ROUTE: u32 = 7;
pub(super) const RTNLGRP_IPV4_RULE: u32 = 8;
pub(super) const RTNLGRP_IPV6_IFADDR: u32 = 9;
pub(super) const RTNLGRP_IPV6_ROUTE: u32 = 11;
pub(super) const RTNLGRP_IPV6_RULE: u32 = 19;
pub(super) const RTNLGRP_NEXTHOP: u32 = 32;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PRIORITY: u16 = 6;
pub(super) const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_TABLE: u16 = 15;
/// A gateway of the other family.
pub(super) const RTA_VIA: u16 = 18;
pub(super) const RTA_NH_ID: u16 = 30;
/// `struct rtmsg`.
pub(super) const RTMSG: usize = 12;
pub(super) const RTN_UNSPEC: u8 = 0;
pub(super) const RTN_UNICAST: u8 = 1;
pub(super) const RTN_BLACKHOLE: u8 = 6;
pub(super) const RT_TABLE_MAIN: u32 = 254;
pub(super) const RT_SCOPE_LINK: u8 = 253;
/// A route learned by cloning, not part of a table.
pub(super) const RTM_F_CLONED: u32 = 0x200;

pub(super) const FRA_SRC: u16 = 2;
pub(super) const FRA_PRIORITY: u16 = 6;
pub(super) const FRA_FWMARK: u16 = 10;
pub(super) const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
pub(super) const FRA_TABLE: u16 = 15;
pub(super) const FRA_FWMASK: u16 = 16;
pub(super) const FRA_PAD: u16 = 18;
pub(super) const FRA_PROTOCOL: u16 = 21;
/// `struct fib_rule_hdr`.
pub(super) const FIB_RULE_HDR: usize = 12;
pub(super) const FR_ACT_TO_TBL: u8 = 1;
pub(super) const FIB_RULE_INVERT: u32 = 2;

pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_EXT_MASK: u16 = 29;
/// Leaves the counters out of a dump.
pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = 8;
/// `struct ifinfomsg`.
pub(super) const IFINFOMSG: usize = 16;
pub(super) const IFF_UP: u32 = 1;
pub(super) const IFF_LOWER_UP: u32 = 0x1_0000;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_FLAGS: u16 = 8;
/// `struct ifaddrmsg`.
pub(super) const IFADDRMSG: usize = 8;
pub(super) const IFA_F_DADFAILED: u32 = 0x08;
pub(super) const IFA_F_TENTATIVE: u32 = 0x40;

/// The message has attributes behind the request's header.
pub(super) const NLM_F_ACK_TLVS: u16 = 0x200;
/// The request is cut to its header.
pub(super) const NLM_F_CAPPED: u16 = 0x100;
/// A dump whose parts do not fit together, because something changed meanwhile.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLMSGERR_ATTR_MSG: u16 = 1;
