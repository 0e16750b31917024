//! How fast probes are sent: as the user says, or as fast as answers keep up.

use super::epoch::Group;
use crate::pace::{Spacing, Window};
use portolan_model::Moment;
use std::time::Duration;

/// The pace of a scan.
#[derive(Debug)]
pub(crate) struct Speed {
    fixed: Option<Spacing>,
    window: Window,
    /// The first probe of all.
    first: Option<Moment>,
    answered: bool,
    next: Moment,
}

/// Probes a second at the start.
const SILENT_START: f64 = 4_000.0;
/// Before the first answer the pace doubles in this time …
const SILENT_DOUBLING_S: f64 = 0.1;
/// … up to this.
const SILENT_MAX: f64 = 200_000.0;

impl Speed {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self {
            fixed: rate.map(Spacing::of_rate),
            window: Window::new(),
            first: None,
            answered: false,
            next: Moment::START,
        }
    }

    /// Whether a probe may be sent now, while `flying` others have no answer.
    pub(crate) fn allows(&self, now: Moment, flying: u32) -> bool {
        let room = self.fixed.is_some() || !self.answered || flying < self.window.limit();
        room && self.next <= now
    }

    /// When the next probe may be sent, as far as time goes.
    pub(crate) fn next(&self, now: Moment) -> Moment {
        // Where only answers make room, a little time passes before the next look.
        if self.next <= now {
            now + Duration::from_micros(500)
        } else {
            self.next
        }
    }

    /// A probe of pass `pass` is sent; tells what it is judged with.
    pub(crate) fn began(&mut self, now: Moment, pass: u8) -> Group {
        let first = *self.first.get_or_insert(now);
        let spacing = self.fixed.or_else(|| {
            let rate = if self.answered {
                self.window.rate()
            } else {
                let doublings = now.since(first).as_secs_f64() / SILENT_DOUBLING_S;
                Some((SILENT_START * doublings.exp2()).min(SILENT_MAX))
            };
            rate.map(Spacing::of_rate)
        });
        if let Some(spacing) = spacing {
            self.next = spacing.next(now, self.next);
        }
        if pass == 0 {
            Group::First(self.window.first_probe_began(now))
        } else {
            Group::Repeat
        }
    }

    /// A probe was answered; `group` as [`Speed::began`] gave it.
    pub(crate) fn answered(&mut self, group: Group) {
        if !self.answered {
            self.answered = true;
            self.window.start();
        }
        self.one_ended(group, true);
    }

    /// `silent` probes of a group are believed silent.
    pub(crate) fn ended(&mut self, group: Group, silent: u32) {
        for _ in 0..silent {
            self.one_ended(group, false);
        }
    }

    /// A probe did not leave this machine.
    pub(crate) fn withdrawn(&mut self, group: Group) {
        if let Group::First(cohort) = group {
            self.window.first_probe_withdrawn(cohort);
        }
    }

    /// Nothing is sent before `until`.
    pub(crate) fn pause(&mut self, until: Moment) {
        self.next = self.next.max(until);
    }

    /// What came in was more than this machine could take.
    pub(crate) fn slow_for_receiver(&mut self) {
        self.window.slow_for_receiver();
    }

    fn one_ended(&mut self, group: Group, answered: bool) {
        match group {
            Group::First(cohort) => self.window.first_probe_ended(cohort, answered),
            Group::Repeat => self.window.repeat_ended(answered),
        }
    }
}
