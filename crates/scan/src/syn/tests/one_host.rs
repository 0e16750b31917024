//! One host, whatever the way to it does.

use super::*;

/// All ports of one host.
fn scan<F: FnMut(SynProbe, u32) -> Fate>(options: SynOptions, network: &mut Network<F>) -> Outcome {
    drive(engine(1, 65_536, options), network)
}

#[test]
fn a_host_that_answers_everything_is_asked_everything_once() {
    let outcome = scan(options(), &mut Network::of(answering));
    assert_eq!(
        (outcome.verdicts.len(), outcome.count(State::Open)),
        (65_536, 201)
    );
    assert_eq!(
        (outcome.probes, outcome.count(State::Closed)),
        (65_536, 65_335)
    );
    assert_eq!(outcome.figures.decided, 65_536);
    assert!(outcome.seconds < 1.0, "{}", outcome.seconds);
}

#[test]
fn under_loss_every_port_ends_as_it_is() {
    for (loss, random) in [(10, 1), (50, 2), (50, 3), (50, 4), (100, 5)] {
        let mut network = Network::of(answering).losing(loss);
        network.random = random;
        let outcome = scan(options(), &mut network);
        let states = [State::Open, State::Closed, State::Filtered].map(|it| outcome.count(it));
        assert_eq!(states, [201, 65_335, 0], "{loss} of 1,000, seed {random}");
        let measured = outcome.figures.loss.share().unwrap();
        let each_way = f64::from(loss) / 1_000.0;
        let expected = 1.0 - (1.0 - each_way) * (1.0 - each_way);
        assert!((measured - expected).abs() < 0.1 * expected, "{measured}");
        assert!(outcome.seconds < 1.0, "{} s", outcome.seconds);
    }
}

#[test]
fn silence_takes_two_probes_and_more_where_some_get_lost() {
    for (loss, least, most) in [(0, 2, 1.8), (10, 3, 2.5), (50, 4, 4.0)] {
        let mut network = Network::of(dropping).losing(loss);
        let outcome = scan(options(), &mut network);
        assert_eq!(outcome.count(State::Open), 201, "{loss}");
        assert_eq!(outcome.count(State::Filtered), 65_335, "{loss}");
        let probes = outcome.figures.loss.silent_probes_min;
        assert!(probes >= least, "{probes} at {loss} of 1,000");
        assert!(outcome.figures.loss.estimate().missed.unwrap() <= 0.02);
        assert!(outcome.seconds < most, "{} s at {loss}", outcome.seconds);
    }
}

#[test]
fn a_port_is_asked_again_from_another_source_port() {
    let mut network = Network::of(dropping).losing(50);
    let outcome = scan(options(), &mut network);
    for (endpoint, asked) in outcome.asked {
        for (at, (moment, port)) in asked.iter().enumerate() {
            let same = asked.iter().skip(at + 1).find(|it| it.1 == *port);
            let apart = same.map_or(Duration::MAX, |it| it.0.since(*moment));
            assert!(
                apart >= Duration::from_secs(1),
                "{endpoint} after {apart:?}"
            );
        }
    }
}

#[test]
fn the_knee_of_a_policer_is_found() {
    for rate in [20_000, 5_000] {
        let mut network = Network::of(answering).policed(None, rate);
        let outcome = scan(options(), &mut network);
        assert_eq!(outcome.count(State::Open), 201, "{rate}");
        assert_eq!(outcome.count(State::Filtered), 0, "{rate}");
        let floor = 65_536.0 / f64::from(rate);
        assert!(outcome.seconds < 1.15 * floor, "{} s", outcome.seconds);
    }
}

#[test]
fn what_an_earlier_run_decided_is_passed_over() {
    let engine = SynEngine::new(
        |position| (position % 2 == 0).then(|| (0, u16::try_from(position).unwrap())),
        100,
        addresses(1),
        &PortSet::range(0, 99),
        options(),
    );
    let outcome = drive(engine, &mut Network::of(answering));
    assert_eq!((outcome.verdicts.len(), outcome.figures.decided), (50, 100));
}

/// One host with ten ports.
fn ten_ports() -> SynEngine<impl FnMut(u32) -> Option<(u32, u16)>> {
    SynEngine::new(
        |position| Some((0, u16::try_from(position).unwrap())),
        10,
        addresses(1),
        &PortSet::range(0, 9),
        options(),
    )
}

