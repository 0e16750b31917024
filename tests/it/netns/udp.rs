//! UDP over a real kernel's network: what is open, closed, filtered and silent, with responders of
//! these tests and with real daemons.

mod daemons;

use super::watch::{Watch, Watched};
use super::{Network, target};
use crate::program::{Ended, Program};
use crate::result::{Document, Port};
use portolan_lab::{Namespace, Responder, Wire};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The UDP ports of a host in a document, listed or in a group.
pub(super) fn udp_ports(document: &Document, address: &str) -> BTreeMap<u16, Port> {
    let host = document.host(address);
    let mut ports = BTreeMap::new();
    let of = |from: &serde_json::Value| Port {
        state: from["state"].as_str().unwrap().to_owned(),
        reason: from["reason"].as_str().unwrap().to_owned(),
    };
    for port in host["ports"].as_array().unwrap() {
        if port["transport"] == "udp" {
            let number = u16::try_from(port["port"].as_u64().unwrap()).unwrap();
            assert_eq!(
                ports.insert(number, of(port)),
                None,
                "{number} stands twice"
            );
        }
    }
    for group in host["other_ports"]["groups"].as_array().unwrap() {
        if group["transport"] == "udp" {
            for number in crate::result::numbers(group["ports"].as_str().unwrap()) {
                assert_eq!(
                    ports.insert(number, of(group)),
                    None,
                    "{number} stands twice"
                );
            }
        }
    }
    ports
}

/// The open UDP ports of a host.
pub(super) fn udp_open(document: &Document, address: &str) -> Vec<u16> {
    let ports = udp_ports(document, address).into_iter();
    let open = ports.filter(|(_, port)| port.state == "open");
    open.map(|(number, _)| number).collect()
}

pub(super) fn scan(arguments: &str) -> Program {
    Program::new(&format!("scan {arguments} --format json --progress never"))
}

/// Says the same as it hears, on UDP ports of a namespace.
struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    fn start(namespace: &Namespace, ports: &[u16]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let bind = |address: &str, port: &u16| {
            let address: IpAddr = address.parse().unwrap();
            UdpSocket::bind(SocketAddr::new(address, *port)).unwrap()
        };
        let sockets: Vec<UdpSocket> = namespace
            .enter(|| ports.iter().map(|port| bind("::", port)).collect())
            .unwrap();
        let threads = sockets.into_iter().map(|socket| {
            let stop = Arc::clone(&stop);
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 2_048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        // Who asked may be gone.
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A responder that panicked has failed its test already.
            let _ = thread.join();
        }
    }
}

/// Two namespaces, and a target that echoes on some ports and reports every closed one.
pub(super) struct Udp {
    pub(super) wire: Wire,
    _echo: Echo,
}

impl Udp {
    pub(super) fn new(ports: &[u16]) -> Self {
        let wire = Wire::create().unwrap();
        let echo = Echo::start(&wire.target, ports);
        for version in ["ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"] {
            wire.target.set(&format!("net/{version}"), "0").unwrap();
        }
        Self { wire, _echo: echo }
    }

    /// The limits of a Linux host as they are by default.
    fn limited(self) -> Self {
        for version in ["ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"] {
            self.wire
                .target
                .set(&format!("net/{version}"), "1000")
                .unwrap();
        }
        self
    }

    fn rule(&self, rule: &str) {
        self.wire
            .target
            .rules(&format!(
                "table inet ruled {{ chain input {{ type filter hook input priority 0; {rule}\n }}\n }}"
            ))
            .unwrap();
    }

    pub(super) fn inside(&self, program: Program) -> Ended {
        self.wire.scanner.enter(|| program.run()).unwrap()
    }

    fn found(&self, arguments: &str) -> Document {
        Document::of(&self.inside(scan(arguments)).expect_code(0))
    }
}

fn check(ports: &BTreeMap<u16, Port>, number: u16, state: &str, reason: &str) {
    let port = &ports[&number];
    assert_eq!(port.state, state, "{number}: {port:?}");
    assert!(port.reason.starts_with(reason), "{number}: {port:?}");
}

