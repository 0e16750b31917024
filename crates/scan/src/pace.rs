//! How many attempts may be under way to one host, and how fast attempts may begin.

use crate::usual::{Change, Sample, Usual};
use portolan_model::Moment;
use std::time::Duration;

/// Adapts how many attempts to one host may be under way, and how fast they may begin. The order
/// of probes is random, so the share of first probes that are answered is the same in every
/// cohort, unless the pace itself causes loss. A fall of that share that chance does not explain
/// slows the host down; everything else lets it grow. A cohort is judged when all of its probes
/// have ended: answers come sooner than silence is believed, so probes counted as they end would
/// show a share that depends on the growth. Repeats are left out: what they ask is no random
/// sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    limit: f32,
    /// Attempts a second; `None`: before the first answer, and once nothing is gained by spacing.
    rate: Option<f32>,
    growth: Growth,
    /// Share of answers that this host is known for.
    usual: Usual,
    /// First probes that begin now belong to it.
    open: Cohort,
    /// The one before, while some of its probes are under way.
    ending: Option<Cohort>,
    /// Falls since the last cohort without one.
    falls: u8,
    /// Answers to the last cohort, by the second in which it was begun.
    answered_rate: f32,
    /// Whether the host was slowed down to find out if that loses less.
    tried_slower: bool,
    repeats: Stretch,
}

/// How fast a window grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// Nothing was ever too fast.
    Doubling,
    /// The limit of the host is near.
    Small,
}

/// Names the cohort of a first probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CohortId(u32);

/// First probes that began one after the other.
#[derive(Clone, Copy, Debug)]
struct Cohort {
    id: CohortId,
    first: Moment,
    last: Moment,
    begun: u32,
    ended: u32,
    answered: u32,
}

/// Repeats that ended one after the other.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    ended: u32,
    answered: u32,
}

const LIMIT_START: f32 = 256.0;
const LIMIT_MAX: f32 = 65_536.0;
/// Fewest probes that are judged together.
const STRETCH_MIN: u32 = 64;
/// Repeats that are judged together.
const REPEATS_STRETCH: u32 = 256;
/// A cohort covers this part of a second.
const STRETCH_S: f32 = 0.05;
/// The same until something was too fast.
const STRETCH_DOUBLING_S: f32 = 0.01;
/// Attempts a second to a host that has just answered for the first time.
const RATE_START: f32 = 4_000.0;
/// No host is slowed down below this many attempts a second.
const RATE_MIN: f32 = 50.0;
/// Above this rate nothing is gained by spacing attempts.
const RATE_MAX: f32 = 200_000.0;
/// Falls in a row that slowing down did not help: the host itself has changed.
const FALLS_MAX: u8 = 8;

impl Window {
    pub(crate) const fn new() -> Self {
        Self {
            limit: LIMIT_START,
            rate: None,
            growth: Growth::Doubling,
            usual: Usual::UNKNOWN,
            open: Cohort::new(CohortId(0)),
            ending: None,
            falls: 0,
            answered_rate: 0.0,
            tried_slower: false,
            repeats: Stretch::EMPTY,
        }
    }

    /// Attempts that may be under way.
    pub(crate) const fn limit(self) -> u32 {
        whole(self.limit)
    }

    /// Attempts a second, where they must be spaced.
    pub(crate) fn rate(self) -> Option<f64> {
        self.rate.map(f64::from)
    }

    /// Whether answers have become fewer since the beginning.
    pub(crate) fn has_fallen(&self) -> bool {
        self.growth == Growth::Small
    }

    /// Whether most first probes are answered.
    pub(crate) fn mostly_answers(&self) -> bool {
        self.usual.is_known() && self.usual.share() > 0.5
    }

    /// The host answered for the first time. What began before says nothing of the pace.
    pub(crate) const fn start(&mut self) {
        self.rate = Some(RATE_START);
        self.forget_under_way();
    }

    /// A first probe begins at `now`.
    pub(crate) fn first_probe_began(&mut self, now: Moment) -> CohortId {
        if self.open.begun >= self.stretch() && self.ending.is_none() {
            let next = Cohort::new(self.open.id.next());
            self.ending = Some(std::mem::replace(&mut self.open, next));
            self.judge_ended();
        }
        if self.open.begun == 0 {
            self.open.first = now;
        }
        self.open.last = now;
        self.open.begun += 1;
        self.open.id
    }

    /// A first probe ended.
    pub(crate) fn first_probe_ended(&mut self, id: CohortId, answered: bool) {
        if let Some(cohort) = self.cohort(id) {
            cohort.ended += 1;
            cohort.answered += u32::from(answered);
            self.judge_ended();
        }
    }

    /// A first probe did not leave this machine.
    pub(crate) fn first_probe_withdrawn(&mut self, id: CohortId) {
        if let Some(cohort) = self.cohort(id) {
            cohort.begun = cohort.begun.saturating_sub(1);
            self.judge_ended();
        }
    }

