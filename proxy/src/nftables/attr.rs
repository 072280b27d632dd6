//! Attribute numbers and values of `linux/netfilter/nf_tables.h` that libc does not have.

pub(super) const LIST_ELEM: u16 = 1;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const TABLE_USERDATA: u16 = 6;

pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUM: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;

pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;

pub(super) const EXPR_NAME: u16 = 1;
pub(super) const EXPR_DATA: u16 = 2;

pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LEN: u16 = 5;
pub(super) const SET_DATA_TYPE: u16 = 6;
pub(super) const SET_DATA_LEN: u16 = 7;
pub(super) const SET_ID: u16 = 10;
pub(super) const SET_USERDATA: u16 = 13;

pub(super) const ELEMS_TABLE: u16 = 1;
pub(super) const ELEMS_SET: u16 = 2;
pub(super) const ELEMS_LIST: u16 = 3;
pub(super) const ELEM_KEY: u16 = 1;
pub(super) const ELEM_DATA: u16 = 2;
pub(super) const ELEM_FLAGS: u16 = 3;

pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;
pub(super) const VERDICT_CHAIN: u16 = 2;

pub(super) const OBJ_TABLE: u16 = 1;
pub(super) const OBJ_NAME: u16 = 2;
pub(super) const OBJ_TYPE: u16 = 3;
pub(super) const OBJ_DATA: u16 = 4;
pub(super) const OBJECT_COUNTER: u32 = 1;
pub(super) const COUNTER_PACKETS: u16 = 2;

pub(super) const GEN_ID: u16 = 1;

/// Type of a verdict map's data, `NFT_DATA_VERDICT`.
pub(super) const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;

/// User data of a set, for `nft list` alone: in which order the bytes of its keys are.
pub(super) const UDATA_KEY_BYTE_ORDER: u8 = 0;
pub(super) const BYTE_ORDER_HOST: u32 = 1;

/// User data of tables and rules: a list of (kind, length, bytes); kind 0 is the comment, with its final zero.
pub(super) const UDATA_COMMENT: u8 = 0;
