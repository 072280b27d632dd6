//! A netlink socket towards netfilter.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Head, Message, Writer, messages};

/// A socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    port: u32,
    send_buffer: usize,
    received: Vec<u8>,
}

/// Why the kernel did not carry out a transaction. None of it was done then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransactError {
    /// What should be there is not, or the other way round: someone else was at our table.
    #[error("the table is not as it was left: {0}")]
    OutOfStep(io::Error),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The answers to a request.
pub(crate) struct Answers {
    /// Whether what was listed changed meanwhile.
    pub(crate) interrupted: bool,
}

impl Socket {
    /// Opens a socket.
    pub(crate) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: plain system call; the result is checked before it is used as a descriptor.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) })?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut address = address(0);
        let mut len = mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        let pointer = (&raw mut address).cast();
        // SAFETY: the pointer is to a sockaddr_nl that lives through the call, the length is its own.
        check(unsafe { libc::bind(fd.as_raw_fd(), pointer, len) })?;
        // SAFETY: as above; the kernel writes at most `len` bytes.
        check(unsafe { libc::getsockname(fd.as_raw_fd(), pointer, &raw mut len) })?;
        let socket = Socket { fd, port: address.nl_pid, send_buffer: 0, received: vec![0; RECEIVE_LEN] };
        // Errors come without a copy of the request, which may be larger than any buffer.
        socket.set(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1)?;
        Ok(socket)
    }

    /// Opens a socket that hears of every change of nftables but those made through `but`.
    pub(crate) fn watch(but: &Socket) -> io::Result<Self> {
        let socket = Socket::open()?;
        socket.ignore(but.port)?;
        socket.set_buffer([libc::SO_RCVBUFFORCE, libc::SO_RCVBUF], WATCH_BUFFER)?;
        socket.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, libc::NFNLGRP_NFTABLES)?;
        Ok(socket)
    }

    /// Sends requests that are independent of each other, and calls `each` for every message that answers them.
    pub(crate) fn ask(
        &mut self,
        requests: &Writer,
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<Answers> {
        self.send(requests.bytes())?;
        let mut answers = Answers { interrupted: false };
        let mut error = None;
        while let Some(bytes) = self.receive()? {
            for message in messages(bytes) {
                answers.interrupted |= message.flags & libc::NLM_F_DUMP_INTR as u16 != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE if message.error == 0 => {}
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        error.get_or_insert_with(|| io::Error::from_raw_os_error(-message.error));
                    }
                    _ => each(&message),
                }
            }
        }
        error.map_or(Ok(answers), Err)
    }

    /// Carries out what `body` writes as one transaction of nftables.
    pub(crate) fn transact(&mut self, body: impl FnOnce(&mut Writer)) -> Result<(), TransactError> {
        let mut batch = Writer::default();
        let frame = |kind: i32| Head {
            kind: kind as u16,
            flags: 0,
            family: libc::AF_UNSPEC as u8,
            resource: libc::NFNL_SUBSYS_NFTABLES as u16,
        };
        batch.message(frame(libc::NFNL_MSG_BATCH_BEGIN), |_| {});
        body(&mut batch);
        // Answered after the commit, and also if another message of the batch was wrong.
        batch.acknowledge_last();
        batch.message(frame(libc::NFNL_MSG_BATCH_END), |_| {});
        let outcome = self.ask(&batch, |_| {});
        outcome.map(drop).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::EEXIST) => TransactError::OutOfStep(error),
            _ => TransactError::Io(error),
        })
    }

    /// What has arrived; `None` if nothing has. An error `ENOBUFS` says that something was lost.
    pub(crate) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        let (fd, buffer) = (self.fd.as_raw_fd(), &mut self.received);
        // SAFETY: the pointer and length are those of a buffer that is ours alone during the call.
        let len = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(len) {
            Ok(len) => Ok(Some(&self.received[..len])),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let needed = bytes.len() + SEND_SLACK;
        if self.send_buffer < needed {
            let size = i32::try_from(needed).map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
            self.set_buffer([libc::SO_SNDBUFFORCE, libc::SO_SNDBUF], size)?;
            self.send_buffer = needed;
        }
        let kernel = address(0);
        let len = mem::size_of_val(&kernel) as libc::socklen_t;
        // SAFETY: both pointers are to values that live through the call, with their own lengths.
        let sent = unsafe {
            let (data, to) = (bytes.as_ptr().cast(), (&raw const kernel).cast());
            libc::sendto(self.fd.as_raw_fd(), data, bytes.len(), 0, to, len)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sizes a buffer. Beyond the host's limit (`net.core.wmem_max`, `rmem_max`) it takes CAP_NET_ADMIN on the host, which a pod
    /// with users of its own does not have: it gets what the limit allows.
    fn set_buffer(&self, [forced, limited]: [i32; 2], size: i32) -> io::Result<()> {
        match self.set(libc::SOL_SOCKET, forced, size) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.set(libc::SOL_SOCKET, limited, size)
            }
            other => other,
        }
    }

    fn set(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        self.set_option(level, option, &value)
    }

    /// Installs a socket filter that drops what the socket of that port caused: without it, our own changes would
    /// flood us. All messages of one transaction carry the port of the socket that it came from.
    fn ignore(&self, port: u32) -> io::Result<()> {
        let step = |code: u32, jump_true: u8, value: u32| libc::sock_filter {
            code: code as u16,
            jt: jump_true,
            jf: 0,
            k: value,
        };
        let program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, PORT_OFFSET),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, port.to_be()),
            step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
            step(libc::BPF_RET | libc::BPF_K, 0, 0),
        ];
        // The kernel copies the program and does not write to it.
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn set_option<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let len = mem::size_of::<T>() as libc::socklen_t;
        // SAFETY: the pointer is to a value that lives through the call, the length is its own.
        let result = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), len)
        };
        check(result).map(drop)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(port: u32) -> libc::sockaddr_nl {
    // SAFETY: all zeros is a valid sockaddr_nl; it has private padding, so it can't be written out.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_pid = port;
    address
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The kernel sends no larger piece at once.
const RECEIVE_LEN: usize = 128 * 1024;
/// What the kernel counts beside the bytes.
const SEND_SLACK: usize = 4096;
/// Room for changes by others until we look, in bytes. Losing some only means that we look at the whole table.
const WATCH_BUFFER: i32 = 1 << 20;
/// Where the port stands in a message's head.
const PORT_OFFSET: u32 = 12;
