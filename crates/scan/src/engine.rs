//! The connect engine: one state machine over the positions of a probe order.
//!
//! What is not here: sockets and clocks (the driver's), the order itself (`portolan-targets`), and
//! what becomes of a verdict.

use crate::flights::{Flight, Flights};
use crate::host::{Host, UnseenPace, Waiting};
use crate::loss::Habit;
use crate::pace::{Spacing, Window};
use crate::room::{REFUSALS_MAX, Room, Unseen};
use crate::rtt::Position;
use crate::{Dial, DialId, EngineOptions, Loss, ProbeTarget, Reply, Verdict};
use portolan_model::{Moment, PortSet, Reason};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Probes every position of an order until each has a verdict.
///
/// Call order, again and again until [`Engine::is_done`]:
/// 1. [`Engine::handle_timeout`] with the time,
/// 2. [`Engine::poll_abandoned`] until `None`: attempts whose sockets are to be given up,
/// 3. [`Engine::poll_verdict`] until `None`: a verdict may hand over an open connection, whose id
///    is used again by
/// 4. [`Engine::poll_dial`] until `None`: attempts to begin; each ends by one
///    [`Engine::handle_reply`] or by being abandoned,
/// 5. wait for a reply, at most until [`Engine::poll_timeout`].
#[derive(Debug)]
pub struct Engine<L> {
    lookup: L,
    positions: u32,
    cursor: u32,
    /// Ports that each host is asked.
    ports_each: u32,
    /// Ports that are asked even of hosts that answer everything.
    telling: PortSet,
    options: EngineOptions,
    hosts: Vec<Host>,
    flights: Flights,
    /// Hosts with something waiting and room for it.
    served: VecDeque<u32>,
    /// Hosts with something waiting that must not be asked before a moment.
    spaced: BinaryHeap<Reverse<(Moment, u32)>>,
    pace: TotalPace,
    room: Room,
    verdicts: VecDeque<Verdict>,
    abandoned: VecDeque<DialId>,
    waiting: u64,
    unseen: Unseen,
    draining: bool,
    probes: u64,
    decided: u64,
    loss: Loss,
}

/// Counts of an engine so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Attempts that left this machine.
    pub probes: u64,
    /// Positions that have a verdict or were passed over by the lookup.
    pub decided: u64,
    /// Answers, losses and silence.
    pub loss: Loss,
}

#[derive(Debug)]
struct TotalPace {
    spacing: Option<Spacing>,
    next: Moment,
}

/// Positions looked at by one call of [`Engine::poll_dial`] before it returns to the driver.
const LOOK_AHEAD: u32 = 256;
/// Positions that may wait at busy hosts, eight bytes each.
const BACKLOG_MAX: u64 = 1 << 20;
/// No search for a neighbour fails sooner: requests go out a second apart (arp(7),
/// `retrans_time_ms`).
const SEARCH_MIN: Duration = Duration::from_millis(900);
/// Attempts that end sooner, one after the other, before a rule is taken for the cause.
const SEARCHES_MAX: u8 = 3;
impl<L: FnMut(u32) -> Option<ProbeTarget>> Engine<L> {
    /// An engine over `positions` positions and `hosts` hosts. `lookup` says what a position
    /// stands for; `None` passes over it (it was decided in an earlier run). The same position
    /// must always give the same target.
    pub fn new(lookup: L, positions: u32, hosts: u32, options: EngineOptions) -> Self {
        Self {
            lookup,
            positions,
            cursor: 0,
            ports_each: positions.checked_div(hosts).unwrap_or(0),
            telling: PortSet::default(),
            options,
            hosts: (0..hosts)
                .map(|_| Host::new(UnseenPace::among(hosts)))
                .collect(),
            flights: Flights::default(),
            served: VecDeque::new(),
            spaced: BinaryHeap::new(),
            pace: TotalPace {
                spacing: options.rate.map(Spacing::of_rate),
                next: Moment::START,
            },
            room: Room::new(options.capacity),
            verdicts: VecDeque::new(),
            abandoned: VecDeque::new(),
            waiting: 0,
            unseen: Unseen::default(),
            draining: false,
            probes: 0,
            decided: 0,
            loss: Loss::default(),
        }
    }

