//! Many connection attempts at once over one epoll instance, with sockets that are used again.
//!
//! What is not here: which attempt goes when and how long it may take (the engine's), and what is
//! said over an open connection.

use crate::interface;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use portolan_model::{AddressSet, Endpoint, Scope, Unreachable};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{self as sock, AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How a connection attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The handshake was completed; [`ConnectPool::take`] hands the connection over.
    Accepted,
    /// An ICMP error came back.
    Icmp(Unreachable),
    /// No descriptor, port or buffer was left on this machine.
    LocalLimit,
    /// A rule of this machine forbade it.
    LocalPolicy,
    /// The neighbour did not answer ARP or ND.
    NoNeighbour,
    /// There is no route.
    NoRoute,
    /// The scope does not allow the endpoint: nothing was sent.
    OutsideScope,
    /// The host refused with a reset.
    Refused,
}

/// From where attempts leave; what is `None` follows the routing table.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Local address.
    pub address: Option<IpAddr>,
    /// Local port.
    pub port: Option<u16>,
    /// Interface.
    pub interface: Option<String>,
}

/// Connection attempts under way, each under a small number that the caller chooses. A socket
/// whose attempt was refused or given up serves the next attempt of the same number.
///
/// The scope is checked in [`ConnectPool::begin`], right before the packet leaves.
pub struct ConnectPool {
    epoll: OwnedFd,
    scope: Arc<Scope>,
    source: Source,
    own: Own,
    entries: Vec<Entry>,
    events: Vec<epoll::Event>,
    /// Room for what a socket's error queue says beside a message.
    control: Vec<u8>,
}

#[derive(Default)]
struct Entry {
    socket: Option<Socket>,
    /// Where the attempt goes that is under way.
    pending: Option<SocketAddr>,
}

struct Socket {
    fd: OwnedFd,
    family: AddressFamily,
}

/// Events taken from the kernel by one call.
const EVENTS_MAX: usize = 512;
/// Entries of a socket's error queue that one look reads.
const ERRORS_MAX: usize = 4;

