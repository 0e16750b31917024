//! What silence is taken for where hosts, networks and clocks are odd, and what is not missed.

use super::watch::*;
use super::*;

/// All ports drop but 22, which as with `ufw limit ssh` takes six connections in thirty seconds.
/// The checks use them up, which says nothing of the other ports.
#[test]
fn a_port_that_limits_connections_is_no_host_that_went_silent() {
    let mut taken: VecDeque<Moment> = VecDeque::new();
    let seen = Watch::of(move |now, probe, _| {
        if probe.endpoint.port != 22 {
            return vec![];
        }
        taken.retain(|it| now.since(*it) < Duration::from_secs(30));
        taken.push_back(now);
        if taken.len() > 6 {
            vec![]
        } else {
            vec![(MS, accept(probe))]
        }
    })
    .run(grid(1, 20_000, options()));
    assert_eq!(seen.count(State::NotTested), 0, "{}", seen.summary());
    assert!(seen.missed() > 0.1, "{}", seen.summary());
    assert!(seen.seconds < 20.0, "{}", seen.summary());
}

/// One of 64 networks loses two thirds, while the path as a whole loses little.
#[test]
fn one_lossy_network_is_no_confident_miss() {
    let mut dice = Dice(5);
    let seen = Watch::of(move |_, probe, _| {
        let lost = probe.host / 256 == 0 && dice.roll() < 0.65;
        if lost || probe.host % 2 == 1 {
            vec![]
        } else {
            vec![(MS, accept(probe))]
        }
    })
    .run(all_on_one_path(16_384, 1, true));
    let missed = 8_192 - seen.count(State::Open);
    assert!(
        missed == 0 || seen.missed() > 1.0,
        "missed {missed} {}",
        seen.summary()
    );
}

/// The same of one host among a hundred with a hundred ports each, which loses half.
#[test]
fn one_lossy_host_with_few_ports_is_no_confident_miss() {
    for seed in 5..9 {
        let mut dice = Dice(seed);
        let seen = Watch::of(move |_, probe, _| {
            let lost = probe.host == 7 && dice.roll() < 0.5;
            let silent = probe.host == 7 && !probe.endpoint.port.is_multiple_of(4);
            if lost || silent {
                vec![]
            } else {
                vec![(MS, open_or_closed(probe))]
            }
        })
        .run(grid(100, 100, options()));
        let known = seen.count(State::Open) + seen.count(State::Closed);
        let missed = 9_925 - known;
        assert!(
            missed == 0 || seen.missed() > 0.1,
            "missed {missed} {}",
            seen.summary()
        );
    }
}

/// A host that refuses for 45 of 100 ports and drops the rest, behind 6 and 20 % of loss, with
/// a single open port: the closed ones count as well.
#[test]
fn closed_ports_among_silent_ones_stay_closed() {
    for loss in [0.06, 0.2] {
        let mut dice = Dice(3);
        let seen = Watch::of(move |_, probe, _| {
            let port = probe.endpoint.port;
            if port % 100 >= 45 || dice.roll() < loss {
                vec![]
            } else if port == 7 {
                vec![(MS, accept(probe))]
            } else {
                vec![(MS, refuse(probe))]
            }
        })
        .run(grid(1, 20_000, options()));
        let known = seen.count(State::Open) + seen.count(State::Closed);
        assert_eq!(known, 9_000, "{loss} {}", seen.summary());
    }
}

/// One host of 200 is there and blocks the scanner after a while, which says nothing of the hosts
/// that never answered.
#[test]
fn a_host_that_blocks_says_nothing_of_absent_ones() {
    let seen = Watch::of(|now, probe, _| {
        let answers = probe.host == 3 && now.elapsed() < MS * 60;
        if answers {
            vec![(MS, refuse(probe))]
        } else {
            vec![]
        }
    })
    .run(grid(200, 100, options()));
    assert!(seen.count(State::NotTested) <= 100, "{}", seen.summary());
}

#[test]
fn resets_limited_by_the_second_of_the_clock_hide_nothing() {
    for (limit, hosts, ports) in [(200, 1, 3_000_usize), (200, 3, 2_000), (1_000, 3, 2_000)] {
        let mut sent: HashMap<(u32, u64), u32> = HashMap::new();
        let seen = Watch::of(move |now, probe, _| {
            if probe.endpoint.port.is_multiple_of(300) {
                return vec![(MS, accept(probe))];
            }
            let count = sent
                .entry((probe.host, now.elapsed().as_secs()))
                .or_default();
            *count += 1;
            if *count > limit {
                vec![]
            } else {
                vec![(MS, refuse(probe))]
            }
        })
        .run(grid(hosts, u32::try_from(ports).unwrap(), options()));
        let known = seen.count(State::Open) + seen.count(State::Closed);
        assert_eq!(
            known,
            usize::try_from(hosts).unwrap() * ports,
            "{}",
            seen.summary()
        );
        assert!(seen.seconds < 40.0, "{}", seen.summary());
    }
}

