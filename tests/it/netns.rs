//! Scans over a real kernel's network in namespaces of their own: what filters, loss and missing
//! routes look like. Needs root, `ip` and `nft`; only addresses that no network uses.

mod own_errors;
mod router;
mod segment;
mod stalled;
mod unprivileged;

use crate::program::{Ended, Program};
use crate::result::{Document, list};
use nix::sys::resource::{UsageWho, getrusage};
use portolan_lab::{Namespace, Responder, Wire, random_ports};

/// Memory of a run, whatever its size, in KiB.
const MEMORY_MAX_KIB: i64 = 150 * 1024;

/// Two namespaces with open ports in one.
struct Network {
    wire: Wire,
    open: Vec<u16>,
    _responder: Responder,
}

impl Network {
    fn new(open: Vec<u16>) -> Self {
        let wire = Wire::create().unwrap();
        let responder = Responder::start(&wire.target, &open).unwrap();
        Self {
            wire,
            open,
            _responder: responder,
        }
    }

    fn scan(&self, arguments: &str) -> Ended {
        self.inside(Program::new(&format!(
            "scan {arguments} --depth ports --format json --progress never"
        )))
    }

    fn inside(&self, program: Program) -> Ended {
        self.wire.scanner.enter(|| program.run()).unwrap()
    }

    /// Scans all ports and finds every open one, every time.
    fn check_finds_all(&self, address: &str, runs: usize) {
        for _ in 0..runs {
            let document = Document::of(&self.scan(&format!("{address} -p -")).expect_code(0));
            assert_eq!(document.open(address), self.open);
            assert!(document.complete());
        }
    }
}

fn target() -> String {
    Wire::ADDRESSES.target.to_string()
}

#[test]
fn all_of_200_open_ports_are_found() {
    let network = Network::new(random_ports(1, 200));
    let document = Document::of(&network.scan(&format!("{} -p -", target())).expect_code(0));
    assert_eq!(document.open(&target()), network.open);
    assert_eq!(document.count(&target(), "closed"), 65_535 - 200);
    assert_eq!(document.count(&target(), "filtered"), 0);
}

#[test]
fn all_of_200_open_ports_are_found_over_ipv6() {
    let network = Network::new(random_ports(2, 200));
    network.check_finds_all(&Wire::ADDRESSES.target_v6.to_string(), 1);
}

#[test]
fn loss_hides_no_open_port() {
    let network = Network::new(random_ports(3, 200));
    network.wire.lose(5).unwrap();
    network.check_finds_all(&target(), 3);
}

#[test]
fn silent_ports_hide_no_open_port() {
    let network = Network::new(random_ports(4, 200));
    network.wire.silence_except(&network.open).unwrap();
    let document = Document::of(&network.scan(&format!("{} -p -", target())).expect_code(0));
    assert_eq!(document.open(&target()), network.open);
    assert_eq!(document.count(&target(), "filtered"), 65_535 - 200);
}

/// What a rule makes of a port.
#[derive(Clone, Copy)]
struct Ruled {
    verdict: &'static str,
    state: &'static str,
    /// How the reason begins.
    reason: &'static str,
}

/// One port that an nftables verdict rules, between an open and a closed one.
fn check_verdict(address: &str, ruled: Ruled) {
    let network = Network::new(vec![100]);
    network.wire.refuse_with(&[200], ruled.verdict).unwrap();
    // First with answers that come at once, then with answers that come later.
    check_states(&network, address, ruled, 0);
    network.wire.delay().unwrap();
    check_states(&network, address, ruled, 0);
}

fn check_states(network: &Network, address: &str, ruled: Ruled, code: i32) -> Ended {
    // With a seed that does not put the ruled port first: a first packet waits for nothing.
    let ended = network.scan(&format!("{address} -p 100,200,300-340 --seed 1"));
    let ended = ended.expect_code(code);
    let ports = Document::of(&ended).ports(address);
    let of = |port: u16| (ports[&port].state.as_str(), ports[&port].reason.as_str());
    assert_eq!(of(100), ("open", "syn-ack"));
    for port in 300..=340 {
        assert_eq!(of(port), ("closed", "rst"), "{port}");
    }
    let (state, reason) = of(200);
    assert_eq!(state, ruled.state, "{}", ruled.verdict);
    assert!(
        reason.starts_with(ruled.reason),
        "{}: {reason}",
        ruled.verdict
    );
    ended
}

const DROP: Ruled = Ruled {
    verdict: "drop",
    state: "filtered",
    reason: "timeout after ",
};

const RESET: Ruled = Ruled {
    verdict: "reject with tcp reset",
    state: "closed",
    reason: "rst",
};

/// An ICMP error, by nftables' words for it and by ours.
const fn icmp(verdict: &'static str, reason: &'static str) -> Ruled {
    Ruled {
        verdict,
        state: "filtered",
        reason,
    }
}

#[test]
fn a_filter_shows_by_how_it_refuses() {
    for ruled in [
        DROP,
        RESET,
        icmp("reject with icmp type admin-prohibited", "admin-prohibited"),
        icmp("reject with icmp type host-unreachable", "host-unreachable"),
        icmp("reject with icmp type net-unreachable", "net-unreachable"),
        icmp("reject with icmp type port-unreachable", "port-unreachable"),
        icmp("reject with icmp type host-prohibited", "host-prohibited"),
    ] {
        check_verdict(&target(), ruled);
    }
}

