//! Whom nothing is sent, whatever is asked: excluded addresses of both families, by every kind of
//! packet, and ranges that are nobody's address. And what shards send together. Everything is
//! counted where it arrives.

use super::udp::Udp;
use super::watch::{SYN, Watch, Watched};
use super::{Engine, Network, target};
use crate::program::Program;
use crate::result::Document;
use portolan_lab::{Namespace, Wire};

/// A network that lies behind the target.
const BEHIND_V6: &str = "2001:db8:16::/120";

/// A pace at which nothing is lost, so that nothing is asked twice.
const RATE: u32 = 5_000;

/// The network behind the target answers by the target's own kernel.
fn behind_v6(network: &Network) {
    let via = Wire::ADDRESSES.target_v6.to_string();
    let (scanner, target) = (&network.wire.scanner, &network.wire.target);
    scanner
        .ip(&["-6", "route", "add", BEHIND_V6, "via", &via])
        .unwrap();
    target
        .ip(&["-6", "route", "add", "local", BEHIND_V6, "dev", "lo"])
        .unwrap();
}

fn watch<'a>(target: &'a Namespace, rules: [(&'static str, &str); 2]) -> Watch<'a> {
    let watched = rules.map(|(name, rule)| Watched { name, rule });
    Watch::start(target, &watched)
}

#[test]
fn an_excluded_address_of_ipv6_gets_no_packet() {
    let network = Network::new(Engine::Syn, vec![100]);
    behind_v6(&network);
    let excluded = "2001:db8:16::, 2001:db8:16::7, 2001:db8:16::40/122, 2001:db8:16::ff";
    let frames = format!("ip6 daddr {{ {excluded} }}");
    let flags = excluded.replace(", ", " -x ");
    for discovery in ["always", "never"] {
        let all = format!("ip6 daddr {BEHIND_V6}");
        let watch = watch(
            &network.wire.target,
            [("excluded", &frames), ("others", &all)],
        );
        let document = network.found(&format!(
            "{BEHIND_V6} -x {flags} -p 100-110 --discovery {discovery}"
        ));
        assert_eq!(document.hosts().len(), 256 - 67);
        assert_eq!(watch.counted("excluded"), 0, "{discovery}");
        // The counter counts.
        assert!(watch.counted("others") >= 189 * 11);
    }
}

#[test]
fn an_excluded_neighbour_of_ipv6_is_not_even_asked_for_its_hardware_address() {
    let network = Network::new(Engine::Syn, vec![100]);
    let target = &network.wire.target;
    for last in ["a2", "a5", "ad", "bc"] {
        let address = format!("2001:db8::{last}/64");
        target
            .ip(&["addr", "add", &address, "dev", "lab0", "nodad"])
            .unwrap();
    }
    // Each is asked for at a group of its own (RFC 4291 §2.7.1).
    let excluded = "ip6 daddr { 2001:db8::a5, 2001:db8::ad, 2001:db8::b0/124, ff02::1:ff00:a5, \
                    ff02::1:ff00:ad, ff02::1:ff00:b0/124 }";
    let asked = "ip6 daddr { ff02::1:ff00:a0/124 }";
    let watch = watch(target, [("excluded", excluded), ("asked", asked)]);
    let document = network
        .found("2001:db8::a0/123 -x 2001:db8::a5 -x 2001:db8::ad -x 2001:db8::b0/124 -p 100-110");
    assert_eq!(document.open("2001:db8::a2"), [100]);
    assert!(document.hosts().iter().all(|it| it["ip"] != "2001:db8::a5"));
    assert_eq!(watch.counted("excluded"), 0);
    assert!(watch.counted("asked") > 0);
}

#[test]
fn shards_together_ask_every_pair_of_ipv6_once() {
    let network = Network::new(Engine::Syn, vec![100, 300, 800]);
    behind_v6(&network);
    let again = format!("{SYN} ip6 daddr . tcp dport @asked_v6");
    let syns = format!("ip6 daddr 2001:db8:16::/124 {SYN}");
    let watch = watch(&network.wire.target, [("syns", &syns), ("again", &again)]);
    let mut open = 0;
    for shard in 1..=3 {
        let document = network.found(&format!(
            "2001:db8:16::/124 -p 1-1000 --seed 5 --rate {RATE} --shard {shard}/3"
        ));
        let hosts = document.hosts().iter();
        let hosts = hosts.map(|it| document.open(it["ip"].as_str().unwrap()).len());
        open += hosts.sum::<usize>();
    }
    assert_eq!(open, 16 * 3);
    assert_eq!(watch.counted("syns"), 16_000);
    assert_eq!(watch.counted("again"), 0);
}

#[test]
fn shards_together_ask_every_udp_port_once() {
    let udp = Udp::new(&[7]);
    udp.wire.route("198.18.16.0/28").unwrap();
    udp.wire
        .target
        .rules("table inet quiet { chain input { type filter hook input priority 0; meta l4proto udp drop\n }\n }")
        .unwrap();
    let again = "ip daddr . udp dport @asked_udp";
    let all = "ip daddr 198.18.16.0/28 meta l4proto udp";
    let watch = watch(&udp.wire.target, [("datagrams", all), ("again", again)]);
    for shard in 1..=4 {
        udp.inside(Program::new(&format!(
            "scan 198.18.16.0/28 -p U:21000-21099 --seed 5 --retries 0 --rate {RATE} \
             --shard {shard}/4 --format json --progress never"
        )))
        .expect_code(0);
    }
    assert_eq!(watch.counted("datagrams"), 1_600);
    assert_eq!(watch.counted("again"), 0);
}

/// Ranges that are no host's (RFC 6890), in nftables' words.
const NEVER: &str = "ip daddr { 0.0.0.0/8, 224.0.0.0/4, 240.0.0.0/4 }";
const NEVER_V6: &str = "ip6 daddr { ::/128, 100::/64, ff00::/8 }";

#[test]
fn what_is_nobodys_address_gets_nothing_whatever_the_scope_allows() {
    let network = Network::new(Engine::Syn, vec![100]);
    behind_v6(&network);
    let (scanner, gateway) = (&network.wire.scanner, target());
    scanner
        .ip(&["route", "add", "default", "via", &gateway])
        .unwrap();
    let via = Wire::ADDRESSES.target_v6.to_string();
    scanner
        .ip(&["-6", "route", "add", "default", "via", &via])
        .unwrap();
    let targets = "0.0.0.1-8 224.0.0.0/29 224.0.0.251 239.255.255.250 240.0.0.0/29 \
                   255.255.255.255 ff02::1 ff02::fb ff0e::/125 100::/125 :: 198.18.0.2 \
                   2001:db8:16::1";
    let scope = "allow = [\"0.0.0.0/0\", \"::/0\"]\n";
    for more in [
        "--engine syn --discovery always",
        "--engine connect",
        "--udp",
    ] {
        let ports = if more == "--udp" {
            "U:53,67,5353"
        } else {
            "95-105"
        };
        let scan = format!(
            "scan {targets} -p {ports} {more} --scope scope.toml --depth ports --format json \
             --progress never"
        );
        let v4 = format!("{NEVER} meta l4proto {{ tcp, udp, icmp }}");
        // The kernel itself speaks to groups by ICMPv6, but asks nobody for an echo.
        let v6 = format!("{NEVER_V6} meta l4proto {{ tcp, udp }}");
        let echo = format!("{NEVER_V6} icmpv6 type echo-request");
        let watched = [("never", &v4), ("never_v6", &v6), ("echo", &echo)];
        let watched = watched.map(|(name, rule)| Watched { name, rule });
        let watch = Watch::start(&network.wire.target, &watched);
        let ended = network.inside(Program::new(&scan).file("scope.toml", scope));
        let ended = ended.expect_code(0);
        for name in ["never", "never_v6", "echo"] {
            assert_eq!(watch.counted(name), 0, "{name}: {more}");
        }
        // They are told of, and the rest is probed.
        assert!(ended.stderr.contains("reserved"), "{}", ended.stderr);
        if more != "--udp" {
            let document = Document::of(&ended);
            assert_eq!(document.open(&gateway), [100], "{more}");
            assert_eq!(document.open("2001:db8:16::1"), [100], "{more}");
        }
    }
}

#[test]
fn the_broadcast_address_of_an_attached_network_gets_nothing() {
    let network = Network::new(Engine::Syn, vec![100]);
    let (scanner, target) = (&network.wire.scanner, &network.wire.target);
    scanner
        .ip(&["addr", "add", "198.18.4.1/26", "dev", "lab0"])
        .unwrap();
    target
        .ip(&["addr", "add", "198.18.4.9/26", "dev", "lab0"])
        .unwrap();
    // By packets, by questions for hardware addresses, and in frames to everybody.
    let ends = "ip daddr { 198.18.4.0, 198.18.4.63 }";
    for more in [
        "-p 95-105 --engine syn",
        "-p 95-105 --engine connect",
        "-p U:53,67",
    ] {
        let watched = [
            ("ends", ends),
            ("asked", "arp daddr ip { 198.18.4.0, 198.18.4.63 }"),
            (
                "everybody",
                "ether daddr ff:ff:ff:ff:ff:ff ether type != arp",
            ),
            ("others", "ip daddr 198.18.4.9"),
        ];
        let watched = watched.map(|(name, rule)| Watched { name, rule });
        let watch = Watch::start(target, &watched);
        let scan = format!("scan 198.18.4.0/26 {more} --depth ports --format json");
        network.inside(Program::new(&scan));
        for name in ["ends", "asked", "everybody"] {
            assert_eq!(watch.counted(name), 0, "{name}: {more}");
        }
        assert!(watch.counted("others") > 0, "{more}");
    }
}
