//! The engine for raw packets over a real kernel's network: what it finds, whatever the way does to
//! packets. That it takes the right way, sends no more than it may, and can be interrupted is
//! below; what both engines have to do alike is beside this module.

mod bounds;
mod crowd;
mod honest;
mod parts;
mod ways;

use super::{Engine, Network, VERDICTS, VERDICTS_V6, check_verdict, target};
use crate::listeners::Server;
use crate::result::Document;
use portolan_lab::{Wire, random_ports};

/// Open ports of a target, and runs over it.
const OPEN: usize = 200;
const RUNS: usize = 3;
/// All other ports.
const REST: u64 = 65_335;

/// Ports that refuse and may be called silent in one run, where packets are lost at random: silence
/// is believed when less than a hundredth of a port is expected to be missed, so that two at once
/// are a fault.
const MISSED_MAX: u64 = 1;

fn target_v6() -> String {
    Wire::ADDRESSES.target_v6.to_string()
}

/// What becomes of the ports that are not open.
enum Rest {
    Closed,
    /// As far as they are not lost.
    ClosedOrLost,
    Filtered,
}

/// Every open port is found, and every other port is what it is, every time.
fn check(network: &Network, address: &str, rest: &Rest) {
    for _ in 0..RUNS {
        let document = network.found(&format!("{address} -p -"));
        assert_eq!(document.open(address), network.open);
        let count = |state: &str| document.count(address, state);
        let (closed, filtered) = (count("closed"), count("filtered"));
        let lost_max = match rest {
            Rest::Closed => 0,
            Rest::ClosedOrLost => MISSED_MAX,
            Rest::Filtered => REST,
        };
        assert!(filtered <= lost_max, "{filtered} of {REST} are filtered");
        if matches!(rest, Rest::Filtered) {
            assert_eq!(closed, 0);
        }
        assert_eq!(closed + filtered, REST);
    }
}

#[test]
fn a_clean_way_shows_every_port_as_it_is() {
    let network = Network::new(Engine::Syn, random_ports(21, OPEN));
    check(&network, &target(), &Rest::Closed);
    check(&network, &target_v6(), &Rest::Closed);
}

#[test]
fn a_little_loss_hides_nothing() {
    let network = Network::new(Engine::Syn, random_ports(22, OPEN));
    network.wire.lose(1).unwrap();
    check(&network, &target(), &Rest::ClosedOrLost);
    check(&network, &target_v6(), &Rest::ClosedOrLost);
}

#[test]
fn much_loss_hides_nothing() {
    let network = Network::new(Engine::Syn, random_ports(23, OPEN));
    network.wire.lose(5).unwrap();
    check(&network, &target(), &Rest::ClosedOrLost);
    check(&network, &target_v6(), &Rest::ClosedOrLost);
}

#[test]
fn silence_hides_nothing() {
    let network = Network::new(Engine::Syn, random_ports(24, OPEN));
    network.wire.silence_except(&network.open).unwrap();
    check(&network, &target(), &Rest::Filtered);
    check(&network, &target_v6(), &Rest::Filtered);
}

#[test]
fn loss_between_silent_ports_hides_nothing() {
    let network = Network::new(Engine::Syn, random_ports(25, OPEN));
    network.wire.silence_except(&network.open).unwrap();
    network.wire.lose(1).unwrap();
    check(&network, &target(), &Rest::Filtered);
    check(&network, &target_v6(), &Rest::Filtered);
}

#[test]
fn a_policer_hides_nothing() {
    let network = Network::new(Engine::Syn, random_ports(26, OPEN));
    network.wire.police(20_000).unwrap();
    check(&network, &target(), &Rest::ClosedOrLost);
    check(&network, &target_v6(), &Rest::ClosedOrLost);
}

#[test]
fn a_filter_shows_by_how_it_refuses() {
    for ruled in VERDICTS {
        check_verdict(Engine::Syn, &target(), ruled);
    }
}

#[test]
fn a_filter_shows_by_how_it_refuses_over_ipv6() {
    for ruled in VERDICTS_V6 {
        check_verdict(Engine::Syn, &target_v6(), ruled);
    }
}

#[test]
fn hosts_of_both_families_are_scanned_in_one_run() {
    let network = Network::new(Engine::Syn, random_ports(27, OPEN));
    let document = network.found(&format!("{} {} -p -", target(), target_v6()));
    for address in [target(), target_v6()] {
        assert_eq!(document.open(&address), network.open);
        assert_eq!(document.count(&address, "closed"), REST);
    }
}

#[test]
fn an_open_port_is_looked_at_first() {
    let network = Network::new(Engine::Syn, vec![100]);
    let server = network
        .wire
        .target
        .enter(|| {
            Server::greeting(
                Wire::ADDRESSES.target,
                b"220 good.example FTP server ready\r\n",
            )
        })
        .unwrap();
    let program = crate::program::Program::new(&format!(
        "scan {} -p 100-110,{} --engine syn --depth identify --format json --progress never",
        target(),
        server.port
    ));
    let document = Document::of(&network.inside(program).expect_code(0));
    assert!(document.complete());
    assert_eq!(document.0["run"]["engine"], "syn");
    assert_eq!(document.open(&target()), [100, server.port]);
    let shown = document.port(&target(), server.port);
    assert!(
        shown["service"]["evidence"]
            .as_str()
            .is_some_and(|text| text.contains("good.example")),
        "{shown}"
    );
}
