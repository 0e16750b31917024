//! A driver that keeps watch over the engine while it runs it, and networks for it.

use super::*;

pub(super) type Answers = Vec<(Duration, Packet<'static>)>;
pub(super) type Wire = Box<dyn FnMut(Moment, &SynProbe, u32) -> Answers>;
pub(super) type Turn = Box<dyn FnMut(Moment) -> Event>;
pub(super) type Leaves = Box<dyn FnMut(Moment, &SynProbe) -> bool>;

/// Packets on their way, by when they arrive.
type Flying = BTreeMap<(Moment, u64), Packet<'static>>;

/// What happens to the engine itself between two rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Nothing,
    Overrun,
    Drain,
}

/// A driver that keeps watch over the engine while it runs it.
pub(super) struct Watch {
    pub(super) wire: Wire,
    pub(super) event: Turn,
    /// Whether a probe leaves this machine at this moment.
    pub(super) leaves: Leaves,
    pub(super) probes_max: u64,
    pub(super) seconds_max: f64,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) verdicts: BTreeMap<Endpoint, Verdict>,
    pub(super) asked: HashMap<Endpoint, Vec<(Moment, u16)>>,
    pub(super) by_host: HashMap<u32, Vec<Moment>>,
    pub(super) polls: u64,
    pub(super) probes: u64,
    /// Rounds in a row that asked for a further one at once and did nothing at all.
    pub(super) spins: u32,
    spins_now: u32,
    answers: u64,
    pub(super) spins_total: u64,
    pub(super) spins_at: f64,
    pub(super) waits_for_nothing: u32,
    pub(super) judgements: usize,
    pub(super) check_ends: usize,
    pub(super) turns: usize,
    pub(super) seconds: f64,
    pub(super) ended: bool,
    pub(super) figures: Figures,
}

impl Seen {
    pub(super) fn count(&self, state: State) -> usize {
        let states = self.verdicts.values().map(|it| it.reason.tcp_state());
        states.filter(|it| *it == state).count()
    }
    pub(super) fn missed(&self) -> f64 {
        self.figures.loss.estimate().missed.unwrap_or(-1.0)
    }
    /// Most probes to one host within `window`.
    pub(super) fn most_within(&self, window: Duration) -> usize {
        let most = self.by_host.values().map(|moments| {
            let mut first = 0;
            let mut most = 0;
            for (at, moment) in moments.iter().enumerate() {
                while moment.since(moments[first]) >= window {
                    first += 1;
                }
                most = most.max(at + 1 - first);
            }
            most
        });
        most.max().unwrap_or(0)
    }
    /// The shortest time between two probes of one pair of ports, where it is below two seconds.
    pub(super) fn same_port_after(&self) -> Option<Duration> {
        let mut least = None;
        for asked in self.asked.values() {
            let mut last: HashMap<u16, Moment> = HashMap::new();
            for (moment, port) in asked {
                if let Some(before) = last.insert(*port, *moment) {
                    let apart = moment.since(before);
                    least = Some(least.map_or(apart, |it: Duration| it.min(apart)));
                }
            }
        }
        least
    }
    /// No port was asked again from the same source port within a second.
    pub(super) fn check_source_ports(&self) {
        let apart = self.same_port_after().unwrap_or(Duration::MAX);
        let is_enough = apart >= Duration::from_secs(1);
        assert!(is_enough, "{apart:?} {}", self.summary());
    }
    pub(super) fn summary(&self) -> String {
        let states = [
            State::Open,
            State::Closed,
            State::Filtered,
            State::NotTested,
        ];
        let counts = states.map(|state| self.count(state));
        format!(
            "open/closed/filtered/untested {counts:?} probes {} polls {} {:.2}s missed {:.5} \
             spins {} (total {}, at {:.2}s) nothing {} judgements {} check_ends {} turns {} ended {} \
             same port after {:?} loss {:?}",
            self.probes,
            self.polls,
            self.seconds,
            self.missed(),
            self.spins,
            self.spins_total,
            self.spins_at,
            self.waits_for_nothing,
            self.judgements,
            self.check_ends,
            self.turns,
            self.ended,
            self.same_port_after(),
            self.figures.loss.share()
        )
    }
}

