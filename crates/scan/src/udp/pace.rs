//! How fast is sent in total: slower where answers that had to be asked for again show that
//! datagrams get lost before all hosts alike, faster where none do.
//!
//! What is not here: the pace of one host (`host`).

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: f64,
    is_given: bool,
}

/// Datagrams a second at the start of a run.
const RATE: f64 = 20_000.0;
/// The pace is never slower than this, and never faster.
const RATE_MIN: f64 = 250.0;
const RATE_MAX: f64 = 80_000.0;
/// So many answers without a loss are enough to go faster.
const ANSWERED_MIN: u32 = 64;
/// Fewer losses show nothing.
const LOST_MIN: u32 = 3;

/// Answers of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// To the first question.
    pub(super) first: u32,
    /// To a later one.
    pub(super) late: u32,
}

impl Answers {
    pub(super) fn add(&mut self, silent_before: u8) {
        let count = match silent_before {
            0 => &mut self.first,
            _ => &mut self.late,
        };
        *count = count.saturating_add(1);
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            first: self.first.saturating_add(other.first),
            late: self.late.saturating_add(other.late),
        }
    }

    /// Whether so many came late that it is the pace. Loss by chance, which goes on at any pace, has
    /// to be above one in eight each way to look like this.
    pub(super) fn show_congestion(self) -> bool {
        let all = self.first.saturating_add(self.late);
        self.late >= LOST_MIN && self.late.saturating_mul(4) > all
    }

    /// Whether that was far too fast. What came late so far is the least that was lost.
    pub(super) fn are_mostly_late(self) -> bool {
        self.late.saturating_mul(2) > self.first
    }

    /// Whether enough came, and next to none of them late.
    fn show_room(self) -> bool {
        self.first >= ANSWERED_MIN && self.late.saturating_mul(50) <= self.first
    }
}

impl Pace {
    /// That which the user gave, or else one that is found, from an earlier one on.
    pub(super) fn new(given: Option<f64>, found: Option<f64>) -> Self {
        Self {
            rate: given.or(found).unwrap_or(RATE),
            is_given: given.is_some(),
        }
    }

    /// Looks back at a pass in which loss would have shown; `true`: it was too fast.
    pub(super) fn end_pass(&mut self, answers: Answers) -> bool {
        if self.is_given {
            return false;
        }
        let was_too_fast = answers.show_congestion();
        if was_too_fast {
            let share = if answers.are_mostly_late() { 0.25 } else { 0.5 };
            self.rate = (self.rate * share).max(RATE_MIN);
        } else if answers.show_room() {
            self.rate = (self.rate * 2.0).min(RATE_MAX);
        }
        was_too_fast
    }

    pub(super) fn apart(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate.max(0.001))
    }

    pub(super) fn found(self) -> Option<f64> {
        (!self.is_given).then_some(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_slow_down_and_prompt_ones_speed_up() {
        let check = |first, late, expected: f64| {
            let mut pace = Pace::new(None, Some(8_000.0));
            pace.end_pass(Answers { first, late });
            assert_eq!(pace.found(), Some(expected), "{first}, {late}");
        };
        check(0, 0, 8_000.0);
        check(63, 0, 8_000.0);
        check(64, 0, 16_000.0);
        check(100, 2, 16_000.0);
        check(100, 10, 8_000.0);
        check(0, 2, 8_000.0);
        check(8, 3, 4_000.0);
        check(6, 4, 2_000.0);
    }

    #[test]
    fn the_pace_stays_within_its_bounds_and_a_given_one_stays() {
        let congested = Answers { first: 0, late: 9 };
        let free = Answers {
            first: 999,
            late: 0,
        };
        let mut pace = Pace::new(None, None);
        assert!((0..20).all(|_| pace.end_pass(congested)));
        assert_eq!(pace.found(), Some(RATE_MIN));
        assert!((0..20).all(|_| !pace.end_pass(free)));
        assert_eq!(pace.found(), Some(RATE_MAX));
        let mut given = Pace::new(Some(500.0), Some(8_000.0));
        given.end_pass(congested);
        given.end_pass(free);
        assert_eq!(given.apart(), Duration::from_millis(2));
        assert_eq!(given.found(), None);
    }
}
