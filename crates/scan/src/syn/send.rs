//! Which probe is sent next, and when.

use super::cohort::Kind;
use super::group::Group;
use super::host::Host;
use super::ledger::Pair;
use super::{Check, Member, SynEngine, SynProbe, index};
use portolan_model::Moment;
use std::cmp::Reverse;
use std::time::Duration;

/// Positions looked at by one call of [`SynEngine::poll_probe`] before it returns to the driver.
const LOOK_AHEAD: u32 = 4_096;
/// Hosts whose turn has come and whose path has no room, looked at by one call.
const TURNS_AHEAD: u32 = 64;
/// Probes that wait for the pace of one path, while others go on.
const PATH_WAITING_MAX: usize = 1 << 20;
/// Round trips measured at once.
const TIMED_MAX: usize = 1_024;
/// Of a host whose round trip is known, one probe in this many is timed.
const TIMED_EVERY: u64 = 16;
/// A host that is silent is looked at again after this time.
const SILENT_LOOK: Duration = Duration::from_millis(50);
/// Checks that wait for a port that may be asked again are looked at again after this time.
const CLOSING_LOOK: Duration = Duration::from_millis(5);

impl<L: FnMut(u32) -> Option<(u32, u16)>> SynEngine<L> {
    /// The next probe to send, if one may be sent now.
    pub fn poll_probe(&mut self, now: Moment) -> Option<SynProbe> {
        if self.draining || self.speed.next() > now {
            return None;
        }
        let check = self.next_check(now).or_else(|| self.next_spaced_check(now));
        if let Some(pair) = check {
            if let Some(rate) = self.options.host_rate
                && let Some(host) = self.hosts.get_mut(index(pair.host))
            {
                host.reserve(now, rate);
            }
            return self.send(now, pair, Kind::Check);
        }
        let again = self.next_again(now).map(|pair| (pair, self.kind()));
        let (pair, kind) = again.or_else(|| self.next_turn(now)).or_else(|| {
            let pair = self.next_of_path(now).or_else(|| self.next_of_pass(now))?;
            Some((pair, self.kind()))
        })?;
        self.send(now, pair, kind)
    }

    /// When to call [`SynEngine::handle_timeout`] if no packet comes before;
    /// [`Moment::START`] asks for an immediate further round.
    pub fn poll_timeout(&mut self, now: Moment) -> Option<Moment> {
        if !self.verdicts.is_empty() || self.passes.is_finishing() {
            return Some(Moment::START);
        }
        let wait = self.wait();
        let mut moments = [
            self.epochs.oldest().map(|last| last + wait),
            self.check_ends.peek().map(|Reverse((moment, _))| *moment),
            self.judgements.peek().map(|Reverse((moment, _))| *moment),
            self.pass_ends(now),
            None,
        ];
        if !self.draining {
            let closing = (!self.closing.is_empty()).then(|| now + CLOSING_LOOK);
            let sends = [closing, self.silent_check_due(), self.next_send(now)];
            let earliest = sends.into_iter().flatten().min();
            if let Some(last) = moments.last_mut() {
                *last = earliest.map(|moment| moment.max(self.speed.next()));
            }
        }
        let moments = moments.into_iter().flatten();
        moments
            .min()
            .map(|it| if it <= now { Moment::START } else { it })
    }

    /// When the next probe that is no check may be sent; `None`: only an answer or the end of the
    /// pass makes one possible.
    fn next_send(&self, now: Moment) -> Option<Moment> {
        if !self.again.is_empty() {
            return Some(now);
        }
        let turn = self.waiting.next_turn();
        let has_more = !self.passes.is_through();
        let of_path = |(number, way): (u32, &super::WayState)| {
            let group = self.groups.get(way.group)?;
            // Behind a path with too much that waits nothing further of the pass is looked at.
            let has_more = has_more && self.full.is_none_or(|full| full == number);
            let wants = has_more || !way.waiting.is_empty();
            let moment = if self.speed.is_fixed() {
                now
            } else {
                group.next()
            };
            (wants && group.life.silent_since.is_none()).then_some(moment)
        };
        let paths = (0..).zip(&self.ways).filter_map(of_path).min();
        let first = self.check_turns.front();
        let checks = first.map(|number| self.check_due(*number, now).unwrap_or(now));
        turn.into_iter().chain(paths).chain(checks).min()
    }

