//! A netlink socket.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A socket of the routing family, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Our address in netlink's terms; the kernel puts it on what it tells others of our requests.
    port: u32,
}

impl Socket {
    pub(super) fn open() -> io::Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: the descriptor was just made, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut address = netlink_address();
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the pointer is to a whole sockaddr_nl, and the length is its size.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        let mut filled = length;
        // SAFETY: the kernel writes at most `filled` bytes, the size of the sockaddr_nl.
        check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut filled) })?;
        Ok(Socket { fd, port: address.nl_pid })
    }

    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Refusals come with words, without a copy of the request; dumps take filters.
    pub(super) fn be_strict(&self) -> io::Result<()> {
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            self.set_option(libc::SOL_NETLINK, option, &1i32)?;
        }
        Ok(())
    }

    /// Subscribes to a group of notifications.
    pub(super) fn join(&self, group: u32) -> io::Result<()> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group)
    }

    /// Room for what was received and not read, in bytes; past the system's limit where that is allowed.
    pub(super) fn set_receive_buffer(&self, bytes: i32) -> io::Result<()> {
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
            .or_else(|_| self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
    }

    /// How long to wait for a message.
    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        let time = libc::timeval {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_usec: timeout.subsec_micros() as libc::suseconds_t,
        };
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)
    }

    /// Drops, inside the kernel, notifications of changes that the socket with this address asked for.
    pub(super) fn ignore_changes_by(&self, port: u32) -> io::Result<()> {
        // The port as it lies in the header, read by the filter in network order.
        let port = u32::from_be_bytes(port.to_ne_bytes());
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let mut program = [
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, PORT_OFFSET),
            libc::sock_filter {
                jt: 0,
                jf: 1,
                ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, port)
            },
            statement(libc::BPF_RET | libc::BPF_K, 0),
            statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let to = netlink_address();
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        loop {
            // SAFETY: both pointers are to live memory of the lengths given.
            let sent = unsafe {
                let (bytes, to) = ((bytes.as_ptr().cast(), bytes.len()), (&raw const to).cast());
                libc::sendto(self.fd.as_raw_fd(), bytes.0, bytes.1, 0, to, length)
            };
            match check_size(sent) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// One datagram from the kernel.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8], wait: bool) -> io::Result<&'a [u8]> {
        let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
        loop {
            let mut from = netlink_address();
            let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: the kernel writes at most buffer.len() bytes and one sockaddr_nl.
            let received = unsafe {
                let (from, length) = ((&raw mut from).cast(), &raw mut length);
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    flags,
                    from,
                    length,
                )
            };
            match check_size(received) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                // Any process may write to us.
                Ok(_) if from.nl_pid != 0 => {}
                Ok(size) => return Ok(&buffer[..size.min(buffer.len())]),
            }
        }
    }

    fn set_option<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer is to a whole T, and the length is its size. The kernel copies it.
        check(unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
        })
        .map(|_| ())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Offset of the sender's address in a message header.
const PORT_OFFSET: u32 = 12;

/// The kernel's address.
fn netlink_address() -> libc::sockaddr_nl {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
