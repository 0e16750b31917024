//! What this machine cannot do is never taken for an answer, and everything has an end.

use crate::scenario::{ADAPTIVE, CAPACITY, Ran, Scenario, address, all_ports, server};
use portolan_model::{Endpoint, Moment, PortSet, Reason, State};
use portolan_scan::{Engine, EngineOptions, ProbeTarget};
use portolan_sim::{
    Bounds, Host, Machine, Network, Path, PortAnswer, Presence, Share, Stuck, drive,
};
use std::cell::Cell;
use std::time::Duration;

const RTT: Duration = Duration::from_millis(20);

fn on(machine: Machine, answer: PortAnswer) -> Ran {
    let host = server(2, Path::of_rtt(RTT), answer);
    Scenario {
        machine,
        until: Duration::from_hours(1),
        ..Scenario::new(2, vec![host], all_ports())
    }
    .run()
}

#[test]
fn fewer_descriptors_than_hoped_for_change_no_verdict() {
    for descriptors in [500, 40] {
        for answer in [PortAnswer::Refuses, PortAnswer::Silent] {
            let ran = on(Machine::with_descriptors(descriptors), answer);
            let ended = ran.outcome.ended.elapsed();
            ran.assert_recall();
            assert_eq!(ran.count(State::NotTested), 0);
            // It learns how much room there is: few attempts are begun in vain.
            let dials = u64::try_from(ran.outcome.dials.len()).unwrap();
            assert!(
                ran.outcome.refused < dials / 4,
                "{} of {dials}",
                ran.outcome.refused
            );
            // An attempt takes a round trip, or the wait for silence, the longest of them last.
            let each_s = if answer == PortAnswer::Silent {
                0.15
            } else {
                0.02
            };
            let floor_s =
                f64::from(u32::try_from(dials).unwrap()) / f64::from(descriptors) * each_s;
            assert!(
                ended.as_secs_f64() < floor_s * 1.5,
                "{ended:?}, floor {floor_s} s"
            );
        }
    }
}

#[test]
fn refusals_now_and_then_change_no_verdict() {
    for percent in [1, 20] {
        let ran = on(
            Machine::boundless().refusing(Share::percent(percent)),
            PortAnswer::Refuses,
        );
        ran.assert_recall();
        assert_eq!(ran.count(State::NotTested), 0);
        assert!(ran.outcome.ended.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_machine_without_any_room_says_so_and_ends() {
    let host = server(2, Path::of_rtt(RTT), PortAnswer::Refuses);
    let scenario = Scenario::new(2, vec![host; 3], PortSet::range(1, 2_000));
    let machine = Machine::with_descriptors(0);
    let ran = Scenario {
        machine,
        ..scenario
    }
    .run();
    assert!(
        ran.outcome
            .verdicts
            .iter()
            .all(|(_, v)| v.reason == Reason::LocalLimit && v.probes == 0)
    );
    assert!(ran.outcome.dials.is_empty());
    assert_eq!(ran.outcome.figures.probes, 0);
    assert!(ran.outcome.ended.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_drained_run_leaves_the_rest_undecided() {
    let host = server(2, Path::of_rtt(RTT), PortAnswer::Silent);
    let drain_at = Some(Duration::from_millis(1_500));
    let ran = Scenario {
        drain_at,
        ..Scenario::new(2, vec![host], all_ports())
    }
    .run();
    let ended = ran.outcome.ended.elapsed();
    assert!(ended < Duration::from_millis(1_500 + 1_310), "{ended:?}");
    assert!(ran.outcome.verdicts.len() < 65_535);
    assert!(ran.open_found() > 0);
}

#[test]
fn absent_unrouted_and_forbidden_hosts_in_any_mix_end() {
    let kinds = [
        Presence::AbsentNeighbour,
        Presence::NoRoute,
        Presence::Forbidden,
    ];
    for capacity in [1, 7, 100, CAPACITY] {
        let hosts: Vec<Host> = (0..90).map(|at| Host::missing(kinds[at % 3])).collect();
        let options = EngineOptions {
            capacity,
            ..ADAPTIVE
        };
        let scenario = Scenario::new(8, hosts, PortSet::range(1, 40));
        let until = Duration::from_secs(10_000);
        let ran = Scenario {
            options,
            until,
            ..scenario
        }
        .run();
        assert_eq!(ran.count(State::Open) + ran.count(State::Closed), 0);
    }
}

#[test]
fn absent_neighbours_end_however_little_room_there_is() {
    for capacity in [2, 20, 100, 300] {
        let options = EngineOptions {
            capacity,
            ..ADAPTIVE
        };
        let hosts = vec![Host::missing(Presence::AbsentNeighbour); 100];
        let scenario = Scenario::new(8, hosts, PortSet::range(1, 20));
        let until = Duration::from_secs(10_000);
        let ran = Scenario {
            options,
            until,
            ..scenario
        }
        .run();
        assert_eq!(ran.open_found(), 0);
    }
}

#[test]
fn positions_that_are_passed_over_cost_nothing() {
    let mut network = Network::new(0, Machine::boundless());
    let positions = 1 << 22;
    let mut engine = Engine::new(|_| None, positions, 1_000, ADAPTIVE);
    let bounds = Bounds {
        until: Moment::START + Duration::from_secs(1),
        drain_at: None,
    };
    let outcome = drive(&mut engine, &mut network, bounds).unwrap();
    assert!(outcome.verdicts.is_empty() && outcome.dials.is_empty());
    assert_eq!(outcome.figures.decided, u64::from(positions));
    assert_eq!(outcome.ended, Moment::START);
}

#[test]
fn the_order_is_not_read_far_ahead_of_what_is_decided() {
    // Silent hosts, with more ports than there is room for by far.
    let read = Cell::new(0);
    let lookup = |position: u32| {
        read.set(position.max(read.get()));
        let host = position % 64;
        let port = u16::try_from(position / 64).ok()?;
        let endpoint = Endpoint::tcp(address(usize::try_from(host).ok()?), port);
        Some(ProbeTarget { host, endpoint })
    };
    let mut network = Network::new(0, Machine::boundless());
    let mut engine = Engine::new(lookup, 1 << 22, 64, ADAPTIVE);
    let bounds = Bounds {
        until: Moment::after_start(Duration::from_secs(5)),
        drain_at: None,
    };
    let ended = drive(&mut engine, &mut network, bounds);
    assert!(matches!(ended, Err(Stuck::Late { .. })), "{ended:?}");
    let ahead = u64::from(read.get()) - engine.figures().decided;
    assert!(ahead < (1 << 20) + u64::from(CAPACITY) + 1, "{ahead}");
}

#[test]
fn what_is_under_way_never_exceeds_the_room_there_is() {
    for capacity in [1, 10, 1_000] {
        let options = EngineOptions {
            capacity,
            ..ADAPTIVE
        };
        let hosts = vec![server(2, Path::of_rtt(RTT), PortAnswer::Refuses); 20];
        let scenario = Scenario::new(1, hosts, PortSet::range(1, 300));
        let ran = Scenario {
            options,
            ..scenario
        }
        .run();
        ran.assert_recall();
        assert_eq!(ran.outcome.flying_max, capacity);
    }
}
