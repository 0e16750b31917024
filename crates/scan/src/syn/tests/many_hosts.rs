//! Several hosts in one scan: what is wrong with one is no matter of the others.

use super::*;

/// Every 20th port is open, and the others refuse or, at odd hosts of a `mixture`, are silent.
fn fate_of(mixture: bool) -> impl FnMut(SynProbe, u32) -> Fate {
    move |probe, _| {
        if probe.endpoint.port.is_multiple_of(20) {
            Fate::Accept
        } else if mixture && probe.host % 2 == 1 {
            Fate::Silence
        } else {
            Fate::Refuse
        }
    }
}

/// The states of 2,000 ports of each of `hosts` hosts of [`fate_of`].
fn check(outcome: &Outcome, hosts: u8, mixture: bool) {
    for host in 0..hosts {
        let states = [State::Open, State::Closed, State::Filtered];
        let counts = states.map(|state| outcome.ports(host, state).len());
        let silent = mixture && host % 2 == 1;
        let expected = if silent {
            [100, 0, 1_900]
        } else {
            [100, 1_900, 0]
        };
        assert_eq!(counts, expected, "host {host}");
    }
}

#[test]
fn one_policed_host_among_others_hides_nothing() {
    for mixture in [false, true] {
        let mut network = Network::of(fate_of(mixture)).policed(Some(3), 500);
        let outcome = drive(engine(20, 2_000, options()), &mut network);
        check(&outcome, 20, mixture);
        assert!(outcome.figures.loss.estimate().missed.unwrap() < 0.01);
        // 2,000 probes at 500 a second, and the passes over what is silent.
        assert!(outcome.seconds < 30.0, "{} s", outcome.seconds);
    }
}

#[test]
fn one_lossy_host_among_others_hides_nothing() {
    for random in 0..4 {
        let mut network = Network::of(fate_of(true));
        network.loss = Box::new(|host| if host == 5 { 100 } else { 0 });
        network.random = random;
        let outcome = drive(engine(20, 2_000, options()), &mut network);
        check(&outcome, 20, true);
    }
}

#[test]
fn near_and_far_hosts_are_waited_for_each() {
    let mut network = Network::of(fate_of(true));
    network.trip = Box::new(|host| match host % 4 {
        0 => Duration::from_millis(1),
        1 => Duration::from_millis(50),
        2 => Duration::from_millis(300),
        _ => Duration::from_millis(900),
    });
    let outcome = drive(engine(8, 2_000, options()), &mut network);
    check(&outcome, 8, true);
    assert!(outcome.seconds < 40.0, "{} s", outcome.seconds);
}

#[test]
fn a_host_that_is_silent_for_a_while_is_waited_for() {
    let mut network = Network::of(fate_of(true));
    network.is_cut = Box::new(|host, now| {
        let cut = Duration::from_millis(200)..Duration::from_millis(3_200);
        (host == 4 || host == 7) && cut.contains(&now.elapsed())
    });
    let outcome = drive(engine(20, 2_000, options()), &mut network);
    check(&outcome, 20, true);
    assert!(outcome.seconds < 10.0, "{} s", outcome.seconds);
}

#[test]
fn a_host_that_goes_away_leaves_the_others_alone() {
    let mut network = Network::of(fate_of(false));
    network.is_cut = Box::new(|host, now| host == 4 && now.elapsed() > Duration::from_millis(100));
    let outcome = drive(engine(10, 2_000, options()), &mut network);
    for host in (0..10).filter(|host| *host != 4) {
        assert_eq!(outcome.ports(host, State::Open).len(), 100, "{host}");
        assert_eq!(outcome.ports(host, State::Closed).len(), 1_900, "{host}");
    }
    assert_eq!(outcome.ports(4, State::Filtered).len(), 0);
    assert!(!outcome.ports(4, State::NotTested).is_empty());
    assert!(outcome.silent.contains(&4));
}

#[test]
fn a_slow_path_does_not_hold_up_another() {
    let mut engine = engine(20, 2_000, options());
    for host in 0..20 {
        let path = Path {
            number: u16::try_from(host % 2).unwrap(),
            is_routed: host % 2 == 1,
        };
        engine.handle_path(host, path);
    }
    // The ten hosts of the second path share a thousand probes a second.
    let mut network = Network::of(fate_of(false)).policed_where(|host| host % 2 == 1, 1_000);
    let outcome = drive(engine, &mut network);
    check(&outcome, 20, false);
    assert!(outcome.seconds < 1.6 * 20.0, "{} s", outcome.seconds);
    let fast = (0..20).filter(|host| host % 2 == 0).map(address);
    for address in fast {
        let last = outcome.asked.iter().filter(|it| it.0.address == address);
        let last = last.flat_map(|it| it.1).map(|it| it.0).max().unwrap();
        assert!(last.elapsed() < Duration::from_secs(3), "{last:?}");
    }
}

