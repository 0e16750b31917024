//! What silence is worth: how likely it is that a port that answers stayed silent in every pass.
//!
//! Two things show what a pass lost. Ports that answered in a later pass were lost in it. And ports
//! that are known to answer are asked again now and then; what these checks lose, others lose too.

/// Counts of one bottleneck, pass by pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    passes: Vec<PassCount>,
    /// Ports found open.
    pub(crate) open: u32,
    /// Ports that answered for themselves, open or closed.
    pub(crate) answered: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct PassCount {
    /// Ports that answered in it for the first time.
    answered: u32,
    checks: u32,
    checks_lost: u32,
}

/// Losses and round trips of a pass.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    lost: f64,
    of: f64,
}

/// Round trips that the loss elsewhere counts for.
const PRIOR: f64 = 4.0;
/// Checks without which the silence of a pass shows nothing.
pub(crate) const CHECKS_MIN: u32 = 8;
/// Passes that are counted one by one.
const PASSES_MAX: usize = 32;

impl Evidence {
    pub(crate) const EMPTY: Self = Self {
        passes: Vec::new(),
        open: 0,
        answered: 0,
    };

    /// A port answered, to a probe of pass `pass`.
    pub(crate) fn answer(&mut self, pass: u8, is_open: bool) {
        if let Some(count) = self.pass_mut(pass) {
            count.answered = count.answered.saturating_add(1);
        }
        self.answered = self.answered.saturating_add(1);
        self.open = self.open.saturating_add(u32::from(is_open));
    }

    /// A port that is known to answer was asked again in pass `pass`.
    pub(crate) fn check(&mut self, pass: u8, is_lost: bool) {
        if let Some(count) = self.pass_mut(pass) {
            count.checks = count.checks.saturating_add(1);
            count.checks_lost = count.checks_lost.saturating_add(u32::from(is_lost));
        }
    }

    /// Checks of pass `pass` so far.
    pub(crate) fn checks(&self, pass: u8) -> u32 {
        let count = self.passes.get(usize::from(pass));
        count.map_or(0, |count| count.checks)
    }

    /// Whether pass `pass` showed anything at all.
    pub(crate) fn shows(&self, pass: u8) -> bool {
        self.lost_in(pass).of > 0.0
    }

    /// How likely it is that a port that answers was silent in each of the first `passes` passes.
    /// `around` is what the passes lost on the whole way, of which this is a part or all. A pass
    /// that shows nothing proves nothing, nor does one whose answers got lost on this machine
    /// (`disturbed`, a bit for each pass).
    pub(crate) fn silence(&self, passes: u8, around: &Self, disturbed: u32) -> f64 {
        (0..passes)
            .map(|pass| {
                let lost = self.lost_in(pass);
                let is_disturbed = disturbed.checked_shr(u32::from(pass)).unwrap_or(0) & 1 == 1;
                if is_disturbed || lost.of < 1.0 {
                    return 1.0;
                }
                let around = around.lost_in(pass).share();
                let own = (lost.lost + PRIOR * around) / (lost.of + PRIOR);
                own.max(around).min(1.0)
            })
            .product()
    }

    /// The same of a part that nothing else is known of in passes that showed nothing of it.
    pub(crate) fn silence_within(&self, passes: u8, around: &Self, disturbed: u32) -> f64 {
        let whole = around.silence(passes, around, disturbed);
        let part: f64 = (0..passes)
            .map(|pass| {
                let lost = self.lost_in(pass);
                let around = around.lost_in(pass).share();
                (lost.lost + PRIOR * around) / (lost.of + PRIOR)
            })
            .product();
        whole.max(part)
    }

    fn lost_in(&self, pass: u8) -> Lost {
        let pass = usize::from(pass);
        let Some(count) = self.passes.get(pass) else {
            return Lost::default();
        };
        let later = self.passes.iter().skip(pass + 1);
        let later: f64 = later.map(|it| f64::from(it.answered)).sum();
        Lost {
            lost: later + f64::from(count.checks_lost),
            of: later + f64::from(count.answered) + f64::from(count.checks),
        }
    }

    fn pass_mut(&mut self, pass: u8) -> Option<&mut PassCount> {
        let pass = usize::from(pass);
        if pass >= PASSES_MAX {
            return None;
        }
        if self.passes.len() <= pass {
            self.passes.resize(pass + 1, PassCount::default());
        }
        self.passes.get_mut(pass)
    }
}

impl Lost {
    /// One loss and one answer worse than it was seen (rule of succession): a handful of answers
    /// without a loss does not show that nothing gets lost.
    fn share(self) -> f64 {
        (self.lost + 1.0) / (self.of + 2.0)
    }
}

/// Ports that are expected to be missing beside `found` ones, when one that answers stays silent
/// with this chance.
pub(crate) fn missing(found: u32, silence: f64) -> f64 {
    f64::from(found) * silence / (1.0 - silence).max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(passes: &[(u32, u32, u32)]) -> Evidence {
        let mut evidence = Evidence::default();
        for (pass, (answers, checks, lost)) in (0_u8..).zip(passes) {
            (0..*answers).for_each(|_| evidence.answer(pass, true));
            (0..*checks).for_each(|at| evidence.check(pass, at < *lost));
        }
        evidence
    }

    fn check(passes: &[(u32, u32, u32)], expected: f64) {
        let evidence = of(passes);
        let passes = u8::try_from(passes.len()).unwrap();
        let silence = evidence.silence(passes, &evidence, 0);
        assert!(
            (silence / expected).log2().abs() < 1.0,
            "{silence} is not about {expected}"
        );
    }

    #[test]
    fn a_pass_without_a_loss_leaves_little_doubt() {
        check(&[(1_000, 0, 0)], 1e-3);
        check(&[(1_000, 0, 0), (0, 1_000, 0)], 1e-6);
    }

    #[test]
    fn what_answers_later_was_lost_before() {
        check(&[(900, 0, 0), (90, 0, 0), (10, 100, 10)], 0.1 * 0.1 * 0.1);
    }

    #[test]
    fn one_bad_pass_does_not_spoil_the_others() {
        check(
            &[(10, 0, 0), (990, 500, 0), (0, 500, 0)],
            0.99 * 1e-3 * 1e-3,
        );
    }

    #[test]
    fn a_pass_that_shows_nothing_proves_nothing() {
        let evidence = of(&[(100, 0, 0)]);
        let once = evidence.silence(1, &evidence, 0);
        assert!(evidence.silence(5, &evidence, 0) >= once);
        assert!(!evidence.shows(1));
        let disturbed = of(&[(100, 0, 0), (0, 100, 0)]);
        let silence = |bits| disturbed.silence(2, &disturbed, bits);
        assert!(silence(0b10) > 50.0 * silence(0));
    }

    #[test]
    fn a_part_loses_no_less_than_the_whole() {
        let whole = of(&[(10_000, 1_000, 100), (100, 1_000, 100)]);
        let part = of(&[(10, 0, 0), (0, 8, 0)]);
        let silence = part.silence(2, &whole, 0);
        assert!(silence > 0.015 * 0.08, "{silence}");
        let worse = of(&[(10, 0, 0), (90, 8, 4)]);
        assert!(worse.silence(2, &whole, 0) > 0.8 * 0.09);
    }

    #[test]
    fn nothing_found_means_nothing_expected_to_be_missing() {
        assert!(missing(0, 0.5) < 1e-9);
        assert!((missing(100, 0.1) - 100.0 / 9.0).abs() < 0.1);
    }
}
