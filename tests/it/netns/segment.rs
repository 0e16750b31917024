//! Whole attached networks, most of whose addresses belong to nobody.

use super::{Engine, Network};
use crate::result::Document;

/// Last octets of the hosts that are there, besides the scanner with 1.
const PRESENT: [u8; 3] = [2, 77, 254];

/// The port that is open on each of them.
const OPEN: u16 = 100;

/// A network that three hosts of many are in.
fn network(engine: Engine, addresses: &[String]) -> Network {
    let network = Network::new(engine, vec![OPEN]);
    for address in addresses {
        let add = ["addr", "replace", address, "dev", "lab0", "nodad"];
        // Duplicate address detection, which is left out, is of IPv6 alone.
        let words = if address.contains(':') { 6 } else { 5 };
        network.wire.target.ip(&add[..words]).unwrap();
    }
    network
}

/// The hosts that are there are found, and nobody else; the scanner is one of them.
fn check_present(document: &Document, scanner: &str, present: &[String], ports: u64) {
    assert_eq!(document.hosts().len(), present.len() + 1);
    for address in present {
        assert_eq!(document.open(address), [OPEN], "{address}");
        assert_eq!(document.count(address, "closed"), ports - 1, "{address}");
    }
    assert_eq!(document.count(scanner, "closed"), ports);
}

/// All `ports` of the hosts that are not there ended for want of a neighbour or in silence.
/// Answers how many for the first.
fn check_absent(document: &Document, ports: u64) -> u64 {
    let reasons = document.unanswered_reasons();
    let absent = reasons.get("no neighbour").copied().unwrap_or(0);
    let silent = reasons
        .iter()
        .filter(|(reason, _)| reason.starts_with("timeout after "));
    let silent: u64 = silent.map(|(_, ports)| ports).sum();
    assert_eq!(absent + silent, ports, "{reasons:?}");
    absent
}

fn check_network(engine: Engine) {
    let present = PRESENT.map(|last| format!("198.18.4.{last}"));
    let network = network(engine, &present.clone().map(|it| format!("{it}/24")));
    let own = ["addr", "add", "198.18.4.1/24", "dev", "lab0"];
    network.wire.scanner.ip(&own).unwrap();
    let document = network.found("198.18.4.0/24 -p 100,200,300");
    check_present(&document, "198.18.4.1", &present, 3);
    assert_eq!(
        document.unanswered(),
        ["198.18.4.3-198.18.4.76", "198.18.4.78-198.18.4.253"]
    );
    // By ICMP the kernel reports only a few of them; its table of neighbours has them all.
    assert_eq!(check_absent(&document, 3 * 250), 3 * 250);
}

#[test]
fn absent_hosts_of_a_network_are_told_from_silent_ones() {
    Engine::ALL.into_iter().for_each(check_network);
}

/// Answers how many ports ended for want of a neighbour.
fn check_network_v6(engine: Engine) -> u64 {
    let present = PRESENT.map(|last| format!("2001:db8::{last:x}"));
    let network = network(engine, &present.clone().map(|it| format!("{it}/64")));
    let document = network.found("2001:db8::/120 -p 100,200,300");
    check_present(&document, "2001:db8::1", &present, 3);
    assert_eq!(
        document.unanswered(),
        [
            "2001:db8::",
            "2001:db8::3-2001:db8::4c",
            "2001:db8::4e-2001:db8::fd",
            "2001:db8::ff"
        ]
    );
    check_absent(&document, 3 * 252)
}

#[test]
fn absent_hosts_of_an_ipv6_network_hide_nobody() {
    // Only ICMP tells, of as many as the kernel's limit allows; the others are silent.
    assert!(check_network_v6(Engine::Connect) > 0);
    // Who asks for neighbours by itself knows.
    assert_eq!(check_network_v6(Engine::Syn), 3 * 252);
}