    /// Says before the first attempt which ports are asked even of a host that says open for
    /// whatever port it is asked: of the others nothing would be learnt.
    pub fn handle_telling(&mut self, ports: PortSet) {
        self.telling = ports;
    }

    /// The next attempt to begin, if one may begin now.
    pub fn poll_dial(&mut self, now: Moment) -> Option<Dial> {
        if self.draining || !self.room.is_free(self.flights.len(), now) || self.pace.next > now {
            return None;
        }
        self.dial_from_order(now)
            .or_else(|| self.dial_from_hosts(now))
    }

    /// The driver's word on attempt `id`; ids that are not under way are passed over.
    pub fn handle_reply(&mut self, now: Moment, id: DialId, reply: Reply) {
        let Some(flight) = self.end_flight(id) else {
            return;
        };
        if !matches!(reply, Reply::LocalLimit) {
            self.room.granted();
        }
        match reply {
            Reply::Accepted => self.answered(now, &flight, Reason::SynAck, Some(id)),
            Reply::Refused => self.answered(now, &flight, Reason::Rst, None),
            Reply::Icmp(code) => self.answered(now, &flight, Reason::Icmp(code), None),
            Reply::NoNeighbour => self.absent(now, &flight),
            Reply::NoRoute => self.unreachable(&flight, Reason::NoRoute),
            Reply::LocalPolicy => self.unsent(&flight, Reason::LocalPolicy),
            Reply::LocalLimit => self.no_room(now, &flight),
        }
        self.believe(flight.target.host);
        self.list_host(flight.target.host);
    }

