//! The engine for UDP: questions to ports of known services first, then an empty datagram to every
//! other port, in passes until answers, errors or silence decide.
//!
//! A reply makes a port open and an ICMP "port unreachable" of the host makes it closed. Silence
//! makes it neither. Hosts report few closed ports: Linux sends an address six errors and then one
//! a second (`icmp(7)`, `icmp_ratelimit`). So a port with a known service never waits for that, and
//! no host is waited for longer than its own rate of errors makes worth it.
//!
//! What is not here: what is asked and what a reply proves (`portolan-catalog`), sockets
//! (`portolan-net`), and the order.

mod alive;
mod host;
mod ledger;
mod pace;
mod passes;
mod probe;
mod tokens;

use crate::{Figures, Loss, Verdict};
use host::Host;
use ledger::{Ledger, Pair, index};
use pace::Pace;
use passes::{PASSES_OTHERS, PASSES_UNSEEN};
use portolan_model::{Endpoint, Moment, Reason};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

pub use probe::{Ask, UDP_SOURCES, UdpError, UdpOptions, UdpPort, UdpProbe};
pub use tokens::UdpTokens;

/// Probes every position of an order until each has a verdict.
///
/// Call order, again and again until [`UdpEngine::is_done`]:
/// 1. [`UdpEngine::handle_reply`] and [`UdpEngine::handle_error`] with what came in,
/// 2. [`UdpEngine::handle_timeout`] with the time,
/// 3. [`UdpEngine::poll_verdict`] until `None`,
/// 4. [`UdpEngine::poll_probe`] until `None`; for each probe one of [`UdpEngine::handle_sent`],
///    [`UdpEngine::handle_unsent`] and [`UdpEngine::handle_refused`],
/// 5. wait for a datagram, at most until [`UdpEngine::poll_timeout`].
#[derive(Debug)]
pub struct UdpEngine<L> {
    lookup: L,
    positions: u32,
    cursor: u32,
    options: UdpOptions,
    asks: Vec<Ask>,
    ledger: Ledger,
    hosts: Vec<Host>,
    lane: Lane,
    /// Passes so far, over all lanes.
    pass: u8,
    /// The first pass of the lane.
    lane_start: u8,
    /// Passes that each lane had.
    passes: [u8; 2],
    last_sent: Moment,
    /// When the last lane ended.
    ended: Moment,
    next: Moment,
    /// Further questions to a port that was just asked.
    pending: VecDeque<(Pair, u8)>,
    /// Probes that did not leave, with the question.
    again: VecDeque<(Pair, Option<u8>)>,
    /// Probes whose host must not be asked before a moment.
    held: BinaryHeap<Reverse<(Moment, Pair)>>,
    /// Probes whose round trip is measured.
    timed: HashMap<(Pair, u8), Moment>,
    verdicts: VecDeque<Verdict>,
    /// Ports of the lanes so far that are asked and not decided.
    left: u64,
    /// How fast is sent in total.
    pace: Pace,
    /// Hosts that are asked again at their own pace when the others are done.
    is_late_round: bool,
    /// The first pass of the round.
    round_start: u8,
    /// What is sent to see whether hosts still answer.
    checks: VecDeque<(Pair, Option<u8>)>,
    /// How often that was sent.
    check: u8,
    /// Hosts from which an answer to it is awaited.
    awaited: u32,
    probes: u64,
    decided: u64,
    loss: Loss,
    strays: u64,
    /// The longest of the shortest round trips of the hosts.
    slowest: Duration,
    /// Ports that reported to be closed.
    refused: u64,
    /// No pass ends before.
    held_until: Moment,
    /// Passes of the lane in which the receiver had no room for something.
    disturbed: u8,
    /// Passes after which the pace was taken back.
    crowded: u8,
    /// Whether the receiver had no room in the pass under way.
    is_disturbed: bool,
    draining: bool,
}

/// Which ports are asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Those of known services.
    Services,
    /// The others.
    Others,
    /// None: it is seen whether hosts that answered still do. Then comes the lane in it.
    Checking(Next),
    /// None any more: what is silent is told.
    Finishing,
    Finished,
}

/// What comes after a look at who still answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Others,
    Finishing,
}