    /// A repeat ended. Where a notable share of repeats is answered although many first probes
    /// were not, much gets lost, and it may be the pace that has been too high from the start, so
    /// that nothing could fall. Once, the host is slowed down to what it answered to find out.
    pub(crate) fn repeat_ended(&mut self, answered: bool) {
        self.repeats.ended += 1;
        self.repeats.answered += u32::from(answered);
        if self.repeats.ended < REPEATS_STRETCH {
            return;
        }
        let stretch = std::mem::replace(&mut self.repeats, Stretch::EMPTY);
        let share = as_f32(stretch.answered) / as_f32(stretch.ended);
        let usual = self.usual.share();
        let lossy = self.usual.is_known() && usual < 0.8 && share > (0.4 * usual).max(0.05);
        if lossy && !self.tried_slower {
            self.tried_slower = true;
            self.rate = Some((self.answered_rate * 0.9).clamp(RATE_MIN, RATE_MAX));
            self.growth = Growth::Small;
            self.usual = Usual::UNKNOWN;
            self.forget_under_way();
        }
    }

    /// The cohort of this name; `None` once it counts no more.
    fn cohort(&mut self, id: CohortId) -> Option<&mut Cohort> {
        if self.open.id == id {
            return Some(&mut self.open);
        }
        self.ending.as_mut().filter(|cohort| cohort.id == id)
    }

    /// Probes that are judged together.
    fn stretch(&self) -> u32 {
        let seconds = match self.growth {
            Growth::Doubling => STRETCH_DOUBLING_S,
            Growth::Small => STRETCH_S,
        };
        whole(self.rate.map_or(self.limit, |rate| rate * seconds)).max(STRETCH_MIN)
    }

    fn judge_ended(&mut self) {
        let Some(cohort) = self.ending.take_if(|cohort| cohort.ended >= cohort.begun) else {
            return;
        };
        if cohort.begun == 0 {
            return;
        }
        self.answered_rate = cohort.rate() * as_f32(cohort.answered) / as_f32(cohort.begun);
        match self.usual.compare(cohort.sample()) {
            Change::Fall if self.falls < FALLS_MAX => {
                self.falls += 1;
                self.slow_down(&cohort);
                return;
            }
            Change::Fall | Change::Rise => self.usual = Usual::UNKNOWN,
            Change::None => {}
        }
        self.falls = 0;
        self.usual.add(cohort.sample());
        self.grow();
    }

    fn slow_down(&mut self, cohort: &Cohort) {
        // What was answered, as a part of what is usually answered, is the part of the pace that
        // the host can stand. A little less lets what is usual be seen again.
        let part = as_f32(cohort.answered) / self.usual.expected(as_f32(cohort.begun)).max(1.0);
        let rate = cohort.rate().min(self.rate.unwrap_or(RATE_MAX)) * part * 0.9;
        self.rate = Some(rate.clamp(RATE_MIN, RATE_MAX));
        self.growth = Growth::Small;
        self.forget_under_way();
    }

    fn grow(&mut self) {
        let factor = match self.growth {
            Growth::Doubling => 2.0,
            Growth::Small => 1.08,
        };
        self.rate = self
            .rate
            .map(|rate| rate * factor)
            .filter(|rate| *rate < RATE_MAX);
        self.limit = (self.limit * 2.0).min(LIMIT_MAX);
    }

    /// Probes under way began at another pace than the one that is to be judged next.
    const fn forget_under_way(&mut self) {
        self.ending = None;
        self.open = Cohort::new(self.open.id.next());
    }
}

impl CohortId {
    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl Cohort {
    const fn new(id: CohortId) -> Self {
        let (first, last) = (Moment::START, Moment::START);
        Self {
            id,
            first,
            last,
            begun: 0,
            ended: 0,
            answered: 0,
        }
    }

    const fn sample(&self) -> Sample {
        Sample {
            asked: as_f32(self.begun),
            answered: as_f32(self.answered),
        }
    }

    /// Attempts a second while it was begun.
    fn rate(&self) -> f32 {
        as_f32(self.begun) / self.last.since(self.first).as_secs_f32().max(0.000_1)
    }
}

impl Stretch {
    const EMPTY: Self = Self {
        ended: 0,
        answered: 0,
    };
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits and stretches are positive and far below 2^32"
)]
const fn whole(value: f32) -> u32 {
    value as u32
}

/// Counts of one stretch stay below 2^24, where every integer has its own `f32`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a stretch has fewer than 2^24 probes"
)]
const fn as_f32(count: u32) -> f32 {
    count as f32
}

/// Spaces beginnings evenly: one each `1/rate` seconds, with a little room to catch up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spacing {
    interval: Duration,
}

/// How far behind schedule beginnings may be made up for.
const CATCH_UP: Duration = Duration::from_millis(5);

impl Spacing {
    /// Spacing for `rate` beginnings a second; rates that are not positive count as one in a
    /// thousand seconds.
    pub(crate) fn of_rate(rate: f64) -> Self {
        Self {
            interval: Duration::from_secs_f64(1.0 / rate.max(0.001)),
        }
    }