impl ConnectPool {
    /// A pool without attempts. Fails when the kernel has no room for an epoll instance.
    pub fn new(scope: Arc<Scope>, source: Source) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            scope,
            source,
            // Where they cannot be read, an absent neighbour counts as unreachable.
            own: Own {
                addresses: interface::attached().map(|it| it.own).unwrap_or_default(),
            },
            entries: Vec::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            control: nix::cmsg_space!([u8; 128]),
        })
    }

    /// Begins attempt `number`; an attempt of that number that is still under way is given up.
    /// Returns how it ended, where that is known at once.
    pub fn begin(&mut self, number: u32, endpoint: Endpoint) -> Option<Ending> {
        if self.scope.check(endpoint).is_err() {
            return Some(Ending::OutsideScope);
        }
        self.give_up(number);
        let at = index(number);
        if self.entries.len() <= at {
            self.entries
                .resize_with(at.saturating_add(1), Entry::default);
        }
        let entry = self.entries.get_mut(at)?;
        let peer = endpoint.socket_address();
        let family = match peer {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let fresh = entry
            .socket
            .as_ref()
            .is_none_or(|socket| socket.family != family);
        if fresh {
            match open_socket(family, &self.source) {
                Ok(fd) => entry.socket = Some(Socket { fd, family }),
                Err(error) => return Some(local_ending(error)),
            }
        }
        let socket = entry.socket.as_ref()?;
        let mut outcome = sock::connect(&socket.fd, &peer);
        if outcome == Err(Errno::CONNABORTED) {
            // What is left of the attempt before is taken back by the first call (connect(2)).
            outcome = sock::connect(&socket.fd, &peer);
        }
        let ending = match outcome {
            Ok(()) => Some(Ending::Accepted),
            Err(Errno::INPROGRESS) => None,
            Err(Errno::CONNREFUSED) => Some(Ending::Refused),
            Err(error) => Some(local_ending(error)),
        };
        match ending {
            None => {
                entry.pending = Some(peer);
                if fresh && self.register(number).is_err() {
                    self.discard(number);
                    return Some(Ending::LocalLimit);
                }
                None
            }
            Some(Ending::Accepted) => {
                entry.pending = None;
                Some(self.verified(number, peer))
            }
            Some(ending) => {
                // An unconnected socket that is not registered yet would miss later events.
                self.discard(number);
                Some(ending)
            }
        }
    }

    /// Takes attempt `number` back without a packet; its socket serves again.
    pub fn give_up(&mut self, number: u32) {
        let Some(entry) = self.entries.get_mut(index(number)) else {
            return;
        };
        if entry.pending.take().is_none() {
            return;
        }
        if let Some(socket) = &entry.socket {
            let reusable = sock::connect_unspec(&socket.fd).is_ok();
            // An ICMP error that came meanwhile belongs to this attempt, not to the next.
            while reusable && icmp_error(&socket.fd, &mut self.control).is_some() {}
            if !reusable {
                self.discard(number);
            }
        }
    }

    /// Hands over the open connection of attempt `number`, non-blocking, set to end by a reset
    /// when it is closed.
    pub fn take(&mut self, number: u32) -> Option<OwnedFd> {
        let entry = self.entries.get_mut(index(number))?;
        if entry.pending.is_some() {
            return None;
        }
        let socket = entry.socket.take()?;
        // Without this the pool would go on hearing of the descriptor as long as it is open.
        let _ = epoll::delete(&self.epoll, &socket.fd);
        Some(socket.fd)
    }

    /// Closes what attempt `number` left, an open connection by a reset.
    pub fn discard(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(index(number)) {
            *entry = Entry::default();
        }
    }

    /// Waits until an attempt ends, at most `patience`, and adds the endings with their numbers to
    /// `endings`.
    pub fn wait(&mut self, patience: Duration, endings: &mut Vec<(u32, Ending)>) -> io::Result<()> {
        let timeout =
            rustix::event::Timespec::try_from(patience).unwrap_or(rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            });
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let data = event.data;
            let Ok(number) = u32::try_from(data.u64()) else {
                continue;
            };
            if let Some(ending) = self.look(number) {
                endings.push((number, ending));
            }
        }
        self.events = events;
        Ok(())
    }

    /// Asks the kernel how the attempt stands. An event is only a hint: it may belong to an
    /// attempt that was given up.
    fn look(&mut self, number: u32) -> Option<Ending> {
        let entry = self.entries.get_mut(index(number))?;
        let (peer, socket) = (entry.pending?, entry.socket.as_ref()?);
        let ending = match sock::connect(&socket.fd, &peer) {
            // A reset after the handshake: the port had accepted.
            Ok(()) | Err(Errno::ISCONN | Errno::CONNRESET | Errno::PIPE) => {
                entry.pending = None;
                return Some(self.verified(number, peer));
            }
            // "Port unreachable" ends an attempt with the same error as a reset; only the error
            // queue tells them apart (ip(7)).
            Err(Errno::CONNREFUSED) => {
                let Some(error) = icmp_error(&socket.fd, &mut self.control) else {
                    entry.pending = None;
                    return Some(Ending::Refused);
                };
                self.own.judge(&error, peer)
            }
            // An ICMP error that came while the kernel was busy with the socket leaves the
            // attempt as it is.
            Err(Errno::ALREADY | Errno::INPROGRESS) => {
                let error = icmp_error(&socket.fd, &mut self.control)?;
                self.own.judge(&error, peer)
            }
            Err(error) => match icmp_error(&socket.fd, &mut self.control) {
                Some(error) => self.own.judge(&error, peer),
                // Nobody says why: that shows nothing, and is asked again.
                None if error == Errno::HOSTUNREACH => Ending::LocalLimit,
                None => local_ending(error),
            },
        };
        self.give_up(number);
        Some(ending)
    }

    /// A port of this machine from the range that connections use can connect to itself (RFC 9293
    /// §3.5, simultaneous open): nothing listens there.
    fn verified(&mut self, number: u32, peer: SocketAddr) -> Ending {
        let own = self
            .entries
            .get(index(number))
            .and_then(|entry| entry.socket.as_ref())
            .and_then(|socket| local_address(&socket.fd));
        if own == Some(peer) {
            self.discard(number);
            return Ending::LocalLimit;
        }
        Ending::Accepted
    }

    fn register(&self, number: u32) -> io::Result<()> {
        let socket = self
            .entries
            .get(index(number))
            .and_then(|entry| entry.socket.as_ref());
        if let Some(socket) = socket {
            let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
            let data = epoll::EventData::new_u64(u64::from(number));
            epoll::add(&self.epoll, &socket.fd, data, flags)?;
        }
        Ok(())
    }
}

