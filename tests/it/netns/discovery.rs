//! Hosts behind a router, most of which are not there: which are found, by what, and how many
//! packets the others get. Neighbours of an IPv6 segment are in `neighbours`.

mod neighbours;

use super::watch::{SYN, Watch, Watched};
use super::{Engine, Network};
use crate::program::Program;
use crate::result::Document;
use portolan_lab::Wire;
use std::collections::BTreeMap;

/// A network behind the target of a wire, which answers for all of it unless a rule says otherwise.
const BEHIND: &str = "198.18.16.0/24";

/// The hosts of that network that are there.
const PRESENT: [&str; 5] = [
    "198.18.16.0",
    "198.18.16.9",
    "198.18.16.64",
    "198.18.16.129",
    "198.18.16.255",
];

/// Probes that a host gets which never answers.
const PROBES: u64 = 10;

/// A network of `PRESENT` hosts.
fn network(open: Vec<u16>) -> Network {
    let network = Network::new(Engine::Syn, open);
    network.wire.route(BEHIND).unwrap();
    let present = PRESENT.join(", ");
    let rules = format!(
        "table inet absent {{
           chain input {{
             type filter hook input priority 0;
             ip daddr {BEHIND} ip daddr != {{ {present} }} drop
           }}
         }}"
    );
    network.wire.target.rules(&rules).unwrap();
    network
}

/// Every frame that is for an absent host.
fn to_absent() -> String {
    let present = PRESENT.join(", ");
    format!("ip daddr {BEHIND} ip daddr != {{ {present} }}")
}

/// The hosts that are there are found with all of their ports.
fn check_present(document: &Document, open: &[u16], ports: u64) {
    assert_eq!(document.hosts().len(), PRESENT.len());
    for address in PRESENT {
        assert_eq!(document.host(address)["state"], "up");
        assert_eq!(document.open(address), open, "{address}");
        let closed = ports - u64::try_from(open.len()).unwrap();
        assert_eq!(document.count(address, "closed"), closed, "{address}");
    }
}

#[test]
fn a_silent_host_gets_the_probes_that_look_for_it_and_no_others() {
    let network = network(vec![50, 100]);
    let rule = to_absent();
    let watched = [Watched {
        name: "absent",
        rule: &rule,
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    let ended = network.scan(&format!("{BEHIND} -p 1-100")).expect_code(0);
    let document = Document::of(&ended);
    assert!(document.complete());
    check_present(&document, &[50, 100], 100);
    let absent = 256 - 5;
    assert_eq!(watch.counted("absent"), absent * PROBES);
    let reasons = document.unanswered_reasons();
    let expected = BTreeMap::from([("no answer to discovery", absent * 100)]);
    assert_eq!(reasons, expected);
    // A reader is told how to ask them in spite of that.
    let notices = document.0["run"]["notices"].to_string();
    assert!(notices.contains("--discovery never"), "{notices}");
}

#[test]
fn every_port_of_every_address_is_asked_where_nobody_is_looked_for() {
    let network = network(vec![100]);
    let syns = format!("{} {SYN}", to_absent());
    let watched = [
        Watched {
            name: "syns",
            rule: &syns,
        },
        Watched {
            name: "echoes",
            rule: "icmp type echo-request",
        },
    ];
    let watch = Watch::start(&network.wire.target, &watched);
    let document = network.found(&format!("{BEHIND} -p 90-100 --discovery never"));
    check_present(&document, &[100], 11);
    assert!(watch.counted("syns") >= (256 - 5) * 11);
    // Hosts that are named one by one are asked at once.
    let named = "198.18.16.0-7 198.18.16.9,20-26";
    let document = network.found(&format!("{named} -p 90-100"));
    assert_eq!(document.hosts().len(), 2);
    assert_eq!(watch.counted("echoes"), 0);
    let document = network.found(&format!("{named} -p 90-100 --discovery always"));
    assert_eq!(document.hosts().len(), 2);
    assert!(watch.counted("echoes") >= 16);
}

/// Hosts that answer one kind of probe each, by what lets it through and what shows it.
const PARTIAL: [(&str, &str, &str); 8] = [
    ("198.18.16.1", "icmp type echo-request", "echo-reply"),
    (
        "198.18.16.2",
        "icmp type timestamp-request",
        "timestamp-reply",
    ),
    (
        "198.18.16.3",
        "tcp flags & (syn|ack) == syn tcp dport 443",
        "syn-ack",
    ),
    (
        "198.18.16.4",
        "tcp flags & (syn|ack) == ack tcp dport 80",
        "rst",
    ),
    (
        "198.18.16.5",
        "tcp flags & (syn|ack) == syn tcp dport 80",
        "rst",
    ),
    (
        "198.18.16.6",
        "tcp flags & (syn|ack) == syn tcp dport 22",
        "rst",
    ),
    (
        "198.18.16.7",
        "tcp flags & (syn|ack) == syn tcp dport 445",
        "rst",
    ),
    ("198.18.16.8", "meta l4proto udp", "port-unreachable"),
];

#[test]
fn one_kind_of_answer_is_enough() {
    let network = Network::new(Engine::Syn, vec![443]);
    network.wire.route(BEHIND).unwrap();
    let accept = PARTIAL.map(|(address, rule, _)| format!("ip daddr {address} {rule} accept"));
    let accept = accept.join("\n");
    let rules = format!(
        "table inet partial {{
           chain input {{
             type filter hook input priority 0;
             {accept}
             ip daddr {BEHIND} drop
           }}
         }}"
    );
    network.wire.target.rules(&rules).unwrap();
    // Ports of which none is answered: what shows a host is not what is asked of it.
    let document = network.found(&format!("{BEHIND} -p 1000-1009"));
    assert_eq!(document.hosts().len(), PARTIAL.len(), "{}", document.0);
    for (address, _, reason) in PARTIAL {
        let host = document.host(address);
        assert_eq!(host["state"], "up", "{host}");
        assert_eq!(host["reason"], reason, "{host}");
        assert_eq!(document.count(address, "filtered"), 10, "{host}");
    }
}

