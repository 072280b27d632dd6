//! TCP connections, as many as will go: opened, answered with one octet, closed.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::time::ClockId;
use socket2::{Domain, Protocol, Socket, Type};

use crate::rounds::{Options, Slice, Target};
use crate::{ends, table};

/// Without an answer for so long a connection counts as failed. No first packet is sent again within it.
const PATIENCE: Duration = Duration::from_millis(200);

pub(crate) fn play(options: &Options) -> anyhow::Result<()> {
    let listen: Vec<SocketAddrV4> = options.listen.clone();
    ends::serve(
        options.server.clone(),
        options.server_core,
        // One listener for all endpoints: they are addresses of one host here.
        move || Ok(TcpListener::bind(("0.0.0.0", listen[0].port()))?),
        |listener| loop {
            // A client that is gone already is no matter of ours: it counts its failures itself.
            if let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"!");
            }
        },
    )?;
    ends::enter(&options.client, options.client_core)?;
    let mut client = Client { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, next: 0 };
    options.play(|number, length| client.slice(&options.targets[number], options.parallel, length))
}

struct Client {
    epoll: OwnedFd,
    /// Counts up, so that services take turns.
    next: u32,
}

struct Connection {
    socket: Socket,
    begun: Instant,
}

impl Client {
    fn slice(&mut self, target: &Target, parallel: u32, length: Duration) -> anyhow::Result<Slice> {
        let (mut done, mut failed) = (0, 0);
        let mut open = Vec::new();
        let cpu = ends::cpu_seconds(ClockId::ProcessCPUTime);
        let begun = Instant::now();
        for place in 0..parallel {
            open.push(self.open(target, u64::from(place))?);
        }
        let mut events = Vec::with_capacity(parallel as usize);
        while begun.elapsed() < length {
            events.clear();
            let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for event in &events {
                let place = event.data.u64();
                let Some(connection) = open.get_mut(place as usize) else { continue };
                match connection.socket.read(&mut [0]) {
                    Ok(1) => done += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    _ => failed += 1,
                }
                *connection = self.open(target, place)?;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let cpu_seconds = ends::cpu_seconds(ClockId::ProcessCPUTime) - cpu;
        failed += open.iter().filter(|connection| connection.begun.elapsed() > PATIENCE).count() as u64;
        Ok(Slice { seconds, cpu_seconds, done, failed })
    }

    /// Begins a connection; closing it will be a reset, which leaves nothing behind in the client.
    fn open(&mut self, target: &Target, place: u64) -> io::Result<Connection> {
        let vip = table::nth(target.first, self.next % target.count);
        self.next = self.next.wrapping_add(1);
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&vip.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(place), epoll::EventFlags::IN)?;
        Ok(Connection { socket, begun: Instant::now() })
    }
}
