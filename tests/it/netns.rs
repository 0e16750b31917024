//! Scans over a real kernel's network in namespaces of their own: what filters, loss and missing
//! routes look like. Needs root, `ip` and `nft`; only addresses that no network uses.

mod discovery;
mod identify;
mod never;
mod own_errors;
mod prefix;
mod repliers;
mod rights;
mod router;
mod segment;
mod stalled;
mod syn;
mod udp;
mod unprivileged;
mod watch;
mod xdp;

use crate::program::{Ended, Program};
use crate::result::{Document, list};
use nix::sys::resource::{UsageWho, getrusage};
use portolan_lab::{Namespace, Responder, Wire, random_ports};
use watch::{Watch, Watched};

/// Memory of a run, whatever its size, in KiB.
const MEMORY_MAX_KIB: i64 = 150 * 1024;

/// How ports are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Connect,
    Syn,
}

impl Engine {
    const ALL: [Self; 2] = [Self::Connect, Self::Syn];

    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Syn => "syn",
        }
    }

    /// A scan by it that is asked for its document.
    fn scan(self, arguments: &str) -> Program {
        let name = self.name();
        Program::new(&format!(
            "scan {arguments} --engine {name} --depth ports --format json --progress never"
        ))
    }
}

/// Two namespaces with open ports in one, and the engine that scans there.
struct Network {
    engine: Engine,
    wire: Wire,
    open: Vec<u16>,
    _responder: Responder,
}

impl Network {
    fn new(engine: Engine, open: Vec<u16>) -> Self {
        let wire = Wire::create().unwrap();
        let responder = Responder::start(&wire.target, &open).unwrap();
        Self {
            engine,
            wire,
            open,
            _responder: responder,
        }
    }

    fn scan(&self, arguments: &str) -> Ended {
        self.inside(self.engine.scan(arguments))
    }

    /// A counter of TCP in the scanner's namespace (`proc_net(5)`).
    fn counter(&self, name: &str) -> u64 {
        let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
        let text = self.wire.scanner.enter(read).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
        let at = names.split(' ').position(|it| it == name).unwrap();
        values.split(' ').nth(at).unwrap().parse().unwrap()
    }

    /// What a scan found that had nothing in its way.
    fn found(&self, arguments: &str) -> Document {
        let document = Document::of(&self.scan(arguments).expect_code(0));
        assert!(document.complete(), "{}", document.0["run"]);
        assert_eq!(document.0["run"]["engine"], self.engine.name());
        document
    }

    fn inside(&self, program: Program) -> Ended {
        self.wire.scanner.enter(|| program.run()).unwrap()
    }

    /// Scans all ports and finds every open one, every time.
    fn check_finds_all(&self, address: &str, runs: usize) {
        for _ in 0..runs {
            let document = self.found(&format!("{address} -p -"));
            assert_eq!(document.open(address), self.open);
        }
    }
}

fn target() -> String {
    Wire::ADDRESSES.target.to_string()
}

#[test]
fn all_of_200_open_ports_are_found() {
    let network = Network::new(Engine::Connect, random_ports(1, 200));
    let document = network.found(&format!("{} -p -", target()));
    assert_eq!(document.open(&target()), network.open);
    assert_eq!(document.count(&target(), "closed"), 65_535 - 200);
    assert_eq!(document.count(&target(), "filtered"), 0);
}

#[test]
fn all_of_200_open_ports_are_found_over_ipv6() {
    let network = Network::new(Engine::Connect, random_ports(2, 200));
    network.check_finds_all(&Wire::ADDRESSES.target_v6.to_string(), 1);
}

#[test]
fn loss_hides_no_open_port() {
    let network = Network::new(Engine::Connect, random_ports(3, 200));
    network.wire.lose(5).unwrap();
    network.check_finds_all(&target(), 3);
}

