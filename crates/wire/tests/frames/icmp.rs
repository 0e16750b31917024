//! ICMP of every type, and what errors quote.

use crate::sample::{OUT_V4, OUT_V6, back, packet, sign_ipv4, syn_packet};
use portolan_wire::icmp::{IcmpError, Quoted, QuotedContent, TimestampReply};
use portolan_wire::{Addresses, LinkType, Malformed, Other, Packet, Protocol, parse};

const TCP: QuotedContent = QuotedContent::Tcp {
    source_port: 50_000,
    destination_port: 443,
    sequence: Some(0x0102_0304),
};

const fn icmp_of(addresses: Addresses) -> Protocol {
    if addresses.source.is_ipv4() {
        Protocol::ICMP
    } else {
        Protocol::ICMPV6
    }
}

/// An ICMP message from the target to us.
fn read(addresses: Addresses, message: &[u8]) -> Result<IcmpError, String> {
    let packet = packet(back(addresses), icmp_of(addresses), message);
    match parse(&packet, LinkType::Bare) {
        Ok(Packet::IcmpError(error)) => Ok(error),
        other => Err(format!("{other:?}")),
    }
}

fn message(kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0, 9, 9, 9, 9], quote].concat()
}

/// Which packet each type gives, by name.
fn check_type(addresses: Addresses, kind: u8, expected: &str) {
    let message = message(kind, 1, &syn_packet(addresses));
    let packet = packet(back(addresses), icmp_of(addresses), &message);
    let name = match parse(&packet, LinkType::Bare) {
        Ok(Packet::IcmpError(error)) => {
            assert_eq!((error.kind, error.code), (kind, 1));
            assert_eq!(error.addresses, back(addresses));
            assert_eq!(error.quoted.addresses, addresses);
            assert_eq!(error.quoted.protocol, Protocol::TCP);
            assert_eq!(error.quoted.content, TCP);
            "error"
        }
        Ok(Packet::EchoReply(reply)) => {
            assert_eq!((reply.identifier, reply.sequence), (0x0909, 0x0909));
            "echo"
        }
        Ok(Packet::TimestampReply(_)) => "timestamp",
        Ok(Packet::Other(Other::Icmp(number) | Other::Icmpv6(number))) => {
            assert_eq!(number, kind);
            "other"
        }
        Err(Malformed::Neighbour) => "advertisement",
        other => panic!("{other:?}"),
    };
    assert_eq!(name, expected, "type {kind}");
}

#[test]
fn every_type_is_an_error_a_reply_or_other() {
    for kind in 0..=255 {
        let v4 = match kind {
            0 => "echo",
            3 | 4 | 5 | 11 | 12 => "error",
            14 => "timestamp",
            _ => "other",
        };
        check_type(OUT_V4, kind, v4);
        let v6 = match kind {
            1..=4 => "error",
            129 => "echo",
            // Its code is not 0 here.
            136 => "advertisement",
            _ => "other",
        };
        check_type(OUT_V6, kind, v6);
    }
}

#[test]
fn a_timestamp_reply_tells_its_times() {
    let mut message = vec![14, 0, 0, 0, 0, 1, 0, 2];
    message.extend([0, 0, 0, 3, 0, 0, 0, 4, 0x80, 0, 0, 5]);
    let packet = packet(back(OUT_V4), Protocol::ICMP, &message);
    let expected = TimestampReply {
        addresses: back(OUT_V4),
        hop_limit: 64,
        identifier: 1,
        sequence: 2,
        originate: 3,
        receive: 4,
        transmit: 0x8000_0005,
    };
    let read = parse(&packet, LinkType::Bare);
    assert_eq!(read, Ok(Packet::TimestampReply(expected)));
}

fn check_quote(addresses: Addresses, quote: &[u8], expected: Result<Quoted, &str>) {
    let kind = if addresses.source.is_ipv4() { 3 } else { 1 };
    let read = read(addresses, &message(kind, 3, quote)).map(|error| error.quoted);
    let read = read.as_ref().copied().map_err(String::as_str);
    assert_eq!(read, expected, "{quote:02x?}");
}

fn quoted(addresses: Addresses, protocol: u8, content: QuotedContent) -> Quoted {
    Quoted {
        addresses,
        protocol: Protocol(protocol),
        content,
    }
}

#[test]
fn a_quote_tells_as_much_as_it_holds() {
    for (addresses, header) in [(OUT_V4, 20), (OUT_V6, 40)] {
        let syn = syn_packet(addresses);
        for length in 0..=syn.len() {
            let content = match length.checked_sub(header) {
                None => {
                    check_quote(addresses, &syn[..length], Err("Err(Quote)"));
                    continue;
                }
                Some(0..4) => QuotedContent::Other,
                Some(4..8) => QuotedContent::Tcp {
                    source_port: 50_000,
                    destination_port: 443,
                    sequence: None,
                },
                Some(_) => TCP,
            };
            check_quote(addresses, &syn[..length], Ok(quoted(addresses, 6, content)));
        }
    }
}

