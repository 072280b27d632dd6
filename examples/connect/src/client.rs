//! The client: many connections, a number of them at a time.

use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Outcome, Report};
use crate::signals::EndSignals;
use crate::source::Sources;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Makes the connections and counts the answers. With `keep`, stays until the time is over, all connections are lost or
/// a signal asks for the end.
///
/// # Errors
/// A thread or the signals cannot be had.
pub fn run(options: &Options) -> io::Result<Report> {
    let timeout = options.deadline();
    let mut report = Report::new(options.nconn, timeout);
    let start = Instant::now();
    let sources = options.srccidr.map(|range| Sources::new(range, options.seed));
    match resolve(&options.address, sources.as_ref()) {
        Err(error) => {
            eprintln!("l34-connect: {}: {error}", options.address);
            report.failed_connects = options.nconn.into();
        }
        Ok(address) => {
            let keep = options.keep && !options.udp;
            // Taken before any thread starts, so that none of them is ended by one.
            let signals = keep.then(EndSignals::take).transpose()?;
            let job = Job { address, sources, udp: options.udp, keep, deadline: start + timeout };
            connect_all(job, options, signals, &mut report)?;
        }
    }
    report.duration = start.elapsed();
    Ok(report)
}

/// What every connection has in common.
struct Job {
    address: SocketAddr,
    sources: Option<Sources>,
    udp: bool,
    keep: bool,
    deadline: Instant,
}

fn connect_all(
    job: Job,
    options: &Options,
    mut signals: Option<EndSignals>,
    report: &mut Report,
) -> io::Result<()> {
    let mut progress = Progress::new();
    let deadline = job.deadline;
    let (job, next) = (Arc::new(job), Arc::new(AtomicU32::new(0)));
    let (done_in, done) = mpsc::channel();
    for _ in 0..options.maxconcurrent.min(options.nconn) {
        let (job, next, done_in, nconn) = (job.clone(), next.clone(), done_in.clone(), options.nconn);
        let worker = move || {
            while next.fetch_add(1, Ordering::Relaxed) < nconn {
                if done_in.send(job.connect()).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().stack_size(STACK).spawn(worker)?;
    }
    drop(done_in);

    let (mut counted, mut kept) = (0, Vec::new());
    loop {
        match done.recv_timeout(TICK) {
            Ok((outcome, stream)) => {
                counted += 1;
                report.count(outcome);
                kept.extend(stream);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.show(report, counted, kept.len());
        if signals.as_mut().is_some_and(EndSignals::come) {
            kept.clear();
            break;
        }
    }
    while let Some(signals) = &mut signals
        && !kept.is_empty()
        && Instant::now() < deadline
        && !signals.come()
    {
        progress.show(report, counted, kept.len());
        let before = kept.len();
        watch(&mut kept, signals, deadline)?;
        (kept.len()..before).for_each(|_| report.count(Outcome::NoRead));
    }
    progress.end();
    Ok(())
}

/// Waits a moment and drops the connections that the other side has ended.
fn watch(kept: &mut Vec<TcpStream>, signals: &EndSignals, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()).min(TICK);
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(kept.len() + 1);
    fds.extend(kept.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)));
    fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO))?;
    let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
    let mut ready = ready.into_iter();
    kept.retain_mut(|stream| ready.next() != Some(true) || matches!(stream.read(&mut [0; 4096]), Ok(1..)));
    Ok(())
}

impl Job {
    /// Makes one connection. The stream comes along if it is to be kept.
    fn connect(&self) -> (Outcome, Option<TcpStream>) {
        let Ok(socket) = self.open() else { return (Outcome::NoConnect, None) };
        if self.udp && socket.send(b"Hello").is_err() {
            return (Outcome::NoConnect, None);
        }
        match self.answer(socket) {
            Ok((host, stream)) => (Outcome::Answer(host), self.keep.then_some(stream)),
            Err(_) => (Outcome::NoRead, None),
        }
    }

    fn open(&self) -> io::Result<Socket> {
        let (kind, protocol) =
            if self.udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))?;
        if let Some(sources) = &self.sources {
            bind(&socket, SocketAddr::new(sources.draw(), 0))?;
        }
        socket.connect_timeout(&SockAddr::from(self.address), self.left()?)?;
        Ok(socket)
    }

    fn answer(&self, socket: Socket) -> io::Result<(String, TcpStream)> {
        socket.set_read_timeout(Some(self.left()?))?;
        // Reading goes alike for both kinds of sockets.
        let mut stream = TcpStream::from(socket);
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes)?;
        let host = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
        if host.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok((host, stream)) }
    }

    /// What is left of the time, never zero.
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// Binds to an address that need not be on an interface of this host.
fn bind(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    if source.is_ipv6() { socket.set_freebind_v6(true) } else { socket.set_freebind_v4(true) }?;
    // The port is chosen when the destination is known: many connections can share it.
    setsockopt(socket, IpBindAddressNoPort, &true)?;
    socket.bind(&source.into())
}

/// The first address of the name, of the family of the sources where there are some.
fn resolve(address: &str, sources: Option<&Sources>) -> io::Result<SocketAddr> {
    let address = if address.starts_with(':') { format!("localhost{address}") } else { address.to_owned() };
    let fits = |address: &SocketAddr| sources.is_none_or(|s| s.is_ipv6() == address.is_ipv6());
    let found = address.to_socket_addrs()?.find(fits);
    found.ok_or_else(|| io::Error::other("no address of the sources' family"))
}

/// Often enough for a progress line and for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// A worker holds two small buffers.
const STACK: usize = 128 * 1024;

#[cfg(test)]
mod tests;
