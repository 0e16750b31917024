//! SYN frames for a sweep: prepared once, patched for each probe. Which port is asked when, and
//! with which sequence number, is decided by the caller.

use crate::checksum::Sum;
use crate::envelope::put;
use crate::ethernet::{self, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6};
use crate::tcp::{Flags, WINDOW};
use crate::{Addresses, BuildError, Framing, Mac, Protocol, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What differs from one SYN to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Hardware address of the next hop; `None` takes the one of the template. Without meaning
    /// for [`Framing::Bare`].
    pub next_hop: Option<Mac>,
    /// Whom it is for; of the family of the template.
    pub destination: IpAddr,
    /// Port of the target.
    pub destination_port: u16,
    /// Own port.
    pub source_port: u16,
    /// Sequence number; the IPv4 identification is made from it.
    pub sequence: u32,
}

/// A SYN with everything but [`Syn`] filled in: TTL or hop limit 64, "don't fragment", and the
/// options that common systems send (maximum segment size, selective acknowledgements, window
/// scale), because some stacks drop a SYN without options.
#[derive(Clone, Debug)]
pub struct SynTemplate {
    link: Option<[u8; ethernet::HEADER_LENGTH]>,
    network: Network,
    segment: [u8; SEGMENT_LENGTH],
    /// Of the segment and its pseudo header, as far as they do not differ.
    segment_sum: Sum,
}

/// The IP header of a template.
#[derive(Clone, Debug)]
enum Network {
    V4 {
        header: [u8; ipv4::HEADER_LENGTH],
        /// Of the header, as far as it does not differ.
        sum: Sum,
    },
    V6 {
        header: [u8; ipv6::HEADER_LENGTH],
    },
}

impl SynTemplate {
    /// Longest frame of any template, in bytes: Ethernet and IPv6.
    pub const FRAME_LENGTH_MAX: usize =
        ethernet::HEADER_LENGTH + ipv6::HEADER_LENGTH + SEGMENT_LENGTH;

    /// A template for one interface and one own address, which decides the family.
    pub fn new(framing: Framing, source: IpAddr) -> Self {
        let (ether_type, network, mss, unspecified) = match source {
            IpAddr::V4(source) => (
                ETHER_TYPE_IPV4,
                Network::ipv4(source),
                MSS_IPV4,
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ),
            IpAddr::V6(source) => (
                ETHER_TYPE_IPV6,
                Network::ipv6(source),
                MSS_IPV6,
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ),
        };
        let segment = segment(mss);
        // A destination of zeros adds nothing: each SYN adds its own.
        let addresses = Addresses {
            source,
            destination: unspecified,
        };
        Self {
            link: framing.header(ether_type),
            network,
            segment,
            segment_sum: Sum::new()
                .pseudo_header(addresses, Protocol::TCP, u32::from(SEGMENT_LENGTH_FIELD))
                .bytes(&segment),
        }
    }

    /// Bytes of every frame of this template.
    pub const fn frame_length(&self) -> usize {
        let link = match self.link {
            Some(_) => ethernet::HEADER_LENGTH,
            None => 0,
        };
        let network = match self.network {
            Network::V4 { .. } => ipv4::HEADER_LENGTH,
            Network::V6 { .. } => ipv6::HEADER_LENGTH,
        };
        link + network + SEGMENT_LENGTH
    }

