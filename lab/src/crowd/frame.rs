//! Frames that hosts of a crowd send. `portolan-wire` builds what a scanner sends; what answers it
//! is built here, with that crate's checksums. What is answered to what is in `respond`.

use super::host::Icmp;
use portolan_wire::checksum::{Sum, checksum};
use portolan_wire::tcp::Flags;
use portolan_wire::{Addresses, Mac, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything of a frame up to what the IP packet carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) from: Mac,
    pub(super) to: Mac,
    pub(super) addresses: Addresses,
    pub(super) hop_limit: u8,
}

/// What differs from one segment to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: Flags,
}

/// Bytes up to the end of the IP header.
pub(super) const fn headers_length(address: IpAddr) -> usize {
    LINK_LENGTH + if address.is_ipv4() { 20 } else { 40 }
}

/// A TCP segment without data; a SYN has the option that tells the maximum segment size.
pub(super) fn tcp(envelope: &Envelope, segment: &Segment) -> Vec<u8> {
    let is_syn = segment.flags.contains(Flags::SYN);
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&segment.source_port.to_be_bytes());
    body.extend_from_slice(&segment.destination_port.to_be_bytes());
    body.extend_from_slice(&segment.sequence.to_be_bytes());
    body.extend_from_slice(&segment.acknowledgement.to_be_bytes());
    body.push(if is_syn { 0x60 } else { 0x50 });
    body.push(segment.flags.0);
    body.extend_from_slice(&WINDOW.to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    if is_syn {
        body.extend_from_slice(&MSS);
    }
    packet(envelope, Protocol::TCP, 16, body)
}

/// An ICMP message that quotes a packet from its IP header on, as errors do.
pub(super) fn icmp_quoting(envelope: &Envelope, icmp: Icmp, quote: &[u8]) -> Vec<u8> {
    let mut body = vec![icmp.kind, icmp.code, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(quote.get(..QUOTE_MAX).unwrap_or(quote));
    packet(envelope, icmp_of(envelope), 2, body)
}

/// The answer to an ICMP message that asks for its own bytes.
pub(super) fn echo_reply(envelope: &Envelope, request: &[u8]) -> Vec<u8> {
    let mut body = request.to_vec();
    let kind = if envelope.addresses.source.is_ipv4() {
        0
    } else {
        129
    };
    for (place, byte) in body.iter_mut().zip([kind, 0, 0, 0]) {
        *place = byte;
    }
    packet(envelope, icmp_of(envelope), 2, body)
}

/// Tells who asked by ARP that `address` is at `mac` (RFC 826).
pub(super) fn arp_reply(
    mac: Mac,
    address: Ipv4Addr,
    asker: Mac,
    asker_address: Ipv4Addr,
) -> Vec<u8> {
    let mut frame = link(mac, asker, ETHER_TYPE_ARP);
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&asker.0);
    frame.extend_from_slice(&asker_address.octets());
    frame
}

/// Tells who asked by a neighbour solicitation that `address` is at `mac` (RFC 4861 §4.4).
pub(super) fn advertisement(
    mac: Mac,
    address: Ipv6Addr,
    asker: Mac,
    asker_address: Ipv6Addr,
) -> Vec<u8> {
    let envelope = Envelope {
        from: mac,
        to: asker,
        addresses: Addresses {
            source: IpAddr::V6(address),
            destination: IpAddr::V6(asker_address),
        },
        hop_limit: 255,
    };
    // Solicited, overriding; then the option with the hardware address of the target.
    let mut body = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    body.extend_from_slice(&address.octets());
    body.extend_from_slice(&[2, 1]);
    body.extend_from_slice(&mac.0);
    packet(&envelope, Protocol::ICMPV6, 2, body)
}

const fn icmp_of(envelope: &Envelope) -> Protocol {
    if envelope.addresses.source.is_ipv4() {
        Protocol::ICMP
    } else {
        Protocol::ICMPV6
    }
}

/// A whole frame around `body`, whose checksum stands at `at` and is made here.
fn packet(envelope: &Envelope, protocol: Protocol, at: usize, mut body: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let sum = if protocol == Protocol::ICMP {
        Sum::new()
    } else {
        Sum::new().pseudo_header(envelope.addresses, protocol, u32::from(length))
    };
    let sum = sum.bytes(&body).checksum().to_be_bytes();
    for (place, byte) in body.iter_mut().skip(at).zip(sum) {
        *place = byte;
    }
    let Addresses {
        source,
        destination,
    } = envelope.addresses;
    let hop_limit = envelope.hop_limit;
    let mut frame;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame = link(envelope.from, envelope.to, ETHER_TYPE_IPV4);
            frame.extend_from_slice(&ipv4(source, destination, protocol, hop_limit, length));
        }
        (source, destination) => {
            frame = link(envelope.from, envelope.to, ETHER_TYPE_IPV6);
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&[protocol.0, hop_limit]);
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    frame.extend_from_slice(&address.octets());
                }
            }
        }
    }
    frame.extend_from_slice(&body);
    frame
}