#[test]
fn many_hosts_with_one_port_each_are_found_under_loss() {
    let addresses: Vec<IpAddr> = (0..4_096_u32)
        .map(|host| IpAddr::V4((0xc612_0000 + host).into()))
        .collect();
    let engine = SynEngine::new(
        |position| Some((position, 80)),
        4_096,
        addresses,
        &PortSet::range(80, 80),
        options(),
    );
    let mut network = Network::of(|_, _| Fate::Accept).losing(20);
    let outcome = drive(engine, &mut network);
    assert_eq!(outcome.count(State::Open), 4_096);
    assert!(outcome.seconds < 3.0, "{} s", outcome.seconds);
}

#[test]
fn a_policer_before_a_hundred_hosts_is_found_as_well() {
    let mut network = Network::of(answering).policed(None, 50_000);
    let engine = SynEngine::new(
        |position| Some((position % 100, u16::try_from(position / 100).unwrap())),
        100 * 2_000,
        addresses(100),
        &PortSet::range(0, 1_999),
        options(),
    );
    let outcome = drive(engine, &mut network);
    assert_eq!(outcome.count(State::Filtered), 0);
    assert_eq!(outcome.verdicts.len(), 200_000);
    assert!(outcome.seconds < 1.3 * 4.0, "{} s", outcome.seconds);
}

#[test]
fn icmp_errors_are_named_and_hosts_that_are_not_there_are_silent() {
    let fate = |probe: SynProbe, _: u32| match probe.host {
        0 => Fate::Unreachable(13),
        1 => Fate::Silence,
        _ => Fate::Refuse,
    };
    let mut engine = SynEngine::new(
        |position| Some((position % 4, u16::try_from(position / 4).unwrap())),
        400,
        addresses(4),
        &PortSet::range(0, 99),
        options(),
    );
    engine.handle_unreachable(3, Reason::NoNeighbour);
    let outcome = drive(engine, &mut Network::of(fate));
    let reasons = |last: u8| -> BTreeSet<Reason> {
        let of_host = |it: &&Verdict| it.endpoint.address == IpAddr::from([192, 0, 2, last]);
        outcome
            .verdicts
            .values()
            .filter(of_host)
            .map(|it| it.reason)
            .collect()
    };
    assert_eq!(reasons(1), [Reason::Icmp(Unreachable::V4(13))].into());
    assert_eq!(reasons(2), [Reason::Timeout { probes: 3 }].into());
    assert_eq!(reasons(3), [Reason::Rst].into());
    assert_eq!(reasons(4), [Reason::NoNeighbour].into());
    assert_eq!(outcome.verdicts.len(), 400);
    // And some to see that the network still answers.
    let asked = 100 + 300 + 100;
    assert!((asked..asked + 40).contains(&outcome.probes));
}

#[test]
fn a_rate_is_kept_as_given_for_all_and_for_each_host() {
    let fixed = SynOptions {
        rate: Some(1_000.0),
        ..options()
    };
    let small = |options| {
        SynEngine::new(
            |position| Some((position % 2, u16::try_from(position / 2).unwrap())),
            2_000,
            addresses(2),
            &PortSet::range(0, 999),
            options,
        )
    };
    let seconds = drive(small(fixed), &mut Network::of(answering)).seconds;
    assert!((1.9..2.2).contains(&seconds), "{seconds}");
    let by_host = SynOptions {
        host_rate: Some(200.0),
        ..options()
    };
    let seconds = drive(small(by_host), &mut Network::of(answering)).seconds;
    assert!((4.9..5.3).contains(&seconds), "{seconds}");
}

#[test]
fn a_host_that_goes_away_late_is_not_called_filtered() {
    for after in (1_200..1_990).step_by(50) {
        let count = std::cell::Cell::new(0);
        let mut network = Network::of(fate_of(false));
        network.is_cut = Box::new(move |host, _| {
            count.set(count.get() + u32::from(host == 3));
            host == 3 && count.get() > after
        });
        let outcome = drive(engine(8, 2_000, options()), &mut network);
        assert_eq!(outcome.ports(3, State::Filtered).len(), 0, "{after}");
    }
}
