//! The socket on which packets of one interface and address family come in.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::{PORT, sys};

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// A receive socket, or why there is none yet.
///
/// There is one for each interface rather than one for all. So the interface of a packet is known without asking, an
/// interface may come and go, and a BFD daemon on other interfaces of the same host is not in the way.
pub(super) struct Receiver {
    /// With the index of the interface at the time.
    open: Option<(Socket, u32)>,
    waiting: Option<String>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { open: None, waiting: None }
    }

    /// The socket, if open.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.open.as_ref().map(|(socket, _)| socket)
    }

    /// Why the socket is not open, in words.
    pub(super) fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// Opens the socket if it is not open on the interface that has the name now, of the given index.
    pub(super) fn check(&mut self, family: Family, interface: &str, index: Option<u32>) {
        let Some(index) = index else {
            *self = Self { open: None, waiting: Some(format!("interface {interface} does not exist")) };
            return;
        };
        if self.open.as_ref().is_some_and(|&(_, at)| at == index) {
            return;
        }
        *self = match open(family, interface) {
            Ok(socket) => Self { open: Some((socket, index)), waiting: None },
            Err(error) => {
                let waiting = format!("UDP port {PORT} on {interface}: {error}");
                Self { open: None, waiting: Some(waiting) }
            }
        };
    }
}

fn open(family: Family, interface: &str) -> io::Result<Socket> {
    let (domain, any) = match family {
        Family::V4 => (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))),
        Family::V6 => (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT))),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match family {
        Family::V4 => {
            sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
            sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        }
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.set_recv_hoplimit_v6(true)?;
            sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
    }
    // Beyond the system's bound with CAP_NET_ADMIN, else as far as it goes; a small buffer is no reason to fail.
    if sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER as usize);
    }
    socket.bind_device(Some(interface.as_bytes()))?;
    // A daemon that shares the port on all interfaces lets us have it on ours. One that holds it on this interface
    // does not, and neither do we once we hold it: each would get a part of the packets.
    if socket.bind(&any.into()).is_err() {
        socket.set_reuse_address(true)?;
        socket.bind(&any.into())?;
        socket.set_reuse_address(false)?;
    }
    Ok(socket)
}

const BUFFER: i32 = 4 << 20;