/// Datagrams a second to one host, unless the user says otherwise.
const HOST_RATE: f64 = 2_000.0;
/// Positions looked at by one call of [`UdpEngine::poll_probe`] before it returns to the driver.
const LOOK_AHEAD: u32 = 4_096;
/// Round trips measured at once.
const TIMED_MAX: usize = 1_024;
/// Probes that wait for their host's turn.
const HELD_MAX: usize = 1 << 16;
/// After a probe could not be sent for want of room.
const PAUSE: Duration = Duration::from_millis(1);

impl<L: FnMut(u32) -> Option<(u32, u16)>> UdpEngine<L> {
    /// An engine over `positions` positions. `lookup` says what a position stands for: the number
    /// of a host in `addresses`, and one of `ports`; `None` passes over it (it was decided in an
    /// earlier run). The same position must always give the same answer, and no two the same.
    /// `ports` are in ascending order.
    pub fn new(
        lookup: L,
        positions: u32,
        addresses: Vec<IpAddr>,
        ports: &[UdpPort],
        options: UdpOptions,
    ) -> Self {
        Self {
            lookup,
            positions,
            cursor: 0,
            options,
            asks: ports.iter().map(|it| it.ask).collect(),
            hosts: vec![Host::default(); addresses.len()],
            ledger: Ledger::new(addresses, ports.iter().map(|it| it.port).collect()),
            lane: Lane::Services,
            pass: 0,
            lane_start: 0,
            passes: [0; 2],
            last_sent: Moment::START,
            ended: Moment::START,
            next: Moment::START,
            pending: VecDeque::new(),
            again: VecDeque::new(),
            held: BinaryHeap::new(),
            timed: HashMap::new(),
            verdicts: VecDeque::new(),
            left: 0,
            pace: Pace::new(options.rate, options.found_rate),
            is_late_round: false,
            round_start: 0,
            checks: VecDeque::new(),
            check: 0,
            awaited: 0,
            probes: 0,
            decided: 0,
            loss: Loss::default(),
            strays: 0,
            slowest: Duration::ZERO,
            refused: 0,
            held_until: Moment::START,
            disturbed: 0,
            crowded: 0,
            is_disturbed: false,
            draining: false,
        }
    }

    /// Says that no probe can reach `address`, and why. What it answered before stays.
    pub fn handle_unreachable(&mut self, address: IpAddr, reason: Reason) {
        let host = self.ledger.host(address);
        let host = host.and_then(|host| self.hosts.get_mut(index(host)));
        let Some(host) = host.filter(|host| host.down.is_none()) else {
            return;
        };
        let is_counted = host.is_late() == self.is_late_round;
        host.down = Some(reason);
        let left = if is_counted { host.left } else { 0 };
        self.left = self.left.saturating_sub(u64::from(left));
        host.left = 0;
    }

    /// Nothing is given up before `moment`: whether some hosts are there at all is not known.
    pub fn hold(&mut self, moment: Moment) {
        self.held_until = self.held_until.max(moment);
    }

    /// Whether a probe left for `endpoint` and nothing came back yet.
    pub fn awaits(&self, endpoint: Endpoint) -> bool {
        let pair = self.ledger.pair(endpoint);
        pair.is_some_and(|it| self.ledger.has_left(it) && !self.ledger.is_decided(it))
    }

    /// A rule of this machine answered for `endpoint` in place of the network.
    pub fn handle_policy(&mut self, endpoint: Endpoint) {
        if let Some(pair) = self.undecided(endpoint) {
            self.decide(pair, Reason::LocalPolicy, None);
        }
    }

    /// The next probe to send, if one may be sent now.
    pub fn poll_probe(&mut self, now: Moment) -> Option<UdpProbe> {
        if self.draining || self.next > now || self.is_over() {
            return None;
        }
        if let Lane::Checking(_) = self.lane {
            let (pair, question) = self.checks.pop_front()?;
            return self.send(now, pair, question);
        }
        if let Some((pair, question)) = self.next_further() {
            return self.send(now, pair, question);
        }
        if let Some(pair) = self.next_held(now) {
            return self.ask(now, pair);
        }
        for _ in 0..LOOK_AHEAD {
            if self.cursor >= self.positions || self.held.len() >= HELD_MAX {
                return None;
            }
            let position = self.cursor;
            self.cursor = self.cursor.saturating_add(1);
            let Some(pair) = self.wanted(position) else {
                continue;
            };
            let turn = self.hosts.get(index(pair.host)).map(|host| host.next);
            match turn {
                Some(turn) if turn > now => {
                    self.held.push(Reverse((turn, pair)));
                    self.take_turn(turn, pair.host);
                }
                _ => {
                    self.take_turn(now, pair.host);
                    return self.ask(now, pair);
                }
            }
        }
        None
    }

