//! What the engine knows of one host.

use crate::doubt::Doubt;
use crate::everything::Said;
use crate::loss::Habit;
use crate::pace::{CohortId, Window};
use crate::rtt::{Position, Rtt};
use portolan_model::{Moment, PortSet, Reason};
use std::collections::VecDeque;
use std::time::Duration;

/// Attempts that a host which never answered gets in one [`UNSEEN_STEP_TIME`].
const UNSEEN_STEP: u32 = 128;
/// See [`UNSEEN_STEP`]: 128 attempts in 50 ms are 2,560 a second.
const UNSEEN_STEP_TIME: Duration = Duration::from_millis(50);
/// A host that never answered gets no more than this at once.
const UNSEEN_MAX: u32 = 4_096;

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) rtt: Rtt,
    pub(crate) window: Window,
    /// Attempts under way.
    pub(crate) flying: u32,
    /// The first attempt of all.
    pub(crate) begun: Option<Moment>,
    /// Whether anything came back from it or for it.
    pub(crate) answered: bool,
    /// Set when no packet can reach it: the reason of all its further ports.
    pub(crate) down: Option<Reason>,
    pub(crate) said: Said,
    /// Earliest moment of its next attempt, when attempts to a host are spaced.
    pub(crate) next: Moment,
    /// Waits in the engine's list of hosts that may be served.
    pub(crate) listed: bool,
    /// Waits in the engine's list of hosts that must not be served before [`Host::next`].
    pub(crate) spaced: bool,
    /// What is to be asked of it later: first probes that found it busy, and repeats.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Doubt about its silence.
    pub(crate) doubt: Doubt,
    unseen: UnseenPace,
}

/// How many attempts a host that never answered gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnseenPace {
    /// In each [`UNSEEN_STEP_TIME`].
    step: u32,
    /// At once.
    max: u32,
}

impl UnseenPace {
    /// The pace for one of `hosts` hosts. Among many, most may be absent: the kernel keeps about
    /// a hundred packets for a neighbour that it looks for, and tells of its absence only those
    /// attempts whose packets it kept (arp(7), `unres_qlen`).
    pub(crate) fn among(hosts: u32) -> Self {
        let share = |whole: u32, least: u32, most: u32| (whole / hosts.max(1)).clamp(least, most);
        Self {
            step: share(4_096, 8, UNSEEN_STEP),
            max: share(16_384, 64, UNSEEN_MAX),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Position in the probe order.
    pub(crate) position: u32,
    /// Probes that left for it already.
    pub(crate) pass: u8,
    /// Attempts that this machine had no room for.
    pub(crate) refusals: u8,
}

impl Host {
    pub(crate) fn new(unseen: UnseenPace) -> Self {
        Self {
            rtt: Rtt::new(),
            window: Window::new(),
            flying: 0,
            begun: None,
            answered: false,
            down: None,
            said: Said::default(),
            next: Moment::START,
            listed: false,
            spaced: false,
            waiting: VecDeque::new(),
            doubt: Doubt::default(),
            unseen,
        }
    }

    /// Why asking `port` would tell nothing, if it would not. `telling` ports are asked even of hosts
    /// that answer everything.
    pub(crate) fn tells_nothing(&self, port: u16, telling: &PortSet) -> Option<Reason> {
        let is_alike = || self.said.is_alike() && !telling.contains(port);
        self.down
            .or_else(|| is_alike().then_some(Reason::AnswersEverything))
    }

    /// Whether another attempt may begin now, as far as this host goes.
    pub(crate) fn has_room(&self, now: Moment) -> bool {
        self.flying < self.limit(now)
    }

    /// When a host that has no room gets more of it although nothing comes back.
    pub(crate) fn grows_at(&self) -> Option<Moment> {
        let growing = !self.answered && self.down.is_none() && self.flying < self.unseen.max;
        let begun = self.begun?;
        let steps = self.flying / self.unseen.step;
        growing.then(|| begun + UNSEEN_STEP_TIME.saturating_mul(steps))
    }

    /// Whether the probe after `pass` others to a port may become a watch: the last one always, so
    /// that silence is not believed too soon, and a first one once answers have become fewer,
    /// since they may have become slower instead.
    pub(crate) fn is_doubted(&self, pass: u8, position: Position) -> bool {
        let fewer = pass == 0 && self.window.has_fallen();
        self.answered && (position == Position::Last || fewer)
    }

    /// An attempt begins, the one after `pass` others to the same port. Returns the cohort that a
    /// first probe belongs to; a watch says nothing of the pace and belongs to none.
    pub(crate) fn begin(
        &mut self,
        now: Moment,
        pass: u8,
        watch: Option<Duration>,
    ) -> Option<CohortId> {
        self.flying += 1;
        self.begun.get_or_insert(now);
        if pass == 0 {
            self.said.asked();
        }
        (pass == 0 && watch.is_none()).then(|| self.window.first_probe_began(now))
    }

    /// A probe ended; `cohort` as [`Host::begin`] gave it.
    pub(crate) fn probe_ended(&mut self, cohort: Option<CohortId>, answered: bool) {
        match cohort {
            Some(cohort) => self.window.first_probe_ended(cohort, answered),
            None => self.window.repeat_ended(answered),
        }
    }

    /// Whether nothing is under way to it and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.flying == 0 && self.waiting.is_empty()
    }

    /// A probe did not leave this machine.
    pub(crate) fn probe_withdrawn(&mut self, cohort: Option<CohortId>, watch: Option<Duration>) {
        if watch.is_some() {
            self.doubt.watch_was_withdrawn();
        }
        if let Some(cohort) = cohort {
            self.window.first_probe_withdrawn(cohort);
        }
    }

    /// What the host is known for.
    pub(crate) fn habit(&self) -> Habit {
        if !self.answered {
            Habit::NeverAnswered
        } else if self.window.mostly_answers() {
            Habit::MostlyAnswers
        } else {
            Habit::MostlySilent
        }
    }

    fn limit(&self, now: Moment) -> u32 {
        if self.answered {
            return self.window.limit();
        }
        // Before the first answer nothing but time tells whether more may be asked: so many
        // attempts at once, and as many again with each step of time.
        let steps = self.begun.map_or(0, |begun| {
            now.since(begun).as_millis() / UNSEEN_STEP_TIME.as_millis()
        });
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).saturating_add(1);
        self.unseen.step.saturating_mul(steps).min(self.unseen.max)
    }
}