#[test]
fn what_a_router_says_of_a_network_is_told_and_nothing_else_asked() {
    let network = network(vec![100]);
    let target = &network.wire.target;
    // Else the router says it of few hosts only.
    target.set("net/ipv4/icmp_ratemask", "0").unwrap();
    target.set("net/ipv4/ip_forward", "1").unwrap();
    let [there, back] = [Wire::ADDRESSES.target, Wire::ADDRESSES.scanner].map(|it| it.to_string());
    for (network_there, reason) in [
        ("198.18.17.0/27", "admin-prohibited"),
        ("198.18.17.32/27", "host-unreachable"),
    ] {
        let route = ["route", "add", network_there, "via", &there];
        network.wire.scanner.ip(&route).unwrap();
        target
            .ip(&["route", "add", network_there, "via", &back])
            .unwrap();
        let rules = format!(
            "table inet refusing {{
               chain forward {{
                 type filter hook forward priority 0;
                 ip daddr {network_there} reject with icmp type {reason}
               }}
             }}"
        );
        target.rules(&rules).unwrap();
        let syns = format!("ip daddr {network_there} {SYN} tcp dport 1000-1099");
        let watched = [Watched {
            name: "syns",
            rule: &syns,
        }];
        let watch = Watch::start(target, &watched);
        let document = network.found(&format!("{network_there} -p 1000-1099"));
        assert_eq!(document.hosts().len(), 32, "{}", document.0);
        for host in document.hosts() {
            assert_eq!(host["state"], "unknown", "{host}");
            assert_eq!(host["reason"], reason, "{host}");
            assert_eq!(host["other_ports"]["not_tested"], 100, "{host}");
        }
        assert_eq!(watch.counted("syns"), 0);
    }
}

#[test]
fn an_excluded_address_gets_no_probe_that_looks_for_it() {
    let network = network(vec![100]);
    let excluded = "198.18.16.9, 198.18.16.10, 198.18.16.128/25";
    let frames = format!("ip daddr {{ {excluded} }}");
    let watched = [
        Watched {
            name: "excluded",
            rule: &frames,
        },
        Watched {
            name: "echoes",
            rule: "icmp type echo-request",
        },
    ];
    let watch = Watch::start(&network.wire.target, &watched);
    let flags = excluded.replace(", ", " -x ");
    let document = network.found(&format!("{BEHIND} -x {flags} -p 90-100"));
    assert_eq!(document.hosts().len(), 2);
    assert_eq!(watch.counted("excluded"), 0);
    // The counter counts.
    assert!(watch.counted("echoes") >= 126);
}

