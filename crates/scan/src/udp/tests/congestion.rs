//! Loss, slow hosts and hosts that fall silent, in virtual time.

use super::*;

/// Hosts with `open` services each and nothing else.
fn services(hosts: u8, open: u16) -> Network {
    let mut network = server(0, 0, Errors::None);
    network.hosts = hosts;
    network.ports = (1..=open).map(|port| asked(port, Port::Answers)).collect();
    network
}

#[test]
fn a_host_that_loses_answers_at_speed_is_asked_more_slowly_until_it_has_given_all() {
    let mut network = services(1, 100);
    network.narrow = Some((1, 100.0));
    let ran = network.run();
    assert_eq!(ran.count(State::Open), 100);
    assert!(
        ran.ended.elapsed() < Duration::from_secs(10),
        "{:?}",
        ran.ended
    );
    // At the usual pace each pass would get through no more than the way lets by at once.
    assert!(ran.figures.probes < 700, "{}", ran.figures.probes);
}

#[test]
fn loss_by_chance_is_no_reason_to_be_slow() {
    let mut network = services(1, 200);
    network.loss = 50;
    let ran = network.run();
    assert_eq!(ran.count(State::Open), 200);
    let mut fast = services(1, 200);
    fast.loss = 50;
    fast.options.host_rate = Some(HOST_RATE);
    fast.options.rate = Some(20_000.0);
    assert_eq!(ran.ended, fast.run().ended);
}

#[test]
fn a_bottleneck_before_all_hosts_slows_all_down() {
    let mut network = services(50, 20);
    network.bottleneck = Some(1_000.0);
    network.ports.push(asked(21, Port::Silent));
    let ran = network.run();
    assert_eq!(ran.count(State::Open), 1_000);
    assert!(ran.figures.probes < 10_000, "{}", ran.figures.probes);
    let mut given = services(50, 20);
    given.bottleneck = Some(1_000.0);
    given.options.rate = Some(20_000.0);
    given.options.host_rate = Some(HOST_RATE);
    let given = given.run();
    assert!(
        given.count(State::Open) < 1_000,
        "{}",
        given.count(State::Open)
    );
}

#[test]
fn without_loss_the_pace_grows_and_is_told() {
    let network = services(50, 20);
    let addresses = (1..=50)
        .map(|last| IpAddr::from([192, 0, 2, last]))
        .collect();
    let mut ports: Vec<UdpPort> = network.ports.iter().map(|it| it.0).collect();
    // Something has to be silent, or there is no second pass that could show loss.
    ports.push(asked(21, Port::Silent).0);
    let lookup = |position: u32| Some((position % 50, ports[index(position / 50)].port));
    let mut engine = UdpEngine::new(lookup, 50 * 21, addresses, &ports, OPTIONS);
    let before = engine.found_rate().unwrap();
    let mut now = Moment::START;
    while !engine.is_done() {
        assert!(now < END);
        engine.handle_timeout(now);
        while engine.poll_verdict().is_some() {}
        let mut sent = Vec::new();
        while let Some(probe) = engine.poll_probe(now) {
            engine.handle_sent(now, &probe);
            sent.push(probe);
        }
        for probe in sent.iter().filter(|it| it.endpoint.port != 21) {
            tell(&mut engine, now, probe, Port::Answers);
        }
        now = now + Duration::from_millis(1);
    }
    assert!(engine.found_rate().unwrap() > before);
}

