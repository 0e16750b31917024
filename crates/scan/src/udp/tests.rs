//! The engine against small networks in virtual time.

mod congestion;

use super::*;
use crate::Patience;
use portolan_model::{State, Unreachable};
use std::collections::BTreeMap;

/// How a host reports closed ports.
#[derive(Clone, Copy, Debug)]
enum Errors {
    None,
    All,
    /// So many at once, then one each interval, as Linux does.
    Bucket(u32, Duration),
}

/// What a port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Answers,
    /// Answers after so long.
    Late(Duration),
    Closed,
    Silent,
    /// A device on the way refuses.
    Prohibited,
    /// A device on the way says that the port is unreachable.
    Elsewhere,
}

/// A network in which every host is alike.
struct Network {
    hosts: u8,
    ports: Vec<(UdpPort, Port)>,
    errors: Errors,
    rtt: Duration,
    /// One datagram in a thousand that gets lost, each way.
    loss: u64,
    seed: u64,
    options: UdpOptions,
    /// A host, by its last byte, whose way lets so many datagrams a second through and ten at once.
    narrow: Option<(u8, f64)>,
    /// The same for all hosts together.
    bottleneck: Option<f64>,
    /// A host that says nothing any more from a moment on.
    dies: Option<(u8, Duration)>,
}

/// What a run came to.
struct Ran {
    verdicts: BTreeMap<(IpAddr, u16), Verdict>,
    figures: Figures,
    ended: Moment,
    /// When each port was told.
    told: BTreeMap<(IpAddr, u16), Moment>,
    /// When each port was found open.
    found: BTreeMap<(IpAddr, u16), Moment>,
    /// When what was sent, from which source.
    sent: Vec<(Moment, UdpProbe)>,
}

const OPTIONS: UdpOptions = UdpOptions {
    rate: None,
    found_rate: None,
    host_rate: None,
    patience: Patience {
        retries: None,
        timeout: None,
    },
};
const LINUX: Errors = Errors::Bucket(6, Duration::from_secs(1));
/// A run that takes longer never ends.
const END: Moment = Moment::from_nanos(600_000_000_000);

fn asked(port: u16, does: Port) -> (UdpPort, Port) {
    let ask = Ask::Questions(1);
    (UdpPort { port, ask }, does)
}

fn empty(port: u16, does: Port) -> (UdpPort, Port) {
    let ask = Ask::Empty;
    (UdpPort { port, ask }, does)
}

/// `open` of known services that answer, other known services closed, and as many ports as it
/// takes, closed too.
fn server(ports: u16, open: u16, errors: Errors) -> Network {
    let does = |port| match port {
        port if port <= open => asked(port, Port::Answers),
        port if port <= open * 4 => asked(port, Port::Closed),
        port => empty(port, Port::Closed),
    };
    Network {
        hosts: 1,
        ports: (1..=ports).map(does).collect(),
        errors,
        rtt: Duration::from_millis(2),
        loss: 0,
        seed: 1,
        options: OPTIONS,
        narrow: None,
        bottleneck: None,
        dies: None,
    }
}

impl Network {
    fn run(&self) -> Ran {
        let addresses: Vec<IpAddr> = (1..=self.hosts)
            .map(|last| IpAddr::from([192, 0, 2, last]))
            .collect();
        let ports: Vec<UdpPort> = self.ports.iter().map(|it| it.0).collect();
        let count = u32::try_from(ports.len()).unwrap();
        let hosts = u32::from(self.hosts);
        // Ports far from each other follow each other, as in a random order.
        let step = (count / 2..count)
            .find(|step| gcd(*step, count) == 1)
            .unwrap_or(1);
        let lookup = |position: u32| {
            let at = (position / hosts).wrapping_mul(step) % count;
            Some((position % hosts, ports[index(at)].port))
        };
        let engine = UdpEngine::new(lookup, count * hosts, addresses, &ports, self.options);
        self.drive(engine)
    }

