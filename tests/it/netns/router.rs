//! Errors that a real router sends because a packet may not go on any longer.

use super::Engine;
use crate::program::{Ended, Program};
use crate::result::Document;
use portolan_lab::{Responder, Routed, random_ports};

/// "Time to live exceeded in transit" (RFC 792; RFC 4443 §3.3).
const TIME_EXCEEDED: &str = "time-exceeded";
const TIME_EXCEEDED_V6: &str = "time-exceeded (v6)";

/// A row of namespaces, and the engine that scans there.
struct Row {
    engine: Engine,
    routed: Routed,
}

impl Row {
    fn new(engine: Engine) -> Self {
        Self {
            engine,
            routed: Routed::create().unwrap(),
        }
    }

    fn scan(&self, arguments: &str) -> Ended {
        let engine = self.engine.name();
        let program = Program::new(&format!(
            "scan {arguments} --engine {engine} --depth ports --progress never"
        ));
        let ended = self.routed.scanner.enter(|| program.run()).unwrap();
        ended.expect_code(0)
    }
}

/// Nothing reaches the host, and what the router says of that is no word of the host.
fn check_lost(row: &Row, address: &str, reason: &str) {
    // Routers send few errors at once; three are always among them.
    let ended = row.scan(&format!("{address} -p 100-102 --format json"));
    let document = Document::of(&ended);
    let host = document.host(address);
    assert_eq!(host["state"], "unknown", "{host}");
    assert_eq!(host["reason"], reason, "{host}");
    let ports = document.ports(address);
    assert_eq!(ports.len(), 3);
    for port in ports.values() {
        assert_eq!(
            (port.state.as_str(), port.reason.as_str()),
            ("filtered", reason)
        );
    }
}

#[test]
fn a_routing_loop_is_told_by_what_the_router_says() {
    for row in Engine::ALL.map(Row::new) {
        row.routed.make_loop().unwrap();
        check_lost(&row, &Routed::ADDRESSES.lost.to_string(), TIME_EXCEEDED);
        check_lost(
            &row,
            &Routed::ADDRESSES.lost_v6.to_string(),
            TIME_EXCEEDED_V6,
        );
    }
}

/// One port whose packets end at the router, between an open and a closed one.
fn check_ended(row: &Row, address: &str, reason: &str) {
    let document = Document::of(&row.scan(&format!("{address} -p 100,200,300 --format json")));
    let ports = document.ports(address);
    let of = |port: u16| (ports[&port].state.as_str(), ports[&port].reason.as_str());
    assert_eq!(of(100), ("open", "syn-ack"));
    assert_eq!(of(200), ("filtered", reason));
    assert_eq!(of(300), ("closed", "rst"));
    // People read the same words.
    let table = row.scan(&format!("{address} -p 200 --format table"));
    let name = reason.trim_end_matches(" (v6)");
    assert!(table.stdout.contains(name), "{}", table.stdout);
    // Readers of nmap's files read nmap's word.
    let xml = row.scan(&format!("{address} -p 200 --format xml")).stdout;
    let state = "<state state=\"filtered\" reason=\"time-exceeded\"";
    assert!(xml.contains(state), "{xml}");
}

#[test]
fn a_packet_that_ends_at_a_router_is_filtered() {
    for row in Engine::ALL.map(Row::new) {
        let _responder = Responder::start(&row.routed.target, &[100]).unwrap();
        row.routed.end_at_router(200).unwrap();
        check_ended(&row, &Routed::ADDRESSES.target.to_string(), TIME_EXCEEDED);
        check_ended(
            &row,
            &Routed::ADDRESSES.target_v6.to_string(),
            TIME_EXCEEDED_V6,
        );
    }
}

/// All ports of a host behind a router.
fn check_behind(row: &Row, address: &str, open: &[u16]) {
    let document = Document::of(&row.scan(&format!("{address} -p - --format json")));
    assert!(document.complete());
    assert_eq!(document.open(address), open);
    let rest = 65_535 - u64::try_from(open.len()).unwrap();
    assert_eq!(document.count(address, "closed"), rest);
}

#[test]
fn a_router_hides_no_open_port() {
    let open = random_ports(8, 200);
    for row in Engine::ALL.map(Row::new) {
        let _responder = Responder::start(&row.routed.target, &open).unwrap();
        check_behind(&row, &Routed::ADDRESSES.target.to_string(), &open);
        check_behind(&row, &Routed::ADDRESSES.target_v6.to_string(), &open);
    }
}
