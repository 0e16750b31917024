//! The ends of cohorts, checks and passes, and what silence comes to.

use super::evidence::{CHECKS_MIN, Evidence, missing};
use super::group::{Around, Group};
use super::host::Host;
use super::ledger::Pair;
use super::{Member, SynEngine, index};
use portolan_model::{Moment, Reason};
use std::cmp::Reverse;
use std::time::Duration;

/// Open ports that may be expected to be missed in a window.
const MISSED_MAX: f64 = 0.000_5;
/// Closed ports that may be expected to be called silent, at a host that answers for most of its
/// ports: there silence is rare, and a closed port must not be called filtered for a loss.
const MISTAKEN_MAX: f64 = 0.005;
/// Probes to a silent port of a host that answers, at least.
const PASSES_MIN: u8 = 2;
/// The same of a host that never answered, and at most.
const PASSES_UNSEEN: (u8, u8) = (3, 8);
/// It counts as absent or silent when it would have stayed silent by loss with this chance.
const UNSEEN_MAX: f64 = 1e-4;
/// Checks before the end of a pass where a single open port is all that is known to answer.
const CHECKS_LONE_MIN: u32 = 4;
/// Probes to a silent port at most where that port answers checks no more.
const PASSES_UNPROVEN: u8 = 4;
/// Closed ports of a host that answers for fewer than half of its ports count from here on.
const CLOSED_MANY: u32 = 64;
/// No port gets more.
const PASSES_MAX: u8 = 16;
/// While there are hosts that never answered, a pass waits so long for them.
const WAIT_UNSEEN: Duration = Duration::from_millis(600);
/// How long the end of a pass waits is looked at again after this time, and when it is over.
const WAIT_LOOK: Duration = Duration::from_millis(10);
/// Verdicts of silent ports that are made at once.
const SILENT_AT_ONCE: u32 = 4_096;
/// The way to a silent group is asked for anew, once in this time.
const SILENT_TOLD_EVERY: Duration = Duration::from_secs(1);

impl<L: FnMut(u32) -> Option<(u32, u16)>> SynEngine<L> {
    /// Ends epochs, cohorts, checks and passes whose time is over.
    pub fn handle_timeout(&mut self, now: Moment) {
        if let Some(moment) = before(now, self.wait()) {
            self.epochs.end_before(moment);
        }
        self.end_checks(now);
        self.judge(now);
        self.give_up(now);
        if self.passes.is_finishing() || self.passes.is_finished() {
            return;
        }
        if !self.nothing_waits() {
            return;
        }
        if self.undecided() == 0 {
            self.passes.end();
        } else if self.pass_ends(now).is_some_and(|moment| moment <= now) {
            if !self.passes.is_closing() {
                self.passes.close();
                self.ask_closing_checks();
            } else if self.closing.is_empty() && !self.ask_doubtful() {
                self.end_pass();
            }
        }
    }

    /// When the pass under way may end; `None`: something of it has to be sent first, or is
    /// waited for.
    pub(super) fn pass_ends(&mut self, now: Moment) -> Option<Moment> {
        let is_open = !self.draining && !self.passes.is_finishing() && !self.passes.is_finished();
        if !is_open || !self.nothing_waits() || !self.closing.is_empty() || !self.silent.is_empty()
        {
            return None;
        }
        // Every host is looked at for it, so not in every round.
        let (wait, as_of) = match self.pass_wait {
            Some((wait, as_of)) if now.since(as_of) < WAIT_LOOK => (wait, as_of),
            _ => (self.patience(), now),
        };
        self.pass_wait = Some((wait, as_of));
        let ends = self.passes.last_sent() + wait;
        let ends = if ends <= now && as_of < now {
            // Answers are perhaps known to take longer by now.
            let wait = self.patience();
            self.pass_wait = Some((wait, now));
            self.passes.last_sent() + wait
        } else {
            ends
        };
        Some(ends.max(self.epochs.next_begins()))
    }

    /// Whether every probe of the pass has left.
    fn nothing_waits(&self) -> bool {
        self.passes.is_through()
            && self.again.is_empty()
            && self.waiting.is_empty()
            && self.ways.iter().all(|way| way.waiting.is_empty())
    }