/// What a quoted packet of `protocol` that begins with `inside` tells.
fn check_content(addresses: Addresses, protocol: u8, inside: [u8; 8], content: QuotedContent) {
    let quote = packet(addresses, Protocol(protocol), &inside);
    check_quote(addresses, &quote, Ok(quoted(addresses, protocol, content)));
}

#[test]
fn quotes_of_every_probe_are_told_apart() {
    let udp = QuotedContent::Udp {
        source_port: 0xc350,
        destination_port: 53,
    };
    let query = |kind| QuotedContent::Query {
        kind,
        identifier: 0x0102,
        sequence: 0x0304,
    };
    let icmp = |kind| [kind, 0, 0, 0, 1, 2, 3, 4];
    check_content(OUT_V4, 17, [0xc3, 0x50, 0, 53, 0, 8, 0, 0], udp);
    check_content(OUT_V6, 17, [0xc3, 0x50, 0, 53, 0, 8, 0, 0], udp);
    check_content(OUT_V4, 1, icmp(8), query(8));
    check_content(OUT_V4, 1, icmp(13), query(13));
    check_content(OUT_V6, 58, icmp(128), query(128));
    check_content(OUT_V4, 1, icmp(0), QuotedContent::Other);
    check_content(OUT_V4, 58, icmp(128), QuotedContent::Other);
    check_content(OUT_V6, 1, icmp(8), QuotedContent::Other);
    check_content(OUT_V4, 132, icmp(0), QuotedContent::Other);
}

#[test]
fn what_routers_change_in_a_quote_does_not_matter() {
    let mut syn = syn_packet(OUT_V4);
    // Time to live, checksum, and a total length in the byte order of the router.
    syn[8] = 1;
    syn[10] ^= 0x55;
    syn.swap(2, 3);
    check_quote(OUT_V4, &syn, Ok(quoted(OUT_V4, 6, TCP)));
    let mut syn = syn_packet(OUT_V6);
    syn[4..6].fill(0xff);
    check_quote(OUT_V6, &syn, Ok(quoted(OUT_V6, 6, TCP)));
}

#[test]
fn extensions_of_rfc_4884_behind_the_quote_are_not_read() {
    for addresses in [OUT_V4, OUT_V6] {
        let mut quote = syn_packet(addresses);
        quote.resize(128, 0);
        quote.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0x00, 0x01, 0x01, 0xff]);
        check_quote(addresses, &quote, Ok(quoted(addresses, 6, TCP)));
    }
}

#[test]
fn options_and_extension_headers_of_a_quote_are_stepped_over() {
    let mut syn = syn_packet(OUT_V4);
    syn.splice(20..20, [1, 1, 1, 0]);
    syn[0] = 0x46;
    check_quote(OUT_V4, &syn, Ok(quoted(OUT_V4, 6, TCP)));
    let mut syn = syn_packet(OUT_V6);
    syn.splice(40..40, [6, 0, 1, 4, 0, 0, 0, 0]);
    syn[6] = 60;
    check_quote(OUT_V6, &syn, Ok(quoted(OUT_V6, 6, TCP)));
    // Cut inside of it: what follows is unknown.
    check_quote(
        OUT_V6,
        &syn[..44],
        Ok(quoted(OUT_V6, 60, QuotedContent::Other)),
    );
}

#[test]
fn later_fragments_and_other_families_quote_no_ports() {
    let mut syn = syn_packet(OUT_V4);
    syn[7] = 5;
    check_quote(OUT_V4, &syn, Ok(quoted(OUT_V4, 6, QuotedContent::Other)));
    let none = Err("Err(Quote)");
    check_quote(OUT_V4, &syn_packet(OUT_V6), none);
    check_quote(OUT_V6, &syn_packet(OUT_V4), none);
    let mut syn = syn_packet(OUT_V4);
    syn[0] = 0x44;
    check_quote(OUT_V4, &syn, none);
}

#[test]
fn a_quote_that_the_capture_cut_is_truncated() {
    let packet = packet(
        back(OUT_V4),
        Protocol::ICMP,
        &message(3, 3, &syn_packet(OUT_V4)),
    );
    let read = parse(&packet[..40], LinkType::Bare);
    assert_eq!(read, Err(Malformed::Truncated));
}

#[test]
fn icmp_of_the_other_family_is_another_protocol() {
    let mut echo = packet(back(OUT_V4), Protocol::ICMPV6, &message(129, 0, &[]));
    sign_ipv4(&mut echo);
    let other = |protocol| Ok(Packet::Other(Other::Protocol(protocol)));
    assert_eq!(parse(&echo, LinkType::Bare), other(Protocol::ICMPV6));
    let echo = packet(back(OUT_V6), Protocol::ICMP, &message(0, 0, &[]));
    assert_eq!(parse(&echo, LinkType::Bare), other(Protocol::ICMP));
}