#[test]
fn a_round_trip_that_jumps_hides_nothing() {
    for (from, to) in [(1, 800), (1, 1_500), (200, 1), (1, 2_500)] {
        for drops in [false, true] {
            let seen = Watch::of(move |now, probe, _| {
                let trip = MS * if now.elapsed() < MS * 120 { from } else { to };
                let silent = drops && !probe.endpoint.port.is_multiple_of(20);
                if silent {
                    vec![]
                } else {
                    vec![(trip, open_or_closed(probe))]
                }
            })
            .run(grid(1, 20_000, options()));
            let closed = if drops { 0 } else { 19_000 };
            let counts = (seen.count(State::Open), seen.count(State::Closed));
            assert_eq!(counts, (1_000, closed), "{}", seen.summary());
            assert!(seen.seconds < 30.0, "{}", seen.summary());
        }
    }
}

#[test]
fn duplicates_and_reordering_change_nothing() {
    for jitter in [0.02, 0.2, 1.0] {
        let mut dice = Dice(3);
        let seen = Watch::of(move |_, probe, _| {
            let mut trip = || Duration::from_secs_f64(0.001 + dice.roll() * jitter);
            vec![
                (trip(), open_or_closed(probe)),
                (trip(), open_or_closed(probe)),
            ]
        })
        .run(grid(2, 10_000, options()));
        assert_eq!(seen.count(State::Open), 1_000, "{}", seen.summary());
        assert_eq!(seen.count(State::Closed), 19_000, "{}", seen.summary());
        assert!(seen.seconds < 10.0, "{}", seen.summary());
    }
}

#[test]
fn many_hosts_with_one_port_under_loss_and_a_network_that_dies() {
    let mut dice = Dice(3);
    let seen = Watch::of(move |now, probe, _| {
        let dead = probe.host / 256 == 9 && now.elapsed() > MS * 300;
        if dead || dice.roll() < 0.06 {
            vec![]
        } else {
            vec![(MS * 5, accept(probe))]
        }
    })
    .run(all_on_one_path(65_536, 1, true));
    assert!(seen.count(State::Open) >= 65_280, "{}", seen.summary());
    assert!(seen.count(State::Filtered) <= 2, "{}", seen.summary());
    assert!(seen.seconds < 20.0, "{}", seen.summary());
}

#[test]
fn several_cuts_hide_nothing() {
    for cuts in [
        vec![(100, 2_000), (2_300, 5_000)],
        vec![(250, 1_000), (1_100, 1_500), (1_600, 4_000)],
    ] {
        for drops in [false, true] {
            let cuts = cuts.clone();
            let seen = Watch::of(move |now, probe, _| {
                let silent = drops && !probe.endpoint.port.is_multiple_of(20);
                let is_cut = cuts.iter().any(|it| cut(now, it.0, it.1));
                if silent || is_cut {
                    vec![]
                } else {
                    vec![(MS, open_or_closed(probe))]
                }
            })
            .run(grid(3, 8_000, options()));
            let closed = if drops { 0 } else { 22_800 };
            let counts = (seen.count(State::Open), seen.count(State::Closed));
            assert_eq!(counts, (1_200, closed), "{}", seen.summary());
            assert!(seen.seconds < 20.0, "{}", seen.summary());
        }
    }
}

#[test]
fn a_host_that_says_open_for_everything_is_left_alone_under_loss() {
    for loss in [0.0, 0.2, 0.5] {
        let mut dice = Dice(3);
        let seen = Watch::of(move |_, probe, _| {
            if dice.roll() < loss {
                vec![]
            } else {
                vec![(MS, accept(probe))]
            }
        })
        .run(grid(5, 5_000, options()));
        assert!(seen.ended && seen.probes < 12_500, "{}", seen.summary());
        assert_eq!(seen.count(State::Filtered), 0, "{}", seen.summary());
    }
}

#[test]
fn a_second_of_overruns_hides_nothing() {
    let mut last = Moment::START;
    let mut watch = Watch::of(|_, probe, _| only_open(probe));
    watch.event = Box::new(move |now| {
        if now.elapsed() > MS * 1_000 || now.since(last) < MS * 50 {
            return Event::Nothing;
        }
        last = now;
        Event::Overrun
    });
    let seen = watch.run(grid(2, 1_000, options()));
    assert_eq!(seen.count(State::Open), 100, "{}", seen.summary());
    assert!(seen.ended, "{}", seen.summary());
}
