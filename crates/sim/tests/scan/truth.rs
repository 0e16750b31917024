//! Every port gets one verdict, and no verdict says what is not so, on networks and with options
//! of every kind. The checks themselves are those of [`Scenario::run`].

use crate::scenario::{ADAPTIVE, Scenario, address, all_ports, server};
use portolan_model::{Endpoint, PortSet, Reason, State, Unreachable};
use portolan_scan::{EngineOptions, Patience, Verdict};
use portolan_sim::{Host, Machine, Path, Policer, PortAnswer, Presence, Share};
use proptest::prelude::*;
use std::time::Duration;

const PROHIBITED: Unreachable = Unreachable::V4(13);

fn some_answer() -> impl Strategy<Value = PortAnswer> {
    prop_oneof![
        3 => Just(PortAnswer::Accepts),
        1 => (0_u64..400).prop_map(|ms| PortAnswer::AcceptsAfter(Duration::from_millis(ms))),
        3 => Just(PortAnswer::Refuses),
        2 => Just(PortAnswer::Rejects(PROHIBITED)),
        2 => Just(PortAnswer::Silent),
    ]
}

fn some_path() -> impl Strategy<Value = Path> {
    (
        0_u8..30,
        0_u8..30,
        0_u64..700,
        0_u64..100,
        0_u8..20,
        0_u64..300,
    )
        .prop_map(|(there, back, delay_ms, jitter_ms, held, held_ms)| Path {
            lost_there: Share::percent(there),
            lost_back: Share::percent(back),
            delay: Duration::from_millis(delay_ms),
            jitter: Duration::from_millis(jitter_ms),
            held: Share::percent(held),
            held_for: Duration::from_millis(held_ms),
        })
}

fn some_host() -> impl Strategy<Value = Host> {
    let ports = proptest::collection::vec((1_u16..120, some_answer()), 0..20);
    let policer = proptest::option::of((20_u32..5_000, 1_u32..50));
    let present =
        (some_path(), some_answer(), ports, policer).prop_map(|(path, others, ports, policer)| {
            let host = ports
                .into_iter()
                .fold(Host::new(path, others), |host, (port, answer)| {
                    host.with_ports([port], answer)
                });
            match policer {
                Some((rate, burst)) => host.behind(Policer::new(rate, burst)),
                None => host,
            }
        });
    prop_oneof![
        6 => present,
        1 => Just(Host::missing(Presence::AbsentNeighbour)),
        1 => Just(Host::missing(Presence::NoRoute)),
        1 => Just(Host::missing(Presence::Forbidden)),
    ]
}

fn some_machine() -> impl Strategy<Value = Machine> {
    let descriptors = prop_oneof![3 => Just(Machine::boundless()), 1 => (1_u32..60).prop_map(Machine::with_descriptors)];
    (descriptors, prop_oneof![3 => Just(0_u8), 1 => 1_u8..50])
        .prop_map(|(machine, refused)| machine.refusing(Share::percent(refused)))
}

