//! The passes of the engine: how many, how long each waits, and what silence means after the last.

use super::host::{Habit, Host};
use super::ledger::{Pair, index};
use super::pace::Answers;
use super::{Ask, HOST_RATE, Lane, Next, UDP_SOURCES, UdpEngine};
use crate::Loss;
use portolan_model::{Moment, Reason};
use std::time::Duration;

/// Passes over the ports of known services, at least.
const PASSES_SERVICES: u8 = 4;
/// The same at hosts from which nothing came back.
pub(super) const PASSES_UNSEEN: u8 = 3;
/// Passes over the other ports, at least: what answers an empty datagram is rare.
pub(super) const PASSES_OTHERS: u8 = 2;
/// No port gets more, unless the user says so.
const PASSES_MAX: u8 = 8;
/// So many more may be repeated because they proved nothing.
const VOID_MAX: u8 = 4;
/// How long a pass waits for answers, beside four round trips; later ones wait longer, because a
/// service may have to think.
const WAITS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(300),
];
/// The same for empty datagrams: nobody thinks about those.
const WAIT_OTHERS: Duration = Duration::from_millis(250);
/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Verdicts of silent ports that are made at once.
const SILENT_AT_ONCE: u32 = 4_096;
/// Open ports that may be expected to be missed in a window. A further pass over the ports of known
/// services is cheap.
const MISSED_MAX: f64 = 0.002;
/// The same for closed ports that are taken for silent ones.
const DOUBTED_MAX: f64 = 0.1;

impl<L: FnMut(u32) -> Option<(u32, u16)>> UdpEngine<L> {
    pub(super) fn lane_of(&self, pair: Pair) -> Lane {
        match self.asks.get(index(pair.port)) {
            Some(Ask::Questions(_)) => Lane::Services,
            _ => Lane::Others,
        }
    }

    /// Passes in which a port was asked.
    pub(super) fn passes_of(&self, pair: Pair) -> u8 {
        let lane = self.lane_of(pair);
        let unseen = self
            .hosts
            .get(index(pair.host))
            .is_some_and(|it| !it.has_answered);
        let most = match (lane, self.options.patience.retries) {
            (Lane::Services, None) if unseen => PASSES_UNSEEN.saturating_add(self.void_passes()),
            _ => u8::MAX,
        };
        let [services, others] = self.passes;
        let had = match lane {
            lane if lane == self.lane => {
                self.pass.saturating_sub(self.lane_start).saturating_add(1)
            }
            Lane::Services => services,
            _ => others,
        };
        had.min(most)
    }

    /// The first pass in which a port was asked.
    pub(super) fn start_of(&self, pair: Pair) -> u8 {
        let [services, _] = self.passes;
        match self.lane_of(pair) {
            Lane::Services => self.round_start,
            _ => self.round_start.saturating_add(services),
        }
    }

    /// The last pass that left from `source`.
    pub(super) fn pass_of(&self, source: u8) -> u8 {
        let behind = (self.pass.saturating_add(UDP_SOURCES))
            .saturating_sub(source.min(UDP_SOURCES - 1))
            % UDP_SOURCES;
        self.pass.saturating_sub(behind)
    }

    /// Passes that prove nothing of silence: the receiver or the way had no room for all.
    pub(super) fn void_passes(&self) -> u8 {
        self.disturbed.saturating_add(self.crowded)
    }

    /// When the pass ends, if nothing ends it before.
    pub(super) fn pass_end(&self) -> Moment {
        (self.last_sent + self.wait()).max(self.held_until)
    }

    /// How long the pass waits after its last probe.
    pub(super) fn wait(&self) -> Duration {
        if let Some(timeout) = self.options.patience.timeout {
            return timeout;
        }
        let number = usize::from(self.pass.saturating_sub(self.lane_start));
        let thinking = match self.lane {
            Lane::Services => WAITS.get(number).or(WAITS.last()).copied(),
            _ => None,
        };
        let wait = thinking.unwrap_or(WAIT_OTHERS) + self.slowest * 4;
        wait.min(WAIT_MAX)
    }

