//! What the tests build frames from: addresses and strategies, frames of every kind, and headers
//! that are put together by hand where the second implementation would put them right.

use etherparse::{IpNumber, PacketBuilder};
use portolan_wire::arp::ArpRequest;
use portolan_wire::checksum::{Sum, checksum};
use portolan_wire::ndp::NeighbourSolicitation;
use portolan_wire::{
    Addresses, Envelope, Framing, LinkType, Mac, Protocol, Syn, SynTemplate, ipv6,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const ETHERNET: Framing = Framing::Ethernet {
    source: OWN_MAC,
    destination: PEER_MAC,
};
pub(crate) const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const PEER_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);

/// From the scanner to the peer.
pub(crate) const OUT_V4: Addresses = Addresses {
    source: IpAddr::V4(OWN_V4),
    destination: IpAddr::V4(PEER_V4),
};
pub(crate) const OUT_V6: Addresses = Addresses {
    source: IpAddr::V6(OWN_V6),
    destination: IpAddr::V6(PEER_V6),
};

/// The other direction.
pub(crate) const fn back(addresses: Addresses) -> Addresses {
    Addresses {
        source: addresses.destination,
        destination: addresses.source,
    }
}

pub(crate) const fn envelope(framing: Framing, addresses: Addresses) -> Envelope {
    Envelope {
        framing,
        addresses,
        hop_limit: 64,
        mtu: 1500,
    }
}

pub(crate) fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::Bare),
        any::<([u8; 6], [u8; 6])>().prop_map(|(source, destination)| Framing::Ethernet {
            source: Mac(source),
            destination: Mac(destination),
        }),
    ]
}

pub(crate) fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(source, destination)| Addresses {
            source: IpAddr::V4(source),
            destination: IpAddr::V4(destination),
        }),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(source, destination)| Addresses {
            source: IpAddr::V6(source),
            destination: IpAddr::V6(destination),
        }),
    ]
}

pub(crate) fn envelopes() -> impl Strategy<Value = Envelope> {
    (framing(), addresses(), any::<u8>()).prop_map(|(framing, addresses, hop_limit)| Envelope {
        framing,
        addresses,
        hop_limit,
        mtu: 1500,
    })
}

/// An IP packet of `inside`, with right lengths and header checksum.
pub(crate) fn packet(addresses: Addresses, protocol: Protocol, inside: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inside.len()).unwrap();
    let mut packet = Vec::new();
    match (addresses.source, addresses.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0]);
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol.0, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            sign_ipv4(&mut packet);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol.0, 255]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => panic!("two families"),
    }
    packet.extend(inside);
    packet
}

/// Makes the checksum of an IPv4 header right.
pub(crate) fn sign_ipv4(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..length]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the checksum of a message of ICMP for IPv6 right.
pub(crate) fn sign_icmpv6(addresses: Addresses, message: &mut [u8]) {
    message[2..4].fill(0);
    let length = u32::try_from(message.len()).unwrap();
    let sum = Sum::new()
        .pseudo_header(addresses, Protocol::ICMPV6, length)
        .bytes(message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// `packet` behind an Ethernet header.
pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    };
    [&OWN_MAC.0, &PEER_MAC.0, &ether_type[..], packet].concat()
}

/// The IP packet of a SYN.
pub(crate) fn syn_packet(addresses: Addresses) -> Vec<u8> {
    let template = SynTemplate::new(Framing::Bare, addresses.source);
    let syn = Syn {
        next_hop: None,
        destination: addresses.destination,
        destination_port: 443,
        source_port: 50_000,
        sequence: 0x0102_0304,
    };
    let mut packet = vec![0; template.frame_length()];
    template.write(&syn, &mut packet).unwrap();
    packet
}

/// The payload of a neighbour advertisement about the peer, from it to us.
pub(crate) fn advertisement() -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(PEER_V6.octets());
    message.extend([2, 1]);
    message.extend(PEER_MAC.0);
    sign_icmpv6(back(OUT_V6), &mut message);
    message
}

