//! Frames that answer a probe as a host would, and what may be wrong with them.

use super::{HOSTS, OWN};
use portolan_scan::{DiscoveryProbe, ProbeKind, SynProbe};
use portolan_wire::checksum::checksum;
use portolan_wire::{Addresses, Protocol};
use std::net::IpAddr;

/// What answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// A segment with these flags; `ahead` is added to the number that it acknowledges.
    Segment { flags: u8, ahead: u8 },
    /// An ICMP message that quotes the probe.
    Error { kind: u8, code: u8 },
    /// What a host says to a request or datagram.
    Reply,
}

/// What a change makes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    place: u8,
    bits: u8,
    cut: u8,
}

/// What of a probe comes back.
struct Asked {
    address: IpAddr,
    port: u16,
    source_port: u16,
    number: u32,
    protocol: Protocol,
    /// What it carries from the transport header on.
    body: Vec<u8>,
}

const SYN_ACK: u8 = 0x12;
const RST_ACK: u8 = 0x14;

impl Answer {
    pub(super) const fn of(choice: u8, kind: u8, code: u8) -> Self {
        match choice % 6 {
            0 => Self::Segment {
                flags: SYN_ACK,
                ahead: 1,
            },
            1 => Self::Segment {
                flags: RST_ACK,
                ahead: 1,
            },
            // Any flags, and a number that is mostly wrong.
            2 => Self::Segment {
                flags: kind,
                ahead: code,
            },
            3 => Self::Reply,
            _ => Self::Error { kind, code },
        }
    }

    pub(super) fn to_syn(self, probe: &SynProbe) -> Vec<u8> {
        let asked = Asked {
            address: probe.endpoint.address,
            port: probe.endpoint.port,
            source_port: probe.source_port,
            number: probe.sequence,
            protocol: Protocol::TCP,
            body: segment(
                [probe.source_port, probe.endpoint.port],
                [probe.sequence, 0],
                2,
            ),
        };
        self.to(&asked, probe.sequence)
    }

    pub(super) fn to_discovery(self, probe: &DiscoveryProbe) -> Vec<u8> {
        let v4 = probe.address.is_ipv4();
        let ports = [probe.source_port, probe.port];
        let icmp = if v4 { Protocol::ICMP } else { Protocol::ICMPV6 };
        let query = |kind: u8| {
            let mut body = vec![kind, 0, 0, 0];
            body.extend(probe.number.to_be_bytes());
            body.extend(probe.check.to_be_bytes());
            body.extend([0; 8]);
            body
        };
        let (protocol, body) = match probe.kind {
            ProbeKind::Syn => (Protocol::TCP, segment(ports, [probe.number, 0], 2)),
            ProbeKind::Ack => {
                let numbers = [probe.check, probe.number];
                (Protocol::TCP, segment(ports, numbers, 0x10))
            }
            ProbeKind::Echo => (icmp, query(if v4 { 8 } else { 128 })),
            ProbeKind::Timestamp => (icmp, query(13)),
            ProbeKind::Udp => {
                let mut body: Vec<u8> = ports.iter().flat_map(|it| it.to_be_bytes()).collect();
                body.extend([0, 8, 0, 0]);
                (Protocol::UDP, body)
            }
        };
        let asked = Asked {
            address: probe.address,
            port: probe.port,
            source_port: probe.source_port,
            number: probe.number,
            protocol,
            body,
        };
        let sequence = match probe.kind {
            // A reset of what was acknowledged stands there (RFC 9293 §3.5.2).
            ProbeKind::Ack => probe.number,
            _ => 1,
        };
        self.to(&asked, sequence)
    }

    fn to(self, asked: &Asked, sequence: u32) -> Vec<u8> {
        let v4 = asked.address.is_ipv4();
        let icmp = if v4 { Protocol::ICMP } else { Protocol::ICMPV6 };
        let (protocol, body) = match self {
            Self::Segment { flags, ahead } => {
                let acknowledged = asked.number.wrapping_add(ahead.into());
                let ports = [asked.port, asked.source_port];
                (
                    Protocol::TCP,
                    segment(ports, [sequence, acknowledged], flags),
                )
            }
            Self::Error { kind, code } => {
                let mut body = vec![kind, code, 0, 0, 0, 0, 0, 0];
                body.extend(packet(back(asked.address), asked.protocol, &asked.body));
                (icmp, body)
            }
            Self::Reply => (asked.protocol, reply(asked)),
        };
        let there = back(asked.address);
        let addresses = Addresses {
            source: there.destination,
            destination: there.source,
        };
        packet(addresses, protocol, &body)
    }
}

/// From this machine to a host.
fn back(host: IpAddr) -> Addresses {
    let own = OWN.into_iter().find(|it| it.is_ipv4() == host.is_ipv4());
    Addresses {
        source: own.unwrap_or(HOSTS[0]),
        destination: host,
    }
}

fn reply(asked: &Asked) -> Vec<u8> {
    let mut body = asked.body.clone();
    match asked.protocol {
        Protocol::UDP => {
            let ports = [asked.port, asked.source_port].map(u16::to_be_bytes);
            body.splice(..4, ports.concat());
        }
        Protocol::TCP => {}
        _ => {
            if let Some(kind) = body.first_mut() {
                *kind = match *kind {
                    8 => 0,
                    128 => 129,
                    _ => 14,
                };
            }
        }
    }
    body
}

/// A TCP header without options.
fn segment([from, to]: [u16; 2], [sequence, acknowledged]: [u32; 2], flags: u8) -> Vec<u8> {
    let mut header = Vec::with_capacity(20);
    header.extend(from.to_be_bytes());
    header.extend(to.to_be_bytes());
    header.extend(sequence.to_be_bytes());
    header.extend(acknowledged.to_be_bytes());
    header.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    header
}

/// An IP packet, the checksum of its own header right.
fn packet(addresses: Addresses, protocol: Protocol, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(body.len() + 40);
    match (addresses.source, addresses.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0]);
            packet.extend(length.saturating_add(20).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol.0, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        (source, destination) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol.0, 64]);
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    packet.extend(address.octets());
                }
            }
        }
    }
    sign(&mut packet);
    packet.extend(body);
    packet
}

/// Makes the checksum of an IPv4 header right.
fn sign(packet: &mut [u8]) {
    if packet.first() != Some(&0x45) {
        return;
    }
    let Some(header) = packet.first_chunk_mut::<20>() else {
        return;
    };
    [header[10], header[11]] = [0, 0];
    [header[10], header[11]] = checksum(header).to_be_bytes();
}

impl Changes {
    pub(super) const fn of([place, bits]: [u8; 2], cut: u8) -> Self {
        Self { place, bits, cut }
    }

    /// Inverts some bits of one byte, and cuts the frame where `cut` is large.
    pub(super) fn apply(self, mut frame: Vec<u8>) -> Vec<u8> {
        let place = usize::from(self.place).checked_rem(frame.len());
        if let Some(byte) = place.and_then(|place| frame.get_mut(place)) {
            *byte ^= self.bits;
        }
        // Half of the changed headers are right by their checksum.
        if self.cut & 4 == 0 {
            sign(&mut frame);
        }
        if (128..255).contains(&self.cut) {
            frame.truncate(usize::from(self.cut - 128));
        }
        frame
    }
}
