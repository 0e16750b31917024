//! The engine on small simulated networks, in virtual time.

use super::*;
use portolan_wire::icmp::{EchoReply, Quoted, QuotedContent, TimestampReply};
use portolan_wire::tcp::{Flags, Tcp};
use portolan_wire::udp::UdpDatagram;
use portolan_wire::{Addresses, Protocol};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, Ipv6Addr};

const SCANNER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 254));
/// What a probe takes to send.
const COST: Duration = Duration::from_micros(2);

/// What comes back to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answer,
    /// An ICMP error of type 3 with this code from the host itself …
    Own(u8),
    /// … or from a router.
    Router(u8),
    Silence,
}

/// A network, and what is to be seen of the engine on it.
struct Network<F> {
    fate: F,
    rtt: Duration,
    /// Share of packets lost each way, in thousandths.
    loss: u64,
    random: u64,
    /// Probes by host.
    probes: BTreeMap<u32, Vec<DiscoveryProbe>>,
    ended: Moment,
    /// Most entries of all queues together.
    entries: usize,
}

impl<F: Fn(&DiscoveryProbe) -> Fate> Network<F> {
    fn of(rtt_ms: u64, fate: F) -> Self {
        Self {
            fate,
            rtt: Duration::from_millis(rtt_ms),
            loss: 0,
            random: 3,
            probes: BTreeMap::new(),
            ended: Moment::START,
            entries: 0,
        }
    }

    fn is_lost(&mut self) -> bool {
        // splitmix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000 < self.loss
    }

    fn run(&mut self, engine: &mut DiscoveryEngine) -> BTreeMap<u32, HostVerdict> {
        let mut verdicts = BTreeMap::new();
        let mut under_way = BinaryHeap::new();
        let mut sent: Vec<(DiscoveryProbe, Fate)> = Vec::new();
        let mut now = Moment::START;
        for _ in 0..20_000_000_u64 {
            while let Some(Reverse((at, number))) = under_way.peek().copied()
                && at <= now
            {
                under_way.pop();
                let (probe, fate): (DiscoveryProbe, Fate) = sent[number];
                answer(engine, now, &probe, fate);
            }
            engine.handle_timeout(now);
            while let Some(verdict) = engine.poll_verdict() {
                assert!(verdicts.insert(verdict.host, verdict).is_none());
            }
            if engine.is_done() {
                self.ended = now;
                return verdicts;
            }
            if let Some(probe) = engine.poll_probe(now) {
                self.probes.entry(probe.host).or_default().push(probe);
                let lost = self.is_lost() || self.is_lost();
                let fate = if lost {
                    Fate::Silence
                } else {
                    (self.fate)(&probe)
                };
                if fate != Fate::Silence {
                    under_way.push(Reverse((now + self.rtt, sent.len())));
                    sent.push((probe, fate));
                }
                now = now + COST;
                let waiting: usize = engine.waiting.iter().map(VecDeque::len).sum();
                let queued = engine.ready.len() + engine.due.len() + engine.verdicts.len();
                self.entries = self.entries.max(waiting + queued);
                continue;
            }
            let next = under_way.peek().map(|Reverse((at, _))| *at);
            let next = next.into_iter().chain(engine.poll_timeout(now)).min();
            now = next.expect("something is waited for").max(now + COST);
        }
        panic!("the engine does not end");
    }
}

fn answer(engine: &mut DiscoveryEngine, now: Moment, probe: &DiscoveryProbe, fate: Fate) {
    let addresses = Addresses {
        source: probe.address,
        destination: SCANNER,
    };
    match fate {
        Fate::Silence => {}
        Fate::Answer => with_answer(probe, addresses, |packet| engine.handle_packet(now, packet)),
        Fate::Own(code) => engine.handle_packet(now, &error(probe, probe.address, code)),
        Fate::Router(code) => engine.handle_packet(now, &error(probe, ROUTER, code)),
    }
}

