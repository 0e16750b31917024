//! Whether a group still answers, and when nothing more is to be learnt of it.
//! What is not here: its pace, and the ports that are checked for it.

use super::super::cohort::Cohort;
use super::{Group, LONE_LOST, RATE_START};
use portolan_model::Moment;
use std::time::Duration;

/// Whether the group still answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    /// The last answer.
    pub(crate) heard: Moment,
    /// Checks lost since, the host of the first of them, and whether others lost some as well.
    pub(crate) lost: u32,
    lost_of: Option<u32>,
    lost_by_several: bool,
    /// Since when nothing but checks is sent.
    pub(crate) silent_since: Option<Moment>,
    /// How long it was silent before that, in total.
    silent_before: Duration,
    /// The next check while it is silent.
    pub(crate) next_check: Moment,
    /// When the way to it was asked for.
    way_asked: Moment,
    /// It was silent for so long that nothing more is asked.
    pub(crate) is_gone: bool,
}

/// How long a group that answered may be silent before it is given up, at once, and in total where
/// that is half of all the time.
const SILENT_FOR: Duration = Duration::from_secs(10);
const SILENT_IN_TOTAL: Duration = Duration::from_secs(30);
/// Time between two checks of a group that is silent: from this on, and less than so much more, so
/// that they keep step with nothing.
const CHECK_SILENT_EVERY: Duration = Duration::from_millis(30);
const CHECK_SILENT_SPREAD_US: u32 = 40_000;
/// Lost checks in a row after which a group counts as silent, in no less than this time.
const SILENT_CHECKS: u32 = 8;
/// No more lost checks leave a doubt.
const DOUBTFUL_MAX: u32 = 32;
const SILENT_AFTER: Duration = Duration::from_millis(300);

impl Group {
    /// Something of the group answered, whatever it was. Answers whether it was silent until now.
    pub(crate) fn heard(&mut self, now: Moment, newest_epoch: u64) -> bool {
        self.life.heard = now;
        self.life.lost = 0;
        self.life.lost_of = None;
        self.life.lost_by_several = false;
        if self.pace.rate.is_none() {
            self.pace.rate = Some(RATE_START);
            self.from_epoch = newest_epoch.saturating_add(1);
        }
        let Some(since) = self.life.silent_since.take() else {
            return false;
        };
        self.life.silent_before += now.since(since);
        // Whatever made it silent may have been the pace; more likely it was something else.
        let (rate, growth) = if self.falls > 0.0 {
            self.pace.before
        } else {
            (self.pace.rate.unwrap_or(RATE_START), self.pace.growth)
        };
        self.falls = 0.0;
        self.slow_to(rate / 2.0, newest_epoch);
        self.pace.growth = growth;
        self.pace.next = now;
        true
    }

    /// A check of `host` was lost. Answers whether the group has become silent by it.
    pub(crate) fn check_lost(&mut self, now: Moment, sent: Moment, host: u32) -> bool {
        if self.life.heard > sent || self.life.is_gone {
            return false;
        }
        self.life.lost = self.life.lost.saturating_add(1);
        let first = *self.life.lost_of.get_or_insert(host);
        self.life.lost_by_several |= first != host;
        let long = SILENT_AFTER + self.trip.wait_for_pace();
        let is_silent = self.life.silent_since.is_none()
            && self.life.lost >= SILENT_CHECKS
            && (self.is_one_host || self.life.lost_by_several)
            && !self.has_lone_port()
            && now.since(self.life.heard) >= long;
        if is_silent {
            self.fall_silent(now);
        }
        is_silent
    }

    /// Whether a single open port is all that is known to answer. It may be the port that takes no
    /// more connections: its silence says nothing of the others.
    pub(crate) fn has_lone_port(&self) -> bool {
        matches!(self.known.as_slice(), [known] if known.is_open)
    }

    /// Whether it is still open if the group has become silent: its last checks were lost, and not
    /// enough of them.
    pub(crate) fn is_doubtful(&self) -> bool {
        let can_tell = self.is_one_host || self.knows_several_hosts();
        (1..DOUBTFUL_MAX).contains(&self.life.lost)
            && self.life.silent_since.is_none()
            && !self.life.is_gone
            && !self.has_lone_port()
            && can_tell
    }

    /// Whether nothing that answers is left to show what gets lost.
    pub(crate) fn is_unproven(&self) -> bool {
        self.has_lone_port() && self.life.lost >= LONE_LOST
    }

    /// One host that answers no more says nothing of its neighbours.
    pub(super) fn knows_several_hosts(&self) -> bool {
        let mut hosts = self.known.iter().map(|known| known.pair.host);
        let first = hosts.next();
        hosts.any(|host| Some(host) != first)
    }

    /// The next check of a silent group is due at [`Life::next_check`]; puts it off by one.
    pub(crate) fn put_off_check(&mut self, now: Moment) {
        self.stir();
        let spread = Duration::from_micros((self.jitter % CHECK_SILENT_SPREAD_US).into());
        self.life.next_check = now + CHECK_SILENT_EVERY + spread;
    }

    pub(super) fn fall_silent(&mut self, now: Moment) {
        self.life.silent_since = Some(now);
        self.life.next_check = now;
        self.ending = None;
        self.open = Cohort::new();
    }
}

impl Life {
    pub(super) const NEW: Self = Self {
        heard: Moment::START,
        lost: 0,
        lost_of: None,
        lost_by_several: false,
        silent_since: None,
        silent_before: Duration::ZERO,
        next_check: Moment::START,
        way_asked: Moment::START,
        is_gone: false,
    };

    /// Whether it was silent for too long, at once or most of the time.
    pub(crate) fn is_over(&self, now: Moment, since: Moment) -> bool {
        let silent = now.since(since);
        let total = self.silent_before + silent;
        silent >= SILENT_FOR || total >= SILENT_IN_TOTAL && total * 2 >= now.elapsed()
    }

    /// Whether it is time to ask for the way to the group, which is once in `every`.
    pub(crate) fn asks_way(&mut self, now: Moment, every: Duration) -> bool {
        let asks = self.way_asked == Moment::START || now.since(self.way_asked) >= every;
        if asks {
            self.way_asked = now;
        }
        asks
    }
}
