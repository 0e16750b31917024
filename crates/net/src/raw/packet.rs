//! Packet sockets (`packet(7)`): opening, options, binding, and sending many frames by one call.
//!
//! What is not here: what may be sent (see [`super::transmit`]) and the receive ring (see
//! [`super::ring`]).

use crate::filter::Filter;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use portolan_wire::LinkType;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// An open packet socket that receives nothing: it has protocol 0 and is bound to no interface. On
/// links without a header the kernel cuts whatever stands before the IP header.
pub(crate) fn open(link_type: LinkType) -> Result<OwnedFd, Errno> {
    let kind = match link_type {
        LinkType::Bare => SockType::Datagram,
        LinkType::Ethernet => SockType::Raw,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Packet, kind, flags, None)
}

/// An option of [`libc::SOL_PACKET`] whose value is one number.
pub(super) fn set_number(socket: &OwnedFd, name: c_int, value: c_int) -> Result<(), Errno> {
    set(socket, libc::SOL_PACKET, name, &value)
}

/// Sets an option. `T` must be the plain C type that the kernel documents for it.
pub(super) fn set<T: Copy>(
    socket: &OwnedFd,
    level: c_int,
    name: c_int,
    value: &T,
) -> Result<(), Errno> {
    let length = socket_length::<T>();
    #[expect(
        unsafe_code,
        reason = "no safe interface has the options of packet sockets"
    )]
    // SAFETY: the pointer and the length describe `value`, which outlives the call. The kernel only
    // reads it; what it does with pointers inside is said where such a type is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast::<c_void>(),
            length,
        )
    };
    Errno::result(result).map(drop)
}

/// The counters of a ring since they were last read; reading sets them to zero.
pub(super) fn statistics(socket: &OwnedFd) -> Result<libc::tpacket_stats_v3, Errno> {
    let mut value = libc::tpacket_stats_v3 {
        tp_packets: 0,
        tp_drops: 0,
        tp_freeze_q_cnt: 0,
    };
    let mut length = socket_length::<libc::tpacket_stats_v3>();
    #[expect(
        unsafe_code,
        reason = "no safe interface has the counters of packet sockets"
    )]
    // SAFETY: the kernel writes at most `length` bytes to `value`, whose size that is, and the
    // written length to `length`. Every pattern of bits is a value of the three numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            std::ptr::from_mut(&mut value).cast::<c_void>(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| value)
}

/// Lets only frames through that `filter` accepts.
pub(super) fn attach(socket: &OwnedFd, filter: &Filter) -> Result<(), Errno> {
    let mut instructions: Vec<libc::sock_filter> = filter
        .instructions()
        .iter()
        .map(|it| libc::sock_filter {
            code: it.code,
            jt: it.jump_true,
            jf: it.jump_false,
            k: it.value,
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        filter: instructions.as_mut_ptr(),
    };
    // The kernel copies the `len` instructions that the pointer names, within the call.
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Where frames of `protocol` (an `EtherType`, 0 for none) come from or go to.
pub(super) fn link_address(interface: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// Receives frames of `protocol` from one interface, where it is not 0, and sends there.
pub(super) fn bind(socket: &OwnedFd, interface: u32, protocol: u16) -> Result<(), Errno> {
    let address = link_address(interface, protocol);
    #[expect(
        unsafe_code,
        reason = "no safe interface makes an address of a packet socket"
    )]
    // SAFETY: the pointer and the length describe `address`, which outlives the call; the kernel
    // only reads it.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast::<libc::sockaddr>(),
            socket_length::<libc::sockaddr_ll>(),
        )
    };
    Errno::result(result).map(drop)
}

/// A frame and where it goes; without an address it goes where the socket is connected to.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) to: Option<&'a libc::sockaddr_ll>,
}

/// Most frames of one call.
pub(super) const BATCH_MAX: usize = 256;

/// Sends up to [`BATCH_MAX`] frames without waiting; how many were taken, at least one. An error is
/// that of the first frame.
pub(super) fn send_many<'a>(
    socket: impl AsFd,
    frames: impl Iterator<Item = Outgoing<'a>>,
) -> Result<usize, Errno> {
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_MAX];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_MAX];
    let mut count = 0;
    for ((part, message), frame) in parts.iter_mut().zip(&mut messages).zip(frames) {
        let part = part.write(libc::iovec {
            iov_base: frame.bytes.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: frame.bytes.len(),
        });
        message.write(message_of(part, frame.to));
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // BATCH_MAX at most.
    let count = u32::try_from(count).unwrap_or(0);
    #[expect(
        unsafe_code,
        reason = "no safe interface sends a batch without allocating"
    )]
    // SAFETY: the first `count` headers, and the parts they point to, were written above and live
    // until the end of the call, as do the frames and addresses, which are borrowed for it. The
    // kernel reads frames and addresses (the pointers are mutable only because the type also serves
    // receiving) and writes only the lengths in the headers.
    let taken = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            messages.as_mut_ptr().cast::<libc::mmsghdr>(),
            count,
            SEND_FLAGS,
        )
    };
    Errno::result(taken).map(|taken| usize::try_from(taken).unwrap_or(0))
}

/// Frames with all that a call needs to send them, made once.
#[derive(Debug)]
pub(super) struct Prepared {
    socket: OwnedFd,
    /// Point to the parts.
    messages: Box<[libc::mmsghdr]>,
    /// Point to the frames.
    _parts: Box<[libc::iovec]>,
    _frames: Vec<Box<[u8]>>,
}

impl Prepared {
    /// At most [`BATCH_MAX`] of `frames`, which go where `socket` is bound to.
    pub(super) fn new(socket: OwnedFd, frames: Vec<Box<[u8]>>) -> Self {
        let parts = frames.iter().take(BATCH_MAX).map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast::<c_void>(),
            iov_len: frame.len(),
        });
        let mut parts: Box<[libc::iovec]> = parts.collect();
        Self {
            socket,
            messages: parts.iter_mut().map(|it| message_of(it, None)).collect(),
            _parts: parts,
            _frames: frames,
        }
    }

    /// Sends them once more, as far as there is room; how many.
    pub(super) fn send(&mut self) -> Result<usize, Errno> {
        // BATCH_MAX at most.
        let count = u32::try_from(self.messages.len()).unwrap_or(0);
        #[expect(unsafe_code, reason = "no safe interface sends prepared headers")]
        // SAFETY: the headers point to the parts, and these to the frames. All are in boxes of this
        // value, which nothing changes or moves after it was made. The kernel reads them and writes
        // only the lengths in the headers, which are borrowed mutably.
        let taken = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count,
                SEND_FLAGS,
            )
        };
        Errno::result(taken).map(|taken| usize::try_from(taken).unwrap_or(0))
    }
}

fn message_of(part: &mut libc::iovec, to: Option<&libc::sockaddr_ll>) -> libc::mmsghdr {
    let name = to.map_or(std::ptr::null_mut(), |to| {
        std::ptr::from_ref(to).cast_mut().cast::<c_void>()
    });
    #[expect(
        unsafe_code,
        reason = "the header has private padding on some C libraries and no constructor"
    )]
    // SAFETY: zero is a value of every field: numbers, and pointers that may be null.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = name;
    message.msg_hdr.msg_namelen = to.map_or(0, |_| socket_length::<libc::sockaddr_ll>());
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// The size of `T` as socket calls take it.
fn socket_length<T>() -> libc::socklen_t {
    // Addresses and options are a few bytes long.
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// `AF_PACKET` as it stands in addresses.
const AF_PACKET: u16 = 17;
/// An interface that vanishes must not end the process by a signal.
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