#[test]
fn a_filter_shows_by_how_it_refuses_over_ipv6() {
    for ruled in [
        DROP,
        RESET,
        icmp(
            "reject with icmpv6 type admin-prohibited",
            "admin-prohibited",
        ),
        icmp(
            "reject with icmpv6 type addr-unreachable",
            "host-unreachable",
        ),
        icmp("reject with icmpv6 type no-route", "net-unreachable"),
        icmp(
            "reject with icmpv6 type port-unreachable",
            "port-unreachable",
        ),
    ] {
        check_verdict(&Wire::ADDRESSES.target_v6.to_string(), ruled);
    }
}

#[test]
fn an_address_without_a_route_is_not_called_closed() {
    let network = Network::new(vec![100]);
    let ended = network.scan("192.0.2.1 -p 100,200").expect_code(3);
    assert!(ended.stdout.contains("no route"), "{}", ended.stdout);
    let document = Document::of(&ended);
    assert!(document.open("192.0.2.1").is_empty());
    assert!(!document.complete());
}

#[test]
fn a_neighbour_that_is_not_there_is_not_called_closed() {
    let network = Network::new(vec![100]);
    // The other end of a wider subnet: nobody answers for the address.
    network
        .wire
        .scanner
        .ip(&["addr", "add", "198.18.4.1/24", "dev", "lab0"])
        .unwrap();
    let ended = network.scan("198.18.4.9 -p 100-110");
    let document = Document::of(&ended);
    assert!(document.open("198.18.4.9").is_empty());
    for host in document.hosts() {
        assert_eq!(host["other_ports"]["closed"], 0, "{host}");
    }
    assert!(matches!(ended.code, Some(0 | 3)), "{}", ended.stderr);
}

#[test]
fn a_time_limit_gives_what_was_found() {
    let network = Network::new(random_ports(6, 200));
    network.wire.silence_except(&network.open).unwrap();
    let ended = network.scan(&format!("{} -p - --rate 2000 --max-time 1s", target()));
    let document = Document::of(&ended.expect_code(3));
    assert!(!document.complete());
    let found = document.open(&target());
    assert!(found.len() < 200 && found.iter().all(|port| network.open.contains(port)));
}

/// How many TCP packets left the scanner for `address`, as its own kernel counts them.
fn sent(network: &Network, address: &str, run: impl FnOnce()) -> u64 {
    let scanner = &network.wire.scanner;
    scanner
        .rules(&format!(
            "table inet count {{
               chain output {{
                 type filter hook output priority 0;
                 meta l4proto tcp ip daddr {address} counter
               }}
             }}"
        ))
        .unwrap();
    run();
    let rules = scanner.ruleset().unwrap();
    scanner.clear_rules().unwrap();
    let (_, after) = rules.split_once("counter packets ").expect("a counter");
    after.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn nothing_is_sent_where_nothing_may_be() {
    let network = Network::new(vec![100]);
    let gateway = target();
    let route = ["route", "add", "default", "via", &gateway];
    network.wire.scanner.ip(&route).unwrap();
    let count = |address: &str, arguments: &str, code: i32| {
        sent(&network, address, || {
            network.scan(arguments).expect_code(code);
        })
    };
    // The counter counts.
    assert!(count(&gateway, &format!("{gateway} -p 100-110"), 0) >= 11);
    assert_eq!(count("8.8.8.8", "8.8.8.8 -p 80", 2), 0);
    assert_eq!(count(&gateway, &format!("{gateway} 8.8.8.8 -p 80"), 2), 0);
    assert_eq!(count(&gateway, &format!("{gateway} -p 1-70000"), 2), 0);
    assert_eq!(
        count(&gateway, &format!("{gateway} no-such.invalid -p 1"), 2),
        0
    );
    assert_eq!(count(&gateway, &format!("{gateway} -p - --dry-run"), 0), 0);
    let excluded = format!("198.18.0.0/30 -x {gateway} -p 1-20");
    assert_eq!(
        sent(&network, &gateway, || {
            network.scan(&excluded);
        }),
        0
    );
}

#[test]
fn memory_does_not_grow_with_the_targets() {
    let network = Network::new(vec![80]);
    network.wire.route("198.18.16.0/22").unwrap();
    // 1,024 hosts with 256 ports each: 2^18 probes.
    let ended = network.scan("198.18.16.0/22 -p 1-256").expect_code(0);
    let document = Document::of(&ended);
    assert_eq!(document.hosts().len(), 1024);
    for host in document.hosts() {
        assert_eq!(host["other_ports"]["closed"], 255, "{host}");
    }
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
}

#[test]
fn a_host_without_any_network_is_told_so() {
    let alone = Namespace::create("alone").unwrap();
    let ports = list(&[80, 443]);
    let program = Program::new(&format!("scan 192.0.2.1 -p {ports} --format json"));
    let ended = alone.enter(|| program.run()).unwrap().expect_code(3);
    assert!(ended.stdout.contains("no route"), "{}", ended.stdout);
}