    /// `probe` left this machine.
    pub fn handle_sent(&mut self, now: Moment, probe: &UdpProbe) {
        self.probes = self.probes.saturating_add(1);
        let Some(pair) = self.ledger.pair(probe.endpoint) else {
            return;
        };
        if self.ledger.leave(pair) {
            self.left = self.left.saturating_add(1);
            if let Some(host) = self.hosts.get_mut(index(pair.host)) {
                host.left_first(now);
            }
        } else if probe.pass > self.lane_start
            && !matches!(self.lane, Lane::Checking(_))
            && let Some(host) = self.hosts.get_mut(index(pair.host))
        {
            host.begin_second(now);
        }
        if let Some(host) = self.hosts.get_mut(index(pair.host)) {
            host.unheard = host.unheard.saturating_add(1);
        }
        if self.timed.len() < TIMED_MAX {
            self.timed.entry((pair, probe.source)).or_insert(now);
        }
    }

    /// `probe` did not leave this machine for want of room; it is asked for again.
    pub fn handle_unsent(&mut self, now: Moment, probe: &UdpProbe) {
        self.next = self.next.max(now + PAUSE);
        if let Some(pair) = self.ledger.pair(probe.endpoint) {
            self.again.push_back((pair, probe.question));
        }
    }

    /// This machine refused to send `probe`: that says nothing of the port.
    pub fn handle_refused(&mut self, probe: &UdpProbe, reason: Reason) {
        if let Some(host) = self.hosts.get_mut(index(probe.host)) {
            host.local = Some(reason);
        }
    }

    /// The receiver had no room for some of what came in: the pass proves nothing of silence, and
    /// the rest of the lane goes at half the pace.
    pub fn handle_overrun(&mut self) {
        self.is_disturbed = true;
    }

    /// Takes a reply that came from `endpoint` to source `source`; `true`: it decided the port.
    pub fn handle_reply(&mut self, now: Moment, source: u8, endpoint: Endpoint) -> bool {
        self.hear(endpoint.address);
        let Some(pair) = self.undecided(endpoint) else {
            return false;
        };
        let rtt = self.round_trip(now, pair, source);
        let silent_before = self.pass_of(source).saturating_sub(self.start_of(pair));
        self.loss.answer(silent_before);
        self.loss.open = self.loss.open.saturating_add(1);
        if let Some(host) = self.hosts.get_mut(index(pair.host)) {
            host.answer(silent_before);
            host.open_witness = Some(pair.port);
        }
        self.decide(pair, Reason::UdpResponse, rtt);
        true
    }

    /// Takes an ICMP error about a probe that left from `source`.
    pub fn handle_error(&mut self, now: Moment, source: u8, error: UdpError) {
        if error.from == Some(error.endpoint.address) {
            self.hear(error.endpoint.address);
        }
        let Some(pair) = self.undecided(error.endpoint) else {
            return;
        };
        let is_own = error.from.is_none_or(|from| from == error.endpoint.address);
        let passes = self.passes_of(pair);
        let reason = match error.code {
            code if !code.is_port_unreachable() => Reason::Icmp(code),
            _ if !is_own => Reason::IcmpElsewhere,
            code => {
                self.refused = self.refused.saturating_add(1);
                let sent = self.timed.get(&(pair, source)).copied();
                if let Some(host) = self.hosts.get_mut(index(pair.host)) {
                    host.refuse(passes, sent);
                    host.closed_witness = Some(pair.port);
                }
                Reason::Icmp(code)
            }
        };
        let rtt = self.round_trip(now, pair, source);
        let silent_before = self.pass_of(source).saturating_sub(self.start_of(pair));
        let host = self.hosts.get_mut(index(pair.host));
        // Where errors are limited, an error that did not come was not lost.
        if let Some(host) = host.filter(|host| silent_before == 0 || host.reports_most()) {
            host.answer(silent_before);
            self.loss.answer(silent_before);
        }
        self.decide(pair, reason, rtt.filter(|_| is_own));
    }

