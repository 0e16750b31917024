//! Round-trip time of one host and the waits that follow from it.

use std::time::Duration;

/// Smoothed round-trip time and its variation (RFC 6298 §2), in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed_us: u32,
    variation_us: u32,
    /// Something was answered after more than [`SAMPLE_MAX`].
    is_late: bool,
}

/// Longest round-trip time taken as one. A host's kernel, or ours, repeats a SYN after one second
/// (RFC 6298 §2.1): a later answer may belong to either.
const SAMPLE_MAX: Duration = Duration::from_millis(990);
/// Wait for the first answer of a host: the kernel's own second SYN and its answer fit into it.
const FIRST_CONTACT: Duration = Duration::from_millis(1_300);
/// Wait for it of a further probe: neighbour discovery that began with the first one fails after
/// three seconds, which tells a host that is not there from one that is silent.
const FURTHER_CONTACT: Duration = Duration::from_millis(2_500);
/// Wait for a host that answered, but only after longer than [`SAMPLE_MAX`].
const SLOW_HOST: Duration = Duration::from_secs(3);
/// No wait is shorter: schedulers on both sides need as much.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// No wait is longer.
const WAIT_MAX: Duration = Duration::from_secs(4);
/// The last probe to a port waits at least so long, for services that are slow to accept.
const LAST_WAIT_MIN: Duration = Duration::from_millis(100);

/// Whether a probe may be followed by another to the same port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Earlier,
    Last,
}

impl Rtt {
    pub(crate) const fn new() -> Self {
        Self {
            smoothed_us: 0,
            variation_us: 0,
            is_late: false,
        }
    }

    /// Takes one measured round trip.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        if rtt > SAMPLE_MAX {
            self.is_late = true;
            return;
        }
        let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX).max(1);
        if self.smoothed_us == 0 {
            self.smoothed_us = rtt_us;
            self.variation_us = rtt_us / 2;
        } else {
            let deviation = self.smoothed_us.abs_diff(rtt_us);
            self.variation_us = self
                .variation_us
                .saturating_sub(self.variation_us / 4)
                .saturating_add(deviation / 4);
            self.smoothed_us = self
                .smoothed_us
                .saturating_sub(self.smoothed_us / 8)
                .saturating_add(rtt_us / 8)
                .max(1);
        }
    }

    /// The smoothed value; `None` before the first sample.
    pub(crate) fn smoothed(self) -> Option<Duration> {
        (self.smoothed_us > 0).then(|| Duration::from_micros(u64::from(self.smoothed_us)))
    }

    /// How long to wait for the answer to probe number `pass` (from 0) of a port.
    pub(crate) fn wait(self, pass: u8, position: Position) -> Duration {
        let Some(smoothed) = self.smoothed() else {
            return match (self.is_late, pass) {
                (true, _) => SLOW_HOST,
                (false, 0) => FIRST_CONTACT,
                (false, _) => FURTHER_CONTACT,
            };
        };
        let variation = Duration::from_micros(u64::from(self.variation_us));
        let base = smoothed
            .saturating_add(variation.saturating_mul(4))
            .max(WAIT_MIN);
        // Each further probe waits longer: 1, 1.5, 2, 2.5 … times.
        let wait = base.saturating_mul(u32::from(pass).saturating_add(2)) / 2;
        let floor = match position {
            Position::Earlier => WAIT_MIN,
            Position::Last => LAST_WAIT_MIN,
        };
        wait.clamp(floor, WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_measured_round_trip() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.wait(0, Position::Earlier), FIRST_CONTACT);
        assert_eq!(rtt.wait(1, Position::Earlier), FURTHER_CONTACT);
        for _ in 0..100 {
            rtt.sample(Duration::from_millis(200));
        }
        let steady = rtt.wait(0, Position::Earlier);
        assert!(steady >= Duration::from_millis(200), "{steady:?}");
        assert!(steady < Duration::from_millis(260), "{steady:?}");
        assert!(rtt.wait(2, Position::Earlier) >= steady * 2);
    }

    #[test]
    fn a_fast_host_still_gets_the_shortest_wait() {
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_micros(30));
        assert_eq!(rtt.wait(0, Position::Earlier), WAIT_MIN);
        assert_eq!(rtt.wait(0, Position::Last), LAST_WAIT_MIN);
    }

    #[test]
    fn an_answer_that_may_belong_to_a_repeated_syn_is_no_sample() {
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_millis(1_004));
        assert!(rtt.smoothed().is_none());
        assert_eq!(rtt.wait(0, Position::Earlier), SLOW_HOST);
    }
}
