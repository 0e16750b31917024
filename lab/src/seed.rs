//! Reproducible pseudo-randomness for tests and benchmarks, where the same number must give the
//! same ports and moments on every machine. Not for anything that must be hard to guess.

use std::collections::BTreeSet;

/// A stream of numbers that a seed decides (the `SplitMix64` generator of Steele, Lea and Flood,
/// "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The stream of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0. Small bounds only: the bias of the remainder
    /// is left in.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(rest) => rest,
            None => 0,
        }
    }
}

/// `count` different ports from 1 to 65,535, in ascending order; all of them when `count` is more.
pub fn random_ports(seed: u64, count: usize) -> Vec<u16> {
    let mut seed = Seed::new(seed);
    let mut ports = BTreeSet::new();
    while ports.len() < count.min(usize::from(u16::MAX)) {
        if let Ok(port) = u16::try_from(1 + seed.below(u64::from(u16::MAX))) {
            ports.insert(port);
        }
    }
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ports() {
        let ports = random_ports(7, 200);
        assert_eq!(ports, random_ports(7, 200));
        assert_ne!(ports, random_ports(8, 200));
        assert_eq!(ports.len(), 200);
        assert!(ports.is_sorted() && !ports.contains(&0));
    }

    #[test]
    fn all_ports_can_be_asked_for() {
        let all: Vec<u16> = (1..=u16::MAX).collect();
        assert_eq!(random_ports(1, 70_000), all);
    }

    #[test]
    fn a_bound_bounds() {
        let mut seed = Seed::new(3);
        assert!((0..1000).all(|_| seed.below(10) < 10));
        assert_eq!(seed.below(0), 0);
    }
}
