//! ICMP for both families (RFC 792, RFC 4443): echo and timestamp requests are written; replies
//! and errors are read, errors with the packet that they quote. Extensions behind the quote
//! (RFC 4884) are not read. Neighbour discovery is in `ndp`.

use crate::checksum::Sum;
use crate::envelope::{Checksum, Zero};
use crate::ip::{Datagram, Fragment};
use crate::ndp::NeighbourAdvertisement;
use crate::packet::{Other, Packet};
use crate::{Addresses, BuildError, Envelope, Malformed, Protocol, fields, ipv4, ipv6};

/// An echo request of the family of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoRequest<'a> {
    /// Link header, addresses and limits.
    pub envelope: Envelope,
    /// Comes back in the reply.
    pub identifier: u16,
    /// Comes back in the reply.
    pub sequence: u16,
    /// Comes back in the reply; [`BuildError::TooLong`] when it does not fit into one packet.
    pub payload: &'a [u8],
}

impl EchoRequest<'_> {
    /// Writes the frame and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let v4 = self.envelope.addresses.source.is_ipv4();
        let (protocol, kind) = if v4 {
            (Protocol::ICMP, ECHO_REQUEST)
        } else {
            (Protocol::ICMPV6, ECHO_REQUEST_IPV6)
        };
        let length = 8_usize.saturating_add(self.payload.len());
        let opened = self.envelope.open(protocol, length, out)?;
        let checksum = Checksum {
            at: 2,
            // Only ICMP for IPv6 covers a pseudo header (RFC 4443 §2.3).
            covers: if v4 { Sum::new() } else { opened.pseudo },
            zero: Zero::MeansZero,
        };
        let header = query(kind, self.identifier, self.sequence);
        opened.close(header, self.payload, checksum)
    }
}

/// A timestamp request. It exists in IPv4 alone: other addresses are [`BuildError::Family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampRequest {
    /// Link header, addresses and limits.
    pub envelope: Envelope,
    /// Comes back in the reply.
    pub identifier: u16,
    /// Comes back in the reply.
    pub sequence: u16,
    /// Milliseconds since midnight UT, or any number with the highest bit set. Comes back in the
    /// reply.
    pub originate: u32,
}

impl TimestampRequest {
    /// Writes the frame and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        if self.envelope.addresses.source.is_ipv6() {
            return Err(BuildError::Family);
        }
        let opened = self.envelope.open(Protocol::ICMP, 20, out)?;
        let mut message = [0; 20];
        message[..8].copy_from_slice(&query(TIMESTAMP_REQUEST, self.identifier, self.sequence));
        message[8..12].copy_from_slice(&self.originate.to_be_bytes());
        let checksum = Checksum {
            at: 2,
            covers: Sum::new(),
            zero: Zero::MeansZero,
        };
        opened.close(message, &[], checksum)
    }
}

fn query(kind: u8, identifier: u16, sequence: u16) -> [u8; 8] {
    let [a, b] = identifier.to_be_bytes();
    let [c, d] = sequence.to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// A received echo reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply<'a> {
    /// From whom to whom.
    pub addresses: Addresses,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// As it was sent.
    pub identifier: u16,
    /// As it was sent.
    pub sequence: u16,
    /// As it was sent, as far as it was captured.
    pub payload: &'a [u8],
}

/// A received timestamp reply, which exists in IPv4 alone. Times are milliseconds since midnight
/// UT, or with the highest bit set something else (RFC 792, timestamp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampReply {
    /// From whom to whom.
    pub addresses: Addresses,
    /// TTL on arrival.
    pub hop_limit: u8,
    /// As it was sent.
    pub identifier: u16,
    /// As it was sent.
    pub sequence: u16,
    /// As it was sent.
    pub originate: u32,
    /// When the request came, as the peer says.
    pub receive: u32,
    /// When the reply left, as the peer says.
    pub transmit: u32,
}

/// A received ICMP error: types 3, 4, 5, 11 and 12 in IPv4, 1 to 4 in IPv6. The family is that of
/// `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The source is who reports: often a router, not the target.
    pub addresses: Addresses,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The packet that caused it.
    pub quoted: Quoted,
}

/// The packet that an ICMP error quotes, as a router says it; anyone can make one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The destination is whom that packet was for.
    pub addresses: Addresses,
    /// What it carried; for IPv6 behind the extension headers that are quoted.
    pub protocol: Protocol,
    /// What its first bytes say.
    pub content: QuotedContent,
}

/// What the first bytes behind the IP header of a quoted packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedContent {
    /// Another protocol, a later fragment, or too few bytes to tell.
    Other,
    /// An echo or timestamp request.
    Query {
        /// ICMP type of the request, in the family of the addresses.
        kind: u8,
        /// As it was sent.
        identifier: u16,
        /// As it was sent.
        sequence: u16,
    },
    /// A TCP segment.
    Tcp {
        /// Port of the sender.
        source_port: u16,
        /// Port that was meant.
        destination_port: u16,
        /// `None` when fewer than the 8 bytes of RFC 792 are quoted.
        sequence: Option<u32>,
    },
    /// A UDP datagram.
    Udp {
        /// Port of the sender.
        source_port: u16,
        /// Port that was meant.
        destination_port: u16,
    },
}