fn with_answer(probe: &DiscoveryProbe, addresses: Addresses, then: impl FnOnce(&Packet<'_>)) {
    let [identifier, sequence] = halves(probe.number);
    let segment = |flags, sequence, acknowledgement| {
        Packet::Tcp(Tcp {
            addresses,
            hop_limit: 60,
            source_port: probe.port,
            destination_port: probe.source_port,
            sequence,
            acknowledgement,
            flags,
            window: 0,
            payload_length: 0,
        })
    };
    let data = probe.check.to_be_bytes();
    then(&match probe.kind {
        ProbeKind::Echo => Packet::EchoReply(EchoReply {
            addresses,
            hop_limit: 60,
            identifier,
            sequence,
            payload: &data,
        }),
        ProbeKind::Timestamp => Packet::TimestampReply(TimestampReply {
            addresses,
            hop_limit: 60,
            identifier,
            sequence,
            originate: probe.check,
            receive: 0,
            transmit: 0,
        }),
        ProbeKind::Syn => segment(Flags::RST.with(Flags::ACK), 0, probe.number.wrapping_add(1)),
        ProbeKind::Ack => segment(Flags::RST, probe.number, 0),
        ProbeKind::Udp => Packet::Udp(UdpDatagram {
            addresses,
            hop_limit: 60,
            source_port: probe.port,
            destination_port: probe.source_port,
            payload: b"",
            payload_length: 0,
        }),
    });
}

fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn error(probe: &DiscoveryProbe, source: IpAddr, code: u8) -> Packet<'static> {
    let [identifier, sequence] = halves(probe.number);
    let ports = |tcp: Option<u32>| match tcp {
        Some(sequence) => QuotedContent::Tcp {
            source_port: probe.source_port,
            destination_port: probe.port,
            sequence: Some(sequence),
        },
        None => QuotedContent::Udp {
            source_port: probe.source_port,
            destination_port: probe.port,
        },
    };
    let query = |kind| QuotedContent::Query {
        kind,
        identifier,
        sequence,
    };
    let (protocol, content) = match probe.kind {
        ProbeKind::Echo => (Protocol::ICMP, query(8)),
        ProbeKind::Timestamp => (Protocol::ICMP, query(13)),
        ProbeKind::Syn => (Protocol::TCP, ports(Some(probe.number))),
        ProbeKind::Ack => (Protocol::TCP, ports(Some(probe.check))),
        ProbeKind::Udp => (Protocol::UDP, ports(None)),
    };
    Packet::IcmpError(IcmpError {
        addresses: Addresses {
            source,
            destination: SCANNER,
        },
        hop_limit: 60,
        kind: 3,
        code,
        quoted: Quoted {
            addresses: Addresses {
                source: SCANNER,
                destination: probe.address,
            },
            protocol,
            content,
        },
    })
}

fn hosts(count: u32) -> Vec<IpAddr> {
    let first = u32::from_be_bytes([198, 19, 0, 0]);
    let hosts = (first..first + count).map(Ipv4Addr::from_bits);
    hosts.map(IpAddr::V4).collect()
}

fn options() -> DiscoveryOptions {
    DiscoveryOptions {
        first_port: 61_440,
        key: [7; 16],
        rate: None,
        host_rate: None,
        ports: None,
    }
}

fn engine(count: u32) -> DiscoveryEngine {
    DiscoveryEngine::new(hosts(count), options(), Experience::default())
}

fn up(verdicts: &BTreeMap<u32, HostVerdict>) -> Vec<u32> {
    let up = verdicts.values();
    let up = up.filter(|it| matches!(it.found, Found::Up { .. }));
    up.map(|it| it.host).collect()
}

/// Every fifth host is there and answers questions of `kind` (at `port`) alone.
fn check_kind(kind: ProbeKind, port: Option<u16>, reason: Reason) {
    let mut network = Network::of(20, |probe| {
        let fits = probe.kind == kind && port.is_none_or(|port| port == probe.port);
        if fits && probe.host.is_multiple_of(5) {
            Fate::Answer
        } else {
            Fate::Silence
        }
    });
    let verdicts = network.run(&mut engine(100));
    assert_eq!(verdicts.len(), 100);
    let expected: Vec<u32> = (0..100).step_by(5).collect();
    assert_eq!(up(&verdicts), expected, "{kind:?}");
    for host in expected {
        assert!(
            matches!(verdicts[&host].found, Found::Up { reason: it, .. } if it == reason),
            "{:?}",
            verdicts[&host]
        );
    }
}

#[test]
fn every_kind_of_answer_finds_a_host() {
    check_kind(ProbeKind::Echo, None, Reason::EchoReply);
    check_kind(ProbeKind::Timestamp, None, Reason::TimestampReply);
    check_kind(ProbeKind::Ack, Some(80), Reason::Rst);
    check_kind(ProbeKind::Udp, None, Reason::UdpResponse);
    for port in [22, 80, 443, 445] {
        check_kind(ProbeKind::Syn, Some(port), Reason::Rst);
    }
}