#[test]
fn only_what_acknowledges_the_probe_counts() {
    let mut engine = ten_ports();
    let probe = engine.poll_probe(Moment::START).unwrap();
    let now = Moment::from_nanos(1_000);
    let accept = Flags::SYN.with(Flags::ACK);
    let forged = [
        SynProbe {
            sequence: probe.sequence ^ 1,
            ..probe
        },
        SynProbe {
            source_port: probe.source_port + 1,
            ..probe
        },
        SynProbe {
            endpoint: Endpoint {
                port: 5,
                ..probe.endpoint
            },
            ..probe
        },
    ];
    for (count, forged) in (1..).zip(forged) {
        engine.handle_packet(now, &segment(forged, accept));
        assert_eq!(engine.strays().forged, count);
    }
    engine.handle_packet(now, &error(probe, 1, probe.sequence ^ 1));
    assert_eq!(engine.strays().forged, 4);
    // Neither another host nor a port that is not asked is any matter of ours.
    let mut stranger = probe;
    stranger.endpoint.address = [198, 51, 100, 1].into();
    engine.handle_packet(now, &segment(stranger, accept));
    // A bare SYN, as when both sides begin, acknowledges nothing.
    engine.handle_packet(now, &segment(probe, Flags::SYN));
    assert_eq!(engine.poll_verdict(), None);
    engine.handle_packet(now, &segment(probe, accept));
    assert_eq!(engine.poll_verdict().unwrap().reason, Reason::SynAck);
    for _ in 0..1_000 {
        engine.handle_packet(now, &segment(probe, accept));
    }
    assert_eq!(engine.poll_verdict(), None);
    assert_eq!(engine.strays().duplicates, 1_000);
    assert_eq!(engine.figures().loss.answered, 1);
}

#[test]
fn what_did_not_leave_is_asked_again_and_not_counted() {
    let mut engine = ten_ports();
    let probe = engine.poll_probe(Moment::START).unwrap();
    engine.handle_unsent(Moment::START, &probe);
    assert_eq!(engine.figures().probes, 0);
    assert_eq!(engine.poll_probe(Moment::START), None);
    let again = engine.poll_probe(Moment::from_nanos(2_000_000)).unwrap();
    assert_eq!(again.endpoint, probe.endpoint);
    assert_eq!(engine.figures().probes, 1);
}

#[test]
fn an_overrun_of_the_receiver_proves_nothing() {
    // The answers to all first probes are lost in the receiver, which says so.
    let mut network = Network::of(|_, times| {
        if times == 1 {
            Fate::Silence
        } else {
            Fate::Refuse
        }
    });
    let mut engine = SynEngine::new(
        |position| Some((0, u16::try_from(position).unwrap())),
        100,
        addresses(1),
        &PortSet::range(0, 99),
        SynOptions {
            patience: Patience {
                retries: Some(0),
                timeout: None,
            },
            ..options()
        },
    );
    engine.handle_overrun();
    let outcome = drive(engine, &mut network);
    // One probe was asked for: the run ends with it, whatever it proves.
    assert_eq!(outcome.count(State::Filtered), 100);
    let mut engine = SynEngine::new(
        |position| Some((0, u16::try_from(position).unwrap())),
        100,
        addresses(1),
        &PortSet::range(0, 99),
        options(),
    );
    engine.handle_overrun();
    let mut silent = Network::of(|_, _| Fate::Silence);
    let outcome = drive(engine, &mut silent);
    assert_eq!(outcome.figures.loss.silent_probes_min, 4);
}

#[test]
fn a_drained_engine_sends_nothing_and_ends() {
    let mut engine = ten_ports();
    let probe = engine.poll_probe(Moment::START).unwrap();
    engine.drain();
    assert_eq!(engine.poll_probe(Moment::START), None);
    let now = Moment::from_nanos(1_000);
    engine.handle_packet(now, &segment(probe, Flags::RST.with(Flags::ACK)));
    assert_eq!(engine.poll_verdict().unwrap().reason, Reason::Rst);
    assert!(engine.is_done());
}

#[test]
fn a_policer_before_a_host_that_drops_is_found() {
    // Too few ports answer for their share to tell that the pace costs answers.
    for rate in [2_000, 20_000] {
        let mut network = Network::of(|probe: SynProbe, _| {
            if probe.endpoint.port.is_multiple_of(100) {
                Fate::Accept
            } else {
                Fate::Silence
            }
        })
        .policed(None, rate);
        let outcome = drive(engine(1, 10_000, options()), &mut network);
        assert_eq!(outcome.count(State::Open), 100, "{rate}");
        assert!(outcome.figures.loss.estimate().missed.unwrap() < 0.01);
        let floor = 10_000.0 / f64::from(rate);
        assert!(outcome.seconds < 5.0 * floor + 1.0, "{}", outcome.seconds);
    }
}