fn ipv4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: Protocol,
    ttl: u8,
    length: u16,
) -> [u8; 20] {
    let [high, low] = length.saturating_add(20).to_be_bytes();
    let mut header = [
        0x45, 0, high, low, 0, 0, 0x40, 0, ttl, protocol.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let addresses = source.octets().into_iter().chain(destination.octets());
    for (place, byte) in header.iter_mut().skip(12).zip(addresses) {
        *place = byte;
    }
    let sum = checksum(&header).to_be_bytes();
    for (place, byte) in header.iter_mut().skip(10).zip(sum) {
        *place = byte;
    }
    header
}

fn link(from: Mac, to: Mac, ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_LENGTH);
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame
}

/// Bytes of an Ethernet header.
pub(super) const LINK_LENGTH: usize = 14;

const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_ARP: u16 = 0x0806;
const ETHER_TYPE_IPV6: u16 = 0x86dd;

/// Room for most frames.
const FRAME_LENGTH: usize = 96;

/// Bytes that an ICMP message quotes at most, so that it stays below 576 bytes (RFC 1812 §4.3.2.3).
const QUOTE_MAX: usize = 500;

/// What common systems offer.
const WINDOW: u16 = 64_240;

/// Maximum segment size of 1,460.
const MSS: [u8; 4] = [2, 4, 0x05, 0xb4];

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_wire::{LinkType, Packet, parse};

    const FROM: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TO: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn envelope(source: &str, destination: &str) -> Envelope {
        Envelope {
            from: FROM,
            to: TO,
            addresses: Addresses {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
            },
            hop_limit: 64,
        }
    }

    fn check_segment(envelope: &Envelope) {
        let segment = Segment {
            source_port: 80,
            destination_port: 61_440,
            sequence: 7,
            acknowledgement: 9,
            flags: Flags::SYN.with(Flags::ACK),
        };
        let frame = tcp(envelope, &segment);
        let Ok(Packet::Tcp(read)) = parse(&frame, LinkType::Ethernet) else {
            panic!("{frame:?}");
        };
        assert_eq!(read.addresses, envelope.addresses);
        assert_eq!((read.source_port, read.destination_port), (80, 61_440));
        assert_eq!((read.sequence, read.acknowledgement), (7, 9));
        assert!(read.flags.is_syn_ack());
        assert_eq!(read.payload_length, 0);
        let body = &frame[headers_length(envelope.addresses.source)..];
        let length = u32::try_from(body.len()).unwrap();
        let sum = Sum::new().pseudo_header(envelope.addresses, Protocol::TCP, length);
        assert_eq!(sum.bytes(body).checksum(), 0);
        let quoting = icmp_quoting(envelope, Icmp::PROHIBITED, &frame[LINK_LENGTH..]);
        let error = parse(&quoting, LinkType::Ethernet);
        assert!(matches!(error, Ok(Packet::IcmpError(_))), "{error:?}");
    }

    #[test]
    fn segments_are_read_as_they_were_written() {
        check_segment(&envelope("198.18.64.9", "198.18.64.1"));
        check_segment(&envelope("2001:db8::9", "2001:db8::1"));
    }

    #[test]
    fn who_asks_for_a_hardware_address_is_told() {
        let own = Ipv4Addr::new(198, 18, 64, 9);
        let asker = Ipv4Addr::new(198, 18, 64, 1);
        let frame = arp_reply(FROM, own, TO, asker);
        let Ok(Packet::Arp(arp)) = parse(&frame, LinkType::Ethernet) else {
            panic!("{frame:?}");
        };
        assert!(arp.is_reply());
        assert_eq!((arp.sender, arp.sender_mac), (own, FROM));
        let own: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let frame = advertisement(FROM, own, TO, "2001:db8::1".parse().unwrap());
        let read = parse(&frame, LinkType::Ethernet);
        let Ok(Packet::NeighbourAdvertisement(told)) = read else {
            panic!("{read:?}");
        };
        assert_eq!((told.target, told.mac), (own, Some(FROM)));
        assert!(told.solicited && told.overrides);
    }
}
