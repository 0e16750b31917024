//! What stands around every packet that is built: link header and IP header. What is inside is
//! written by the module of its protocol.

use crate::checksum::Sum;
use crate::ethernet::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6};
use crate::{Addresses, Framing, Protocol, ipv4, ipv6};
use std::net::IpAddr;
use thiserror::Error;

/// Why a packet could not be built. The buffer may hold parts of it, which must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Source and destination, or template and destination, are of different families; or the
    /// family has no such packet.
    #[error("the addresses are not of one family of IP, or not of the one that is needed")]
    Family,
    /// The buffer is too small.
    #[error("a frame of {needed} bytes does not fit into {room}")]
    Room {
        /// Bytes of the frame.
        needed: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// The IP packet is longer than the link, or IP, carries.
    #[error("a packet of {length} bytes is longer than the {length_max} that can be sent")]
    TooLong {
        /// Bytes of the IP packet.
        length: usize,
        /// Most bytes of an IP packet here.
        length_max: usize,
    },
}

/// Link header, addresses and limits of a packet that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Link header.
    pub framing: Framing,
    /// Source and destination, of one family.
    pub addresses: Addresses,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Most bytes of an IP packet on this link, headers included.
    pub mtu: u32,
}

/// An envelope with room for what it carries.
#[derive(Debug)]
pub(crate) struct Opened<'o> {
    /// Bytes of the whole frame.
    pub(crate) frame_length: usize,
    /// Sum of the pseudo header.
    pub(crate) pseudo: Sum,
    /// Exactly the bytes behind the IP header.
    pub(crate) inside: &'o mut [u8],
}

impl Envelope {
    /// Writes the headers for `length` bytes of `protocol` to the beginning of `out`.
    pub(crate) fn open<'o>(
        &self,
        protocol: Protocol,
        length: usize,
        out: &'o mut [u8],
    ) -> Result<Opened<'o>, BuildError> {
        let v4 = self.addresses.source.is_ipv4();
        let header = if v4 {
            ipv4::HEADER_LENGTH
        } else {
            ipv6::HEADER_LENGTH
        };
        let packet_length = header.saturating_add(length);
        // The length field counts the IPv4 header, but not the IPv6 header.
        let standard_max = usize::from(u16::MAX) + if v4 { 0 } else { header };
        let length_max =
            usize::try_from(self.mtu).map_or(standard_max, |mtu| mtu.min(standard_max));
        let field = if v4 { packet_length } else { length };
        let too_long = BuildError::TooLong {
            length: packet_length,
            length_max,
        };
        let field = match u16::try_from(field) {
            Ok(field) if packet_length <= length_max => field,
            _ => return Err(too_long),
        };
        let frame_length = self.framing.header_length() + packet_length;
        let room = BuildError::Room {
            needed: frame_length,
            room: out.len(),
        };
        let frame = out.get_mut(..frame_length).ok_or(room)?;
        let inside = self.write_headers(protocol, field, frame)?.ok_or(room)?;
        let transport_length = u32::try_from(length).map_err(|_| too_long)?;
        Ok(Opened {
            frame_length,
            pseudo: Sum::new().pseudo_header(self.addresses, protocol, transport_length),
            inside,
        })
    }

    /// `None` when the frame is too short, which the caller has ruled out.
    fn write_headers<'o>(
        &self,
        protocol: Protocol,
        length_field: u16,
        frame: &'o mut [u8],
    ) -> Result<Option<&'o mut [u8]>, BuildError> {
        match (self.addresses.source, self.addresses.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = ipv4::Header {
                    total_length: length_field,
                    ttl: self.hop_limit,
                    protocol,
                    source,
                    destination,
                };
                Ok(put_link(self.framing, ETHER_TYPE_IPV4, frame)
                    .and_then(|rest| put(&header.to_bytes(), rest)))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = ipv6::Header {
                    payload_length: length_field,
                    protocol,
                    hop_limit: self.hop_limit,
                    source,
                    destination,
                };
                Ok(put_link(self.framing, ETHER_TYPE_IPV6, frame)
                    .and_then(|rest| put(&header.to_bytes(), rest)))
            }
            _ => Err(BuildError::Family),
        }
    }
}

impl Opened<'_> {
    /// Writes a header of `N` bytes and `payload` inside, with their checksum, and returns the
    /// length of the frame.
    pub(crate) fn close<const N: usize>(
        self,
        mut header: [u8; N],
        payload: &[u8],
        checksum: Checksum,
    ) -> Result<usize, BuildError> {
        let room = BuildError::Room {
            needed: N.saturating_add(payload.len()),
            room: self.inside.len(),
        };
        let mut value = checksum.covers.bytes(&header).bytes(payload).checksum();
        if value == 0 && matches!(checksum.zero, Zero::MeansNone) {
            value = 0xffff;
        }
        let field = header.get_mut(checksum.at..).ok_or(room)?;
        put(&value.to_be_bytes(), field).ok_or(room)?;
        let rest = put(&header, self.inside).ok_or(room)?;
        if rest.len() != payload.len() {
            return Err(room);
        }
        rest.copy_from_slice(payload);
        Ok(self.frame_length)
    }
}

/// Where a checksum stands and what it covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum {
    /// Bytes before it.
    pub(crate) at: usize,
    /// What it covers besides header and payload: the pseudo header, or nothing.
    pub(crate) covers: Sum,
    /// What a checksum of 0 says.
    pub(crate) zero: Zero,
}

/// What a checksum of 0 says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Zero {
    /// That there is no checksum: UDP writes 0xffff instead (RFC 768, RFC 8200 §8.1).
    MeansNone,
    /// Zero.
    MeansZero,
}

/// Writes the link header and gives what is behind it.
pub(crate) fn put_link(framing: Framing, ether_type: u16, out: &mut [u8]) -> Option<&mut [u8]> {
    match framing.header(ether_type) {
        Some(header) => put(&header, out),
        None => Some(out),
    }
}

/// Writes `bytes` and gives what is behind them; `None` when they do not fit.
pub(crate) fn put<'o, const N: usize>(bytes: &[u8; N], out: &'o mut [u8]) -> Option<&'o mut [u8]> {
    let (place, rest) = out.split_first_chunk_mut::<N>()?;
    *place = *bytes;
    Some(rest)
}