impl Watch {
    pub(super) fn of(
        wire: impl FnMut(Moment, &SynProbe, u32) -> Vec<(Duration, Packet<'static>)> + 'static,
    ) -> Self {
        Self {
            wire: Box::new(wire),
            event: Box::new(|_| Event::Nothing),
            leaves: Box::new(|_, _| true),
            probes_max: 20_000_000,
            seconds_max: 600.0,
        }
    }

    pub(super) fn run<L: FnMut(u32) -> Option<(u32, u16)>>(
        mut self,
        mut engine: SynEngine<L>,
    ) -> Seen {
        let mut now = Moment::START;
        let mut seen = Seen::default();
        let mut flying = Flying::new();
        while !engine.is_done() {
            if now.elapsed().as_secs_f64() > self.seconds_max || seen.probes > self.probes_max {
                return seen.end(now, &engine, false);
            }
            match (self.event)(now) {
                Event::Nothing => {}
                Event::Overrun => engine.handle_overrun(),
                Event::Drain => engine.drain(),
            }
            let cursor = engine.undecided();
            let mut did = seen.take_in(now, &mut engine, &mut flying);
            did |= self.send(&mut now, &mut engine, &mut seen, &mut flying);
            did |= cursor != engine.undecided();
            seen.judgements = seen.judgements.max(engine.judgements.len());
            seen.check_ends = seen.check_ends.max(engine.check_ends.len());
            seen.turns = seen.turns.max(engine.check_turns.len());
            if engine.is_done() {
                break;
            }
            let arrival = flying.keys().next().map_or(Moment::NEVER, |it| it.0);
            let next = seen.next_round(now, engine.poll_timeout(now), did);
            // A round costs the driver some microseconds.
            now = now.max(next.min(arrival)) + Duration::from_micros(5);
        }
        seen.end(now, &engine, true)
    }

    /// Sends a batch. Answers whether there was any.
    fn send<L: FnMut(u32) -> Option<(u32, u16)>>(
        &mut self,
        now: &mut Moment,
        engine: &mut SynEngine<L>,
        seen: &mut Seen,
        flying: &mut Flying,
    ) -> bool {
        let mut did = false;
        let mut unsent = Vec::new();
        for _ in 0..64 {
            seen.polls += 1;
            let Some(probe) = engine.poll_probe(*now) else {
                break;
            };
            did = true;
            *now = *now + COST;
            if !(self.leaves)(*now, &probe) {
                unsent.push(probe);
                continue;
            }
            seen.probes += 1;
            seen.by_host.entry(probe.host).or_default().push(*now);
            let asked = seen.asked.entry(probe.endpoint).or_default();
            asked.push((*now, probe.source_port));
            let times = u32::try_from(asked.len()).unwrap();
            for (after, packet) in (self.wire)(*now, &probe, times) {
                seen.answers += 1;
                flying.insert((*now + after, seen.answers), packet);
            }
        }
        for probe in unsent {
            engine.handle_unsent(*now, &probe);
        }
        did
    }
}

impl Seen {
    /// Gives the engine what has arrived, and takes its verdicts. Answers whether anything came of
    /// it.
    fn take_in<L: FnMut(u32) -> Option<(u32, u16)>>(
        &mut self,
        now: Moment,
        engine: &mut SynEngine<L>,
        flying: &mut Flying,
    ) -> bool {
        let mut did = false;
        while let Some(entry) = flying.first_entry()
            && entry.key().0 <= now
        {
            engine.handle_packet(now, &entry.remove());
            did = true;
        }
        let pass = engine.passes.number();
        engine.handle_timeout(now);
        did |= pass != engine.passes.number();
        while let Some(verdict) = engine.poll_verdict() {
            did = true;
            let before = self.verdicts.insert(verdict.endpoint, verdict);
            assert!(before.is_none(), "{verdict:?} after {before:?}");
        }
        while engine.poll_silent().is_some() {}
        did
    }

    /// When the next round is, if the engine `wanted` one; a round that asks for a further one at
    /// once and `did` nothing is counted.
    fn next_round(&mut self, now: Moment, wanted: Option<Moment>, did: bool) -> Moment {
        self.waits_for_nothing += u32::from(wanted.is_none());
        // The driver looks again after 50 ms whatever the engine says.
        let next = wanted.unwrap_or(Moment::NEVER).min(now + MS * 50);
        if next <= now && !did {
            self.spins_now += 1;
            self.spins_total += 1;
            if self.spins_now > self.spins {
                (self.spins, self.spins_at) = (self.spins_now, now.elapsed().as_secs_f64());
            }
        } else {
            self.spins_now = 0;
        }
        next
    }

