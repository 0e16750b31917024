//! What is sent and what is not: every packet is counted where it arrives.

use super::{Engine, Network, target};
use crate::netns::watch::{SYN, Watch, Watched};
use crate::program::Program;
use crate::result::{Document, Port};
use std::collections::BTreeMap;

/// A pace at which nothing is lost, so that nothing is asked twice.
const RATE: u32 = 5_000;

/// SYNs to pairs of address and port that were asked before.
const AGAIN: &str = "tcp flags & (syn|ack) == syn ip daddr . tcp dport @asked";

fn watch(network: &Network) -> Watch<'_> {
    let watched = [
        Watched {
            name: "syns",
            rule: SYN,
        },
        Watched {
            name: "again",
            rule: AGAIN,
        },
    ];
    Watch::start(&network.wire.target, &watched)
}

/// Whatever is for an address of IPv4, requests for its hardware address included.
fn to(addresses: &str) -> [Watched<'static>; 2] {
    let rule = |text: String| -> &'static str { text.leak() };
    [
        Watched {
            name: "frames",
            rule: rule(format!("ip daddr {{ {addresses} }}")),
        },
        Watched {
            name: "requests",
            rule: rule(format!("arp daddr ip {{ {addresses} }}")),
        },
    ]
}

#[test]
fn an_excluded_address_behind_a_gateway_gets_no_packet() {
    let network = Network::new(Engine::Syn, vec![100]);
    network.wire.route("198.18.16.0/24").unwrap();
    let all = Watch::start(&network.wire.target, &to("198.18.16.0/24"));
    let document = network.found("198.18.16.0/24 -p 100-110");
    assert_eq!(document.hosts().len(), 256);
    // The counter counts.
    assert!(all.counted("frames") >= 256 * 11);
    drop(all);
    let excluded = "198.18.16.0, 198.18.16.7, 198.18.16.64/28, 198.18.16.255";
    let none = Watch::start(&network.wire.target, &to(excluded));
    let flags = excluded.replace(", ", " -x ");
    let document = network.found(&format!("198.18.16.0/24 -x {flags} -p 100-110"));
    assert_eq!(document.hosts().len(), 256 - 19);
    for host in document.hosts() {
        assert_eq!(document.open(host["ip"].as_str().unwrap()), [100]);
    }
    assert_eq!(none.counted("frames"), 0);
}

#[test]
fn an_excluded_neighbour_is_not_even_asked_for_its_hardware_address() {
    let network = Network::new(Engine::Syn, vec![100]);
    let (scanner, target) = (&network.wire.scanner, &network.wire.target);
    scanner
        .ip(&["addr", "add", "198.18.4.1/24", "dev", "lab0"])
        .unwrap();
    for last in [2, 77, 254] {
        let address = format!("198.18.4.{last}/24");
        target
            .ip(&["addr", "add", &address, "dev", "lab0"])
            .unwrap();
    }
    let excluded = "198.18.4.2, 198.18.4.9, 198.18.4.128/25";
    let none = Watch::start(target, &to(excluded));
    let flags = excluded.replace(", ", " -x ");
    let document = network.found(&format!("198.18.4.0/24 -x {flags} -p 100-110"));
    assert_eq!(document.open("198.18.4.77"), [100]);
    assert!(document.hosts().iter().all(|it| it["ip"] != "198.18.4.254"));
    assert_eq!(none.counted("frames"), 0);
    assert_eq!(none.counted("requests"), 0);
    // The counters count.
    drop(none);
    let all = Watch::start(target, &to("198.18.4.0/24"));
    network.found("198.18.4.0/24 -p 100-110");
    assert!(all.counted("frames") > 0);
    assert!(all.counted("requests") > 0);
}

/// State and reason of every port of every host.
fn pairs(document: &Document) -> BTreeMap<(String, u16), Port> {
    let mut pairs = BTreeMap::new();
    for host in document.hosts() {
        let address = host["ip"].as_str().unwrap();
        for (port, found) in document.ports(address) {
            pairs.insert((address.to_owned(), port), found);
        }
    }
    pairs
}

#[test]
fn shards_together_ask_every_pair_once() {
    let network = Network::new(Engine::Syn, vec![100, 300, 800]);
    network.wire.route("198.18.16.0/28").unwrap();
    let scan = format!("198.18.16.0/28 -p 1-1000 --seed 5 --rate {RATE}");
    let whole = pairs(&network.found(&scan));
    assert_eq!(whole.len(), 16_000);
    let watch = watch(&network);
    let mut together = BTreeMap::new();
    for shard in 1..=3 {
        let part = pairs(&network.found(&format!("{scan} --shard {shard}/3")));
        // No part is empty, and none is all of it.
        assert!(part.len() > 1_000 && part.len() < 15_000, "{}", part.len());
        for (pair, found) in part {
            assert_eq!(together.insert(pair, found), None);
        }
    }
    assert_eq!(together, whole);
    assert_eq!(watch.counted("syns"), 16_000);
    assert_eq!(watch.counted("again"), 0);
}

#[test]
fn the_block_of_source_ports_is_the_one_that_was_asked_for() {
    let network = Network::new(Engine::Syn, vec![100]);
    let watched = [
        Watched {
            name: "syns",
            rule: SYN,
        },
        Watched {
            name: "block",
            rule: "tcp flags & (syn|ack) == syn tcp sport 61440-61695",
        },
    ];
    let watch = Watch::start(&network.wire.target, &watched);
    let document = network.found(&format!("{} -p 1-5000 --source-port 61440", target()));
    assert_eq!(document.open(&target()), [100]);
    assert!(watch.counted("syns") >= 5_000);
    assert_eq!(watch.counted("block"), watch.counted("syns"));
}

#[test]
fn a_source_port_that_begins_no_block_is_refused() {
    let network = Network::new(Engine::Syn, vec![100]);
    let watch = watch(&network);
    let ended = network.scan(&format!("{} -p 100 --source-port 61441", target()));
    let ended = ended.expect_code(2);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("61696"), "{}", ended.stderr);
    assert_eq!(watch.counted("syns"), 0);
    // Without a wish for raw packets connections are made from it.
    let program = Program::new(&format!(
        "scan {} -p 100 --source-port 61441 --depth ports --format json",
        target()
    ));
    let document = Document::of(&network.inside(program).expect_code(0));
    assert_eq!(document.0["run"]["engine"], "connect");
    assert_eq!(document.open(&target()), [100]);
}

#[test]
fn a_rate_holds() {
    let network = Network::new(Engine::Syn, vec![100]);
    let watched = [Watched {
        name: "fast",
        // More than a tenth of a second's probes at once are too many.
        rule: "tcp flags & (syn|ack) == syn limit rate over 1100/second burst 100 packets",
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    network.found(&format!("{} -p 1-2000 --rate 1000", target()));
    assert_eq!(watch.counted("fast"), 0);
    network.found(&format!("{} -p 1-2000 --rate 2000", target()));
    assert!(watch.counted("fast") > 0);
}
