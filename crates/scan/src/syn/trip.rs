//! Round trips, and how long silence is doubted because of them.

use std::time::Duration;

/// Round trips: smoothed, and their variation (RFC 6298 §2), in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    smoothed_us: u32,
    variation_us: u32,
    shortest: u32,
}

/// Silence is believed after this, two round trips and four variations.
const WAIT: Duration = Duration::from_millis(10);
/// For the pace it is believed no sooner.
const WAIT_PACE_MIN: Duration = Duration::from_millis(25);
/// For a port, no sooner: schedulers on both sides need as much.
pub(crate) const WAIT_PORT_MIN: Duration = Duration::from_millis(50);
/// No wait is longer.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3);

impl RoundTrip {
    pub(crate) const UNKNOWN: Self = Self {
        smoothed_us: 0,
        variation_us: 0,
        shortest: 0,
    };

    pub(crate) const fn is_known(self) -> bool {
        self.smoothed_us > 0
    }

    /// As long as it takes of late.
    pub(crate) fn smoothed(self) -> Duration {
        Duration::from_micros(self.smoothed_us.into())
    }

    /// The shortest that was measured, in microseconds; `None`: there was none.
    pub(crate) fn shortest_us(self) -> Option<f32> {
        self.is_known()
            .then(|| Duration::from_micros(self.shortest.into()).as_secs_f32() * 1e6)
    }

    /// Takes a measured round trip in.
    pub(crate) fn observe(&mut self, trip: Duration) {
        let us = u32::try_from(trip.min(WAIT_MAX).as_micros())
            .unwrap_or(u32::MAX)
            .max(1);
        if self.smoothed_us == 0 {
            (self.smoothed_us, self.variation_us) = (us, us / 2);
            self.shortest = us;
            return;
        }
        self.shortest = self.shortest.min(us);
        let apart = self.smoothed_us.abs_diff(us);
        self.variation_us = self.variation_us - self.variation_us / 4 + apart / 4;
        self.smoothed_us = (self.smoothed_us - self.smoothed_us / 8 + us / 8).max(1);
    }

    /// How long silence is doubted before the pace is judged by it.
    pub(crate) fn wait_for_pace(self) -> Duration {
        self.wait().max(WAIT_PACE_MIN)
    }

    /// How long silence is doubted before a port is asked again for it.
    pub(crate) fn wait_for_port(self) -> Duration {
        self.wait().max(WAIT_PORT_MIN)
    }

    fn wait(self) -> Duration {
        let us = u64::from(self.smoothed_us) * 2 + u64::from(self.variation_us) * 4;
        (WAIT + Duration::from_micros(us)).min(WAIT_MAX)
    }
}
