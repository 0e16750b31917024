//! Whom a frame that is about to be sent is for, read from its own bytes. Whether that may be sent
//! is decided by the scope, in `portolan-net`.
//!
//! Only the forms that this crate builds are understood. Whatever could name a further
//! destination, or hide a port (IPv4 options, IPv6 extension headers, fragments, VLAN tags), is
//! not: such a frame has no destination and must not be sent.

use crate::ethernet::{self, ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6};
use crate::icmp::NEIGHBOUR_SOLICITATION;
use crate::{LinkType, Protocol, arp, fields, ipv4, ipv6, tcp, udp};
use std::net::{IpAddr, Ipv6Addr};

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The IP destination; for ARP requests and neighbour solicitations the address asked for.
    pub address: IpAddr,
    /// What it brings.
    pub carried: Carried,
}

impl Destination {
    /// Port of the destination, for TCP and UDP.
    pub const fn port(&self) -> Option<u16> {
        match self.carried {
            Carried::Tcp { port, .. } | Carried::Udp { port, .. } => Some(port),
            Carried::ArpRequest | Carried::Icmp { .. } | Carried::NeighbourSolicitation => None,
        }
    }
}

/// What a frame brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// An ARP request.
    ArpRequest,
    /// ICMP other than a neighbour solicitation.
    Icmp {
        /// ICMP type, in the family of the address.
        kind: u8,
    },
    /// A neighbour solicitation.
    NeighbourSolicitation,
    /// TCP.
    Tcp {
        /// Destination port.
        port: u16,
        /// Bytes of data.
        payload_length: usize,
    },
    /// UDP.
    Udp {
        /// Destination port.
        port: u16,
        /// Bytes of data.
        payload_length: usize,
    },
}

/// Whom `frame` is for. `None` when it is no whole frame of a form that this crate builds: it must
/// not be sent. Checksums are not looked at.
#[inline]
pub fn destination(frame: &[u8], link_type: LinkType) -> Option<Destination> {
    match link_type {
        LinkType::Bare => match frame.first()? >> 4 {
            4 => in_ipv4(frame),
            6 => in_ipv6(frame),
            _ => None,
        },
        LinkType::Ethernet => {
            let (header, packet) = frame.split_first_chunk::<{ ethernet::HEADER_LENGTH }>()?;
            match fields::word::<12, _>(header) {
                ETHER_TYPE_ARP => in_arp(packet),
                ETHER_TYPE_IPV4 => in_ipv4(packet),
                ETHER_TYPE_IPV6 => in_ipv6(packet),
                _ => None,
            }
        }
    }
}

fn in_arp(packet: &[u8]) -> Option<Destination> {
    let arp = arp::Arp::parse(packet).ok()??;
    (arp.operation == arp::REQUEST).then_some(Destination {
        address: IpAddr::V4(arp.target),
        carried: Carried::ArpRequest,
    })
}

#[inline]
fn in_ipv4(packet: &[u8]) -> Option<Destination> {
    let (header, rest) = packet.split_first_chunk::<{ ipv4::HEADER_LENGTH }>()?;
    let fragment = fields::word::<6, _>(header);
    if header[0] != ipv4::NO_OPTIONS || fragment & ipv4::FRAGMENT_BITS != 0 {
        return None;
    }
    let total_length = usize::from(fields::word::<2, _>(header));
    let inside = rest.get(..total_length.checked_sub(ipv4::HEADER_LENGTH)?)?;
    let carried = match Protocol(header[9]) {
        Protocol::ICMP => Carried::Icmp {
            kind: *inside.first()?,
        },
        protocol => with_ports(protocol, inside)?,
    };
    Some(Destination {
        address: IpAddr::from(fields::bytes::<16, 4, _>(header)),
        carried,
    })
}

#[inline]
fn in_ipv6(packet: &[u8]) -> Option<Destination> {
    let (header, rest) = packet.split_first_chunk::<{ ipv6::HEADER_LENGTH }>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let length = usize::from(fields::word::<4, _>(header));
    let inside = rest.get(..length)?;
    let address = Ipv6Addr::from(fields::bytes::<24, 16, _>(header));
    let carried = match Protocol(header[6]) {
        Protocol::ICMPV6 => match *inside.first()? {
            NEIGHBOUR_SOLICITATION => return solicited(address, inside),
            kind => Carried::Icmp { kind },
        },
        protocol => with_ports(protocol, inside)?,
    };
    Some(Destination {
        address: IpAddr::V6(address),
        carried,
    })
}

/// A solicitation goes to the node that it asks for, or to the group of that node.
fn solicited(address: Ipv6Addr, message: &[u8]) -> Option<Destination> {
    let target = Ipv6Addr::from(fields::bytes::<8, 16, _>(message.first_chunk::<24>()?));
    let reaches = address == target || address == ipv6::solicited_node(target);
    reaches.then_some(Destination {
        address: IpAddr::V6(target),
        carried: Carried::NeighbourSolicitation,
    })
}

#[inline]
fn with_ports(protocol: Protocol, inside: &[u8]) -> Option<Carried> {
    match protocol {
        Protocol::TCP => {
            let header = inside.first_chunk::<{ tcp::HEADER_LENGTH }>()?;
            let length = usize::from(header[12] >> 4) * 4;
            let payload_length = inside.len().checked_sub(length)?;
            (length >= tcp::HEADER_LENGTH).then_some(Carried::Tcp {
                port: fields::word::<2, _>(header),
                payload_length,
            })
        }
        Protocol::UDP => {
            let (header, payload) = inside.split_first_chunk::<{ udp::HEADER_LENGTH }>()?;
            let length = usize::from(fields::word::<4, _>(header));
            (length == inside.len()).then_some(Carried::Udp {
                port: fields::word::<2, _>(header),
                payload_length: payload.len(),
            })
        }
        _ => None,
    }
}
