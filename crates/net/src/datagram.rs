//! Unconnected UDP sockets for many probes to many hosts, the replies to them, and the ICMP errors
//! about them from the sockets' error queues (`ip(7)`, `IP_RECVERR`). Needs no privilege.
//!
//! What is not here: what is asked, what a reply proves, and which probe goes when.

use crate::connect::Source;
use crate::interface;
use crate::never_send::gets_no_bytes;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag, SockType,
    SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockname, recvmsg, sendmmsg, setsockopt,
    socket, sockopt,
};
use portolan_model::{AddressSet, Endpoint, Refusal, Scope, Transport, Unreachable};
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Datagrams of one call of [`Datagrams::send`] that go out together.
pub const BATCH_MAX: usize = 64;
/// Longest reply that is read; the rest of a longer one is cut.
pub const REPLY_MAX: usize = 2_048;

/// Sockets for both IP versions, each a source with a port of its own.
///
/// The scope is checked in [`Datagrams::send`], right before a datagram leaves.
#[derive(Debug)]
pub struct Datagrams {
    scope: Arc<Scope>,
    source: Source,
    own: AddressSet,
    sockets: Vec<Socket>,
    sources: u8,
    /// Room for what comes beside a message.
    control: Vec<u8>,
    /// Datagrams that sockets had no room for, by socket.
    dropped: Vec<u32>,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    source: u8,
    family: AddressFamily,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub to: Endpoint,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many left, from the start of the batch.
    pub count: usize,
    /// Why the one after them did not.
    pub unsent: Option<Unsent>,
}

/// Why a datagram did not leave. None of it says anything of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The kernel has no room now.
    Full,
    /// The port is one of those that get no bytes.
    NeverSend,
    /// There is no route, or no socket of that IP version.
    NoRoute,
    /// The scope does not allow it.
    OutsideScope(Refusal),
    /// A rule of this machine forbids it.
    Policy,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A datagram.
    Reply {
        /// The source it came to.
        source: u8,
        /// Where it came from.
        from: Endpoint,
        /// What is in it, up to [`REPLY_MAX`] bytes.
        bytes: &'a [u8],
    },
    /// An ICMP error about a datagram that left.
    Error {
        /// The source it had left from.
        source: u8,
        /// Where it went.
        to: Endpoint,
        /// What the error says.
        code: Unreachable,
        /// Who says it.
        from: Option<IpAddr>,
    },
    /// The neighbour did not answer ARP or ND: the datagram never reached the wire.
    NoNeighbour {
        /// Where it should have gone.
        to: Endpoint,
    },
    /// A rule of this machine answered in place of the network.
    Policy {
        /// Where it should have gone.
        to: Endpoint,
    },
}

/// Room for datagrams that wait to be read; the kernel gives what it allows (`socket(7)`,
/// `rmem_max`).
const RECEIVE_BYTES: usize = 4 << 20;
/// A socket reports ICMP errors about earlier datagrams when the next is sent. After so many in a
/// row it is the datagram itself that is refused.
const PENDING_ERRORS_MAX: usize = 8;

