//! What the kernel says, with the option or right that it lacks by that.

use std::io;

/// No socket to be had.
pub(super) fn of_open(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => {
            io::Error::new(io::ErrorKind::Unsupported, format!("{WITHOUT_NFTABLES}: {error}"))
        }
        _ => error,
    }
}

/// The table could not be read.
pub(super) fn of_read(error: &io::Error) -> String {
    match error.raw_os_error() {
        // Netfilter's netlink is there, and nobody answers in it.
        Some(libc::EINVAL) => format!("{WITHOUT_NFTABLES}: {error}"),
        _ => of_either(error),
    }
}

/// A change was refused.
pub(super) fn of_write(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            format!("{error}; where this stays, the kernel lacks a part of nftables: {PARTS}")
        }
        _ => of_either(error),
    }
}

fn of_either(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            format!("{error}: CAP_NET_ADMIN is needed in this network namespace")
        }
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => {
            format!(
                "this kernel has no nftables for it (CONFIG_NF_TABLES_IPV4, CONFIG_NF_TABLES_IPV6): {error}"
            )
        }
        _ => error.to_string(),
    }
}

const WITHOUT_NFTABLES: &str = "this kernel has no nftables (CONFIG_NF_TABLES)";
const PARTS: &str = "CONFIG_NFT_CT, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_REDIR, CONFIG_NFT_REJECT, CONFIG_NFT_HASH, \
                     CONFIG_NFT_NUMGEN, CONFIG_NFT_FIB_IPV4, CONFIG_NFT_FIB_IPV6";