#[test]
fn a_device_that_falls_silent_under_the_probes_is_not_called_silent() {
    for dies_ms in [5, 100, 400, 1_500, 1_700] {
        let mut network = server(400, 8, Errors::All);
        network.hosts = 2;
        // Enough that is silent for the host to be asked until then.
        let does = |port: u16| match port {
            port if port <= 8 => asked(port, Port::Answers),
            port if port.is_multiple_of(5) => asked(port, Port::Silent),
            port if port.is_multiple_of(2) => empty(port, Port::Closed),
            port => empty(port, Port::Silent),
        };
        network.ports = (1..=400).map(does).collect();
        network.dies = Some((1, Duration::from_millis(dies_ms)));
        let ran = network.run();
        let silent = ran.of_host(1).filter(|it| !it.reason.is_answer());
        let reasons: Vec<Reason> = silent.map(|it| it.reason).collect();
        assert!(!reasons.is_empty());
        let is_told = reasons.iter().all(|it| *it == Reason::WentSilent);
        assert!(is_told, "{dies_ms} ms: {:?}", reasons[0]);
        // What it said before stays, and the other host is none of that.
        assert!(ran.of_host(1).any(|it| it.reason.is_answer()));
        assert!(ran.of_host(2).all(|it| it.reason != Reason::WentSilent));
        assert!(
            ran.ended.elapsed() < Duration::from_secs(12),
            "{:?}",
            ran.ended
        );
    }
}

#[test]
fn a_device_that_still_answers_is_asked_once_more_and_believed() {
    for errors in [Errors::None, Errors::All, LINUX] {
        let mut network = server(400, 1, errors);
        network.ports.retain(|it| it.0.port != 1);
        network.ports.push(asked(1_000, Port::Answers));
        let ran = network.run();
        let silent = ran
            .verdicts
            .values()
            .find(|it| it.reason == Reason::WentSilent);
        assert_eq!(silent.map(|it| it.endpoint), None, "{errors:?}");
    }
    // A host that reports closed ports, one a second, and has nothing open.
    let mut network = server(400, 0, LINUX);
    network.ports.retain(|it| it.0.port > 10);
    let ran = network.run();
    let silent = ran
        .verdicts
        .values()
        .find(|it| it.reason == Reason::WentSilent);
    assert_eq!(silent.map(|it| it.endpoint), None);
}

#[test]
fn a_slow_host_keeps_no_other_waiting() {
    let does = |port: u16| match port {
        port if port <= 100 => asked(port, Port::Answers),
        port => asked(port, Port::Silent),
    };
    let run = |narrow| {
        let mut network = services(20, 0);
        network.ports = (1..=400).map(does).collect();
        network.narrow = narrow;
        network.run()
    };
    let ended = |ran: &Ran| {
        let of_others = (2..=20).flat_map(|last| ran.of_host(last).map(|it| it.endpoint));
        let told = of_others.map(|it| ran.told[&(it.address, it.port)]);
        told.max().unwrap().elapsed()
    };
    let alone = ended(&run(None));
    let ran = run(Some((1, 50.0)));
    let beside = ended(&ran);
    assert!(
        beside < alone + Duration::from_millis(500),
        "{beside:?}, {alone:?}"
    );
    assert!(
        ran.ended.elapsed() > beside + Duration::from_secs(2),
        "{:?}",
        ran.ended
    );
    let open = ran.of_host(1).filter(|it| it.reason == Reason::UdpResponse);
    assert_eq!(open.count(), 100);
    assert_eq!(ran.count(State::Open), 2_000);
    assert!(ran.last_rate(1) < 1_000, "{}", ran.last_rate(1));
}

/// A host whose ICMP errors are limited to six, then one in ten seconds (no
/// open service in the first lane), and a port of the second lane that answers.
#[test]
fn a_host_that_reports_one_error_in_ten_seconds_is_asked_the_other_ports() {
    let mut network = server(400, 0, Errors::Bucket(6, Duration::from_secs(10)));
    network.ports = (1..=40).map(|port| asked(port, Port::Closed)).collect();
    network
        .ports
        .extend((41..=400).map(|port| empty(port, Port::Silent)));
    network.ports.push(empty(900, Port::Answers));
    let ran = network.run();
    let gone = ran
        .verdicts
        .values()
        .filter(|it| it.reason == Reason::WentSilent)
        .count();
    assert_eq!((ran.count(State::Open), gone), (1, 0));
}