/// Reads ICMP for IPv4.
pub(crate) fn parse<'a>(datagram: &Datagram<'a>) -> Result<Packet<'a>, Malformed> {
    let [kind, ..] = *datagram.payload.head::<8>()?;
    match kind {
        ECHO_REPLY => echo_reply(datagram),
        3 | 4 | 5 | 11 | 12 => {
            let quote = ipv4::parse_quoted(datagram.payload.after(8)?);
            error(datagram, quote)
        }
        TIMESTAMP_REPLY => timestamp_reply(datagram),
        other => Ok(Packet::Other(Other::Icmp(other))),
    }
}

/// Reads ICMP for IPv6.
pub(crate) fn parse_ipv6<'a>(datagram: &Datagram<'a>) -> Result<Packet<'a>, Malformed> {
    let [kind, ..] = *datagram.payload.head::<4>()?;
    match kind {
        1..=4 => {
            let quote = ipv6::parse_quoted(datagram.payload.after(8)?);
            error(datagram, quote)
        }
        ECHO_REPLY_IPV6 => echo_reply(datagram),
        NEIGHBOUR_ADVERTISEMENT => {
            NeighbourAdvertisement::parse(datagram).map(Packet::NeighbourAdvertisement)
        }
        other => Ok(Packet::Other(Other::Icmpv6(other))),
    }
}

fn echo_reply<'a>(datagram: &Datagram<'a>) -> Result<Packet<'a>, Malformed> {
    let header = datagram.payload.head::<8>()?;
    Ok(Packet::EchoReply(EchoReply {
        addresses: datagram.addresses,
        hop_limit: datagram.hop_limit,
        identifier: fields::word::<4, _>(header),
        sequence: fields::word::<6, _>(header),
        payload: datagram.payload.after(8)?.captured(),
    }))
}

fn timestamp_reply<'a>(datagram: &Datagram<'a>) -> Result<Packet<'a>, Malformed> {
    let message = datagram.payload.head::<20>()?;
    Ok(Packet::TimestampReply(TimestampReply {
        addresses: datagram.addresses,
        hop_limit: datagram.hop_limit,
        identifier: fields::word::<4, _>(message),
        sequence: fields::word::<6, _>(message),
        originate: fields::long::<8, _>(message),
        receive: fields::long::<12, _>(message),
        transmit: fields::long::<16, _>(message),
    }))
}

/// An error needs at least the IP header of what caused it.
fn error<'a>(
    datagram: &Datagram<'a>,
    quote: Result<Datagram<'a>, Malformed>,
) -> Result<Packet<'a>, Malformed> {
    let quote = quote.map_err(|malformed| match malformed {
        Malformed::Truncated if !datagram.payload.is_whole() => malformed,
        _ => Malformed::Quote,
    })?;
    let [kind, code, ..] = *datagram.payload.head::<8>()?;
    Ok(Packet::IcmpError(IcmpError {
        addresses: datagram.addresses,
        hop_limit: datagram.hop_limit,
        kind,
        code,
        quoted: Quoted {
            addresses: quote.addresses,
            protocol: quote.protocol,
            content: content(&quote),
        },
    }))
}

fn content(quote: &Datagram<'_>) -> QuotedContent {
    let v4 = quote.addresses.source.is_ipv4();
    let Ok(ports) = quote.payload.head::<4>() else {
        return QuotedContent::Other;
    };
    let (source_port, destination_port) =
        (fields::word::<0, _>(ports), fields::word::<2, _>(ports));
    let fields = quote.payload.head::<8>().ok();
    match (quote.protocol, fields) {
        _ if quote.fragment == Fragment::Later => QuotedContent::Other,
        (Protocol::TCP, fields) => QuotedContent::Tcp {
            source_port,
            destination_port,
            sequence: fields.map(fields::long::<4, _>),
        },
        (Protocol::UDP, _) => QuotedContent::Udp {
            source_port,
            destination_port,
        },
        (protocol, Some(fields)) if is_query(v4, protocol, fields[0]) => QuotedContent::Query {
            kind: fields[0],
            identifier: fields::word::<4, _>(fields),
            sequence: fields::word::<6, _>(fields),
        },
        _ => QuotedContent::Other,
    }
}

const fn is_query(v4: bool, protocol: Protocol, kind: u8) -> bool {
    match protocol {
        Protocol::ICMP => v4 && matches!(kind, ECHO_REQUEST | TIMESTAMP_REQUEST),
        Protocol::ICMPV6 => !v4 && kind == ECHO_REQUEST_IPV6,
        _ => false,
    }
}

/// Types for IPv4 (RFC 792).
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const TIMESTAMP_REQUEST: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;

/// Types for IPv6 (RFC 4443 §4, RFC 4861 §4).
const ECHO_REQUEST_IPV6: u8 = 128;
const ECHO_REPLY_IPV6: u8 = 129;
pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
