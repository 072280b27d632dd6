//! The server: says its host name to everybody, on any number of TCP and UDP addresses, on one thread.

mod udp;

use crate::signals::EndSignals;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A server that has its sockets and does not answer yet.
#[derive(Debug)]
pub struct Server {
    name: String,
    epoll: Epoll,
    sockets: BTreeMap<u64, Source>,
    /// Connections that are open.
    open: usize,
    next: u64,
    signals: EndSignals,
}

/// How it ends after a signal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// How long it goes on as before: load balancers need a moment to hear that it is leaving.
    pub grace: Duration,
    /// How long connections may stay open after that.
    pub drain: Duration,
}

#[derive(Debug)]
enum Source {
    Listener(TcpListener),
    Udp(UdpSocket),
    Connection(TcpStream),
}

impl Server {
    /// A server that answers with this name. SIGINT and SIGTERM become its [`Ending`].
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn new(name: String) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signals = EndSignals::take()?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Server { name, epoll, sockets: BTreeMap::new(), open: 0, next: SIGNALS + 1, signals })
    }

    /// Listens for TCP connections. `[::]` takes IPv4 as well. Returns the address with the port that it got.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen_tcp(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = bound(address, Type::STREAM, Protocol::TCP)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        self.add(Source::Listener(listener))?;
        Ok(address)
    }

    /// Answers UDP, from the address that was asked. `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn listen_udp(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let socket = bound(address, Type::DGRAM, Protocol::UDP)?;
        udp::tell_destination(&socket)?;
        let socket = UdpSocket::from(socket);
        let address = socket.local_addr()?;
        self.add(Source::Udp(socket))?;
        Ok(address)
    }

    /// Serves until a signal, and comes to the given end.
    ///
    /// # Errors
    /// The kernel refuses to wait for events.
    pub fn run(mut self, ending: Ending) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut asked_to_end = None;
        loop {
            let now = Instant::now();
            let accepts_until = asked_to_end.map(|asked: Instant| asked + ending.grace);
            let ends_at = accepts_until.map(|until| until + ending.drain);
            if accepts_until.is_some_and(|until| now >= until) {
                self.close_listeners();
                if self.open == 0 || ends_at.is_some_and(|end| now >= end) {
                    return Ok(());
                }
            }
            let next = [accepts_until, ends_at].into_iter().flatten().find(|at| *at > now);
            let timeout = next.map_or(EpollTimeout::NONE, |at| until(at - now));
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                if event.data() == SIGNALS {
                    if self.signals.come() && asked_to_end.replace(Instant::now()).is_some() {
                        return Ok(()); // a second signal cuts it short
                    }
                } else {
                    self.ready(event.data());
                }
            }
        }
    }

    fn add(&mut self, source: Source) -> io::Result<()> {
        let token = self.next;
        self.next += 1;
        self.epoll.add(&source, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        self.open += usize::from(matches!(source, Source::Connection(_)));
        self.sockets.insert(token, source);
        Ok(())
    }

    fn ready(&mut self, token: u64) {
        match self.sockets.get_mut(&token) {
            Some(Source::Listener(listener)) => match listener.accept() {
                Ok((stream, _)) => self.greet(stream),
                // The caller has gone, or there is no descriptor left: others are not worse off for it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => std::thread::sleep(PAUSE),
            },
            Some(Source::Udp(socket)) => udp::answer(socket, self.name.as_bytes()),
            Some(Source::Connection(stream)) if !answer(stream, self.name.as_bytes()) => {
                self.sockets.remove(&token);
                self.open -= 1;
            }
            Some(Source::Connection(_)) | None => {}
        }
    }

    /// The host name at once, and again for whatever the client says.
    fn greet(&mut self, mut stream: TcpStream) {
        let ready = stream.set_nonblocking(true).and_then(|()| stream.write_all(self.name.as_bytes()));
        if ready.is_ok() {
            // A connection that cannot be watched is closed.
            let _ = self.add(Source::Connection(stream));
        }
    }

    fn close_listeners(&mut self) {
        self.sockets.retain(|_, source| matches!(source, Source::Connection(_)));
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener) => listener.as_fd(),
            Source::Udp(socket) => socket.as_fd(),
            Source::Connection(stream) => stream.as_fd(),
        }
    }
}

/// Answers what the client said; false when the connection is over.
fn answer(mut stream: &TcpStream, name: &[u8]) -> bool {
    match stream.read(&mut [0; 4096]) {
        Ok(0) => false,
        // A client that never reads gets no more than fits.
        Ok(_) => match stream.write(name) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        },
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// The host's name, with which a server answers by default.
///
/// # Errors
/// It cannot be read.
pub fn host_name() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

/// A bound socket that does not block. Where the kernel has no IPv6, `[::]` means all of IPv4.
fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    match try_bound(address, kind, protocol) {
        Err(error)
            if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
                && address.ip() == Ipv6Addr::UNSPECIFIED =>
        {
            try_bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), kind, protocol)
        }
        other => other,
    }
}

fn try_bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn until(wait: Duration) -> EpollTimeout {
    // Rounded up, so that the time has come when the wait ends.
    EpollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
}

/// Token of the signals; sockets follow.
const SIGNALS: u64 = 0;
/// The kernel cuts it down to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Before the next try when connections cannot be accepted.
const PAUSE: Duration = Duration::from_millis(10);