    fn end_checks(&mut self, now: Moment) {
        while let Some(Reverse((moment, pair))) = self.check_ends.peek().copied() {
            if moment > now {
                return;
            }
            self.check_ends.pop();
            let Some(check) = self.checks.get(&pair).copied() else {
                continue;
            };
            let trip = self.hosts.get(index(pair.host)).map(|host| host.trip);
            let wait = self.wait_for(trip.unwrap_or_default());
            if check.sent + wait > now {
                // It is a later check of the same port, or answers are known to take longer now.
                self.check_ends.push(Reverse((check.sent + wait, pair)));
                continue;
            }
            self.checks.remove(&pair);
            for number in self.groups_of(pair.host).into_iter().flatten() {
                let Some(group) = self.groups.get_mut(number) else {
                    continue;
                };
                if group.life.silent_since.is_none() {
                    group.evidence.check(check.pass, true);
                }
                if group.check_lost(now, check.sent, pair.host) {
                    self.fall_silent(number);
                }
            }
        }
    }

    fn judge(&mut self, now: Moment) {
        let newest = self.epochs.newest();
        while let Some(Reverse((moment, number))) = self.judgements.peek().copied() {
            if moment > now {
                return;
            }
            self.judgements.pop();
            let around = self.around(number);
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            if group.judge(now, newest, around) {
                self.fall_silent(number);
            } else if let Some(due) = group.judgement_due() {
                // Answers are known to take longer than when this was planned.
                if due > now {
                    self.judgements.push(Reverse((due, number)));
                }
            }
        }
    }

    /// What is lost and late on the whole way that a group is a part of.
    pub(super) fn around(&self, number: usize) -> Around {
        let of = |number: Option<usize>| {
            let group = number.and_then(|at| self.groups.get(at));
            group.map_or(Around::NOTHING, Group::around)
        };
        match self.members.get(number) {
            None | Some(Member::Path(_)) => Around::NOTHING,
            Some(Member::Network(path)) => of(self.ways.get(index(*path)).map(|way| way.group)),
            Some(Member::Host(host)) => {
                let [_, network, path] = self.groups_of(*host);
                of(network).or_worse(of(path))
            }
        }
    }

    fn fall_silent(&mut self, number: usize) {
        if !self.silent.contains(&number) {
            self.silent.push(number);
        }
    }

    /// Asks for the way to silent groups, and gives those up that stay silent.
    fn give_up(&mut self, now: Moment) {
        for at in (0..self.silent.len()).rev() {
            let Some(number) = self.silent.get(at).copied() else {
                continue;
            };
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            let Some(since) = group.life.silent_since else {
                self.silent.swap_remove(at);
                continue;
            };
            if group.life.is_over(now, since) {
                group.life.silent_since = None;
                group.life.is_gone = true;
                self.silent.swap_remove(at);
                self.mark_silent(number);
            } else if group.life.asks_way(now, SILENT_TOLD_EVERY)
                && let Some(pair) = group.first_known()
            {
                self.silent_hosts.push_back(pair.host);
            }
        }
    }

