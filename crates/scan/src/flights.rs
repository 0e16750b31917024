//! Attempts that are under way and when to give them up.

use crate::host::Waiting;
use crate::pace::CohortId;
use crate::{DialId, ProbeTarget};
use portolan_model::Moment;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) target: ProbeTarget,
    pub(crate) waiting: Waiting,
    pub(crate) began: Moment,
    /// The cohort of a first probe.
    pub(crate) cohort: Option<CohortId>,
    pub(crate) deadline: Moment,
    /// Set for a watch: what would have been waited otherwise.
    pub(crate) watch: Option<Duration>,
}

/// Attempts by id, with a queue of deadlines. An entry of the queue whose attempt has ended is
/// dropped when it is met; the queue is rebuilt before such entries outnumber the attempts.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    flying: u32,
    deadlines: BinaryHeap<Reverse<(Moment, u32)>>,
}

/// Dead entries of the deadline queue that are tolerated beside four for each attempt.
const DEAD_ENTRIES: usize = 4_096;

impl Flights {
    pub(crate) const fn len(&self) -> u32 {
        self.flying
    }

    pub(crate) fn begin(&mut self, flight: Flight) -> DialId {
        let deadline = flight.deadline;
        let id = if let Some(id) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(index(id)) {
                *slot = Some(flight);
            }
            id
        } else {
            self.slots.push(Some(flight));
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        };
        self.flying += 1;
        if self.deadlines.len()
            > self
                .slots
                .len()
                .saturating_mul(4)
                .saturating_add(DEAD_ENTRIES)
        {
            self.rebuild();
        }
        self.deadlines.push(Reverse((deadline, id)));
        DialId::new(id)
    }

    pub(crate) fn end(&mut self, id: DialId) -> Option<Flight> {
        let flight = self.slots.get_mut(index(id.number()))?.take()?;
        self.free.push(id.number());
        self.flying -= 1;
        Some(flight)
    }

    /// The next attempt whose deadline is not after `now`.
    pub(crate) fn expired(&mut self, now: Moment) -> Option<DialId> {
        while let Some(Reverse((deadline, id))) = self.deadlines.peek().copied() {
            let alive = self.is_alive(deadline, id);
            if alive && deadline > now {
                return None;
            }
            self.deadlines.pop();
            if alive {
                return Some(DialId::new(id));
            }
        }
        None
    }

    /// The earliest deadline of an attempt under way.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        while let Some(Reverse((deadline, id))) = self.deadlines.peek().copied() {
            if self.is_alive(deadline, id) {
                return Some(deadline);
            }
            self.deadlines.pop();
        }
        None
    }

    fn is_alive(&self, deadline: Moment, id: u32) -> bool {
        let slot = self.slots.get(index(id)).and_then(Option::as_ref);
        slot.is_some_and(|flight| flight.deadline == deadline)
    }

    fn rebuild(&mut self) {
        let alive =
            self.slots.iter().zip(0_u32..).filter_map(|(slot, id)| {
                slot.as_ref().map(|flight| Reverse((flight.deadline, id)))
            });
        self.deadlines = alive.collect();
    }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