    /// Passes that the lane gets.
    pub(super) fn passes_wanted(&self) -> u8 {
        if let Some(retries) = self.options.patience.retries {
            return retries.saturating_add(1);
        }
        let (least, count, most) = match self.lane {
            Lane::Services => (PASSES_SERVICES, self.loss.open, MISSED_MAX),
            _ => (PASSES_OTHERS, self.refused, DOUBTED_MAX),
        };
        // A handful of answers without a loss asks for no more than the least.
        let by_loss = match self.loss.lost {
            0 => least,
            _ => passes_for(self.loss, count, most),
        };
        least.max(by_loss).min(PASSES_MAX)
    }

    pub(super) fn end_pass(&mut self, now: Moment) {
        let had = self.pass.saturating_sub(self.lane_start).saturating_add(1);
        let mut is_worth_it = false;
        for host in &mut self.hosts {
            if host.is_late() != self.is_late_round {
                continue;
            }
            host.end_pass();
            host.spacing = match host.habit(now) {
                Habit::LimitedTo(spacing) => Some(spacing),
                Habit::Limited | Habit::Reports | Habit::Silent => None,
            };
            is_worth_it |= host.spacing.is_some();
        }
        // What the first pass lost shows in the second.
        if had > 1 {
            self.find_pace();
        }
        self.set_slow_ones_late(now);
        self.disturbed = self.disturbed.saturating_add(u8::from(self.is_disturbed));
        self.is_disturbed = false;
        let wanted = self.passes_wanted().saturating_add(self.void_passes());
        let wanted = wanted.min(PASSES_MAX.saturating_add(VOID_MAX));
        let goes_on = self.left > 0
            && (had < wanted
                || (is_worth_it && had < PASSES_MAX && self.options.patience.retries.is_none()));
        self.cursor = 0;
        self.timed.clear();
        if goes_on {
            self.pass = self.pass.saturating_add(1);
            return;
        }
        let [services, others] = &mut self.passes;
        let next = if self.lane == Lane::Services {
            *services = had;
            Next::Others
        } else {
            *others = had;
            Next::Finishing
        };
        self.begin_check(now, next);
    }

    /// Slows down the hosts that lose answers, or all together where most do.
    fn find_pace(&mut self) {
        let mut all = Answers::default();
        let mut sound = Answers::default();
        let (mut seen, mut congested) = (0_u32, 0_u32);
        let is_late_round = self.is_late_round;
        let its_turn = move |host: &&mut Host| host.is_late() == is_late_round;
        for host in self.hosts.iter_mut().filter(its_turn) {
            let answers = host.answers();
            all = all.with(answers);
            seen = seen.saturating_add(u32::from(answers != Answers::default()));
            if answers.show_congestion() {
                congested = congested.saturating_add(1);
            } else {
                sound = sound.with(answers);
            }
        }
        let is_common = congested > 1 && congested.saturating_mul(2) >= seen;
        let is_slower = self.pace.end_pass(if is_common { all } else { sound });
        self.crowded = self.crowded.saturating_add(u8::from(is_slower));
        let is_given = self.options.host_rate.is_some();
        for host in self.hosts.iter_mut().filter(its_turn) {
            if host.answers().show_congestion() {
                if !is_common && !is_given {
                    host.slow_down();
                }
                host.forget_answers();
            } else if is_slower {
                // Only what comes late from now on shows that it is still too fast.
                host.forget_answers();
            }
        }
    }

    /// Hosts that would keep others waiting are asked when those are done.
    fn set_slow_ones_late(&mut self, now: Moment) {
        if self.is_late_round || self.hosts.len() < 2 {
            return;
        }
        let rate = self.options.host_rate.unwrap_or(HOST_RATE).max(0.001);
        let apart = Duration::from_secs_f64(1.0 / rate);
        let is_slow = |host: &Host| !host.is_late() && host.down.is_none() && host.is_slow(apart);
        for host in &mut self.hosts {
            if is_slow(host) {
                host.set_late(now);
                self.left = self.left.saturating_sub(u64::from(host.left));
            }
        }
    }

