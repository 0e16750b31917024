//! What a run says of a target is the target's doing: faults and limits of this machine, and what
//! it remembers of its neighbours, are never told as a state of ports.

use super::{Engine, Network, target};
use crate::netns::watch::{Watch, Watched};
use crate::program::{Ended, Program, path};
use crate::result::Document;
use portolan_lab::random_ports;

/// A scan by a shell with a limit of open files.
fn limited(network: &Network, limit: u32, arguments: &str) -> Ended {
    let command = format!(
        "ulimit -n {limit}; exec {} scan {arguments} --format json --progress never",
        path().display()
    );
    network.inside(Program::of("sh").argument("-c").argument(command))
}

#[test]
fn few_open_files_leave_a_scan_by_connections() {
    let network = Network::new(Engine::Syn, vec![100]);
    let arguments = format!("{} -p 90-110 --depth ports", target());
    let ended = limited(&network, 64, &arguments).expect_code(0);
    let document = Document::of(&ended);
    assert_eq!(document.open(&target()), [100]);
    assert_eq!(document.0["run"]["engine"], "connect");
}

#[test]
fn held_source_ports_leave_files_for_first_looks() {
    let open = random_ports(51, 200);
    let network = Network::new(Engine::Syn, open.clone());
    let arguments = format!(
        "{} -p {} --engine syn --depth identify",
        target(),
        crate::result::list(&open)
    );
    let ended = limited(&network, 280, &arguments).expect_code(0);
    // The target accepts every connection.
    assert!(
        !ended.stdout.contains("accepted no further"),
        "{}",
        ended.stdout
    );
}

#[test]
fn an_outdated_hardware_address_hides_nothing() {
    let network = Network::new(Engine::Syn, vec![100]);
    let old = "neigh replace 198.18.0.2 lladdr 02:00:00:00:00:99 dev lab0 nud stale";
    let words: Vec<&str> = old.split(' ').collect();
    network.wire.scanner.ip(&words).unwrap();
    let document = network.found(&format!("{} -p 90-110", target()));
    assert_eq!(document.open(&target()), [100]);
}

#[test]
fn a_host_behind_an_absent_gateway_is_not_called_absent() {
    let network = Network::new(Engine::Syn, vec![100]);
    let scanner = &network.wire.scanner;
    scanner
        .ip(&["addr", "add", "198.18.4.1/24", "dev", "lab0"])
        .unwrap();
    scanner
        .ip(&["route", "add", "198.18.16.0/24", "via", "198.18.4.77"])
        .unwrap();
    let ended = network.scan("198.18.16.5 -p 90-110");
    assert!(!ended.stdout.contains("no neighbour"), "{}", ended.stdout);
}

#[test]
fn questions_for_neighbours_keep_to_the_rate() {
    let network = Network::new(Engine::Syn, vec![100]);
    network
        .wire
        .scanner
        .ip(&["addr", "add", "198.18.4.1/24", "dev", "lab0"])
        .unwrap();
    let watched = [Watched {
        name: "fast",
        rule: "arp operation request limit rate over 110/second burst 30 packets",
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    network.found("198.18.4.0/24 -p 100 --rate 100");
    assert_eq!(watch.counted("fast"), 0);
}