    /// When a silent group is to be checked.
    fn silent_check_due(&self) -> Option<Moment> {
        let groups = self.silent.iter().filter_map(|at| self.groups.get(*at));
        groups.map(|group| group.life.next_check).min()
    }

    /// A port that is known to answer, of a group that is silent or before the end of a pass.
    fn next_check(&mut self, now: Moment) -> Option<Pair> {
        let epoch = self.epochs.number_at(now, self.passes.number());
        let Self {
            groups,
            checks,
            silent,
            hosts,
            ..
        } = self;
        let spacing = self.options.host_rate;
        let may = |pair: Pair| !checks.contains_key(&pair) && has_room(hosts, pair, now, spacing);
        for number in silent.iter() {
            let Some(group) = groups.get_mut(*number) else {
                continue;
            };
            if group.life.next_check <= now {
                group.put_off_check(now);
                if let Some(pair) = group.next_check(now, epoch, may) {
                    return Some(pair);
                }
            }
        }
        for _ in 0..self.closing.len() {
            let number = self.closing.pop_front()?;
            let Some(group) = groups.get_mut(number) else {
                continue;
            };
            if group.life.silent_since.is_some() {
                continue;
            }
            if let Some(pair) = group.next_check(now, epoch, may) {
                return Some(pair);
            }
            self.closing.push_back(number);
        }
        None
    }

    /// A port that is known to answer, where the pace of the path has room for it: a check that is
    /// sent together with a probe shows what becomes of two at once, not of one.
    fn next_spaced_check(&mut self, now: Moment) -> Option<Pair> {
        while let Some(number) = self.check_turns.front().copied() {
            let due = self.check_due(number, now);
            if due.is_some_and(|due| due > now) {
                return None;
            }
            self.check_turns.pop_front();
            if due.is_none() {
                // Silent groups are checked on their own.
                continue;
            }
            let epoch = self.epochs.number_at(now, self.passes.number());
            let spacing = self.options.host_rate;
            let Self {
                groups,
                checks,
                hosts,
                ..
            } = self;
            let may =
                |pair: Pair| !checks.contains_key(&pair) && has_room(hosts, pair, now, spacing);
            let group = groups.get_mut(number);
            let pair = group.and_then(|group| group.next_check(now, epoch, may));
            if pair.is_some() {
                return pair;
            }
        }
        None
    }

    /// When the path of a group has room for a check; `None`: it is silent.
    fn check_due(&self, number: usize, now: Moment) -> Option<Moment> {
        let path = match self.members.get(number)? {
            Member::Path(path) | Member::Network(path) => *path,
            Member::Host(host) => self.hosts.get(index(*host))?.path,
        };
        let path = self.groups.get(self.ways.get(index(path))?.group)?;
        let due = if self.speed.is_fixed() {
            now
        } else {
            path.next()
        };
        path.life.silent_since.is_none().then_some(due)
    }

    /// A probe that did not leave.
    fn next_again(&mut self, now: Moment) -> Option<Pair> {
        for _ in 0..self.again.len() {
            let pair = self.again.pop_front()?;
            if self.is_silent(pair.host) {
                self.waiting.put(pair, now + SILENT_LOOK);
            } else if !self.ledger.is_decided(pair) {
                return Some(pair);
            }
        }
        None
    }

    /// A probe of a host whose turn has come, or a check in its place.
    fn next_turn(&mut self, now: Moment) -> Option<(Pair, Kind)> {
        for _ in 0..TURNS_AHEAD {
            let host = self.waiting.due(now)?;
            if self.is_down(host) {
                self.waiting.forget(host);
            } else if self.is_silent(host) {
                self.waiting.keep(host, now + SILENT_LOOK);
            } else if let Some(moment) = self.path_blocked(host, now) {
                self.waiting.keep(host, moment);
            } else if let Some(pair) = self.own_check(host, now) {
                let turn = self.reserve(host, now);
                self.waiting.keep(host, turn);
                return Some((pair, Kind::Check));
            } else if let Some(port) = self.waiting.take(host) {
                if self.waiting.has_more(host) {
                    let turn = self.reserve(host, now);
                    self.waiting.keep(host, turn);
                }
                let pair = Pair { host, port };
                if !self.ledger.is_decided(pair) && !self.tells_nothing(pair) {
                    return Some((pair, self.kind()));
                }
            }
        }
        None
    }

