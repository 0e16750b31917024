//! How fast probes to a group are sent: when the next may go, and what the pace becomes by what is
//! lost, what waits, and what is answered. What is not here: what an answer or a loss is.

use super::super::cohort::Cohort;
use super::queue::{Cause, Shows};
use super::{Around, COHORT_MIN, Group, RATE_START, SPREAD};
use crate::usual::Usual;
use portolan_model::Moment;
use std::time::Duration;

/// How fast probes to the group are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The first probe of all.
    pub(super) first: Option<Moment>,
    /// Probes a second, once something was answered.
    pub(super) rate: Option<f32>,
    pub(super) growth: Growth,
    /// The scheduled moment of the next probe.
    pub(super) next: Moment,
    /// The rate and its growth before the falls of late.
    pub(super) before: (f32, Growth),
    /// The part that was answered at the last fall.
    pub(super) part: f32,
    /// What the group stood when it was last too fast.
    pub(super) knee: f32,
    /// A pace that was fully answered, less what falls have made of it since.
    pub(super) good: f32,
    /// Times that it grew since it was last too fast.
    pub(super) calm: u8,
    /// The rate and its growth before a queue filled.
    pub(super) undrained: Option<(f32, Growth)>,
}

/// How the pace grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Nothing was ever too fast.
    Doubling,
    /// The limit is near.
    Small,
}

/// Probes a second at the start …
const SILENT_START: f64 = 4_000.0;
/// … doubled in this time while nothing was answered …
const SILENT_DOUBLING_S: f64 = 0.1;
/// … up to this.
const SILENT_MAX: f64 = 200_000.0;
/// No group is slowed down below this.
const RATE_MIN: f32 = 50.0;
/// More is not asked for.
const RATE_MAX: f32 = 16_000_000.0;
/// Falls after which it is not the pace that loses answers.
const FALLS_MAX: f32 = 3.0;
/// This near to what the group last stood the pace grows carefully.
const NEAR: f32 = 0.1;
/// No fall slows down to less than this part.
const FALL_MOST: f32 = 0.2;
/// No fall slows down to less than this part of a pace that was good, …
const GOOD_PART: f32 = 0.25;
/// … of which each fall leaves this. Below this part of it the pace comes back in large steps, once
/// falls are forgiven.
const GOOD_KEPT: f32 = 0.9;
const GOOD_HALF: f32 = 0.5;
/// After growing so often without being too fast the pace comes back in large steps as well.
const CALM: u8 = 6;
/// A mixture that answers less is not known any more.
const LEVEL_MIN: f32 = 0.05;
/// Slowing down has changed something when so much more is answered than before.
const GAIN: f32 = 1.3;
/// How far behind schedule probes may be made up for.
const CATCH_UP: Duration = Duration::from_millis(5);
/// Of what passes while a queue fills, this lets it run empty.
const QUEUE_DRAIN: f32 = 0.9;
/// Where less than this part of the pace was used, it is not what fills a queue.
const DRAIN_USED: f32 = 0.25;
/// No queue slows down to less than this part of the pace at once.
const DRAIN_MOST: f32 = 0.5;
/// Probes that a pace must have been used for, as a part of what it allows, to be raised.
const USED: f32 = 0.6;

impl Pace {
    pub(super) const UNKNOWN: Self = Self {
        first: None,
        rate: None,
        growth: Growth::Doubling,
        next: Moment::START,
        before: (0.0, Growth::Doubling),
        part: 0.0,
        knee: 0.0,
        good: 0.0,
        calm: 0,
        undrained: None,
    };
}

impl Group {
    /// When the next probe to the group may be sent; earlier than now: at once. Nothing may be sent
    /// while it is silent.
    pub(crate) fn next(&self) -> Moment {
        if self.life.silent_since.is_some() {
            Moment::NEVER
        } else {
            self.pace.next
        }
    }

    /// Takes the next place in the schedule, and tells when it is.
    pub(crate) fn reserve(&mut self, now: Moment) -> Moment {
        let earliest = Moment::after_start(now.elapsed().saturating_sub(CATCH_UP));
        let turn = self.pace.next.max(earliest);
        let first = *self.pace.first.get_or_insert(now);
        let rate = self.pace.rate.map_or_else(
            || {
                let doublings = now.since(first).as_secs_f64() / SILENT_DOUBLING_S;
                (SILENT_START * doublings.exp2()).min(SILENT_MAX)
            },
            f64::from,
        );
        self.pace.next = turn + Duration::from_nanos(nearest(1e9 / rate));
        turn
    }

    /// This machine could not take in the answers to what was sent last: half of the pace is
    /// enough.
    pub(crate) fn slow_for_receiver(&mut self, newest_epoch: u64) {
        let used = if self.open.sent >= COHORT_MIN {
            self.open.rate()
        } else {
            RATE_START
        };
        let rate = self
            .pace
            .rate
            .unwrap_or(RATE_START)
            .min(used.max(RATE_START));
        self.slow_to(rate / 2.0, newest_epoch);
    }

