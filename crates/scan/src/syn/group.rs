//! What shares one limit: a host, a network, or a whole path. Each group has a pace of its own,
//! finds out by what is answered, and by when, whether that pace loses anything or makes it wait, and
//! notices when nothing is answered any more.
//!
//! The order of probes is random, so the share of first probes that are answered is the same at any
//! time, unless the pace itself costs answers. Where most ports are silent that share says little:
//! there, and once ports are asked again, ports that are known to answer are checked now and then.

mod life;
mod pace;
mod queue;

use super::cohort::{Cohort, Kind, as_f32};
use super::evidence::Evidence;
use super::ledger::Pair;
use super::trip::RoundTrip;
use crate::usual::{Change, Sample, Usual};
use life::Life;
use pace::{Growth, Pace};
use portolan_model::Moment;
use queue::Queue;
use std::time::Duration;

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) evidence: Evidence,
    pub(crate) trip: RoundTrip,
    pub(crate) life: Life,
    known: Vec<Known>,
    known_max: usize,
    next_known: usize,
    /// The epoch in which the known ports were last replaced all round by others that refuse.
    renewed: u64,
    since_check: u32,
    /// A check takes the next place in the schedule.
    pub(crate) check_is_next: bool,
    /// Spreads the checks: evenly spaced they could fall in step with whatever else is periodic,
    /// and be lost more often than others, or less.
    jitter: u32,
    pace: Pace,
    firsts: Usual,
    checks: Usual,
    open: Cohort,
    /// The one before, while its silence is not believed.
    ending: Option<Cohort>,
    /// Probes of earlier epochs are not judged: they were sent at another pace.
    from_epoch: u64,
    /// Falls of late, less what good cohorts have made up for.
    falls: f32,
    /// How much the answers vary from cohort to cohort beyond chance, whatever the pace: the mean
    /// square of the difference, as a part of what is usual. Zero until falls have shown it.
    spread: f32,
    /// What a mixture answers of what its parts usually do, where slowing down does not help.
    level: f32,
    queue: Queue,
    /// Answers to the last cohorts, as a part of what is usual.
    recent: f32,
    is_one_host: bool,
    /// Whether parts of it are slowed down on their own, which changes the mixture of its probes:
    /// what is expected of each is then what its part usually answers.
    is_mixed: bool,
}

/// What is known of the whole way that a group is a part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// Answers to the last cohorts, as a part of what is usual: 1 where nothing is lost.
    pub(crate) answered: f32,
    /// How much later than usual answers come, in microseconds.
    pub(crate) late_us: f32,
}

impl Around {
    pub(crate) const NOTHING: Self = Self {
        answered: 1.0,
        late_us: 0.0,
    };

    /// The worse of two.
    pub(crate) const fn or_worse(self, other: Self) -> Self {
        Self {
            answered: self.answered.min(other.answered),
            late_us: self.late_us.max(other.late_us),
        }
    }
}

/// A port that answers.
#[derive(Clone, Copy, Debug)]
struct Known {
    pair: Pair,
    is_open: bool,
    /// When it was checked, and in which epoch it was asked last.
    checked: Moment,
    epoch: u64,
}

