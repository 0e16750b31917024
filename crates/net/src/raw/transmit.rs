//! Sending whole frames by one interface, many at once. The scope is checked here for every frame,
//! read from the frame's own bytes, whoever made it.
//!
//! What is not here: making frames (`portolan-wire`), and the pace, which is the engine's.

use super::bare::{Bare, Way};
use super::packet::{self, BATCH_MAX, Outgoing, Prepared};
use super::xdp::Sender;
use crate::link::{Link, LinkKind};
use crate::never_send::gets_no_bytes;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, connect, setsockopt, socket,
    sockopt,
};
use portolan_model::{AddressSet, Endpoint, Refusal, Scope, Text, Transport};
use portolan_wire::{Carried, Destination, LinkType, destination};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Why nothing can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransmitError {
    /// The interface has link headers that are not spoken here.
    #[error(
        "{name} frames packets in a way that is not supported; use another interface, or scan \
         without raw packets"
    )]
    Framing {
        /// The interface.
        name: Text,
    },
    /// A call failed.
    #[error("frames cannot be sent by {name}: {action} failed ({})", .errno.desc())]
    Kernel {
        /// The interface.
        name: Text,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Why a frame was not queued. But for [`PushError::Full`] it never may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room before the next [`Transmitter::flush`].
    #[error("the queue of frames is full")]
    Full,
    /// A printer, among others, would act on what it is sent.
    #[error("{endpoint} gets no bytes")]
    NeverSend {
        /// Where the bytes would have gone.
        endpoint: Endpoint,
    },
    /// The scope does not allow the address, or the port.
    #[error("{address} is outside the scope: {refusal}")]
    OutsideScope {
        /// Where the frame would have gone.
        address: IpAddr,
        /// Why it may not.
        refusal: Refusal,
    },
    /// The frame is longer than the interface carries.
    #[error("a frame of {length} bytes is longer than the {length_max} of the interface")]
    TooLong {
        /// Bytes of the frame.
        length: usize,
        /// Most bytes of a frame.
        length_max: usize,
    },
    /// The frame is no probe that could be read.
    #[error("the frame is no probe")]
    Unreadable,
}

/// What became of the frames of one [`Transmitter::flush`].
#[derive(Debug)]
#[must_use]
pub struct Sent {
    /// Frames that the kernel took, in the order in which they were pushed. The others were not
    /// sent.
    pub sent: usize,
    /// Why the kernel did not take the first of the others: `ENOBUFS` and `EAGAIN` when there is no
    /// room now, `EMSGSIZE` when it alone was too long, `ENETDOWN` or `ENXIO` when the interface is
    /// down or gone.
    pub error: Option<io::Error>,
}

/// Sends frames by one interface.
///
/// Frames are pushed, which checks and copies them, and go out together by the next
/// [`flush`](Self::flush). On the loopback interface IPv4 leaves by a raw IP socket: the kernel
/// takes no IPv4 frame for loopback addresses or from its own addresses that was made by a packet
/// socket (RFC 1812 §5.3.7).
#[derive(Debug)]
pub struct Transmitter {
    socket: OwnedFd,
    /// For IPv4 on the loopback interface.
    local: Option<OwnedFd>,
    /// What frames leave by instead of the packet socket.
    sender: Option<Sender>,
    bypass: bool,
    addresses: Addresses,
    gate: Gate,
    bytes: Box<[u8]>,
    used: usize,
    frames: Vec<Queued>,
    refused: u64,
}

/// Whom frames may be for.
#[derive(Debug)]
struct Gate {
    scope: Arc<Scope>,
    gateways: Vec<IpAddr>,
    all_nodes: AllNodes,
    link_type: LinkType,
    length_max: usize,
}

/// Whether every node of the segment may be asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AllNodes {
    /// Echo requests to all nodes may leave, and nothing else to any group.
    MayBeAsked,
    No,
}

/// Where the kernel is told to send what has no link header.
#[derive(Debug)]
struct Addresses {
    v4: libc::sockaddr_ll,
    v6: libc::sockaddr_ll,
}

/// A frame in the buffer.
#[derive(Clone, Copy, Debug)]
struct Queued {
    start: usize,
    end: usize,
    door: Door,
}

/// Which socket a frame leaves by, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// The packet socket; the kernel reads the link header (Linux 5.1 and later).
    Framed,
    /// The raw IP socket, without the link header.
    Local,
    /// The packet socket; the kernel is told the family.
    V4,
    V6,
}

