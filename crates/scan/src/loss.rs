//! How much gets lost, how often to repeat because of it, and what may have been missed.

use portolan_model::Estimate;

/// Counts of answers and of probes that went without one although the port answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Ports that answered, by reset, handshake or ICMP error.
    pub answered: u64,
    /// Probes to those ports that had no answer before the one that did.
    pub lost: u64,
    /// Ports found open.
    pub open: u64,
    /// Ports given up as silent.
    pub silent: u64,
    /// Fewest probes that a silent port got, over all silent ports; 0 while there are none.
    pub silent_probes_min: u8,
    /// Open ports that are expected to be missed, in millionths, where the engine has worked it
    /// out by hosts and passes; [`Loss::estimate`] takes it in place of its own.
    pub missed_millionths: Option<u64>,
}

/// What a host is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    MostlyAnswers,
    MostlySilent,
    NeverAnswered,
}

/// A port is given up when the chance that every one of its probes got lost is below this.
const MISS_MAX: f64 = 1e-6;
/// The same at a host that answers for most of its ports: silence there is rare and probably
/// loss, so a few more probes cost nothing and keep a closed port from being called filtered.
const MISS_MAX_AMONG_ANSWERS: f64 = 1e-8;
/// What is assumed before anything was measured: as many answers without a loss …
const PRIOR_ANSWERED: f64 = 50.0;
/// … and as many losses.
const PRIOR_LOST: f64 = 0.45;
/// Probes to a silent port of a host that answers elsewhere.
const PROBES_MIN: u8 = 3;
/// Probes to a port of a host that never answered; the kernel repeats each of them once.
const PROBES_MIN_UNSEEN: u8 = 2;
/// No port gets more.
const PROBES_MAX: u8 = 10;

impl Loss {
    /// Adds the counts of another engine.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered.saturating_add(other.answered),
            lost: self.lost.saturating_add(other.lost),
            open: self.open.saturating_add(other.open),
            silent: self.silent.saturating_add(other.silent),
            silent_probes_min: match (self.silent_probes_min, other.silent_probes_min) {
                (0, probes) | (probes, 0) => probes,
                (a, b) => a.min(b),
            },
            missed_millionths: match (self.missed_millionths, other.missed_millionths) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (known, None) | (None, known) => known,
            },
        }
    }

    /// Share of round trips that got lost; `None` until something answered.
    pub fn share(&self) -> Option<f64> {
        let answered = as_f64(self.answered);
        (self.answered > 0).then(|| as_f64(self.lost) / (answered + as_f64(self.lost)))
    }

    /// What the counts say about completeness. Of `n` open ports a share `loss^probes` is missed
    /// when each gets `probes` probes; the number found stands for `n`. The loss is taken one
    /// loss and one answer worse than it was seen (rule of succession): a handful of answers
    /// without a loss does not show that nothing gets lost.
    pub fn estimate(&self) -> Estimate {
        let Some(loss) = self.share() else {
            return Estimate::default();
        };
        let missed = if self.silent == 0 {
            0.0
        } else if let Some(millionths) = self.missed_millionths {
            (as_f64(millionths) / 1e6).min(as_f64(self.silent))
        } else {
            let (lost, answered) = (as_f64(self.lost) + 1.0, as_f64(self.answered) + 1.0);
            let all_lost = (lost / (lost + answered)).powi(i32::from(self.silent_probes_min));
            (as_f64(self.open) * all_lost / (1.0 - all_lost).max(f64::EPSILON))
                .min(as_f64(self.silent))
        };
        Estimate {
            loss: Some(loss),
            missed: Some(missed),
        }
    }

    /// How many probes a silent port gets.
    pub(crate) fn probes_wanted(&self, habit: Habit) -> u8 {
        let miss_max = match habit {
            Habit::NeverAnswered => return PROBES_MIN_UNSEEN,
            Habit::MostlySilent => MISS_MAX,
            Habit::MostlyAnswers => MISS_MAX_AMONG_ANSWERS,
        };
        let lost = as_f64(self.lost) + PRIOR_LOST;
        let share = lost / (as_f64(self.answered) + as_f64(self.lost) + PRIOR_ANSWERED);
        let mut probes = 1;
        let mut all_lost = share;
        while all_lost > miss_max && probes < PROBES_MAX {
            all_lost *= share;
            probes += 1;
        }
        probes.max(PROBES_MIN)
    }

    pub(crate) fn answer(&mut self, probes_before: u8) {
        self.answered = self.answered.saturating_add(1);
        self.lost = self.lost.saturating_add(u64::from(probes_before));
    }

    pub(crate) fn silence(&mut self, probes: u8) {
        self.silent = self.silent.saturating_add(1);
        if self.silent_probes_min == 0 || probes < self.silent_probes_min {
            self.silent_probes_min = probes;
        }
    }
}

/// Counts stay far below 2^52, where every integer has its own `f64`.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of probes stay below 2^52"
)]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answered: u64, lost: u64, habit: Habit, expected_probes: u8) {
        let loss = Loss {
            answered,
            lost,
            ..Loss::default()
        };
        assert_eq!(loss.probes_wanted(habit), expected_probes, "{loss:?}");
    }

    #[test]
    fn more_loss_asks_for_more_probes() {
        check(0, 0, Habit::MostlySilent, 3);
        check(5, 0, Habit::MostlySilent, 3);
        check(60_000, 0, Habit::MostlySilent, 3);
        check(60_000, 1_200, Habit::MostlySilent, 4);
        check(60_000, 6_480, Habit::MostlySilent, 6);
        check(60_000, 20_000, Habit::MostlySilent, 10);
    }

    #[test]
    fn silence_among_answers_is_doubted_longer() {
        check(60_000, 0, Habit::MostlyAnswers, 3);
        check(60_000, 1_200, Habit::MostlyAnswers, 5);
        check(60_000, 6_480, Habit::MostlyAnswers, 8);
    }

    #[test]
    fn a_host_that_never_answered_gets_the_fewest() {
        check(60_000, 6_480, Habit::NeverAnswered, PROBES_MIN_UNSEEN);
    }

    #[test]
    fn nothing_measured_means_nothing_claimed() {
        assert_eq!(Loss::default().estimate(), Estimate::default());
        let all_answered = Loss {
            answered: 100,
            open: 4,
            ..Loss::default()
        };
        assert_eq!(all_answered.estimate().missed, Some(0.0));
    }

    #[test]
    fn expected_misses_fall_with_every_probe() {
        let at = |probes| {
            let loss = Loss {
                answered: 900,
                lost: 100,
                open: 200,
                silent: 50,
                silent_probes_min: probes,
                missed_millionths: None,
            };
            loss.estimate().missed.unwrap()
        };
        assert!((at(1) - 200.0 / 9.0).abs() < 0.5);
        assert!(at(2) < at(1) / 8.0);
        assert!(at(6) < 0.001);
    }
}
