//! What a received frame is: from the link header down to what answers a probe. Nothing here knows
//! what was asked; whether an answer is meant for us is decided by the caller.
//!
//! Frames come from a capture that may have cut them. What was cut from data is no fault
//! ([`UdpDatagram::payload_length`] tells), what was cut from a header is [`Malformed::Truncated`].
//! Padding behind the IP packet is not looked at.
//!
//! Checksums of TCP, UDP, ICMP errors and echo replies are not verified: senders leave those of TCP
//! and UDP to hardware that a frame on a virtual interface never meets, and a cut frame cannot be
//! verified at all. Whoever needs certainty compares what only an answer can know (the
//! acknowledgement number, the quoted sequence number). Two are verified: that of the IPv4 header,
//! and that of neighbour advertisements, which RFC 4861 §7.1.2 asks for.

use crate::arp::Arp;
use crate::ethernet::{self, ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6};
use crate::icmp::{self, EchoReply, IcmpError, TimestampReply};
use crate::ip::{Datagram, Fragment};
use crate::ndp::NeighbourAdvertisement;
use crate::tcp::Tcp;
use crate::udp::UdpDatagram;
use crate::{LinkType, Protocol, ipv4, ipv6};
use thiserror::Error;

/// What a received frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An ARP packet, request or reply.
    Arp(Arp),
    /// An echo reply.
    EchoReply(EchoReply<'a>),
    /// An ICMP error with the packet that caused it.
    IcmpError(IcmpError),
    /// A neighbour advertisement.
    NeighbourAdvertisement(NeighbourAdvertisement),
    /// Nothing that answers a probe; well formed as far as it was read.
    Other(Other),
    /// A TCP segment.
    Tcp(Tcp),
    /// A timestamp reply.
    TimestampReply(TimestampReply),
    /// A UDP datagram.
    Udp(UdpDatagram<'a>),
}

/// What else is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Neither IP nor ARP for IPv4: the `EtherType`, or a length (below 1,536).
    EtherType(u16),
    /// A later fragment of a datagram.
    Fragment,
    /// An ICMP message of this type, which answers no probe.
    Icmp(u8),
    /// An ICMP message for IPv6 of this type, which answers no probe.
    Icmpv6(u8),
    /// IP with another protocol, or with one that belongs to the other family.
    Protocol(Protocol),
}

/// How a frame breaks the standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A checksum that must be right is wrong: of an IPv4 header or a neighbour advertisement.
    #[error("a checksum is wrong")]
    Checksum,
    /// More extension headers than [`ipv6::EXTENSION_HEADERS_MAX`], or in an order that RFC 8200
    /// §4.1 rules out.
    #[error("the IPv6 extension headers are too many or out of order")]
    ExtensionHeaders,
    /// A neighbour advertisement with this hop limit: it comes from beyond the link.
    #[error("neighbour discovery with a hop limit of {0} comes from beyond the link")]
    HopLimit(u8),
    /// Length fields contradict each other, or leave no room for a header.
    #[error("length fields contradict each other")]
    Length,
    /// A neighbour advertisement that RFC 4861 §7.1.2 rejects for another reason.
    #[error("a neighbour advertisement breaks the rules of neighbour discovery")]
    Neighbour,
    /// An ICMP error that quotes no IP header of its family.
    #[error("an ICMP error quotes no packet")]
    Quote,
    /// The frame ends inside a header.
    #[error("the frame ends inside a header")]
    Truncated,
    /// An IP version that does not fit the link header, or is none.
    #[error("the IP version is {0}")]
    Version(u8),
}

/// Reads a frame as a packet socket gives it.
pub fn parse(frame: &[u8], link_type: LinkType) -> Result<Packet<'_>, Malformed> {
    match link_type {
        LinkType::Bare => match frame.first().map(|byte| byte >> 4) {
            None => Err(Malformed::Truncated),
            Some(4) => transport(&ipv4::parse(frame)?),
            Some(6) => transport(&ipv6::parse(frame)?),
            Some(version) => Err(Malformed::Version(version)),
        },
        LinkType::Ethernet => {
            let header = ethernet::Header::parse(frame)?;
            match header.ether_type {
                ETHER_TYPE_ARP => Ok(Arp::parse(header.payload)?
                    .map_or(Packet::Other(Other::EtherType(ETHER_TYPE_ARP)), Packet::Arp)),
                ETHER_TYPE_IPV4 => transport(&ipv4::parse(header.payload)?),
                ETHER_TYPE_IPV6 => transport(&ipv6::parse(header.payload)?),
                other => Ok(Packet::Other(Other::EtherType(other))),
            }
        }
    }
}

fn transport<'a>(datagram: &Datagram<'a>) -> Result<Packet<'a>, Malformed> {
    let v4 = datagram.addresses.source.is_ipv4();
    match datagram.protocol {
        _ if datagram.fragment == Fragment::Later => Ok(Packet::Other(Other::Fragment)),
        Protocol::ICMP if v4 => icmp::parse(datagram),
        Protocol::ICMPV6 if !v4 => icmp::parse_ipv6(datagram),
        Protocol::TCP => Tcp::parse(datagram).map(Packet::Tcp),
        Protocol::UDP => UdpDatagram::parse(datagram).map(Packet::Udp),
        other => Ok(Packet::Other(Other::Protocol(other))),
    }
}
