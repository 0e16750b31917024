//! Cut, damaged and lying frames.

use crate::sample::{OUT_V4, OUT_V6, back, packet, samples, sign_ipv4, syn_packet};
use portolan_wire::icmp::EchoReply;
use portolan_wire::udp::UdpDatagram;
use portolan_wire::{
    LinkType, Malformed, Other, Packet, Protocol, destination, ethernet, ipv6, parse,
};
use proptest::prelude::*;

/// The packet without the data that a cut takes away.
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

#[test]
fn every_sample_is_whole() {
    for (name, link_type, frame) in samples() {
        let read = parse(&frame, link_type);
        assert!(read.is_ok(), "{name}: {read:?}");
        let answers = !matches!(read, Ok(Packet::Other(_)));
        assert!(answers || name == "solicitation", "{name}: {read:?}");
    }
}

#[test]
fn a_cut_takes_data_away_or_is_told() {
    for (name, link_type, frame) in samples() {
        let whole = parse(&frame, link_type).unwrap();
        for length in 0..frame.len() {
            match parse(&frame[..length], link_type) {
                Err(malformed) => assert_eq!(malformed, Malformed::Truncated, "{name} {length}"),
                // Of a quote, less than all is read.
                Ok(Packet::IcmpError(cut)) => {
                    let Packet::IcmpError(error) = whole else {
                        panic!("{name} {length}");
                    };
                    assert_eq!(cut.quoted.addresses, error.quoted.addresses);
                }
                Ok(cut) => assert_eq!(without_data(cut), without_data(whole), "{name} {length}"),
            }
        }
    }
}

#[test]
fn padding_changes_nothing() {
    for (name, link_type, frame) in samples() {
        let mut padded = frame.clone();
        padded.extend([0xff; 50]);
        assert_eq!(
            parse(&padded, link_type),
            parse(&frame, link_type),
            "{name}"
        );
    }
}

/// A SYN of one family as `change` leaves it, its header checksum made right.
fn check_lie(
    addresses: portolan_wire::Addresses,
    change: impl Fn(&mut Vec<u8>),
    expected: Malformed,
) {
    let mut packet = syn_packet(addresses);
    change(&mut packet);
    if packet[0] >> 4 == 4 && packet.len() >= usize::from(packet[0] & 15) * 4 {
        sign_ipv4(&mut packet);
    }
    assert_eq!(
        parse(&packet, LinkType::Bare),
        Err(expected),
        "{packet:02x?}"
    );
}

#[test]
fn lengths_that_lie_are_malformed() {
    // Header lengths and total lengths without room for what they count.
    check_lie(OUT_V4, |packet| packet[0] = 0x44, Malformed::Length);
    check_lie(OUT_V4, |packet| packet[3] = 19, Malformed::Length);
    check_lie(OUT_V4, |packet| packet[3] = 39, Malformed::Length);
    check_lie(OUT_V4, |packet| packet[0] = 0x4f, Malformed::Length);
    check_lie(OUT_V6, |packet| packet[5] = 19, Malformed::Length);
    // TCP data offsets below the header and beyond the packet.
    check_lie(OUT_V4, |packet| packet[32] = 0x40, Malformed::Length);
    check_lie(OUT_V4, |packet| packet[32] = 0x90, Malformed::Length);
    check_lie(OUT_V6, |packet| packet[52] = 0xf0, Malformed::Length);
    // An extension header beyond the packet.
    check_lie(
        OUT_V6,
        |packet| {
            packet[6] = 60;
            packet[41] = 20;
        },
        Malformed::Length,
    );
}

#[test]
fn udp_lengths_that_lie_are_malformed() {
    let with_length = |length| {
        let datagram = [0, 53, 0, 1, 0, length, 0, 0, 1, 2, 3];
        packet(back(OUT_V4), Protocol::UDP, &datagram)
    };
    for (length, expected) in [
        (0, None),
        (7, None),
        (8, Some(0)),
        (10, Some(2)),
        (12, None),
    ] {
        let packet = with_length(length);
        let read = match parse(&packet, LinkType::Bare) {
            Ok(Packet::Udp(udp)) => Some(udp.payload.len()),
            other => {
                assert_eq!(other, Err(Malformed::Length));
                None
            }
        };
        assert_eq!(read, expected, "length {length}");
    }
}

