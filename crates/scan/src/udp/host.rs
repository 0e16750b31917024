//! What is known of one host: how it answers, how many ICMP errors it sends, and how fast it is
//! asked because of that.

use super::pace::Answers;
use portolan_model::{Moment, Reason};
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// Ports that are asked and not decided.
    pub(super) left: u32,
    /// Something came back for one of its ports.
    pub(super) has_answered: bool,
    /// Ports that a first probe left for.
    asked: u32,
    /// Ports that were refused before their second probe.
    refused_early: u32,
    /// Ports that were refused later, although earlier probes were silent.
    refused_late: u32,
    /// When the second probes of its ports began.
    second_since: Option<Moment>,
    /// Ports that were refused since then.
    refused_since: u32,
    /// The first probes of the pass under way.
    burst: Burst,
    /// Its errors came in a burst and stopped.
    has_burst: bool,
    /// Set when no probe can reach it.
    pub(super) down: Option<Reason>,
    /// Why probes to it did not leave this machine, the last time.
    pub(super) local: Option<Reason>,
    /// The shortest round trip in microseconds; 0: none was measured.
    rtt_us: u32,
    /// Earliest moment of its next probe.
    pub(super) next: Moment,
    /// Time between two probes, where its own errors set it.
    pub(super) spacing: Option<Duration>,
    /// Answers of the lane so far.
    answers: Answers,
    /// How often its pace was halved because answers came late.
    halvings: u8,
    /// Since when it waits until the others are done, because it is slow.
    late_since: Option<Moment>,
    /// Probes that left since something came from it.
    pub(super) unheard: u32,
    /// It is being seen whether it still answers.
    pub(super) is_awaited: bool,
    /// A port that answered.
    pub(super) open_witness: Option<u32>,
    /// A port that was reported closed.
    pub(super) closed_witness: Option<u32>,
}

/// When first probes of one pass left, and those of them that were refused.
#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    first: Option<Moment>,
    last: Moment,
    refused: u32,
    last_refused: Moment,
}

/// How a host reports closed ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// It reports none, or not enough is known.
    Silent,
    /// It reports every closed port.
    Reports,
    /// It reports fewer than there are, and all of them within a bearable time if it is asked at
    /// this spacing.
    LimitedTo(Duration),
    /// It reports far fewer than there are.
    Limited,
}

/// Longest time that waiting for the errors of a host may take.
const CLOSED_TIME: Duration = Duration::from_secs(4);
/// So many errors, all to the first quarter of what was asked in a random order, are no chance: one
/// in 256 hosts that report a few ports only would do so.
const BURST_MIN: u32 = 4;
/// Refused ports from which a rate can be taken.
const RATED_MIN: u32 = 8;

/// A host is asked no slower than so many halvings of the usual pace, because of loss.
const HALVINGS_MAX: u8 = 5;
/// Hosts whose next pass takes longer wait until the others are done.
const PASS_TIME: Duration = Duration::from_millis(250);

impl Host {
    /// Takes an answer to the first question or, after silence, to a later one.
    pub(super) fn answer(&mut self, silent_before: u8) {
        self.answers.add(silent_before);
    }

    /// The answers since it was last asked for them.
    pub(super) const fn answers(&self) -> Answers {
        self.answers
    }

    pub(super) fn forget_answers(&mut self) {
        self.answers = Answers::default();
    }

    /// Halves its pace.
    pub(super) fn slow_down(&mut self) {
        let halvings = if self.answers.are_mostly_late() { 2 } else { 1 };
        self.halvings = self.halvings.saturating_add(halvings).min(HALVINGS_MAX);
    }

    /// By how much it is asked more slowly than usual.
    pub(super) fn slowdown(&self) -> u32 {
        1 << self.halvings.min(HALVINGS_MAX)
    }

    /// Whether its next pass would keep others waiting, which are asked `apart`.
    pub(super) fn is_slow(&self, apart: Duration) -> bool {
        if self.halvings == 0 && self.spacing.is_none() {
            return false;
        }
        let apart = apart.saturating_mul(self.slowdown());
        let apart = self.spacing.map_or(apart, |spacing| spacing.max(apart));
        apart.saturating_mul(self.left) > PASS_TIME
    }

    /// Lets it wait for the others.
    pub(super) fn set_late(&mut self, now: Moment) {
        self.late_since = Some(now);
    }

    /// Whether it is asked after the others.
    pub(super) const fn is_late(&self) -> bool {
        self.late_since.is_some()
    }

    /// Its turn has come: the time that it waited says nothing of its rate.
    pub(super) fn go_on(&mut self, now: Moment) {
        let waited = self.late_since.map(|since| now.since(since));
        let waited = waited.unwrap_or_default();
        self.second_since = self.second_since.map(|since| since + waited);
    }

    pub(super) fn left_first(&mut self, now: Moment) {
        self.burst.first.get_or_insert(now);
        self.burst.last = now;
        self.asked = self.asked.saturating_add(1);
        self.left = self.left.saturating_add(1);
    }

    pub(super) fn begin_second(&mut self, now: Moment) {
        self.second_since.get_or_insert(now);
    }

    /// Takes an ICMP "port unreachable" for a port that got `passes` probes, the last of them at
    /// `sent`, where that was noted.
    pub(super) fn refuse(&mut self, passes: u8, sent: Option<Moment>) {
        if let (true, Some(sent)) = (passes <= 1, sent) {
            self.burst.refused = self.burst.refused.saturating_add(1);
            self.burst.last_refused = self.burst.last_refused.max(sent);
        }
        if self.second_since.is_some() {
            self.refused_since = self.refused_since.saturating_add(1);
        }
        if passes <= 1 {
            self.refused_early = self.refused_early.saturating_add(1);
        } else {
            self.refused_late = self.refused_late.saturating_add(1);
        }
    }

    /// Looks back at a pass of first probes.
    pub(super) fn end_pass(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        let Some(first) = burst.first else {
            return;
        };
        let stopped = burst.last_refused.since(first) <= burst.last.since(first) / 4;
        self.has_burst |= burst.refused >= BURST_MIN && stopped;
    }

    /// Whether its errors to first probes are so few that silence of the rest is a habit.
    pub(super) fn reports_most(&self) -> bool {
        self.refused_early.saturating_mul(2) >= self.asked && self.refused_early > 0
    }

    /// What its errors so far show. Some of them came to second probes of ports whose first probe
    /// was silent: that is loss where first probes are mostly answered, and a limit elsewhere.
    pub(super) fn habit(&self, now: Moment) -> Habit {
        if self.reports_most() {
            return Habit::Reports;
        }
        if self.refused_late == 0 && !self.has_burst {
            return Habit::Silent;
        }
        let Some(since) = self.second_since else {
            return Habit::Limited;
        };
        if self.refused_since < RATED_MIN {
            return Habit::Limited;
        }
        let spacing = now.since(since) / self.refused_since;
        let whole = spacing.saturating_mul(self.left);
        if whole <= CLOSED_TIME {
            Habit::LimitedTo(spacing)
        } else {
            Habit::Limited
        }
    }

    pub(super) fn sample(&mut self, rtt: Duration) {
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        if self.rtt_us == 0 || rtt_us < self.rtt_us {
            self.rtt_us = rtt_us;
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        (self.rtt_us > 0).then(|| Duration::from_micros(u64::from(self.rtt_us)))
    }
}
