//! Ethernet II framing (RFC 894) with VLAN tags (IEEE 802.1Q clause 9). What stands behind the
//! header is read elsewhere; frame check sequences never reach a packet socket.

use crate::{Malformed, fields};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A 48-bit hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everyone on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// What loopback interfaces use.
    pub const ZERO: Self = Self([0; 6]);

    /// Where a multicast address is sent to: RFC 1112 §6.4 for IPv4, RFC 2464 §7 for IPv6. `None`
    /// for an address that is no multicast.
    pub const fn multicast(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(v4) if v4.is_multicast() => Some(Self::multicast_ipv4(v4)),
            IpAddr::V6(v6) if v6.is_multicast() => Some(Self::multicast_ipv6(v6)),
            _ => None,
        }
    }

    const fn multicast_ipv4(address: Ipv4Addr) -> Self {
        let [_, b, c, d] = address.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    pub(crate) const fn multicast_ipv6(address: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// What stands before the IP header on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Nothing: tunnels and point-to-point links.
    Bare,
    /// An Ethernet header; also on loopback, veth and VLAN interfaces.
    Ethernet,
}

/// The link header of packets that are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// None: the packet begins with the IP header.
    Bare,
    /// An Ethernet header without VLAN tag.
    Ethernet {
        /// The interface's own address.
        source: Mac,
        /// The next hop: the target on the same segment, else the gateway.
        destination: Mac,
    },
}

impl Framing {
    /// Which kind of header this is.
    pub const fn link_type(self) -> LinkType {
        match self {
            Self::Bare => LinkType::Bare,
            Self::Ethernet { .. } => LinkType::Ethernet,
        }
    }

    /// Bytes of the header: 0 or 14.
    pub const fn header_length(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Ethernet { .. } => HEADER_LENGTH,
        }
    }

    /// The header for a packet of this `EtherType`; `None` when there is none.
    pub(crate) fn header(self, ether_type: u16) -> Option<[u8; HEADER_LENGTH]> {
        let Self::Ethernet {
            source,
            destination,
        } = self
        else {
            return None;
        };
        let mut header = [0; HEADER_LENGTH];
        header[..6].copy_from_slice(&destination.0);
        header[6..12].copy_from_slice(&source.0);
        header[12..].copy_from_slice(&ether_type.to_be_bytes());
        Some(header)
    }
}

/// A received Ethernet header and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// To whom.
    pub destination: Mac,
    /// From whom: a host of the segment, or the gateway.
    pub source: Mac,
    /// VLAN number of the outermost tag that stands in the frame. Linux usually takes it out of
    /// the frame before a packet socket sees it.
    pub vlan: Option<u16>,
    /// `EtherType` behind up to [`TAGS_MAX`] tags; below 1,536 it is a length (IEEE 802.3).
    pub ether_type: u16,
    /// The rest of the frame, padding included.
    pub payload: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header of a frame. Fails when the frame ends inside of it.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = frame
            .split_first_chunk::<HEADER_LENGTH>()
            .ok_or(Malformed::Truncated)?;
        let mut parsed = Self {
            destination: Mac(fields::bytes::<0, 6, _>(header)),
            source: Mac(fields::bytes::<6, 6, _>(header)),
            vlan: None,
            ether_type: fields::word::<12, _>(header),
            payload,
        };
        for _ in 0..TAGS_MAX {
            if !matches!(parsed.ether_type, ETHER_TYPE_VLAN | ETHER_TYPE_SERVICE_VLAN) {
                break;
            }
            let (tag, payload) = parsed
                .payload
                .split_first_chunk::<4>()
                .ok_or(Malformed::Truncated)?;
            // Three bits of priority and one of eligibility stand before the number.
            let vlan = fields::word::<0, _>(tag) & 0x0fff;
            parsed.vlan = parsed.vlan.or(Some(vlan));
            parsed.ether_type = fields::word::<2, _>(tag);
            parsed.payload = payload;
        }
        Ok(parsed)
    }
}

/// Tags that are read: 802.1ad puts a second one around the first.
pub const TAGS_MAX: usize = 2;

/// Bytes of the header without tags.
pub(crate) const HEADER_LENGTH: usize = 14;

pub(crate) const ETHER_TYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHER_TYPE_ARP: u16 = 0x0806;
pub(crate) const ETHER_TYPE_IPV6: u16 = 0x86dd;
const ETHER_TYPE_VLAN: u16 = 0x8100;
const ETHER_TYPE_SERVICE_VLAN: u16 = 0x88a8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_shown_in_pairs() {
        let mac = Mac([0x02, 0, 0x0a, 0xff, 0x10, 0x01]);
        assert_eq!(mac.to_string(), "02:00:0a:ff:10:01");
    }

    fn check_multicast(address: &str, expected: Option<[u8; 6]>) {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(Mac::multicast(address), expected.map(Mac), "{address}");
    }

    #[test]
    fn multicast_addresses_have_their_hardware_address() {
        check_multicast("224.0.0.251", Some([0x01, 0, 0x5e, 0, 0, 251]));
        check_multicast("239.255.255.250", Some([0x01, 0, 0x5e, 0x7f, 255, 250]));
        check_multicast("ff02::1", Some([0x33, 0x33, 0, 0, 0, 1]));
        check_multicast(
            "ff02::1:ff12:3456",
            Some([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]),
        );
        check_multicast("198.18.0.1", None);
        check_multicast("2001:db8::1", None);
    }

    /// Tags, `EtherType`, then: outermost VLAN, `EtherType` read, bytes left.
    fn check_tags(after_addresses: &[u8], expected: Option<(Option<u16>, u16, usize)>) {
        let frame = [&[2; 12], after_addresses].concat();
        let read = Header::parse(&frame).ok();
        let read = read.map(|header| (header.vlan, header.ether_type, header.payload.len()));
        assert_eq!(read, expected, "{after_addresses:02x?}");
    }

    #[test]
    fn up_to_two_tags_are_read() {
        check_tags(&[0x08, 0, 9], Some((None, 0x0800, 1)));
        check_tags(
            &[0x81, 0, 0xb0, 0x07, 0x86, 0xdd],
            Some((Some(7), 0x86dd, 0)),
        );
        let two = [0x88, 0xa8, 0x0f, 0xff, 0x81, 0, 0, 5, 0x08, 0x06, 1, 2];
        check_tags(&two, Some((Some(0xfff), 0x0806, 2)));
        let three = [0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0];
        check_tags(&three, Some((Some(1), 0x8100, 4)));
        check_tags(&[0x81, 0, 0, 1, 0x08], None);
        check_tags(&[0x08], None);
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let framing = Framing::Ethernet {
            source: Mac([2, 0, 0, 0, 0, 1]),
            destination: Mac([2, 0, 0, 0, 0, 2]),
        };
        let header = framing.header(ETHER_TYPE_IPV6).unwrap();
        let read = Header::parse(&header).unwrap();
        assert_eq!(read.source, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(read.destination, Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(read.ether_type, ETHER_TYPE_IPV6);
        assert_eq!(Framing::Bare.header(ETHER_TYPE_IPV6), None);
    }
}
