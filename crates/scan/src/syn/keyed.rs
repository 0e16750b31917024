//! Look-ups by a pair or an address: hashing that costs a multiplication or two, under a key of the
//! run, so that nobody who names targets can make many of them meet in one place.
//!
//! Only what this run has chosen to ask is ever put into such a table; a packet that is received is
//! looked up, and adds nothing. What proves an answer is another thing (see `cookie`).

use std::hash::{BuildHasher, Hasher};

/// Makes hashers of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    key: u64,
}

impl Keyed {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        let [low, high] = [0, 8].map(|from| {
            let bytes = key.iter().skip(from).take(8);
            bytes.fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        });
        Self {
            key: low.wrapping_mul(FACTOR) ^ high,
        }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.key }
    }
}

/// Folds each word into the state by a product of twice its width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folding {
    state: u64,
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            self.write_u64(
                part.iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.state = folded(self.state ^ value).wrapping_add(self.state.rotate_left(23));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_usize(value.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        folded(self.state)
    }
}

/// Both halves of the product, one upon the other.
fn folded(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(FACTOR);
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    half(product) ^ half(product >> 64)
}

/// Odd, and no pattern in its bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::super::ledger::Pair;
    use super::*;
    use std::collections::HashSet;
    use std::net::IpAddr;

    #[test]
    fn neighbours_meet_no_more_often_than_by_chance() {
        let keyed = Keyed::new([7; 16]);
        let pairs = (0..256).flat_map(|host| (0..256).map(move |port| Pair { host, port }));
        let of_pairs = pairs.map(|it| keyed.hash_one(it)).collect::<Vec<_>>();
        let addresses = (0..1_u128 << 16).map(|it| IpAddr::V6((0x2001_0db8 << 96 | it).into()));
        let of_v6 = addresses.map(|it| keyed.hash_one(it)).collect::<Vec<_>>();
        let addresses = (0..1_u32 << 16).map(|it| IpAddr::V4((0xc612_0000 | it).into()));
        let of_v4 = addresses.map(|it| keyed.hash_one(it)).collect::<Vec<_>>();
        for hashes in [of_pairs, of_v6, of_v4] {
            // 65,536 balls in as many places leave 36.8 % of these empty.
            let places: HashSet<u64> = hashes.iter().map(|it| it & 0xffff).collect();
            assert!(places.len() > 38_000, "{}", places.len());
            let tops: HashSet<u64> = hashes.iter().map(|it| it >> 48).collect();
            assert!(tops.len() > 38_000, "{}", tops.len());
        }
    }

    #[test]
    fn another_key_puts_them_elsewhere() {
        let [one, other] = [1, 2].map(|it| Keyed::new([it; 16]));
        assert_ne!(one.hash_one(7_u32), other.hash_one(7_u32));
    }
}
