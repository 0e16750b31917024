//! What a path does to packets. Not here: what the host at its end does.

use crate::Dice;
use portolan_model::Moment;
use std::time::Duration;

/// A part of all cases, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Never.
    pub const NONE: Self = Self(0);
    /// How many parts make the whole.
    pub(crate) const WHOLE: u64 = 1_000_000;

    /// So many of a hundred cases.
    pub const fn percent(percent: u8) -> Self {
        Self::per_mille((percent as u16).saturating_mul(10))
    }

    /// So many of a thousand cases.
    pub const fn per_mille(per_mille: u16) -> Self {
        Self((per_mille as u32).saturating_mul(1_000))
    }

    pub(crate) fn parts(self) -> u64 {
        u64::from(self.0)
    }
}

/// The way to a host and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Packets lost on the way there.
    pub lost_there: Share,
    /// Packets lost on the way back.
    pub lost_back: Share,
    /// Time of one way.
    pub delay: Duration,
    /// Each way takes up to this much longer, evenly spread.
    pub jitter: Duration,
    /// Packets that are held back and so overtaken by others.
    pub held: Share,
    /// How long those are held.
    pub held_for: Duration,
}

impl Path {
    /// A path that loses nothing and whose round trip always takes `rtt`.
    pub fn of_rtt(rtt: Duration) -> Self {
        Self {
            delay: rtt / 2,
            ..Self::default()
        }
    }

    /// The same path with `share` lost each way.
    #[must_use]
    pub const fn losing(self, share: Share) -> Self {
        Self {
            lost_there: share,
            lost_back: share,
            ..self
        }
    }

    /// How long a packet takes on its way there; `None`: it is lost.
    pub(crate) fn there(&self, dice: &mut Dice) -> Option<Duration> {
        (!dice.happens(self.lost_there)).then(|| self.one_way(dice))
    }

    /// How long a packet takes on its way back; `None`: it is lost.
    pub(crate) fn back(&self, dice: &mut Dice) -> Option<Duration> {
        (!dice.happens(self.lost_back)).then(|| self.one_way(dice))
    }

    fn one_way(&self, dice: &mut Dice) -> Duration {
        let held = if dice.happens(self.held) {
            self.held_for
        } else {
            Duration::ZERO
        };
        self.delay + dice.up_to(self.jitter) + held
    }
}

/// A token bucket in front of a host: packets beyond its rate are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Policer {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket would be full again.
    full_at: Moment,
}

impl Policer {
    /// Lets `rate` packets a second through and `burst` at once; 0 counts as 1.
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        let tolerance = interval.saturating_mul(burst.max(1) - 1);
        Self {
            interval,
            tolerance,
            full_at: Moment::START,
        }
    }

    /// Whether a packet that arrives now passes. Calls must come in the order of time.
    pub(crate) fn passes(&mut self, now: Moment) -> bool {
        if self.full_at.since(now) > self.tolerance {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_policer(rate: u32, burst: u32, offered: u64, expected: std::ops::RangeInclusive<u64>) {
        let mut policer = Policer::new(rate, burst);
        let passed = (0..offered)
            .filter(|at| policer.passes(Moment::from_nanos(at * 1_000_000_000 / offered)))
            .count();
        let passed = u64::try_from(passed).unwrap();
        assert!(
            expected.contains(&passed),
            "{rate}/s burst {burst}: {passed} of {offered}"
        );
    }

    #[test]
    fn a_policer_lets_its_rate_and_burst_through() {
        check_policer(1_000, 1, 100_000, 1_000..=1_000);
        check_policer(1_000, 50, 100_000, 1_049..=1_050);
        check_policer(1_000, 1, 500, 500..=500);
    }

    #[test]
    fn a_burst_passes_at_once_and_no_more() {
        let mut policer = Policer::new(10, 5);
        let passed = (0..20).filter(|_| policer.passes(Moment::START)).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn paths_take_their_delay_and_lose_their_share() {
        let mut dice = Dice::new(9);
        let path = Path {
            jitter: Duration::from_millis(3),
            ..Path::of_rtt(Duration::from_millis(20)).losing(Share::percent(50))
        };
        let ways: Vec<_> = (0..10_000).filter_map(|_| path.there(&mut dice)).collect();
        assert!((4_800..5_200).contains(&ways.len()), "{}", ways.len());
        assert!(ways.iter().all(|way| (10..13).contains(&way.as_millis())));
    }
}
