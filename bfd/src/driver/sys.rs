//! The system calls that neither the standard library nor socket2 offers, each behind a safe function.

use std::ffi::{CString, c_int};
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{SockAddr, Socket};

/// A datagram as [`receive`] found it.
pub(super) struct Received {
    /// Octets of it that are in the buffer.
    pub(super) len: usize,
    /// Its source.
    pub(super) remote: IpAddr,
    /// Its destination, if the socket was asked to report it.
    pub(super) local: Option<IpAddr>,
    /// Its TTL or hop limit, if the socket was told to say so.
    pub(super) ttl: Option<u8>,
}

/// Receives one datagram; what does not fit into `payload` is cut off.
pub(super) fn receive(socket: &Socket, payload: &mut [u8]) -> io::Result<Received> {
    // Words, not octets: control messages are aligned like their header.
    let mut control = [0u64; 16];
    let mut buffer = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let receive = |address: *mut socket2::SockAddrStorage, address_len: *mut libc::socklen_t| {
        // SAFETY: all zeros is a valid msghdr.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = address.cast();
        // SAFETY: socket2 hands in a valid pointer, which holds the size of the storage.
        header.msg_namelen = unsafe { *address_len };
        header.msg_iov = &raw mut buffer;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&control) as _;
        // SAFETY: the header's pointers lead to live buffers of the lengths given.
        let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: as above; the kernel has set the length of what it wrote.
        unsafe { *address_len = header.msg_namelen };
        Ok((len, control_messages(&header)))
    };
    // SAFETY: on success the kernel has written an address and its length.
    let ((len, (ttl, local)), address) = unsafe { SockAddr::try_init(receive) }?;
    let remote = address.as_socket().ok_or(io::ErrorKind::InvalidData)?.ip();
    Ok(Received { len, remote, local, ttl })
}

/// The TTL or hop limit, and the destination, among the control messages of a received header.
fn control_messages(header: &libc::msghdr) -> (Option<u8>, Option<IpAddr>) {
    let (mut ttl, mut local) = (None, None);
    // SAFETY: the kernel has filled the control buffer that the header leads to, and set its length.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a whole header within the buffer.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: both messages carry an int.
                ttl = u8::try_from(unsafe { data.cast::<c_int>().read_unaligned() }).ok();
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the message carries an in_pktinfo.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                local = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the message carries an in6_pktinfo.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                local = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            _ => {}
        }
        // SAFETY: `message` is a header of this buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    (ttl, local)
}

/// Sets a socket option whose value is an int.
pub(super) fn set_option(socket: &Socket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer leads to an int that lives as long as the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })
}

/// Waits until one of `fds` is ready or `timeout` has passed, to the nanosecond. `None` waits for ever.
pub(super) fn wait(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| timeout as *const _);
    // SAFETY: pointers lead to live values, and the length is the slice's.
    let result = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, timeout, std::ptr::null()) };
    check(result)
}

/// The index of an interface in the network namespace of the thread, if there is one of that name.
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the pointer leads to a string that ends with a zero and lives as long as the call.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|&index| index != 0)
}

/// Lets the kernel's timers wake this thread without the usual slack of 50 us.
pub(super) fn set_least_timer_slack() {
    // SAFETY: takes numbers only. It cannot fail with these.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

/// Puts this thread before all that have no real-time priority.
pub(super) fn set_realtime() -> io::Result<()> {
    // SAFETY: all zeros is a valid sched_param.
    let mut parameters: libc::sched_param = unsafe { mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: 0 means this thread; the pointer leads to a live value.
    check(unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