    /// The moment of the beginning after one at `now`, when `scheduled` was its scheduled moment.
    pub(crate) fn next(self, now: Moment, scheduled: Moment) -> Moment {
        let earliest = Moment::from_nanos(
            now.as_nanos()
                .saturating_sub(u64::try_from(CATCH_UP.as_nanos()).unwrap_or(0)),
        );
        scheduled.max(earliest) + self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins `probes` first probes from second `from_s` on, one each ten microseconds or as the
    /// rate has it; each ends when `under_way` others have begun after it.
    fn run(window: &mut Window, from_s: u64, probes: u32, answers: impl Fn(u32) -> bool) {
        let mut now = Moment::from_nanos(from_s * 1_000_000_000);
        let mut under_way = std::collections::VecDeque::new();
        for at in 0..probes {
            now = now + Duration::from_micros(10);
            if let Some(rate) = window.rate() {
                now = now + Duration::from_secs_f64(1.0 / rate);
            }
            under_way.push_back((at, window.first_probe_began(now)));
            if under_way.len() > 50 {
                let (at, id) = under_way.pop_front().unwrap();
                window.first_probe_ended(id, answers(at));
            }
        }
        for (at, id) in under_way {
            window.first_probe_ended(id, answers(at));
        }
    }

    fn started() -> Window {
        let mut window = Window::new();
        window.start();
        window
    }

    #[test]
    fn a_host_that_answers_everything_is_let_grow() {
        let mut window = started();
        run(&mut window, 0, 60_000, |_| true);
        assert!(window.limit() >= 8_192, "{window:?}");
        assert_eq!(window.rate(), None);
    }

    #[test]
    fn steady_loss_is_no_reason_to_slow_down() {
        let mut window = started();
        run(&mut window, 0, 60_000, |at| at % 10 != 0);
        assert_eq!(window.rate(), None, "{window:?}");
    }

    #[test]
    fn a_host_that_is_silent_by_nature_is_let_grow() {
        let mut window = started();
        run(&mut window, 0, 60_000, |at| at % 300 == 0);
        assert!(window.limit() >= 8_192, "{window:?}");
        assert_eq!(window.rate(), None);
    }

    #[test]
    fn a_lucky_stretch_is_not_the_usual_share() {
        let mut window = Window::new();
        // Four answers in the first stretch, one in five hundred from then on.
        run(&mut window, 0, 256, |at| at < 4);
        run(&mut window, 1, 60_000, |at| at % 500 == 0);
        assert_eq!(window.rate(), None, "{window:?}");
    }

    #[test]
    fn a_falling_share_slows_down_to_what_was_answered_and_recovers() {
        let mut window = started();
        run(&mut window, 0, 100_000, |_| true);
        assert_eq!(window.rate(), None);
        let limit = window.limit();
        let mut cohorts = 0;
        while window.rate().is_none() && cohorts < 4 {
            run(&mut window, 1 + cohorts, limit, |at| at % 3 == 0);
            cohorts += 1;
        }
        // A probe each ten microseconds, a third of them answered.
        let slowed = window.rate().unwrap();
        assert!((5_000.0..90_000.0).contains(&slowed), "{slowed}");
        run(&mut window, 10, 400_000, |_| true);
        assert!(window.rate().is_none_or(|rate| rate > slowed));
    }

    #[test]
    fn probes_that_began_before_the_first_answer_are_not_judged() {
        let mut window = Window::new();
        let early: Vec<_> = (0..128)
            .map(|_| window.first_probe_began(Moment::START))
            .collect();
        window.start();
        for id in early {
            window.first_probe_ended(id, false);
        }
        run(&mut window, 1, 1_000, |_| true);
        assert!(window.usual.share() > 0.999, "{window:?}");
    }

    #[test]
    fn a_cohort_whose_probes_were_partly_withdrawn_is_judged_by_the_others() {
        let mut window = started();
        let ids: Vec<_> = (0..65)
            .map(|_| window.first_probe_began(Moment::START))
            .collect();
        for id in &ids[..60] {
            window.first_probe_withdrawn(*id);
        }
        let more: Vec<_> = (0..100)
            .map(|_| window.first_probe_began(Moment::START))
            .collect();
        for id in ids[60..].iter().chain(&more) {
            window.first_probe_ended(*id, true);
        }
        window.first_probe_began(Moment::START);
        assert!(window.rate().unwrap() > f64::from(RATE_START), "{window:?}");
    }

    #[test]
    fn spacing_keeps_the_rate_and_makes_up_only_a_little() {
        let spacing = Spacing::of_rate(1_000.0);
        let mut scheduled = Moment::START;
        for _ in 0..1_000 {
            scheduled = spacing.next(scheduled, scheduled);
        }
        assert_eq!(scheduled.as_nanos(), 1_000_000_000);
        let late = Moment::from_nanos(5_000_000_000);
        let next = spacing.next(late, scheduled);
        assert_eq!(next.as_nanos(), 5_000_000_000 - 5_000_000 + 1_000_000);
    }
}
