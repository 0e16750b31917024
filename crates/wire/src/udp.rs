//! UDP datagrams (RFC 768), written and read. What a payload means is decided elsewhere.

use crate::envelope::{Checksum, Zero};
use crate::ip::{Datagram, Fragment};
use crate::{Addresses, BuildError, Envelope, Malformed, Protocol, fields};

/// A datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpProbe<'a> {
    /// Link header, addresses and limits.
    pub envelope: Envelope,
    /// Own port.
    pub source_port: u16,
    /// Port of the target.
    pub destination_port: u16,
    /// What is said; [`BuildError::TooLong`] when it does not fit into one packet.
    pub payload: &'a [u8],
}

impl UdpProbe<'_> {
    /// Writes the frame and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let length = HEADER_LENGTH.saturating_add(self.payload.len());
        let opened = self.envelope.open(Protocol::UDP, length, out)?;
        let too_long = BuildError::TooLong {
            length,
            length_max: usize::from(u16::MAX),
        };
        let length = u16::try_from(length).map_err(|_| too_long)?;
        let mut header = [0; HEADER_LENGTH];
        header[..2].copy_from_slice(&self.source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        let checksum = Checksum {
            at: 6,
            covers: opened.pseudo,
            zero: Zero::MeansNone,
        };
        opened.close(header, self.payload, checksum)
    }
}

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// From whom to whom.
    pub addresses: Addresses,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// What was said, as far as it was captured.
    pub payload: &'a [u8],
    /// Bytes that were said; more than `payload` has when capture or fragmentation cut it.
    pub payload_length: usize,
}

impl<'a> UdpDatagram<'a> {
    pub(crate) fn parse(datagram: &Datagram<'a>) -> Result<Self, Malformed> {
        let header = datagram.payload.head::<HEADER_LENGTH>()?;
        let length = usize::from(fields::word::<4, _>(header));
        // The length is that of the whole datagram; its later fragments are not here.
        let lies = length > datagram.payload.claimed() && datagram.fragment == Fragment::Whole;
        let payload_length = match length.checked_sub(HEADER_LENGTH) {
            Some(length) if !lies => length,
            _ => return Err(Malformed::Length),
        };
        let captured = datagram.payload.after(HEADER_LENGTH)?.captured();
        Ok(Self {
            addresses: datagram.addresses,
            hop_limit: datagram.hop_limit,
            source_port: fields::word::<0, _>(header),
            destination_port: fields::word::<2, _>(header),
            payload: captured.get(..payload_length).unwrap_or(captured),
            payload_length,
        })
    }
}

/// Bytes of the header.
pub(crate) const HEADER_LENGTH: usize = 8;
