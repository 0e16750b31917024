//! Neighbour advertisements: which are believed, and what they tell (RFC 4861 §7.1.2).

use crate::sample::{OUT_V6, OWN_V6, PEER_MAC, PEER_V6, advertisement, back, packet, sign_icmpv6};
use portolan_wire::ndp::NeighbourAdvertisement;
use portolan_wire::{Addresses, LinkType, Mac, Malformed, Packet, Protocol, ipv6, parse};
use std::net::IpAddr;

const SOLICITED: NeighbourAdvertisement = NeighbourAdvertisement {
    source: PEER_V6,
    destination: OWN_V6,
    target: PEER_V6,
    mac: Some(PEER_MAC),
    router: false,
    solicited: true,
    overrides: true,
};

type Outcome = Result<NeighbourAdvertisement, Malformed>;

/// An advertisement as `change` leaves it, with a right checksum.
fn check(change: impl Fn(&mut Vec<u8>), expected: Outcome) {
    let mut message = advertisement();
    change(&mut message);
    sign_icmpv6(back(OUT_V6), &mut message);
    let packet = packet(back(OUT_V6), Protocol::ICMPV6, &message);
    let expected = expected.map(Packet::NeighbourAdvertisement);
    assert_eq!(parse(&packet, LinkType::Bare), expected, "{message:02x?}");
}

#[test]
fn a_solicited_advertisement_tells_the_hardware_address() {
    check(|_| {}, Ok(SOLICITED));
    let router = NeighbourAdvertisement {
        router: true,
        solicited: false,
        overrides: false,
        ..SOLICITED
    };
    check(|message| message[4] = 0x80, Ok(router));
}

#[test]
fn options_are_read_up_to_the_end() {
    let with = |mac| Ok(NeighbourAdvertisement { mac, ..SOLICITED });
    check(|message| message.truncate(24), with(None));
    check(|message| message[24] = 1, with(None));
    // An unknown option of two units before the one that counts; the first one counts.
    let unknown = [[14, 2, 0, 0, 0, 0, 0, 0], [0; 8]].concat();
    check(
        |message| drop(message.splice(24..24, unknown.clone())),
        with(Some(PEER_MAC)),
    );
    let second = [2, 1, 9, 9, 9, 9, 9, 9];
    check(|message| message.extend(second), with(Some(PEER_MAC)));
    check(
        |message| drop(message.splice(24..24, second)),
        with(Some(Mac([9; 6]))),
    );
}

#[test]
fn options_that_lie_are_malformed() {
    check(|message| message[25] = 0, Err(Malformed::Neighbour));
    check(|message| message[25] = 2, Err(Malformed::Length));
    check(|message| message.push(2), Err(Malformed::Length));
    check(|message| message.truncate(23), Err(Malformed::Length));
}

#[test]
fn what_the_standard_rejects_is_malformed() {
    check(|message| message[1] = 1, Err(Malformed::Neighbour));
    check(|message| message[8] = 0xff, Err(Malformed::Neighbour));
}

/// The packet of an advertisement as `change` leaves it.
fn check_packet(change: impl Fn(&mut Vec<u8>), expected: Malformed) {
    let mut packet = packet(back(OUT_V6), Protocol::ICMPV6, &advertisement());
    change(&mut packet);
    assert_eq!(parse(&packet, LinkType::Bare), Err(expected));
}

#[test]
fn what_comes_from_beyond_the_link_or_damaged_is_malformed() {
    check_packet(|packet| packet[7] = 254, Malformed::HopLimit(254));
    check_packet(|packet| packet[50] ^= 1, Malformed::Checksum);
    check_packet(|packet| packet.truncate(71), Malformed::Truncated);
    // A fragment header before it (RFC 6980 §5).
    check_packet(
        |packet| {
            packet.splice(40..40, [58, 0, 0, 1, 0, 0, 0, 1]);
            packet[5] += 8;
            packet[6] = 44;
        },
        Malformed::Neighbour,
    );
}

fn check_to_all(flags: u8, expected: Result<(), Malformed>) {
    let addresses = Addresses {
        source: IpAddr::V6(PEER_V6),
        destination: IpAddr::V6(ipv6::ALL_NODES),
    };
    let mut message = advertisement();
    message[4] = flags;
    sign_icmpv6(addresses, &mut message);
    let packet = packet(addresses, Protocol::ICMPV6, &message);
    let read = parse(&packet, LinkType::Bare).map(|_| ());
    assert_eq!(read, expected, "flags {flags:02x}");
}

#[test]
fn nobody_solicits_what_is_told_to_all() {
    check_to_all(0x20, Ok(()));
    check_to_all(0x60, Err(Malformed::Neighbour));
}

#[test]
fn the_group_of_a_node_ends_in_its_last_three_bytes() {
    let address = "2001:db8::1234:5678".parse().unwrap();
    let group: std::net::Ipv6Addr = "ff02::1:ff34:5678".parse().unwrap();
    assert_eq!(ipv6::solicited_node(address), group);
}
