//! TCP sockets with what BGP asks of them: MD5 (RFC 2385), GTSM (RFC 5082), one interface, and errors in words.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::{Md5Key, Ttl};
use crate::speaker::{Dial, ListenFor, Listener};

/// Connections that may wait to be accepted: hundreds of peers may call in one instant.
const BACKLOG: i32 = 1024;
/// Silence after which TCP asks, and how often it asks then.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Class selector 6, network control (RFC 4271 section 9 of its traffic's importance; RFC 4594).
const TOS_CS6: u32 = 0xc0;
/// `linux/in6.h`: the smallest hop limit an IPv6 packet may arrive with.
const IPV6_MINHOPCOUNT: libc::c_int = 73;

/// A socket ready to connect, and where to.
pub(super) fn for_dial(dial: &Dial) -> io::Result<(Socket, SocketAddr)> {
    let socket = tcp(dial.remote.is_ipv6())?;
    bind_device(&socket, dial.interface.as_deref())?;
    set_ttl(&socket, dial.remote.is_ipv6(), dial.ttl, dial.ibgp)?;
    if let Some(key) = &dial.md5 {
        set_md5(socket.as_raw_fd(), dial.remote.ip(), Some(key))?;
    }
    if let Some(local) = dial.local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok((socket, with_scope(dial.remote, dial.interface.as_deref())?))
}

/// A bound socket; it listens after [`start_listening`], so that keys can be set before anybody gets in. With
/// `shares_port`, others that share it may listen already.
pub(super) fn for_listen(listener: &Listener, shares_port: bool) -> io::Result<Socket> {
    let socket = tcp(listener.ipv6)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    if listener.ipv6 {
        socket.set_only_v6(true)?;
    }
    bind_device(&socket, listener.interface.as_deref())?;
    // The kernel answers calls with the listener's TTL, and a peer with GTSM takes no other.
    set_ttl(&socket, listener.ipv6, Ttl::Multihop(255), false)?;
    let any: IpAddr = if listener.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    socket.bind(&SocketAddr::new(any, listener.port).into())?;
    Ok(socket)
}

/// Lets connections in. Sharing ends here, see [`share_port`].
pub(super) fn start_listening(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)?;
    socket.set_reuse_port(false)
}

/// Lets an open listener share its port, or not any more. It shares only while another one is opened: of listeners that
/// share, the kernel takes the first it finds for a connection, and not the one that is bound to its interface.
pub(super) fn share_port(fd: RawFd, on: bool) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &libc::c_int::from(on))
}

/// Settings of a connection that a listener accepted.
pub(super) fn set_distance(fd: RawFd, peer: &ListenFor) -> io::Result<()> {
    set_ttl_raw(fd, peer.address.is_ipv6(), peer.ttl, peer.ibgp)
}

/// Has the kernel drop what comes to a listener with a smaller TTL than every peer's packets must have. Where one of them
/// is without GTSM, any will do.
pub(super) fn set_least_ttl(fd: RawFd, ipv6: bool, peers: impl Iterator<Item = Ttl>) -> io::Result<()> {
    let least = peers.map(least_ttl).min().unwrap_or(0);
    let (level, name) = min_ttl_option(ipv6);
    set_option(fd, level, name, &libc::c_int::from(least))
}

/// The smallest TTL a peer's packets may arrive with.
fn least_ttl(ttl: Ttl) -> u8 {
    match ttl {
        Ttl::Direct | Ttl::Multihop(_) => 0,
        Ttl::Security(hops) => 255 - (hops.max(1) - 1),
    }
}

fn min_ttl_option(ipv6: bool) -> (libc::c_int, libc::c_int) {
    if ipv6 { (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT) } else { (libc::IPPROTO_IP, libc::IP_MINTTL) }
}

/// Octets that the peer has not acknowledged yet.
pub(super) fn unacknowledged(fd: RawFd) -> usize {
    let mut octets: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int to the pointer, which is valid for the call.
    let done = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut octets) };
    if done == 0 { usize::try_from(octets).unwrap_or(0) } else { 0 }
}

