//! Every frame that is built: read by the second implementation, by this one, and by the check
//! that asks whom it is for.

use crate::oracle;
use crate::sample::{
    ETHERNET, OUT_V4, OUT_V6, OWN_MAC, OWN_V4, OWN_V6, TO_ALL_NODES, addresses, envelope,
    envelopes, framing,
};
use etherparse::{
    ArpHardwareId, ArpOperation, Icmpv4Type, Icmpv6Type, NetSlice, TcpOptionElement,
    TransportSlice, icmpv4::TimestampMessage,
};
use portolan_wire::arp::ArpRequest;
use portolan_wire::checksum::checksum;
use portolan_wire::icmp::{EchoRequest, TimestampRequest};
use portolan_wire::ndp::NeighbourSolicitation;
use portolan_wire::tcp::{AckProbe, Flags, Tcp};
use portolan_wire::udp::{UdpDatagram, UdpProbe};
use portolan_wire::{
    Addresses, BuildError, Carried, Destination, Envelope, Framing, Mac, Other, Packet, Syn,
    SynTemplate, destination, ipv6, parse,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The frame that `write` makes, in a buffer with other bytes around it that must stay.
fn made(write: impl Fn(&mut [u8]) -> Result<usize, BuildError>) -> Vec<u8> {
    let mut buffer = vec![0xa5; 4096];
    let length = write(&mut buffer).unwrap();
    assert!(buffer[length..].iter().all(|byte| *byte == 0xa5));
    let mut exact = vec![0; length];
    assert_eq!(write(&mut exact), Ok(length));
    assert_eq!(exact, buffer[..length]);
    let mut short = vec![0; length - 1];
    let room = BuildError::Room {
        needed: length,
        room: length - 1,
    };
    assert_eq!(write(&mut short), Err(room));
    exact
}

/// Addresses, hop limit and link header are those of the envelope.
fn check_envelope(frame: &[u8], envelope: &Envelope) {
    let sliced = oracle::read(frame, envelope.framing.link_type());
    let (addresses, hop_limit) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (
            (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            ip.header().ttl(),
        ),
        NetSlice::Ipv6(ip) => (
            (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            ip.header().hop_limit(),
        ),
        NetSlice::Arp(arp) => panic!("{arp:?}"),
    };
    let Addresses {
        source,
        destination,
    } = envelope.addresses;
    assert_eq!(addresses, (source, destination));
    assert_eq!(hop_limit, envelope.hop_limit);
    if let Framing::Ethernet {
        source,
        destination,
    } = envelope.framing
    {
        assert_eq!(frame[..6], destination.0);
        assert_eq!(frame[6..12], source.0);
    }
}

fn check_destination(frame: &[u8], envelope: &Envelope, carried: Carried) {
    let expected = Destination {
        address: envelope.addresses.destination,
        carried,
    };
    let read = destination(frame, envelope.framing.link_type());
    assert_eq!(read, Some(expected));
}

fn check_syn(framing: Framing, addresses: Addresses, syn: Syn) {
    let template = SynTemplate::new(framing, addresses.source);
    let frame = made(|out| template.write(&syn, out));
    assert_eq!(frame.len(), template.frame_length());
    assert!(frame.len() <= SynTemplate::FRAME_LENGTH_MAX);
    let framing = match (framing, syn.next_hop) {
        (Framing::Ethernet { source, .. }, Some(destination)) => Framing::Ethernet {
            source,
            destination,
        },
        (framing, _) => framing,
    };
    let envelope = envelope(framing, addresses);
    check_envelope(&frame, &envelope);
    let carried = Carried::Tcp {
        port: syn.destination_port,
        payload_length: 0,
    };
    check_destination(&frame, &envelope, carried);
    let sliced = oracle::read(&frame, framing.link_type());
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        panic!("no TCP");
    };
    let mss = if addresses.source.is_ipv4() {
        1460
    } else {
        1440
    };
    let options: Vec<_> = tcp.options_iterator().map(Result::unwrap).collect();
    let expected = [
        TcpOptionElement::MaximumSegmentSize(mss),
        TcpOptionElement::Noop,
        TcpOptionElement::Noop,
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    assert_eq!(options, expected);
    assert_eq!((tcp.urgent_pointer(), tcp.ns()), (0, false));
    let expected = Tcp {
        addresses,
        hop_limit: 64,
        source_port: syn.source_port,
        destination_port: syn.destination_port,
        sequence: syn.sequence,
        acknowledgement: 0,
        flags: Flags::SYN,
        window: 64_240,
        payload_length: 0,
    };
    let read = parse(&frame, framing.link_type());
    assert_eq!(read, Ok(Packet::Tcp(expected)));
}

fn check_udp(probe: UdpProbe<'_>) {
    let frame = made(|out| probe.write(out));
    check_envelope(&frame, &probe.envelope);
    let carried = Carried::Udp {
        port: probe.destination_port,
        payload_length: probe.payload.len(),
    };
    check_destination(&frame, &probe.envelope, carried);
    let expected = UdpDatagram {
        addresses: probe.envelope.addresses,
        hop_limit: probe.envelope.hop_limit,
        source_port: probe.source_port,
        destination_port: probe.destination_port,
        payload: probe.payload,
        payload_length: probe.payload.len(),
    };
    let read = parse(&frame, probe.envelope.framing.link_type());
    assert_eq!(read, Ok(Packet::Udp(expected)));
}

fn check_echo(request: EchoRequest<'_>) {
    let frame = made(|out| request.write(out));
    check_envelope(&frame, &request.envelope);
    let v4 = request.envelope.addresses.source.is_ipv4();
    let kind = if v4 { 8 } else { 128 };
    check_destination(&frame, &request.envelope, Carried::Icmp { kind });
    let link_type = request.envelope.framing.link_type();
    let (echo, payload) = match oracle::read(&frame, link_type).transport {
        Some(TransportSlice::Icmpv4(icmp)) => match icmp.icmp_type() {
            Icmpv4Type::EchoRequest(echo) => (echo, icmp.payload()),
            other => panic!("{other:?}"),
        },
        Some(TransportSlice::Icmpv6(icmp)) => match icmp.icmp_type() {
            Icmpv6Type::EchoRequest(echo) => (echo, icmp.payload()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!((echo.id, echo.seq), (request.identifier, request.sequence));
    assert_eq!(payload, request.payload);
    let other = if v4 {
        Other::Icmp(8)
    } else {
        Other::Icmpv6(128)
    };
    assert_eq!(parse(&frame, link_type), Ok(Packet::Other(other)));
}

proptest! {
    #[test]
    fn every_syn_is_read_as_it_was_meant(
        framing in framing(),
        addresses in addresses(),
        next_hop in any::<Option<[u8; 6]>>(),
        ports: (u16, u16),
        sequence: u32,
    ) {
        check_syn(framing, addresses, Syn {
            next_hop: next_hop.map(Mac),
            destination: addresses.destination,
            destination_port: ports.0,
            source_port: ports.1,
            sequence,
        });
    }

    #[test]
    fn every_acknowledgement_is_read_as_it_was_meant(
        envelope in envelopes(),
        ports: (u16, u16),
        numbers: (u32, u32),
    ) {
        let probe = AckProbe {
            envelope,
            source_port: ports.0,
            destination_port: ports.1,
            sequence: numbers.0,
            acknowledgement: numbers.1,
        };
        let frame = made(|out| probe.write(out));
        check_envelope(&frame, &envelope);
        check_destination(&frame, &envelope, Carried::Tcp { port: ports.1, payload_length: 0 });
        let expected = Tcp {
            addresses: envelope.addresses,
            hop_limit: envelope.hop_limit,
            source_port: ports.0,
            destination_port: ports.1,
            sequence: numbers.0,
            acknowledgement: numbers.1,
            flags: Flags::ACK,
            window: 64_240,
            payload_length: 0,
        };
        let read = parse(&frame, envelope.framing.link_type());
        prop_assert_eq!(read, Ok(Packet::Tcp(expected)));
    }

    #[test]
    fn every_datagram_is_read_as_it_was_meant(
        envelope in envelopes(),
        ports: (u16, u16),
        payload in prop::collection::vec(any::<u8>(), 0..1452),
    ) {
        let (source_port, destination_port) = ports;
        check_udp(UdpProbe { envelope, source_port, destination_port, payload: &payload });
    }

    #[test]
    fn every_echo_request_is_read_as_it_was_meant(
        envelope in envelopes(),
        identifier: u16,
        sequence: u16,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        check_echo(EchoRequest { envelope, identifier, sequence, payload: &payload });
    }

    #[test]
    fn every_timestamp_request_is_read_as_it_was_meant(
        framing in framing(),
        identifier: u16,
        sequence: u16,
        originate: u32,
    ) {
        let envelope = envelope(framing, OUT_V4);
        let request = TimestampRequest { envelope, identifier, sequence, originate };
        let frame = made(|out| request.write(out));
        check_envelope(&frame, &envelope);
        check_destination(&frame, &envelope, Carried::Icmp { kind: 13 });
        let Some(TransportSlice::Icmpv4(icmp)) = oracle::read(&frame, framing.link_type()).transport
        else {
            panic!("no ICMP");
        };
        let expected = Icmpv4Type::TimestampRequest(TimestampMessage {
            id: identifier,
            seq: sequence,
            originate_timestamp: originate,
            receive_timestamp: 0,
            transmit_timestamp: 0,
        });
        prop_assert_eq!(icmp.icmp_type(), expected);
    }

    #[test]
    fn every_arp_request_asks_for_its_target(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) {
        let request = ArpRequest { mac: Mac(mac), source, target };
        let frame = made(|out| request.write(out));
        prop_assert_eq!(&frame[..6], &Mac::BROADCAST.0[..]);
        prop_assert_eq!(&frame[6..12], &mac[..]);
        let sliced = oracle::read(&frame, ETHERNET.link_type());
        let Some(NetSlice::Arp(arp)) = sliced.net else {
            panic!("no ARP");
        };
        prop_assert_eq!(arp.hw_addr_type(), ArpHardwareId::ETHERNET);
        prop_assert_eq!(arp.operation(), ArpOperation::REQUEST);
        prop_assert_eq!(arp.sender_hw_addr(), &mac[..]);
        prop_assert_eq!(arp.sender_protocol_addr(), &source.octets()[..]);
        prop_assert_eq!(arp.target_hw_addr(), &[0; 6][..]);
        prop_assert_eq!(arp.target_protocol_addr(), &target.octets()[..]);
        let expected = Destination { address: target.into(), carried: Carried::ArpRequest };
        prop_assert_eq!(destination(&frame, ETHERNET.link_type()), Some(expected));
    }

    #[test]
    fn every_solicitation_asks_for_its_target(mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) {
        let request = NeighbourSolicitation { mac: Mac(mac), source, target };
        let frame = made(|out| request.write(out));
        let group = ipv6::solicited_node(target);
        let expected = Envelope {
            framing: Framing::Ethernet {
                source: Mac(mac),
                destination: Mac::multicast(group.into()).unwrap(),
            },
            addresses: Addresses { source: source.into(), destination: group.into() },
            hop_limit: 255,
            mtu: 1280,
        };
        check_envelope(&frame, &expected);
        let sliced = oracle::read(&frame, ETHERNET.link_type());
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else {
            panic!("no ICMP");
        };
        prop_assert_eq!(icmp.icmp_type(), Icmpv6Type::NeighborSolicitation);
        let expected = [&target.octets()[..], &[1, 1], &mac].concat();
        prop_assert_eq!(icmp.payload(), &expected[..]);
        let expected = Destination {
            address: target.into(),
            carried: Carried::NeighbourSolicitation,
        };
        prop_assert_eq!(destination(&frame, ETHERNET.link_type()), Some(expected));
    }

    #[test]
    fn a_patched_template_holds_the_checksums_of_the_whole(
        addresses in addresses(),
        ports: (u16, u16),
        sequence: u32,
    ) {
        let template = SynTemplate::new(Framing::Bare, addresses.source);
        let mut frame = vec![0; template.frame_length()];
        let syn = Syn {
            next_hop: None,
            destination: addresses.destination,
            destination_port: ports.0,
            source_port: ports.1,
            sequence,
        };
        template.write(&syn, &mut frame).unwrap();
        if addresses.source.is_ipv4() {
            let header: Vec<u8> = [&frame[..10], &[0, 0], &frame[12..20]].concat();
            prop_assert_eq!(frame[10..12].to_vec(), checksum(&header).to_be_bytes().to_vec());
        }
        let at = frame.len() - 16;
        let pseudo = match (addresses.source, addresses.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [&from.octets()[..], &to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [&from.octets()[..], &to.octets()].concat(),
            _ => panic!("two families"),
        };
        let segment = &frame[frame.len() - 32..];
        let whole = [&pseudo[..], &[0, 6, 0, 32], &segment[..16], &[0, 0], &segment[18..]].concat();
        prop_assert_eq!(frame[at..at + 2].to_vec(), checksum(&whole).to_be_bytes().to_vec());
    }
}

#[test]
fn every_byte_of_the_sequence_number_changes_the_identification() {
    let template = SynTemplate::new(Framing::Bare, OUT_V4.source);
    let identification = |sequence| {
        let syn = Syn {
            next_hop: None,
            destination: OUT_V4.destination,
            destination_port: 443,
            source_port: 50_000,
            sequence,
        };
        let frame = made(|out| template.write(&syn, out));
        [frame[4], frame[5]]
    };
    let before = identification(0);
    for byte in 0..4 {
        assert_ne!(identification(1 << (8 * byte)), before, "byte {byte}");
    }
}

#[test]
fn a_computed_udp_checksum_of_zero_is_sent_as_all_ones() {
    for addresses in [OUT_V4, OUT_V6] {
        let probe = |payload| UdpProbe {
            envelope: envelope(Framing::Bare, addresses),
            source_port: 50_000,
            destination_port: 53,
            payload,
        };
        let checksum_of = |payload| {
            let frame = made(|out| probe(payload).write(out));
            let at = frame.len() - 4;
            [frame[at], frame[at + 1]]
        };
        // Adding what is left to all ones makes the sum all ones, whose complement is zero.
        let complement = checksum_of(&[0, 0]);
        assert_eq!(checksum_of(&complement), [0xff, 0xff]);
        check_udp(probe(&complement));
    }
}

#[test]
fn an_echo_request_reaches_all_nodes() {
    let framing = Framing::Ethernet {
        source: OWN_MAC,
        destination: Mac::multicast(TO_ALL_NODES.destination).unwrap(),
    };
    check_echo(EchoRequest {
        envelope: envelope(framing, TO_ALL_NODES),
        identifier: 1,
        sequence: 2,
        payload: b"portolan",
    });
}

/// Length of payload, most bytes of a packet, and the outcome.
fn check_length(
    addresses: Addresses,
    payload: usize,
    mtu: u32,
    expected: Result<usize, BuildError>,
) {
    let payload = vec![0; payload];
    let envelope = Envelope {
        mtu,
        ..envelope(ETHERNET, addresses)
    };
    let datagram = UdpProbe {
        envelope,
        source_port: 1,
        destination_port: 2,
        payload: &payload,
    };
    let echo = EchoRequest {
        envelope,
        identifier: 1,
        sequence: 2,
        payload: &payload,
    };
    let mut out = vec![0; 70_000];
    assert_eq!(datagram.write(&mut out), expected);
    assert_eq!(echo.write(&mut out), expected);
}

#[test]
fn what_is_longer_than_the_link_carries_is_refused() {
    let too_long = |length, length_max| Err(BuildError::TooLong { length, length_max });
    check_length(OUT_V4, 1472, 1500, Ok(1514));
    check_length(OUT_V4, 1473, 1500, too_long(1501, 1500));
    check_length(OUT_V6, 1452, 1500, Ok(1514));
    check_length(OUT_V6, 1453, 1500, too_long(1501, 1500));
    check_length(OUT_V4, 0, 27, too_long(28, 27));
    check_length(OUT_V4, 65_507, u32::MAX, Ok(65_549));
    check_length(OUT_V4, 65_508, u32::MAX, too_long(65_536, 65_535));
    check_length(OUT_V6, 65_527, u32::MAX, Ok(65_589));
    check_length(OUT_V6, 65_528, u32::MAX, too_long(65_576, 65_575));
}

#[test]
fn two_families_are_refused() {
    let mixed = [
        Addresses {
            source: IpAddr::V4(OWN_V4),
            destination: IpAddr::V6(OWN_V6),
        },
        Addresses {
            source: IpAddr::V6(OWN_V6),
            destination: IpAddr::V4(OWN_V4),
        },
    ];
    let mut out = [0; 256];
    for addresses in mixed {
        let echo = EchoRequest {
            envelope: envelope(ETHERNET, addresses),
            identifier: 1,
            sequence: 1,
            payload: &[],
        };
        assert_eq!(echo.write(&mut out), Err(BuildError::Family));
        let syn = Syn {
            next_hop: None,
            destination: addresses.destination,
            destination_port: 1,
            source_port: 1,
            sequence: 1,
        };
        let template = SynTemplate::new(ETHERNET, addresses.source);
        assert_eq!(template.write(&syn, &mut out), Err(BuildError::Family));
    }
    let timestamp = TimestampRequest {
        envelope: envelope(ETHERNET, OUT_V6),
        identifier: 1,
        sequence: 1,
        originate: 1,
    };
    assert_eq!(timestamp.write(&mut out), Err(BuildError::Family));
}
