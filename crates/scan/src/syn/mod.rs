//! The engine for raw SYN packets: stateless probes and a ledger of what is decided.
//!
//! A probe leaves no note of itself. What comes back names its port, acknowledges a number that
//! only this scan can have sent, and by the source port tells when the probe was sent. The ports
//! of a window are sent in passes: the first asks each, every further one what is still silent,
//! from other source ports, until what is expected to be missed is less than [`MISSED_MAX`].
//!
//! What is not here: frames and sockets (`portolan-wire`, `portolan-net`), and the order.

mod cookie;
mod epoch;
mod ledger;
mod pass;
mod speed;

use crate::{Figures, Loss, Patience, Verdict};
use cookie::Cookies;
use epoch::Epochs;
use ledger::{Ledger, Pair};
use pass::Passes;
use portolan_model::{Endpoint, Moment, PortSet, Reason, Transport, Unreachable};
use portolan_wire::Packet;
use portolan_wire::icmp::{IcmpError, QuotedContent};
use portolan_wire::tcp::{Flags, Tcp};
use speed::Speed;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

pub use epoch::SOURCE_PORTS;

/// Limits and wishes; what is `None` adapts to what the network answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SynOptions {
    /// The first of [`SOURCE_PORTS`] source ports; a multiple of their number.
    pub first_port: u16,
    /// Key of the sequence numbers, not to be known to anybody else.
    pub key: [u8; 16],
    /// Probes a second, in total.
    pub rate: Option<f64>,
    /// Probes a second to one host.
    pub host_rate: Option<f64>,
    /// When silence is believed.
    pub patience: Patience,
}

/// A SYN to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynProbe {
    /// Number of the host.
    pub host: u32,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Where its answer comes back to.
    pub source_port: u16,
    /// Its sequence number.
    pub sequence: u32,
}

/// What came in and decided nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Answers for ports that are decided.
    pub duplicates: u64,
    /// Packets that claim to answer and do not acknowledge what was sent.
    pub forged: u64,
}

/// Probes every position of an order until each has a verdict.
///
/// Call order, again and again until [`SynEngine::is_done`]:
/// 1. [`SynEngine::handle_packet`] with what came in,
/// 2. [`SynEngine::handle_timeout`] with the time,
/// 3. [`SynEngine::poll_verdict`] until `None`,
/// 4. [`SynEngine::poll_probe`] until `None`, [`SynEngine::handle_unsent`] for each probe that did
///    not leave,
/// 5. wait for a packet, at most until [`SynEngine::poll_timeout`].
#[derive(Debug)]
pub struct SynEngine<L> {
    lookup: L,
    options: SynOptions,
    cookies: Cookies,
    ledger: Ledger,
    hosts: Vec<Host>,
    epochs: Epochs,
    passes: Passes,
    speed: Speed,
    /// Probes that did not leave.
    again: VecDeque<Pair>,
    /// Probes whose host must not be asked before a moment.
    held: VecDeque<(Moment, Pair)>,
    /// Probes whose round trip is measured.
    timed: HashMap<Pair, Moment>,
    verdicts: VecDeque<Verdict>,
    probes: u64,
    decided: u64,
    loss: Loss,
    strays: Strays,
    /// The longest of the shortest round trips of the hosts.
    slowest: Duration,
    unseen: u32,
    draining: bool,
}

/// What is known of one host.
#[derive(Clone, Debug, Default)]
struct Host {
    /// Ports that are asked.
    asked: u32,
    /// Ports that were answered for.
    answered: u32,
    /// Passes in which it was asked.
    passes: u8,
    /// The shortest round trip in microseconds; 0: none was measured.
    rtt_us: u32,
    /// Set when no packet can reach it.
    down: Option<Reason>,
    /// Earliest moment of its next probe, where they are spaced.
    next: Moment,
}