/// Sets, replaces or (`None`) removes the TCP MD5 key for an address.
pub(super) fn set_md5(fd: RawFd, address: IpAddr, key: Option<&Md5Key>) -> io::Result<()> {
    /// `struct tcp_md5sig` of `linux/tcp.h`.
    #[repr(C)]
    struct TcpMd5Sig {
        address: libc::sockaddr_storage,
        flags: u8,
        prefix_len: u8,
        key_len: u16,
        ifindex: i32,
        key: [u8; Md5Key::MAX_LEN],
    }
    // SAFETY: all of it is plain numbers, for which zero is a value.
    let mut option: TcpMd5Sig = unsafe { std::mem::zeroed() };
    let storage = socket2::SockAddr::from(SocketAddr::new(address, 0));
    // SAFETY: a SockAddr made of a SocketAddr is a valid sockaddr_storage of its own length, and the target is one too.
    unsafe {
        std::ptr::copy_nonoverlapping(
            storage.as_ptr().cast::<u8>(),
            (&raw mut option.address).cast::<u8>(),
            storage.len() as usize,
        );
    }
    if let Some(key) = key {
        option.key_len = key.octets().len() as u16;
        option.key[..key.octets().len()].copy_from_slice(key.octets());
    }
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option)
}

/// Whether this kernel signs TCP connections with MD5 (RFC 2385): gives a key to a socket that is closed again.
///
/// # Errors
/// The kernel's refusal.
pub fn try_md5() -> io::Result<()> {
    let key = Md5Key::new(b"trial").map_err(io::Error::other)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    set_md5(socket.as_raw_fd(), Ipv4Addr::LOCALHOST.into(), Some(&key))
}

/// The index of an interface, if there is one of that name.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the name is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn tcp(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // Without a hold time, TCP alone notices that a peer's machine is gone. Accepted connections inherit it.
    let probes =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    // Marking is a courtesy to the network; a kernel that refuses it does not keep a session down.
    let _ = if ipv6 { socket.set_tclass_v6(TOS_CS6) } else { socket.set_tos_v4(TOS_CS6) };
    Ok(socket)
}

fn bind_device(socket: &Socket, interface: Option<&str>) -> io::Result<()> {
    let Some(name) = interface else { return Ok(()) };
    socket.bind_device(Some(name.as_bytes())).map_err(|error| match error.raw_os_error() {
        Some(libc::ENODEV) => io::Error::new(error.kind(), format!("interface {name} does not exist")),
        _ => error,
    })
}

fn with_scope(remote: SocketAddr, interface: Option<&str>) -> io::Result<SocketAddr> {
    match (remote, interface) {
        (SocketAddr::V6(remote), Some(name)) if remote.ip().segments()[0] & 0xffc0 == 0xfe80 => {
            let index = interface_index(name).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("interface {name} does not exist"))
            })?;
            Ok(SocketAddrV6::new(*remote.ip(), remote.port(), 0, index).into())
        }
        (remote, _) => Ok(remote),
    }
}

fn set_ttl(socket: &Socket, ipv6: bool, ttl: Ttl, ibgp: bool) -> io::Result<()> {
    set_ttl_raw(socket.as_raw_fd(), ipv6, ttl, ibgp)
}

fn set_ttl_raw(fd: RawFd, ipv6: bool, ttl: Ttl, ibgp: bool) -> io::Result<()> {
    let (level, min) = min_ttl_option(ipv6);
    let out = if ipv6 { libc::IPV6_UNICAST_HOPS } else { libc::IP_TTL };
    let hops = match ttl {
        // The system's own.
        Ttl::Direct if ibgp => -1,
        Ttl::Direct => 1,
        Ttl::Multihop(hops) => hops.max(1).into(),
        Ttl::Security(_) => 255,
    };
    set_option::<libc::c_int>(fd, level, out, &hops)?;
    // Set in any case: an accepted connection starts with its listener's.
    set_option(fd, level, min, &libc::c_int::from(least_ttl(ttl)))
}

fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives through the call; every caller passes the type
    // that its option is defined with.
    let done = unsafe {
        libc::setsockopt(fd, level, name, (&raw const *value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket error in words for an operator.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection refused: nothing listens on the peer's port".into(),
        Some(libc::EHOSTUNREACH) => "no route to the peer, or it does not answer on the link".into(),
        Some(libc::ENETUNREACH) => "no route to the peer".into(),
        Some(libc::ETIMEDOUT) => "the connection timed out".into(),
        Some(libc::ECONNRESET) => "the peer reset the connection".into(),
        Some(libc::EPIPE) => "the peer has closed the connection".into(),
        Some(libc::EADDRNOTAVAIL) => "the local address is not on this host".into(),
        Some(libc::EADDRINUSE) => "the port is taken by another process".into(),
        // Of all that is asked of a socket, the keys alone can be absent.
        Some(libc::ENOPROTOOPT) => "this kernel has no TCP MD5 (CONFIG_TCP_MD5SIG)".into(),
        Some(libc::EACCES | libc::EPERM) => format!("not permitted: {error}"),
        _ => error.to_string(),
    }
}