#[test]
fn a_cut_of_three_seconds_hides_nothing() {
    for (fate, closed, filtered) in [
        (answering as fn(SynProbe, u32) -> Fate, 65_335, 0),
        (dropping, 0, 65_335),
    ] {
        for (from, to) in [(100, 3_100), (300, 3_300), (5, 3_000)] {
            let mut network = Network::of(fate);
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            network.is_cut = Box::new(move |_, now| (from..to).contains(&now.elapsed()));
            let outcome = scan(options(), &mut network);
            let states = [State::Open, State::Closed, State::Filtered].map(|it| outcome.count(it));
            assert_eq!(states, [201, closed, filtered], "{from:?}");
            assert!(outcome.seconds < 7.0, "{} s", outcome.seconds);
        }
    }
}

#[test]
fn silence_after_answers_is_no_state_of_a_port() {
    for fate in [answering as fn(SynProbe, u32) -> Fate, dropping] {
        let mut network = Network::of(fate);
        network.is_cut = Box::new(|_, now| now.elapsed() > Duration::from_millis(120));
        let outcome = scan(options(), &mut network);
        let known = outcome.count(State::Open) + outcome.count(State::Closed);
        assert_eq!(outcome.count(State::Filtered), 0);
        assert_eq!(known + outcome.count(State::NotTested), 65_536);
        let reasons: BTreeSet<_> = outcome.verdicts.values().map(|it| it.reason).collect();
        assert!(reasons.contains(&Reason::WentSilent), "{reasons:?}");
        assert!(outcome.silent.contains(&0));
        assert!(outcome.seconds < 15.0, "{}", outcome.seconds);
    }
}

#[test]
fn a_long_way_hides_nothing() {
    for (trip, seconds) in [(50, 3.0), (300, 10.0), (900, 25.0)] {
        let mut network = Network::of(dropping);
        network.trip = Box::new(move |_| Duration::from_millis(trip));
        let outcome = scan(options(), &mut network);
        assert_eq!(outcome.count(State::Open), 201, "{trip} ms");
        assert!(
            outcome.seconds < seconds,
            "{} s at {trip} ms",
            outcome.seconds
        );
        let mut network = Network::of(answering).losing(20);
        network.trip = Box::new(move |_| Duration::from_millis(trip));
        let outcome = scan(options(), &mut network);
        let states = [State::Open, State::Closed].map(|it| outcome.count(it));
        assert_eq!(states, [201, 65_335], "{trip} ms");
        assert!(
            outcome.seconds < seconds,
            "{} s at {trip} ms",
            outcome.seconds
        );
    }
}

#[test]
fn a_single_open_port_is_found_under_loss() {
    for random in 0..20 {
        let mut network = Network::of(|probe: SynProbe, _| {
            if probe.endpoint.port == 443 {
                Fate::Accept
            } else {
                Fate::Silence
            }
        })
        .losing(50);
        network.random = random;
        let outcome = drive(engine(1, 1_000, options()), &mut network);
        assert_eq!(outcome.count(State::Open), 1, "{random}");
    }
}

#[test]
fn loss_that_slowing_down_does_not_change_is_lived_with() {
    let mut network = Network::of(answering).losing(250);
    let outcome = scan(options(), &mut network);
    let states = [State::Open, State::Closed].map(|it| outcome.count(it));
    assert_eq!(states, [201, 65_335]);
    assert!(outcome.seconds < 12.0, "{} s", outcome.seconds);
}

#[test]
fn icmp_errors_that_come_now_and_then_are_no_reason_to_slow_down() {
    // A host that rejects, and sends six errors at once and one a second (icmp_ratelimit).
    let mut sent = 0;
    let network = Network::of(move |probe: SynProbe, _| {
        if is_open(probe) {
            return Fate::Accept;
        }
        sent += 1;
        if sent <= 6 {
            Fate::Unreachable(13)
        } else {
            Fate::Silence
        }
    });
    let mut network = network;
    let outcome = scan(options(), &mut network);
    assert_eq!(outcome.count(State::Open), 201);
    assert!(outcome.seconds < 2.0, "{} s", outcome.seconds);
}

#[test]
fn a_host_that_says_open_for_everything_is_not_asked_everything() {
    let mut network = Network::of(|_, _| Fate::Accept);
    let mut engine = engine(1, 65_536, options());
    engine.handle_telling(PortSet::range(440, 449));
    let outcome = drive(engine, &mut network);
    assert_eq!(outcome.verdicts.len(), 65_536);
    assert!(outcome.probes < 2_000, "{}", outcome.probes);
    let open = outcome.ports(0, State::Open);
    assert!((440..450).all(|port| open.contains(&port)));
    assert!(outcome.seconds < 0.5, "{}", outcome.seconds);
}

#[test]
fn ports_that_were_picked_are_all_asked() {
    // All of them open: somebody knows why these are asked.
    let mut network = Network::of(|_, _| Fate::Accept);
    let outcome = drive(engine(1, 307, options()), &mut network);
    assert_eq!(outcome.count(State::Open), 307);
}