impl Transmitter {
    /// Most frames between two flushes.
    pub const FRAMES_MAX: usize = BATCH_MAX;

    /// Opens a way out by `link` for what `scope` allows. The hardware addresses of `gateways` may
    /// be asked for although they are outside the scope; nothing else may be sent to them.
    ///
    /// # Errors
    /// When the kernel refuses, or frames of the interface are not spoken here.
    pub fn open(
        link: &Link,
        scope: Arc<Scope>,
        gateways: &[IpAddr],
    ) -> Result<Self, TransmitError> {
        Self::open_through(link, |link_type| Gate {
            scope,
            gateways: gateways.to_vec(),
            all_nodes: AllNodes::No,
            link_type,
            length_max: length_max(link.mtu, link_type),
        })
    }

    /// Opens a way out by `link` for echo requests to all of its nodes (`ff02::1`, RFC 4291 §2.7.1)
    /// and for nothing else at all. Such a request reaches every neighbour: whether each of them
    /// may be asked is for the caller to know.
    ///
    /// # Errors
    /// As [`Transmitter::open`].
    pub fn open_to_all_nodes(link: &Link) -> Result<Self, TransmitError> {
        Self::open_through(link, |link_type| Gate {
            scope: Arc::new(Scope::of(AddressSet::new())),
            gateways: Vec::new(),
            all_nodes: AllNodes::MayBeAsked,
            link_type,
            length_max: length_max(link.mtu, link_type),
        })
    }

    fn open_through(
        link: &Link,
        gate: impl FnOnce(LinkType) -> Gate,
    ) -> Result<Self, TransmitError> {
        let failed = |action| {
            move |errno| TransmitError::Kernel {
                name: link.name.clone(),
                action,
                errno,
            }
        };
        let link_type = link
            .kind
            .link_type()
            .ok_or_else(|| TransmitError::Framing {
                name: link.name.clone(),
            })?;
        let socket = packet::open(link_type).map_err(failed("opening a packet socket"))?;
        packet::bind(&socket, link.index, 0).map_err(failed("binding the socket"))?;
        let bypass = packet::set_number(&socket, libc::PACKET_QDISC_BYPASS, 1).is_ok();
        let local = match link.kind {
            LinkKind::Loopback => Some(local().map_err(failed("opening a raw socket"))?),
            _ => None,
        };
        for socket in [Some(&socket), local.as_ref()].into_iter().flatten() {
            // The limit of the system holds where it may not be passed.
            if setsockopt(socket, sockopt::SndBufForce, &SEND_BYTES).is_err() {
                let _ = setsockopt(socket, sockopt::SndBuf, &SEND_BYTES);
            }
        }
        let address = |protocol| packet::link_address(link.index, protocol);
        Ok(Self {
            socket,
            local,
            sender: None,
            bypass,
            addresses: Addresses {
                v4: address(ETH_P_IP),
                v6: address(ETH_P_IPV6),
            },
            gate: gate(link_type),
            bytes: vec![0; BUFFER_BYTES].into_boxed_slice(),
            used: 0,
            frames: Vec::with_capacity(Self::FRAMES_MAX),
            refused: 0,
        })
    }

    /// Lets frames leave by `sender` from now on, or else by the packet socket. What may be sent
    /// stays as it is, but for frames that a sender has no room for.
    pub fn send_by(&mut self, sender: Option<Sender>) {
        if sender.is_some() {
            self.gate.length_max = self.gate.length_max.min(Sender::LENGTH_MAX);
        }
        self.sender = sender;
    }

    /// What is queued, which was checked, to be sent again and again with the least that has to be
    /// done. For Ethernet; all frames have to be as long as the first.
    pub fn into_bare(self) -> Bare {
        let bytes = |it: &Queued| self.bytes.get(it.start..it.end).unwrap_or_default();
        let length = self.frames.first().map_or(0, |it| bytes(it).len());
        let frames = self
            .frames
            .iter()
            .map(bytes)
            .filter(|it| it.len() == length);
        Bare(match self.sender {
            Some(mut sender) => {
                sender.prepare(frames);
                Way::Frames { sender, length }
            }
            None => Way::Packets(Prepared::new(self.socket, frames.map(Into::into).collect())),
        })
    }

    /// Whether frames pass by the queues of traffic control (`PACKET_QDISC_BYPASS`).
    pub const fn bypasses_queues(&self) -> bool {
        self.bypass
    }

