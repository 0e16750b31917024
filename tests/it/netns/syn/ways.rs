//! Which way packets take: this machine's own addresses, several interfaces, interfaces without a
//! link header, and an interface that goes away for a while.

use super::{Engine, Network, target, target_v6};
use crate::netns::watch::{SYN, Watch, Watched};
use crate::result::Document;
use portolan_lab::{Namespace, Over, Responder, Tunnel, Wire, random_ports};
use std::time::Duration;

/// Finds all of the open ports of `address` and nothing else.
fn check_all(document: &Document, address: &str, open: &[u16], asked: u64) {
    assert_eq!(document.open(address), open, "{address}");
    let rest = asked - u64::try_from(open.len()).unwrap();
    assert_eq!(document.count(address, "closed"), rest, "{address}");
}

/// A scan in `namespace` that is complete.
fn found(namespace: &Namespace, arguments: &str) -> Document {
    let program = Engine::Syn.scan(arguments);
    let ended = namespace.enter(|| program.run()).unwrap().expect_code(0);
    let document = Document::of(&ended);
    assert!(document.complete(), "{}", ended.stdout);
    document
}

#[test]
fn this_machine_is_scanned_by_its_own_addresses() {
    let open = random_ports(31, 50);
    let network = Network::new(Engine::Syn, vec![100]);
    let scanner = &network.wire.scanner;
    let _responder = Responder::start(scanner, &open).unwrap();
    let own = [
        Wire::ADDRESSES.scanner.to_string(),
        Wire::ADDRESSES.scanner_v6.to_string(),
        "127.0.0.1".to_owned(),
        "127.9.8.7".to_owned(),
        "::1".to_owned(),
    ];
    for address in &own {
        let document = found(scanner, &format!("{address} -p -"));
        check_all(&document, address, &open, 65_535);
    }
    // All of them at once, with another machine.
    let ports = "1-20000";
    let document = found(
        scanner,
        &format!("{} {} -p {ports}", own.join(" "), target()),
    );
    let low: Vec<u16> = open.into_iter().filter(|port| *port <= 20_000).collect();
    for address in &own {
        check_all(&document, address, &low, 20_000);
    }
    check_all(&document, &target(), &[100], 20_000);
}

#[test]
fn a_machine_without_any_network_is_scanned_by_its_loopback_addresses() {
    let alone = Namespace::create("alone").unwrap();
    let _responder = Responder::start(&alone, &[100]).unwrap();
    let document = found(&alone, "127.0.0.1 ::1 -p 90-110");
    check_all(&document, "127.0.0.1", &[100], 21);
    check_all(&document, "::1", &[100], 21);
}

#[test]
fn every_host_is_reached_by_its_own_interface() {
    let network = Network::new(Engine::Syn, random_ports(32, 200));
    let (other, other_v6) = network.wire.join_again().unwrap();
    let addresses = [
        target(),
        target_v6(),
        other.to_string(),
        other_v6.to_string(),
    ];
    let document = network.found(&format!("{} -p -", addresses.join(" ")));
    for address in &addresses {
        check_all(&document, address, &network.open, 65_535);
    }
}

#[test]
fn an_interface_over_another_carries_a_scan() {
    for (kind, seed) in [(Over::Bridge, 34), (Over::Macvlan, 35), (Over::Vlan, 36)] {
        let network = Network::new(Engine::Syn, random_ports(seed, 200));
        let Some((v4, v6)) = network.wire.join_over(kind).unwrap() else {
            // Kernels without VLANs exist; every one has the other two.
            assert_eq!(kind, Over::Vlan);
            continue;
        };
        for address in [v4.to_string(), v6.to_string()] {
            let document = network.found(&format!("{address} -p -"));
            check_all(&document, &address, &network.open, 65_535);
        }
    }
}

#[test]
fn an_interface_without_link_headers_carries_a_scan() {
    let tunnel = Tunnel::create().unwrap();
    let open = random_ports(33, 200);
    let _responder = Responder::start(&tunnel.target, &open).unwrap();
    let addresses = [
        Tunnel::ADDRESSES.target.to_string(),
        Tunnel::ADDRESSES.target_v6.to_string(),
    ];
    for address in &addresses {
        let document = found(&tunnel.scanner, &format!("{address} -p -"));
        check_all(&document, address, &open, 65_535);
    }
}

#[test]
fn a_route_that_refuses_is_a_rule_of_this_machine() {
    let network = Network::new(Engine::Syn, vec![100]);
    for (kind, reason) in [
        ("blackhole", "local policy"),
        ("prohibit", "local policy"),
        ("unreachable", "no route"),
    ] {
        let scanner = &network.wire.scanner;
        scanner
            .ip(&["route", "replace", kind, "198.18.9.0/24"])
            .unwrap();
        let ended = network.scan("198.18.9.7 -p 100-110").expect_code(3);
        let document = Document::of(&ended);
        assert!(!document.complete(), "{kind}");
        assert_eq!(document.unanswered(), ["198.18.9.7"], "{kind}");
        let reasons: Vec<(&str, u64)> = document.unanswered_reasons().into_iter().collect();
        assert_eq!(reasons, [(reason, 11)], "{kind}");
    }
}

/// The first of the ports below which a run is cut off from its target, and its rate: it takes four
/// seconds.
const PORTS: u16 = 20_000;
const RATE: u32 = 5_000;

/// How long the interface is down.
const DOWN: Duration = Duration::from_secs(3);

#[test]
fn an_interface_that_goes_down_for_a_while_loses_nothing() {
    let open = random_ports(34, 200);
    let open: Vec<u16> = open.into_iter().filter(|port| *port <= PORTS).collect();
    let network = Network::new(Engine::Syn, open);
    let (scanner, target_side) = (&network.wire.scanner, &network.wire.target);
    let watched = [Watched {
        name: "syns",
        rule: SYN,
    }];
    let watch = Watch::start(target_side, &watched);
    let arguments = format!("{} -p 1-{PORTS} --rate {RATE}", target());
    let program = Engine::Syn.scan(&arguments);
    let mut running = scanner.enter(|| program.start()).unwrap();
    running.wait_until(|_| watch.counted("syns") >= 4_000);
    scanner.ip(&["link", "set", "lab0", "down"]).unwrap();
    let before = watch.counted("syns");
    std::thread::sleep(DOWN);
    assert_eq!(watch.counted("syns"), before);
    assert!(running.is_running());
    scanner.ip(&["link", "set", "lab0", "up"]).unwrap();
    let ended = running.end().expect_code(0);
    assert!(watch.counted("syns") > before);
    let document = Document::of(&ended);
    assert!(document.complete());
    check_all(&document, &target(), &network.open, u64::from(PORTS));
}
