//! How many attempts this machine has room for, and how many of them hosts may have that never
//! answered.

use portolan_model::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// Attempts to hosts that never answered. Most of them will end in silence, each after a long
/// wait, so they may not take all the room there is.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    pub(crate) flying: u32,
    /// Hosts that found no room for them.
    pub(crate) hosts: VecDeque<u32>,
}

/// How many attempts this machine has room for, as far as it has shown.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) capacity: u32,
    capacity_max: u32,
    pub(crate) paused_until: Moment,
    refused_in_a_row: u32,
    /// Attempts that had room since the capacity last changed.
    granted: u32,
}

/// Attempts for which this machine had no room, after which a port counts as not tested.
pub(crate) const REFUSALS_MAX: u8 = 20;
/// Attempts that had room for each attempt more that may be under way after the capacity was cut.
const GRANTS_A_STEP: u32 = 2;
/// First pause after this machine had no room; it doubles while that goes on.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Unseen {
    /// The next host that waits for room, when there is some. The end of an attempt wakes one host
    /// each; a host that has nothing to begin then must not keep the room from the others.
    pub(crate) fn next(&mut self, room: &Room) -> Option<u32> {
        if self.has_room(room) {
            self.hosts.pop_front()
        } else {
            None
        }
    }

    /// Three quarters of all room at most; the first attempt always finds some.
    pub(crate) const fn has_room(&self, room: &Room) -> bool {
        self.flying == 0 || self.flying < room.capacity - room.capacity / 4
    }
}

impl Room {
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = capacity.max(1);
        Self {
            capacity,
            capacity_max: capacity,
            paused_until: Moment::START,
            refused_in_a_row: 0,
            granted: 0,
        }
    }

    pub(crate) fn is_free(&self, flying: u32, now: Moment) -> bool {
        flying < self.capacity && self.paused_until <= now
    }

    /// An attempt had room: the capacity that was cut comes back step by step.
    pub(crate) fn granted(&mut self) {
        self.refused_in_a_row = 0;
        if self.capacity < self.capacity_max {
            self.granted += 1;
            if self.granted >= GRANTS_A_STEP {
                self.granted = 0;
                self.capacity += 1;
            }
        }
    }

    pub(crate) fn refused(&mut self, flying: u32, now: Moment) {
        self.capacity = self.capacity.min(flying).max(1);
        if self.paused_until <= now && !self.is_hopeless() {
            self.capacity = (self.capacity - self.capacity / 16).max(1);
            let doublings = self.refused_in_a_row.min(8);
            let pause = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
            self.paused_until = now + pause;
            self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        }
    }

    /// Whether one pause after the other brought no room at all: further pauses would not either,
    /// so what is left is tried once more without them.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.refused_in_a_row >= REFUSALS_MAX as u32
    }
}