#[test]
fn round_trips_up_to_a_second_hide_no_host() {
    for rtt_ms in [0, 1, 100, 700, 1_000] {
        let mut network = Network::of(rtt_ms, |probe| {
            if probe.kind == ProbeKind::Echo && probe.host.is_multiple_of(3) {
                Fate::Answer
            } else {
                Fate::Silence
            }
        });
        let verdicts = network.run(&mut engine(300));
        assert_eq!(up(&verdicts).len(), 100, "{rtt_ms} ms");
        let expected = Duration::from_millis(rtt_ms);
        assert!(
            matches!(verdicts[&0].found, Found::Up { rtt: Some(rtt), .. } if rtt >= expected
                && rtt <= expected + COST * 2),
            "{:?}",
            verdicts[&0]
        );
    }
}

#[test]
fn a_far_host_among_near_ones_is_found() {
    // All but the last are 1 ms away.
    let mut network = Network::of(1, |_| Fate::Answer);
    let mut engine = engine(200);
    let mut far = None;
    let mut now = Moment::START;
    let mut verdicts = BTreeMap::new();
    while !engine.is_done() {
        engine.handle_timeout(now);
        while let Some(verdict) = engine.poll_verdict() {
            verdicts.insert(verdict.host, verdict);
        }
        while let Some(probe) = engine.poll_probe(now) {
            if probe.host < 199 {
                answer(&mut engine, now + network.rtt, &probe, Fate::Answer);
            } else if far.is_none() {
                far = Some((now + Duration::from_secs(1), probe));
            }
        }
        now = now + Duration::from_millis(1);
        if let Some((at, probe)) = far
            && at <= now
        {
            answer(&mut engine, now, &probe, Fate::Answer);
        }
        network.ended = now;
        assert!(now < Moment::after_start(Duration::from_mins(1)));
    }
    assert_eq!(up(&verdicts).len(), 200);
}

#[test]
fn loss_hides_few_hosts() {
    // Hosts answer echo requests alone, of which each gets two: one in a hundred is missed where a
    // tenth of the round trips is lost.
    let mut network = Network::of(20, |probe| match probe.kind {
        ProbeKind::Echo => Fate::Answer,
        _ => Fate::Silence,
    });
    network.loss = 50;
    let verdicts = network.run(&mut engine(2_000));
    let found = up(&verdicts).len();
    assert!((1_960..=1_999).contains(&found), "{found}");
    // Hosts that answer everything are not missed.
    let mut network = Network::of(20, |_| Fate::Answer);
    network.loss = 50;
    let verdicts = network.run(&mut engine(2_000));
    assert_eq!(up(&verdicts).len(), 2_000);
}

#[test]
fn a_silent_host_gets_ten_probes_and_no_more() {
    let mut network = Network::of(20, |_| Fate::Silence);
    let verdicts = network.run(&mut engine(50));
    assert!(
        verdicts
            .values()
            .all(|it| it.found == Found::Silent && it.probes == 10)
    );
    for probes in network.probes.values() {
        assert_eq!(probes.len(), 10);
        // No two of them are alike.
        let numbers: std::collections::BTreeSet<u32> = probes.iter().map(|it| it.number).collect();
        assert_eq!(numbers.len(), 10);
    }
}

#[test]
fn what_the_network_answers_is_asked_first() {
    let mut network = Network::of(5, |probe| match (probe.kind, probe.port) {
        (ProbeKind::Syn, 445) => Fate::Answer,
        _ => Fate::Silence,
    });
    let options = DiscoveryOptions {
        rate: Some(200.0),
        ..options()
    };
    let mut engine = DiscoveryEngine::new(hosts(400), options, Experience::default());
    let verdicts = network.run(&mut engine);
    assert_eq!(up(&verdicts).len(), 400);
    let last = &network.probes[&399];
    assert_eq!(
        (last[0].kind, last[0].port),
        (ProbeKind::Syn, 445),
        "{last:?}"
    );
    assert!(last.len() <= 2, "{last:?}");
    // The next part of the run knows it from the beginning.
    let mut next = DiscoveryEngine::new(hosts(10), options_of(&engine), engine.experience());
    network.probes.clear();
    network.run(&mut next);
    let first = &network.probes[&0];
    assert_eq!((first[0].kind, first[0].port), (ProbeKind::Syn, 445));
}

