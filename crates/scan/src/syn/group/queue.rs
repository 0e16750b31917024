//! A queue on the way: what a group is sent beyond what passes waits there, and its answers come
//! later and later, long before any gets lost. Whoever shares the way waits in the same queue.
//! What is not here: what is lost, and what the pace becomes.

use portolan_model::Moment;
use std::time::Duration;

/// How much later than the fastest of their hosts the answers of a group come of late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// Smoothed, in microseconds.
    late_us: f32,
    /// The mean of the answers timed since the last look, and their number.
    sum_us: f32,
    timed: f32,
    /// The least of these means: what varies at any pace.
    usual_us: Option<f32>,
    /// The last look, and the one before.
    looks: [Look; 2],
    /// Probes sent so far, wrapping.
    sent: u32,
    /// It was filling to this, and is given this time to run empty, the first part of it whatever
    /// comes in.
    drained_us: f32,
    /// Since when answers are later than usual.
    late_since: Option<Moment>,
    drains_from: Moment,
    drains_until: Moment,
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
    Filling { passes: f32 },
}

/// Answers later than usual by this wait somewhere …
const WAITING_US: f32 = 750.0;
/// … and by this, where something fills.
const FILLING_US: f32 = 2_000.0;
/// Of what round trips vary at any pace, so much is no queue, …
const VARIES: f32 = 3.0;
/// … nor is this part of the round trip itself.
const TRIP_PART: f32 = 0.125;
/// How much the newest answer counts.
const NEWEST: f32 = 0.25;
/// Answers whose mean tells how much round trips vary.
const TIMED_MIN: f32 = 8.0;
/// Two looks nearer than this are one.
const LOOK_MIN: Duration = Duration::from_millis(2);
/// Answers that are later than usual for this time and two round trips are so for another reason
/// than the pace.
const LATE_MAX: Duration = Duration::from_millis(500);

impl Queue {
    pub(crate) const UNKNOWN: Self = Self {
        late_us: 0.0,
        sum_us: 0.0,
        timed: 0.0,
        usual_us: None,
        looks: [Look {
            at: Moment::START,
            sent: 0,
            late_us: 0.0,
        }; 2],
        sent: 0,
        drained_us: 0.0,
        late_since: None,
        drains_from: Moment::START,
        drains_until: Moment::START,
    };

    /// A probe was sent.
    pub(crate) const fn sent(&mut self) {
        self.sent = self.sent.wrapping_add(1);
    }

    /// An answer came after `trip_us`; the fastest of its host took `shortest_us`. Answers whether
    /// something may fill.
    pub(crate) fn timed(&mut self, trip_us: f32, shortest_us: f32) -> bool {
        let late = (trip_us - shortest_us).max(0.0);
        self.late_us += (late - self.late_us) * NEWEST;
        self.sum_us += late;
        self.timed += 1.0;
        self.late_us() > FILLING_US
    }

    /// How much later than usual answers come, in microseconds.
    pub(crate) fn late_us(&self) -> f32 {
        let usual = self.usual_us.unwrap_or(self.late_us);
        (self.late_us - usual).max(0.0)
    }

    /// Looks at what was timed since the last look, beside a round trip of `trip_us`. So late
    /// (`around_us`) are answers on the whole way, of which the group is a part: that queue is not
    /// its own.
    pub(crate) fn look(&mut self, now: Moment, trip_us: f32, around_us: f32) -> Shows {
        let [before, last] = self.looks;
        let is_new = now.since(last.at) >= LOOK_MIN;
        if is_new && self.timed >= TIMED_MIN {
            let mean = self.sum_us / self.timed;
            self.usual_us = Some(self.usual_us.map_or(mean, |least| least.min(mean)));
            (self.sum_us, self.timed) = (0.0, 0.0);
        }
        let late_us = self.late_us();
        let part = (self.usual_us.unwrap_or(0.0)).mul_add(VARIES, trip_us * TRIP_PART);
        let own = late_us - around_us;
        let look = Look {
            at: now,
            sent: self.sent,
            late_us,
        };
        if is_new {
            self.looks = [last, look];
        }
        let is_late = own > WAITING_US.max(part / 2.0);
        let since = self.late_since.filter(|_| is_late).unwrap_or(now);
        self.late_since = is_late.then_some(since);
        let long = LATE_MAX + Duration::from_secs_f32((trip_us + self.late_us) * 2.0 / 1e6);
        if now.since(since) > long {
            // The way has become longer, or others fill the queue.
            self.usual_us = Some(self.late_us);
            (self.sum_us, self.timed, self.late_since) = (0.0, 0.0, None);
            return Shows::Nothing;
        }
        let is_draining =
            now < self.drains_from || now < self.drains_until && late_us < 2.0 * self.drained_us;
        if own > FILLING_US.max(part) && !is_draining {
            Shows::Filling {
                passes: look.passes_since(before),
            }
        } else if is_late {
            Shows::Waiting
        } else {
            Shows::Nothing
        }
    }

    /// The pace was slowed down to `part` of what passes, beside answers that take `trip` of late.
    pub(crate) fn drains(&mut self, now: Moment, part: f32, trip: Duration) {
        self.drained_us = self.late_us();
        let empty = Duration::from_secs_f32(self.drained_us / 1e6 / (1.0 - part));
        self.drains_from = now + trip;
        self.drains_until = self.drains_from + empty;
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