    /// The check that takes the place of the next probe to a host, if one does.
    fn own_check(&mut self, host: u32, now: Moment) -> Option<Pair> {
        let [own, ..] = self.groups_of(host);
        let epoch = self.epochs.number_at(now, self.passes.number());
        let Self { groups, checks, .. } = self;
        let group = groups.get_mut(own?)?;
        if !std::mem::take(&mut group.check_is_next) {
            return None;
        }
        group.next_check(now, epoch, |pair| !checks.contains_key(&pair))
    }

    /// A probe that waited for the pace of its path.
    fn next_of_path(&mut self, now: Moment) -> Option<Pair> {
        if self.ways.len() < 2 {
            return None;
        }
        for number in 0..self.ways.len() {
            for _ in 0..TURNS_AHEAD {
                let way = self.ways.get_mut(number)?;
                let group = self.groups.get(way.group)?;
                if group.next() > now {
                    break;
                }
                let Some(pair) = way.waiting.pop_front() else {
                    break;
                };
                if !self.is_down(pair.host)
                    && !self.ledger.is_decided(pair)
                    && !self.tells_nothing(pair)
                    && self.is_due(pair, now)
                {
                    return Some(pair);
                }
            }
        }
        None
    }

    /// The next probe of the pass under way. Ports that are not to be asked yet are set aside.
    fn next_of_pass(&mut self, now: Moment) -> Option<Pair> {
        self.full = None;
        let only = self.ways.len() == 1;
        if only && self.path_blocked(0, now).is_some() && !self.is_down(0) {
            return None;
        }
        for _ in 0..LOOK_AHEAD {
            let position = self.passes.next_position()?;
            let Some((host, port)) = (self.lookup)(position) else {
                self.pass_over();
                continue;
            };
            let pair = Pair { host, port };
            let is_blocked = !self.is_down(host) && self.path_blocked(host, now).is_some();
            let path = self.hosts.get(index(host)).map_or(0, |host| host.path);
            if is_blocked && (only || self.path_waiting(path) >= PATH_WAITING_MAX) {
                self.passes.put_back();
                self.full = Some(path);
                return None;
            }
            if !self.wants(pair) || self.tells_nothing(pair) {
                continue;
            }
            self.passes.asks(position);
            if is_blocked {
                if let Some(way) = self.ways.get_mut(index(path)) {
                    way.waiting.push_back(pair);
                }
            } else if self.is_due(pair, now) {
                return Some(pair);
            }
        }
        None
    }

    /// Whether `pair` may be asked now; if not, it waits for its turn.
    fn is_due(&mut self, pair: Pair, now: Moment) -> bool {
        if self.waiting.has(pair.host) {
            self.waiting.put(pair, now);
            return false;
        }
        if self.is_silent(pair.host) {
            self.waiting.put(pair, now + SILENT_LOOK);
            return false;
        }
        let turn = self.reserve(pair.host, now);
        if turn > now {
            self.waiting.put(pair, turn);
        }
        turn <= now
    }

    fn path_waiting(&self, path: u32) -> usize {
        let way = self.ways.get(index(path));
        way.map_or(0, |way| way.waiting.len())
    }

    fn is_down(&self, host: u32) -> bool {
        let host = self.hosts.get(index(host));
        host.is_none_or(|host| host.down.is_some())
    }

    /// Whether the host or its network does not answer any more.
    fn is_silent(&self, host: u32) -> bool {
        let groups = self.groups_of(host).into_iter().flatten();
        let mut groups = groups.filter_map(|at| self.groups.get(at));
        groups.any(|group| group.life.silent_since.is_some())
    }