/// Probes a second to a group that has just answered for the first time.
const RATE_START: f32 = 4_000.0;
/// Fewest probes that are judged together.
const COHORT_MIN: u32 = 64;
/// A cohort covers this part of a second.
const COHORT_S: f32 = 0.05;
/// The same until something was too fast.
const COHORT_DOUBLING_S: f32 = 0.01;
/// No cohort has more probes.
const COHORT_MAX: f32 = 16_384.0;
/// Answers that have to be expected of a cohort before it is judged.
const EXPECTED_MIN: f32 = 8.0;
/// Each cohort without a fall makes up for so much of one.
const FALL_FORGIVEN: f32 = 0.25;
/// How much answers then vary, before more is known of it; how much the newest cohort tells of it;
/// and what counts as nothing.
const SPREAD: f32 = 0.1;
const SPREAD_NEWEST: f32 = 0.1;
const SPREAD_MIN: f32 = 0.001;
/// From fewer first probes their share is not known so well that a sample below it is left out.
const FIRSTS_FEW: f32 = 512.0;
/// Near to what it last stood the group may lose answers for the pace.
const KNEE_NEAR: f32 = 0.85;
/// How much the newest cohort counts among the last.
const RECENT: f32 = 0.4;
/// While more is lost on the whole way, its parts are not given a faster pace.
const RECENT_LOSS: f32 = 0.15;
/// Time between two checks of the same open port: each of them is half a connection.
const CHECK_OPEN_EVERY: Duration = Duration::from_millis(25);
/// The same of the only port that is known to answer, and once checks of it were lost: it may take
/// only so many connections.
const CHECK_LONE_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
const LONE_LOST: u32 = 2;
/// Checks of the answers of a group: one for so many probes, and not more a second.
const CHECK_EVERY: (u32, u32) = (8, 64);
const CHECKS_A_SECOND: f32 = 1_024.0;

/// First probes without any answer, where so many were expected, are silence as well.
const SILENT_EXPECTED: f32 = 24.0;
/// Of checks, before any was made: nearly all are answered.
const CHECKS_ASSUMED: Usual = Usual::assumed(16.0, 0.98);

impl Group {
    /// A group that nothing is known of. It is to remember no more than `known_max` ports that
    /// answer.
    pub(crate) const fn new(known_max: usize, is_one_host: bool) -> Self {
        Self {
            known_max,
            is_one_host,
            is_mixed: false,
            recent: 1.0,
            evidence: Evidence::EMPTY,
            trip: RoundTrip::UNKNOWN,
            life: Life::NEW,
            known: Vec::new(),
            next_known: 0,
            renewed: 0,
            since_check: 0,
            check_is_next: false,
            jitter: 1,
            pace: Pace::UNKNOWN,
            firsts: Usual::UNKNOWN,
            checks: CHECKS_ASSUMED,
            open: Cohort::new(),
            ending: None,
            from_epoch: 0,
            falls: 0.0,
            spread: 0.0,
            level: 1.0,
            queue: Queue::UNKNOWN,
        }
    }

    /// Parts of the group have paces of their own.
    pub(crate) const fn mix(&mut self) {
        self.is_mixed = true;
    }

    /// The share of first probes that is usually answered; `None`: it is not known.
    pub(crate) fn share(&self) -> Option<f32> {
        self.firsts.is_known().then(|| self.firsts.share())
    }

    /// A probe is sent in epoch `epoch`, to a host with this `share` of answers. Answers when a
    /// cohort that it ended is to be judged.
    pub(crate) fn sent(
        &mut self,
        now: Moment,
        epoch: u64,
        kind: Kind,
        share: Option<f32>,
    ) -> Option<Moment> {
        self.since_check = self.since_check.saturating_add(1);
        self.queue.sent();
        let is_silent = self.life.silent_since.is_some();
        if epoch < self.from_epoch || self.pace.rate.is_none() || is_silent {
            return None;
        }
        let closed = self.close_cohort(epoch);
        let usual = self.firsts.share();
        let cohort = &mut self.open;
        if cohort.sent == 0 {
            (cohort.first, cohort.first_epoch) = (now, epoch);
        }
        (cohort.last, cohort.last_epoch) = (now, epoch);
        cohort.sent += 1;
        match kind {
            Kind::First => {
                cohort.firsts += 1;
                cohort.expected += share.unwrap_or(usual);
            }
            Kind::Check => cohort.checks += 1,
            Kind::Repeat => {}
        }
        closed
    }

    /// A probe of epoch `epoch` did not leave this machine.
    pub(crate) fn withdrawn(&mut self, epoch: u64, kind: Kind) {
        if let Some(cohort) = self.cohort_of(epoch) {
            cohort.sent = cohort.sent.saturating_sub(1);
            match kind {
                Kind::First => cohort.excuse(),
                Kind::Check => cohort.checks = cohort.checks.saturating_sub(1),
                Kind::Repeat => {}
            }
        }
    }