fn target_v6() -> String {
    Wire::ADDRESSES.target_v6.to_string()
}

#[test]
fn what_a_port_does_is_told_apart() {
    let udp = Udp::new(&[7, 40_000]);
    udp.rule(
        "udp dport 100 drop; udp dport 101 reject with icmpx type admin-prohibited; \
         udp dport 102 reject with icmpx type host-unreachable; \
         udp dport 103 reject with icmpx type port-unreachable",
    );
    for address in [target(), target_v6()] {
        let document = udp.found(&format!("{address} -p U:7,100-110,40000 --seed 1"));
        assert_eq!(document.host(&address)["state"], "up");
        let ports = udp_ports(&document, &address);
        check(&ports, 7, "open", "udp-response");
        check(&ports, 100, "open|filtered", "timeout after ");
        check(&ports, 101, "filtered", "admin-prohibited");
        check(&ports, 102, "filtered", "host-unreachable");
        check(&ports, 103, "closed", "port-unreachable");
        for port in 104..=110 {
            check(&ports, port, "closed", "port-unreachable");
        }
        check(&ports, 40_000, "open", "udp-response");
        let echo = document.port(&address, 7);
        assert_eq!(echo["service"]["name"], "echo");
        // It answered an empty datagram with an empty one.
        let other = document.port(&address, 40_000);
        assert!(other["service"].is_null(), "{other}");
        assert_eq!(other["incomplete"][0]["fact"], "service");
    }
}

#[test]
fn the_limits_of_a_linux_host_hide_no_service() {
    let open: Vec<u16> = vec![7, 1_000, 2_000];
    let udp = Udp::new(&open).limited();
    for address in [target(), target_v6()] {
        let document = udp.found(&format!("{address} -p U:1-400,1000,2000"));
        assert_eq!(udp_open(&document, &address), open);
        let ports = udp_ports(&document, &address);
        assert_eq!(ports.len(), 402);
        let closed = ports.values().filter(|it| it.state == "closed").count();
        assert!((1..100).contains(&closed), "{closed} closed");
        check(&ports, 399, "open|filtered", "timeout after ");
    }
    // IPv4 counts errors by peer: the sign of it is the burst.
    let document = udp.found(&format!("{} -p U:1-400", target()));
    let ports = udp_ports(&document, &target());
    let limited = ports
        .values()
        .filter(|it| it.reason.ends_with("icmp errors limited"));
    assert!(limited.count() > 300, "{ports:?}");
}

#[test]
fn loss_hides_no_udp_port() {
    let open = [7, 300, 301, 302, 303];
    let udp = Udp::new(&open);
    udp.wire
        .target
        .rules(
            "table inet loss {
               chain input { type filter hook input priority 0; meta l4proto { udp, icmp } numgen random mod 100 < 5 drop
               }
               chain output { type filter hook output priority 0; meta l4proto { udp, icmp } numgen random mod 100 < 5 drop
               }
             }",
        )
        .unwrap();
    // Empty datagrams go out as often as the loss asks for.
    let document = udp.found(&format!("{} -p U:7,200-399 --retries 8", target()));
    assert_eq!(udp_open(&document, &target()), open);
    assert!(document.0["stats"]["lost"].as_u64().unwrap() > 0);
}

#[test]
fn an_unprivileged_user_finds_the_same_over_udp() {
    let udp = Udp::new(&[7, 300]);
    let program = Program::unprivileged(&format!(
        "scan {} -p U:7,67,290-310 --format json --progress never --checkpoint checkpoint",
        target()
    ));
    let document = Document::of(&udp.inside(program).expect_code(0));
    assert_eq!(udp_open(&document, &target()), [7, 300]);
    // Whether a DHCP server is there shows without port 68 as far as that it is not.
    let ports = udp_ports(&document, &target());
    check(&ports, 67, "closed", "port-unreachable");
}

