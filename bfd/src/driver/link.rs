//! The socket from which one session sends (RFC 5881 section 4).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::{PORT, sys};
use crate::endpoint::{SessionConfig, SessionKey};
use crate::packet::Packet;

/// A session's transmit socket, or why there is none yet.
pub(super) struct Link {
    /// Source port, the same for the life of the session, or 0 while none was found.
    port: u16,
    open: Option<Open>,
    waiting: Option<String>,
    unsent: u64,
}

struct Open {
    socket: Socket,
    /// Index of the interface at the time.
    index: u32,
    /// The address it sends from.
    local: IpAddr,
    /// Set when it could not send.
    broken: bool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { port: 0, open: None, waiting: None, unsent: 0 }
    }

    /// Its source port, or 0.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The address it sends from, if open.
    pub(super) fn local(&self) -> Option<IpAddr> {
        self.open.as_ref().map(|open| open.local)
    }

    /// Why packets do not go out, or do not get in over there, in words.
    pub(super) fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// How many packets could not be sent.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Opens the socket if it is not open on the interface that has the name now, of the given index, and on the
    /// session's own address, or does not work. Without an address it stays closed: a socket that is bound to a device
    /// alone takes another interface's address, and keeps it. `ports` gives source ports to try where the link has none
    /// yet.
    pub(super) fn check(
        &mut self,
        config: &SessionConfig,
        index: Option<u32>,
        ports: impl Iterator<Item = u16>,
    ) {
        let Some(index) = index else {
            self.open = None;
            self.waiting = Some(format!("interface {} does not exist", config.key.interface));
            return;
        };
        let Some(local) = config.local else {
            self.open = None;
            self.waiting = Some(no_address(&config.key));
            return;
        };
        let fits = |open: &Open| open.index == index && open.local == local && !open.broken;
        if self.open.as_ref().is_some_and(fits) {
            return;
        }
        self.open = None;
        let own = Some(self.port).filter(|&port| port != 0);
        self.waiting = Some("no free source port".to_owned());
        for port in own.into_iter().chain(ports) {
            match Open::new(&config.key, local, index, port) {
                Ok(open) => {
                    *self = Self { port, open: Some(open), waiting: None, unsent: self.unsent };
                    return;
                }
                Err(OpenError::PortTaken) => {}
                Err(error) => {
                    self.waiting = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Sends a packet, or counts it as unsent; whether it went out.
    pub(super) fn send(&mut self, packet: &Packet) -> bool {
        let Some(open) = &mut self.open else {
            self.unsent += 1;
            return false;
        };
        let bytes = packet.encode();
        let Err(error) = open.socket.send(&bytes) else {
            self.waiting = None;
            return true;
        };
        self.waiting = Some(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("the remote system does not listen on UDP port {PORT}")
            }
            _ => format!("cannot send: {error}"),
        });
        // An ICMP error about an earlier packet is reported once, in place of sending this one.
        open.broken = open.socket.send(&bytes).is_err();
        self.unsent += u64::from(open.broken);
        !open.broken
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("cannot make a socket: {0}")]
    Socket(#[from] io::Error),
    #[error("the source port is taken")]
    PortTaken,
    #[error("cannot send from {0}: {1}")]
    Local(IpAddr, io::Error),
    #[error("cannot reach {0}: {1}")]
    Remote(IpAddr, io::Error),
}

impl Open {
    fn new(key: &SessionKey, local: IpAddr, index: u32, port: u16) -> Result<Self, OpenError> {
        let remote = key.remote;
        let socket = on_device(key)?;
        if remote.is_ipv4() {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(CS6)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(CS6)?;
        }
        // Nobody reads from this socket.
        socket.set_recv_buffer_size(0)?;
        socket.bind(&address(local, port, index).into()).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::PortTaken,
            _ => OpenError::Local(local, error),
        })?;
        socket
            .connect(&address(remote, PORT, index).into())
            .map_err(|error| OpenError::Remote(remote, error))?;
        Ok(Self { socket, index, local, broken: false })
    }
}

/// See [`super::kernel_choice`].
pub(super) fn kernel_choice(key: &SessionKey) -> Option<IpAddr> {
    let socket = on_device(key).ok()?;
    let index = sys::interface_index(&key.interface)?;
    socket.connect(&address(key.remote, PORT, index).into()).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}

/// A socket for packets to the remote system over its interface.
fn on_device(key: &SessionKey) -> io::Result<Socket> {
    let domain = if key.remote.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(key.interface.as_bytes()))?;
    Ok(socket)
}

fn no_address(key: &SessionKey) -> String {
    let kind = match key.remote {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(remote) if remote.is_unicast_link_local() => "link-local IPv6",
        IpAddr::V6(_) => "global IPv6",
    };
    format!("interface {} has no {kind} address in the network of {}", key.interface, key.remote)
}

/// A socket address; a link-local one gets the interface as its scope.
fn address(ip: IpAddr, port: u16, index: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, index).into(),
        _ => SocketAddr::new(ip, port),
    }
}

/// So that the remote system can tell that the packet comes from its link (RFC 5881 section 5).
const TTL: u32 = 255;
/// DSCP CS6, network control (RFC 4594 section 3.2), in the upper six bits.
const CS6: u32 = 48 << 2;
