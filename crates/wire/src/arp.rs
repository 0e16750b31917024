//! ARP for IPv4 over Ethernet (RFC 826): requests are written, requests and replies are read.
//! Replies are never written: nobody is told where an address is.

use crate::envelope::put;
use crate::ethernet::{self, ETHER_TYPE_ARP, ETHER_TYPE_IPV4};
use crate::{BuildError, Framing, Mac, Malformed, fields};
use std::net::Ipv4Addr;

/// A question to everyone on the segment: who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRequest {
    /// Hardware address of the interface that asks.
    pub mac: Mac,
    /// Its IPv4 address; 0.0.0.0 makes it a probe that changes nobody's table (RFC 5227 §2.1.1).
    pub source: Ipv4Addr,
    /// Address that is asked for.
    pub target: Ipv4Addr,
}

impl ArpRequest {
    /// Bytes of the frame; the interface pads it.
    pub const FRAME_LENGTH: usize = ethernet::HEADER_LENGTH + PACKET_LENGTH;

    /// Writes the frame, always with an Ethernet header, and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let framing = Framing::Ethernet {
            source: self.mac,
            destination: Mac::BROADCAST,
        };
        let mut packet = [0; PACKET_LENGTH];
        packet[..8].copy_from_slice(&FORMAT);
        packet[6..8].copy_from_slice(&REQUEST.to_be_bytes());
        packet[8..14].copy_from_slice(&self.mac.0);
        packet[14..18].copy_from_slice(&self.source.octets());
        packet[24..].copy_from_slice(&self.target.octets());
        let room = BuildError::Room {
            needed: Self::FRAME_LENGTH,
            room: out.len(),
        };
        let header = framing.header(ETHER_TYPE_ARP).unwrap_or_default();
        let rest = put(&header, out).ok_or(room)?;
        put(&packet, rest).ok_or(room)?;
        Ok(Self::FRAME_LENGTH)
    }
}

/// A received ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// IPv4 address of the sender.
    pub sender: Ipv4Addr,
    /// Hardware address of the target; without meaning in a request.
    pub target_mac: Mac,
    /// IPv4 address that is asked for, or answered to.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Whether this is an answer: `sender` is at `sender_mac`.
    pub const fn is_reply(&self) -> bool {
        self.operation == REPLY
    }

    /// Reads what follows the Ethernet header. `None` when it is for other kinds of addresses.
    pub(crate) fn parse(packet: &[u8]) -> Result<Option<Self>, Malformed> {
        let format = packet.first_chunk::<8>().ok_or(Malformed::Truncated)?;
        if format[..6] != FORMAT[..6] {
            return Ok(None);
        }
        let packet = packet
            .first_chunk::<PACKET_LENGTH>()
            .ok_or(Malformed::Truncated)?;
        Ok(Some(Self {
            operation: fields::word::<6, _>(packet),
            sender_mac: Mac(fields::bytes::<8, 6, _>(packet)),
            sender: Ipv4Addr::from(fields::bytes::<14, 4, _>(packet)),
            target_mac: Mac(fields::bytes::<18, 6, _>(packet)),
            target: Ipv4Addr::from(fields::bytes::<24, 4, _>(packet)),
        }))
    }
}

/// Bytes of a packet for these kinds of addresses.
const PACKET_LENGTH: usize = 28;

/// Hardware type Ethernet, protocol IPv4, lengths of their addresses; then the operation.
const FORMAT: [u8; 8] = {
    let [high, low] = ETHER_TYPE_IPV4.to_be_bytes();
    [0, 1, high, low, 6, 4, 0, 0]
};

pub(crate) const REQUEST: u16 = 1;
const REPLY: u16 = 2;