    fn drive<L: FnMut(u32) -> Option<(u32, u16)>>(&self, mut engine: UdpEngine<L>) -> Ran {
        let mut ran = Ran {
            verdicts: BTreeMap::new(),
            figures: Figures::default(),
            ended: Moment::START,
            told: BTreeMap::new(),
            found: BTreeMap::new(),
            sent: Vec::new(),
        };
        let mut random = self.seed;
        let mut under_way: BTreeMap<(Moment, u64), (UdpProbe, Port)> = BTreeMap::new();
        let mut tokens: HashMap<IpAddr, (f64, Moment)> = HashMap::new();
        let (mut now, mut number) = (Moment::START, 0_u64);
        while !engine.is_done() {
            assert!(now < END, "the engine does not end");
            while let Some(entry) = under_way.first_entry().filter(|it| it.key().0 <= now) {
                let (probe, does) = entry.remove();
                tell(&mut engine, now, &probe, does);
            }
            engine.handle_timeout(now);
            while let Some(verdict) = engine.poll_verdict() {
                let key = (verdict.endpoint.address, verdict.endpoint.port);
                assert!(ran.verdicts.insert(key, verdict).is_none(), "{key:?} twice");
                ran.told.insert(key, now);
                if verdict.reason == Reason::UdpResponse {
                    ran.found.insert(key, now);
                }
            }
            while let Some(probe) = engine.poll_probe(now) {
                engine.handle_sent(now, &probe);
                ran.sent.push((now, probe));
                let does = self.does(probe.endpoint.port);
                let later = match does {
                    Port::Late(thinking) => self.rtt + thinking,
                    _ => self.rtt,
                };
                if self.comes_back(does, &probe, now, &mut random, &mut tokens) {
                    number += 1;
                    under_way.insert((now + later, number), (probe, does));
                }
            }
            let next = under_way.keys().next().map(|(moment, _)| *moment);
            let next = next.into_iter().chain(engine.poll_timeout(now)).min();
            now = next.unwrap_or(END).max(now + Duration::from_micros(10));
        }
        ran.figures = engine.figures();
        ran.ended = now;
        ran
    }

    fn does(&self, port: u16) -> Port {
        self.ports.iter().find(|it| it.0.port == port).unwrap().1
    }

    fn comes_back(
        &self,
        does: Port,
        probe: &UdpProbe,
        now: Moment,
        random: &mut u64,
        tokens: &mut HashMap<IpAddr, (f64, Moment)>,
    ) -> bool {
        let mut is_lost = || {
            *random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695);
            (*random >> 33) % 1_000 < self.loss
        };
        if is_lost() || does == Port::Silent {
            return false;
        }
        let IpAddr::V4(host) = probe.endpoint.address else {
            return false;
        };
        let [.., last] = host.octets();
        if self
            .dies
            .is_some_and(|(it, at)| it == last && now.elapsed() >= at)
        {
            return false;
        }
        let narrow = self.narrow.filter(|it| it.0 == last);
        let narrow = narrow.map(|(_, rate)| (IpAddr::from([198, 18, 0, last]), rate));
        let bottleneck = self
            .bottleneck
            .map(|rate| (IpAddr::from([198, 18, 1, 0]), rate));
        for (gate, rate) in narrow.into_iter().chain(bottleneck) {
            if !takes_token(tokens, gate, now, 10.0, 1.0 / rate) {
                return false;
            }
        }
        let comes = match (does, self.errors) {
            (Port::Closed, Errors::None) => false,
            (Port::Closed, Errors::Bucket(most, each)) => {
                let host = probe.endpoint.address;
                takes_token(tokens, host, now, f64::from(most), each.as_secs_f64())
            }
            _ => true,
        };
        comes && !is_lost()
    }
}

