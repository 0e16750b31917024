//! Frames of the second implementation, with tags, options, extension headers and padding: every
//! field is read as it was written.

use crate::oracle;
use crate::sample::{OUT_V4, OWN_MAC, PEER_MAC, addresses, back, number, syn_ack};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, IpFragOffset, IpHeaders, Ipv4Extensions, Ipv4Header,
    Ipv4Options, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    Ipv6RoutingExtensions, PacketBuilder, PacketBuilderStep, TcpHeader, VlanId,
};
use portolan_wire::arp::Arp;
use portolan_wire::icmp::EchoReply;
use portolan_wire::tcp::{Flags, Tcp};
use portolan_wire::udp::UdpDatagram;
use portolan_wire::{Addresses, LinkType, Mac, Other, Packet, Protocol, parse};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

/// What stands before the transport.
#[derive(Clone, Debug)]
struct Around {
    /// `None` for no link header.
    tags: Option<usize>,
    addresses: Addresses,
    hop_limit: u8,
    /// Groups of four bytes of IPv4 options.
    options: usize,
    extensions: Ipv6Extensions,
    padding: usize,
}

impl Around {
    fn link_type(&self) -> LinkType {
        self.tags.map_or(LinkType::Bare, |_| LinkType::Ethernet)
    }

    fn headers(&self) -> IpHeaders {
        match (self.addresses.source, self.addresses.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header {
                    time_to_live: self.hop_limit,
                    dont_fragment: true,
                    source: source.octets(),
                    destination: destination.octets(),
                    options: Ipv4Options::try_from(&vec![1; self.options * 4][..]).unwrap(),
                    ..Ipv4Header::default()
                };
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    hop_limit: self.hop_limit,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                IpHeaders::Ipv6(header, self.extensions.clone())
            }
            _ => panic!("two families"),
        }
    }

    fn start(&self) -> PacketBuilderStep<IpHeaders> {
        let ethernet = PacketBuilder::ethernet2(PEER_MAC.0, OWN_MAC.0);
        let vlan = |number| VlanId::try_new(number).unwrap();
        match self.tags {
            None => PacketBuilder::ip(self.headers()),
            Some(0) => ethernet.ip(self.headers()),
            Some(1) => ethernet.single_vlan(vlan(7)).ip(self.headers()),
            Some(_) => ethernet.double_vlan(vlan(5), vlan(7)).ip(self.headers()),
        }
    }

    fn pad(&self, mut frame: Vec<u8>) -> Vec<u8> {
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

fn extension() -> impl Strategy<Value = Option<Ipv6RawExtHeader>> {
    // The length of the content is six bytes and any number of eight.
    prop::option::of((0_usize..4).prop_map(|units| {
        Ipv6RawExtHeader::new_raw(number(Protocol(0)), &vec![0; 6 + 8 * units]).unwrap()
    }))
}

prop_compose! {
    fn extensions()(
        hop_by_hop_options in extension(),
        destination_options in extension(),
        routing in extension(),
        final_destination_options in extension(),
        identification in any::<Option<u32>>(),
    ) -> Ipv6Extensions {
        Ipv6Extensions {
            hop_by_hop_options,
            destination_options,
            routing: routing.map(|routing| Ipv6RoutingExtensions {
                routing,
                final_destination_options,
            }),
            fragment: identification.map(|identification| {
                Ipv6FragmentHeader::new(number(Protocol(0)), IpFragOffset::ZERO, false, identification)
            }),
            auth: None,
        }
    }
}

prop_compose! {
    fn around()(
        tags in prop::option::of(0_usize..3),
        addresses in addresses(),
        hop_limit: u8,
        options in 0_usize..=10,
        extensions in extensions(),
        padding in 0_usize..40,
    ) -> Around {
        Around { tags, addresses, hop_limit, options, extensions, padding }
    }
}

prop_compose! {
    fn segment()(
        ports: (u16, u16),
        numbers: (u32, u32),
        window: u16,
        flags: u8,
        options in 0_usize..=10,
    ) -> TcpHeader {
        let mut header = TcpHeader::new(ports.0, ports.1, numbers.0, window);
        header.acknowledgment_number = numbers.1;
        let flags = Flags(flags);
        header.fin = flags.contains(Flags::FIN);
        header.syn = flags.contains(Flags::SYN);
        header.rst = flags.contains(Flags::RST);
        header.psh = flags.contains(Flags::PSH);
        header.ack = flags.contains(Flags::ACK);
        header.urg = flags.contains(Flags::URG);
        header.ece = flags.contains(Flags::ECE);
        header.cwr = flags.contains(Flags::CWR);
        header.set_options_raw(&vec![1; options * 4]).unwrap();
        header
    }
}

fn flags(header: &TcpHeader) -> Flags {
    let bits = [
        (header.fin, Flags::FIN),
        (header.syn, Flags::SYN),
        (header.rst, Flags::RST),
        (header.psh, Flags::PSH),
        (header.ack, Flags::ACK),
        (header.urg, Flags::URG),
        (header.ece, Flags::ECE),
        (header.cwr, Flags::CWR),
    ];
    let set = bits.into_iter().filter(|(set, _)| *set);
    set.fold(Flags::default(), |all, (_, flag)| all.with(flag))
}

proptest! {
    #[test]
    fn segments_are_read_behind_every_header(
        around in around(),
        header in segment(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = Vec::new();
        around.start().tcp_header(header.clone()).write(&mut frame, &payload).unwrap();
        let frame = around.pad(frame);
        let expected = Tcp {
            addresses: around.addresses,
            hop_limit: around.hop_limit,
            source_port: header.source_port,
            destination_port: header.destination_port,
            sequence: header.sequence_number,
            acknowledgement: header.acknowledgment_number,
            flags: flags(&header),
            window: header.window_size,
            payload_length: payload.len(),
        };
        prop_assert_eq!(parse(&frame, around.link_type()), Ok(Packet::Tcp(expected)));
    }

    #[test]
    fn datagrams_are_read_behind_every_header(
        around in around(),
        ports: (u16, u16),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = Vec::new();
        around.start().udp(ports.0, ports.1).write(&mut frame, &payload).unwrap();
        let frame = around.pad(frame);
        let expected = UdpDatagram {
            addresses: around.addresses,
            hop_limit: around.hop_limit,
            source_port: ports.0,
            destination_port: ports.1,
            payload: &payload,
            payload_length: payload.len(),
        };
        prop_assert_eq!(parse(&frame, around.link_type()), Ok(Packet::Udp(expected)));
    }

    #[test]
    fn echo_replies_are_read_behind_every_header(
        around in around(),
        identifier: u16,
        sequence: u16,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut frame = Vec::new();
        let start = around.start();
        if around.addresses.source.is_ipv4() {
            start.icmpv4_echo_reply(identifier, sequence).write(&mut frame, &payload).unwrap();
        } else {
            start.icmpv6_echo_reply(identifier, sequence).write(&mut frame, &payload).unwrap();
        }
        let frame = around.pad(frame);
        let expected = EchoReply {
            addresses: around.addresses,
            hop_limit: around.hop_limit,
            identifier,
            sequence,
            payload: &payload,
        };
        prop_assert_eq!(parse(&frame, around.link_type()), Ok(Packet::EchoReply(expected)));
    }

    #[test]
    fn arp_packets_are_read_as_they_were_written(
        operation: u16,
        macs: ([u8; 6], [u8; 6]),
        addresses: (Ipv4Addr, Ipv4Addr),
        padding in 0_usize..20,
    ) {
        let packet = ArpEthIpv4Packet {
            operation: ArpOperation(operation),
            sender_mac: macs.0,
            sender_ipv4: addresses.0.octets(),
            target_mac: macs.1,
            target_ipv4: addresses.1.octets(),
        };
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(PEER_MAC.0, OWN_MAC.0).arp(packet.into()).write(&mut frame).unwrap();
        frame.resize(frame.len() + padding, 0);
        let expected = Arp {
            operation,
            sender_mac: Mac(macs.0),
            sender: addresses.0,
            target_mac: Mac(macs.1),
            target: addresses.1,
        };
        prop_assert_eq!(expected.is_reply(), operation == 2);
        prop_assert_eq!(parse(&frame, LinkType::Ethernet), Ok(Packet::Arp(expected)));
    }
}

#[test]
fn a_syn_ack_is_read() {
    let frame = syn_ack();
    oracle::read(&frame, LinkType::Ethernet);
    let Ok(Packet::Tcp(tcp)) = parse(&frame, LinkType::Ethernet) else {
        panic!("no TCP");
    };
    assert_eq!(tcp.addresses, back(OUT_V4));
    assert!(tcp.flags.is_syn_ack());
    assert_eq!(tcp.acknowledgement, 0x0102_0305);
    assert_eq!(tcp.hop_limit, 57);
}

fn check_flags(flags: Flags, expected: bool) {
    assert_eq!(flags.is_syn_ack(), expected, "{flags:?}");
}

#[test]
fn only_syn_with_ack_and_without_rst_accepts() {
    check_flags(Flags::SYN.with(Flags::ACK), true);
    check_flags(Flags::SYN.with(Flags::ACK).with(Flags::ECE), true);
    check_flags(Flags::SYN, false);
    check_flags(Flags::ACK, false);
    check_flags(Flags::SYN.with(Flags::ACK).with(Flags::RST), false);
}

/// An `EtherType` and bytes behind it.
fn check_other(ether_type: u16, packet: &[u8], expected: u16) {
    let frame = [&[2; 12], &ether_type.to_be_bytes()[..], packet].concat();
    let expected = Ok(Packet::Other(Other::EtherType(expected)));
    assert_eq!(
        parse(&frame, LinkType::Ethernet),
        expected,
        "{ether_type:04x}"
    );
}

#[test]
fn other_kinds_of_frames_keep_their_number() {
    check_other(0x88cc, &[], 0x88cc);
    check_other(38, &[0x42, 0x42, 3], 38);
    // ARP for other hardware, and for another protocol.
    check_other(0x0806, &[0, 6, 8, 0, 6, 4, 0, 1], 0x0806);
    check_other(0x0806, &[0, 1, 0x86, 0xdd, 6, 16, 0, 1], 0x0806);
}