    /// Goes on with what comes after a look at who still answers.
    pub(super) fn enter(&mut self, now: Moment, next: Next) {
        self.cursor = 0;
        self.lane = match next {
            Next::Others => {
                self.hosts.iter_mut().for_each(Host::forget_answers);
                self.begin_pass();
                Lane::Others
            }
            Next::Finishing => {
                self.ended = now;
                Lane::Finishing
            }
        };
    }

    fn begin_pass(&mut self) {
        self.pass = self.pass.saturating_add(1);
        self.lane_start = self.pass;
    }

    /// The turn of those that waited; `false`: there are none.
    fn begin_late_round(&mut self) -> bool {
        let now = self.ended;
        if self.is_late_round || !self.hosts.iter().any(Host::is_late) {
            return false;
        }
        self.is_late_round = true;
        self.left = 0;
        for host in self.hosts.iter_mut().filter(|host| host.is_late()) {
            host.go_on(now);
            host.forget_answers();
            self.left = self.left.saturating_add(u64::from(host.left));
        }
        self.cursor = 0;
        self.begin_pass();
        self.round_start = self.lane_start;
        self.lane = Lane::Services;
        true
    }

    /// Makes verdicts for some of the ports that stayed silent.
    pub(super) fn tell_silent(&mut self) {
        for _ in 0..SILENT_AT_ONCE {
            if self.cursor >= self.positions {
                if !self.begin_late_round() {
                    self.lane = Lane::Finished;
                }
                return;
            }
            let position = self.cursor;
            self.cursor = self.cursor.saturating_add(1);
            let Some((host, port)) = (self.lookup)(position) else {
                continue;
            };
            let Some(port) = self.ledger.port(port) else {
                continue;
            };
            let pair = Pair { host, port };
            let host = self.hosts.get(index(host));
            let is_late = host.is_some_and(Host::is_late);
            if self.ledger.is_decided(pair) || is_late != self.is_late_round {
                continue;
            }
            let reason = self.silence_of(pair);
            if let Reason::Timeout { probes } | Reason::IcmpLimited { probes } = reason {
                self.loss.silence(probes);
            }
            self.decide(pair, reason, None);
        }
    }

    /// What the silence of a port shows.
    pub(super) fn silence_of(&self, pair: Pair) -> Reason {
        let Some(host) = self.hosts.get(index(pair.host)) else {
            return Reason::LocalLimit;
        };
        if let Some(down) = host.down {
            return down;
        }
        if !self.ledger.has_left(pair) {
            return host.local.unwrap_or(Reason::LocalLimit);
        }
        let probes = self.passes_of(pair);
        match host.habit(self.last_sent) {
            Habit::Limited | Habit::LimitedTo(_) => Reason::IcmpLimited { probes },
            Habit::Reports | Habit::Silent => Reason::Timeout { probes },
        }
    }
}

/// Passes after which at most `missed_max` of `count` ports are expected to be silent by loss alone.
/// The loss is taken one loss and one answer worse than it was seen (rule of succession).
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of ports stay below 2^52"
)]
fn passes_for(loss: Loss, count: u64, missed_max: f64) -> u8 {
    let (lost, answered) = (loss.lost as f64 + 1.0, loss.answered as f64 + 1.0);
    let share = lost / (lost + answered);
    let mut missed = count as f64 * share;
    let mut passes = 1;
    while missed > missed_max && passes < PASSES_MAX {
        missed *= share;
        passes += 1;
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_and_more_ports_ask_for_more_passes() {
        let check = |answered, lost, count, expected| {
            let loss = Loss {
                answered,
                lost,
                ..Loss::default()
            };
            assert_eq!(passes_for(loss, count, 0.01), expected, "{loss:?}, {count}");
        };
        check(1_000, 0, 0, 1);
        check(1_000, 0, 10, 1);
        check(1_000, 100, 10, 3);
        check(1_000, 100, 1_000, 5);
        check(1_000, 1_000, 1_000, PASSES_MAX);
    }
}
