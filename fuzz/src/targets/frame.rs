//! Frames from a network: whatever they hold, what is read is inside of them, a cut only takes
//! away, and what is built can be read.

use portolan_wire::checksum::{Sum, checksum};
use portolan_wire::icmp::EchoReply;
use portolan_wire::udp::{UdpDatagram, UdpProbe};
use portolan_wire::{
    Addresses, Carried, Destination, Envelope, Framing, LinkType, Malformed, Packet, Protocol, Syn,
    SynTemplate, destination, ethernet, parse,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first byte chooses the link header, the rest is the frame.
pub(crate) fn frame(data: &[u8]) {
    let Some((choice, frame)) = data.split_first() else {
        return;
    };
    let link_type = if choice & 1 == 0 {
        LinkType::Bare
    } else {
        LinkType::Ethernet
    };
    let mut frame = frame.to_vec();
    if choice & 2 != 0 {
        sign(&mut frame, link_type);
    }
    cuts(&frame, link_type, usize::from(*choice));
    if let Some(found) = destination(&frame, link_type) {
        agrees(&frame, link_type, found);
    }
    if let Some((header, payload)) = frame.split_first_chunk::<37>() {
        round_trip(*header, payload);
    }
}

/// Makes the checksum of an IPv4 header right, so that what is behind it is reached.
fn sign(frame: &mut [u8], link_type: LinkType) {
    let start = match link_type {
        LinkType::Bare => 0,
        LinkType::Ethernet => {
            let length = frame.len();
            ethernet::Header::parse(frame).map_or(0, |header| length - header.payload.len())
        }
    };
    let packet = frame.get_mut(start..).unwrap_or_default();
    let length = match packet.first() {
        Some(first @ 0x45..=0x4f) => usize::from(first & 0x0f) * 4,
        _ => return,
    };
    let Some(header) = packet.get_mut(..length) else {
        return;
    };
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let sum = checksum(header).to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum);
    }
}

/// A shorter capture of a frame that is read gives the same or nothing, apart from data.
fn cuts(frame: &[u8], link_type: LinkType, step: usize) {
    let whole = parse(frame, link_type);
    if let Ok(packet) = whole {
        bounds(&packet, frame.len());
    }
    for length in (0..frame.len()).rev().step_by(step.max(1)) {
        let cut = parse(frame.get(..length).unwrap_or_default(), link_type);
        match (cut, whole) {
            (Err(_), _) => {}
            // Of an error, the quote is cut with it; neighbour discovery may be invalid behind.
            (Ok(Packet::IcmpError(cut)), Ok(Packet::IcmpError(whole))) => {
                assert_eq!(cut.quoted.addresses, whole.quoted.addresses);
            }
            (Ok(cut), Ok(whole)) => assert_eq!(without_data(cut), without_data(whole)),
            (Ok(cut), Err(malformed)) => {
                let quote = malformed == Malformed::Quote;
                assert!(quote, "{cut:?} became {malformed:?}");
            }
        }
    }
}

fn bounds(packet: &Packet<'_>, length: usize) {
    match packet {
        Packet::Udp(udp) => {
            assert!(udp.payload.len() <= udp.payload_length && udp.payload.len() < length);
        }
        Packet::EchoReply(echo) => assert!(echo.payload.len() < length),
        _ => {}
    }
}

fn without_data(packet: Packet<'_>) -> Packet<'_> {
    match packet {
        Packet::Udp(udp) => Packet::Udp(UdpDatagram {
            payload: &[],
            ..udp
        }),
        Packet::EchoReply(echo) => Packet::EchoReply(EchoReply {
            payload: &[],
            ..echo
        }),
        other => other,
    }
}

/// Whom a frame is for is what its reader finds, and padding does not change it.
fn agrees(frame: &[u8], link_type: LinkType, found: Destination) {
    let padded = [frame, &[0xff; 64]].concat();
    assert_eq!(destination(&padded, link_type), Some(found));
    assert_eq!(parse(&padded, link_type), parse(frame, link_type));
    let address = found.address;
    let read = parse(frame, link_type);
    let agrees = match (read, found.carried) {
        (
            Ok(Packet::Tcp(tcp)),
            Carried::Tcp {
                port,
                payload_length,
            },
        ) => {
            tcp.addresses.destination == address
                && (tcp.destination_port, tcp.payload_length) == (port, payload_length)
        }
        (
            Ok(Packet::Udp(udp)),
            Carried::Udp {
                port,
                payload_length,
            },
        ) => {
            udp.addresses.destination == address
                && (udp.destination_port, udp.payload_length) == (port, payload_length)
        }
        (Ok(Packet::Arp(arp)), Carried::ArpRequest) => IpAddr::V4(arp.target) == address,
        // A destination does not depend on what is inside of ICMP, nor on checksums.
        (_, Carried::Icmp { .. } | Carried::NeighbourSolicitation) => true,
        (Err(malformed), _) => malformed == Malformed::Checksum,
        (Ok(_), _) => false,
    };
    assert!(agrees, "{found:?} is read as {read:?}");
}

/// Packets of these fields are read as they were built, and are for whom they were meant.
fn round_trip(header: [u8; 37], payload: &[u8]) {
    let [choice, a, b, c, d, rest @ ..] = header;
    let (source, destination) = rest.split_at(16);
    let address = |bytes: &[u8]| match (choice & 1, bytes) {
        (0, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => IpAddr::V6(<[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::LOCALHOST, Ipv6Addr::from)),
    };
    let addresses = Addresses {
        source: address(source),
        destination: address(destination),
    };
    let (source_port, destination_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let probe = UdpProbe {
        envelope: Envelope {
            framing: Framing::Bare,
            addresses,
            hop_limit: choice,
            mtu: 1500,
        },
        source_port,
        destination_port,
        payload,
    };
    let mut out = [0; 1500];
    if let Ok(length) = probe.write(&mut out) {
        let expected = UdpDatagram {
            addresses,
            hop_limit: choice,
            source_port,
            destination_port,
            payload,
            payload_length: payload.len(),
        };
        let built = out.get(..length).unwrap_or_default();
        assert_eq!(parse(built, LinkType::Bare), Ok(Packet::Udp(expected)));
    } else {
        assert!(payload.len() > 1452);
    }
    let template = SynTemplate::new(Framing::Bare, addresses.source);
    let syn = Syn {
        next_hop: None,
        destination: addresses.destination,
        destination_port,
        source_port,
        sequence: u32::from_be_bytes([a, b, c, d]),
    };
    let length = template.write(&syn, &mut out).unwrap_or_default();
    let built = out.get(..length).unwrap_or_default();
    let read = parse(built, LinkType::Bare);
    assert!(
        matches!(read, Ok(Packet::Tcp(tcp))
            if tcp.addresses == addresses && tcp.sequence == syn.sequence),
        "{read:?}"
    );
    // The segment with its pseudo header sums to nothing.
    let segment = length.checked_sub(32).and_then(|start| built.get(start..));
    let sum = Sum::new()
        .pseudo_header(addresses, Protocol::TCP, 32)
        .bytes(segment.unwrap_or_default());
    assert_eq!(sum.checksum(), 0);
}