    /// Another than the host answered a probe of epoch `epoch`, which was sent all the same.
    pub(crate) fn excused(&mut self, epoch: u64, kind: Kind) {
        if let (Kind::First, Some(cohort)) = (kind, self.cohort_of(epoch)) {
            cohort.excuse();
        }
    }

    /// A probe of epoch `epoch` was answered. Answers whether the cohort it belongs to can be judged
    /// now.
    pub(crate) fn answered(&mut self, epoch: u64, kind: Kind) -> bool {
        let Some(cohort) = self.cohort_of(epoch) else {
            return false;
        };
        match kind {
            Kind::First => cohort.firsts_answered += 1,
            Kind::Check => cohort.checks_answered += 1,
            Kind::Repeat => {}
        }
        self.ending.is_some_and(|it| it.is_answered())
    }

    /// A port of the group is known to answer; it was asked last in epoch `epoch` or before.
    pub(crate) fn know(&mut self, pair: Pair, is_open: bool, epoch: u64) {
        let known = Known {
            pair,
            is_open,
            checked: Moment::START,
            epoch,
        };
        if self.known.len() < self.known_max {
            // Most hosts have one or two: room for more would be most of what they take.
            self.known.reserve_exact(1);
            self.known.push(known);
            return;
        }
        if self.renewed == epoch && !is_open {
            // All that are known refuse as lately.
            return;
        }
        // A closed port costs the host least. One that answered lately is likely to do so again.
        self.next_known = (self.next_known + 1) % self.known.len().max(1);
        let replaced = if is_open {
            self.known.get_mut(self.next_known).filter(|it| it.is_open)
        } else {
            let open = self.known.iter().position(|it| it.is_open);
            let place = self.known.get_mut(open.unwrap_or(self.next_known));
            if open.is_none() && place.as_ref().is_some_and(|it| it.epoch == epoch) {
                self.renewed = epoch;
            }
            place
        };
        if let Some(place) = replaced {
            *place = known;
        }
    }

    /// Whether a port that is known to answer is to be checked now.
    pub(crate) fn wants_check(&self, is_first_pass: bool) -> bool {
        let mostly_answers = self.firsts.is_known() && self.firsts.share() > 0.5;
        let undecided = !self.firsts.is_known() && self.open.sent < 4 * COHORT_MIN;
        if self.known.is_empty() || is_first_pass && (mostly_answers || undecided) {
            return false;
        }
        let (least, most) = CHECK_EVERY;
        let every = (self.cohort_length() / 8).clamp(least, most);
        let rate = self.pace.rate.unwrap_or(RATE_START);
        let every = every.max(whole(rate / CHECKS_A_SECOND));
        self.since_check >= every / 2 + self.jitter % every
    }

    /// `pair` was checked in epoch `epoch`, for this group or for another.
    pub(crate) fn was_checked(&mut self, now: Moment, pair: Pair, epoch: u64) {
        if let Some(known) = self.known.iter_mut().find(|known| known.pair == pair) {
            (known.checked, known.epoch) = (now, epoch);
        }
    }

    /// When the cohort that waits for it is to be judged.
    pub(crate) fn judgement_due(&self) -> Option<Moment> {
        let ending = self.ending?;
        Some(ending.last + self.trip.wait_for_pace())
    }

    /// A port of the group that is known to answer.
    pub(crate) fn first_known(&self) -> Option<Pair> {
        self.known.first().map(|known| known.pair)
    }

