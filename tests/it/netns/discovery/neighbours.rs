//! The neighbours of a segment, found by one request to all of them.

use crate::netns::Engine;
use crate::netns::watch::{Watch, Watched};
use crate::program::Ended;
use crate::result::Document;
use portolan_lab::{Namespace, Responder};

/// A bridge with the scanner and three hosts on it.
struct Segment {
    scanner: Namespace,
    hosts: [Namespace; 3],
    _bridge: Namespace,
    _responders: Vec<Responder>,
}

/// Of the scanner, and of two of the hosts; the third has a link-local address only.
const SCANNER: &str = "2001:db8:5::1";
const HOSTS: [&str; 2] = ["2001:db8:5::a:7", "2001:db8:5::ffff:b"];
/// What the link-local address of the third is made of.
const THIRD_MAC: &str = "02:00:00:00:05:0c";
const THIRD: &str = "fe80::ff:fe00:50c";

impl Segment {
    fn create() -> Self {
        let bridge = Namespace::create("bridge").unwrap();
        // The bridge is nobody's neighbour.
        bridge
            .set("net/ipv6/conf/default/disable_ipv6", "1")
            .unwrap();
        bridge
            .ip(&["link", "add", "br0", "up", "type", "bridge"])
            .unwrap();
        let join = |label: &str, number: usize, mac: &str| {
            let namespace = Namespace::create(label).unwrap();
            // Duplicate address detection would keep addresses unusable for a second.
            namespace
                .set("net/ipv6/conf/default/accept_dad", "0")
                .unwrap();
            namespace
                .set("net/ipv6/conf/default/dad_transmits", "0")
                .unwrap();
            let port = format!("port{number}");
            let inside = namespace.name();
            let veth = ["type", "veth", "peer", "name", "lab0", "netns", inside];
            let add = ["link", "add", &port, "up", "master", "br0"];
            bridge.ip(&[&add[..], &veth[..]].concat()).unwrap();
            namespace
                .ip(&["link", "set", "lab0", "address", mac])
                .unwrap();
            namespace.ip(&["link", "set", "lab0", "up"]).unwrap();
            namespace
        };
        let scanner = join("scanner", 0, "02:00:00:00:05:01");
        let hosts = [
            join("one", 1, "02:00:00:00:05:0a"),
            join("two", 2, "02:00:00:00:05:0b"),
            join("three", 3, THIRD_MAC),
        ];
        for (namespace, address) in [
            (&scanner, SCANNER),
            (&hosts[0], HOSTS[0]),
            (&hosts[1], HOSTS[1]),
        ] {
            let address = format!("{address}/64");
            namespace
                .ip(&["addr", "add", &address, "dev", "lab0", "nodad"])
                .unwrap();
        }
        let responders = hosts.iter().map(|it| Responder::start(it, &[100]).unwrap());
        Self {
            _responders: responders.collect(),
            scanner,
            hosts,
            _bridge: bridge,
        }
    }

    fn scan(&self, engine: Engine, arguments: &str) -> Ended {
        let program = engine.scan(arguments);
        self.scanner.enter(|| program.run()).unwrap()
    }
}

fn echoes(target: &Namespace) -> Watch<'_> {
    let watched = [Watched {
        name: "echoes",
        rule: "icmpv6 type echo-request",
    }];
    Watch::start(target, &watched)
}

fn check_found(document: &Document, addresses: &[&str]) {
    let mut found: Vec<&str> = document
        .hosts()
        .iter()
        .map(|host| host["ip"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, addresses);
    for address in addresses {
        assert_eq!(document.open(address), [100], "{address}");
        assert_eq!(document.count(address, "closed"), 10, "{address}");
    }
}

#[test]
fn the_neighbours_of_an_interface_are_found_by_multicast() {
    let segment = Segment::create();
    for engine in Engine::ALL {
        let ended = segment.scan(engine, "ff02::1%lab0 -p 90-100");
        let ended = ended.expect_code(0);
        check_found(&Document::of(&ended), &HOSTS);
        // The third is known, and how to reach it.
        assert!(ended.stderr.contains(THIRD), "{}", ended.stderr);
        let told = ended.stderr.contains("--interface lab0");
        assert!(told, "{}", ended.stderr);
    }
    let arguments = "ff02::1%lab0 --interface lab0 -p 90-100";
    let ended = segment.scan(Engine::Syn, arguments).expect_code(0);
    let document = Document::of(&ended);
    check_found(&document, &[HOSTS[0], HOSTS[1], THIRD]);
    assert_eq!(document.host(THIRD)["mac"], THIRD_MAC);
    assert_eq!(document.host(THIRD)["reason"], "nd-response");
}

#[test]
fn all_are_asked_only_where_all_may_be() {
    let segment = Segment::create();
    let watches = segment.hosts.each_ref().map(echoes);
    let counted = || -> u64 { watches.iter().map(|it| it.counted("echoes")).sum() };
    let refused = |arguments: &str, word: &str| {
        let ended = segment.scan(Engine::Syn, arguments).expect_code(2);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    };
    let excluded = HOSTS[1];
    refused(&format!("ff02::1%lab0 -x {excluded} -p 100"), excluded);
    refused("ff02::1%lab0 -x fe80::/64 -p 100", "fe80::");
    refused("ff02::1%lab0 -p 100 --dry-run", "dry run");
    refused("ff02::1%lo -p 100", "no interface with IPv6 neighbours");
    refused("ff02::1%lab7 -p 100", "no interface with IPv6 neighbours");
    assert_eq!(counted(), 0);
    // The counters count.
    segment
        .scan(Engine::Syn, "ff02::1%lab0 -p 100")
        .expect_code(0);
    assert!(counted() >= 3);
}

#[test]
fn a_segment_on_which_nobody_answers_is_told_as_such() {
    let segment = Segment::create();
    for host in &segment.hosts {
        host.set("net/ipv6/icmp/echo_ignore_multicast", "1")
            .unwrap();
    }
    let ended = segment.scan(Engine::Syn, "ff02::1%lab0 -p 100");
    let ended = ended.expect_code(3);
    assert!(ended.stderr.contains("no neighbour"), "{}", ended.stderr);
}
