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

    fn at(&self, cursor: u32) -> Option<u32> {
        match &self.list {
            Some(list) => list.get(usize::try_from(cursor).ok()?).copied(),
            None => (cursor < self.positions).then_some(cursor),
        }
    }
}
