//! A queue on the way: what a group is sent beyond what passes waits there, and its answers come
//! later and later, long before any gets lost. Whoever shares the way waits in the same queue.
//!
//! A queue delays every answer of the group, so the least late of the last few tells of it; one host
//! that is slow, or a delay that varies from packet to packet, does not. And a queue that the pace
//! fills runs empty when the pace goes down, and fills again at the same pace: what does otherwise
//! has another cause, and is borne from then on.
//! What is not here: what is lost, and what the pace becomes.

use portolan_model::Moment;
use std::time::Duration;

/// How much later than the fastest of their hosts the answers of a group come of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// The least late of the answers of late, of [`BUCKET`] each, and those of the newest.
    least_us: [f32; 2],
    counted: u8,
    /// Sums of the same.
    sums_us: [f32; 2],
    /// Their sum and number since they were last taken for what varies at any pace, and the least
    /// mean so far.
    sum_us: f32,
    timed: f32,
    varies_us: Option<f32>,
    /// So late they are for another reason than the pace: all of them, and now and then.
    standing_us: f32,
    borne_us: f32,
    /// The last look, and the one before.
    looks: [Look; 2],
    /// Probes sent so far, wrapping.
    sent: u32,
    late_since: Option<Moment>,
    drained: Drained,
}

/// The last time that the pace went down for it.
#[derive(Clone, Copy, Debug)]
struct Drained {
    late_us: f32,
    /// About so many probes a second filled it; 0: nothing did yet.
    full_at: f32,
    /// It is given this time to run empty, the first part of it whatever comes in.
    from: Moment,
    until: Moment,
    has_emptied: bool,
    /// The most that it filled at and ran empty after.
    best: f32,
    /// How often in a row it did not empty.
    in_vain: u8,
}

/// What was known at a moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Moment,
    sent: u32,
    late_us: f32,
}

/// What the answers show of the queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shows {
    /// No answer was timed, or those that were came as usual.
    Nothing,
    /// Answers come later than usual.
    Waiting,
    /// So much later that something fills; about so many probes a second pass.
    Filling { passes: f32, is_further: bool },
    /// They come later whatever the pace is.
    Otherwise,
}

/// Why a queue fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The pace: it is the first, or it had run empty and fills again at the same pace, which may be
    /// the best so far.
    Pace { is_best: bool },
    /// It is the one that the pace was slowed down for, and has not run empty.
    SameQueue,
    /// Nothing that the pace changes. It is borne from now on.
    Other,
}

/// Answers later than usual by this wait somewhere …
const WAITING_US: f32 = 750.0;
/// … and by this, where something fills.
const FILLING_US: f32 = 2_000.0;
/// This part of the round trip is no queue.
const TRIP_PART: f32 = 0.125;
/// Of what is borne, growth waits from this part on.
const BORNE_PART: f32 = 0.7;
/// What is late without a queue, and more by this, is borne from then on.
const BORNE_MORE: f32 = 1.5;
/// Answers of which the least late counts.
const BUCKET: u8 = 4;
/// How many times what the others are later than the least late, that one is late in a queue.
const ALIKE: f32 = 2.0;
/// Answers whose mean tells how much round trips vary.
const TIMED_MIN: f32 = 8.0;
/// Two looks nearer than this are one.
const LOOK_MIN: Duration = Duration::from_millis(2);
/// Answers that are later than usual for this time and two round trips are so for another reason
/// than the pace.
const LATE_MAX: Duration = Duration::from_millis(500);
/// A queue fills again at this part of the pace that it filled at, or above.
const FULL_PART: f32 = 0.95;
/// What fills below this part of the most that was seen to pass is late for another reason.
const BEST_PART: f32 = 0.6;
/// No queue is slowed down for more often without a sign that it empties.
const VAIN_MAX: u8 = 2;

impl Queue {
    pub(crate) const UNKNOWN: Self = Self {
        least_us: [0.0; 2],
        counted: 0,
        sums_us: [0.0; 2],
        sum_us: 0.0,
        timed: 0.0,
        varies_us: None,
        standing_us: 0.0,
        borne_us: 0.0,
        looks: [Look {
            at: Moment::START,
            sent: 0,
            late_us: 0.0,
        }; 2],
        sent: 0,
        late_since: None,
        drained: Drained {
            late_us: 0.0,
            full_at: 0.0,
            from: Moment::START,
            until: Moment::START,
            has_emptied: true,
            best: 0.0,
            in_vain: 0,
        },
    };

    /// A probe was sent.
    pub(crate) const fn sent(&mut self) {
        self.sent = self.sent.wrapping_add(1);
    }

    /// An answer came after `trip_us`; the fastest of its host took `shortest_us`. Answers whether
    /// something may fill.
    pub(crate) fn timed(&mut self, trip_us: f32, shortest_us: f32) -> bool {
        let late = (trip_us - shortest_us).max(0.0);
        if self.counted == BUCKET {
            (self.least_us[0], self.counted) = (self.least_us[1], 0);
            self.sums_us = [self.sums_us[1], 0.0];
        }
        self.sums_us[1] += late;
        self.least_us[1] = if self.counted == 0 {
            late
        } else {
            self.least_us[1].min(late)
        };
        self.counted += 1;
        self.sum_us += late;
        self.timed += 1.0;
        self.late_us() > FILLING_US
    }

