//! UDP datagrams of established flows, as many as will go, counted where they arrive.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use rustix::time::ClockId;
use socket2::{Domain, Protocol, Socket, Type};

use crate::rounds::{Options, Slice, Target};
use crate::{ends, table};

/// Payload of a datagram.
const PAYLOAD: [u8; 64] = [b'.'; 64];
/// A datagram of this length is answered, not counted: it establishes the flow.
const HELLO: &[u8] = b"?";
/// Datagrams handed to the kernel at a time.
const BATCH: usize = 32;
/// The receiver falls behind for moments; nothing may be lost meanwhile.
const RECEIVE_BUFFER: usize = 64 << 20;

pub(crate) fn play(options: &Options) -> anyhow::Result<()> {
    let arrived = Arc::new(AtomicU64::new(0));
    let (listen, counter) = (options.listen.clone(), Arc::clone(&arrived));
    ends::serve(
        options.server.clone(),
        options.server_core,
        move || {
            let sockets = listen.into_iter().map(|address| {
                // One for each address, so that an answer has the right source.
                let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
                rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
                socket.bind(&address.into())?;
                Ok(UdpSocket::from(socket))
            });
            sockets.collect()
        },
        move |sockets: Vec<UdpSocket>| count(&sockets, &counter),
    )?;
    ends::enter(&options.client, options.client_core)?;
    let flows = |target: &Target| (0..options.parallel).map(|n| flow(target, n, options.parallel)).collect();
    let flows: Vec<Vec<UdpSocket>> = options.targets.iter().map(flows).collect::<anyhow::Result<_>>()?;
    options.play(|number, length| slice(&flows[number], &arrived, length))
}

/// Counts what arrives, for ever. It never sleeps: to be woken would cost the sender time.
fn count(sockets: &[UdpSocket], arrived: &AtomicU64) {
    let mut datagram = [0; 128];
    loop {
        for socket in sockets {
            let mut counted = 0;
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                if length == HELLO.len() {
                    let _ = socket.send_to(HELLO, from);
                } else {
                    counted += 1;
                }
            }
            if counted > 0 {
                arrived.fetch_add(counted, Ordering::Relaxed);
            }
        }
    }
}

/// A flow that has been answered, to one of the target's services; all flows together are spread over them.
fn flow(target: &Target, n: u32, of: u32) -> anyhow::Result<UdpSocket> {
    let service = u64::from(n) * u64::from(target.count) / u64::from(of.max(1));
    let vip = table::nth(target.first, service as u32);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(vip)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    for _ in 0..4 {
        // Refused or lost: said below.
        let _ = socket.send(HELLO);
        if socket.recv(&mut [0; 8]).is_ok() {
            return Ok(socket);
        }
    }
    bail!("no answer from {vip}")
}

fn slice(flows: &[UdpSocket], arrived: &AtomicU64, length: Duration) -> anyhow::Result<Slice> {
    let before = arrived.load(Ordering::Relaxed);
    let mut sent = 0;
    let cpu = ends::cpu_seconds(ClockId::ThreadCPUTime);
    let begun = Instant::now();
    'time: loop {
        for flow in flows {
            sent += send(flow)?;
            if begun.elapsed() >= length {
                break 'time;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = ends::cpu_seconds(ClockId::ThreadCPUTime) - cpu;
    let patience = Instant::now();
    let done = loop {
        let done = arrived.load(Ordering::Relaxed) - before;
        if done >= sent || patience.elapsed() > Duration::from_millis(200) {
            break done;
        }
        thread::sleep(Duration::from_millis(1));
    };
    Ok(Slice { seconds, cpu_seconds, done, failed: sent.saturating_sub(done) })
}

/// Sends a batch on one flow; returns how many were taken.
fn send(flow: &UdpSocket) -> anyhow::Result<u64> {
    let payload = [IoSlice::new(&PAYLOAD)];
    let mut control: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
        std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut messages: Vec<MMsgHdr<'_>> =
        control.iter_mut().map(|control| MMsgHdr::new(&payload, control)).collect();
    let taken = sendmmsg(flow, &mut messages, SendFlags::empty());
    Ok(taken.context("sending")? as u64)
}
