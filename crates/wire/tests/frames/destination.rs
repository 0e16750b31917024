//! Frames that must not be sent, because it cannot be told for whom they are.

use crate::sample::{
    ETHERNET, OUT_V4, OUT_V6, OWN_MAC, OWN_V6, PEER_V4, PEER_V6, advertisement, envelope, framed,
    packet, samples, sign_icmpv6, syn_packet,
};
use portolan_wire::ndp::NeighbourSolicitation;
use portolan_wire::udp::UdpProbe;
use portolan_wire::{Addresses, Carried, Framing, LinkType, Protocol, destination, ipv6};
use std::net::{IpAddr, Ipv6Addr};

fn check(packet: &[u8], expected: Option<(IpAddr, Carried)>) {
    let read = |frame: &[u8], link_type| {
        destination(frame, link_type).map(|found| (found.address, found.carried))
    };
    assert_eq!(read(packet, LinkType::Bare), expected, "{packet:02x?}");
    assert_eq!(read(&framed(packet), LinkType::Ethernet), expected);
}

fn check_changed(addresses: Addresses, change: impl Fn(&mut Vec<u8>), expected: Option<usize>) {
    let mut packet = syn_packet(addresses);
    change(&mut packet);
    let carried = expected.map(|payload_length| {
        let carried = Carried::Tcp {
            port: 443,
            payload_length,
        };
        (addresses.destination, carried)
    });
    check(&packet, carried);
}

#[test]
fn data_is_counted_and_padding_is_not() {
    for addresses in [OUT_V4, OUT_V6] {
        let length_at = if addresses.source.is_ipv4() { 3 } else { 5 };
        check_changed(addresses, |_| {}, Some(0));
        check_changed(addresses, |packet| packet.extend([0; 9]), Some(0));
        check_changed(
            addresses,
            |packet| {
                packet.extend([7; 9]);
                packet[length_at] += 9;
            },
            Some(9),
        );
    }
}

#[test]
fn a_frame_that_may_name_another_destination_has_none() {
    // Options, fragments, another version, lengths that lie.
    check_changed(OUT_V4, |packet| packet[0] = 0x46, None);
    check_changed(OUT_V4, |packet| packet[0] = 0x65, None);
    check_changed(OUT_V4, |packet| packet[6] = 0x20, None);
    check_changed(OUT_V4, |packet| packet[7] = 1, None);
    check_changed(OUT_V4, |packet| packet[3] += 1, None);
    check_changed(
        OUT_V4,
        |packet| packet[2..4].copy_from_slice(&[0, 19]),
        None,
    );
    check_changed(OUT_V4, |packet| packet[32] = 0x40, None);
    check_changed(OUT_V4, |packet| packet[32] = 0x90, None);
    check_changed(OUT_V6, |packet| packet[0] = 0x40, None);
    check_changed(OUT_V6, |packet| packet[5] += 1, None);
    for extension in [0, 43, 44, 50, 51, 59, 60, 135, 139, 140] {
        check_changed(OUT_V6, |packet| packet[6] = extension, None);
    }
    for protocol in [0, 2, 4, 41, 47, 58, 132, 255] {
        check_changed(OUT_V4, |packet| packet[9] = protocol, None);
    }
}

#[test]
fn a_datagram_whose_length_lies_has_none() {
    let probe = UdpProbe {
        envelope: envelope(Framing::Bare, OUT_V4),
        source_port: 1,
        destination_port: 53,
        payload: b"data",
    };
    let mut packet = vec![0; 32];
    probe.write(&mut packet).unwrap();
    let carried = Carried::Udp {
        port: 53,
        payload_length: 4,
    };
    check(&packet, Some((PEER_V4.into(), carried)));
    for length in [0, 7, 8, 11, 13] {
        packet[25] = length;
        check(&packet, None);
    }
}

#[test]
fn a_solicitation_reaches_its_target_or_its_group() {
    let solicitation = |destination: Ipv6Addr| {
        let addresses = Addresses {
            source: IpAddr::V6(OWN_V6),
            destination: IpAddr::V6(destination),
        };
        let mut message = advertisement();
        message[0] = 135;
        sign_icmpv6(addresses, &mut message);
        packet(addresses, Protocol::ICMPV6, &message)
    };
    let expected = Some((IpAddr::V6(PEER_V6), Carried::NeighbourSolicitation));
    check(&solicitation(PEER_V6), expected);
    check(&solicitation(ipv6::solicited_node(PEER_V6)), expected);
    check(&solicitation(ipv6::ALL_NODES), None);
    check(&solicitation(OWN_V6), None);
}

#[test]
fn replies_about_addresses_have_none() {
    let advertisement = packet(OUT_V6, Protocol::ICMPV6, &advertisement());
    let carried = Carried::Icmp { kind: 136 };
    check(&advertisement, Some((PEER_V6.into(), carried)));
    let arp = samples().into_iter().find(|(name, ..)| *name == "arp");
    let (_, link_type, mut arp) = arp.unwrap();
    assert!(destination(&arp, link_type).is_some());
    arp[21] = 2;
    assert_eq!(destination(&arp, link_type), None);
}

#[test]
fn a_frame_that_is_cut_anywhere_has_none() {
    let mut solicitation = vec![0; NeighbourSolicitation::FRAME_LENGTH];
    let request = NeighbourSolicitation {
        mac: OWN_MAC,
        source: OWN_V6,
        target: PEER_V6,
    };
    request.write(&mut solicitation).unwrap();
    let frames = samples()
        .into_iter()
        .map(|(_, link_type, frame)| (link_type, frame));
    for (link_type, frame) in frames.chain([(ETHERNET.link_type(), solicitation)]) {
        for length in 0..frame.len() {
            assert_eq!(
                destination(&frame[..length], link_type),
                None,
                "{frame:02x?}"
            );
        }
    }
}