    /// Slows down when a queue that is not that of the whole way fills: what is sent beyond what
    /// passes would get lost in the end, and with it what others send. Answers whether answers come
    /// as early as usual.
    pub(crate) fn attend(&mut self, now: Moment, newest_epoch: u64, around: Around) -> bool {
        let trip_us = self.trip.shortest_us().unwrap_or(0.0);
        match self.queue.look(now, trip_us, around.late_us) {
            Shows::Nothing => return true,
            Shows::Waiting => {}
            Shows::Otherwise => self.restore(newest_epoch),
            Shows::Filling { passes, is_further } => {
                let rate = self.pace.rate.unwrap_or(RATE_START);
                if passes < rate * DRAIN_USED {
                    return false;
                }
                self.pace.knee = match self.queue.cause(rate, is_further) {
                    Cause::Other => {
                        self.restore(newest_epoch);
                        return false;
                    }
                    Cause::Pace { is_best } => {
                        if is_best {
                            self.pace.undrained = Some((rate, self.pace.growth));
                        }
                        passes.clamp(rate * DRAIN_MOST, rate)
                    }
                    Cause::SameQueue if is_further => passes.clamp(rate * DRAIN_MOST, rate),
                    // It is full: what does not wait there is lost, and does not pass.
                    Cause::SameQueue => rate * DRAIN_MOST,
                };
                self.slow_to(self.pace.knee * QUEUE_DRAIN, newest_epoch);
                let trip = self.trip.smoothed();
                self.queue.drains(now, self.pace.knee, QUEUE_DRAIN, trip);
            }
        }
        false
    }

    /// It was not the pace that made answers late: it is what it was before.
    fn restore(&mut self, newest_epoch: u64) {
        if let Some((rate, growth)) = self.pace.undrained.take() {
            self.pace.rate = self.pace.rate.map(|now| now.max(rate));
            self.pace.growth = growth;
            self.pace.knee = 0.0;
            self.begin(newest_epoch);
        }
    }

    /// What was answered, as a part of what is usually answered, is the part of the pace that the
    /// group can stand. A little less lets what is usual be seen again. When slowing down several
    /// times changed nothing, the loss has another cause, and counts as usual from then on.
    pub(super) fn fall(&mut self, cohort: &Cohort, part: f32, newest_epoch: u64) {
        let allowed = self.pace.rate.unwrap_or(RATE_START);
        if self.falls <= 0.0 {
            self.pace.before = (cohort.rate(), self.pace.growth);
            self.falls = 1.0;
        } else if part < self.pace.part * GAIN {
            self.falls += 1.0;
        }
        self.pace.part = part;
        if self.falls > FALLS_MAX {
            self.falls = 0.0;
            self.spread = SPREAD;
            self.firsts = Usual::UNKNOWN;
            self.checks = Usual::UNKNOWN;
            self.learn(cohort, 1.0);
            self.level = (self.level * part).max(LEVEL_MIN);
            self.pace.knee = 0.0;
            let rate = self.pace.before.0.max(self.pace.good) / 2.0;
            self.slow_to(rate.max(cohort.rate()), newest_epoch);
            return;
        }
        let rate = cohort.rate().min(allowed);
        self.pace.knee = rate * part;
        // A pace that was good is hardly the reason.
        let floor = self.pace.good * GOOD_PART;
        self.pace.good *= GOOD_KEPT;
        // It may be that nothing is answered for a while, which has nothing to do with the pace.
        let slower = rate * (part * 0.9).max(FALL_MOST);
        self.slow_to(slower.max(floor.min(allowed)), newest_epoch);
    }

    pub(super) fn slow_to(&mut self, rate: f32, newest_epoch: u64) {
        self.pace.rate = Some(rate.clamp(RATE_MIN, RATE_MAX));
        self.pace.growth = Growth::Small;
        self.pace.calm = 0;
        self.begin(newest_epoch);
    }

    /// A pace that was not used is not known to be too slow.
    pub(super) fn grow(&mut self, cohort: &Cohort) {
        let Some(rate) = self.pace.rate else { return };
        if cohort.rate() >= USED * rate {
            let is_near = (rate / self.pace.knee - 1.0).abs() < NEAR;
            let is_far = self.falls <= 0.0 && rate < GOOD_HALF * self.pace.good;
            let is_calm = self.pace.calm >= CALM;
            self.pace.calm = self.pace.calm.saturating_add(1);
            let factor = match self.pace.growth {
                Growth::Doubling => 2.0,
                Growth::Small if is_near => 1.02,
                Growth::Small if is_far || is_calm => 1.3,
                Growth::Small => 1.08,
            };
            self.pace.rate = Some((rate * factor).min(RATE_MAX));
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "no pace is slower than RATE_MIN, so that this is positive and far below 2^63"
)]
const fn nearest(value: f64) -> u64 {
    (value + 0.5) as u64
}
