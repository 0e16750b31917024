//! Sockets for frames beside packet sockets: the same is found by all of them, nobody else's frames
//! are taken, and where they cannot be had the scan goes on without them and says so.

use super::{Engine, Network, target};
use nix::net::if_::if_nametoindex;
use portolan_lab::{PrefixResponder, Wire};
use portolan_net::filter::Wanted;
use portolan_net::raw::xdp::bpf::{Action, Program, SocketMap};
use portolan_net::raw::xdp::program::{Taken, program};
use portolan_net::raw::xdp::socket::{Halves, open_sender};
use portolan_net::route::Routes;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Ports that are asked, those that are open, and the others.
const PORTS: &str = "1-5000";
const OPEN: RangeInclusive<u16> = 4_000..=4_099;
const REST: u64 = 4_900;
const WAYS: [&str; 3] = ["packet", "auto", "xdp"];

/// Every port of the target is what it is, whichever way packets pass.
fn check_ways(network: &Network, addresses: &[String], notes: usize) {
    for way in WAYS {
        let document = network.found(&format!("{} -p {PORTS} --io {way}", addresses.join(" ")));
        for address in addresses {
            assert_eq!(document.open(address), network.open, "{way}");
            assert_eq!(document.count(address, "closed"), REST, "{way}");
        }
        let said = document.notices().len();
        assert_eq!(said, if way == "xdp" { notes } else { 0 }, "{way}");
    }
}

#[test]
fn every_way_shows_every_port_as_it_is() {
    let network = Network::new(Engine::Syn, OPEN.collect());
    let target_v6 = Wire::ADDRESSES.target_v6.to_string();
    check_ways(&network, &[target(), target_v6], 0);
}

/// What the kernel's TCP of the scanner receives in a scan.
fn check_received(network: &Network, way: &str, address: &str, expected: RangeInclusive<u64>) {
    let before = network.counter("InSegs");
    network.found(&format!("{address} -p {PORTS} --io {way}"));
    let received = network.counter("InSegs") - before;
    assert!(expected.contains(&received), "{way}: {received} segments");
}

#[test]
fn refusals_do_not_reach_the_kernel_from_any_receive_queue() {
    let network = Network::new(Engine::Syn, OPEN.collect());
    let target = network.wire.join_by_queues(4).unwrap().to_string();
    check_ways(&network, std::slice::from_ref(&target), 0);
    let all = REST..=u64::MAX;
    check_received(&network, "packet", &target, all.clone());
    check_received(&network, "auto", &target, all);
    // Open ports are the kernel's: it ends what they have begun.
    check_received(&network, "xdp", &target, 100..=1_000);
}

#[test]
fn a_program_that_is_there_already_stays() {
    let network = Network::new(Engine::Syn, OPEN.collect());
    let other = PrefixResponder::start(&network.wire.scanner, "lab0", 1).unwrap();
    check_ways(&network, &[target()], 1);
    drop(other);
    // Now there is room, and what was attached by a scan went with it.
    check_ways(&network, &[target()], 0);
    let listing = std::process::Command::new("ip")
        .args(["-n", network.wire.scanner.name(), "link", "show", "lab0"])
        .output()
        .unwrap();
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    assert!(!listing.contains("xdp"), "{listing}");
}

#[test]
fn a_queue_that_somebody_has_is_left_to_them() {
    let network = Network::new(Engine::Syn, OPEN.collect());
    let _other = network.wire.scanner.enter(lab0).unwrap();
    check_ways(&network, &[target()], 1);
}

/// A socket that has the queue of the interface of this namespace.
fn lab0() -> Halves {
    let index = if_nametoindex("lab0").unwrap();
    let link = Routes::open().unwrap().link(index).unwrap();
    open_sender(&link).unwrap()
}

#[test]
fn the_loopback_interface_has_nothing_to_gain() {
    let network = Network::new(Engine::Syn, OPEN.collect());
    let responder = portolan_lab::Responder::start(&network.wire.scanner, &network.open).unwrap();
    check_ways(&network, &["127.0.0.1".to_owned()], 1);
    drop(responder);
}

const OWN_V4: [u8; 4] = [198, 18, 0, 1];
const OWN_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const PORT: u16 = 40_007;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;

/// A segment with these flags to a port, in an IPv4 packet for an address.
fn v4(to: [u8; 4], port: u16, flags: u8) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[8..10].copy_from_slice(&[64, 6]);
    packet[12..16].copy_from_slice(&[198, 18, 0, 2]);
    packet[16..20].copy_from_slice(&to);
    segment(&mut packet[20..], port, flags);
    packet
}

/// The same in an IPv6 packet.
fn v6(to: [u8; 16], port: u16, flags: u8) -> Vec<u8> {
    let mut packet = vec![0; 60];
    packet[0] = 0x60;
    packet[5] = 20;
    packet[6..8].copy_from_slice(&[6, 64]);
    packet[24..40].copy_from_slice(&to);
    segment(&mut packet[40..], port, flags);
    packet
}

fn segment(segment: &mut [u8], port: u16, flags: u8) {
    segment[1] = 80;
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, flags]);
}