impl Datagrams {
    /// `sources` sources for each IP version that this machine has. A source port that the user
    /// gave leaves room for one only.
    ///
    /// # Errors
    /// What the system said when not even one socket could be opened.
    pub fn open(scope: Arc<Scope>, source: Source, sources: u8) -> io::Result<Self> {
        let sources = if source.port.is_some() {
            1
        } else {
            sources.max(1)
        };
        let mut sockets = Vec::new();
        let mut failed = None;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for number in 0..sources {
                match open_socket(family, &source, source.port) {
                    Ok(fd) => sockets.push(Socket {
                        fd,
                        source: number,
                        family,
                    }),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
        }
        if let (true, Some(error)) = (sockets.is_empty(), failed) {
            return Err(error.into());
        }
        Ok(Self {
            scope,
            source,
            // Where they cannot be read, an absent neighbour counts as unreachable.
            own: interface::attached().map(|it| it.own).unwrap_or_default(),
            dropped: vec![0; sockets.len()],
            sockets,
            sources,
            control: nix::cmsg_space!([u8; 256]),
        })
    }

    /// How many sources there are, those added later left out.
    pub const fn sources(&self) -> u8 {
        self.sources
    }

    /// Adds a source with the port `port`, for services that answer to no other, and tells its
    /// number.
    ///
    /// # Errors
    /// What the system said: the port may be taken, or not be for this process.
    pub fn claim(&mut self, family: Family, port: u16) -> io::Result<u8> {
        let family = family.address_family();
        let fd = open_socket(family, &self.source, Some(port))?;
        let highest = self.sockets.iter().map(|it| it.source).max();
        let claimed = highest.and_then(|it| it.checked_add(1));
        let claimed = claimed.ok_or(io::ErrorKind::Other)?;
        self.sockets.push(Socket {
            fd,
            source: claimed,
            family,
        });
        self.dropped.push(0);
        Ok(claimed)
    }

    /// Sends datagrams of one batch, all of one IP version, from a source. Those after the first
    /// that does not leave are not tried.
    pub fn send(&mut self, source: u8, batch: &[Outgoing<'_>]) -> Sent {
        let allowed = batch.iter().take(BATCH_MAX).map(|it| self.check(*it));
        let mut refused = None;
        let mut count = 0_usize;
        for outcome in allowed {
            if let Err(unsent) = outcome {
                refused = Some(unsent);
                break;
            }
            count = count.saturating_add(1);
        }
        let batch = batch.get(..count).unwrap_or_default();
        let Some(first) = batch.first() else {
            return Sent {
                count: 0,
                unsent: refused,
            };
        };
        let family = family_of(first.to.address);
        let Some(socket) = self.socket(source, family) else {
            return Sent {
                count: 0,
                unsent: Some(Unsent::NoRoute),
            };
        };
        match send_batch(socket, batch) {
            (sent, None) if sent == count => Sent {
                count: sent,
                unsent: refused,
            },
            (sent, None) => Sent {
                count: sent,
                unsent: Some(Unsent::Full),
            },
            (sent, Some(error)) => Sent {
                count: sent,
                unsent: Some(unsent_for(error)),
            },
        }
    }

    /// Takes up to `count_max` errors and as many replies from each socket.
    pub fn hear(&mut self, count_max: usize, mut take: impl FnMut(Heard<'_>)) {
        let mut buffer = [0_u8; REPLY_MAX];
        let Self {
            sockets,
            control,
            own,
            dropped,
            ..
        } = self;
        for (socket, dropped) in sockets.iter().zip(dropped) {
            for _ in 0..count_max {
                match next_error(socket, control, own) {
                    Next::Nothing => break,
                    Next::Other => {}
                    Next::Heard(heard) => take(heard),
                }
            }
            for _ in 0..count_max {
                match next_reply(socket, control, &mut buffer, dropped) {
                    Next::Nothing => break,
                    Next::Other => {}
                    Next::Heard(heard) => take(heard),
                }
            }
        }
    }

    /// Waits until something came in, at most `patience`.
    ///
    /// # Errors
    /// What the system said, an interruption apart.
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        let mut fds: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|it| PollFd::new(it.fd.as_fd(), PollFlags::POLLIN))
            .collect();
        let patience = u16::try_from(patience.as_millis()).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(patience)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Datagrams that came in and found no room, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(|it| u64::from(*it)).sum()
    }

    /// The local port of a source.
    pub fn port(&self, source: u8, family: Family) -> Option<u16> {
        let socket = self.socket(source, family.address_family())?;
        let address: SockaddrStorage = getsockname(socket.fd.as_raw_fd()).ok()?;
        Some(endpoint_of(&address)?.port)
    }

    fn check(&self, outgoing: Outgoing<'_>) -> Result<(), Unsent> {
        self.scope
            .check(outgoing.to)
            .map_err(Unsent::OutsideScope)?;
        if gets_no_bytes(outgoing.to.port) {
            return Err(Unsent::NeverSend);
        }
        Ok(())
    }

    /// The socket of a source; where the user's port leaves one only, that.
    fn socket(&self, source: u8, family: AddressFamily) -> Option<&Socket> {
        let of_family = |it: &&Socket| it.family == family;
        let mut fitting = self.sockets.iter().filter(of_family);
        let exact = fitting.find(|it| it.source == source);
        exact.or_else(|| self.sockets.iter().find(of_family))
    }
}

/// A version of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn address_family(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// The address that packets to `address` leave from. Nothing is sent.
///
/// # Errors
/// What the system said, as that there is no route.
pub fn source_to(address: IpAddr, source: &Source) -> io::Result<IpAddr> {
    let fd = open_socket(family_of(address), source, None)?;
    // A port is needed to connect, and any will do (udp(7): connecting sends nothing).
    let peer = SockaddrStorage::from(SocketAddr::new(address, 9));
    nix::sys::socket::connect(fd.as_raw_fd(), &peer)?;
    let local: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let local = endpoint_of(&local).ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(local.address)
}

enum Next<'a> {
    Heard(Heard<'a>),
    Nothing,
    /// Something that says nothing.
    Other,
}

fn family_of(address: IpAddr) -> AddressFamily {
    Family::of(address).address_family()
}

fn open_socket(
    family: AddressFamily,
    source: &Source,
    port: Option<u16>,
) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    let unspecified = if family == AddressFamily::Inet {
        setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?;
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    setsockopt(&fd, sockopt::RxqOvfl, &1)?;
    // Less room than wished for is enough for most runs, and drops are counted.
    let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BYTES);
    if let Some(interface) = &source.interface {
        setsockopt(&fd, sockopt::BindToDevice, &OsString::from(interface))?;
    }
    let address = source.address.filter(|it| family_of(*it) == family);
    let local = SocketAddr::new(address.unwrap_or(unspecified), port.unwrap_or(0));
    bind(fd.as_raw_fd(), &SockaddrStorage::from(local))?;
    Ok(fd)
}

