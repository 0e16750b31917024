//! A keyed permutation of `0..size` that needs a few words of memory whatever the size: a Feistel
//! network over the smallest power of two that holds the range, walked until it lands inside.
//!
//! Not cryptographic: the key makes orders differ, it hides nothing.

/// A family of permutations of `0..size`, one for each key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    size: u64,
    low_bits: u32,
    low_mask: u64,
    high_mask: u64,
}

impl Permutation {
    /// The permutations of `0..size`; `size` 0 counts as 1. At most 2^63.
    pub(crate) fn of(size: u64) -> Self {
        let last = size.max(1).saturating_sub(1);
        let bits = u64::BITS.saturating_sub(last.leading_zeros());
        // The two halves may differ by a bit: a balanced network would double the numbers to walk
        // over for every odd count of bits.
        let high_bits = bits / 2;
        let low_bits = bits.saturating_sub(high_bits);
        Self {
            size: size.max(1),
            low_bits,
            low_mask: ones(low_bits),
            high_mask: ones(high_bits),
        }
    }

    /// Where `value` goes under `key`; below `size` whenever `value` is.
    pub(crate) fn apply(self, key: u64, value: u64) -> u64 {
        let mut value = value;
        // Ends: the network permutes a finite set, so walking from inside the range comes back
        // into it, at the latest at `value` itself. Fewer than half of the set lies outside.
        loop {
            value = self.network(key, value);
            if value < self.size {
                return value;
            }
        }
    }

    fn network(self, key: u64, value: u64) -> u64 {
        let mut low = value & self.low_mask;
        let mut high = value >> self.low_bits;
        for round in ROUND_PAIRS {
            high ^= mixed(low ^ key ^ round[0]) & self.high_mask;
            low ^= mixed(high ^ key ^ round[1]) & self.low_mask;
        }
        (high << self.low_bits) | low
    }
}

/// The key that belongs to `part` (a window, a host, a round) of what `key` orders.
pub(crate) const fn derived(key: u64, part: u64) -> u64 {
    mixed(key ^ mixed(part.wrapping_mul(WEYL).wrapping_add(WEYL)))
}

/// Spreads every bit of `value` over the whole word: two multiplications by odd constants, each
/// between shifts that bring high bits down. A bijection of words.
const fn mixed(value: u64) -> u64 {
    let mut word = value;
    word ^= word >> 32;
    word = word.wrapping_mul(FIRST_FACTOR);
    word ^= word >> 29;
    word = word.wrapping_mul(SECOND_FACTOR);
    word ^ (word >> 32)
}

const fn ones(bits: u32) -> u64 {
    (1_u64 << bits).wrapping_sub(1)
}

/// Fractional digits of the square roots of 2, 3, 5, 7, 11 and 13: three passes over both halves.
const ROUND_PAIRS: [[u64; 2]; 3] = [
    [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b],
    [0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1],
    [0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f],
];
/// 2^64 divided by the golden ratio, odd.
const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;
/// Fractional digits of pi, made odd.
const FIRST_FACTOR: u64 = 0x243f_6a88_85a3_08d3;
/// Fractional digits of e, made odd.
const SECOND_FACTOR: u64 = 0xb7e1_5162_8aed_2a6b;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn check_bijection(size: u64, key: u64) {
        let permutation = Permutation::of(size);
        let mut seen = vec![false; usize::try_from(size).unwrap()];
        for value in 0..size {
            let image = usize::try_from(permutation.apply(key, value)).unwrap();
            assert!(!seen[image], "size {size} key {key}: {image} twice");
            seen[image] = true;
        }
    }

    #[test]
    fn every_small_size_is_a_bijection() {
        for size in 1..=300 {
            for key in [0, 1, u64::MAX, 0xdead_beef] {
                check_bijection(size, key);
            }
        }
        for size in [
            997, 1024, 1025, 4095, 4096, 4097, 65_535, 65_536, 65_537, 99_991,
        ] {
            check_bijection(size, 7);
        }
    }

    #[test]
    fn huge_ranges_stay_inside_and_do_not_collide() {
        for size in [(1_u64 << 62) - 1, 1 << 62, (1 << 62) + 1, 1 << 63, 3 << 40] {
            let permutation = Permutation::of(size);
            let images: HashSet<u64> = (0..10_000)
                .map(|step| permutation.apply(3, step * (size / 10_000)))
                .collect();
            assert_eq!(images.len(), 10_000);
            assert!(images.iter().all(|image| *image < size));
        }
    }

    #[test]
    fn keys_reach_every_order_of_three() {
        let permutation = Permutation::of(3);
        let orders: HashSet<Vec<u64>> = (0..200)
            .map(|key| {
                (0..3)
                    .map(|v| permutation.apply(derived(9, key), v))
                    .collect()
            })
            .collect();
        assert_eq!(orders.len(), 6);
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        let permutation = Permutation::of(1 << 16);
        for key in 0..8 {
            let near = (1..1_u64 << 16)
                .filter(|value| {
                    let (a, b) = (
                        permutation.apply(derived(1, key), value - 1),
                        permutation.apply(derived(1, key), *value),
                    );
                    a.abs_diff(b) < 64
                })
                .count();
            // 128 of 65,536 images are that near by chance: 127.9 of the pairs are expected.
            assert!((60..220).contains(&near), "key {key}: {near}");
        }
    }

    proptest! {
        #[test]
        fn any_size_and_key_is_a_bijection(size in 1_u64..5_000, key: u64) {
            check_bijection(size, key);
        }
    }
}