#[test]
fn versions_and_checksums_must_be_right() {
    check_lie(OUT_V4, |packet| packet[0] = 0x55, Malformed::Version(5));
    check_lie(OUT_V6, |packet| packet[0] = 0, Malformed::Version(0));
    let mut packet = syn_packet(OUT_V4);
    packet[8] ^= 1;
    assert_eq!(parse(&packet, LinkType::Bare), Err(Malformed::Checksum));
    let mut frame = [&[2; 12], &[0x86, 0xdd][..], &syn_packet(OUT_V4)].concat();
    assert_eq!(
        parse(&frame, LinkType::Ethernet),
        Err(Malformed::Version(4))
    );
    frame.splice(12.., [&[8, 0][..], &syn_packet(OUT_V6)].concat());
    assert_eq!(
        parse(&frame, LinkType::Ethernet),
        Err(Malformed::Version(6))
    );
}

#[test]
fn checksums_that_hardware_makes_are_not_required() {
    for addresses in [OUT_V4, OUT_V6] {
        let mut packet = syn_packet(addresses);
        let at = packet.len() - 16;
        packet[at] ^= 0xff;
        assert!(matches!(parse(&packet, LinkType::Bare), Ok(Packet::Tcp(_))));
    }
}

/// A SYN behind these extension headers, each of 8 bytes, by their numbers.
fn check_extensions(numbers: &[u8], expected: Result<(), Malformed>) {
    let mut inside = Vec::new();
    let nexts = numbers.iter().skip(1).chain(&[6]);
    for next in nexts {
        inside.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
    }
    inside.extend(&syn_packet(OUT_V6)[40..]);
    let packet = packet(OUT_V6, Protocol(numbers[0]), &inside);
    let read = parse(&packet, LinkType::Bare).map(|packet| {
        assert!(matches!(packet, Packet::Tcp(_)), "{packet:?}");
    });
    assert_eq!(read, expected, "{numbers:?}");
}

#[test]
fn extension_headers_are_bounded_and_in_order() {
    let many = [60; ipv6::EXTENSION_HEADERS_MAX + 1];
    check_extensions(&[0, 60, 43, 44, 60], Ok(()));
    check_extensions(&many[1..], Ok(()));
    check_extensions(&many, Err(Malformed::ExtensionHeaders));
    check_extensions(&[60, 0], Err(Malformed::ExtensionHeaders));
    check_extensions(&[0, 0], Err(Malformed::ExtensionHeaders));
}

#[test]
fn only_the_first_fragment_is_read() {
    let datagram = [0, 53, 0, 1, 0, 200, 0, 0, 1, 2, 3, 4];
    let read = |packet: &[u8]| match parse(packet, LinkType::Bare) {
        Ok(Packet::Udp(udp)) => Some((udp.payload.len(), udp.payload_length)),
        Ok(Packet::Other(Other::Fragment)) => None,
        other => panic!("{other:?}"),
    };
    let mut v4 = packet(back(OUT_V4), Protocol::UDP, &datagram);
    v4[6] = 0x20;
    sign_ipv4(&mut v4);
    assert_eq!(read(&v4), Some((4, 192)));
    v4[7] = 1;
    sign_ipv4(&mut v4);
    assert_eq!(read(&v4), None);
    let fragment = |low| [&[17, 0, 0, low, 0, 0, 0, 1], &datagram[..]].concat();
    let v6 = |low| packet(back(OUT_V6), Protocol(44), &fragment(low));
    assert_eq!(read(&v6(1)), Some((4, 192)));
    assert_eq!(read(&v6(9)), None);
    assert_eq!(read(&v6(8)), None);
}

/// Reads it in every way there is.
fn read_all(frame: &[u8]) {
    for link_type in [LinkType::Bare, LinkType::Ethernet] {
        let _ = destination(frame, link_type);
        if let Ok(Packet::Udp(udp)) = parse(frame, link_type) {
            assert!(udp.payload.len() <= udp.payload_length);
        }
    }
    let _ = ethernet::Header::parse(frame);
}

proptest! {
    #[test]
    fn noise_is_read_without_panic(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&frame);
    }

    #[test]
    fn damaged_frames_are_read_without_panic(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let samples = samples();
        let (_, link_type, mut frame) = samples[at.index(samples.len())].clone();
        for (place, byte) in changes {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        // A right header checksum lets damage through to what is behind.
        let start = if link_type == LinkType::Ethernet { 14 } else { 0 };
        if frame[start] >> 4 == 4 && frame.len() >= start + usize::from(frame[start] & 15) * 4
            && frame[start] & 15 >= 5
        {
            sign_ipv4(&mut frame[start..]);
        }
        read_all(&frame);
    }
}
