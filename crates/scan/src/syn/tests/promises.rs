//! What the sender promises: its rates, its source ports, and no round without work.

use super::watch::*;
use super::*;

/// No loss, four hosts: a port that its host's group and its path's both check in one epoch
/// would be asked twice from one source port.
#[test]
fn two_groups_do_not_check_a_port_from_one_source_port() {
    let seen = Watch::of(|_, probe, _| only_open(probe)).run(grid(4, 2_000, options()));
    seen.check_source_ports();
}

/// A late answer to the first probe of a port that was asked again just now makes it known:
/// its check is not to leave from the source port of the second.
#[test]
fn a_late_answer_is_not_checked_from_the_source_port_of_the_repeat() {
    let seen = Watch::of(|now, probe, _| {
        let trip = MS * if now.elapsed() < MS * 120 { 1 } else { 800 };
        vec![(trip, open_or_closed(probe))]
    })
    .run(grid(1, 20_000, options()));
    seen.check_source_ports();
}

/// With a timeout of 1 ms epochs end sooner than their source ports may be used again.
#[test]
fn a_short_timeout_keeps_source_ports_apart() {
    let options = SynOptions {
        patience: Patience {
            retries: None,
            timeout: Some(MS),
        },
        ..rate(500.0)
    };
    let seen = Watch::of(|_, probe, _| {
        only_open(probe)
            .into_iter()
            .map(|(_, packet)| (MS / 2, packet))
            .collect()
    })
    .run(grid(1, 1_000, options));
    seen.check_source_ports();
}

/// Fifty a second to each host are asked for: checks are part of them.
#[test]
fn checks_keep_the_rate_of_a_host() {
    let options = SynOptions {
        host_rate: Some(50.0),
        ..options()
    };
    let seen = Watch::of(|_, probe, _| {
        if probe.endpoint.port.is_multiple_of(10) {
            vec![(MS, accept(probe))]
        } else {
            vec![]
        }
    })
    .run(grid(4, 300, options));
    let most = seen.most_within(Duration::from_secs(1));
    assert!(most <= 52, "{most} {}", seen.summary());
}

/// One of two interfaces takes nothing for four seconds. Its probes come first in every batch and
/// pause the other interface as well, which still gets most of each batch.
#[test]
fn an_interface_that_is_down_holds_up_no_other() {
    let mut watch = Watch::of(|_, probe, _| vec![(MS, refuse(probe))]);
    watch.leaves = Box::new(|now, probe| probe.host % 2 == 1 || !cut(now, 5, 4_005));
    let seen = watch.run(two_paths(40, 2_000, options()));
    let last = |odd: u32| {
        let of_path = seen.by_host.iter().filter(|it| it.0 % 2 == odd);
        of_path
            .filter_map(|it| it.1.last())
            .max()
            .unwrap()
            .elapsed()
    };
    assert_eq!(seen.count(State::Closed), 80_000, "{}", seen.summary());
    assert!(
        last(1) < Duration::from_secs(2),
        "{:?} {}",
        last(1),
        seen.summary()
    );
}

/// A rate that the user gave, and a path that is silent: there is nothing to send but checks.
#[test]
fn a_silent_path_at_a_fixed_rate_does_not_spin() {
    let seen = Watch::of(|now, probe, _| {
        if cut(now, 100, 4_000) {
            vec![]
        } else {
            vec![(MS, refuse(probe))]
        }
    })
    .run(grid(1, 20_000, rate(10_000.0)));
    assert!(seen.spins < 100, "{}", seen.summary());
}

/// 150,000 positions of a slow path wait while the other is done.
#[test]
fn a_long_queue_of_one_path_holds_up_no_other() {
    let mut slow = Bucket::of(4_000.0, 40.0);
    let seen = Watch::of(move |now, probe, _| {
        if probe.host % 2 == 0 && !slow.passes(now) {
            vec![]
        } else {
            vec![(MS, refuse(probe))]
        }
    })
    .run(two_paths(3_000, 100, options()));
    let last = |odd: u32| {
        let of_path = seen.by_host.iter().filter(|it| it.0 % 2 == odd);
        of_path
            .filter_map(|it| it.1.last())
            .max()
            .unwrap()
            .elapsed()
    };
    assert!(seen.spins_total < 10_000, "{}", seen.summary());
    assert!(last(1) < last(0) / 5, "{:?} {:?}", last(1), last(0));
}

/// Drained while the end of a pass is waited for: nothing ends that pass any more.
#[test]
fn draining_at_the_end_of_a_pass_does_not_spin() {
    let mut is_drained = false;
    let mut watch = Watch::of(|_, probe, _| {
        only_open(probe)
            .into_iter()
            .map(|(_, packet)| (MS * 20, packet))
            .collect()
    });
    watch.event = Box::new(move |now| {
        let drains = !is_drained && now.elapsed() >= MS * 400;
        is_drained |= drains;
        if drains { Event::Drain } else { Event::Nothing }
    });
    let seen = watch.run(grid(1, 5_000, options()));
    assert!(seen.ended && seen.spins < 1_000, "{}", seen.summary());
}