    /// Frames refused so far because they never may be sent.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Frames that wait for the next flush.
    pub const fn queued(&self) -> usize {
        self.frames.len()
    }

    /// Queues a copy of `frame`, which begins with the link header where the interface has one.
    ///
    /// # Errors
    /// When it may not be sent, or there is no room. Nothing is queued then.
    #[inline]
    pub fn push(&mut self, frame: &[u8]) -> Result<(), PushError> {
        let end = self.used.saturating_add(frame.len());
        if self.frames.len() >= Self::FRAMES_MAX {
            return Err(PushError::Full);
        }
        let destination = self.gate.check(frame).inspect_err(|_| {
            self.refused = self.refused.saturating_add(1);
        })?;
        let room = self.bytes.get_mut(self.used..end).ok_or(PushError::Full)?;
        room.copy_from_slice(frame);
        let door = self.door(&destination);
        let bytes = match door {
            Door::Local => ipv4_packet(frame),
            Door::Framed | Door::V4 | Door::V6 => 0..frame.len(),
        };
        self.frames.push(Queued {
            start: self.used.saturating_add(bytes.start),
            end: self.used.saturating_add(bytes.end),
            door,
        });
        self.used = end;
        Ok(())
    }

    const fn door(&self, to: &Destination) -> Door {
        match (self.gate.link_type, to.address, to.carried) {
            (LinkType::Bare, IpAddr::V4(_), _) => Door::V4,
            (LinkType::Bare, IpAddr::V6(_), _) => Door::V6,
            (LinkType::Ethernet, _, Carried::ArpRequest) => Door::Framed,
            (LinkType::Ethernet, IpAddr::V4(_), _) if self.local.is_some() => Door::Local,
            (LinkType::Ethernet, _, _) => Door::Framed,
        }
    }

    /// Sends what is queued, without waiting. The queue is empty afterwards: what was not sent is
    /// the caller's to push again.
    pub fn flush(&mut self) -> Sent {
        let mut sent = 0;
        let mut error = None;
        while sent < self.frames.len() {
            match self.send_from(sent) {
                Ok(taken) => sent += taken.max(1),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    error = Some(errno.into());
                    break;
                }
            }
        }
        self.frames.clear();
        self.used = 0;
        Sent { sent, error }
    }

    /// Sends frames from number `first` on, as many as leave by the same socket.
    fn send_from(&mut self, first: usize) -> Result<usize, Errno> {
        let rest = self.frames.get(first..).unwrap_or_default();
        let by_local = |it: &Queued| it.door == Door::Local;
        let through_local = rest.first().is_some_and(by_local);
        if let Some(sender) = &mut self.sender {
            let bytes = &self.bytes;
            let frames = rest
                .iter()
                .map(|it| bytes.get(it.start..it.end).unwrap_or_default());
            return sender.send_many(frames);
        }
        let socket = match &self.local {
            Some(local) if through_local => local,
            _ => &self.socket,
        };
        let run = rest
            .iter()
            .take_while(|it| by_local(it) == through_local)
            .map(|it| Outgoing {
                bytes: self.outgoing(*it),
                to: self.addresses.of(it.door),
            });
        packet::send_many(socket, run)
    }

    fn outgoing(&self, frame: Queued) -> &[u8] {
        self.bytes.get(frame.start..frame.end).unwrap_or_default()
    }
}

impl AsFd for Transmitter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Addresses {
    const fn of(&self, door: Door) -> Option<&libc::sockaddr_ll> {
        match door {
            Door::Framed | Door::Local => None,
            Door::V4 => Some(&self.v4),
            Door::V6 => Some(&self.v6),
        }
    }
}

