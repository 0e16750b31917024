//! TCP segments (RFC 9293 §3.1): received ones are read, and the ACK that finds hosts is written.
//! SYNs come from `template`; no RST is ever written.

use crate::envelope::{Checksum, Zero};
use crate::ip::Datagram;
use crate::{Addresses, BuildError, Envelope, Malformed, Protocol, fields};

/// Control bits of a segment, CWR highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// The sequence number is the first one.
    pub const SYN: Self = Self(0x02);
    /// The connection is refused or ended.
    pub const RST: Self = Self(0x04);
    /// The data is to be handed over at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was met (RFC 3168 §6.1).
    pub const ECE: Self = Self(0x40);
    /// The window was reduced (RFC 3168 §6.1).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and `flags`.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// SYN and ACK without RST: the port accepts.
    pub const fn is_syn_ack(self) -> bool {
        self.contains(Self::SYN.with(Self::ACK)) && !self.contains(Self::RST)
    }
}

/// A received segment; its options and data are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// From whom to whom.
    pub addresses: Addresses,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; counts with [`Flags::ACK`].
    pub acknowledgement: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window as sent, without scale.
    pub window: u16,
    /// Bytes of data in this packet, as the lengths of the headers say.
    pub payload_length: usize,
}

impl Tcp {
    pub(crate) fn parse(datagram: &Datagram<'_>) -> Result<Self, Malformed> {
        let header = datagram.payload.head::<HEADER_LENGTH>()?;
        let length = usize::from(header[12] >> 4) * 4;
        let payload_length = match datagram.payload.claimed().checked_sub(length) {
            Some(rest) if length >= HEADER_LENGTH => rest,
            _ => return Err(Malformed::Length),
        };
        Ok(Self {
            addresses: datagram.addresses,
            hop_limit: datagram.hop_limit,
            source_port: fields::word::<0, _>(header),
            destination_port: fields::word::<2, _>(header),
            sequence: fields::long::<4, _>(header),
            acknowledgement: fields::long::<8, _>(header),
            flags: Flags(header[13]),
            window: fields::word::<14, _>(header),
            payload_length,
        })
    }
}

/// A segment with ACK alone, without options or data: a host without such a connection answers
/// RST (RFC 9293 §3.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckProbe {
    /// Link header, addresses and limits.
    pub envelope: Envelope,
    /// Own port.
    pub source_port: u16,
    /// Port of the target.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; the RST has it as its sequence number (RFC 9293 §3.5.2).
    pub acknowledgement: u32,
}

impl AckProbe {
    /// Writes the frame and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let opened = self.envelope.open(Protocol::TCP, HEADER_LENGTH, out)?;
        let mut header = [0; HEADER_LENGTH];
        header[..2].copy_from_slice(&self.source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        header[12] = 0x50;
        header[13] = Flags::ACK.0;
        header[14..16].copy_from_slice(&WINDOW.to_be_bytes());
        let checksum = Checksum {
            at: 16,
            covers: opened.pseudo,
            zero: Zero::MeansZero,
        };
        opened.close(header, &[], checksum)
    }
}

/// Bytes of the header without options.
pub(crate) const HEADER_LENGTH: usize = 20;

/// Window of what is sent, in bytes: 44 segments of 1,460, as common systems offer.
pub(crate) const WINDOW: u16 = 64_240;