fn options_of(engine: &DiscoveryEngine) -> DiscoveryOptions {
    engine.options.clone()
}

#[test]
fn forged_answers_count_for_nothing() {
    let mut engine = engine(16);
    let mut now = Moment::START;
    let mut rejected = 0;
    for _ in 0..40 {
        while let Some(probe) = engine.poll_probe(now) {
            // What somebody can know who did not see the probe, and a little more.
            let guesses = [
                DiscoveryProbe {
                    number: probe.number ^ 0x10,
                    check: probe.check,
                    ..probe
                },
                DiscoveryProbe {
                    number: 0,
                    check: 0,
                    source_port: 61_440,
                    ..probe
                },
                DiscoveryProbe {
                    number: probe.number.wrapping_add(2),
                    ..probe
                },
                DiscoveryProbe {
                    port: probe.port ^ 1,
                    source_port: probe.source_port ^ 1,
                    ..probe
                },
            ];
            let guesses = if probe.kind == ProbeKind::Udp {
                &guesses[3..]
            } else {
                &guesses[..3]
            };
            for guess in guesses {
                for fate in [Fate::Answer, Fate::Own(3), Fate::Router(1)] {
                    // An ACK is quoted with its other number, which is right here.
                    if probe.kind == ProbeKind::Ack
                        && fate != Fate::Answer
                        && guess.check == probe.check
                    {
                        continue;
                    }
                    answer(&mut engine, now, guess, fate);
                    rejected += 1;
                }
            }
            // The right answer from another host.
            let other = engine.addresses[index((probe.host + 1) % 16)];
            let guess = DiscoveryProbe {
                address: other,
                ..probe
            };
            answer(&mut engine, now, &guess, Fate::Answer);
            rejected += 1;
        }
        engine.handle_timeout(now);
        now = now + Duration::from_millis(200);
    }
    assert_eq!(engine.forged(), rejected);
    let mut verdicts = 0;
    while let Some(verdict) = engine.poll_verdict() {
        assert_eq!(verdict.found, Found::Silent);
        verdicts += 1;
    }
    assert_eq!(verdicts, 16);
}

#[test]
fn who_sends_an_error_decides_what_it_means() {
    let check = |fate, expected| {
        let mut network = Network::of(5, move |_| fate);
        let verdicts = network.run(&mut engine(4));
        for verdict in verdicts.values() {
            match (verdict.found, expected) {
                (
                    Found::Up { reason, .. },
                    Found::Up {
                        reason: expected, ..
                    },
                ) => {
                    assert_eq!(reason, expected);
                }
                (found, expected) => assert_eq!(found, expected),
            }
        }
    };
    let icmp = |code| Reason::Icmp(Unreachable::V4(code));
    let up = |reason| Found::Up { reason, rtt: None };
    check(Fate::Own(3), up(icmp(3)));
    check(Fate::Own(10), up(icmp(10)));
    check(Fate::Router(1), Found::Unreachable(Unreachable::V4(1)));
    check(Fate::Router(13), Found::Unreachable(Unreachable::V4(13)));
    check(Fate::Router(4), Found::Silent);
}

#[test]
fn a_router_that_refuses_one_question_does_not_hide_the_host() {
    let mut network = Network::of(5, |probe| match probe.kind {
        ProbeKind::Ack => Fate::Answer,
        ProbeKind::Syn => Fate::Router(13),
        ProbeKind::Echo => Fate::Router(1),
        _ => Fate::Silence,
    });
    let verdicts = network.run(&mut engine(30));
    assert_eq!(up(&verdicts).len(), 30);
}

#[test]
fn ports_outside_the_scope_are_not_asked() {
    let options = DiscoveryOptions {
        ports: Some(PortSet::range(20, 100)),
        ..options()
    };
    let mut engine = DiscoveryEngine::new(hosts(9), options, Experience::default());
    let mut network = Network::of(5, |_| Fate::Silence);
    network.run(&mut engine);
    let ports: std::collections::BTreeSet<u16> = network
        .probes
        .values()
        .flatten()
        .map(|it| it.port)
        .collect();
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), [0, 22, 80]);
}