impl Gate {
    /// Whom `frame` is for, when it may be sent.
    #[inline]
    fn check(&self, frame: &[u8]) -> Result<Destination, PushError> {
        if frame.len() > self.length_max {
            return Err(PushError::TooLong {
                length: frame.len(),
                length_max: self.length_max,
            });
        }
        let to = destination(frame, self.link_type).ok_or(PushError::Unreadable)?;
        let outside = |refusal| PushError::OutsideScope {
            address: to.address,
            refusal,
        };
        match to.carried {
            Carried::ArpRequest | Carried::NeighbourSolicitation
                if self.gateways.contains(&to.address) => {}
            Carried::ArpRequest | Carried::NeighbourSolicitation => {
                self.scope.check_address(to.address).map_err(outside)?;
            }
            Carried::Icmp {
                kind: ECHO_REQUEST_V6,
            } if self.all_nodes == AllNodes::MayBeAsked && to.address == ALL_NODES => {}
            // Whatever else ICMP has would change the way of other packets.
            Carried::Icmp { kind } if is_request(to.address, kind) => {
                self.scope.check_address(to.address).map_err(outside)?;
            }
            Carried::Icmp { .. } => return Err(PushError::Unreadable),
            Carried::Tcp {
                port,
                payload_length,
            } => {
                let endpoint = Endpoint::new(to.address, Transport::Tcp, port);
                self.scope.check(endpoint).map_err(outside)?;
                if payload_length > 0 && gets_no_bytes(port) {
                    return Err(PushError::NeverSend { endpoint });
                }
            }
            Carried::Udp { port, .. } => {
                let endpoint = Endpoint::new(to.address, Transport::Udp, port);
                self.scope.check(endpoint).map_err(outside)?;
                if gets_no_bytes(port) {
                    return Err(PushError::NeverSend { endpoint });
                }
            }
        }
        Ok(to)
    }
}

/// Echo requests, and for IPv4 timestamp requests (RFC 792, RFC 4443 §4.1).
const fn is_request(address: IpAddr, kind: u8) -> bool {
    match address {
        IpAddr::V4(_) => matches!(kind, 8 | 13),
        IpAddr::V6(_) => kind == ECHO_REQUEST_V6,
    }
}

/// A raw socket whose packets are delivered on this machine, whatever address they are for: the
/// kernel chooses the way by the address that the socket is connected to.
fn local() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // The packets have IP headers of their own (raw(7)), and nothing is received.
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?;
    let loopback = std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    connect(socket.as_raw_fd(), &SockaddrIn::from(loopback))?;
    Ok(socket)
}

/// Where the IPv4 packet of an Ethernet frame stands, by its total length (RFC 791 §3.1): raw sockets
/// take padding behind it for data.
fn ipv4_packet(frame: &[u8]) -> Range<usize> {
    let length = frame
        .get(ETHERNET_HEADER + 2..)
        .and_then(|it| it.first_chunk());
    let length = length.map_or(0, |it| u16::from_be_bytes(*it));
    ETHERNET_HEADER..ETHERNET_HEADER + usize::from(length)
}

/// The longest frame of a link whose longest packet has `mtu` bytes.
fn length_max(mtu: u32, link_type: LinkType) -> usize {
    let header = match link_type {
        LinkType::Bare => 0,
        LinkType::Ethernet => ETHERNET_HEADER,
    };
    usize::try_from(mtu)
        .unwrap_or(usize::MAX)
        .saturating_add(header)
        .min(BUFFER_BYTES)
}