#[test]
fn ports_outside_the_scope_are_not_asked_to_find_a_host() {
    let network = network(vec![100]);
    let watched = [Watched {
        name: "ports",
        rule: "meta l4proto { tcp, udp } th dport != 90-100",
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    let scope = format!("allow = [\"{BEHIND}\"]\nports = \"90-100\"\n");
    let program = Engine::Syn.scan(&format!("{BEHIND} -p 90-100 --scope scope.toml"));
    let ended = network.inside(program.file("scope.toml", &scope));
    check_present(&Document::of(&ended.expect_code(0)), &[100], 11);
    assert_eq!(watch.counted("ports"), 0);
}

#[test]
fn hosts_of_an_ipv6_network_are_found_by_the_same_probes() {
    let network = Network::new(Engine::Syn, vec![100]);
    let behind = "2001:db8:16::/122";
    let via = Wire::ADDRESSES.target_v6.to_string();
    let (scanner, target) = (&network.wire.scanner, &network.wire.target);
    scanner
        .ip(&["-6", "route", "add", behind, "via", &via])
        .unwrap();
    target
        .ip(&["-6", "route", "add", "local", behind, "dev", "lo"])
        .unwrap();
    let rules = format!(
        "table inet absent {{
           chain input {{
             type filter hook input priority 0;
             ip6 daddr 2001:db8:16::7 icmpv6 type echo-request accept
             ip6 daddr 2001:db8:16::20 accept
             ip6 daddr {behind} drop
           }}
         }}"
    );
    target.rules(&rules).unwrap();
    let document = network.found(&format!("{behind} -p 90-100"));
    assert_eq!(document.hosts().len(), 2, "{}", document.0);
    let quiet = document.host("2001:db8:16::7");
    assert_eq!(
        (&quiet["state"], &quiet["reason"]),
        (&"up".into(), &"echo-reply".into())
    );
    assert_eq!(document.open("2001:db8:16::20"), [100]);
    let reasons = document.unanswered_reasons();
    assert_eq!(
        reasons,
        BTreeMap::from([("no answer to discovery", 62 * 11)])
    );
}

#[test]
fn neighbours_are_told_by_their_hardware_address() {
    let network = Network::new(Engine::Syn, vec![100]);
    network.wire.silence(&[100, 101]).unwrap();
    let address = Wire::ADDRESSES.target.to_string();
    let document = network.found(&format!("{address} -p 100,101"));
    let host = document.host(&address);
    // None of its ports said anything, but it is there.
    assert_eq!(host["state"], "up", "{host}");
    assert_eq!(host["reason"], "arp-response", "{host}");
    let mac = Wire::TARGET_MAC.replace('-', ":");
    assert_eq!(host["mac"], mac.as_str(), "{host}");
    let address = Wire::ADDRESSES.target_v6.to_string();
    let document = network.found(&format!("{address} -p 100,101"));
    assert_eq!(document.host(&address)["reason"], "nd-response");
}

#[test]
fn a_run_that_is_interrupted_loses_no_host() {
    let network = network(vec![100, 400]);
    let watched = [Watched {
        name: "syns",
        rule: SYN,
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    let scan = format!("{BEHIND} -p 1-500 --rate 1500 --seed 3 --checkpoint checkpoint");
    let mut program = Engine::Syn.scan(&scan);
    // In the middle of the search, soon after it, and in the middle of the ports.
    for further in [100, 700, 900] {
        let enough = watch.counted("syns") + further;
        let mut running = network.wire.scanner.enter(|| program.start()).unwrap();
        running.wait_until(|_| watch.counted("syns") >= enough);
        running.signal("INT");
        let ended = running.end().expect_code(130);
        program = Program::new(
            "scan --resume checkpoint --format json --progress never --checkpoint checkpoint",
        )
        .file("checkpoint", &ended.file("checkpoint"));
    }
    let ended = network.inside(program).expect_code(0);
    let document = Document::of(&ended);
    assert!(document.complete());
    check_present(&document, &[100, 400], 500);
    let reasons = document.unanswered_reasons();
    assert_eq!(
        reasons,
        BTreeMap::from([("no answer to discovery", 251 * 500)])
    );
}