/// Open ports that may be expected to be missed in a window.
const MISSED_MAX: f64 = 0.01;
/// Probes to a silent port, at least; a host that never answered gets one more.
const PASSES_MIN: u8 = 2;
/// No port gets more.
const PASSES_MAX: u8 = 10;
/// Positions looked at by one call of [`SynEngine::poll_probe`] before it returns to the driver.
const LOOK_AHEAD: u32 = 4_096;
/// Verdicts of silent ports that are made at once.
const SILENT_AT_ONCE: u32 = 4_096;
/// Round trips measured at once.
const TIMED_MAX: usize = 1_024;
/// Of a host whose round trip is known, one probe in this many is timed.
const TIMED_EVERY: u64 = 64;
/// Probes that wait for their host's turn.
const HELD_MAX: usize = 1 << 16;
/// Silence is believed after this and four round trips.
const WAIT: Duration = Duration::from_millis(10);
/// And not sooner: schedulers on both sides need as much.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// While there are hosts that never answered, a pass waits so long for them.
const WAIT_UNSEEN: Duration = Duration::from_millis(600);
/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// After a packet could not be sent for want of room.
const PAUSE: Duration = Duration::from_millis(1);

impl<L: FnMut(u32) -> Option<(u32, u16)>> SynEngine<L> {
    /// An engine over `positions` positions. `lookup` says what a position stands for: the number
    /// of a host in `addresses`, and one of `ports`; `None` passes over it (it was decided in an
    /// earlier run). The same position must always give the same answer, and no two the same.
    pub fn new(
        lookup: L,
        positions: u32,
        addresses: Vec<IpAddr>,
        ports: &PortSet,
        options: SynOptions,
    ) -> Self {
        let hosts = vec![Host::default(); addresses.len()];
        Self {
            lookup,
            options,
            cookies: Cookies::new(options.key),
            ledger: Ledger::new(addresses, ports),
            unseen: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            hosts,
            epochs: Epochs::new(options.first_port),
            passes: Passes::new(positions),
            speed: Speed::new(options.rate),
            again: VecDeque::new(),
            held: VecDeque::new(),
            timed: HashMap::new(),
            verdicts: VecDeque::new(),
            probes: 0,
            decided: 0,
            loss: Loss::default(),
            strays: Strays::default(),
            slowest: Duration::ZERO,
            draining: false,
        }
    }

    /// Says before the first probe that no packet can reach `host`, and why.
    pub fn handle_unreachable(&mut self, host: u32, reason: Reason) {
        if let Some(host) = self.hosts.get_mut(index(host)) {
            if host.down.is_none() {
                self.unseen = self.unseen.saturating_sub(1);
            }
            host.down = Some(reason);
        }
    }

    /// The next probe to send, if one may be sent now.
    pub fn poll_probe(&mut self, now: Moment) -> Option<SynProbe> {
        if self.draining || !self.speed.allows(now, self.epochs.flying) {
            return None;
        }
        if let Some(pair) = self.next_held(now).or_else(|| self.again.pop_front()) {
            return self.send(now, pair);
        }
        for _ in 0..LOOK_AHEAD {
            if self.held.len() >= HELD_MAX {
                return None;
            }
            let position = self.passes.next_position()?;
            let Some((host, port)) = (self.lookup)(position) else {
                self.pass_over();
                continue;
            };
            let pair = Pair { host, port };
            if !self.wants(pair) {
                continue;
            }
            self.passes.asks(position);
            if let Some(moment) = self.turn_of(pair, now) {
                self.held.push_back((moment, pair));
                continue;
            }
            return self.send(now, pair);
        }
        None
    }

    /// `probe` did not leave this machine; it is asked for again.
    pub fn handle_unsent(&mut self, now: Moment, probe: &SynProbe) {
        self.probes = self.probes.saturating_sub(1);
        if let Some(group) = self.epochs.withdraw(probe.source_port) {
            self.speed.withdrawn(group);
        }
        self.speed.pause(now + PAUSE);
        if let Some(pair) = self.ledger.pair(probe.endpoint) {
            self.timed.remove(&pair);
            self.again.push_back(pair);
        }
    }

    /// The receiver had no room for some of what came in. Which answers were lost is not known:
    /// the pass proves nothing of silence, and the rest of it goes slower.
    pub fn handle_overrun(&mut self) {
        self.passes.disturb();
        self.speed.slow_for_receiver();
    }

    /// Takes a received packet.
    pub fn handle_packet(&mut self, now: Moment, packet: &Packet<'_>) {
        match packet {
            Packet::Tcp(segment) => self.handle_segment(now, segment),
            Packet::IcmpError(error) => self.handle_error(now, error),
            _ => {}
        }
    }