/// A frame with the type that its packet has, behind `tags`.
fn frame(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 6 {
        [0x86, 0xdd]
    } else {
        [8, 0]
    };
    [&[2; 12], tags, &ether_type, packet].concat()
}

fn changed(mut packet: Vec<u8>, place: usize, value: u8) -> Vec<u8> {
    packet[place] = value;
    packet
}

/// Frames that are taken when all answers are.
fn answers() -> Vec<Vec<u8>> {
    let priority = [0x81, 0, 0xe0, 0];
    let mut frames = Vec::new();
    for flags in [SYN_ACK, RST, RST | 0x10, SYN_ACK | 0xc0] {
        for packet in [v4(OWN_V4, PORT, flags), v6(OWN_V6, PORT, flags)] {
            frames.push(frame(&[], &packet));
            frames.push(frame(&priority, &packet));
        }
    }
    frames.push(frame(&[], &v4(OWN_V4, 40_000, RST)));
    frames.push(frame(&[], &v4(OWN_V4, 40_255, RST)));
    // Padding, as on short frames.
    frames.push([frame(&[], &v4(OWN_V4, PORT, RST)), vec![0; 6]].concat());
    frames
}

/// Frames that are the kernel's.
fn others() -> Vec<Vec<u8>> {
    let own = || v4(OWN_V4, PORT, RST);
    let own_v6 = || v6(OWN_V6, PORT, RST);
    let mut frames: Vec<Vec<u8>> = [
        v4([198, 18, 0, 2], PORT, RST),
        v4([0, 18, 0, 1], PORT, RST),
        v4(OWN_V4, 39_999, RST),
        v4(OWN_V4, 40_256, RST),
        // A SYN, an ACK, and data.
        v4(OWN_V4, PORT, 0x02),
        v4(OWN_V4, PORT, 0x10),
        v4(OWN_V4, PORT, 0x18),
        // Options, a first fragment, a later one, UDP, ICMP, another version.
        changed(own(), 0, 0x46),
        changed(own(), 6, 0x20),
        changed(own(), 7, 1),
        changed(own(), 9, 17),
        changed(own(), 9, 1),
        changed(own(), 0, 0x55),
        v6(
            changed(OWN_V6.to_vec(), 15, 2).try_into().unwrap(),
            PORT,
            RST,
        ),
        v6(
            changed(OWN_V6.to_vec(), 0, 0xfe).try_into().unwrap(),
            PORT,
            RST,
        ),
        v6(OWN_V6, 40_256, RST),
        // An extension header, ICMPv6, UDP.
        changed(own_v6(), 6, 0),
        changed(own_v6(), 6, 58),
        changed(own_v6(), 6, 17),
    ]
    .iter()
    .map(|packet| frame(&[], packet))
    .collect();
    // Another VLAN, two tags, a service tag, ARP.
    frames.push(frame(&[0x81, 0, 0, 5], &own()));
    frames.push(frame(&[0x81, 0, 0, 0, 0x81, 0, 0, 0], &own()));
    frames.push(frame(&[0x88, 0xa8, 0, 0], &own()));
    frames.push([&[2; 12][..], &[8, 6], &own()].concat());
    // Every frame that is cut.
    for whole in [
        frame(&[], &own()),
        frame(&[], &own_v6()),
        frame(&[0x81, 0, 0, 0], &own()),
    ] {
        frames.extend((14..whole.len()).map(|length| whole[..length].to_vec()));
    }
    frames
}

#[test]
fn the_program_takes_answers_and_leaves_all_else_as_it_is() {
    let network = Network::new(Engine::Syn, Vec::new());
    network.wire.scanner.enter(check_program).unwrap();
}

fn check_program() {
    let addresses = [IpAddr::from(OWN_V4), IpAddr::from(OWN_V6)];
    let wanted = Wanted {
        link_type: portolan_wire::LinkType::Ethernet,
        addresses: &addresses,
        ports: 40_000..=40_255,
    };
    let map = SocketMap::create(4).unwrap();
    let load = |taken| {
        let code = program(&wanted, taken, map.number()).unwrap();
        Program::load("check", &code).unwrap()
    };
    let (all, refusals) = (load(Taken::Answers), load(Taken::Refusals));
    let check = |program: &Program, frame: &[u8], expected: Action| {
        let trial = program.try_on(frame).unwrap();
        assert_eq!(trial.action, expected, "{frame:02x?}");
        assert_eq!(trial.frame, frame);
    };
    // Without a socket all is the kernel's.
    for frame in answers().iter().chain(&others()) {
        check(&all, frame, Action::PASS);
    }
    let socket = lab0();
    map.insert(0, &socket.sender).unwrap();
    for frame in answers() {
        check(&all, &frame, Action::REDIRECT);
    }
    for frame in others() {
        check(&all, &frame, Action::PASS);
        check(&refusals, &frame, Action::PASS);
    }
    for (flags, expected) in [
        (RST, Action::REDIRECT),
        (RST | 0x10, Action::REDIRECT),
        (SYN_ACK, Action::PASS),
    ] {
        check(&refusals, &frame(&[], &v4(OWN_V4, PORT, flags)), expected);
        check(&refusals, &frame(&[], &v6(OWN_V6, PORT, flags)), expected);
    }
}
