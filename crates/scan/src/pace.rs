//! How many attempts may be under way to one host, and how fast attempts may begin.

use portolan_model::Moment;
use std::time::Duration;

/// Adapts how many attempts to one host may be under way, and how fast they may begin. The order
/// of probes is random, so the share of first probes that are answered is the same in every
/// stretch of a scan, unless the pace itself causes loss. A fall of that share that chance does
/// not explain slows the host down to what it answered meanwhile; everything else lets it grow.
/// Repeats are left out: what they ask is no random sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    limit: f32,
    /// Attempts a second, once loss has shown that there is a limit.
    rate: Option<f32>,
    /// Share of answers that this host is known for.
    usual_share: f32,
    first: Stretch,
    repeats: Stretch,
}

/// Probes that ended one after the other.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    began: Moment,
    ended: u32,
    answered: u32,
}

const LIMIT_START: f32 = 256.0;
const LIMIT_MAX: f32 = 65_536.0;
/// Fewest first probes that make a stretch.
const STRETCH_MIN: u32 = 64;
/// A stretch of a host with a known rate covers this part of a second.
const STRETCH_S: f32 = 0.05;
/// No host is slowed down below this many attempts a second.
const RATE_MIN: f32 = 50.0;
/// Above this rate nothing is gained by spacing attempts.
const RATE_MAX: f32 = 200_000.0;

impl Window {
    pub(crate) const fn new() -> Self {
        Self {
            limit: LIMIT_START,
            rate: None,
            usual_share: 0.0,
            first: Stretch::EMPTY,
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

    /// A first probe ended at `now`.
    pub(crate) fn first_probe_ended(&mut self, now: Moment, answered: bool) {
        self.first.count(now, answered);
        if self.first.ended < self.stretch() {
            return;
        }
        let stretch = std::mem::replace(&mut self.first, Stretch::EMPTY);
        let (ended, answers) = (as_f32(stretch.ended), as_f32(stretch.answered));
        let expected = self.usual_share * ended;
        // Four standard deviations of a Poisson count: chance alone hardly ever falls below.
        let is_fall = answers < expected - 4.0 * expected.sqrt();
        if is_fall && answers < 0.9 * expected {
            let elapsed_s = now.since(stretch.began).as_secs_f32().max(0.000_1);
            self.slow_down(answers / elapsed_s, answers / expected);
        } else {
            self.grow();
        }
        // The usual share fades, so that a target that changes is judged by what it does now.
        let share = answers / ended;
        self.usual_share = share.max(0.95 * self.usual_share + 0.05 * share);
    }

    /// A repeat ended at `now`. Repeats tell less than first probes, because truly silent ports
    /// are among them; but where the pace is known to matter, and some are answered while far
    /// more than usual are not, the pace is too high for them as well.
    pub(crate) fn repeat_ended(&mut self, now: Moment, answered: bool) {
        self.repeats.count(now, answered);
        if self.repeats.ended < self.stretch() {
            return;
        }
        let stretch = std::mem::replace(&mut self.repeats, Stretch::EMPTY);
        let share = as_f32(stretch.answered) / as_f32(stretch.ended);
        if self.rate.is_some() && share > 0.05 && share < 0.8 * self.usual_share {
            self.slow_down(0.0, share / self.usual_share);
        }
    }

    /// Probes that make a stretch.
    fn stretch(&self) -> u32 {
        self.rate
            .map_or(self.limit(), |rate| whole(rate * STRETCH_S))
            .max(STRETCH_MIN)
    }

    /// `answered_rate`: what the host answered a second; `part`: answers of those expected.
    fn slow_down(&mut self, answered_rate: f32, part: f32) {
        let factor = if part < 0.5 { 0.6 } else { 0.85 };
        let rate = self.rate.map_or(answered_rate, |rate| rate * factor);
        self.rate = Some(rate.max(RATE_MIN));
    }

    fn grow(&mut self) {
        self.rate = self
            .rate
            .map(|rate| rate * 1.08)
            .filter(|rate| *rate < RATE_MAX);
        self.limit = (self.limit * 2.0).min(LIMIT_MAX);
    }
}

impl Stretch {
    const EMPTY: Self = Self {
        began: Moment::START,
        ended: 0,
        answered: 0,
    };

    fn count(&mut self, now: Moment, answered: bool) {
        if self.ended == 0 {
            self.began = now;
        }
        self.ended += 1;
        self.answered += u32::from(answered);
    }
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

    /// Ends `probes` first probes, one each ten microseconds from second `from_s` on.
    fn run(window: &mut Window, from_s: u64, probes: u32, answers: impl Fn(u32) -> bool) {
        for at in 0..probes {
            let now = Moment::from_nanos(from_s * 1_000_000_000 + u64::from(at) * 10_000);
            window.first_probe_ended(now, answers(at));
        }
    }

    #[test]
    fn a_host_that_answers_everything_is_let_grow() {
        let mut window = Window::new();
        run(&mut window, 0, 20_000, |_| true);
        assert!(window.limit() >= 8_192, "{window:?}");
        assert_eq!(window.rate(), None);
    }

    #[test]
    fn steady_loss_is_no_reason_to_slow_down() {
        let mut window = Window::new();
        run(&mut window, 0, 20_000, |at| at % 10 != 0);
        assert_eq!(window.rate(), None, "{window:?}");
    }

    #[test]
    fn a_host_that_is_silent_by_nature_is_let_grow() {
        let mut window = Window::new();
        run(&mut window, 0, 60_000, |at| at % 300 == 0);
        assert!(window.limit() >= 8_192, "{window:?}");
        assert_eq!(window.rate(), None);
    }

    #[test]
    fn a_falling_share_slows_down_to_what_was_answered_and_recovers() {
        let mut window = Window::new();
        run(&mut window, 0, 20_000, |_| true);
        let limit = window.limit();
        run(&mut window, 1, limit * 2, |at| at % 3 == 0);
        // A probe each ten microseconds, a third of them answered.
        let slowed = window.rate().unwrap();
        assert!((20_000.0..60_000.0).contains(&slowed), "{slowed}");
        run(&mut window, 10, 400_000, |_| true);
        assert!(window.rate().is_none_or(|rate| rate > slowed));
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