    /// Ends epochs and passes whose time is over.
    pub fn handle_timeout(&mut self, now: Moment) {
        let wait = self.wait();
        if let Some(moment) = before(now, wait) {
            for part in self.epochs.end_before(moment) {
                self.speed.ended(part.group, part.sent - part.answered);
            }
        }
        let nothing_waits = self.again.is_empty() && self.held.is_empty();
        if self.passes.is_finishing() || !self.passes.is_through() || !nothing_waits {
            return;
        }
        if self.undecided() == 0 {
            self.passes.end();
        } else if !self.draining && now >= self.passes.last_sent() + self.patience() {
            self.end_pass();
        }
    }

    /// The next port that is decided.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        if self.verdicts.is_empty() && self.passes.is_finishing() && !self.draining {
            self.tell_silent();
        }
        self.verdicts.pop_front()
    }

    /// When to call [`SynEngine::handle_timeout`] if no packet comes before;
    /// [`Moment::START`] asks for an immediate further round.
    pub fn poll_timeout(&mut self, now: Moment) -> Option<Moment> {
        if !self.verdicts.is_empty() || self.passes.is_finishing() {
            return Some(Moment::START);
        }
        let wait = self.wait();
        let ends = self.epochs.oldest().map(|last| last + wait);
        let has_more = !self.passes.is_through() && self.held.len() < HELD_MAX;
        let sends = (has_more || !self.again.is_empty()).then(|| self.speed.next(now));
        let held = self.held.front().map(|(moment, _)| *moment);
        let pass = self
            .passes
            .is_through()
            .then(|| self.passes.last_sent() + self.patience());
        let moments = [ends, sends, held, pass].into_iter().flatten();
        moments
            .min()
            .map(|it| if it <= now { Moment::START } else { it })
    }

    /// Sends nothing further; what is under way may still be answered.
    pub fn drain(&mut self) {
        self.draining = true;
        self.again.clear();
        self.held.clear();
    }

    /// Whether every position is decided, or the engine is drained and nothing is under way.
    pub fn is_done(&self) -> bool {
        let done = self.passes.is_finished() || (self.draining && self.epochs.flying == 0);
        done && self.verdicts.is_empty()
    }

    /// Counts so far.
    pub fn figures(&self) -> Figures {
        Figures {
            probes: self.probes,
            decided: self.decided,
            loss: self.loss,
        }
    }

    /// What came in and decided nothing, so far.
    pub fn strays(&self) -> Strays {
        self.strays
    }

    /// A position that an earlier run decided.
    fn pass_over(&mut self) {
        if self.passes.number() == 0 {
            self.decided = self.decided.saturating_add(1);
        }
    }

    /// Whether `pair` is to be asked in this pass.
    fn wants(&mut self, pair: Pair) -> bool {
        let Some(host) = self.hosts.get_mut(index(pair.host)) else {
            return false;
        };
        if self.passes.number() == 0 {
            host.asked = host.asked.saturating_add(1);
            host.passes = 1;
            if let Some(reason) = host.down {
                self.decide(pair, reason, 0, None);
                return false;
            }
            return true;
        }
        !self.ledger.is_decided(pair) && host.passes > self.passes.number()
    }

    /// When the host of `pair` may be asked, if not now.
    fn turn_of(&mut self, pair: Pair, now: Moment) -> Option<Moment> {
        let rate = self.options.host_rate?;
        let host = self.hosts.get_mut(index(pair.host))?;
        let turn = host.next.max(now);
        host.next = turn + Duration::from_secs_f64(1.0 / rate.max(0.001));
        (turn > now).then_some(turn)
    }

    /// The next probe whose turn has come. Hosts have the same pace, so turns come in order as
    /// nearly as matters: one that is early waits for the one before it.
    fn next_held(&mut self, now: Moment) -> Option<Pair> {
        let due = self.held.front().is_some_and(|(moment, _)| *moment <= now);
        let (_, pair) = due.then(|| self.held.pop_front()).flatten()?;
        Some(pair)
    }

    fn send(&mut self, now: Moment, pair: Pair) -> Option<SynProbe> {
        let endpoint = self.ledger.endpoint(pair)?;
        let pass = self.passes.number();
        let source_port = self.epochs.source_port(now, pass);
        let group = self.speed.began(now, pass);
        self.epochs.sent(now, group);
        self.passes.sent(now);
        self.probes = self.probes.saturating_add(1);
        let host = self.hosts.get(index(pair.host))?;
        let is_timed = host.rtt_us == 0 || self.probes.is_multiple_of(TIMED_EVERY);
        if is_timed && self.timed.len() < TIMED_MAX {
            self.timed.insert(pair, now);
        }
        Some(SynProbe {
            host: pair.host,
            endpoint,
            source_port,
            sequence: self.cookies.sequence(endpoint, source_port),
        })
    }

    fn handle_segment(&mut self, now: Moment, segment: &Tcp) {
        let endpoint = Endpoint::tcp(segment.addresses.source, segment.source_port);
        let Some(pair) = self.ledger.pair(endpoint) else {
            return;
        };
        let source_port = segment.destination_port;
        let sequence = self.cookies.sequence(endpoint, source_port);
        let acknowledged = segment.acknowledgement.wrapping_sub(sequence);
        let is_reset = segment.flags.contains(Flags::RST);
        if self.epochs.of_port(source_port).is_none()
            || !segment.flags.contains(Flags::ACK)
            || (acknowledged != 1 && !(is_reset && acknowledged == 0))
        {
            self.strays.forged = self.strays.forged.saturating_add(1);
        } else if is_reset {
            self.answered(now, pair, source_port, Reason::Rst);
        } else if segment.flags.is_syn_ack() {
            self.answered(now, pair, source_port, Reason::SynAck);
        }
    }

    fn handle_error(&mut self, now: Moment, error: &IcmpError) {
        let QuotedContent::Tcp {
            source_port,
            destination_port,
            sequence,
        } = error.quoted.content
        else {
            return;
        };
        let address = error.quoted.addresses.destination;
        let endpoint = Endpoint::new(address, Transport::Tcp, destination_port);
        let Some(pair) = self.ledger.pair(endpoint) else {
            return;
        };
        // The others tell of a packet that went on its way, or would have in another size.
        let refuses = match (address, error.kind, error.code) {
            (IpAddr::V4(_), 3, code) => code != 4,
            (IpAddr::V4(_), kind, _) => matches!(kind, 11 | 12),
            (IpAddr::V6(_), kind, _) => matches!(kind, 1 | 3 | 4),
        };
        if !refuses {
            return;
        }
        let sent = self.cookies.sequence(endpoint, source_port);
        if self.epochs.of_port(source_port).is_none() || sequence != Some(sent) {
            self.strays.forged = self.strays.forged.saturating_add(1);
            return;
        }
        let code = match address {
            IpAddr::V4(_) => Unreachable::of_v4(error.kind, error.code),
            IpAddr::V6(_) => Unreachable::of_v6(error.kind, error.code),
        };
        self.answered(now, pair, source_port, Reason::Icmp(code));
    }

    /// A probe from `source_port` to `pair` was answered, beyond doubt.
    fn answered(&mut self, now: Moment, pair: Pair, source_port: u16, reason: Reason) {
        if self.ledger.is_decided(pair) {
            self.strays.duplicates = self.strays.duplicates.saturating_add(1);
            return;
        }
        let Some((pass, times)) = self
            .epochs
            .of_port(source_port)
            .map(|it| (it.pass, it.began..=it.last))
        else {
            return;
        };
        let rtt = self.measure(now, pair, &times);
        if let Some(group) = self.epochs.answered(source_port) {
            self.speed.answered(group);
        }
        let Some(host) = self.hosts.get_mut(index(pair.host)) else {
            return;
        };
        if host.answered == 0 {
            self.unseen = self.unseen.saturating_sub(1);
        }
        host.answered = host.answered.saturating_add(1);
        // Who sends an ICMP error may be nearer than the host.
        if let (Some(rtt), Reason::SynAck | Reason::Rst) = (rtt, reason) {
            let us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
            host.rtt_us = match host.rtt_us {
                0 => us,
                known => known.min(us),
            };
            self.slowest = self.slowest.max(rtt.min(WAIT_MAX));
        }
        // Errors are answers that routers and hosts give only so often: a later one shows no loss.
        let lost = if matches!(reason, Reason::Icmp(_)) {
            0
        } else {
            pass
        };
        self.loss.answer(lost);
        if reason == Reason::SynAck {
            self.loss.open = self.loss.open.saturating_add(1);
        }
        self.decide(pair, reason, pass.saturating_add(1), rtt);
    }

    /// The round trip of a timed probe, unless the answer is to another one, which was not sent at
    /// one of these `times`.
    fn measure(
        &mut self,
        now: Moment,
        pair: Pair,
        times: &std::ops::RangeInclusive<Moment>,
    ) -> Option<Duration> {
        let sent = self.timed.remove(&pair)?;
        times.contains(&sent).then(|| now.since(sent))
    }

    fn decide(&mut self, pair: Pair, reason: Reason, probes: u8, rtt: Option<Duration>) {
        let Some(endpoint) = self.ledger.endpoint(pair) else {
            return;
        };
        self.ledger.decide(pair);
        self.decided = self.decided.saturating_add(1);
        self.verdicts.push_back(Verdict {
            host: pair.host,
            endpoint,
            reason,
            probes,
            rtt,
            connection: None,
        });
    }

    /// Positions without a verdict.
    fn undecided(&self) -> u64 {
        u64::from(self.passes.positions()).saturating_sub(self.decided)
    }

    /// How long silence is doubted.
    fn wait(&self) -> Duration {
        let adaptive = (WAIT + self.slowest.saturating_mul(4)).clamp(WAIT_MIN, WAIT_MAX);
        self.options.patience.timeout.unwrap_or(adaptive)
    }

    /// How long the end of a pass waits for answers.
    fn patience(&self) -> Duration {
        let wait = self.wait();
        if self.unseen > 0 && self.options.patience.timeout.is_none() {
            wait.max(WAIT_UNSEEN)
        } else {
            wait
        }
    }

    /// A pass is over: is there to be another, and for which hosts?
    fn end_pass(&mut self) {
        let done = self.passes.number().saturating_add(1);
        let proven = self.passes.proven();
        let needs = Needs::of(&self.loss, self.options.patience.retries);
        let mut more = false;
        for host in &mut self.hosts {
            let silent = host.asked.saturating_sub(host.answered);
            if host.passes < done || silent == 0 || host.down.is_some() {
                continue;
            }
            let wanted = needs.passes(host);
            // Passes that prove nothing are held again, as far as there is room for it.
            if proven < wanted && done < needs.most {
                host.passes = done.saturating_add(1);
                more = true;
            }
        }
        self.timed.clear();
        if more {
            self.passes.begin_next();
        } else {
            self.passes.finish();
        }
    }

    /// Decides some of the ports that stayed silent to the end.
    fn tell_silent(&mut self) {
        for _ in 0..SILENT_AT_ONCE {
            let Some(position) = self.passes.next_silent() else {
                return;
            };
            let Some((host, port)) = (self.lookup)(position) else {
                continue;
            };
            let pair = Pair { host, port };
            if self.ledger.is_decided(pair) {
                continue;
            }
            let state = self.hosts.get(index(host));
            let probes = state.map_or(0, |host| host.passes);
            if let Some(reason) = state.and_then(|host| host.down) {
                self.decide(pair, reason, 0, None);
                continue;
            }
            self.loss.silence(probes);
            self.decide(pair, Reason::Timeout { probes }, probes, None);
        }
    }
}

