//! The share of probes that is usually answered, and whether a sample of them differs from it by
//! more than chance explains. What follows from a difference is not here.

/// Answers and probes of past samples, older ones counting less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usual {
    answered: f32,
    asked: f32,
}

/// Probes that are judged together, and how many of them were answered. Counts stay below 2^24,
/// where every integer has its own `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) asked: f32,
    pub(crate) answered: f32,
}

/// How a sample compares with what is usual, beyond what chance explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Fall,
    None,
    Rise,
}

/// Probes after which past samples count half.
const USUAL_MAX: f32 = 4_096.0;

impl Usual {
    pub(crate) const UNKNOWN: Self = Self {
        answered: 0.0,
        asked: 0.0,
    };

    /// What counts as usual before anything was seen: so many probes, all but a few answered.
    pub(crate) const fn assumed(asked: f32, share: f32) -> Self {
        Self {
            answered: asked * share,
            asked,
        }
    }

    pub(crate) fn is_known(self) -> bool {
        self.asked >= 1.0
    }

    /// Probes that it is known from.
    pub(crate) fn asked(self) -> f32 {
        self.asked
    }

    pub(crate) fn share(self) -> f32 {
        self.answered / self.asked.max(1.0)
    }

    /// Answers that `asked` probes usually have.
    pub(crate) fn expected(self, asked: f32) -> f32 {
        self.share() * asked
    }

    /// Variance of the answers to `asked` probes: that of a binomial count, and that of the share
    /// it is compared with.
    pub(crate) fn variance(self, asked: f32) -> f32 {
        // From few probes a share of all or none is no certainty (Agresti and Coull, 1998).
        let share = (self.answered + 2.0) / (self.asked + 4.0);
        let own = asked * share * (1.0 - share) + 1.0;
        own * (1.0 + asked / self.asked.max(1.0))
    }

    pub(crate) fn compare(self, sample: Sample) -> Change {
        if !self.is_known() {
            return Change::None;
        }
        let (answered, expected) = (sample.answered, self.expected(sample.asked));
        let chance = self.chance(sample.asked);
        if answered < expected - chance && answered < 0.9 * expected {
            Change::Fall
        } else if answered > expected + chance && answered > 1.1 * expected {
            Change::Rise
        } else {
            Change::None
        }
    }

    /// Four standard deviations of what chance makes of the answers to `asked` probes.
    fn chance(self, asked: f32) -> f32 {
        4.0 * self.variance(asked).sqrt()
    }

    /// Takes a sample in, unless it is so far below that the pace may be the cause: small losses
    /// that come with each step up would add up to a large one that counts as usual.
    pub(crate) fn add(&mut self, sample: Sample) {
        let (answered, expected) = (sample.answered, self.expected(sample.asked));
        if answered < 0.95 * expected && answered < expected - self.chance(sample.asked) / 2.0 {
            return;
        }
        self.take(sample);
    }

    /// Takes a sample in, whatever it shows.
    pub(crate) fn take(&mut self, sample: Sample) {
        self.answered += sample.answered;
        self.asked += sample.asked;
        if self.asked > USUAL_MAX {
            self.answered /= 2.0;
            self.asked /= 2.0;
        }
    }
}
