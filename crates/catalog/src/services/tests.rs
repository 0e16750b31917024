//! Every card is read, and every example is tried.

use super::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const ASKER: Asker = Asker {
    id: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    target: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
};

fn all() -> Vec<(&'static str, Card)> {
    let read = |(file, text): &(&'static str, &str)| {
        let card = Card::parse(text, 0).unwrap_or_else(|problem| panic!("{file}: {problem}"));
        (*file, card)
    };
    embedded::FILES.iter().map(read).collect()
}

#[test]
fn every_card_is_read() {
    let cards = all();
    assert_eq!(cards.len(), super::cards().len());
    let mut names = BTreeSet::new();
    for (file, card) in &cards {
        assert!(
            names.insert(card.name.clone()),
            "{file}: a second {}",
            card.name
        );
        assert!(!card.source.is_empty(), "{file}");
        let says_something = [
            !card.tcp.shows.is_empty(),
            !card.questions.is_empty(),
            !card.silent.is_empty(),
            !card.untouched.is_empty(),
        ];
        let says_something = says_something.contains(&true);
        assert!(says_something, "{file}");
    }
    let asked = cards.iter().filter(|(_, card)| !card.questions.is_empty());
    assert!(asked.count() >= 40);
}

#[test]
fn every_example_has_the_form_and_every_counterexample_has_not() {
    let mut faults = Vec::new();
    for (file, card) in all() {
        for question in &card.questions {
            assert!(!question.replies.is_empty(), "{file}");
            for known in &question.replies {
                let example = known.example.bytes(&ASKER);
                let found = known.form.recognise(&ASKER.id, &example);
                if found.is_none() {
                    faults.push(format!("{file}: {example:02x?} has not {:?}", known.form));
                }
                let counter = known.counter.bytes(&ASKER);
                let found = known.form.recognise(&ASKER.id, &counter);
                if found.is_some() {
                    faults.push(format!("{file}: {counter:02x?} has {:?}", known.form));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_question_is_an_answer_to_itself() {
    for (file, card) in all() {
        for question in &card.questions {
            let bytes = question.bytes(&ASKER);
            let is_answer = question.recognise(&ASKER.id, &bytes).is_some();
            // What echoes says what it was told.
            assert_eq!(is_answer, card.name == "echo", "{file}");
        }
    }
}

#[test]
fn every_reply_says_something() {
    for (file, card) in all() {
        for question in &card.questions {
            for known in &question.replies {
                let example = known.example.bytes(&ASKER);
                let found = question.recognise(&ASKER.id, &example).unwrap();
                assert!(!found.evidence.is_empty(), "{file}");
            }
        }
    }
}

#[test]
fn questions_fit_one_packet_of_any_network() {
    for (file, card) in all() {
        for question in &card.questions {
            // 1,280 bytes pass every link of IPv6 (RFC 8200 §5): 40 and 8 of them are headers.
            let length = question.bytes(&ASKER).len();
            assert!(length <= 1_232, "{file}: {length} bytes");
        }
    }
}

#[test]
fn the_lengths_in_questions_are_right() {
    let check = |name: &str, at: usize, bytes: usize| {
        let card = cards().iter().find(|card| card.name == name).unwrap();
        let question = card.questions[at].bytes(&ASKER);
        assert_eq!(question.len(), bytes, "{name} {at}");
    };
    check("ike", 0, 0x178);
    check("ike", 1, 0x58);
    check("ike-nat-t", 0, 0x178 + 4);
    check("dhcp", 0, 300);
    check("ntp", 0, 48);
    check("snmp", 0, 0x3e + 2);
    check("dtls", 0, 0x5e + 13);
    check("quic", 0, 1_200);
    check("rdp-udp", 0, 1_232);
    check("l2tp", 0, 0x3c);
    check("cldap", 0, 0x3e + 2);
    check("slp", 0, 0x1d);
    check("icp", 0, 0x31);
    check("bacnet", 0, 0x11);
    check("lifx", 0, 0x24);
    check("ethernet-ip", 0, 24);
    check("knx", 0, 14);
    check("rip", 0, 24);
    check("ripng", 0, 24);
    check("xdmcp", 0, 7);
    check("gtp-c", 0, 12);
    check("gtp-c", 1, 13);
    check("sunrpc", 0, 40);
}

#[test]
fn a_port_is_asked_or_silent_or_left_alone() {
    let asked = PortSet::union_of([udp_ports(), fragile_udp_ports()]);
    let silent = PortSet::union_of(silences().map(|(_, silence)| silence.ports.clone()));
    let untouched = untouched_udp_ports();
    let disjoint = |a: &PortSet, b: &PortSet| assert_eq!(a.without(b), *a, "{a} and {b}");
    disjoint(&asked, &silent);
    disjoint(&asked, &untouched);
    disjoint(&silent, &untouched);
    disjoint(&udp_ports(), &fragile_udp_ports());
}

#[test]
fn no_port_has_more_questions_than_are_asked() {
    for (port, places) in &CATALOGUE.by_port {
        assert!(places.len() <= QUESTIONS_MAX, "{port}");
        assert_eq!(questions(*port).len(), places.len());
    }
}

#[test]
fn only_one_question_waits_for_an_answer_from_elsewhere() {
    let found = cards().iter().flat_map(|card| &card.questions);
    let elsewhere: Vec<_> = found.filter(|it| it.answers_elsewhere).collect();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].ports.len(), 1);
}

#[test]
fn every_example_proves_what_its_card_says() {
    let faults = faults();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