    /// How much later than usual answers come, in microseconds.
    pub(crate) fn late_us(&self) -> f32 {
        let [before, newest] = self.least_us;
        (before.min(newest) - self.standing_us).max(0.0)
    }

    /// Whether all answers of late are late alike. Where the delay varies from packet to packet, the
    /// least late is much earlier than the others.
    fn is_common(&self) -> bool {
        let [before, newest] = self.least_us;
        let least = before.min(newest);
        let mean = (self.sums_us[0] + self.sums_us[1]) / f32::from(BUCKET + self.counted);
        least - self.standing_us > ALIKE * (mean - least)
    }

    /// Looks at what was timed since the last look, beside a round trip of `trip_us`. So late
    /// (`around_us`) are answers on the whole way, of which the group is a part: that queue is not
    /// its own.
    pub(crate) fn look(&mut self, now: Moment, trip_us: f32, around_us: f32) -> Shows {
        let [before, last] = self.looks;
        let is_new = now.since(last.at) >= LOOK_MIN;
        if is_new && self.timed >= TIMED_MIN {
            let mean = self.sum_us / self.timed;
            self.varies_us = Some(self.varies_us.map_or(mean, |least| least.min(mean)));
            (self.sum_us, self.timed) = (0.0, 0.0);
        }
        let [before_us, newest_us] = self.least_us;
        self.standing_us = self.standing_us.min(before_us.max(newest_us));
        let late_us = self.late_us();
        let look = Look {
            at: now,
            sent: self.sent,
            late_us,
        };
        if is_new {
            self.looks = [last, look];
        }
        let part = self.varies_us.unwrap_or(0.0) + trip_us * TRIP_PART;
        let own = late_us - around_us;
        let is_late = own > WAITING_US.max(part / 2.0).max(self.borne_us * BORNE_PART);
        if !is_late && now >= self.drained.from {
            self.drained.has_emptied = true;
            self.drained.best = self.drained.best.max(self.drained.full_at);
        }
        let since = self.late_since.filter(|_| is_late).unwrap_or(now);
        self.late_since = is_late.then_some(since);
        let long = LATE_MAX + Duration::from_secs_f32((trip_us + late_us) * 2.0 / 1e6);
        if now.since(since) > long {
            // The way has become longer, or others fill the queue.
            self.standing_us += late_us;
            self.late_since = None;
            return Shows::Otherwise;
        }
        let is_further = late_us > 2.0 * self.drained.late_us;
        let is_draining = now < self.drained.from || now < self.drained.until && !is_further;
        if own > FILLING_US.max(part).max(self.borne_us) && !is_draining && self.is_common() {
            Shows::Filling {
                passes: look.passes_since(before),
                is_further: now < self.drained.until,
            }
        } else if is_late {
            Shows::Waiting
        } else {
            Shows::Nothing
        }
    }

    /// What a queue is that fills at `rate` probes a second.
    pub(crate) fn cause(&mut self, rate: f32, is_further: bool) -> Cause {
        let drained = &mut self.drained;
        let is_full_again = rate >= (FULL_PART * drained.full_at).max(BEST_PART * drained.best);
        if drained.has_emptied && is_full_again {
            drained.in_vain = 0;
            return Cause::Pace {
                is_best: rate >= drained.best,
            };
        }
        drained.in_vain += 1;
        if (is_further || !drained.has_emptied) && drained.in_vain <= VAIN_MAX {
            return Cause::SameQueue;
        }
        self.borne_us = self.borne_us.max(self.late_us() * BORNE_MORE);
        self.drained = Self::UNKNOWN.drained;
        Cause::Other
    }

    /// The pace, which filled it at `full_at`, was slowed down to `part` of what passes, beside
    /// answers that take `trip` of late.
    pub(crate) fn drains(&mut self, now: Moment, full_at: f32, part: f32, trip: Duration) {
        let late_us = self.late_us();
        let from = now + trip;
        self.drained = Drained {
            late_us,
            full_at,
            from,
            until: from + Duration::from_secs_f32(late_us / 1e6 / (1.0 - part)),
            has_emptied: false,
            best: self.drained.best,
            in_vain: self.drained.in_vain,
        };
    }
}

impl Look {
    /// Probes a second that passed since `before`: of those that were sent, the ones that did not
    /// have to wait for longer than the ones before.
    fn passes_since(self, before: Self) -> f32 {
        let seconds = self.at.since(before.at).max(LOOK_MIN).as_secs_f32();
        #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
        let sent = self.sent.wrapping_sub(before.sent) as f32;
        let grown = (self.late_us - before.late_us).max(0.0) / 1e6;
        sent / (seconds + grown)
    }
}