/// Sends as many as go; an error is that of the datagram after them.
fn send_batch(socket: &Socket, batch: &[Outgoing<'_>]) -> (usize, Option<Errno>) {
    let mut sent = 0_usize;
    let mut errors = 0_usize;
    while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
        let parts: Vec<[IoSlice<'_>; 1]> = rest.iter().map(|it| [IoSlice::new(it.bytes)]).collect();
        let peers: Vec<Option<SockaddrStorage>> = rest
            .iter()
            .map(|it| Some(SockaddrStorage::from(it.to.socket_address())))
            .collect();
        let mut headers = MultiHeaders::preallocate(rest.len(), None);
        let nothing: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let fd = socket.fd.as_raw_fd();
        let outcome = sendmmsg(fd, &mut headers, &parts, &peers, nothing, flags);
        match outcome.map(Iterator::count) {
            Ok(0) => return (sent, None),
            Ok(count) => {
                sent = sent.saturating_add(count);
                errors = 0;
            }
            Err(error) if is_full(error) => return (sent, Some(error)),
            Err(error) => {
                errors = errors.saturating_add(1);
                if errors >= PENDING_ERRORS_MAX {
                    return (sent, Some(error));
                }
            }
        }
    }
    (sent, None)
}

const fn is_full(error: Errno) -> bool {
    matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)
}

fn unsent_for(error: Errno) -> Unsent {
    match error {
        // Errors about earlier datagrams kept coming: this one had no turn.
        error if is_full(error) || error == Errno::ECONNREFUSED => Unsent::Full,
        Errno::EPERM | Errno::EACCES => Unsent::Policy,
        _ => Unsent::NoRoute,
    }
}

fn next_reply<'a>(
    socket: &Socket,
    control: &mut [u8],
    buffer: &'a mut [u8; REPLY_MAX],
    dropped: &mut u32,
) -> Next<'a> {
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let fd = socket.fd.as_raw_fd();
    let (length, from) = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(control), flags) {
        Ok(message) => {
            for entry in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::RxqOvfl(count) = entry {
                    *dropped = count;
                }
            }
            (message.bytes, message.address)
        }
        Err(Errno::EAGAIN) => return Next::Nothing,
        // An ICMP error about an earlier datagram; the error queue has it in full.
        Err(_) => return Next::Other,
    };
    let from = from.as_ref().and_then(endpoint_of);
    match (from, buffer.get(..length)) {
        (Some(from), Some(bytes)) => Next::Heard(Heard::Reply {
            source: socket.source,
            from,
            bytes,
        }),
        _ => Next::Other,
    }
}

fn next_error(socket: &Socket, control: &mut [u8], own: &AddressSet) -> Next<'static> {
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.fd.as_raw_fd();
    let message = match recvmsg::<SockaddrStorage>(fd, &mut [], Some(control), flags) {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return Next::Nothing,
        Err(_) => return Next::Other,
    };
    // The error queue names where the datagram went (ip(7)).
    let Some(to) = message.address.as_ref().and_then(endpoint_of) else {
        return Next::Other;
    };
    for entry in message.cmsgs().into_iter().flatten() {
        let (code, from) = match entry {
            ControlMessageOwned::Ipv4RecvErr(error, from) if error.ee_origin == ORIGIN_ICMP => {
                let from = from.map(|it| u32::from_be(it.sin_addr.s_addr));
                (
                    Unreachable::of_v4(error.ee_type, error.ee_code),
                    from.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
                )
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) if error.ee_origin == ORIGIN_ICMPV6 => (
                Unreachable::of_v6(error.ee_type, error.ee_code),
                from.map(|it| IpAddr::V6(Ipv6Addr::from(it.sin6_addr.s6_addr))),
            ),
            _ => continue,
        };
        let is_own = from.is_some_and(|from| from != to.address && own.contains(from));
        return Next::Heard(match code {
            code if !is_own => Heard::Error {
                source: socket.source,
                to,
                code,
                from,
            },
            // "Host unreachable" from oneself: ARP or ND found nobody (RFC 1122 §2.3.2.2,
            // RFC 4861 §7.2.2).
            Unreachable::V4(1) | Unreachable::V6(3) => Heard::NoNeighbour { to },
            _ => Heard::Policy { to },
        });
    }
    Next::Other
}

fn endpoint_of(address: &SockaddrStorage) -> Option<Endpoint> {
    let v4 = address.as_sockaddr_in();
    let v4 = v4.map(|it: &SockaddrIn| (IpAddr::V4(it.ip()), it.port()));
    let v6 = address.as_sockaddr_in6();
    let v6 = v6.map(|it: &SockaddrIn6| (IpAddr::V6(it.ip()), it.port()));
    let (ip, port) = v4.or(v6)?;
    Some(Endpoint::new(ip, Transport::Udp, port))
}

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` of `linux/errqueue.h`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMPV6: u8 = 3;
