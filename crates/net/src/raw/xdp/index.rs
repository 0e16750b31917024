//! Where one side of a ring is: counters that go round the numbers of 32 bits, and the entries that
//! they stand for.
//!
//! What is not here: the memory of the ring (see [`super::ring`]).

/// The counters of a ring whose entries are a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    mask: u32,
    /// How far this side is.
    own: u32,
    /// How far the other side was, when it was last asked.
    other: u32,
}

impl Index {
    /// A new ring with `entries`; `None` unless that is a power of two, below 2^31 so that a full
    /// ring differs from an empty one.
    pub(super) const fn new(entries: u32) -> Option<Self> {
        if !entries.is_power_of_two() || entries > 1 << 30 {
            return None;
        }
        Some(Self {
            mask: entries - 1,
            own: 0,
            other: 0,
        })
    }

    /// Entries of the ring.
    pub(super) const fn entries(self) -> u32 {
        self.mask + 1
    }

    /// Notes how far the other side is.
    pub(super) const fn hear(&mut self, other: u32) {
        self.other = other;
    }

    /// Entries that a producer may fill, as far as it has heard; none where the other side claims
    /// what cannot be.
    pub(super) const fn room(self) -> u32 {
        self.entries()
            .saturating_sub(self.own.wrapping_sub(self.other))
    }

    /// Entries that a consumer may take, as far as it has heard; none where the other side claims
    /// what cannot be.
    pub(super) const fn filled(self) -> u32 {
        let filled = self.other.wrapping_sub(self.own);
        if filled > self.entries() { 0 } else { filled }
    }

    /// The place of the entry that is `ahead` of this side.
    pub(super) const fn entry(self, ahead: u32) -> u32 {
        self.own.wrapping_add(ahead) & self.mask
    }

    /// Goes on by `count`; how far this side is then.
    pub(super) const fn advance(&mut self, count: u32) -> u32 {
        self.own = self.own.wrapping_add(count);
        self.own
    }

    /// What the other side has not taken, or not filled again, of what this side has passed.
    pub(super) const fn behind(self) -> u32 {
        self.own.wrapping_sub(self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_a_power_of_two_of_entries() {
        for entries in [1, 2, 64, 1 << 30] {
            assert_eq!(Index::new(entries).map(Index::entries), Some(entries));
        }
        for entries in [0, 3, 100, 1 << 31, u32::MAX] {
            assert_eq!(Index::new(entries), None, "{entries}");
        }
    }

    /// A producer and a consumer, from any point of the counters on: every entry is filled once and
    /// taken once, and never is more filled than there are.
    #[test]
    fn both_sides_go_round_and_over_the_end_of_the_numbers() {
        for start in [0, 5, u32::MAX - 9, u32::MAX] {
            let mut producer = Index::new(8).unwrap();
            producer.own = start;
            producer.hear(start);
            let mut consumer = producer;
            let mut memory = [None; 8];
            let (mut filled, mut taken) = (0_u32, 0_u32);
            for step in 0..200_u32 {
                let count = producer.room().min(step % 6);
                for ahead in 0..count {
                    let place = usize::try_from(producer.entry(ahead)).unwrap();
                    assert_eq!(memory[place].replace(filled), None);
                    filled += 1;
                }
                consumer.hear(producer.advance(count));
                assert_eq!(consumer.filled(), filled - taken);
                let count = consumer.filled().min(step % 5);
                for ahead in 0..count {
                    let place = usize::try_from(consumer.entry(ahead)).unwrap();
                    assert_eq!(memory[place].take(), Some(taken));
                    taken += 1;
                }
                producer.hear(consumer.advance(count));
                assert_eq!(producer.behind(), filled - taken);
            }
            assert!(taken > 300, "{taken}");
        }
    }

    #[test]
    fn what_cannot_be_is_an_empty_or_a_full_ring() {
        let mut index = Index::new(8).unwrap();
        for other in [9, 1 << 31, u32::MAX] {
            index.hear(other);
            assert_eq!(index.filled(), 0, "{other}");
        }
        index.hear(1);
        assert_eq!(index.room(), 0);
        index.hear(0);
        index.advance(9);
        assert_eq!(index.room(), 0);
    }
}