/// One frame of every kind that is read, with the link type and a name.
pub(crate) fn samples() -> Vec<(&'static str, LinkType, Vec<u8>)> {
    let quote = |addresses| [&[3, 3, 0, 0, 0, 0, 0, 0], &syn_packet(addresses)[..]].concat();
    let mut unreachable_v6 = quote(OUT_V6);
    unreachable_v6[0] = 1;
    let timestamp = [&[14, 0, 0, 0, 1, 2, 3, 4], &[7; 12][..]].concat();
    let echo_v6 = [129, 0, 0, 0, 1, 2, 3, 4, b'x'];
    let packets = [
        ("syn", syn_packet(OUT_V4)),
        ("syn-v6", syn_packet(OUT_V6)),
        ("udp", packet(back(OUT_V4), Protocol::UDP, &udp())),
        ("udp-v6", packet(back(OUT_V6), Protocol::UDP, &udp())),
        ("options", with_options()),
        ("extensions", with_extensions()),
        (
            "error",
            packet(back(OUT_V4), Protocol::ICMP, &quote(OUT_V4)),
        ),
        (
            "error-v6",
            packet(back(OUT_V6), Protocol::ICMPV6, &unreachable_v6),
        ),
        (
            "timestamp",
            packet(back(OUT_V4), Protocol::ICMP, &timestamp),
        ),
        (
            "echo",
            packet(
                back(OUT_V4),
                Protocol::ICMP,
                &[0, 0, 0, 0, 1, 2, 3, 4, b'x'],
            ),
        ),
        ("echo-v6", packet(back(OUT_V6), Protocol::ICMPV6, &echo_v6)),
        (
            "advertisement",
            packet(back(OUT_V6), Protocol::ICMPV6, &advertisement()),
        ),
    ];
    let mut samples = Vec::new();
    for (name, packet) in packets {
        samples.push((name, LinkType::Ethernet, framed(&packet)));
        samples.push((name, LinkType::Bare, packet));
    }
    for (name, frame) in link_layer() {
        samples.push((name, LinkType::Ethernet, frame));
    }
    samples
}

fn link_layer() -> [(&'static str, Vec<u8>); 3] {
    let mut arp = vec![0; ArpRequest::FRAME_LENGTH];
    let request = ArpRequest {
        mac: OWN_MAC,
        source: OWN_V4,
        target: PEER_V4,
    };
    request.write(&mut arp).unwrap();
    let mut solicitation = vec![0; NeighbourSolicitation::FRAME_LENGTH];
    let request = NeighbourSolicitation {
        mac: OWN_MAC,
        source: OWN_V6,
        target: PEER_V6,
    };
    request.write(&mut solicitation).unwrap();
    let mut tagged = framed(&syn_packet(OUT_V4));
    tagged.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7]);
    [
        ("arp", arp),
        ("solicitation", solicitation),
        ("tagged", tagged),
    ]
}

fn udp() -> Vec<u8> {
    vec![0, 53, 0xc3, 0x50, 0, 13, 0, 0, 1, 2, 3, 4, 5]
}

fn with_options() -> Vec<u8> {
    let mut packet = syn_packet(OUT_V4);
    packet.splice(20..20, [1, 1, 1, 0]);
    packet[0] = 0x46;
    packet[3] += 4;
    sign_ipv4(&mut packet);
    packet
}

fn with_extensions() -> Vec<u8> {
    let syn = syn_packet(OUT_V6);
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fragment = [6, 0, 0, 1, 0, 0, 0, 9];
    let inside = [&hop_by_hop, &destination[..], &fragment, &syn[40..]].concat();
    packet(OUT_V6, Protocol(0), &inside)
}

/// The header of a packet that carries `protocol`, as the second implementation starts it.
pub(crate) const fn number(protocol: Protocol) -> IpNumber {
    IpNumber(protocol.0)
}

/// A SYN-ACK that the second implementation builds.
pub(crate) fn syn_ack() -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(PEER_MAC.0, OWN_MAC.0)
        .ipv4(PEER_V4.octets(), OWN_V4.octets(), 57)
        .tcp(443, 50_000, 77, 65_535)
        .syn()
        .ack(0x0102_0305)
        .write(&mut frame, &[])
        .unwrap();
    frame
}

/// All nodes, as a destination from us.
pub(crate) const TO_ALL_NODES: Addresses = Addresses {
    source: IpAddr::V6(OWN_V6),
    destination: IpAddr::V6(ipv6::ALL_NODES),
};
