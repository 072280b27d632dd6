//! UDP answers that come from the address that was asked, also on a host with many.

use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// Lets the kernel tell with each datagram which address it was sent to (RFC 3542 section 6.1).
pub(super) fn tell_destination(socket: &socket2::Socket) -> io::Result<()> {
    // On an IPv6 socket this holds for IPv4 too: addresses come mapped.
    if socket.domain()? == socket2::Domain::IPV6 {
        setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(socket, Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

/// Answers what waits, a few at a time so that other sockets have their turn.
pub(super) fn answer(socket: &UdpSocket, name: &[u8]) {
    for _ in 0..BATCH {
        if answer_one(socket, name).is_err() {
            return;
        }
    }
}

fn answer_one(socket: &UdpSocket, name: &[u8]) -> nix::Result<()> {
    let mut bytes = [0; 4096];
    let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let fd = socket.as_raw_fd();
    let asked = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let Some(client) = asked.address else { return Ok(()) };
    let (mut v4, mut v6) = (None, None);
    for message in asked.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(mut info) => {
                // What was asked for may be a broadcast; the address on which it came in is ours.
                info.ipi_ifindex = 0;
                v4 = Some(info);
            }
            ControlMessageOwned::Ipv6PacketInfo(mut info) => {
                // The way back is the routing table's business, except on the link itself.
                if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                    info.ipi6_ifindex = 0;
                }
                v6 = Some(info);
            }
            _ => {}
        }
    }
    let source = v4.as_ref().map(ControlMessage::Ipv4PacketInfo);
    let source = source.or(v6.as_ref().map(ControlMessage::Ipv6PacketInfo));
    // An answer that cannot be sent is lost, as any datagram can be.
    let _ = sendmsg(fd, &[IoSlice::new(name)], source.as_slice(), MsgFlags::empty(), Some(&client));
    Ok(())
}

const BATCH: usize = 64;