fn some_options() -> impl Strategy<Value = EngineOptions> {
    let capacity = prop_oneof![1_u32..40, Just(ADAPTIVE.capacity)];
    let rate = || proptest::option::weighted(0.3, 20.0_f64..5_000.0);
    let retries = proptest::option::weighted(0.3, 0_u8..5);
    let timeout = proptest::option::weighted(0.3, (1_u64..2_500).prop_map(Duration::from_millis));
    (capacity, rate(), rate(), retries, timeout).prop_map(
        |(capacity, rate, host_rate, retries, timeout)| EngineOptions {
            capacity,
            rate,
            host_rate,
            patience: Patience { retries, timeout },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_port_gets_one_true_verdict(
        seed in any::<u64>(),
        hosts in proptest::collection::vec(some_host(), 1..12),
        ports in 1_u16..120,
        machine in some_machine(),
        options in some_options(),
    ) {
        let until = Duration::from_hours(10);
        let scenario = Scenario::new(seed, hosts, PortSet::range(1, ports));
        Scenario { machine, options, until, ..scenario }.run();
    }

    #[test]
    fn a_drained_run_ends_soon_and_says_nothing_false(
        seed in any::<u64>(),
        hosts in proptest::collection::vec(some_host(), 1..12),
        options in some_options(),
        drain_ms in 0_u64..5_000,
    ) {
        let drain_at = Duration::from_millis(drain_ms);
        let scenario = Scenario::new(seed, hosts, PortSet::range(1, 100));
        let ran = Scenario { options, drain_at: Some(drain_at), ..scenario }.run();
        let ended = ran.outcome.ended.elapsed();
        // What is under way may still be answered: no attempt waits longer than four seconds.
        prop_assert!(ended <= drain_at + Duration::from_millis(4_010), "{ended:?}");
        let late = ran.outcome.dials.iter().filter(|(moment, _)| moment.elapsed() > drain_at + Duration::from_millis(2));
        prop_assert_eq!(late.count(), 0);
    }
}

/// On a path without faults, the reason is known exactly.
fn check(host: &Host, expected: Reason) {
    let ran = Scenario::new(5, vec![host.clone()], PortSet::range(1, 50)).run();
    for (_, verdict) in &ran.outcome.verdicts {
        assert_eq!(verdict.reason, expected, "{host:?}");
    }
}

#[test]
fn a_port_is_what_it_says() {
    let with = |answer| Host::new(Path::of_rtt(Duration::from_millis(1)), answer);
    check(&with(PortAnswer::Accepts), Reason::SynAck);
    check(&with(PortAnswer::Refuses), Reason::Rst);
    check(
        &with(PortAnswer::Rejects(PROHIBITED)),
        Reason::Icmp(PROHIBITED),
    );
    check(&with(PortAnswer::Silent), Reason::Timeout { probes: 2 });
    check(&Host::missing(Presence::NoRoute), Reason::NoRoute);
    check(&Host::missing(Presence::Forbidden), Reason::LocalPolicy);
}

#[test]
fn a_few_ports_of_an_absent_neighbour_are_not_called_filtered() {
    check(
        &Host::missing(Presence::AbsentNeighbour),
        Reason::NoNeighbour,
    );
}

#[test]
fn a_silent_port_of_a_host_that_answers_is_filtered() {
    let host = Host::new(Path::of_rtt(Duration::from_millis(1)), PortAnswer::Refuses)
        .with_ports([7], PortAnswer::Silent)
        .with_ports([9], PortAnswer::Rejects(PROHIBITED));
    let ran = Scenario::new(5, vec![host], PortSet::range(1, 50)).run();
    let reason = |port| {
        let of_port = ran
            .outcome
            .verdicts
            .iter()
            .find(|(_, v)| v.endpoint.port == port);
        of_port.unwrap().1.reason
    };
    assert_eq!(reason(7), Reason::Timeout { probes: 3 });
    assert_eq!(reason(9), Reason::Icmp(PROHIBITED));
    assert_eq!(ran.count(State::Closed), 48);
}

/// A host that says open for everything gets no connection for each of its ports: enough of them to
/// know it, and those of the ports that tell most.
#[test]
fn a_host_that_answers_everything_is_soon_left_alone() {
    let telling: PortSet = [22, 80, 443, 60_000].into_iter().collect();
    for loss in [0, 5] {
        let path = Path::of_rtt(Duration::from_millis(5)).losing(Share::percent(loss));
        let hosts = vec![
            Host::new(path, PortAnswer::Accepts),
            server(3, path, PortAnswer::Refuses),
        ];
        let ran = Scenario {
            telling: telling.clone(),
            ..Scenario::new(3, hosts, all_ports())
        }
        .run();
        let everything = |(_, verdict): &&(_, Verdict)| verdict.reason == Reason::AnswersEverything;
        let left_alone = ran.outcome.verdicts.iter().filter(everything).count();
        assert!(left_alone > 60_000, "{left_alone}");
        let first = address(0);
        let asked = ran.probes();
        for port in telling.iter() {
            assert!(asked.contains_key(&Endpoint::tcp(first, port)), "{port}");
        }
        let open = |(_, verdict): &&(_, Verdict)| {
            verdict.reason == Reason::SynAck && verdict.endpoint.address != first
        };
        assert_eq!(ran.outcome.verdicts.iter().filter(open).count(), 200);
    }
}
