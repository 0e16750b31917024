//! The passes over the positions of an order: the first meets all of them, each further one those
//! that were asked in the one before.

use portolan_model::Moment;

/// Where the scan stands.
#[derive(Debug)]
pub(crate) struct Passes {
    positions: u32,
    /// Of the pass under way, counted from 0.
    number: u8,
    /// Whether all of the pass under way was sent, and what shows its losses was asked for.
    closing: bool,
    cursor: u32,
    /// In what order.
    stride: Stride,
    /// What the pass under way goes over; `None`: every position.
    list: Option<Vec<u32>>,
    /// What it asked, as long as that is short.
    asked: Option<Vec<u32>>,
    last_sent: Moment,
    /// Positions that were looked at for silence, once the passes are over.
    told: Option<u32>,
}

/// Positions that are noted for the next pass: beyond, it looks at all of them again, which takes
/// less memory and more time.
const LIST_MAX: usize = 1 << 18;

impl Passes {
    pub(crate) fn new(positions: u32) -> Self {
        Self {
            positions,
            number: 0,
            closing: false,
            cursor: 0,
            stride: Stride::new(0, positions),
            list: None,
            // All are asked in the first.
            asked: None,
            last_sent: Moment::START,
            told: None,
        }
    }

    pub(crate) fn positions(&self) -> u32 {
        self.positions
    }

    /// Number of the pass under way, counted from 0.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The next position of the pass under way.
    pub(crate) fn next_position(&mut self) -> Option<u32> {
        let position = self.at(self.cursor)?;
        self.cursor += 1;
        Some(position)
    }

    /// Takes back the position that was given last.
    pub(crate) fn put_back(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    /// Whether the pass under way has no further position.
    pub(crate) fn is_through(&self) -> bool {
        self.at(self.cursor).is_none()
    }

    /// The pass under way asks `position`.
    pub(crate) fn asks(&mut self, position: u32) {
        let Some(asked) = &mut self.asked else {
            return;
        };
        if asked.len() < LIST_MAX {
            asked.push(position);
        } else {
            self.asked = None;
        }
    }

    pub(crate) fn sent(&mut self, now: Moment) {
        self.last_sent = now;
    }

    pub(crate) fn last_sent(&self) -> Moment {
        self.last_sent
    }

    /// Whether [`Passes::close`] was called in the pass under way.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// The pass under way is about to end.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn begin_next(&mut self) {
        self.closing = false;
        self.number = self.number.saturating_add(1);
        self.cursor = 0;
        self.list = self.asked.take();
        self.asked = Some(Vec::new());
        self.stride = Stride::new(self.number, self.length());
    }

    /// There is no further pass, and some positions are silent.
    pub(crate) fn finish(&mut self) {
        self.told = Some(0);
    }

    /// There is no further pass, and nothing to look at for silence.
    pub(crate) fn end(&mut self) {
        self.told = Some(self.positions);
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.told.is_some() && !self.is_finished()
    }

    /// Whether every position was looked at for silence.
    pub(crate) fn is_finished(&self) -> bool {
        self.told.is_some_and(|told| told >= self.positions)
    }

    /// The next position to look at for silence.
    pub(crate) fn next_silent(&mut self) -> Option<u32> {
        let told = self.told.as_mut().filter(|told| **told < self.positions)?;
        let position = *told;
        *told += 1;
        Some(position)
    }

    /// Positions that the pass under way goes over.
    fn length(&self) -> u32 {
        let list = self.list.as_ref();
        list.map_or(self.positions, |list| {
            u32::try_from(list.len()).unwrap_or(u32::MAX)
        })
    }

    fn at(&self, cursor: u32) -> Option<u32> {
        let place = self.stride.place(cursor)?;
        match &self.list {
            Some(list) => list.get(usize::try_from(place).ok()?).copied(),
            None => Some(place),
        }
    }
}

/// An order of the numbers below `length`, another one in each pass: what is lost in step with the
/// time, or with the probes before it, does not meet the same ports again.
#[derive(Clone, Copy, Debug)]
struct Stride {
    step: u64,
    start: u64,
    length: u64,
}

impl Stride {
    /// The first pass keeps the order as it is.
    fn new(pass: u8, length: u32) -> Self {
        let length = u64::from(length);
        if pass == 0 || length < 3 {
            return Self {
                step: 1,
                start: 0,
                length,
            };
        }
        // Multiples of the golden ratio lie far from each other and from every short period.
        let part = |times: u64| times.wrapping_mul(GOLDEN) >> 32;
        let scaled = |part: u64| (part * length) >> 32;
        let wanted = scaled(part(u64::from(pass))).max(1);
        let coprime = (wanted..wanted + length).find(|step| gcd(*step, length) == 1);
        Self {
            step: coprime.unwrap_or(1) % length,
            start: scaled(part(u64::from(pass) * 7)),
            length,
        }
    }

    /// The number at `cursor`.
    fn place(self, cursor: u32) -> Option<u32> {
        let cursor = u64::from(cursor);
        if cursor >= self.length {
            return None;
        }
        if self.step == 1 && self.start == 0 {
            return u32::try_from(cursor).ok();
        }
        u32::try_from((cursor * self.step + self.start) % self.length).ok()
    }
}

/// 2^64 less by its golden section.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn gcd(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(pass: u8, length: u32) -> Vec<u32> {
        let stride = Stride::new(pass, length);
        (0..).map_while(|cursor| stride.place(cursor)).collect()
    }

    #[test]
    fn each_pass_meets_every_position_once() {
        for length in [0, 1, 2, 3, 4, 30, 210, 1_000, 65_535, 65_536] {
            for pass in [0, 1, 2, 7, 200, 255] {
                let mut all = order(pass, length);
                all.sort_unstable();
                assert!(all.into_iter().eq(0..length), "{pass} {length}");
            }
        }
    }

    #[test]
    fn no_two_passes_share_an_order() {
        let orders: Vec<_> = (0..8).map(|pass| order(pass, 10_000)).collect();
        for (at, one) in orders.iter().enumerate() {
            for other in orders.iter().skip(at + 1) {
                // Of two orders that have nothing to do with each other one place is the same.
                let same = one.iter().zip(other).filter(|(a, b)| a == b).count();
                assert!(same < 20, "{same}");
                let near = one.iter().zip(other).filter(|(a, b)| a.abs_diff(**b) < 100);
                assert!(near.count() < 400);
            }
        }
        assert!(order(0, 100).into_iter().eq(0..100));
    }
}
