//! The engine on small simulated networks, in virtual time.

mod many_hosts;
mod one_host;
mod paces;
mod promises;
mod silences;
mod watch;

use super::*;
use portolan_model::{State, Unreachable};
use portolan_wire::icmp::{IcmpError, Quoted, QuotedContent};
use portolan_wire::tcp::{Flags, Tcp};
use portolan_wire::{Addresses, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Accept,
    Refuse,
    /// An ICMP error of type 3 with this code.
    Unreachable(u8),
    Silence,
}

/// A network of hosts 192.0.2.1 and on, numbered from 0.
struct Network<F> {
    fate: F,
    /// Share of packets to and from a host that are lost each way, in thousandths.
    loss: Box<dyn Fn(u32) -> u32>,
    trip: Box<dyn Fn(u32) -> Duration>,
    /// Whether nothing gets to a host at this moment.
    is_cut: Box<dyn Fn(u32, Moment) -> bool>,
    policers: Vec<Policer>,
    random: u64,
}

/// Passes so many probes a second, and so many at once, of those to some hosts.
struct Policer {
    of: Box<dyn Fn(u32) -> bool>,
    rate: f64,
    burst: f64,
    credit: f64,
    filled: Moment,
}

const TRIP: Duration = Duration::from_micros(200);
/// What a probe takes to send.
const COST: Duration = Duration::from_nanos(1_500);
const SCANNER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

impl<F: FnMut(SynProbe, u32) -> Fate> Network<F> {
    fn of(fate: F) -> Self {
        Self {
            fate,
            loss: Box::new(|_| 0),
            trip: Box::new(|_| TRIP),
            is_cut: Box::new(|_, _| false),
            policers: Vec::new(),
            random: 7,
        }
    }

    fn losing(self, thousandths: u32) -> Self {
        Self {
            loss: Box::new(move |_| thousandths),
            ..self
        }
    }

    /// Lets no more than `rate` probes a second pass to `host`, or to all.
    fn policed(self, host: Option<u32>, rate: u32) -> Self {
        self.policed_where(move |it| host.is_none_or(|host| host == it), rate)
    }

    /// The same for all hosts of which `of` is true, together.
    fn policed_where(mut self, of: impl Fn(u32) -> bool + 'static, rate: u32) -> Self {
        let rate = f64::from(rate);
        self.policers.push(Policer {
            of: Box::new(of),
            rate,
            burst: rate / 100.0,
            credit: 0.0,
            filled: Moment::START,
        });
        self
    }

    fn is_lost(&mut self, host: u32) -> bool {
        // splitmix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000 < u64::from((self.loss)(host))
    }

    fn is_policed(&mut self, now: Moment, host: u32) -> bool {
        let mut policers = self.policers.iter_mut().filter(|it| (it.of)(host));
        policers.any(|policer| !policer.passes(now))
    }

    /// What comes back, and when.
    fn answer(
        &mut self,
        now: Moment,
        probe: SynProbe,
        times: u32,
    ) -> Option<(Moment, Packet<'static>)> {
        let host = probe.host;
        if (self.is_cut)(host, now) || self.is_policed(now, host) || self.is_lost(host) {
            return None;
        }
        let fate = (self.fate)(probe, times);
        if self.is_lost(host) {
            return None;
        }
        let packet = match fate {
            Fate::Accept => segment(probe, Flags::SYN.with(Flags::ACK)),
            Fate::Refuse => segment(probe, Flags::RST.with(Flags::ACK)),
            Fate::Unreachable(code) => error(probe, code, probe.sequence),
            Fate::Silence => return None,
        };
        Some((now + (self.trip)(host), packet))
    }
}

impl Policer {
    fn passes(&mut self, now: Moment) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * self.rate;
        self.credit = (self.credit + gained).min(self.burst.max(1.0));
        self.filled = now;
        if self.credit < 1.0 {
            return false;
        }
        self.credit -= 1.0;
        true
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
    let quoted = Quoted {
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
    /// When each endpoint was asked, and from which source port.
    asked: BTreeMap<Endpoint, Vec<(Moment, u16)>>,
    silent: BTreeSet<u32>,
}

impl Outcome {
    fn count(&self, state: State) -> usize {
        let states = self.verdicts.values().map(|it| it.reason.tcp_state());
        states.filter(|it| *it == state).count()
    }

    /// Ports of a host in this state.
    fn ports(&self, host: u8, state: State) -> BTreeSet<u16> {
        let of_host = |it: &&Verdict| it.endpoint.address == address(host);
        let verdicts = self.verdicts.values().filter(of_host);
        verdicts
            .filter(|it| it.reason.tcp_state() == state)
            .map(|it| it.endpoint.port)
            .collect()
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

fn address(host: u8) -> IpAddr {
    [192, 0, 2, host + 1].into()
}

fn addresses(hosts: u8) -> Vec<IpAddr> {
    (0..hosts).map(address).collect()
}

/// Ports 0 and on, below `ports`, of `hosts` hosts, in an order that mixes them.
fn engine(
    hosts: u8,
    ports: u32,
    options: SynOptions,
) -> SynEngine<impl FnMut(u32) -> Option<(u32, u16)>> {
    let count = u32::from(hosts);
    let last = u16::try_from(ports - 1).unwrap();
    SynEngine::new(
        move |position| {
            // Any bijection does; a stride that shares no factor with their number mixes the ports.
            let turn = u64::from(position / count) * 40_503 + u64::from(position % count) * 977;
            let port = u16::try_from(turn % u64::from(ports)).unwrap();
            Some((position % count, port))
        },
        count * ports,
        addresses(hosts),
        &PortSet::range(0, last),
        options,
    )
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
    let mut asked: BTreeMap<Endpoint, Vec<(Moment, u16)>> = BTreeMap::new();
    let mut silent = BTreeSet::new();
    let mut rounds = 0;
    while !engine.is_done() {
        rounds += 1;
        assert!(rounds < 20_000_000, "the scan does not end");
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
        silent.extend(std::iter::from_fn(|| engine.poll_silent()));
        for _ in 0..64 {
            let Some(probe) = engine.poll_probe(now) else {
                break;
            };
            now = now + COST;
            let sent = asked.entry(probe.endpoint).or_default();
            sent.push((now, probe.source_port));
            let times = u32::try_from(sent.len()).unwrap();
            if let Some((moment, packet)) = network.answer(now, probe, times) {
                flying.push(Reverse((moment, packets.len())));
                packets.push(packet);
            }
        }
        if engine.is_done() {
            break;
        }
        let next = engine.poll_timeout(now).unwrap_or(Moment::NEVER);
        let arrival = flying.peek().map_or(Moment::NEVER, |it| it.0.0);
        let next = next.min(arrival);
        assert!(next < Moment::NEVER, "the scan waits for nothing");
        now = now.max(next) + Duration::from_micros(1);
    }
    let figures = engine.figures();
    Outcome {
        verdicts,
        probes: figures.probes,
        figures,
        seconds: now.elapsed().as_secs_f64(),
        asked,
        silent,
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