/// All nodes of a segment (RFC 4291 §2.7.1).
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
/// RFC 4443 §4.1.
const ECHO_REQUEST_V6: u8 = 128;
const ETHERNET_HEADER: usize = 14;
/// Room for the frames of one flush, where they are not all of the longest kind.
const BUFFER_BYTES: usize = 256 << 10;
/// What the kernel may hold of frames that the interface has not sent.
const SEND_BYTES: usize = 4 << 20;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_model::PortSet;
    use portolan_wire::arp::ArpRequest;
    use portolan_wire::icmp::{EchoRequest, TimestampRequest};
    use portolan_wire::ndp::NeighbourSolicitation;
    use portolan_wire::tcp::AckProbe;
    use portolan_wire::udp::UdpProbe;
    use portolan_wire::{Envelope, Framing, Mac, Syn, SynTemplate};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const FRAMINGS: [Framing; 2] = [
        Framing::Bare,
        Framing::Ethernet {
            source: MAC,
            destination: MAC,
        },
    ];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `192.0.2.0/25` and `2001:db8::/64` without the addresses that end in 9, ports below 10,000,
    /// and the gateways `203.0.113.1` and `fe80::1`.
    fn gate(link_type: LinkType) -> Gate {
        let network = |address, prefix| AddressSet::network(ip(address), prefix).unwrap();
        let mut scope = Scope::of(AddressSet::union_of([
            network("192.0.2.0", 25),
            network("2001:db8::", 64),
        ]));
        scope.denied = [ip("192.0.2.9"), ip("2001:db8::9")].into_iter().collect();
        scope.ports = Some(PortSet::range(0, 9_999));
        Gate {
            scope: Arc::new(scope),
            gateways: vec![ip("203.0.113.1"), ip("fe80::1")],
            all_nodes: AllNodes::No,
            link_type,
            length_max: length_max(1_500, link_type),
        }
    }

    fn source(to: IpAddr) -> IpAddr {
        ip(if to.is_ipv4() {
            "192.0.2.200"
        } else {
            "2001:db8:1::1"
        })
    }

    fn envelope(framing: Framing, to: IpAddr) -> Envelope {
        Envelope {
            framing,
            addresses: portolan_wire::Addresses {
                source: source(to),
                destination: to,
            },
            hop_limit: 64,
            mtu: 9_000,
        }
    }

    fn written(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut frame = vec![0; 9_000];
        let length = write(&mut frame);
        frame.truncate(length);
        frame
    }

    fn syn(framing: Framing, to: &str, port: u16) -> Vec<u8> {
        let template = SynTemplate::new(framing, source(ip(to)));
        let syn = Syn {
            next_hop: None,
            destination: ip(to),
            destination_port: port,
            source_port: 40_000,
            sequence: 7,
        };
        written(|out| template.write(&syn, out).unwrap())
    }

    fn udp(framing: Framing, to: &str, port: u16, payload: &[u8]) -> Vec<u8> {
        let probe = UdpProbe {
            envelope: envelope(framing, ip(to)),
            source_port: 40_000,
            destination_port: port,
            payload,
        };
        written(|out| probe.write(out).unwrap())
    }

    fn echo(framing: Framing, to: &str) -> Vec<u8> {
        let probe = EchoRequest {
            envelope: envelope(framing, ip(to)),
            identifier: 1,
            sequence: 1,
            payload: b"",
        };
        written(|out| probe.write(out).unwrap())
    }

    fn solicitation(target: &str) -> Vec<u8> {
        match ip(target) {
            IpAddr::V4(target) => {
                let request = ArpRequest {
                    mac: MAC,
                    source: Ipv4Addr::new(192, 0, 2, 200),
                    target,
                };
                written(|out| request.write(out).unwrap())
            }
            IpAddr::V6(target) => {
                let solicitation = NeighbourSolicitation {
                    mac: MAC,
                    source: "2001:db8::200".parse().unwrap(),
                    target,
                };
                written(|out| solicitation.write(out).unwrap())
            }
        }
    }

    fn outside(address: &str, refusal: Refusal) -> Result<(), PushError> {
        Err(PushError::OutsideScope {
            address: ip(address),
            refusal,
        })
    }

    fn check(framing: Framing, frame: &[u8], expected: Result<(), PushError>) {
        let found = gate(framing.link_type()).check(frame).map(drop);
        assert_eq!(found, expected, "{frame:02x?}");
    }

    const PLACES: [(&str, Result<(), Refusal>); 6] = [
        ("192.0.2.1", Ok(())),
        ("2001:db8::1", Ok(())),
        ("192.0.2.9", Err(Refusal::Denied)),
        ("2001:db8::9", Err(Refusal::Denied)),
        ("192.0.2.129", Err(Refusal::NotAllowed)),
        ("2001:db8:1::1", Err(Refusal::NotAllowed)),
    ];

    #[test]
    fn only_frames_inside_the_scope_go_out() {
        for framing in FRAMINGS {
            for (to, expected) in PLACES {
                let expected = expected.or_else(|refusal| outside(to, refusal));
                check(framing, &syn(framing, to, 80), expected);
                check(framing, &udp(framing, to, 53, b"ask"), expected);
                check(framing, &echo(framing, to), expected);
            }
            for to in ["192.0.2.1", "2001:db8::1"] {
                let refused = outside(to, Refusal::PortNotAllowed);
                check(framing, &syn(framing, to, 10_000), refused);
                check(framing, &udp(framing, to, 10_000, b""), refused);
            }
        }
    }

    #[test]
    fn neighbours_are_asked_for_inside_the_scope_and_gateways_too() {
        let framing = FRAMINGS[1];
        for (to, expected) in PLACES {
            let expected = expected.or_else(|refusal| outside(to, refusal));
            check(framing, &solicitation(to), expected);
        }
        for gateway in ["203.0.113.1", "fe80::1"] {
            check(framing, &solicitation(gateway), Ok(()));
            let refused = outside(gateway, Refusal::NotAllowed);
            check(framing, &echo(framing, gateway), refused);
            check(framing, &syn(framing, gateway, 80), refused);
            check(framing, &udp(framing, gateway, 53, b""), refused);
        }
    }

    #[test]
    fn printers_get_a_question_and_no_bytes() {
        for framing in FRAMINGS {
            for to in ["192.0.2.1", "2001:db8::1"] {
                for port in [515, 9100, 9107] {
                    check(framing, &syn(framing, to, port), Ok(()));
                    let refused = |transport| {
                        let endpoint = Endpoint::new(ip(to), transport, port);
                        Err(PushError::NeverSend { endpoint })
                    };
                    for payload in [&b""[..], b"x"] {
                        let frame = udp(framing, to, port, payload);
                        check(framing, &frame, refused(Transport::Udp));
                    }
                    let mut talking = syn(framing, to, port);
                    talking.extend_from_slice(b"data");
                    // What follows the packet is padding, and so is not sent as data.
                    check(framing, &talking, Ok(()));
                    let header = framing.header_length();
                    let field = header + if ip(to).is_ipv4() { 3 } else { 5 };
                    talking[field] += 4;
                    check(framing, &talking, refused(Transport::Tcp));
                }
            }
        }
    }

    #[test]
    fn what_is_no_probe_does_not_go_out() {
        for framing in FRAMINGS {
            let header = framing.header_length();
            for to in ["192.0.2.1", "2001:db8::1"] {
                let whole = syn(framing, to, 80);
                for length in 0..whole.len() {
                    check(framing, &whole[..length], Err(PushError::Unreadable));
                }
                let kinds: &[u8] = match ip(to) {
                    // Redirect, router advertisement, echo reply.
                    IpAddr::V4(_) => &[5, 9, 0],
                    IpAddr::V6(_) => &[137, 134, 136, 129],
                };
                for kind in kinds {
                    let mut frame = echo(framing, to);
                    frame[header + if ip(to).is_ipv4() { 20 } else { 40 }] = *kind;
                    check(framing, &frame, Err(PushError::Unreadable));
                }
            }
            let timestamp = TimestampRequest {
                envelope: envelope(framing, ip("192.0.2.1")),
                identifier: 1,
                sequence: 1,
                originate: 0,
            };
            let timestamp = written(|out| timestamp.write(out).unwrap());
            check(framing, &timestamp, Ok(()));
            let ack = AckProbe {
                envelope: envelope(framing, ip("192.0.2.1")),
                source_port: 40_000,
                destination_port: 80,
                sequence: 1,
                acknowledgement: 1,
            };
            check(framing, &written(|out| ack.write(out).unwrap()), Ok(()));
        }
    }

    #[test]
    fn padding_is_no_part_of_a_packet() {
        let mut frame = syn(FRAMINGS[1], "192.0.2.1", 80);
        let whole = ETHERNET_HEADER..frame.len();
        assert_eq!(ipv4_packet(&frame), whole);
        frame.extend_from_slice(&[0; 9]);
        assert_eq!(ipv4_packet(&frame), whole);
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_link_carries_and_no_longer() {
        for framing in FRAMINGS {
            let length_max = framing.header_length() + 1_500;
            let longest = udp(framing, "192.0.2.1", 53, &[0; 1_472]);
            assert_eq!(longest.len(), length_max);
            check(framing, &longest, Ok(()));
            let longer = udp(framing, "192.0.2.1", 53, &[0; 1_473]);
            let expected = PushError::TooLong {
                length: length_max + 1,
                length_max,
            };
            check(framing, &longer, Err(expected));
        }
    }

    #[test]
    fn all_nodes_are_asked_for_an_echo_where_that_is_allowed_and_nothing_else_is() {
        for framing in FRAMINGS {
            let closed = gate(framing.link_type());
            let open = Gate {
                scope: Arc::new(Scope::of(AddressSet::new())),
                gateways: Vec::new(),
                all_nodes: AllNodes::MayBeAsked,
                ..gate(framing.link_type())
            };
            let all = echo(framing, "ff02::1");
            assert!(closed.check(&all).is_err());
            assert!(open.check(&all).is_ok());
            for other in [
                "ff02::2",
                "ff05::1",
                "ff02::1:ff00:7",
                "2001:db8::7",
                "fe80::7",
            ] {
                assert!(open.check(&echo(framing, other)).is_err(), "{other}");
            }
            assert!(open.check(&syn(framing, "ff02::1", 80)).is_err());
            assert!(open.check(&udp(framing, "ff02::1", 53, b"x")).is_err());
            assert!(open.check(&echo(framing, "192.0.2.7")).is_err());
        }
    }
}
