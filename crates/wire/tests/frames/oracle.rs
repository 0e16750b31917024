//! The second implementation as a judge of frames that were built here.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use portolan_wire::LinkType;

/// Reads a whole frame and judges every length and checksum in it.
pub(crate) fn read(frame: &[u8], link_type: LinkType) -> SlicedPacket<'_> {
    let sliced = match link_type {
        LinkType::Bare => SlicedPacket::from_ip(frame),
        LinkType::Ethernet => SlicedPacket::from_ethernet(frame),
    };
    let sliced = sliced.unwrap();
    let transport = sliced.transport.as_ref();
    match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let link_length = frame.len() - usize::from(header.total_len);
            assert_eq!(link_length, header_length(link_type));
            assert!(header.dont_fragment && !header.more_fragments);
            check_ipv4(&header, transport.unwrap());
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let link_length = frame.len() - 40 - usize::from(header.payload_length);
            assert_eq!(link_length, header_length(link_type));
            check_ipv6(&header, transport.unwrap());
        }
        NetSlice::Arp(_) => assert_eq!(frame.len(), 42),
    }
    sliced
}

fn header_length(link_type: LinkType) -> usize {
    match link_type {
        LinkType::Bare => 0,
        LinkType::Ethernet => 14,
    }
}

fn check_ipv4(ip: &etherparse::Ipv4Header, transport: &TransportSlice<'_>) {
    match transport {
        TransportSlice::Tcp(tcp) => {
            let right = tcp.calc_checksum_ipv4(ip.source, ip.destination);
            assert_eq!(tcp.checksum(), right.unwrap());
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let right = header.calc_checksum_ipv4(ip, udp.payload()).unwrap();
            assert_eq!(header.checksum, right);
        }
        TransportSlice::Icmpv4(icmp) => {
            let right = icmp.icmp_type().calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), right);
        }
        other => panic!("{other:?}"),
    }
}

fn check_ipv6(ip: &etherparse::Ipv6Header, transport: &TransportSlice<'_>) {
    match transport {
        TransportSlice::Tcp(tcp) => {
            let right = tcp.calc_checksum_ipv6(ip.source, ip.destination);
            assert_eq!(tcp.checksum(), right.unwrap());
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let right = header.calc_checksum_ipv6(ip, udp.payload()).unwrap();
            assert_eq!(header.checksum, right);
        }
        TransportSlice::Icmpv6(icmp) => {
            assert!(icmp.is_checksum_valid(ip.source, ip.destination));
        }
        other => panic!("{other:?}"),
    }
}