#[test]
fn ipv6_hosts_are_asked_what_exists_there() {
    let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
    let mut engine = DiscoveryEngine::new(vec![address], options(), Experience::default());
    let mut network = Network::of(5, |probe| match probe.kind {
        ProbeKind::Udp => Fate::Answer,
        _ => Fate::Silence,
    });
    let verdicts = network.run(&mut engine);
    assert_eq!(up(&verdicts), [0]);
    assert!(
        network.probes[&0]
            .iter()
            .all(|it| it.kind != ProbeKind::Timestamp)
    );
}

#[test]
fn one_probe_at_a_time_where_a_host_has_a_rate() {
    let options = DiscoveryOptions {
        host_rate: Some(2.0),
        ..options()
    };
    let mut engine = DiscoveryEngine::new(hosts(3), options, Experience::default());
    let mut network = Network::of(5, |_| Fate::Silence);
    let verdicts = network.run(&mut engine);
    assert!(verdicts.values().all(|it| it.probes == 10), "{verdicts:?}");
    // Ten probes, half a second and more apart.
    assert!(network.ended >= Moment::after_start(Duration::from_millis(4_500)));
}

#[test]
fn what_does_not_leave_is_sent_again() {
    let mut engine = engine(20);
    let mut now = Moment::START;
    let mut left: BTreeMap<u32, u32> = BTreeMap::new();
    let mut refused = 0;
    while !engine.is_done() {
        engine.handle_timeout(now);
        while engine.poll_verdict().is_some() {}
        while let Some(probe) = engine.poll_probe(now) {
            if probe.number.is_multiple_of(3) && refused < 40 {
                refused += 1;
                engine.handle_unsent(now, &probe);
            } else {
                *left.entry(probe.host).or_default() += 1;
            }
        }
        now = now + Duration::from_millis(1);
        assert!(now < Moment::after_start(Duration::from_mins(1)));
    }
    assert!(refused > 10);
    assert!(left.values().all(|probes| *probes == 10), "{left:?}");
    assert_eq!(engine.probes(), 200);
}

#[test]
fn answers_lost_in_the_receiver_are_asked_for_again() {
    let mut engine = engine(64);
    let mut now = Moment::START;
    let lossy = Moment::after_start(Duration::from_millis(500));
    let mut verdicts = BTreeMap::new();
    while !engine.is_done() {
        engine.handle_timeout(now);
        while let Some(verdict) = engine.poll_verdict() {
            verdicts.insert(verdict.host, verdict);
        }
        while let Some(probe) = engine.poll_probe(now) {
            // Everything of the first half second is lost here, and hosts answer one question.
            if probe.kind == ProbeKind::Echo && now >= lossy {
                let later = now + Duration::from_millis(1);
                answer(&mut engine, later, &probe, Fate::Answer);
            }
        }
        if now < lossy && now.as_nanos().is_multiple_of(100_000_000) {
            engine.handle_overrun();
        }
        now = now + Duration::from_millis(1);
        assert!(now < Moment::after_start(Duration::from_mins(1)));
    }
    assert_eq!(up(&verdicts).len(), 64);
}

#[test]
fn memory_is_bounded_by_the_number_of_hosts() {
    assert!(size_of::<Host>() <= 144, "{}", size_of::<Host>());
    let mut network = Network::of(1, |probe| {
        if probe.host.is_multiple_of(16) && probe.kind == ProbeKind::Echo {
            Fate::Answer
        } else {
            Fate::Silence
        }
    });
    let verdicts = network.run(&mut engine(1 << 16));
    assert_eq!(verdicts.len(), 1 << 16);
    assert_eq!(up(&verdicts).len(), 1 << 12);
    assert!(network.entries <= (1 << 16) + 16, "{}", network.entries);
    // What nobody answers is dropped on the way: the last hosts get less than the first.
    assert_eq!(network.probes[&1].len(), 10);
    assert!(
        network.probes[&65_535].len() < 8,
        "{:?}",
        network.probes[&65_535]
    );
}

#[test]
fn a_drained_engine_sends_nothing_more() {
    let mut engine = engine(100);
    assert!(engine.poll_probe(Moment::START).is_some());
    engine.drain();
    assert!(engine.is_done());
    let later = Moment::after_start(Duration::from_secs(5));
    assert!(engine.poll_probe(later).is_none());
    engine.handle_timeout(later);
    assert!(engine.poll_verdict().is_none());
}