    /// Writes a frame to the beginning of `out` and returns its length,
    /// [`SynTemplate::frame_length`]. Fails when `out` is shorter, or when the destination is of
    /// the other family.
    #[inline]
    pub fn write(&self, syn: &Syn, out: &mut [u8]) -> Result<usize, BuildError> {
        let needed = self.frame_length();
        let room = BuildError::Room {
            needed,
            room: out.len(),
        };
        let out = match self.link {
            Some(mut link) => {
                if let Some(mac) = syn.next_hop {
                    link[..6].copy_from_slice(&mac.0);
                }
                put(&link, out).ok_or(room)?
            }
            None => out,
        };
        let (out, sum) = match (&self.network, syn.destination) {
            (Network::V4 { header, sum }, IpAddr::V4(destination)) => {
                let mut header = *header;
                let identification = identification(syn.sequence);
                let destination = destination.to_bits();
                let checksum = sum.word(identification).long(destination).checksum();
                header[4..6].copy_from_slice(&identification.to_be_bytes());
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                header[16..].copy_from_slice(&destination.to_be_bytes());
                let out = put(&header, out).ok_or(room)?;
                (out, self.segment_sum.long(destination))
            }
            (Network::V6 { header }, IpAddr::V6(destination)) => {
                let mut header = *header;
                header[24..].copy_from_slice(&destination.octets());
                let out = put(&header, out).ok_or(room)?;
                (out, self.segment_sum.bytes(&destination.octets()))
            }
            _ => return Err(BuildError::Family),
        };
        let mut segment = self.segment;
        let checksum = sum
            .word(syn.source_port)
            .word(syn.destination_port)
            .long(syn.sequence)
            .checksum();
        segment[..2].copy_from_slice(&syn.source_port.to_be_bytes());
        segment[2..4].copy_from_slice(&syn.destination_port.to_be_bytes());
        segment[4..8].copy_from_slice(&syn.sequence.to_be_bytes());
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        put(&segment, out).ok_or(room)?;
        Ok(needed)
    }
}

impl Network {
    fn ipv4(source: Ipv4Addr) -> Self {
        let mut header = ipv4::Header {
            total_length: IPV4_HEADER_LENGTH_FIELD + SEGMENT_LENGTH_FIELD,
            ttl: HOP_LIMIT,
            protocol: Protocol::TCP,
            source,
            destination: Ipv4Addr::UNSPECIFIED,
        }
        .to_bytes();
        header[10..12].fill(0);
        Self::V4 {
            header,
            sum: Sum::new().bytes(&header),
        }
    }

    fn ipv6(source: Ipv6Addr) -> Self {
        Self::V6 {
            header: ipv6::Header {
                payload_length: SEGMENT_LENGTH_FIELD,
                protocol: Protocol::TCP,
                hop_limit: HOP_LIMIT,
                source,
                destination: Ipv6Addr::UNSPECIFIED,
            }
            .to_bytes(),
        }
    }
}

/// A SYN without ports, sequence number and checksum.
fn segment(mss: u16) -> [u8; SEGMENT_LENGTH] {
    let mut segment = [0; SEGMENT_LENGTH];
    segment[12] = 0x80;
    segment[13] = Flags::SYN.0;
    segment[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    segment[20..].copy_from_slice(&OPTIONS);
    segment[22..24].copy_from_slice(&mss.to_be_bytes());
    segment
}

/// An identification that varies; it may be anything beside "don't fragment" (RFC 6864 §4.1).
#[inline]
const fn identification(sequence: u32) -> u16 {
    let [a, b, c, d] = sequence.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

/// Bytes of a segment with its options; once more as the length fields have it.
const SEGMENT_LENGTH: usize = 32;
const SEGMENT_LENGTH_FIELD: u16 = 32;
const IPV4_HEADER_LENGTH_FIELD: u16 = 20;

/// Maximum segment size (RFC 9293 §3.2) with room for its value, two times no operation, selective
/// acknowledgements permitted (RFC 2018 §2), no operation, window scale 7 (RFC 7323 §2.2).
const OPTIONS: [u8; 12] = [2, 4, 0, 0, 1, 1, 4, 2, 1, 3, 3, 7];

/// What fits into an Ethernet frame of 1,500 bytes behind both headers (RFC 6691 §2).
const MSS_IPV4: u16 = 1460;
const MSS_IPV6: u16 = 1440;

/// TTL and hop limit (IANA, IP Parameters).
const HOP_LIMIT: u8 = 64;