#[test]
fn printers_and_controllers_get_nothing() {
    let udp = Udp::new(&[7, 502, 9_100]);
    let watched = [Watched {
        name: "datagrams",
        rule: "udp dport { 502, 515, 9100-9107, 20000 }",
    }];
    let watch = Watch::start(&udp.wire.target, &watched);
    let document = udp.found(&format!("{} -p U:7,502,515,9100-9107,20000", target()));
    assert_eq!(watch.counted("datagrams"), 0);
    let ports = udp_ports(&document, &target());
    for port in [502, 515, 9_100, 9_107, 20_000] {
        check(&ports, port, "not_tested", "never sent to");
    }
    check(&ports, 7, "open", "udp-response");
}

#[test]
fn no_datagram_leaves_for_what_is_excluded() {
    let udp = Udp::new(&[7]);
    let gateway = target();
    udp.wire
        .scanner
        .ip(&["route", "add", "default", "via", &gateway])
        .unwrap();
    let watched = [
        Watched {
            name: "excluded",
            rule: "ip daddr 198.18.5.0/25 udp dport 0-65535",
        },
        Watched {
            name: "others",
            rule: "ip daddr 198.18.5.128/25 udp dport 0-65535",
        },
    ];
    let watch = Watch::start(&udp.wire.target, &watched);
    udp.inside(scan("198.18.5.0/24 -x 198.18.5.0/25 -p U:7,53 --retries 0"));
    assert_eq!(watch.counted("excluded"), 0);
    assert_eq!(watch.counted("others"), 256);
    for arguments in [
        "8.8.8.8 -p U:53",
        "198.18.5.1 -p U:53 --dry-run",
        "198.18.5.1 -p U:70000",
    ] {
        udp.inside(scan(arguments));
        assert_eq!(watch.counted("excluded"), 0, "{arguments}");
    }
}

#[test]
fn a_rule_of_this_machine_is_not_the_state_of_a_port() {
    let udp = Udp::new(&[7]);
    let rules = "table inet own { chain output { type filter hook output priority 0; \
                 udp dport 300 drop; udp dport 301 reject\n }\n }";
    udp.wire.scanner.rules(rules).unwrap();
    let ended = udp.inside(scan(&format!("{} -p U:7,300,301,302", target())));
    let document = Document::of(&ended.expect_code(3));
    assert!(!document.complete());
    let ports = udp_ports(&document, &target());
    check(&ports, 7, "open", "udp-response");
    check(&ports, 300, "not_tested", "local policy");
    check(&ports, 301, "not_tested", "local policy");
    check(&ports, 302, "closed", "port-unreachable");
}

#[test]
fn an_address_without_a_way_is_not_called_silent() {
    let udp = Udp::new(&[7]);
    let ended = udp.inside(scan("192.0.2.1 -p U:7,300")).expect_code(3);
    assert!(ended.stdout.contains("no route"), "{}", ended.stdout);
    // Nobody answers for the address on its segment.
    let scanner = &udp.wire.scanner;
    scanner
        .ip(&["addr", "add", "198.18.4.1/24", "dev", "lab0"])
        .unwrap();
    let ended = udp.inside(scan("198.18.4.9 -p U:7,300"));
    let document = Document::of(&ended.expect_code(0));
    assert!(document.hosts().is_empty(), "{}", document.0);
    let reasons = document.unanswered_reasons();
    assert_eq!(reasons.get("no neighbour"), Some(&2), "{reasons:?}");
}

