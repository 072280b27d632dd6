//! Packets made by hand, and who sees them: what no socket would send, sent to a host's MAC address, and a look at every
//! interface of a host for the cookie that they carry.

use crate::lab::Host;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An IP packet with what a test wants in it; checksums and lengths are right.
#[derive(Clone, Debug)]
pub struct RawPacket {
    /// Source, of whichever host.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// What it carries.
    pub payload: RawPayload,
    /// Bytes by which it is known again, at the end of the payload.
    pub cookie: [u8; COOKIE],
}

/// What a packet carries above IP.
#[derive(Clone, Debug)]
pub enum RawPayload {
    /// UDP between two ports.
    Udp(u16, u16),
    /// The same in two fragments.
    UdpFragments(u16, u16),
    /// IPv6 alone: UDP behind hop-by-hop and destination options.
    UdpBehindOptions(u16, u16),
    /// A TCP SYN between two ports.
    Syn(u16, u16),
    /// A TCP segment of a connection, with ACK set.
    Ack(u16, u16),
    /// An echo request.
    Ping,
    /// ICMP port unreachable about a UDP packet with this source, destination and ports.
    Unreachable(IpAddr, u16, IpAddr, u16),
    /// Bytes of another protocol.
    Other(u8),
}

/// Length of a cookie.
pub const COOKIE: usize = 16;

/// Sockets that see all that passes a host's interfaces.
#[derive(Debug)]
pub struct Capture {
    sockets: Vec<(String, OwnedFd)>,
    frames: RefCell<Vec<(String, Direction, Vec<u8>)>>,
}

/// How often each cookie was seen, by interface and direction.
pub type Seen = BTreeMap<(String, Direction), usize>;

/// Which way a packet passed an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// It came in.
    In,
    /// It left.
    Out,
}

