//! The IPv6 header and the extension headers that stand before a transport (RFC 8200 §3 and §4),
//! and the multicast addresses that a scan asks. Fragments are not put together, options are
//! stepped over.

use crate::ip::{Datagram, Fragment, Payload};
use crate::{Addresses, Malformed, Protocol, fields};
use std::net::{IpAddr, Ipv6Addr};

/// All nodes of the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Extension headers that are stepped over in one packet. RFC 8200 §4.1 names six, one of them
/// twice.
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Bytes of a packet that every link carries (RFC 8200 §5).
pub const MTU_MIN: u32 = 1280;

/// The multicast address that a node listens on for solicitations of `target`
/// (RFC 4291 §2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., b, c, d] = target.octets();
    let low = u16::from_be_bytes([c, d]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, u16::from_be_bytes([0xff, b]), low)
}

/// Bytes of the header without extension headers.
pub(crate) const HEADER_LENGTH: usize = 40;

/// What a written header says; traffic class and flow label are 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) payload_length: u16,
    pub(crate) protocol: Protocol,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&self.payload_length.to_be_bytes());
        bytes[6] = self.protocol.0;
        bytes[7] = self.hop_limit;
        bytes[8..24].copy_from_slice(&self.source.octets());
        bytes[24..40].copy_from_slice(&self.destination.octets());
        bytes
    }
}

/// Reads a packet that was received.
pub(crate) fn parse(packet: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let header = header(packet)?;
    let claimed = HEADER_LENGTH + usize::from(fields::word::<4, _>(header));
    let datagram = datagram(header, Payload::new(packet, claimed).after(HEADER_LENGTH)?);
    behind_extensions(datagram)
}

/// Reads a packet as an ICMP error quotes it. Its length is not looked at, because a quote is cut
/// anywhere. When it is cut inside of extension headers, what it carried remains unknown: the
/// protocol is that of the first extension header.
pub(crate) fn parse_quoted(quote: Payload<'_>) -> Result<Datagram<'_>, Malformed> {
    let header = header(quote.captured())?;
    let datagram = datagram(header, quote.after(HEADER_LENGTH)?);
    Ok(behind_extensions(datagram).unwrap_or(datagram))
}

fn header(packet: &[u8]) -> Result<&[u8; HEADER_LENGTH], Malformed> {
    let header = packet
        .first_chunk::<HEADER_LENGTH>()
        .ok_or(Malformed::Truncated)?;
    match header[0] >> 4 {
        6 => Ok(header),
        other => Err(Malformed::Version(other)),
    }
}

fn datagram<'a>(header: &[u8; HEADER_LENGTH], payload: Payload<'a>) -> Datagram<'a> {
    Datagram {
        addresses: Addresses {
            source: IpAddr::from(fields::bytes::<8, 16, _>(header)),
            destination: IpAddr::from(fields::bytes::<24, 16, _>(header)),
        },
        hop_limit: header[7],
        protocol: Protocol(header[6]),
        fragment: Fragment::Whole,
        payload,
    }
}

/// Steps over the extension headers, up to the first later fragment.
fn behind_extensions(mut datagram: Datagram<'_>) -> Result<Datagram<'_>, Malformed> {
    for position in 0..=EXTENSION_HEADERS_MAX {
        let number = datagram.protocol.0;
        if !matches!(
            number,
            HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS
        ) {
            return Ok(datagram);
        }
        // RFC 8200 §4.1: hop-by-hop options stand first or not at all.
        if position == EXTENSION_HEADERS_MAX || number == HOP_BY_HOP && position > 0 {
            break;
        }
        let [next, length, high, low, ..] = *datagram.payload.head::<8>()?;
        datagram.protocol = Protocol(next);
        if number == FRAGMENT {
            datagram.payload = datagram.payload.after(8)?;
            // Offset 0 and none to come is a whole datagram (RFC 6946 §4).
            match u16::from_be_bytes([high, low]) & (OFFSET | MORE) {
                0 => {}
                MORE => datagram.fragment = Fragment::First,
                _ => {
                    datagram.fragment = Fragment::Later;
                    return Ok(datagram);
                }
            }
        } else {
            datagram.payload = datagram.payload.after((usize::from(length) + 1) * 8)?;
        }
    }
    Err(Malformed::ExtensionHeaders)
}

/// Extension headers by their number (RFC 8200 §4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Bits of the second half of a fragment header's first four bytes (RFC 8200 §4.5).
const OFFSET: u16 = 0xfff8;
const MORE: u16 = 1;
