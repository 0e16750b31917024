//! ICMP errors that this machine sends to itself: they say what happened here, and are never taken
//! for the word of the target or of a device on the way.

use super::{Engine, Network, Ruled, check_states, target};
use crate::program::Ended;
use crate::result::Document;
use portolan_lab::Wire;

/// Addresses of the networks of the wire, so to speak next door, where nobody is.
const ABSENT: [&str; 2] = ["198.18.4.9", "2001:db8::9"];

#[test]
fn an_absent_neighbour_is_told_by_its_name() {
    Engine::ALL.into_iter().for_each(check_absent);
}

fn check_absent(engine: Engine) {
    let network = Network::new(engine, vec![100]);
    // The wire itself has no room for a third address.
    let wider = ["addr", "add", "198.18.4.1/24", "dev", "lab0"];
    network.wire.scanner.ip(&wider).unwrap();
    for address in ABSENT {
        // That nobody is there is a result: the run is not partial.
        let document = network.found(&format!("{address} -p 100-110"));
        assert!(document.hosts().is_empty(), "{address}");
        assert_eq!(document.unanswered(), [address]);
        let reasons: Vec<(&str, u64)> = document.unanswered_reasons().into_iter().collect();
        assert_eq!(reasons, [("no neighbour", 11)], "{address}");
    }
}

#[test]
fn a_rule_that_speaks_as_if_nobody_were_there_hides_no_open_port() {
    let network = Network::new(Engine::Connect, vec![7_777]);
    let refuse = "reject with icmp type host-unreachable";
    refuse_on_the_way_out(&network, "1-500", refuse);
    for seed in 1..=3 {
        let scan = format!("{} -p 1-2000,7777 --seed {seed}", target());
        // The kernel limits the errors that tell of a rule: the ports may seem silent as well.
        let document = Document::of(&network.scan(&scan));
        assert_eq!(document.open(&target()), [7_777], "seed {seed}");
        assert!(!document.0.to_string().contains("no neighbour"), "{seed}");
    }
}

/// Has the scanner's own machine refuse what leaves for these ports.
fn refuse_on_the_way_out(network: &Network, ports: &str, verdict: &str) {
    let rules = format!(
        "table inet own {{
           chain output {{
             type filter hook output priority 0;
             meta l4proto tcp tcp dport {ports} {verdict}
           }}
         }}"
    );
    network.wire.scanner.clear_rules().unwrap();
    network.wire.scanner.rules(&rules).unwrap();
}

/// Every refusal shows as this machine's, for this port alone, and makes the run partial.
fn check_policy(address: &str, verdicts: &[&'static str]) {
    let network = Network::new(Engine::Connect, vec![100]);
    for verdict in verdicts {
        refuse_on_the_way_out(&network, "200", verdict);
        let ruled = Ruled {
            verdict,
            state: "not_tested",
            reason: "local policy",
        };
        let ended = check_states(&network, address, ruled, 3);
        check_told(&ended, verdict);
    }
}

fn check_told(ended: &Ended, verdict: &str) {
    let document = Document::of(ended);
    assert!(!document.complete(), "{verdict}");
    let notices = document.0["run"]["notices"].to_string();
    let sentence = "a rule of this machine forbade";
    assert!(notices.contains(sentence), "{verdict}: {notices}");
    assert!(
        ended.stderr.contains(sentence),
        "{verdict}: {}",
        ended.stderr
    );
}

#[test]
fn a_rule_of_this_machine_is_not_called_a_filter() {
    check_policy(
        &target(),
        &[
            "reject with icmp type admin-prohibited",
            "reject with icmp type host-prohibited",
            "reject with icmp type host-unreachable",
            "reject with icmp type net-unreachable",
            "reject with icmp type port-unreachable",
        ],
    );
}

#[test]
fn a_rule_of_this_machine_is_not_called_a_filter_over_ipv6() {
    check_policy(
        &Wire::ADDRESSES.target_v6.to_string(),
        &[
            "reject with icmpv6 type admin-prohibited",
            "reject with icmpv6 type addr-unreachable",
            "reject with icmpv6 type no-route",
            "reject with icmpv6 type port-unreachable",
        ],
    );
}