    /// Nothing more is to be learnt of the hosts of a group.
    fn mark_silent(&mut self, number: usize) {
        let Some(member) = self.members.get(number).copied() else {
            return;
        };
        for at in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            let belongs = match member {
                Member::Host(host) => host == at,
                Member::Network(_) | Member::Path(_) => self.groups_of(at).contains(&Some(number)),
            };
            if let Some(host) = self.hosts.get_mut(index(at)).filter(|_| belongs)
                && host.down.is_none()
            {
                host.down = Some(Reason::WentSilent);
                self.waiting.forget(at);
            }
        }
        let hosts = &self.hosts;
        for way in &mut self.ways {
            way.waiting.retain(|pair| {
                let host = hosts.get(index(pair.host));
                host.is_some_and(|host| host.down.is_none())
            });
        }
    }

    /// How long the end of a pass waits for answers.
    fn patience(&self) -> Duration {
        if let Some(timeout) = self.options.patience.timeout {
            return timeout;
        }
        let number = self.passes.number();
        let asked = |host: &&Host| host.passes > number && host.silent() > 0 && host.down.is_none();
        let waits = self.hosts.iter().filter(asked).map(|host| {
            if host.trip.is_known() {
                host.trip.wait_for_port()
            } else {
                self.wait().max(WAIT_UNSEEN)
            }
        });
        waits.max().unwrap_or(Duration::ZERO)
    }

    /// Where too little shows what the pass under way has lost, ports that are known to answer are
    /// asked again before it ends.
    fn ask_closing_checks(&mut self) {
        let number = self.passes.number();
        if self.options.patience.retries.is_some() {
            return;
        }
        let units = self.units_with_silence();
        for (number_of_group, group) in self.groups.iter().enumerate() {
            let wanted = units.get(number_of_group).copied().unwrap_or(false);
            if !wanted || !group.has_known() || (number == 0 && group.evidence.shows(0)) {
                continue;
            }
            let least = if group.has_lone_port() {
                CHECKS_LONE_MIN
            } else {
                CHECKS_MIN
            };
            for _ in group.evidence.checks(number)..least {
                self.closing.push_back(number_of_group);
            }
        }
    }

    /// Groups with silent ports in the pass under way whose silence is judged by their own counts.
    fn units_with_silence(&self) -> Vec<bool> {
        let number = self.passes.number();
        let wants = |host: &Host| host.passes > number && host.silent() > 0 && host.down.is_none();
        let mut units = vec![false; self.groups.len()];
        for at in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            if self.hosts.get(index(at)).is_some_and(wants)
                && let Some(unit) = self.unit_of(at)
                && let Some(unit) = units.get_mut(unit)
            {
                *unit = true;
            }
        }
        units
    }

    /// The last checks of a group were lost: before its silence is believed, one is answered, or
    /// enough are lost to show that it does not answer any more. Answers whether any is asked.
    fn ask_doubtful(&mut self) -> bool {
        if self.options.patience.retries.is_some() {
            return false;
        }
        let units = self.units_with_silence();
        for (number, group) in self.groups.iter().enumerate() {
            if units.get(number) == Some(&true) && group.is_doubtful() {
                self.closing.push_back(number);
            }
        }
        !self.closing.is_empty()
    }

    /// A pass is over: is there to be another, and for which hosts?
    fn end_pass(&mut self) {
        let done = self.passes.number().saturating_add(1);
        let units = self.silent_units().max(1);
        let mut more = false;
        for at in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            let Some(host) = self.hosts.get(index(at)) else {
                continue;
            };
            if host.passes < done || host.silent() == 0 || host.down.is_some() {
                continue;
            }
            if self.wants_more(at, host, done, units)
                && let Some(host) = self.hosts.get_mut(index(at))
            {
                host.passes = done.saturating_add(1);
                more = true;
            }
        }
        self.timed.clear();
        if more {
            self.passes.begin_next();
            self.pass_wait = None;
            let newest = self.epochs.newest();
            self.groups.iter_mut().for_each(|group| group.begin(newest));
        } else {
            self.loss.missed_millionths = Some(self.missed());
            self.passes.finish();
        }
    }

    /// Whether silent ports of a host have to be asked again after `done` passes.
    fn wants_more(&self, at: u32, host: &Host, done: u8, units: u32) -> bool {
        if let Some(retries) = self.options.patience.retries {
            // The passes are counted in one byte.
            return done <= retries && done < u8::MAX;
        }
        if host.answered == 0 && !self.path_answers(host) {
            // Nothing tells what gets lost.
            let disturbed = u8::try_from(self.disturbed.count_ones()).unwrap_or(u8::MAX);
            let (least, most) = PASSES_UNSEEN;
            return done < least.saturating_add(disturbed).min(most);
        }
        let silence = self.silence(at, done);
        let Some(evidence) = self.unit_of(at).and_then(|it| self.groups.get(it)) else {
            return false;
        };
        let most = if evidence.is_unproven() {
            PASSES_UNPROVEN
        } else {
            PASSES_MAX
        };
        let evidence = &evidence.evidence;
        if host.answered == 0 {
            let (least, most) = PASSES_UNSEEN;
            // Among hosts of which nothing is known there may be as many open ports as elsewhere.
            let way = self.ways.get(index(host.path));
            let way = way.and_then(|way| self.groups.get(way.group));
            let open = way.map_or(0, |way| way.evidence.open);
            let missed = missing(open, silence) > MISSED_MAX;
            return done < least || (done < most && (missed || silence > UNSEEN_MAX));
        }
        let share = 1.0 / f64::from(units);
        let closed = evidence.answered.saturating_sub(evidence.open);
        let refuses = host.answered > host.asked / 2 || closed >= CLOSED_MANY;
        let missed = missing(evidence.open.max(1), silence) > MISSED_MAX * share;
        let mistaken =
            refuses && missing(evidence.answered, silence) > MISTAKEN_MAX * share.max(0.01);
        done < PASSES_MIN || (done < most && (missed || mistaken))
    }

    fn path_answers(&self, host: &Host) -> bool {
        let way = self.ways.get(index(host.path));
        let group = way.and_then(|way| self.groups.get(way.group));
        group.is_some_and(|group| group.evidence.answered > 0)
    }

    /// How likely it is that a port of a host that answers was silent in `done` passes.
    fn silence(&self, at: u32, done: u8) -> f64 {
        let [own, network, path] = self.groups_of(at);
        let evidence = |number: Option<usize>| {
            let group = number.and_then(|at| self.groups.get(at));
            group.map(|group| &group.evidence)
        };
        let nothing = Evidence::EMPTY;
        let around = evidence(path).unwrap_or(&nothing);
        if let Some(own) = evidence(own).filter(|own| own.answered > 0) {
            return own.silence(done, around, self.disturbed);
        }
        // The worst of the path, its network, and what is known of the host.
        let part = evidence(network).unwrap_or(around);
        let silence = part.silence_within(done, around, self.disturbed);
        if self.hosts.len() == 1 {
            return silence;
        }
        let host = self.hosts.get(index(at));
        host.map_or(silence, |host| host.silence(done).max(silence))
    }

    /// Groups with silent ports whose silence is judged by their own counts.
    fn silent_units(&self) -> u32 {
        if !self.has_own {
            return u32::try_from(self.ways.len()).unwrap_or(u32::MAX);
        }
        let silent = |host: &&Host| host.silent() > 0 && host.down.is_none();
        u32::try_from(self.hosts.iter().filter(silent).count()).unwrap_or(u32::MAX)
    }

    /// Open ports that are expected to be missed, in millionths.
    fn missed(&self) -> u64 {
        let mut missed = 0.0;
        let mut of_groups = vec![0_u64; self.groups.len()];
        for at in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            let Some(host) = self.hosts.get(index(at)).filter(|it| it.down.is_none()) else {
                continue;
            };
            let silent = u64::from(host.silent());
            if silent == 0 {
                continue;
            }
            if let Some(own) = host.own.checked_sub(1)
                && let Some(group) = self.groups.get(index(own))
            {
                let silence = self.silence(at, host.passes);
                missed += missing(group.evidence.open, silence).min(f64::from(host.silent()));
                continue;
            }
            if self.hosts.len() > 1 {
                let lost = missing(host.open.max(1), host.silence(host.passes));
                missed += lost.min(f64::from(host.silent()));
            }
            let [_, network, path] = self.groups_of(at);
            let group = network.or(path).and_then(|at| of_groups.get_mut(at));
            if let Some(group) = group {
                *group = group.saturating_add(silent);
            }
        }
        let done = self.passes.number().saturating_add(1);
        for (number, silent) in of_groups.into_iter().enumerate() {
            let Some(group) = self.groups.get(number).filter(|_| silent > 0) else {
                continue;
            };
            let evidence = &group.evidence;
            let silence = evidence.silence_within(done, self.around_of(number), self.disturbed);
            #[expect(clippy::cast_precision_loss, reason = "ports of a window are few")]
            let silent = silent as f64;
            missed += missing(evidence.open, silence).min(silent);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and no more than the ports of a window"
        )]
        let millionths = (missed * 1e6).ceil() as u64;
        millionths
    }

    /// The evidence of the whole way that a group is a part of.
    fn around_of(&self, number: usize) -> &Evidence {
        const NOTHING: &Evidence = &Evidence::EMPTY;
        let path = match self.members.get(number) {
            Some(Member::Network(path) | Member::Path(path)) => Some(*path),
            Some(Member::Host(host)) => self.hosts.get(index(*host)).map(|host| host.path),
            None => None,
        };
        let way = path.and_then(|path| self.ways.get(index(path)));
        let group = way.and_then(|way| self.groups.get(way.group));
        group.map_or(NOTHING, |group| &group.evidence)
    }

    /// Decides some of the ports that stayed silent to the end.
    pub(super) fn tell_silent(&mut self) {
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

fn before(now: Moment, wait: Duration) -> Option<Moment> {
    now.elapsed().checked_sub(wait).map(Moment::after_start)
}
