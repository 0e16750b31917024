//! Neighbour discovery for IPv6 (RFC 4861): solicitations are written, advertisements are read.
//! Advertisements are never written: nobody is told where an address is.

use crate::checksum::Sum;
use crate::envelope::{Checksum, Zero};
use crate::icmp::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use crate::ip::{Datagram, Fragment};
use crate::{Addresses, BuildError, Envelope, Framing, Mac, Malformed, Protocol, ipv6};
use std::net::{IpAddr, Ipv6Addr};

/// A question to the solicited-node multicast address: who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourSolicitation {
    /// Hardware address of the interface that asks; told in the source link-layer option.
    pub mac: Mac,
    /// Its address, usually link-local. Not the unspecified one, which may not tell `mac`
    /// (RFC 4861 §4.3).
    pub source: Ipv6Addr,
    /// Unicast address that is asked for.
    pub target: Ipv6Addr,
}

impl NeighbourSolicitation {
    /// Bytes of the frame.
    pub const FRAME_LENGTH: usize = crate::ethernet::HEADER_LENGTH + ipv6::HEADER_LENGTH + LENGTH;

    /// Writes the frame, always with an Ethernet header, and returns its length in bytes.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BuildError> {
        let destination = ipv6::solicited_node(self.target);
        let envelope = Envelope {
            framing: Framing::Ethernet {
                source: self.mac,
                destination: Mac::multicast_ipv6(destination),
            },
            addresses: Addresses {
                source: IpAddr::V6(self.source),
                destination: IpAddr::V6(destination),
            },
            hop_limit: HOP_LIMIT,
            mtu: ipv6::MTU_MIN,
        };
        let mut message = [0; LENGTH];
        message[0] = NEIGHBOUR_SOLICITATION;
        message[8..24].copy_from_slice(&self.target.octets());
        message[24] = OPTION_SOURCE;
        message[25] = 1;
        message[26..].copy_from_slice(&self.mac.0);
        let opened = envelope.open(Protocol::ICMPV6, LENGTH, out)?;
        let checksum = Checksum {
            at: 2,
            covers: opened.pseudo,
            zero: Zero::MeansZero,
        };
        opened.close(message, &[], checksum)
    }
}

/// A received neighbour advertisement that passed the checks of RFC 4861 §7.1.2, the checksum
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourAdvertisement {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// To whom; all nodes when nobody asked.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// Hardware address of the target, when it is told.
    pub mac: Option<Mac>,
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what was known.
    pub overrides: bool,
}

impl NeighbourAdvertisement {
    pub(crate) fn parse(datagram: &Datagram<'_>) -> Result<Self, Malformed> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) =
            (datagram.addresses.source, datagram.addresses.destination)
        else {
            return Err(Malformed::Neighbour);
        };
        if datagram.hop_limit != HOP_LIMIT {
            return Err(Malformed::HopLimit(datagram.hop_limit));
        }
        let message = datagram.payload.head::<24>()?;
        if !datagram.payload.is_whole() {
            return Err(Malformed::Truncated);
        }
        let [kind, code, _, _, flags, _, _, _, target @ ..] = *message;
        let target = Ipv6Addr::from(target);
        let advertisement = Self {
            source,
            destination,
            target,
            mac: target_mac(datagram.payload.after(24)?.captured())?,
            router: flags & 0x80 != 0,
            solicited: flags & 0x40 != 0,
            overrides: flags & 0x20 != 0,
        };
        // Neighbour discovery is never fragmented (RFC 6980 §5).
        let holds = kind == NEIGHBOUR_ADVERTISEMENT
            && code == 0
            && !target.is_multicast()
            && !(destination.is_multicast() && advertisement.solicited)
            && datagram.fragment == Fragment::Whole;
        if !holds {
            return Err(Malformed::Neighbour);
        }
        let bytes = datagram.payload.captured();
        let length = u32::try_from(bytes.len()).map_err(|_| Malformed::Length)?;
        let sum = Sum::new().pseudo_header(datagram.addresses, Protocol::ICMPV6, length);
        match sum.bytes(bytes).checksum() {
            0 => Ok(advertisement),
            _ => Err(Malformed::Checksum),
        }
    }
}

/// The target link-layer option among `options` (RFC 4861 §4.6); others are stepped over.
fn target_mac(mut options: &[u8]) -> Result<Option<Mac>, Malformed> {
    let mut mac = None;
    // Every turn takes at least 8 bytes.
    while !options.is_empty() {
        let [_, units, ..] = *options else {
            return Err(Malformed::Length);
        };
        if units == 0 {
            return Err(Malformed::Neighbour);
        }
        let (option, rest) = options
            .split_at_checked(usize::from(units) * 8)
            .ok_or(Malformed::Length)?;
        if let (None, [OPTION_TARGET, 1, a, b, c, d, e, f]) = (mac, option) {
            mac = Some(Mac([*a, *b, *c, *d, *e, *f]));
        }
        options = rest;
    }
    Ok(mac)
}

/// Bytes of a solicitation with its option.
const LENGTH: usize = 32;

/// No router has passed it on (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
