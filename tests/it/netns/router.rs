//! Errors that a real router sends because a packet may not go on any longer.

use crate::program::{Ended, Program};
use crate::result::Document;
use portolan_lab::{Responder, Routed};

/// "Time to live exceeded in transit" (RFC 792; RFC 4443 §3.3).
const TIME_EXCEEDED: &str = "time-exceeded";
const TIME_EXCEEDED_V6: &str = "time-exceeded (v6)";

fn scan(routed: &Routed, arguments: &str) -> Ended {
    let program = Program::new(&format!("scan {arguments} --depth ports --progress never"));
    let ended = routed.scanner.enter(|| program.run()).unwrap();
    ended.expect_code(0)
}

/// Nothing reaches the host, and what the router says of that is no word of the host.
fn check_lost(routed: &Routed, address: &str, reason: &str) {
    // Routers send few errors at once; three are always among them.
    let ended = scan(routed, &format!("{address} -p 100-102 --format json"));
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
    let routed = Routed::create().unwrap();
    routed.make_loop().unwrap();
    check_lost(&routed, &Routed::ADDRESSES.lost.to_string(), TIME_EXCEEDED);
    check_lost(
        &routed,
        &Routed::ADDRESSES.lost_v6.to_string(),
        TIME_EXCEEDED_V6,
    );
}

/// One port whose packets end at the router, between an open and a closed one.
fn check_ended(routed: &Routed, address: &str, reason: &str) {
    let document = Document::of(&scan(
        routed,
        &format!("{address} -p 100,200,300 --format json"),
    ));
    let ports = document.ports(address);
    let of = |port: u16| (ports[&port].state.as_str(), ports[&port].reason.as_str());
    assert_eq!(of(100), ("open", "syn-ack"));
    assert_eq!(of(200), ("filtered", reason));
    assert_eq!(of(300), ("closed", "rst"));
    // People read the same words.
    let table = scan(routed, &format!("{address} -p 200 --format table"));
    let name = reason.trim_end_matches(" (v6)");
    assert!(table.stdout.contains(name), "{}", table.stdout);
    // Readers of nmap's files read nmap's word.
    let xml = scan(routed, &format!("{address} -p 200 --format xml")).stdout;
    let state = "<state state=\"filtered\" reason=\"time-exceeded\"";
    assert!(xml.contains(state), "{xml}");
}

#[test]
fn a_packet_that_ends_at_a_router_is_filtered() {
    let routed = Routed::create().unwrap();
    let _responder = Responder::start(&routed.target, &[100]).unwrap();
    routed.end_at_router(200).unwrap();
    check_ended(
        &routed,
        &Routed::ADDRESSES.target.to_string(),
        TIME_EXCEEDED,
    );
    check_ended(
        &routed,
        &Routed::ADDRESSES.target_v6.to_string(),
        TIME_EXCEEDED_V6,
    );
}
