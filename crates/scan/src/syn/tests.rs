//! The engine on small simulated networks, in virtual time.

use super::*;
use portolan_model::State;
use portolan_wire::{Addresses, Protocol};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What becomes of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accept,
    Refuse,
    /// An ICMP error of type 3 with this code.
    Unreachable(u8),
    Silence,
}

/// A network of hosts 192.0.2.1 and on, one round trip of [`RTT`] away.
struct Network<F> {
    fate: F,
    /// Share of packets lost each way, in thousandths.
    loss: u32,
    /// Most probes a second that pass, and how many may come at once.
    policer: Option<(u64, u64)>,
    random: u64,
    credit: f64,
    filled: Moment,
}

const RTT: Duration = Duration::from_micros(200);
/// What a probe takes to send.
const COST: Duration = Duration::from_nanos(1_500);
const SCANNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

impl<F: FnMut(SynProbe, u32) -> Fate> Network<F> {
    fn of(fate: F) -> Self {
        Self {
            fate,
            loss: 0,
            policer: None,
            random: 7,
            credit: 0.0,
            filled: Moment::START,
        }
    }

    fn is_lost(&mut self) -> bool {
        // splitmix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000 < u64::from(self.loss)
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn is_policed(&mut self, now: Moment) -> bool {
        let Some((rate, burst)) = self.policer else {
            return false;
        };
        let gained = now.since(self.filled).as_secs_f64() * rate as f64;
        self.credit = (self.credit + gained).min(burst as f64);
        self.filled = now;
        if self.credit < 1.0 {
            return true;
        }
        self.credit -= 1.0;
        false
    }

    fn answer(&mut self, now: Moment, probe: SynProbe, times: u32) -> Option<Packet<'static>> {
        if self.is_policed(now) || self.is_lost() {
            return None;
        }
        let fate = (self.fate)(probe, times);
        let lost = self.is_lost();
        match fate {
            _ if lost => None,
            Fate::Accept => Some(segment(probe, Flags::SYN.with(Flags::ACK))),
            Fate::Refuse => Some(segment(probe, Flags::RST.with(Flags::ACK))),
            Fate::Unreachable(code) => Some(error(probe, code, probe.sequence)),
            Fate::Silence => None,
        }
    }
}

fn segment(probe: SynProbe, flags: Flags) -> Packet<'static> {
    Packet::Tcp(Tcp {
        addresses: Addresses {
            source: probe.endpoint.address,
            destination: SCANNER,
        },
        hop_limit: 64,
        source_port: probe.endpoint.port,
        destination_port: probe.source_port,
        sequence: 1,
        acknowledgement: probe.sequence.wrapping_add(1),
        flags,
        window: 64_240,
        payload_length: 0,
    })
}

fn error(probe: SynProbe, code: u8, sequence: u32) -> Packet<'static> {
    let quoted = portolan_wire::icmp::Quoted {
        addresses: Addresses {
            source: SCANNER,
            destination: probe.endpoint.address,
        },
        protocol: Protocol::TCP,
        content: QuotedContent::Tcp {
            source_port: probe.source_port,
            destination_port: probe.endpoint.port,
            sequence: Some(sequence),
        },
    };
    Packet::IcmpError(IcmpError {
        addresses: Addresses {
            source: IpAddr::from([192, 0, 2, 253]),
            destination: SCANNER,
        },
        hop_limit: 64,
        kind: 3,
        code,
        quoted,
    })
}

/// What a scan came to.
struct Outcome {
    verdicts: BTreeMap<Endpoint, Verdict>,
    probes: u64,
    figures: Figures,
    seconds: f64,
    /// Source ports by endpoint, in the order of the probes.
    ports: BTreeMap<Endpoint, Vec<u16>>,
}

impl Outcome {
    fn count(&self, state: State) -> usize {
        let states = self.verdicts.values().map(|it| it.reason.tcp_state());
        states.filter(|it| *it == state).count()
    }
}

fn options() -> SynOptions {
    SynOptions {
        first_port: 61_440,
        key: [3; 16],
        rate: None,
        host_rate: None,
        patience: Patience::default(),
    }
}

fn addresses(hosts: u8) -> Vec<IpAddr> {
    (1..=hosts).map(|last| [192, 0, 2, last].into()).collect()
}

/// Position to host and port, each port of all hosts in turn.
fn lookup(hosts: u8) -> impl FnMut(u32) -> Option<(u32, u16)> {
    let hosts = u32::from(hosts);
    move |position| {
        // Any bijection does; a stride that shares no factor with 65,536 mixes the ports.
        let port = (position / hosts).wrapping_mul(40_503) % 65_536;
        Some((position % hosts, u16::try_from(port).unwrap()))
    }
}

