//! The IPv4 header (RFC 791 §3.1), written and read. Fragments are not put together, options are
//! stepped over.

use crate::checksum::checksum;
use crate::ip::{Datagram, Fragment, Payload};
use crate::{Addresses, Malformed, Protocol, fields};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a header without options.
pub(crate) const HEADER_LENGTH: usize = 20;

/// First byte of a header without options: version 4, five times four bytes.
pub(crate) const NO_OPTIONS: u8 = 0x45;

/// "More fragments" and the fragment offset; 0 in a whole datagram.
pub(crate) const FRAGMENT_BITS: u16 = 0x3fff;

/// What a written header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) total_length: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: Protocol,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

impl Header {
    /// The header with "don't fragment" set, so that its identification may be anything
    /// (RFC 6864 §4.1): it is 0.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0] = NO_OPTIONS;
        bytes[2..4].copy_from_slice(&self.total_length.to_be_bytes());
        bytes[6] = DO_NOT_FRAGMENT;
        bytes[8] = self.ttl;
        bytes[9] = self.protocol.0;
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Reads a packet that was received; its header checksum must be right.
pub(crate) fn parse(packet: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let (header, options_end) = header(packet)?;
    let total_length = usize::from(fields::word::<2, _>(header));
    let payload = Payload::new(packet, total_length).after(options_end)?;
    let whole = packet.get(..options_end).ok_or(Malformed::Truncated)?;
    if checksum(whole) != 0 {
        return Err(Malformed::Checksum);
    }
    Ok(datagram(header, payload))
}

/// Reads a packet as an ICMP error quotes it. Checksum and total length are not looked at: routers
/// change the header before they quote it.
pub(crate) fn parse_quoted(quote: Payload<'_>) -> Result<Datagram<'_>, Malformed> {
    let (header, options_end) = header(quote.captured())?;
    Ok(datagram(header, quote.after(options_end)?))
}

/// The fixed part and the bytes up to the end of the options.
fn header(packet: &[u8]) -> Result<(&[u8; HEADER_LENGTH], usize), Malformed> {
    let header = packet
        .first_chunk::<HEADER_LENGTH>()
        .ok_or(Malformed::Truncated)?;
    if header[0] >> 4 != 4 {
        return Err(Malformed::Version(header[0] >> 4));
    }
    let options_end = usize::from(header[0] & 0x0f) * 4;
    if options_end < HEADER_LENGTH {
        return Err(Malformed::Length);
    }
    Ok((header, options_end))
}

fn datagram<'a>(header: &[u8; HEADER_LENGTH], payload: Payload<'a>) -> Datagram<'a> {
    Datagram {
        addresses: Addresses {
            source: IpAddr::from(fields::bytes::<12, 4, _>(header)),
            destination: IpAddr::from(fields::bytes::<16, 4, _>(header)),
        },
        hop_limit: header[8],
        protocol: Protocol(header[9]),
        fragment: match fields::word::<6, _>(header) & FRAGMENT_BITS {
            0 => Fragment::Whole,
            MORE => Fragment::First,
            _ => Fragment::Later,
        },
        payload,
    }
}

/// First byte of flags and fragment offset.
const DO_NOT_FRAGMENT: u8 = 0x40;
/// More fragments follow.
const MORE: u16 = 0x2000;
