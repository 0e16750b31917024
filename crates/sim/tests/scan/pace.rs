//! Ceilings on the pace are kept, and no port is asked more often than needed.

use crate::scenario::{ADAPTIVE, Scenario, all_ports, server};
use portolan_model::{Endpoint, Moment, PortSet, State};
use portolan_scan::{EngineOptions, Patience};
use portolan_sim::{Host, Path, PortAnswer, Share};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const RTT: Duration = Duration::from_millis(1);

fn live() -> Host {
    Host::new(Path::of_rtt(RTT), PortAnswer::Refuses)
        .with_ports([22, 80], PortAnswer::Accepts)
        .with_ports(30..40, PortAnswer::Silent)
}

/// Most beginnings within any second.
fn most_in_a_second(moments: &[Moment]) -> usize {
    let begun_before = |moment| moments.partition_point(|begun| *begun < moment);
    (0..moments.len())
        .map(|at| begun_before(moments[at] + SECOND) - at)
        .max()
        .unwrap_or(0)
}

/// Scans `hosts` under ceilings; no second may hold more than `most` beginnings, in total or to
/// one host, and the whole may take no longer than half as long again as the ceilings ask for.
fn check(rate: Option<f64>, host_rate: Option<f64>, hosts: usize, ports: u16, most: usize) {
    let options = EngineOptions {
        rate,
        host_rate,
        ..ADAPTIVE
    };
    let until = Duration::from_secs(10_000);
    let scenario = Scenario::new(3, vec![live(); hosts], PortSet::range(1, ports));
    let ran = Scenario {
        options,
        until,
        ..scenario
    }
    .run();
    ran.assert_recall();
    let mut moments: BTreeMap<_, Vec<Moment>> = BTreeMap::new();
    for (moment, endpoint) in &ran.outcome.dials {
        let group = if rate.is_some() {
            None
        } else {
            Some(endpoint.address)
        };
        moments.entry(group).or_default().push(*moment);
    }
    for moments in moments.values() {
        assert!(
            most_in_a_second(moments) <= most,
            "{rate:?} {host_rate:?}: {}",
            most_in_a_second(moments)
        );
    }
    let total = u32::try_from(ran.outcome.dials.len()).unwrap();
    let each = total / u32::try_from(hosts).unwrap();
    let floor_s = |count: u32, rate: Option<f64>| rate.map_or(0.0, |rate| f64::from(count) / rate);
    let floor_s = floor_s(total, rate).max(floor_s(each, host_rate));
    let took_s = ran.outcome.ended.elapsed().as_secs_f64();
    assert!(
        took_s < floor_s * 1.5 + 3.0,
        "{rate:?} {host_rate:?}: {took_s} s, floor {floor_s} s"
    );
}

#[test]
fn a_ceiling_on_the_total_is_kept_and_used() {
    check(Some(1_000.0), None, 5, 1_000, 1_006);
    check(Some(100.0), None, 3, 200, 101);
    check(Some(7.0), None, 2, 40, 8);
    check(Some(0.5), None, 1, 45, 1);
}

#[test]
fn a_ceiling_for_each_host_is_kept_and_used() {
    check(None, Some(500.0), 4, 1_500, 503);
    check(None, Some(10.0), 20, 50, 11);
    check(None, Some(0.5), 3, 45, 1);
}

#[test]
fn the_lower_of_two_ceilings_holds() {
    check(Some(50.0), Some(1_000.0), 4, 100, 51);
    check(Some(5_000.0), Some(20.0), 4, 100, 84);
}

#[test]
fn a_silent_port_gets_the_probes_that_were_asked_for() {
    for retries in [0, 1, 4] {
        let patience = Patience {
            retries: Some(retries),
            timeout: None,
        };
        let options = EngineOptions {
            patience,
            ..ADAPTIVE
        };
        let scenario = Scenario::new(3, vec![live()], PortSet::range(1, 200));
        let ran = Scenario {
            options,
            ..scenario
        }
        .run();
        let probes = ran.probes();
        for (_, verdict) in &ran.outcome.verdicts {
            let silent = (30..40).contains(&verdict.endpoint.port);
            let expected = if silent { retries + 1 } else { 1 };
            assert_eq!(
                probes[&verdict.endpoint],
                u32::from(expected),
                "{verdict:?}"
            );
            assert_eq!(verdict.probes, expected, "{verdict:?}");
        }
    }
}

#[test]
fn a_wish_for_a_timeout_is_kept() {
    let patience = Patience {
        retries: Some(0),
        timeout: Some(Duration::from_millis(700)),
    };
    let options = EngineOptions {
        patience,
        ..ADAPTIVE
    };
    let host = Host::new(Path::of_rtt(RTT), PortAnswer::Silent);
    let scenario = Scenario::new(3, vec![host], PortSet::range(1, 50));
    let ran = Scenario {
        options,
        ..scenario
    }
    .run();
    let begun: BTreeMap<Endpoint, Moment> = ran
        .outcome
        .dials
        .iter()
        .map(|(moment, endpoint)| (*endpoint, *moment))
        .collect();
    for (moment, verdict) in &ran.outcome.verdicts {
        let waited = moment.since(begun[&verdict.endpoint]);
        assert!((700..705).contains(&waited.as_millis()), "{waited:?}");
    }
}

#[test]
fn a_port_that_answered_is_not_asked_again() {
    let path = Path::of_rtt(RTT).losing(Share::percent(5));
    let ran = Scenario::new(3, vec![server(3, path, PortAnswer::Refuses)], all_ports()).run();
    let mut decided = BTreeMap::new();
    for (moment, verdict) in &ran.outcome.verdicts {
        decided.insert(verdict.endpoint, *moment);
    }
    let asked_again = ran
        .outcome
        .dials
        .iter()
        .filter(|(moment, e)| *moment > decided[e])
        .count();
    assert_eq!(asked_again, 0);
    let probes = ran.probes();
    assert!(
        ran.outcome
            .verdicts
            .iter()
            .all(|(_, v)| probes[&v.endpoint] == u32::from(v.probes))
    );
    assert_eq!(ran.count(State::NotTested), 0);
}