#[test]
fn silent_ports_hide_no_open_port() {
    let network = Network::new(Engine::Connect, random_ports(4, 200));
    network.wire.silence_except(&network.open).unwrap();
    let document = network.found(&format!("{} -p -", target()));
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
fn check_verdict(engine: Engine, address: &str, ruled: Ruled) {
    let network = Network::new(engine, vec![100]);
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

/// What filters do over IPv4 …
const VERDICTS: [Ruled; 7] = [
    DROP,
    RESET,
    icmp("reject with icmp type admin-prohibited", "admin-prohibited"),
    icmp("reject with icmp type host-unreachable", "host-unreachable"),
    icmp("reject with icmp type net-unreachable", "net-unreachable"),
    icmp("reject with icmp type port-unreachable", "port-unreachable"),
    icmp("reject with icmp type host-prohibited", "host-prohibited"),
];

/// … and over IPv6.
const VERDICTS_V6: [Ruled; 6] = [
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
];

#[test]
fn a_filter_shows_by_how_it_refuses() {
    for ruled in VERDICTS {
        check_verdict(Engine::Connect, &target(), ruled);
    }
}

#[test]
fn a_filter_shows_by_how_it_refuses_over_ipv6() {
    for ruled in VERDICTS_V6 {
        check_verdict(
            Engine::Connect,
            &Wire::ADDRESSES.target_v6.to_string(),
            ruled,
        );
    }
}

#[test]
fn an_address_without_a_route_is_not_called_closed() {
    for engine in Engine::ALL {
        let network = Network::new(engine, vec![100]);
        let ended = network.scan("192.0.2.1 -p 100,200").expect_code(3);
        assert!(ended.stdout.contains("no route"), "{}", ended.stdout);
        let document = Document::of(&ended);
        assert!(document.open("192.0.2.1").is_empty());
        assert!(!document.complete());
    }
}

#[test]
fn a_neighbour_that_is_not_there_is_not_called_closed() {
    let network = Network::new(Engine::Connect, vec![100]);
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
    for engine in Engine::ALL {
        let network = Network::new(engine, random_ports(6, 200));
        network.wire.silence_except(&network.open).unwrap();
        let ended = network.scan(&format!("{} -p - --rate 2000 --max-time 1s", target()));
        let document = Document::of(&ended.expect_code(3));
        assert!(!document.complete());
        let found = document.open(&target());
        assert!(found.len() < 200 && found.iter().all(|port| network.open.contains(port)));
    }
}

/// How many packets of a run arrive for `address` at the target, which is every way out.
fn sent(network: &Network, address: &str, run: impl FnOnce()) -> u64 {
    let watch = Watch::start(
        &network.wire.target,
        &[Watched {
            name: "sent",
            rule: &format!("ip daddr {address}"),
        }],
    );
    run();
    watch.counted("sent")
}

fn check_nothing_is_sent(engine: Engine) {
    let network = Network::new(engine, vec![100]);
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
    if engine == Engine::Connect {
        // Takes as long as the resolver of this machine wants, whichever engine it is for.
        let name = format!("{gateway} no-such.invalid -p 1");
        assert_eq!(count(&gateway, &name, 2), 0);
    }
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
fn nothing_is_sent_where_nothing_may_be() {
    Engine::ALL.into_iter().for_each(check_nothing_is_sent);
}

#[test]
fn memory_does_not_grow_with_the_targets() {
    for engine in Engine::ALL {
        let network = Network::new(engine, vec![80]);
        network.wire.route("198.18.16.0/22").unwrap();
        // 1,024 hosts with 256 ports each: 2^18 probes.
        let document = network.found("198.18.16.0/22 -p 1-256");
        assert_eq!(document.hosts().len(), 1024);
        for host in document.hosts() {
            assert_eq!(host["other_ports"]["closed"], 255, "{host}");
        }
        let memory = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
        assert!(memory < MEMORY_MAX_KIB, "{memory} KiB with {engine:?}");
    }
}

#[test]
fn a_host_without_any_network_is_told_so() {
    let alone = Namespace::create("alone").unwrap();
    let ports = list(&[80, 443]);
    let program = Program::new(&format!("scan 192.0.2.1 -p {ports} --format json"));
    let ended = alone.enter(|| program.run()).unwrap().expect_code(3);
    assert!(ended.stdout.contains("no route"), "{}", ended.stdout);
}