#[test]
fn a_killed_scan_goes_on_where_it_was() {
    let udp = Udp::new(&[7, 300, 900]);
    let arguments = format!("{} -p T:22,U:7,100-999 --rate 600", target());
    let program = scan(&format!("{arguments} --seed 9 --checkpoint checkpoint"));
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("checkpoint");
    let mut running = udp.wire.scanner.enter(|| program.start()).unwrap();
    running.wait_until(|it| it.path("checkpoint").exists());
    std::fs::copy(running.path("checkpoint"), &kept).unwrap();
    running.signal("KILL");
    running.end();
    let text = std::fs::read_to_string(&kept).unwrap();
    let resumed = Program::new("scan --resume kept --format json --progress never");
    let ended = udp.inside(resumed.file("kept", &text)).expect_code(0);
    let document = Document::of(&ended);
    let whole = udp.found(&format!("{arguments} --seed 9"));
    assert_eq!(
        udp_ports(&document, &target()),
        udp_ports(&whole, &target())
    );
    assert_eq!(udp_open(&document, &target()), [7, 300, 900]);
    assert_eq!(document.port(&target(), 22), whole.port(&target(), 22));
}

#[test]
fn both_transports_are_in_one_result() {
    let wire = Wire::create().unwrap();
    let _responder = Responder::start(&wire.target, &[80]).unwrap();
    let _echo = Echo::start(&wire.target, &[7]);
    let address = target();
    for engine in super::Engine::ALL {
        let arguments = format!("{address} -p T:80,81,U:7,8 --engine {}", engine.name());
        let program = scan(&format!("{arguments} -o out.xml -o out.csv"));
        let ended = wire.scanner.enter(|| program.run()).unwrap().expect_code(0);
        let document = Document::of(&ended);
        assert_eq!(document.0["run"]["ports"], "80-81");
        assert_eq!(document.0["run"]["udp_ports"], "7-8");
        assert_eq!(document.open(&address), [7, 80]);
        assert_eq!(udp_open(&document, &address), [7]);
        let xml = ended.file("out.xml");
        assert!(
            xml.contains("<scaninfo type=\"udp\" protocol=\"udp\""),
            "{xml}"
        );
        assert!(
            xml.contains("<port protocol=\"udp\" portid=\"7\">"),
            "{xml}"
        );
        assert!(xml.contains("reason=\"udp-response\""), "{xml}");
        assert!(ended.file("out.csv").contains(",udp,7,open,udp-response,"));
    }
}

#[test]
fn a_plain_number_is_a_tcp_port_unless_udp_is_asked_for() {
    let network = Network::new(super::Engine::Connect, vec![7]);
    let _echo = Echo::start(&network.wire.target, &[7]);
    let ports = |arguments: &str| {
        let program = scan(&format!("{} {arguments}", target()));
        let document = Document::of(&network.inside(program).expect_code(0));
        let run = &document.0["run"];
        let text = |key: &str| run[key].as_str().unwrap().to_owned();
        (text("ports"), text("udp_ports"))
    };
    let both = |tcp: &str, udp: &str| (tcp.to_owned(), udp.to_owned());
    assert_eq!(ports("-p 7"), both("7", ""));
    assert_eq!(ports("-p 7 --udp"), both("", "7"));
    assert_eq!(ports("-p 7 --udp --tcp"), both("7", "7"));
    assert_eq!(ports("-p T:7,U:8"), both("7", "8"));
    let (tcp, udp) = ports("");
    assert!(!tcp.is_empty() && !udp.is_empty());
    // Devices that fail easily are asked only where they are named.
    let udp = crate::result::numbers(&udp);
    assert!(udp.contains(&53) && !udp.contains(&47_808) && !udp.contains(&623));
}

#[test]
fn the_process_behind_a_port_of_this_machine_is_named() {
    let alone = Namespace::create("alone").unwrap();
    let _echo = Echo::start(&alone, &[7]);
    let program = scan("127.0.0.1 ::1 -p U:7,8");
    let ended = alone.enter(|| program.run()).unwrap().expect_code(0);
    let document = Document::of(&ended);
    for address in ["127.0.0.1", "::1"] {
        assert_eq!(udp_open(&document, address), [7]);
        let port = document.port(address, 7);
        assert_eq!(port["process"]["pid"], std::process::id(), "{port}");
        check(
            &udp_ports(&document, address),
            8,
            "closed",
            "port-unreachable",
        );
    }
}