    /// Whether the group has a port to check.
    pub(crate) fn has_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// The port to check next in epoch `epoch` (counted on, where that is to begin), among those
    /// that `may` be.
    pub(crate) fn next_check(
        &mut self,
        now: Moment,
        epoch: u64,
        may: impl Fn(Pair) -> bool,
    ) -> Option<Pair> {
        let every = match (self.has_lone_port(), CHECK_LONE_EVERY) {
            (false, _) => CHECK_OPEN_EVERY,
            (true, (_, often_lost)) if self.life.lost >= LONE_LOST => often_lost,
            (true, (every, _)) => every,
        };
        for _ in 0..self.known.len() {
            self.next_known = (self.next_known + 1) % self.known.len();
            let known = self.known.get_mut(self.next_known)?;
            let is_early =
                known.is_open && known.checked > Moment::START && now.since(known.checked) < every;
            // From the same source port it would be no further question.
            if !is_early && known.epoch != epoch && may(known.pair) {
                (known.checked, known.epoch) = (now, epoch);
                return Some(known.pair);
            }
        }
        None
    }

    /// Judges the cohort before the one under way, if it is time. What `around` it is lost or late
    /// on the whole way is not the group's own.
    /// Answers whether the group has become silent.
    pub(crate) fn judge(&mut self, now: Moment, newest_epoch: u64, around: Around) -> bool {
        let wait = self.trip.wait_for_pace();
        let is_due = |it: &mut Cohort| it.is_answered() || it.last + wait <= now;
        let Some(cohort) = self.ending.take_if(is_due) else {
            return false;
        };
        let (expected, chance) = self.expected(&cohort);
        let answered = as_f32(cohort.checks_answered)
            + self.share().map_or(0.0, |_| as_f32(cohort.firsts_answered));
        if answered < 1.0
            && expected >= SILENT_EXPECTED
            && self.life.heard < cohort.first
            && !self.life.is_gone
            && (self.is_one_host || self.knows_several_hosts())
            && !self.has_lone_port()
        {
            self.fall_silent(now);
            return true;
        }
        if expected >= EXPECTED_MIN {
            let part = (answered / expected).min(1.0);
            self.recent += (part - self.recent) * RECENT;
        }
        let expected = expected * around.answered;
        let chance = (chance.powi(2) + 4.0 * self.spread * expected.powi(2)).sqrt();
        if self.spread > 0.0 && expected >= EXPECTED_MIN {
            let difference = answered / expected - 1.0;
            self.spread += (difference.powi(2) - self.spread) * SPREAD_NEWEST;
            if self.spread < SPREAD_MIN {
                self.spread = 0.0;
            }
        }
        if answered < expected - chance && answered < 0.9 * expected {
            // The fewer answers were expected, the less is known of how much is too fast.
            let part = (answered + chance / 4.0) / expected.max(1.0);
            self.fall(&cohort, part.min(1.0), newest_epoch);
            return false;
        }
        self.falls = (self.falls - FALL_FORGIVEN).max(0.0);
        if answered > expected + chance {
            self.level = 1.0;
        }
        // What is lost near the limit of the pace is no part of what is usual.
        let is_near = self.pace.knee > 0.0 && cohort.rate() > KNEE_NEAR * self.pace.knee;
        if !is_near || answered >= expected {
            self.learn(&cohort, around.answered);
        }
        if answered >= expected - chance / 3.0 {
            self.pace.good = self.pace.good.max(cohort.rate());
        }
        let is_early = self.attend(now, newest_epoch, around);
        if is_early && around.answered > 1.0 - RECENT_LOSS && answered >= expected - chance / 3.0 {
            self.grow(&cohort);
        }
        false
    }

    /// What its parts share of it.
    pub(crate) fn around(&self) -> Around {
        Around {
            answered: self.recent,
            late_us: self.queue.late_us(),
        }
    }

    /// A probe was answered after `trip`, by a host whose fastest answer took `shortest_us`. Answers
    /// whether something fills: then [`Group::attend`] is to be called at once.
    pub(crate) fn timed(&mut self, trip: Duration, shortest_us: f32) -> bool {
        self.queue.timed(trip.as_secs_f32() * 1e6, shortest_us)
    }

    /// What is sent next has nothing to do with what was sent before.
    pub(crate) fn begin(&mut self, newest_epoch: u64) {
        self.ending = None;
        self.open = Cohort::new();
        self.from_epoch = newest_epoch.saturating_add(1);
    }