fn open_socket(family: AddressFamily, source: &Source) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = sock::socket_with(family, SocketType::STREAM, flags, None)?;
    // Closing sends a reset and leaves no TIME_WAIT behind, so no run uses the local ports up.
    sock::sockopt::set_socket_linger(&fd, Some(Duration::ZERO))?;
    let queued = if family == AddressFamily::INET {
        setsockopt(&fd, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(&fd, sockopt::Ipv6RecvErr, &true)
    };
    queued.map_err(of_nix)?;
    if let Some(interface) = &source.interface {
        setsockopt(&fd, sockopt::BindToDevice, &interface.into()).map_err(of_nix)?;
    }
    if source.address.is_some() || source.port.is_some() {
        bind_source(&fd, family, source)?;
    }
    Ok(fd)
}

fn bind_source(fd: &OwnedFd, family: AddressFamily, source: &Source) -> Result<(), Errno> {
    let unspecified = if family == AddressFamily::INET {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let address = source.address.unwrap_or(unspecified);
    if let Some(port) = source.port {
        sock::sockopt::set_socket_reuseaddr(fd, true)?;
        return sock::bind(fd, &SocketAddr::new(address, port));
    }
    // The port is chosen at connect, where the whole tuple is known (ip(7)).
    setsockopt(fd, sockopt::IpBindAddressNoPort, &true).map_err(of_nix)?;
    sock::bind(fd, &SocketAddr::new(address, 0))
}

/// What an error means that the kernel raised before or without a packet.
fn local_ending(error: Errno) -> Ending {
    match error {
        Errno::ACCESS | Errno::PERM => Ending::LocalPolicy,
        Errno::NETUNREACH
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NODEV
        | Errno::AFNOSUPPORT
        | Errno::INVAL => Ending::NoRoute,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN, EADDRINUSE and whatever else:
        // never taken for an answer of the host.
        _ => Ending::LocalLimit,
    }
}

/// An ICMP error from a socket's queue.
struct IcmpError {
    code: Unreachable,
    /// Who sent it.
    offender: Option<IpAddr>,
}

/// The addresses of this machine. The kernel reports some of its own decisions as ICMP errors
/// that it sends to itself.
struct Own {
    addresses: AddressSet,
}

impl Own {
    fn judge(&self, error: &IcmpError, peer: SocketAddr) -> Ending {
        let own = error
            .offender
            .is_some_and(|offender| offender != peer.ip() && self.addresses.contains(offender));
        match error.code {
            code if !own => Ending::Icmp(code),
            // "Host unreachable" from oneself: ARP or ND found nobody (RFC 1122 §2.3.2.2,
            // RFC 4861 §7.2.2).
            Unreachable::V4(1) | Unreachable::V6(3) => Ending::NoNeighbour,
            _ => Ending::LocalPolicy,
        }
    }
}

/// The first ICMP error in the socket's queue.
fn icmp_error(fd: &OwnedFd, control: &mut Vec<u8>) -> Option<IcmpError> {
    for _ in 0..ERRORS_MAX {
        let message = recvmsg::<SockaddrStorage>(
            fd.as_raw_fd(),
            &mut [],
            Some(&mut *control),
            MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
        )
        .ok()?;
        for entry in message.cmsgs().ok()? {
            match entry {
                ControlMessageOwned::Ipv4RecvErr(error, from) if error.ee_origin == ORIGIN_ICMP => {
                    let from = from.map(|from| u32::from_be(from.sin_addr.s_addr));
                    return Some(IcmpError {
                        code: Unreachable::of_v4(error.ee_type, error.ee_code),
                        offender: from.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
                    });
                }
                ControlMessageOwned::Ipv6RecvErr(error, from)
                    if error.ee_origin == ORIGIN_ICMPV6 =>
                {
                    return Some(IcmpError {
                        code: Unreachable::of_v6(error.ee_type, error.ee_code),
                        offender: from
                            .map(|from| IpAddr::V6(Ipv6Addr::from(from.sin6_addr.s6_addr))),
                    });
                }
                _ => {}
            }
        }
    }
    None
}

fn local_address(fd: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(sock::getsockname(fd).ok()?).ok()
}

fn of_nix(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

// Origins of `struct sock_extended_err` (ip(7)).
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMPV6: u8 = 3;
