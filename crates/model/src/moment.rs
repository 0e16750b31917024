//! Time as an argument: pure crates receive a [`Moment`] and never ask a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, counted from the start of the run. Resolution: one nanosecond; range: 584
/// years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    nanos: u64,
}

impl Moment {
    /// The start of the run.
    pub const START: Self = Self { nanos: 0 };
    /// Later than every moment of a run.
    pub const NEVER: Self = Self { nanos: u64::MAX };

    /// The moment `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// The moment `elapsed` after the start; times beyond the range become [`Moment::NEVER`].
    pub fn after_start(elapsed: Duration) -> Self {
        Self {
            nanos: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// Time since the start.
    pub const fn elapsed(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Time since `earlier`; zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            nanos: self.nanos.saturating_add(nanos),
        }
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}