    /// A check of the group is under way or soon will be.
    pub(crate) const fn check_asked(&mut self) {
        self.since_check = 0;
        self.stir();
    }

    const fn stir(&mut self) {
        // Xorshift: never zero, and no two in a row alike.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 17;
        self.jitter ^= self.jitter << 5;
    }

    /// Ends the cohort under way before a probe of epoch `epoch`, if it is long enough.
    fn close_cohort(&mut self, epoch: u64) -> Option<Moment> {
        let cohort = &self.open;
        if self.ending.is_some() || epoch == cohort.last_epoch || cohort.sent < self.cohort_length()
        {
            return None;
        }
        let (expected, _) = self.expected(cohort);
        let learns = !self.firsts.is_known() && cohort.firsts > 0;
        // Where too few answers are to be expected it goes on, until there are checks enough.
        if expected < EXPECTED_MIN && !learns {
            return None;
        }
        let closed = std::mem::replace(&mut self.open, Cohort::new());
        self.ending = Some(closed);
        Some(closed.last + self.trip.wait_for_pace())
    }

    /// Answers that a cohort usually has, and how many fewer may be chance.
    fn expected(&self, cohort: &Cohort) -> (f32, f32) {
        let (firsts, checks) = (cohort.firsts(), cohort.checks());
        let of_firsts = if firsts < 1.0 || !self.firsts.is_known() {
            (0.0, 0.0)
        } else if self.is_mixed {
            let expected = cohort.expected * self.level;
            let own = expected * (1.0 - expected / firsts).max(0.0) + 1.0;
            (expected, 2.0 * own)
        } else {
            (self.firsts.expected(firsts), self.firsts.variance(firsts))
        };
        let of_checks = if checks < 1.0 {
            (0.0, 0.0)
        } else {
            let expected = self.checks.expected(checks);
            let own = expected * (1.0 - self.checks.share()).max(0.01) + 0.3;
            (
                expected,
                own * (1.0 + checks / self.checks.asked().max(1.0)),
            )
        };
        // Four standard deviations of the first probes, of which there are many, and three of the
        // checks, which are few.
        let chance = (16.0 * of_firsts.1 + 9.0 * of_checks.1).sqrt();
        (of_firsts.0 + of_checks.0, chance)
    }

    /// Probes that are judged together.
    fn cohort_length(&self) -> u32 {
        let seconds = match self.pace.growth {
            Growth::Doubling => COHORT_DOUBLING_S,
            Growth::Small => COHORT_S,
        };
        let rate = self.pace.rate.unwrap_or(RATE_START);
        whole((rate * seconds).min(COHORT_MAX)).max(COHORT_MIN)
    }

    fn cohort_of(&mut self, epoch: u64) -> Option<&mut Cohort> {
        if let Some(ending) = &mut self.ending
            && ending.covers(epoch)
        {
            return Some(ending);
        }
        Some(&mut self.open).filter(|it| it.covers(epoch))
    }

    /// What is lost on the whole way is no part of what the group usually answers.
    fn learn(&mut self, cohort: &Cohort, around: f32) {
        let restored = |answered: u32, asked: f32| (as_f32(answered) / around.max(0.1)).min(asked);
        let firsts = Sample {
            asked: cohort.firsts(),
            answered: restored(cohort.firsts_answered, cohort.firsts()),
        };
        if self.firsts.compare(firsts) == Change::Rise {
            self.firsts = Usual::UNKNOWN;
        }
        if self.firsts.asked() < FIRSTS_FEW {
            self.firsts.take(firsts);
        } else {
            self.firsts.add(firsts);
        }
        self.checks.add(Sample {
            asked: cohort.checks(),
            answered: restored(cohort.checks_answered, cohort.checks()),
        });
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and lengths are positive and far below 2^32"
)]
const fn whole(value: f32) -> u32 {
    value as u32
}