/// All ports but those above `ports` of `hosts` hosts.
fn scan<F: FnMut(SynProbe, u32) -> Fate>(
    hosts: u8,
    options: SynOptions,
    network: &mut Network<F>,
) -> Outcome {
    let positions = u32::from(hosts) * 65_536;
    let engine = SynEngine::new(
        lookup(hosts),
        positions,
        addresses(hosts),
        &PortSet::range(0, 65_535),
        options,
    );
    drive(engine, network)
}

fn drive<L, F>(mut engine: SynEngine<L>, network: &mut Network<F>) -> Outcome
where
    L: FnMut(u32) -> Option<(u32, u16)>,
    F: FnMut(SynProbe, u32) -> Fate,
{
    let mut now = Moment::START;
    let mut flying: BinaryHeap<Reverse<(Moment, usize)>> = BinaryHeap::new();
    let mut packets: Vec<Packet<'static>> = Vec::new();
    let mut verdicts = BTreeMap::new();
    let mut ports: BTreeMap<Endpoint, Vec<u16>> = BTreeMap::new();
    let mut rounds = 0;
    while !engine.is_done() {
        rounds += 1;
        assert!(rounds < 5_000_000, "the scan does not end");
        while let Some(Reverse((moment, _))) = flying.peek()
            && *moment <= now
        {
            let Reverse((_, at)) = flying.pop().unwrap();
            engine.handle_packet(now, &packets[at]);
        }
        engine.handle_timeout(now);
        while let Some(verdict) = engine.poll_verdict() {
            let before = verdicts.insert(verdict.endpoint, verdict);
            assert!(before.is_none(), "{verdict:?} after {before:?}");
        }
        for _ in 0..64 {
            let Some(probe) = engine.poll_probe(now) else {
                break;
            };
            now = now + COST;
            let sent = ports.entry(probe.endpoint).or_default();
            sent.push(probe.source_port);
            let times = u32::try_from(sent.len()).unwrap();
            if let Some(packet) = network.answer(now, probe, times) {
                flying.push(Reverse((now + RTT, packets.len())));
                packets.push(packet);
            }
        }
        let next = engine.poll_timeout(now).unwrap_or(Moment::NEVER);
        let arrival = flying.peek().map_or(Moment::NEVER, |it| it.0.0);
        now = now.max(next.min(arrival)) + Duration::from_micros(1);
    }
    let figures = engine.figures();
    Outcome {
        verdicts,
        probes: figures.probes,
        figures,
        seconds: now.elapsed().as_secs_f64(),
        ports,
    }
}

/// Every 327th port is open: 201 of 65,536.
fn is_open(probe: SynProbe) -> bool {
    probe.endpoint.port.is_multiple_of(327)
}

fn answering(probe: SynProbe, _: u32) -> Fate {
    if is_open(probe) {
        Fate::Accept
    } else {
        Fate::Refuse
    }
}

fn dropping(probe: SynProbe, _: u32) -> Fate {
    if is_open(probe) {
        Fate::Accept
    } else {
        Fate::Silence
    }
}

#[test]
fn a_host_that_answers_everything_is_asked_everything_once() {
    let outcome = scan(1, options(), &mut Network::of(answering));
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
        let mut network = Network::of(answering);
        (network.loss, network.random) = (loss, random);
        let outcome = scan(1, options(), &mut network);
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
        let mut network = Network::of(dropping);
        network.loss = loss;
        let outcome = scan(1, options(), &mut network);
        assert_eq!(outcome.count(State::Open), 201, "{loss}");
        assert_eq!(outcome.count(State::Filtered), 65_335, "{loss}");
        let probes = outcome.figures.loss.silent_probes_min;
        assert!(probes >= least, "{probes} at {loss} of 1,000");
        assert!(outcome.figures.loss.estimate().missed.unwrap() <= 0.02);
        assert!(outcome.seconds < most, "{} s at {loss}", outcome.seconds);
    }
}

#[test]
fn no_port_is_asked_from_the_same_port_twice() {
    let mut network = Network::of(dropping);
    network.loss = 50;
    let outcome = scan(1, options(), &mut network);
    for (endpoint, ports) in outcome.ports {
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len(), "{endpoint}");
    }
}

#[test]
fn the_knee_of_a_policer_is_found() {
    for rate in [20_000_u64, 5_000] {
        let mut network = Network::of(answering);
        network.policer = Some((rate, rate / 100));
        let outcome = scan(1, options(), &mut network);
        assert_eq!(outcome.count(State::Open), 201, "{rate}");
        assert_eq!(outcome.count(State::Filtered), 0, "{rate}");
        let floor = 65_536.0 / f64::from(u32::try_from(rate).unwrap());
        assert!(outcome.seconds < 1.15 * floor, "{} s", outcome.seconds);
    }
}

#[test]
fn a_policer_before_a_hundred_hosts_is_found_as_well() {
    let mut network = Network::of(answering);
    network.policer = Some((50_000, 500));
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
    assert_eq!(
        (outcome.verdicts.len(), outcome.probes),
        (400, 100 + 300 + 100)
    );
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
