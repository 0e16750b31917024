//! Chance from a seed. Not here: any other source of randomness.

use crate::Share;
use std::time::Duration;

/// A stream of numbers that follows from its seed alone. Not for secrets.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number: a counter with an odd step, its bits spread over the word.
    pub const fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut word = self.state;
        word = (word ^ (word >> 31)).wrapping_mul(FIRST_FACTOR);
        word = (word ^ (word >> 30)).wrapping_mul(SECOND_FACTOR);
        word ^ (word >> 32)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.roll()).wrapping_mul(u128::from(bound));
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something happens that happens in `share` of all cases.
    pub fn happens(&mut self, share: Share) -> bool {
        // Paths without a fault cost no roll, so adding one changes no other path's chances.
        share != Share::NONE && self.below(Share::WHOLE) < share.parts()
    }

    /// A duration from zero to `most`, the end left out.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        Duration::from_nanos(self.below(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Fractional digits of pi, made odd.
const FIRST_FACTOR: u64 = 0x243f_6a88_85a3_08d3;
/// Fractional digits of e, made odd.
const SECOND_FACTOR: u64 = 0xb7e1_5162_8aed_2a6b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.roll()).collect::<Vec<_>>()
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
    }

    #[test]
    fn numbers_below_a_bound_are_spread_evenly() {
        let mut dice = Dice::new(3);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[usize::try_from(dice.below(10)).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_share_happens_as_often_as_it_says() {
        let mut dice = Dice::new(4);
        let happened = (0..100_000)
            .filter(|_| dice.happens(Share::percent(5)))
            .count();
        assert!((4_700..5_300).contains(&happened), "{happened}");
        assert!((0..1_000).all(|_| !dice.happens(Share::NONE)));
        assert!((0..1_000).all(|_| dice.happens(Share::percent(100))));
    }
}