    /// When the path to `host` has room for a probe, if it has none now.
    fn path_blocked(&self, host: u32, now: Moment) -> Option<Moment> {
        let path = self.hosts.get(index(host))?.path;
        let group = self.groups.get(self.ways.get(index(path))?.group)?;
        if group.life.silent_since.is_some() {
            return Some(now + SILENT_LOOK);
        }
        let next = group.next();
        (next > now && !self.speed.is_fixed()).then_some(next)
    }

    /// Takes the next place in the schedules of a host and its network.
    fn reserve(&mut self, host: u32, now: Moment) -> Moment {
        self.ensure_own(host);
        let [own, network, _] = self.groups_of(host);
        let mut turn = now;
        if !self.speed.is_fixed() {
            for number in [own, network].into_iter().flatten() {
                if let Some(group) = self.groups.get_mut(number) {
                    turn = turn.max(group.reserve(now));
                }
            }
        }
        if let Some(rate) = self.options.host_rate
            && let Some(host) = self.hosts.get_mut(index(host))
        {
            turn = turn.max(host.reserve(now, rate));
        }
        turn
    }

    fn ensure_own(&mut self, host: u32) {
        let has_none = |it: &Host| it.own == 0;
        if self.has_own && self.hosts.get(index(host)).is_some_and(has_none) {
            let group = self.add_group(Member::Host(host));
            if let Some(host) = self.hosts.get_mut(index(host)) {
                host.own = u32::try_from(group + 1).unwrap_or(0);
            }
        }
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
            host.passes = host.passes.max(1);
            if let Some(reason) = host.down {
                self.decide(pair, reason, 0, None);
                return false;
            }
            return true;
        }
        host.down.is_none() && host.passes > self.passes.number() && !self.ledger.is_decided(pair)
    }

    fn send(&mut self, now: Moment, pair: Pair, kind: Kind) -> Option<SynProbe> {
        let endpoint = self.ledger.endpoint(pair)?;
        let pass = self.passes.number();
        let source_port = self.epochs.send(now, pass);
        let epoch = self.epochs.newest();
        self.speed.sent(now);
        self.passes.sent(now);
        self.probes = self.probes.saturating_add(1);
        let host = self.hosts.get(index(pair.host))?;
        let trip = host.trip;
        if kind == Kind::Check {
            self.checks.insert(
                pair,
                Check {
                    sent: now,
                    epoch,
                    pass,
                },
            );
            let ends = now + self.wait_for(trip);
            self.check_ends.push(Reverse((ends, pair)));
        } else if (!trip.is_known() || self.probes.is_multiple_of(TIMED_EVERY))
            && self.timed.len() < TIMED_MAX
        {
            self.timed.insert(pair, now);
        }
        self.count(now, pair, epoch, kind);
        Some(SynProbe {
            host: pair.host,
            endpoint,
            source_port,
            sequence: self.cookies.sequence(endpoint, source_port),
        })
    }

    /// Tells the groups of a host that it was sent a probe.
    fn count(&mut self, now: Moment, pair: Pair, epoch: u64, kind: Kind) {
        let groups = self.groups_of(pair.host);
        let [own, network, path] = groups;
        let part = own.or(network).and_then(|at| self.groups.get(at));
        let share = part.and_then(Group::share);
        let is_first_pass = self.passes.number() == 0;
        let waits = self.waiting.has(pair.host);
        for number in groups.into_iter().flatten() {
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            if !self.speed.is_fixed() && Some(number) == path {
                group.reserve(now);
            }
            if kind == Kind::Check {
                group.was_checked(now, pair, epoch);
            }
            if let Some(moment) = group.sent(now, epoch, kind, share) {
                self.judgements.push(Reverse((moment, number)));
            }
            if kind != Kind::Check && group.wants_check(is_first_pass) {
                group.check_asked();
                if waits && Some(number) == own {
                    group.check_is_next = true;
                } else {
                    self.check_turns.push_back(number);
                }
            }
        }
    }
}

/// Whether a check of `pair` may go before what has a place in the time of its host, where the
/// user spaces its probes: one may, which the next but one makes up for.
fn has_room(hosts: &[Host], pair: Pair, now: Moment, host_rate: Option<f64>) -> bool {
    let host = hosts.get(index(pair.host));
    host_rate.is_none_or(|rate| host.is_some_and(|host| host.has_room(now, rate)))
}