/// Whether a bucket of `most` tokens, with a new one every `each` seconds, has one.
fn takes_token(
    tokens: &mut HashMap<IpAddr, (f64, Moment)>,
    bucket: IpAddr,
    now: Moment,
    most: f64,
    each: f64,
) -> bool {
    let (left, at) = tokens.entry(bucket).or_insert((most, now));
    *left = (*left + now.since(*at).as_secs_f64() / each).min(most);
    *at = now;
    let has = *left >= 1.0;
    *left -= f64::from(u8::from(has));
    has
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn tell<L: FnMut(u32) -> Option<(u32, u16)>>(
    engine: &mut UdpEngine<L>,
    now: Moment,
    probe: &UdpProbe,
    does: Port,
) {
    let router = Some(IpAddr::from([192, 0, 2, 254]));
    let (code, from) = match does {
        Port::Answers | Port::Late(_) => {
            engine.handle_reply(now, probe.source, probe.endpoint);
            return;
        }
        Port::Closed => (Unreachable::V4(3), Some(probe.endpoint.address)),
        Port::Prohibited => (Unreachable::V4(13), router),
        Port::Elsewhere => (Unreachable::V4(3), router),
        Port::Silent => return,
    };
    let error = UdpError {
        endpoint: probe.endpoint,
        code,
        from,
    };
    engine.handle_error(now, probe.source, error);
}

impl Ran {
    fn count(&self, state: State) -> usize {
        let states = self.verdicts.values().map(|it| it.reason.udp_state());
        states.filter(|it| *it == state).count()
    }

    /// Verdicts of a host, by its last byte.
    fn of_host(&self, last: u8) -> impl Iterator<Item = &Verdict> {
        let address = IpAddr::from([192, 0, 2, last]);
        let verdicts = self.verdicts.values();
        verdicts.filter(move |it| it.endpoint.address == address)
    }

    /// Datagrams to a host, by its last byte, in the last second in which it got any.
    fn last_rate(&self, last: u8) -> usize {
        let address = IpAddr::from([192, 0, 2, last]);
        let to_host = self
            .sent
            .iter()
            .filter(|it| it.1.endpoint.address == address);
        let moments: Vec<Duration> = to_host.map(|it| it.0.elapsed()).collect();
        let end = moments.iter().max().copied().unwrap_or_default();
        let since = end.saturating_sub(Duration::from_secs(1));
        moments.iter().filter(|it| **it >= since).count()
    }

    fn reason(&self, port: u16) -> Reason {
        self.verdicts[&(IpAddr::from([192, 0, 2, 1]), port)].reason
    }
}

#[test]
fn every_service_of_a_host_with_the_limits_of_linux_is_found_at_once() {
    let ran = server(1_000, 12, LINUX).run();
    assert_eq!(ran.count(State::Open), 12);
    let last = ran.found.values().max().unwrap().elapsed();
    assert!(last < Duration::from_millis(100), "{last:?}");
    assert!(
        ran.ended.elapsed() < Duration::from_secs(5),
        "{:?}",
        ran.ended
    );
    // Six errors, and one a second.
    assert!((6..=12).contains(&ran.count(State::Closed)));
    assert_eq!(ran.verdicts.len(), 1_000);
    let limited = ran
        .verdicts
        .values()
        .filter(|it| matches!(it.reason, Reason::IcmpLimited { .. }));
    assert_eq!(limited.count(), ran.count(State::OpenFiltered));
}

#[test]
fn loss_hides_no_service() {
    for seed in 1..=20 {
        let mut network = server(1_000, 12, LINUX);
        (network.loss, network.seed) = (50, seed);
        let ran = network.run();
        let (passes, loss) = (ran.reason(20), ran.figures.loss);
        assert_eq!(
            ran.count(State::Open),
            12,
            "seed {seed}: {passes}, {loss:?}"
        );
        assert!(ran.ended.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_host_that_reports_every_closed_port_has_none_in_doubt() {
    for (loss, seed) in [(0, 1), (50, 1), (50, 2), (50, 3)] {
        let mut network = server(1_000, 12, Errors::All);
        (network.loss, network.seed) = (loss, seed);
        let ran = network.run();
        assert_eq!(ran.count(State::Open), 12);
        assert_eq!(ran.count(State::Closed), 988, "loss {loss}, seed {seed}");
        let measured = ran.figures.loss.share().unwrap();
        assert!(
            (measured - 0.097 * f64::from(u8::from(loss > 0))).abs() < 0.03,
            "{measured}"
        );
    }
}

#[test]
fn a_generous_limit_is_learnt_and_kept_to() {
    let ran = server(500, 5, Errors::Bucket(50, Duration::from_millis(5))).run();
    assert_eq!(ran.count(State::Closed), 495);
    assert!(
        ran.ended.elapsed() < Duration::from_secs(10),
        "{:?}",
        ran.ended
    );
    // Far fewer than every port in every pass.
    assert!(ran.figures.probes < 2_500, "{}", ran.figures.probes);
}

#[test]
fn silence_is_told_with_its_probes_and_blames_no_limit() {
    let ran = server(100, 5, Errors::None).run();
    assert_eq!(ran.count(State::OpenFiltered), 95);
    // Five answers do not show that a fourth probe would be in vain.
    assert_eq!(ran.reason(6), Reason::Timeout { probes: 4 });
    assert_eq!(ran.reason(100), Reason::Timeout { probes: 2 });
}

#[test]
fn a_few_closed_ports_behind_a_filter_are_no_limit() {
    let mut network = server(0, 0, Errors::All);
    let does = |port: u16| match port {
        port if port.is_multiple_of(25) => empty(port, Port::Closed),
        port => empty(port, Port::Silent),
    };
    network.ports = (1..=400).map(does).collect();
    let ran = network.run();
    assert_eq!(ran.count(State::Closed), 16);
    assert!(matches!(ran.reason(1), Reason::Timeout { .. }));
}

#[test]
fn who_refuses_is_told_apart() {
    let mut network = server(0, 0, Errors::All);
    network.ports = vec![
        asked(1, Port::Prohibited),
        asked(2, Port::Elsewhere),
        asked(3, Port::Closed),
    ];
    let ran = network.run();
    assert_eq!(ran.reason(1), Reason::Icmp(Unreachable::V4(13)));
    assert_eq!(ran.reason(2), Reason::IcmpElsewhere);
    assert_eq!(ran.reason(3), Reason::Icmp(Unreachable::V4(3)));
    assert_eq!(
        (ran.count(State::Filtered), ran.count(State::Closed)),
        (2, 1)
    );
}

#[test]
fn a_service_that_thinks_is_waited_for() {
    let mut network = server(0, 0, Errors::All);
    network.ports = vec![asked(1, Port::Late(Duration::from_millis(1_100)))];
    assert_eq!(network.run().count(State::Open), 1);
    // Its answer to the first of three probes is no loss.
    assert_eq!(network.run().figures.loss.lost, 0);
}

#[test]
fn ports_that_get_nothing_get_nothing() {
    let mut network = server(20, 2, Errors::All);
    network.ports[4].0.ask = Ask::Nothing;
    let ran = network.run();
    assert_eq!(ran.reason(5), Reason::NeverSend);
    assert!(ran.sent.iter().all(|(_, probe)| probe.endpoint.port != 5));
}

#[test]
fn every_pass_has_a_source_of_its_own_and_asks_every_question() {
    let mut network = server(0, 0, Errors::None);
    network.ports = vec![(
        UdpPort {
            port: 1,
            ask: Ask::Questions(3),
        },
        Port::Silent,
    )];
    let ran = network.run();
    let sent: Vec<_> = ran
        .sent
        .iter()
        .map(|(_, it)| (it.source, it.question))
        .collect();
    let expected = (0..3).flat_map(|source| (0..3).map(move |it| (source, Some(it))));
    assert_eq!(sent, expected.collect::<Vec<_>>());
}

#[test]
fn rates_are_kept() {
    let mut network = server(200, 5, Errors::None);
    network.hosts = 4;
    network.options.rate = Some(1_000.0);
    network.options.host_rate = Some(200.0);
    let ran = network.run();
    let most = |host: Option<u8>, length: Duration| {
        let of_host = |probe: &UdpProbe| {
            host.is_none_or(|it| probe.endpoint.address == IpAddr::from([192, 0, 2, it]))
        };
        let sent = ran.sent.iter().filter(|(_, probe)| of_host(probe));
        let moments: Vec<Moment> = sent.map(|(moment, _)| *moment).collect();
        let within = |start: &Moment| {
            moments
                .iter()
                .filter(|it| *it >= start && it.since(*start) < length)
                .count()
        };
        moments.iter().map(within).max().unwrap()
    };
    let second = Duration::from_secs(1);
    assert!(most(None, second) <= 1_005, "{}", most(None, second));
    assert!(most(Some(2), second) <= 202, "{}", most(Some(2), second));
}

#[test]
fn retries_and_timeout_are_kept() {
    let mut network = server(40, 5, Errors::None);
    network.options.patience = Patience {
        retries: Some(0),
        timeout: Some(Duration::from_millis(50)),
    };
    let ran = network.run();
    assert_eq!(ran.reason(6), Reason::Timeout { probes: 1 });
    assert_eq!(ran.reason(40), Reason::Timeout { probes: 1 });
    // And one to see that the host still answers.
    assert_eq!(ran.figures.probes, 41);
    assert!(ran.ended.elapsed() < Duration::from_millis(200));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut network = server(300, 6, LINUX);
        (network.hosts, network.loss) = (3, 100);
        let ran = network.run();
        (ran.verdicts.into_values().collect::<Vec<_>>(), ran.sent)
    };
    assert_eq!(run(), run());
}

#[test]
fn hosts_do_not_wait_for_each_other() {
    let mut network = server(100, 5, LINUX);
    network.hosts = 20;
    let ran = network.run();
    assert_eq!(ran.count(State::Open), 100);
    assert!(ran.found.values().max().unwrap().elapsed() < Duration::from_millis(250));
    assert!(
        ran.ended.elapsed() < Duration::from_secs(6),
        "{:?}",
        ran.ended
    );
}

/// An engine over ports 1 and 2 of one host, the first with a question.
fn small() -> UdpEngine<impl FnMut(u32) -> Option<(u32, u16)>> {
    let ports = [asked(1, Port::Silent).0, empty(2, Port::Silent).0];
    let lookup = |position: u32| Some((0, u16::try_from(position).unwrap() + 1));
    UdpEngine::new(lookup, 2, vec![host()], &ports, OPTIONS)
}

fn host() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

/// Ends an engine to which nothing more comes.
fn finish(engine: &mut UdpEngine<impl FnMut(u32) -> Option<(u32, u16)>>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut now = Moment::from_nanos(1_000_000);
    while !engine.is_done() {
        assert!(now < END);
        engine.handle_timeout(now);
        verdicts.extend(std::iter::from_fn(|| engine.poll_verdict()));
        while let Some(probe) = engine.poll_probe(now) {
            engine.handle_sent(now, &probe);
        }
        now = engine
            .poll_timeout(now)
            .unwrap_or(END)
            .max(now + Duration::from_micros(10));
    }
    verdicts
}

#[test]
fn what_was_not_asked_for_decides_nothing() {
    let mut engine = small();
    let now = Moment::from_nanos(1_000);
    // Nothing was sent yet.
    assert!(!engine.handle_reply(now, 0, Endpoint::udp(host(), 1)));
    let probe = engine.poll_probe(now).unwrap();
    engine.handle_sent(now, &probe);
    for endpoint in [
        Endpoint::udp(host(), 2),
        Endpoint::udp(host(), 3),
        Endpoint::udp(IpAddr::from([192, 0, 2, 9]), 1),
    ] {
        assert!(!engine.handle_reply(now, 0, endpoint));
    }
    assert_eq!(engine.strays(), 4);
    assert!(engine.handle_reply(now, 0, probe.endpoint));
    // A second answer is one too many.
    assert!(!engine.handle_reply(now, 0, probe.endpoint));
    let open = finish(&mut engine)
        .into_iter()
        .filter(|it| it.reason == Reason::UdpResponse);
    assert_eq!(open.count(), 1);
}

#[test]
fn what_did_not_leave_says_nothing_of_its_port() {
    let mut engine = small();
    let now = Moment::from_nanos(1_000);
    let probe = engine.poll_probe(now).unwrap();
    engine.handle_unsent(now, &probe);
    // It is asked for again, a little later.
    assert_eq!(engine.poll_probe(now), None);
    let again = engine.poll_probe(now + Duration::from_millis(2)).unwrap();
    assert_eq!(again.endpoint, probe.endpoint);
    let mut now = now;
    let mut engine = small();
    while !engine.is_done() {
        engine.handle_timeout(now);
        while let Some(probe) = engine.poll_probe(now) {
            engine.handle_refused(&probe, Reason::LocalPolicy);
        }
        if let Some(verdict) = engine.poll_verdict() {
            assert_eq!((verdict.reason, verdict.probes), (Reason::LocalPolicy, 0));
        }
        now = engine
            .poll_timeout(now)
            .unwrap_or(END)
            .max(now + Duration::from_micros(10));
        assert!(now < END);
    }
    assert_eq!(engine.figures().probes, 0);
}

#[test]
fn an_absent_host_is_asked_no_more() {
    let mut engine = small();
    let now = Moment::from_nanos(1_000);
    let probe = engine.poll_probe(now).unwrap();
    engine.handle_sent(now, &probe);
    engine.handle_unreachable(host(), Reason::NoNeighbour);
    let verdicts = finish(&mut engine);
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.iter().all(|it| it.reason == Reason::NoNeighbour));
    assert_eq!(engine.figures().probes, 1);
}

#[test]
fn a_drained_engine_sends_nothing_and_claims_nothing() {
    let mut engine = small();
    let now = Moment::from_nanos(1_000);
    let probe = engine.poll_probe(now).unwrap();
    engine.handle_sent(now, &probe);
    engine.drain();
    assert_eq!(engine.poll_probe(now + Duration::from_secs(1)), None);
    assert_eq!(engine.poll_verdict(), None);
    assert!(engine.is_done());
}

#[test]
fn a_pass_whose_answers_found_no_room_does_not_count() {
    let passes = |overruns: u32| {
        let mut engine = small();
        let mut now = Moment::from_nanos(1_000);
        let mut asked = 0;
        while !engine.is_done() {
            engine.handle_timeout(now);
            while let Some(probe) = engine.poll_probe(now) {
                engine.handle_sent(now, &probe);
                asked += u32::from(probe.endpoint.port == 1);
                if asked <= overruns {
                    engine.handle_overrun();
                }
            }
            while engine.poll_verdict().is_some() {}
            let next = engine.poll_timeout(now).unwrap_or(END);
            now = next.max(now + Duration::from_micros(10));
            assert!(now < END);
        }
        asked
    };
    assert_eq!((passes(0), passes(1), passes(2)), (3, 4, 5));
}
