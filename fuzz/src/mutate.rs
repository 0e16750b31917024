//! Makes new inputs from seeds. The same seed number and the same inputs give the same sequence
//! on every machine.

use crate::Seed;

/// Longest input that is made.
pub const INPUT_MAX: usize = 64 * 1024;

/// An endless sequence of inputs.
#[derive(Debug)]
pub struct Mutator<'a> {
    state: u64,
    seeds: &'a [Seed],
    dictionary: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// A sequence that starts from `seeds` and weaves in pieces of `dictionary`; both may be
    /// empty.
    pub const fn new(seed: u64, seeds: &'a [Seed], dictionary: &'a [&'a str]) -> Self {
        Self {
            state: seed,
            seeds,
            dictionary,
        }
    }

    /// The next input: a seed, changed in one to eight places, more often in few; at most
    /// [`INPUT_MAX`] bytes.
    pub fn make(&mut self) -> Vec<u8> {
        let mut bytes = self.pick_seed().to_vec();
        let most = self.below(8);
        for _ in 0..=self.below(most) {
            self.change(&mut bytes);
            bytes.truncate(INPUT_MAX);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        match self.below(9) {
            0 => self.flip_bit(bytes),
            1 => {
                let value = self.byte();
                self.overwrite(bytes, value);
            }
            2 => {
                let value = self.pick_of(&EDGES);
                self.overwrite(bytes, value);
            }
            3 | 4 => {
                let token = self.pick_token();
                self.insert(bytes, &token);
            }
            5 => {
                let length = self.below(bytes.len().saturating_add(1));
                bytes.truncate(length);
            }
            6 => {
                let part = self.part_of(bytes);
                let times = self.below(9).saturating_add(1);
                self.insert(bytes, &part.repeat(times));
            }
            7 => self.remove(bytes),
            _ => {
                // Splice: a piece of another seed.
                let other = self.pick_seed();
                let part = self.part_of(other);
                self.insert(bytes, &part);
            }
        }
    }

    fn flip_bit(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len());
        let bit = self.below(8);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1_u8 << bit;
        }
    }

    fn overwrite(&mut self, bytes: &mut [u8], value: u8) {
        let at = self.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }

    fn insert(&mut self, bytes: &mut Vec<u8>, piece: &[u8]) {
        let at = self.below(bytes.len().saturating_add(1));
        bytes.splice(at..at, piece.iter().copied());
    }

    fn remove(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = self.range_in(bytes.len());
        bytes.drain(start..end);
    }

    /// A piece of `bytes`, at most a few hundred bytes long.
    fn part_of(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (start, end) = self.range_in(bytes.len());
        bytes.get(start..end).unwrap_or_default().to_vec()
    }

    fn range_in(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length.saturating_add(1));
        let longest = length.saturating_sub(start).min(PART_MAX);
        let taken = self.below(longest.saturating_add(1));
        (start, start.saturating_add(taken))
    }

    fn pick_token(&mut self) -> Vec<u8> {
        let at = self.below(self.dictionary.len());
        match self.dictionary.get(at) {
            Some(token) => token.as_bytes().to_vec(),
            None => vec![self.byte()],
        }
    }

    fn pick_seed(&mut self) -> &'a [u8] {
        let at = self.below(self.seeds.len());
        self.seeds.get(at).map_or(&[], |seed| &seed.bytes)
    }

    fn pick_of(&mut self, values: &[u8]) -> u8 {
        let at = self.below(values.len());
        values.get(at).copied().unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or_default()
    }

    /// A number below `limit`; 0 when `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let number = self.next().checked_rem(limit).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    }

    /// `SplitMix64`.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Longest piece that is repeated, spliced or removed at once.
const PART_MAX: usize = 256;

/// Bytes at the edges of what parsers compare with.
const EDGES: [u8; 12] = [
    0, 1, 0x0a, 0x0d, 0x20, b'0', b'9', 0x7f, 0x80, 0xc2, 0xfe, 0xff,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(seed: u64, seeds: &[Seed]) -> Vec<Vec<u8>> {
        let mut mutator = Mutator::new(seed, seeds, &["token"]);
        (0..2000).map(|_| mutator.make()).collect()
    }

    #[test]
    fn the_seed_alone_decides_the_sequence() {
        let seeds = [Seed {
            name: "one".to_owned(),
            bytes: b"10.0.0.0/8".to_vec(),
        }];
        assert_eq!(sequence(1, &seeds), sequence(1, &seeds));
        assert_ne!(sequence(1, &seeds), sequence(2, &seeds));
    }

    #[test]
    fn inputs_vary_and_stay_inside_the_limit() {
        let seeds = [Seed {
            name: "long".to_owned(),
            bytes: vec![b'a'; INPUT_MAX],
        }];
        let made = sequence(1, &seeds);
        assert!(made.iter().all(|bytes| bytes.len() <= INPUT_MAX));
        let seeds = [Seed {
            name: "short".to_owned(),
            bytes: b"10.0.0.0/8".to_vec(),
        }];
        let made = sequence(1, &seeds);
        let distinct: std::collections::BTreeSet<_> = made.iter().collect();
        assert!(distinct.len() > 500, "{}", distinct.len());
    }
}