    fn end<L: FnMut(u32) -> Option<(u32, u16)>>(
        mut self,
        now: Moment,
        engine: &SynEngine<L>,
        ended: bool,
    ) -> Self {
        self.ended = ended;
        self.seconds = now.elapsed().as_secs_f64();
        self.figures = engine.figures();
        self
    }
}

/// Random numbers below 1.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}

pub(super) struct Bucket {
    pub(super) rate: f64,
    pub(super) burst: f64,
    pub(super) credit: f64,
    pub(super) filled: Moment,
}

impl Bucket {
    pub(super) fn of(rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            credit: burst,
            filled: Moment::START,
        }
    }
    pub(super) fn passes(&mut self, now: Moment) -> bool {
        let gained = now.since(self.filled).as_secs_f64() * self.rate;
        self.credit = (self.credit + gained).min(self.burst);
        self.filled = now;
        let passes = self.credit >= 1.0;
        if passes {
            self.credit -= 1.0;
        }
        passes
    }
}

pub(super) fn accept(probe: &SynProbe) -> Packet<'static> {
    segment(*probe, Flags::SYN.with(Flags::ACK))
}

pub(super) fn refuse(probe: &SynProbe) -> Packet<'static> {
    segment(*probe, Flags::RST.with(Flags::ACK))
}

pub(super) fn open_or_closed(probe: &SynProbe) -> Packet<'static> {
    if probe.endpoint.port.is_multiple_of(20) {
        accept(probe)
    } else {
        refuse(probe)
    }
}

/// `hosts` hosts with `ports` ports each, in an order that is as good as random.
pub(super) fn grid(
    hosts: u32,
    ports: u32,
    options: SynOptions,
) -> SynEngine<impl FnMut(u32) -> Option<(u32, u16)> + use<>> {
    let addresses = (0..hosts)
        .map(|host| IpAddr::V4((0xc612_0000 + host).into()))
        .collect();
    let all = u64::from(hosts) * u64::from(ports);
    let last = u16::try_from(ports - 1).unwrap();
    let bits = 64 - (all - 1).leading_zeros();
    let bits = bits + bits % 2;
    let half = bits / 2;
    let mask = (1_u64 << half) - 1;
    SynEngine::new(
        move |position| {
            // A Feistel network, walked until it stays inside.
            let mut at = u64::from(position);
            loop {
                let (mut left, mut right) = (at >> half, at & mask);
                for round in 1..5_u64 {
                    let mixed = (right ^ (round << 40)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    (left, right) = (right, left ^ (mixed >> 29 & mask));
                }
                at = left << half | right;
                if at < all {
                    break;
                }
            }
            let host = u32::try_from(at % u64::from(hosts)).unwrap();
            Some((host, u16::try_from(at / u64::from(hosts)).unwrap()))
        },
        hosts * ports,
        addresses,
        &PortSet::range(0, last),
        options,
    )
}

pub(super) const MS: Duration = Duration::from_millis(1);

/// Two paths: `number` of each host by `of`.
pub(super) fn lead<L: FnMut(u32) -> Option<(u32, u16)>>(
    engine: &mut SynEngine<L>,
    hosts: u32,
    of: impl Fn(u32) -> (u16, bool),
) {
    for host in 0..hosts {
        let (number, is_routed) = of(host);
        engine.handle_path(host, Path { number, is_routed });
    }
}

pub(super) fn rate(rate: f64) -> SynOptions {
    SynOptions {
        rate: Some(rate),
        ..options()
    }
}

pub(super) fn cut(now: Moment, from: u64, to: u64) -> bool {
    (Duration::from_millis(from)..Duration::from_millis(to)).contains(&now.elapsed())
}

/// Answers of a host that drops what is not open.
pub(super) fn only_open(probe: &SynProbe) -> Vec<(Duration, Packet<'static>)> {
    if probe.endpoint.port.is_multiple_of(20) {
        vec![(MS, accept(probe))]
    } else {
        vec![]
    }
}

/// `hosts` hosts of one path.
pub(super) fn all_on_one_path(
    hosts: u32,
    ports: u32,
    is_routed: bool,
) -> SynEngine<impl FnMut(u32) -> Option<(u32, u16)> + use<>> {
    let mut engine = grid(hosts, ports, options());
    lead(&mut engine, hosts, |_| (0, is_routed));
    engine
}

pub(super) fn two_paths(
    hosts: u32,
    ports: u32,
    options: SynOptions,
) -> SynEngine<impl FnMut(u32) -> Option<(u32, u16)> + use<>> {
    let mut engine = grid(hosts, ports, options);
    lead(&mut engine, hosts, |host| (u16::from(host % 2 == 1), false));
    engine
}
