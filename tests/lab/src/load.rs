//! Connections made by the lab itself: one after the other under a clock, or held open.

use crate::lab::Host;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A connection that was tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How long it took until the answer or the failure.
    pub took: Duration,
    /// Who answered, or why nobody did.
    pub result: Result<String, ErrorKind>,
}

/// New connections without an end.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Attempt>>>,
}

impl Load {
    /// Begins, with so many connections at a time, each begun a pause after the one before it is over.
    pub fn start(host: &Host, source: IpAddr, to: SocketAddr, width: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = || {
            let stop = stop.clone();
            host.netns.spawn(move || {
                let mut attempts = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    attempts.push(attempt(source, to));
                    thread::sleep(pause);
                }
                attempts
            })
        };
        let threads = (0..width).map(|_| worker()).collect();
        Load { stop, threads }
    }

    /// Begins, with a connection at each interval whatever became of those before: none waits for one that hangs.
    pub fn every(interval: Duration, host: &Host, source: IpAddr, to: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = host.netns.spawn(move || {
            let mut attempts = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                // A thread is in the namespace of the one that starts it.
                attempts.push(thread::spawn(move || attempt(source, to)));
                thread::sleep(interval);
            }
            attempts.into_iter().filter_map(|attempt| attempt.join().ok()).collect()
        });
        Load { stop, threads: vec![thread] }
    }

    /// Ends, and tells of all connections in the order in which they began.
    #[track_caller]
    pub fn stop(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        let mut attempts = Vec::new();
        for thread in self.threads {
            match thread.join() {
                Ok(made) => attempts.extend(made),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        attempts.sort_by_key(|attempt| attempt.began);
        attempts
    }
}

/// A TCP connection that stays open.
#[derive(Debug)]
pub struct Flow(TcpStream);

impl Flow {
    /// Opens it; who answered comes along.
    pub fn open(host: &Host, source: IpAddr, to: SocketAddr) -> io::Result<(Self, String)> {
        host.netns.enter(|| {
            let mut flow = Flow(connect(source, to)?);
            let name = flow.name()?;
            Ok((flow, name))
        })
    }

    /// Says something over it and returns the answer: the same host's name.
    pub fn ask(&mut self) -> io::Result<String> {
        self.0.write_all(b"?")?;
        self.name()
    }

    fn name(&mut self) -> io::Result<String> {
        let mut bytes = [0; 256];
        match self.0.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => Ok(String::from_utf8_lossy(&bytes[..length]).into_owned()),
        }
    }
}

/// A UDP socket that always asks the same address.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// Sends a datagram and returns the answer: a host's name.
    pub fn ask(&self) -> io::Result<String> {
        self.0.send(b"Hello")?;
        let mut bytes = [0; 256];
        let length = self.0.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

impl Host {
    /// [`attempt`] from this host.
    pub fn attempt(&self, source: IpAddr, to: SocketAddr) -> Attempt {
        self.netns.enter(|| attempt(source, to))
    }

    /// One datagram from this host and the answer to it.
    pub fn datagram(&self, source: IpAddr, to: SocketAddr) -> Attempt {
        let began = Instant::now();
        let result = self.datagrams(source, to).and_then(|flow| flow.ask()).map_err(|error| error.kind());
        Attempt { began, took: began.elapsed(), result }
    }

    /// Datagrams from one port of this host: one flow to everybody on the way.
    pub fn datagrams(&self, source: IpAddr, to: SocketAddr) -> io::Result<Datagrams> {
        self.netns.enter(|| {
            let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(Datagrams(socket))
        })
    }
}

/// One TCP connection from the namespace of this thread, begun and ended.
pub fn attempt(source: IpAddr, to: SocketAddr) -> Attempt {
    let began = Instant::now();
    let result = connect(source, to).map(Flow).and_then(|mut flow| flow.name());
    Attempt { began, took: began.elapsed(), result: result.map_err(|error| error.kind()) }
}

/// A TCP connection from the namespace of this thread.
///
/// # Errors
/// As of the socket; after [`PATIENCE`] without an answer, a time-out.
pub fn connect(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Less than a second, after which the kernel sends a lost SYN again: what is lost is seen as lost.
const PATIENCE: Duration = Duration::from_millis(900);