/// The command line allows 20; passes are counted in one byte.
#[test]
fn the_most_retries_end() {
    let options = SynOptions {
        patience: Patience {
            retries: Some(255),
            timeout: Some(MS * 5),
        },
        ..options()
    };
    let mut watch = Watch::of(|_, _, _| vec![]);
    watch.seconds_max = 10.0;
    let seen = watch.run(grid(1, 4, options));
    assert!(seen.ended, "{}", seen.summary());
}

#[test]
fn two_paths_and_one_silent_for_a_while_at_a_fixed_rate_end() {
    let seen = Watch::of(|now, probe, _| {
        let is_cut = probe.host % 2 == 0 && cut(now, 300, 8_000);
        if is_cut {
            vec![]
        } else {
            vec![(MS, refuse(probe))]
        }
    })
    .run(two_paths(20, 2_000, rate(10_000.0)));
    assert_eq!(seen.count(State::Closed), 40_000, "{}", seen.summary());
    assert!(seen.seconds < 12.0, "{}", seen.summary());
}

#[test]
fn an_interface_that_is_down_for_two_seconds_hides_nothing() {
    for (hosts, ports) in [(1, 80_000 / 2), (20, 4_000), (400, 100)] {
        let mut watch = Watch::of(|_, probe, _| only_open(probe));
        watch.leaves = Box::new(|now, _| !cut(now, 100, 2_100));
        let seen = watch.run(grid(hosts, ports, options()));
        let open = usize::try_from(hosts * ports / 20).unwrap();
        assert_eq!(seen.count(State::Open), open, "{}", seen.summary());
    }
}

#[test]
fn no_positions_and_one_end() {
    let none = |positions, hosts, last| {
        let ports = PortSet::range(1, last);
        let engine = SynEngine::new(|_| None, positions, addresses(hosts), &ports, options());
        Watch::of(|_, _, _| vec![]).run(engine)
    };
    for (positions, hosts, last) in [(0, 0, 1), (1, 1, 1), (100_000, 3, 40_000)] {
        let seen = none(positions, hosts, last);
        assert!(seen.ended && seen.probes == 0, "{}", seen.summary());
    }
    let seen = Watch::of(|_, _, _| vec![]).run(grid(1, 1, options()));
    assert_eq!(seen.count(State::Filtered), 1);
    let seen = Watch::of(|_, probe, _| vec![(MS, accept(probe))]).run(grid(1, 1, options()));
    assert_eq!((seen.count(State::Open), seen.probes), (1, 1));
}

#[test]
fn a_rate_for_all_is_kept_by_everything_that_is_sent() {
    let options = SynOptions {
        host_rate: Some(100.0),
        ..rate(300.0)
    };
    let mut dice = Dice(4);
    let seen = Watch::of(move |_, probe, _| {
        let silent = dice.roll() < 0.1 || !probe.endpoint.port.is_multiple_of(5);
        if silent {
            vec![]
        } else {
            vec![(MS * 30, accept(probe))]
        }
    })
    .run(grid(10, 150, options));
    let mut all: Vec<Moment> = seen.by_host.values().flatten().copied().collect();
    all.sort_unstable();
    let most = (0..all.len()).map(|at| {
        let within = |it: &&Moment| it.since(all[at]) < Duration::from_secs(1);
        all[at..].iter().take_while(within).count()
    });
    assert!(most.max().unwrap() <= 305, "{}", seen.summary());
    assert_eq!(seen.waits_for_nothing, 0);
}

#[test]
fn heaps_stay_short_in_a_long_scan() {
    for trip in [1_u32, 40, 100, 300] {
        let mut all = Bucket::of(2_000.0, 20.0);
        let seen = Watch::of(move |now, probe, _| {
            if all.passes(now) {
                vec![(MS * trip, open_or_closed(probe))]
            } else {
                vec![]
            }
        })
        .run(grid(1, 40_000, options()));
        assert!(
            seen.judgements < 64 && seen.check_ends < 1_024,
            "{}",
            seen.summary()
        );
        assert!(
            seen.turns < 16 && seen.polls < 10 * seen.probes,
            "{}",
            seen.summary()
        );
    }
}

/// A part of each period is lost, at a rate the user gave: passes in the same order would meet the
/// same ports in the same phase.
#[test]
fn periodic_loss_is_no_confident_miss() {
    for period_ms in [4, 20, 50, 100, 250, 1_000] {
        for per_second in [5_000.0, 10_000.0, 16_384.0, 50_000.0] {
            for part in [10, 4] {
                let seen = Watch::of(move |now, probe, _| {
                    let period = u128::from(period_ms * 1_000_u32);
                    let lost = now.elapsed().as_micros() % period < period / part;
                    if lost { vec![] } else { only_open(probe) }
                })
                .run(grid(1, 10_000, rate(per_second)));
                let missed = 500 - seen.count(State::Open);
                assert!(
                    missed == 0 || seen.missed() > 0.1,
                    "{period_ms} ms, {per_second}/s, one in {part}: missed {missed} {}",
                    seen.summary()
                );
            }
        }
    }
}