impl Host {
    /// Sends packets through an interface to the host with this MAC address, as they are.
    #[track_caller]
    pub fn send_raw(&self, interface: &str, to: [u8; 6], packets: &[RawPacket]) {
        let (name, frames) = (interface.to_owned(), packets.iter().flat_map(RawPacket::bytes));
        let frames: Vec<Vec<u8>> = frames.collect();
        let sent = self.netns.enter(move || -> io::Result<()> {
            let socket = packet_socket(libc::SOCK_DGRAM, 0)?;
            for frame in &frames {
                let protocol = if frame[0] >> 4 == 4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
                let mut address = link_address(&name, protocol as u16)?;
                address.sll_halen = 6;
                address.sll_addr[..6].copy_from_slice(&to);
                let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                // SAFETY: both pointers are to live memory of the lengths given.
                let sent = unsafe {
                    let address = (&raw const address).cast();
                    libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, address, length)
                };
                if sent < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
        if let Err(error) = sent {
            panic!("cannot send packets on {interface} of {}: {error}", self.name);
        }
    }

    /// Begins to watch interfaces.
    #[track_caller]
    pub fn capture(&self, interfaces: &[&str]) -> Capture {
        let names: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let opened = self.netns.enter(move || -> io::Result<Vec<(String, OwnedFd)>> {
            let open = |name: String| {
                let socket = packet_socket(libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)?;
                let room: libc::c_int = 8 << 20;
                let address = link_address(&name, libc::ETH_P_ALL as u16)?;
                // SAFETY: the pointers are to live values of the lengths given.
                let bound = unsafe {
                    let length = size_of::<libc::c_int>() as libc::socklen_t;
                    let room = (&raw const room).cast();
                    libc::setsockopt(
                        socket.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_RCVBUFFORCE,
                        room,
                        length,
                    );
                    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                    libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
                };
                if bound < 0 { Err(io::Error::last_os_error()) } else { Ok((name, socket)) }
            };
            names.into_iter().map(open).collect()
        });
        match opened {
            Ok(sockets) => Capture { sockets, frames: RefCell::default() },
            Err(error) => panic!("cannot watch {interfaces:?} of {}: {error}", self.name),
        }
    }

    /// The MAC address of an interface.
    #[track_caller]
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        let text = self.ip(&format!("-br link show {interface}"));
        let word = text.split_whitespace().find(|word| word.matches(':').count() == 5);
        let octets = word.iter().flat_map(|word| word.split(':'));
        let octets: Vec<u8> = octets.filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        match octets.try_into() {
            Ok(mac) => mac,
            Err(_) => panic!("{interface} of {} has no MAC address: {text}", self.name),
        }
    }
}

impl Capture {
    /// What was seen of each of these cookies so far.
    pub fn seen(&self, cookies: &[[u8; COOKIE]]) -> Vec<Seen> {
        let mut frames = self.frames.borrow_mut();
        for (name, socket) in &self.sockets {
            while let Some((direction, frame)) = receive(socket) {
                frames.push((name.clone(), direction, frame));
            }
        }
        let of_cookie = |cookie: &[u8; COOKIE]| {
            let mut seen = Seen::new();
            let has_it = |frame: &[u8]| frame.windows(COOKIE).any(|window| window == cookie);
            for (name, direction, _) in frames.iter().filter(|(_, _, frame)| has_it(frame)) {
                *seen.entry((name.clone(), *direction)).or_default() += 1;
            }
            seen
        };
        cookies.iter().map(of_cookie).collect()
    }
}

fn receive(socket: &OwnedFd) -> Option<(Direction, Vec<u8>)> {
    let mut buffer = vec![0; 1 << 11];
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut from: libc::sockaddr_ll = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most buffer.len() bytes and one sockaddr_ll.
    let received = unsafe {
        let (to, from) = (buffer.as_mut_ptr().cast(), (&raw mut from).cast());
        libc::recvfrom(socket.as_raw_fd(), to, buffer.len(), 0, from, &raw mut length)
    };
    buffer.truncate(usize::try_from(received).ok()?);
    let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
    Some((if outgoing { Direction::Out } else { Direction::In }, buffer))
}

impl RawPacket {
    /// One IP packet, or its fragments.
    fn bytes(&self) -> Vec<Vec<u8>> {
        match self.payload {
            RawPayload::UdpFragments(from, to) => {
                let whole = self.udp(from, to, &[0; 24]);
                // The first fragment ends at a multiple of eight; the cookie is in the second.
                let (first, second) = whole.split_at(24);
                [(first, 0, true), (second, 24, false)]
                    .map(|(part, offset, more)| self.fragment(17, part, offset, more))
                    .into()
            }
            RawPayload::UdpBehindOptions(from, to) => {
                // PadN of four octets in each: 60 is destination options, 17 UDP.
                let mut payload = vec![60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
                payload.extend(self.udp(from, to, &[]));
                vec![self.ip(0, &payload)]
            }
            RawPayload::Udp(from, to) => vec![self.ip(17, &self.udp(from, to, &[]))],
            RawPayload::Syn(from, to) => vec![self.ip(6, &self.tcp(from, to, 0x02))],
            RawPayload::Ack(from, to) => vec![self.ip(6, &self.tcp(from, to, 0x10))],
            RawPayload::Ping => {
                let (protocol, kind) = if self.source.is_ipv4() { (1, 8) } else { (58, 128) };
                vec![self.ip(protocol, &self.icmp(protocol, kind, 0, &[]))]
            }
            RawPayload::Unreachable(source, from, destination, to) => {
                let about = RawPacket { source, destination, ..self.clone() };
                let about = about.ip(17, &about.udp(from, to, &[]));
                let (protocol, kind, code) = if self.source.is_ipv4() { (1, 3, 3) } else { (58, 1, 4) };
                vec![self.ip(protocol, &self.icmp(protocol, kind, code, &about))]
            }
            RawPayload::Other(protocol) => vec![self.ip(protocol, &self.cookie)],
        }
    }

    fn udp(&self, from: u16, to: u16, before: &[u8]) -> Vec<u8> {
        let length = (8 + before.len() + COOKIE) as u16;
        let mut udp: Vec<u8> = [from, to, length, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
        udp.extend_from_slice(before);
        udp.extend_from_slice(&self.cookie);
        self.with_checksum(17, udp, 6)
    }

    fn tcp(&self, from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut tcp: Vec<u8> = [from, to].iter().flat_map(|word| word.to_be_bytes()).collect();
        tcp.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(&self.cookie);
        self.with_checksum(6, tcp, 16)
    }

    fn icmp(&self, protocol: u8, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend_from_slice(about);
        icmp.extend_from_slice(&self.cookie);
        self.with_checksum(protocol, icmp, 2)
    }

    fn with_checksum(&self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let mut sum = 0;
        // ICMP of IPv4 alone leaves the addresses out.
        if protocol != 1 {
            let addresses = [octets(self.source), octets(self.destination)].concat();
            sum = add_words(add_words(sum, &addresses), &[0, protocol]);
            sum += bytes.len() as u32;
        }
        let checksum = fold(add_words(sum, &bytes));
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.header(protocol, payload, 0)
    }

    fn fragment(&self, protocol: u8, payload: &[u8], offset: u16, more: bool) -> Vec<u8> {
        if self.source.is_ipv4() {
            let more = if more { 0x2000 } else { 0 };
            return self.header(protocol, payload, more | (offset / 8));
        }
        let mut extended = vec![protocol, 0];
        extended.extend((offset | u16::from(more)).to_be_bytes());
        extended.extend([0, 0, 0, 7]);
        extended.extend_from_slice(payload);
        self.header(44, &extended, 0)
    }

    fn header(&self, protocol: u8, payload: &[u8], fragment: u16) -> Vec<u8> {
        let mut packet = if self.source.is_ipv4() {
            let length = (20 + payload.len()) as u16;
            let mut header = vec![0x45, 0];
            header.extend([length, 7, fragment].iter().flat_map(|word| word.to_be_bytes()));
            header.extend([64, protocol, 0, 0]);
            header
        } else {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((payload.len() as u16).to_be_bytes());
            header.extend([protocol, 64]);
            header
        };
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        if self.source.is_ipv4() {
            let checksum = fold(add_words(0, &packet));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.extend_from_slice(payload);
        packet
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).into(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).into(),
    }
}

/// RFC 1071.
fn add_words(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, word| {
        sum + u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn packet_socket(kind: libc::c_int, protocol: u16) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, libc::c_int::from(protocol.to_be())) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn link_address(interface: &str, protocol: u16) -> io::Result<libc::sockaddr_ll> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: the name ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as i32;
    Ok(address)
}