    /// Gives up the attempts whose time is over and wakes the hosts whose time has come.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(id) = self.flights.expired(now) {
            self.abandoned.push_back(id);
            if let Some(flight) = self.end_flight(id) {
                self.silent(&flight);
                self.believe(flight.target.host);
                self.list_host(flight.target.host);
            }
        }
        while let Some(Reverse((moment, host))) = self.spaced.peek().copied() {
            if moment > now {
                break;
            }
            self.spaced.pop();
            if let Some(state) = self.hosts.get_mut(index(host)) {
                state.spaced = false;
            }
            self.list_host(host);
        }
    }

    /// The next attempt whose socket is to be given up; its id may be in use again after the next
    /// [`Engine::poll_dial`].
    pub fn poll_abandoned(&mut self) -> Option<DialId> {
        self.abandoned.pop_front()
    }

    /// The next port that is decided.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    /// When to call [`Engine::handle_timeout`] if no reply comes before; `None`: when a reply
    /// comes. [`Moment::START`] asks for an immediate further round.
    pub fn poll_timeout(&mut self, now: Moment) -> Option<Moment> {
        // What was decided while dials were looked for is waiting to be taken.
        if !self.verdicts.is_empty() {
            return Some(Moment::START);
        }
        let deadline = self.flights.next_deadline();
        if self.draining {
            return deadline;
        }
        let spaced = self.spaced.peek().map(|Reverse((moment, _))| *moment);
        let has_work = self.may_read_on()
            || !self.served.is_empty()
            || (!self.unseen.hosts.is_empty() && self.unseen.has_room(&self.room));
        let begin = (has_work && self.flights.len() < self.room.capacity)
            .then(|| self.room.paused_until.max(self.pace.next));
        let begin = begin.map(|moment| if moment <= now { Moment::START } else { moment });
        [deadline, spaced, begin].into_iter().flatten().min()
    }

    /// Hosts that were first asked at or before `moment`, never answered, and are not known to be
    /// out of reach.
    pub fn unseen_since(&self, moment: Moment) -> impl Iterator<Item = u32> + '_ {
        let hosts = (0_u32..).zip(&self.hosts);
        hosts.filter_map(move |(number, host)| {
            let asked = host.begun.is_some_and(|begun| begun <= moment);
            (asked && !host.answered && host.down.is_none()).then_some(number)
        })
    }

    /// The neighbour discovery for a host has failed: no packet reaches it.
    pub fn handle_absent(&mut self, number: u32) {
        if let Some(host) = self.hosts.get_mut(index(number))
            && !host.answered
        {
            host.down = Some(Reason::NoNeighbour);
        }
        self.list_host(number);
    }

    /// Begins nothing further; what is under way may still be answered.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether every position is decided, or the engine is drained.
    pub fn is_done(&self) -> bool {
        let asked = self.draining || (self.cursor >= self.positions && self.waiting == 0);
        asked && self.flights.len() == 0 && self.verdicts.is_empty()
    }

    /// Counts so far.
    pub fn figures(&self) -> Figures {
        Figures {
            probes: self.probes,
            decided: self.decided,
            loss: self.loss,
        }
    }

    /// Attempts under way.
    pub fn flying(&self) -> u32 {
        self.flights.len()
    }

    /// Whether the order has more, and what was read and waits at busy hosts is bounded.
    const fn may_read_on(&self) -> bool {
        self.cursor < self.positions && self.waiting < BACKLOG_MAX
    }

    /// First probes, in the order of the plan.
    fn dial_from_order(&mut self, now: Moment) -> Option<Dial> {
        for _ in 0..LOOK_AHEAD {
            if !self.may_read_on() {
                return None;
            }
            let position = self.cursor;
            self.cursor += 1;
            let Some(target) = (self.lookup)(position) else {
                self.decided = self.decided.saturating_add(1);
                continue;
            };
            let waiting = Waiting {
                position,
                pass: 0,
                refusals: 0,
            };
            let Some(host) = self.hosts.get_mut(index(target.host)) else {
                continue;
            };
            if let Some(reason) = host.tells_nothing(target.endpoint.port, &self.telling) {
                self.decide(target, reason, 0, None, None);
            } else if host.has_room(now)
                && host.next <= now
                && host.waiting.is_empty()
                && (host.answered || self.unseen.has_room(&self.room))
            {
                return Some(self.begin(now, target, waiting));
            } else {
                host.waiting.push_back(waiting);
                self.waiting = self.waiting.saturating_add(1);
                self.list_host(target.host);
            }
        }
        None
    }

    /// What waits at hosts that have room: first probes that found them busy, and repeats.
    fn dial_from_hosts(&mut self, now: Moment) -> Option<Dial> {
        for _ in 0..LOOK_AHEAD {
            let number = self
                .served
                .pop_front()
                .or_else(|| self.unseen.next(&self.room))?;
            let host = self.hosts.get_mut(index(number))?;
            host.listed = false;
            if host.next > now {
                if !host.spaced {
                    host.spaced = true;
                    self.spaced.push(Reverse((host.next, number)));
                }
                continue;
            }
            if !host.has_room(now) {
                if let Some(moment) = host.grows_at() {
                    host.spaced = true;
                    self.spaced.push(Reverse((moment, number)));
                }
                continue;
            }
            if !host.answered && host.down.is_none() && !self.unseen.has_room(&self.room) {
                host.listed = true;
                self.unseen.hosts.push_back(number);
                continue;
            }
            let Some(waiting) = host.waiting.pop_front() else {
                continue;
            };
            self.waiting = self.waiting.saturating_sub(1);
            let Some(target) = (self.lookup)(waiting.position) else {
                continue;
            };
            if let Some(reason) = host.tells_nothing(target.endpoint.port, &self.telling) {
                self.decide(target, reason, waiting.pass, None, None);
                self.list_host(number);
                continue;
            }
            let dial = self.begin(now, target, waiting);
            self.list_host(number);
            return Some(dial);
        }
        None
    }

    fn begin(&mut self, now: Moment, target: ProbeTarget, waiting: Waiting) -> Dial {
        let mut wait = Duration::from_secs(1);
        let (mut cohort, mut watch) = (None, None);
        let patience = self.options.patience;
        if let Some(host) = self.hosts.get_mut(index(target.host)) {
            let wanted = probes_wanted(patience.retries, &self.loss, host.habit());
            let last = waiting.pass.saturating_add(1) >= wanted;
            let position = if last {
                Position::Last
            } else {
                Position::Earlier
            };
            let usual = host.doubt.wait(host.rtt.wait(waiting.pass, position));
            if host.is_doubted(waiting.pass, position) && patience.timeout.is_none() {
                watch = host
                    .doubt
                    .watch(usual, position, self.room.capacity)
                    .map(|longer| (longer, usual));
            }
            let adaptive = watch.map_or(usual, |(longer, _)| longer);
            wait = patience.timeout.unwrap_or(adaptive);
            cohort = host.begin(now, waiting.pass, watch.map(|(longer, _)| longer));
            if !host.answered {
                self.unseen.flying += 1;
            }
            let rates = [self.options.host_rate, host.window.rate()];
            if let Some(rate) = rates.into_iter().flatten().reduce(f64::min) {
                host.next = Spacing::of_rate(rate).next(now, host.next);
            }
        }
        if let Some(spacing) = self.pace.spacing {
            self.pace.next = spacing.next(now, self.pace.next);
        }
        self.probes = self.probes.saturating_add(1);
        let deadline = now + wait;
        let id = self.flights.begin(Flight {
            target,
            waiting,
            began: now,
            cohort,
            deadline,
            watch: watch.map(|(_, usual)| usual),
        });
        Dial {
            id,
            host: target.host,
            endpoint: target.endpoint,
        }
    }

    fn end_flight(&mut self, id: DialId) -> Option<Flight> {
        let flight = self.flights.end(id)?;
        if let Some(host) = self.hosts.get_mut(index(flight.target.host)) {
            host.flying = host.flying.saturating_sub(1);
            if !host.answered {
                self.unseen.flying = self.unseen.flying.saturating_sub(1);
                if let Some(number) = self.unseen.hosts.pop_front() {
                    self.served.push_back(number);
                }
            }
        }
        Some(flight)
    }

    fn answered(
        &mut self,
        now: Moment,
        flight: &Flight,
        reason: Reason,
        connection: Option<DialId>,
    ) {
        let rtt = now.since(flight.began);
        let pass = flight.waiting.pass;
        if let Some(host) = self.hosts.get_mut(index(flight.target.host)) {
            if !host.answered {
                host.answered = true;
                host.down = None;
                host.window.start();
                // It need not wait for more room to grow with time.
                host.spaced = false;
                // What is still under way to it counts as an attempt to a host that answers.
                self.unseen.flying = self.unseen.flying.saturating_sub(host.flying);
                self.served.append(&mut self.unseen.hosts);
            }
            // Who sends an ICMP error may be nearer than the host.
            if !matches!(reason, Reason::Icmp(_)) {
                host.rtt.sample(rtt);
            }
            let watched = flight.watch;
            let late = watched.and_then(|usual| host.doubt.watch_was_answered(rtt, usual));
            if watched.is_none() {
                host.probe_ended(flight.cohort, true);
            } else if let Some(again) = late {
                host.waiting.extend(again);
                // What was taken for loss was impatience.
                host.window = Window::new();
                host.window.start();
            }
        }
        self.loss.answer(pass);
        if matches!(reason, Reason::SynAck) {
            self.loss.open = self.loss.open.saturating_add(1);
            if let Some(host) = self.hosts.get_mut(index(flight.target.host)) {
                host.said.open(self.ports_each);
            }
        }
        let probes = pass.saturating_add(1);
        self.decide(flight.target, reason, probes, Some(rtt), connection);
    }

    fn silent(&mut self, flight: &Flight) {
        let probes = flight.waiting.pass.saturating_add(1);
        let Some(host) = self.hosts.get_mut(index(flight.target.host)) else {
            return;
        };
        if flight.watch.is_some() {
            host.doubt.watch_was_silent();
        } else {
            host.probe_ended(flight.cohort, false);
        }
        // It had room as well, although nothing came back.
        self.room.granted();
        if self.draining {
            return;
        }
        if let Some(reason) = host.down {
            self.decide(flight.target, reason, flight.waiting.pass, None, None);
            return;
        }
        let wanted = probes_wanted(self.options.patience.retries, &self.loss, host.habit());
        let waiting = Waiting {
            pass: probes,
            ..flight.waiting
        };
        if probes < wanted {
            host.waiting.push_back(waiting);
            self.waiting = self.waiting.saturating_add(1);
        } else if host.answered && self.options.patience.timeout.is_none() {
            host.doubt.settle(waiting);
            self.waiting = self.waiting.saturating_add(1);
        } else {
            self.give_up(flight.target, probes);
        }
    }

    /// Decides the ports of a host whose silence is no longer doubted.
    fn believe(&mut self, number: u32) {
        let Some(host) = self.hosts.get_mut(index(number)) else {
            return;
        };
        let idle = host.is_idle();
        for port in host.doubt.believed(idle) {
            self.waiting = self.waiting.saturating_sub(1);
            if let Some(target) = (self.lookup)(port.position) {
                self.give_up(target, port.pass);
            }
        }
    }

    fn give_up(&mut self, target: ProbeTarget, probes: u8) {
        self.loss.silence(probes);
        self.decide(target, Reason::Timeout { probes }, probes, None, None);
    }

    /// The word is that the neighbour is absent. A rule of this machine may say the same, of one
    /// port and not of the host: it does so at once, and a search for a neighbour takes time. One
    /// that began before the scan may end soon, but not twice.
    fn absent(&mut self, now: Moment, flight: &Flight) {
        let Some(host) = self.hosts.get(index(flight.target.host)) else {
            return;
        };
        let searched_since = if host.answered {
            Some(flight.began)
        } else {
            host.begun
        };
        let soon = searched_since.is_some_and(|since| now.since(since) < SEARCH_MIN);
        if !soon {
            self.unreachable(flight, Reason::NoNeighbour);
        } else if flight.waiting.refusals < SEARCHES_MAX {
            self.withdraw(flight);
            self.wait_again(flight);
        } else {
            self.unsent(flight, Reason::LocalPolicy);
        }
    }

    /// No packet can reach the host: so it is for all its ports, unless it answered before.
    fn unreachable(&mut self, flight: &Flight, reason: Reason) {
        self.withdraw(flight);
        let Some(host) = self.hosts.get_mut(index(flight.target.host)) else {
            return;
        };
        if host.answered && flight.waiting.refusals < REFUSALS_MAX {
            self.wait_again(flight);
            return;
        }
        if !host.answered {
            host.down = Some(reason);
        }
        self.decide(flight.target, reason, flight.waiting.pass, None, None);
    }

    /// The probe of `flight` did not leave this machine.
    fn withdraw(&mut self, flight: &Flight) {
        self.probes = self.probes.saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(index(flight.target.host)) {
            host.probe_withdrawn(flight.cohort, flight.watch);
        }
    }

    /// The port of `flight` is asked once more, behind what waits at its host.
    fn wait_again(&mut self, flight: &Flight) {
        if let Some(host) = self.hosts.get_mut(index(flight.target.host)) {
            let refusals = flight.waiting.refusals.saturating_add(1);
            host.waiting.push_back(Waiting {
                refusals,
                ..flight.waiting
            });
            self.waiting = self.waiting.saturating_add(1);
        }
    }

    fn unsent(&mut self, flight: &Flight, reason: Reason) {
        self.withdraw(flight);
        self.decide(flight.target, reason, flight.waiting.pass, None, None);
    }

    fn no_room(&mut self, now: Moment, flight: &Flight) {
        self.probes = self.probes.saturating_sub(1);
        self.room.refused(self.flights.len(), now);
        let refusals = flight.waiting.refusals.saturating_add(1);
        let Some(host) = self.hosts.get_mut(index(flight.target.host)) else {
            return;
        };
        host.probe_withdrawn(flight.cohort, flight.watch);
        if refusals >= REFUSALS_MAX || self.room.is_hopeless() {
            self.decide(
                flight.target,
                Reason::LocalLimit,
                flight.waiting.pass,
                None,
                None,
            );
        } else {
            host.waiting.push_front(Waiting {
                refusals,
                ..flight.waiting
            });
            self.waiting = self.waiting.saturating_add(1);
        }
    }

    fn decide(
        &mut self,
        target: ProbeTarget,
        reason: Reason,
        probes: u8,
        rtt: Option<Duration>,
        connection: Option<DialId>,
    ) {
        self.decided = self.decided.saturating_add(1);
        let ProbeTarget { host, endpoint } = target;
        self.verdicts.push_back(Verdict {
            host,
            endpoint,
            reason,
            probes,
            rtt,
            connection,
        });
    }

    /// Puts a host that has something waiting on the list to be served.
    fn list_host(&mut self, number: u32) {
        if let Some(host) = self.hosts.get_mut(index(number))
            && !host.listed
            && !host.spaced
            && !host.waiting.is_empty()
        {
            host.listed = true;
            self.served.push_back(number);
        }
    }
}

fn probes_wanted(retries: Option<u8>, loss: &Loss, habit: Habit) -> u8 {
    retries.map_or_else(
        || loss.probes_wanted(habit),
        |retries| retries.saturating_add(1),
    )
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
