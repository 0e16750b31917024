//! What both families of IP have: addresses, protocol numbers, and a payload that may be cut. The
//! headers themselves are in `ipv4` and `ipv6`.

use crate::Malformed;
use std::net::IpAddr;

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Who sends.
    pub source: IpAddr,
    /// Who is meant; of the same family.
    pub destination: IpAddr,
}

/// Number of the protocol that an IP packet carries (IANA, Protocol Numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// RFC 792, for IPv4.
    pub const ICMP: Self = Self(1);
    /// RFC 4443, for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// RFC 9293.
    pub const TCP: Self = Self(6);
    /// RFC 768.
    pub const UDP: Self = Self(17);
}

/// A received IP packet without its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) addresses: Addresses,
    pub(crate) hop_limit: u8,
    pub(crate) protocol: Protocol,
    pub(crate) fragment: Fragment,
    pub(crate) payload: Payload<'a>,
}

/// Which part of a datagram a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    First,
    Later,
    Whole,
}

/// Bytes with the length that a header claims for them. A capture may hold fewer; what it holds
/// beyond the claim is padding and is not here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    captured: &'a [u8],
    /// At least the length of `captured`.
    claimed: usize,
}

impl<'a> Payload<'a> {
    pub(crate) fn new(captured: &'a [u8], claimed: usize) -> Self {
        Self {
            captured: captured.get(..claimed).unwrap_or(captured),
            claimed,
        }
    }

    /// The bytes at hand.
    pub(crate) const fn captured(self) -> &'a [u8] {
        self.captured
    }

    /// Bytes that there were.
    pub(crate) const fn claimed(self) -> usize {
        self.claimed
    }

    /// Whether every byte is at hand.
    pub(crate) const fn is_whole(self) -> bool {
        self.captured.len() == self.claimed
    }

    /// The first `N` bytes.
    pub(crate) fn head<const N: usize>(self) -> Result<&'a [u8; N], Malformed> {
        self.captured.first_chunk::<N>().ok_or_else(|| self.ends(N))
    }

    /// What follows the first `length` bytes.
    pub(crate) fn after(self, length: usize) -> Result<Self, Malformed> {
        match (
            self.captured.get(length..),
            self.claimed.checked_sub(length),
        ) {
            (Some(captured), Some(claimed)) => Ok(Self { captured, claimed }),
            _ => Err(self.ends(length)),
        }
    }

    /// Why `length` bytes are not there: the lengths contradict each other, or the capture ends.
    const fn ends(self, length: usize) -> Malformed {
        if self.claimed < length {
            Malformed::Length
        } else {
            Malformed::Truncated
        }
    }
}