/// How many probes silence takes.
struct Needs {
    /// At hosts that answer for most of their ports.
    strict: u8,
    /// At others.
    open: u8,
    /// At hosts that never answered.
    unseen: u8,
    /// In any case.
    most: u8,
}

impl Needs {
    fn of(loss: &Loss, retries: Option<u8>) -> Self {
        if let Some(retries) = retries {
            let passes = retries.saturating_add(1);
            return Self {
                strict: passes,
                open: passes,
                unseen: passes,
                most: passes,
            };
        }
        let open = loss
            .passes(loss.open, MISSED_MAX)
            .clamp(PASSES_MIN, PASSES_MAX);
        Self {
            // There silence is rare, and a closed port must not be called filtered for a loss.
            strict: loss
                .passes(loss.answered, MISSED_MAX)
                .clamp(open, PASSES_MAX),
            open,
            unseen: open.saturating_add(1).min(PASSES_MAX),
            most: PASSES_MAX,
        }
    }

    fn passes(&self, host: &Host) -> u8 {
        if host.answered == 0 {
            self.unseen
        } else if host.answered > host.asked / 2 {
            self.strict
        } else {
            self.open
        }
    }
}

fn before(now: Moment, wait: Duration) -> Option<Moment> {
    now.elapsed().checked_sub(wait).map(Moment::after_start)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