    /// Ends passes whose time is over.
    pub fn handle_timeout(&mut self, now: Moment) {
        if let Lane::Checking(next) = self.lane {
            if !self.draining && self.check_is_over(now) {
                self.end_check(now, next);
            }
            return;
        }
        if self.is_over() || self.draining || !self.is_through() {
            return;
        }
        if self.left == 0 || now >= self.pass_end() {
            self.end_pass(now);
        }
    }

    /// The next port that is decided.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        if self.verdicts.is_empty() && self.lane == Lane::Finishing && !self.draining {
            self.tell_silent();
        }
        self.verdicts.pop_front()
    }

    /// When to call [`UdpEngine::handle_timeout`] if nothing comes before; [`Moment::START`] asks
    /// for an immediate further round.
    pub fn poll_timeout(&mut self, now: Moment) -> Option<Moment> {
        if !self.verdicts.is_empty() || self.lane == Lane::Finishing {
            return Some(Moment::START);
        }
        if let Lane::Checking(_) = self.lane {
            let moment = match (self.checks.is_empty(), self.awaited) {
                (false, _) => self.next,
                (true, 0) => Moment::START,
                (true, _) => self.check_end(),
            };
            return Some(if moment <= now { Moment::START } else { moment });
        }
        let has_more = self.cursor < self.positions && self.held.len() < HELD_MAX;
        let sends = has_more || !self.pending.is_empty() || !self.again.is_empty();
        let sends = sends.then_some(self.next);
        let held = self.held.peek().map(|Reverse((turn, _))| *turn);
        let held = held.map(|turn| turn.max(self.next));
        let pass = self.is_through().then(|| match self.left {
            0 => Moment::START,
            _ => self.pass_end(),
        });
        let moments = [sends, held, pass].into_iter().flatten();
        moments
            .min()
            .map(|it| if it <= now { Moment::START } else { it })
    }

    /// Sends nothing further.
    pub fn drain(&mut self) {
        self.draining = true;
        self.pending.clear();
        self.again.clear();
        self.held.clear();
        self.checks.clear();
    }

    /// Whether every position is decided, or the engine is drained.
    pub fn is_done(&self) -> bool {
        (self.draining || self.lane == Lane::Finished) && self.verdicts.is_empty()
    }

    /// Counts so far.
    pub fn figures(&self) -> Figures {
        Figures {
            probes: self.probes,
            decided: self.decided,
            loss: self.loss,
        }
    }

    /// Datagrams a second in total that were found to be right; `None` where the user gave them.
    pub fn found_rate(&self) -> Option<f64> {
        self.pace.found()
    }

    /// Replies and errors that decided nothing, so far.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// The pair of an endpoint that was asked and is not decided.
    fn undecided(&mut self, endpoint: Endpoint) -> Option<Pair> {
        let pair = self.ledger.pair(endpoint);
        let found = pair.filter(|it| self.ledger.has_left(*it) && !self.ledger.is_decided(*it));
        if found.is_none() {
            self.strays = self.strays.saturating_add(1);
        }
        found
    }

    fn is_over(&self) -> bool {
        matches!(self.lane, Lane::Finishing | Lane::Finished)
    }

    /// Whether the pass has nothing more to send.
    fn is_through(&self) -> bool {
        self.cursor >= self.positions
            && self.pending.is_empty()
            && self.again.is_empty()
            && self.held.is_empty()
    }

    /// What a position stands for, when the pass asks it.
    fn wanted(&mut self, position: u32) -> Option<Pair> {
        let is_first = self.pass == 0;
        let Some((host, port)) = (self.lookup)(position) else {
            if is_first {
                self.decided = self.decided.saturating_add(1);
            }
            return None;
        };
        let pair = Pair {
            host,
            port: self.ledger.port(port)?,
        };
        let lane = match self.asks.get(index(pair.port))? {
            Ask::Nothing => {
                if is_first {
                    self.decide(pair, Reason::NeverSend, None);
                }
                return None;
            }
            Ask::Questions(_) => Lane::Services,
            Ask::Empty => Lane::Others,
        };
        if lane != self.lane || self.ledger.is_decided(pair) {
            return None;
        }
        self.wants_more(host).then_some(pair)
    }

    /// Whether the pass asks silent ports of a host.
    fn wants_more(&self, host: u32) -> bool {
        let Some(host) = self.hosts.get(index(host)) else {
            return false;
        };
        if host.down.is_some() || host.is_late() != self.is_late_round {
            return false;
        }
        let number = self.pass.saturating_sub(self.lane_start);
        let number = number.saturating_sub(self.void_passes());
        if self.options.patience.retries.is_some() {
            return true;
        }
        if self.lane == Lane::Services {
            return number < PASSES_UNSEEN || host.has_answered;
        }
        // Further empty datagrams are worth it where they show what is closed.
        number < PASSES_OTHERS || host.spacing.is_some() || host.reports_most()
    }

    fn next_further(&mut self) -> Option<(Pair, Option<u8>)> {
        while let Some((pair, question)) = self.pending.pop_front() {
            if !self.ledger.is_decided(pair) {
                return Some((pair, Some(question)));
            }
        }
        while let Some((pair, question)) = self.again.pop_front() {
            if !self.ledger.is_decided(pair) {
                return Some((pair, question));
            }
        }
        None
    }

    fn next_held(&mut self, now: Moment) -> Option<Pair> {
        while let Some(Reverse((turn, pair))) = self.held.peek().copied() {
            if turn > now {
                return None;
            }
            self.held.pop();
            if !self.ledger.is_decided(pair) && self.wants_more(pair.host) {
                return Some(pair);
            }
        }
        None
    }

    /// Asks all that a port is asked: the first question now, the others right after.
    fn ask(&mut self, now: Moment, pair: Pair) -> Option<UdpProbe> {
        let question = match self.asks.get(index(pair.port))? {
            Ask::Nothing => return None,
            Ask::Empty => None,
            Ask::Questions(count) => {
                let further = 1..*count;
                self.pending
                    .extend(further.map(|question| (pair, question)));
                Some(0)
            }
        };
        self.send(now, pair, question)
    }

    fn send(&mut self, now: Moment, pair: Pair, question: Option<u8>) -> Option<UdpProbe> {
        let apart = self.pace.apart();
        let is_slowed = self.is_disturbed || self.disturbed > 0;
        let apart = if is_slowed { apart * 2 } else { apart };
        // A driver that comes late may catch up a little.
        self.next = self.next.max(before(now, PAUSE * 2)) + apart;
        self.last_sent = now;
        Some(UdpProbe {
            host: pair.host,
            endpoint: self.ledger.endpoint(pair)?,
            source: self.pass % UDP_SOURCES,
            question,
            pass: self.pass,
        })
    }

    /// Moves the next turn of a host behind one at `turn`.
    fn take_turn(&mut self, turn: Moment, host: u32) {
        let rate = self.options.host_rate.unwrap_or(HOST_RATE).max(0.001);
        let apart = Duration::from_secs_f64(1.0 / rate);
        if let Some(host) = self.hosts.get_mut(index(host)) {
            let apart = apart.saturating_mul(host.slowdown());
            let apart = host.spacing.map_or(apart, |spacing| spacing.max(apart));
            host.next = host.next.max(turn) + apart;
        }
    }

    fn decide(&mut self, pair: Pair, reason: Reason, rtt: Option<Duration>) {
        let Some(endpoint) = self.ledger.endpoint(pair) else {
            return;
        };
        let has_left = self.ledger.has_left(pair);
        if !self.ledger.decide(pair) {
            return;
        }
        self.decided = self.decided.saturating_add(1);
        let probes = if has_left { self.passes_of(pair) } else { 0 };
        if let Some(host) = self.hosts.get_mut(index(pair.host)) {
            host.has_answered |= has_left && reason.is_answer();
            if has_left && host.down.is_none() {
                let is_counted = host.is_late() == self.is_late_round;
                self.left = self.left.saturating_sub(u64::from(is_counted));
                host.left = host.left.saturating_sub(1);
            }
            if let Some(rtt) = rtt {
                host.sample(rtt);
                self.slowest = self.slowest.max(host.rtt().unwrap_or_default());
            }
        }
        self.verdicts.push_back(Verdict {
            host: pair.host,
            endpoint,
            reason,
            probes,
            rtt,
            connection: None,
        });
    }

    /// The time since the probe to `pair` that left from `source`, where it was noted.
    fn round_trip(&mut self, now: Moment, pair: Pair, source: u8) -> Option<Duration> {
        let sent = self.timed.remove(&(pair, source))?;
        Some(now.since(sent))
    }
}

/// `now` less `time`, or the start.
fn before(now: Moment, time: Duration) -> Moment {
    Moment::after_start(now.elapsed().saturating_sub(time))
}

#[cfg(test)]
mod tests;
