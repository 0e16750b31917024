//! The pace of a whole scan, as far as it is not that of its groups: the rate that the user gave,
//! and pauses of this machine.

use crate::pace::Spacing;
use portolan_model::Moment;

/// When the next probe of all may be sent.
#[derive(Debug)]
pub(crate) struct Speed {
    fixed: Option<Spacing>,
    next: Moment,
}

impl Speed {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self {
            fixed: rate.map(Spacing::of_rate),
            next: Moment::START,
        }
    }

    /// Whether the user gave a rate: it is kept as given.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// When the next probe may be sent.
    pub(crate) fn next(&self) -> Moment {
        self.next
    }

    /// A probe is sent.
    pub(crate) fn sent(&mut self, now: Moment) {
        if let Some(spacing) = self.fixed {
            self.next = spacing.next(now, self.next);
        }
    }

    /// Nothing is sent before `until`.
    pub(crate) fn pause(&mut self, until: Moment) {
        self.next = self.next.max(until);
    }
}
