//! Probes that the pace judges together.

use portolan_model::Moment;

/// What a probe is to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first probe to a port.
    First,
    /// Of a port that is known to answer.
    Check,
    Repeat,
}

/// Probes that were sent one after the other, in whole epochs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cohort {
    pub(crate) first_epoch: u64,
    pub(crate) last_epoch: u64,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
    pub(crate) sent: u32,
    pub(crate) firsts: u32,
    pub(crate) firsts_answered: u32,
    /// Answers that the parts of a mixture usually give to such first probes.
    pub(crate) expected: f32,
    pub(crate) checks: u32,
    pub(crate) checks_answered: u32,
}

impl Cohort {
    pub(crate) const fn new() -> Self {
        Self {
            first_epoch: u64::MAX,
            last_epoch: u64::MAX,
            first: Moment::START,
            last: Moment::START,
            sent: 0,
            firsts: 0,
            firsts_answered: 0,
            expected: 0.0,
            checks: 0,
            checks_answered: 0,
        }
    }

    pub(crate) const fn covers(&self, epoch: u64) -> bool {
        self.first_epoch <= epoch && epoch <= self.last_epoch
    }

    /// One of its first probes is not to be answered: nothing is expected of it.
    pub(crate) fn excuse(&mut self) {
        if self.firsts > 0 {
            self.expected -= self.expected / self.firsts();
            self.firsts -= 1;
        }
    }

    /// Whether nothing of it is silent.
    pub(crate) const fn is_answered(&self) -> bool {
        self.firsts_answered >= self.firsts && self.checks_answered >= self.checks
    }

    pub(crate) const fn firsts(&self) -> f32 {
        as_f32(self.firsts)
    }

    pub(crate) const fn checks(&self) -> f32 {
        as_f32(self.checks)
    }

    /// Probes a second while it was sent.
    pub(crate) fn rate(&self) -> f32 {
        as_f32(self.sent) / self.last.since(self.first).as_secs_f32().max(0.000_1)
    }
}

/// Counts of a cohort stay below 2^24, where every integer has its own `f32`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a cohort has fewer than 2^24 probes"
)]
pub(crate) const fn as_f32(count: u32) -> f32 {
    count as f32
}
