//! How long answers to a probe that looks for a host are waited for, and how fast such probes go.

use crate::pace::{CohortId, Spacing, Window};
use portolan_model::Moment;
use std::time::Duration;

/// Round trips over a whole network, smoothed as RFC 6298 §2 does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    smoothed_us: u64,
    variation_us: u64,
    samples: u32,
}

/// Before so many hosts have answered, little is known of the others.
const SAMPLES_MIN: u32 = 8;
/// Wait of a first probe to a network that is not known.
const FIRST_WAIT: Duration = Duration::from_millis(600);
/// No wait is shorter …
const WAIT_MIN: Duration = Duration::from_millis(50);
/// … or longer.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// A later answer says nothing of the network.
const SAMPLE_MAX: Duration = Duration::from_secs(3);

impl Waits {
    /// Takes the round trip of one host.
    pub(crate) fn sample(&mut self, rtt: Duration) {
        if rtt > SAMPLE_MAX {
            return;
        }
        let rtt_us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        if self.samples == 0 {
            self.smoothed_us = rtt_us;
            self.variation_us = rtt_us / 2;
        } else {
            let deviation = self.smoothed_us.abs_diff(rtt_us);
            self.variation_us = self.variation_us - self.variation_us / 4 + deviation / 4;
            self.smoothed_us = self.smoothed_us - self.smoothed_us / 8 + rtt_us / 8;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// How long a host has time to answer the probes of wave number `wave`, counted from 0.
    pub(crate) fn wait(&self, wave: u8) -> Duration {
        let measured = self
            .smoothed_us
            .saturating_add(self.variation_us.saturating_mul(4));
        let measured = Duration::from_micros(measured).max(WAIT_MIN);
        let base = if self.samples < SAMPLES_MIN {
            measured.max(FIRST_WAIT)
        } else {
            measured
        };
        // Each further wave waits longer: 1, 1.5, 2 times.
        let wait = base.saturating_mul(u32::from(wave.min(2)) + 2) / 2;
        wait.min(WAIT_MAX)
    }
}

/// The pace of probes: as the user says, or as fast as answers keep up.
#[derive(Debug)]
pub(crate) struct Pace {
    fixed: Option<Spacing>,
    window: Window,
    first: Option<Moment>,
    answered: bool,
    next: Moment,
    /// Probes a second, at most.
    most: f64,
}

/// Probes a second at the start.
const START: f64 = 1_000.0;
/// Before the first answer the pace doubles in this time.
const DOUBLING_S: f64 = 0.1;
/// Probes a second, at most, unless the user asks for more.
const MOST: f64 = 50_000.0;
/// Below so many nothing is gained by slowing down for this machine.
const LEAST: f64 = 500.0;

impl Pace {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self {
            fixed: rate.map(Spacing::of_rate),
            window: Window::new(),
            first: None,
            answered: false,
            next: Moment::START,
            most: MOST,
        }
    }

    /// When the next probe may be sent.
    pub(crate) const fn next(&self) -> Moment {
        self.next
    }

    /// A probe is sent.
    pub(crate) fn sent(&mut self, now: Moment) {
        let first = *self.first.get_or_insert(now);
        let spacing = self.fixed.unwrap_or_else(|| {
            let rate = if self.answered {
                self.window.rate().unwrap_or(self.most)
            } else {
                let doublings = now.since(first).as_secs_f64() / DOUBLING_S;
                START * doublings.exp2()
            };
            Spacing::of_rate(rate.min(self.most))
        });
        self.next = spacing.next(now, self.next);
    }

    /// Nothing is sent before `until`.
    pub(crate) fn pause(&mut self, until: Moment) {
        self.next = self.next.max(until);
    }

    /// The first wave to a host begins; hosts that begin together are judged together.
    pub(crate) fn host_began(&mut self, now: Moment) -> CohortId {
        self.window.first_probe_began(now)
    }

    /// The first wave to a host ended.
    pub(crate) fn host_ended(&mut self, cohort: CohortId, answered: bool) {
        if answered && !self.answered {
            self.answered = true;
            self.window.start();
        }
        self.window.first_probe_ended(cohort, answered);
    }

    /// What came in was more than this machine could take.
    pub(crate) fn slow_for_receiver(&mut self) {
        self.most = (self.most / 2.0).max(LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_network_once_it_is_known() {
        let mut waits = Waits::default();
        assert_eq!(waits.wait(0), FIRST_WAIT);
        for _ in 0..SAMPLES_MIN {
            waits.sample(Duration::from_micros(300));
        }
        assert_eq!(waits.wait(0), WAIT_MIN);
        assert_eq!(waits.wait(2), WAIT_MIN * 2);
        for _ in 0..100 {
            waits.sample(Duration::from_secs(1));
        }
        assert!(waits.wait(0) >= Duration::from_secs(1));
        assert!(waits.wait(9) <= WAIT_MAX);
    }

    #[test]
    fn a_given_rate_is_kept() {
        let mut pace = Pace::new(Some(100.0));
        let mut now = Moment::START;
        for _ in 0..50 {
            now = now.max(pace.next());
            pace.sent(now);
        }
        assert!(
            now >= Moment::after_start(Duration::from_millis(480)),
            "{now:?}"
        );
    }
}
