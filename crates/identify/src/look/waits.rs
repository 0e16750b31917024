//! How long a look waits: as long as the round-trip time asks for, between bounds.

use super::Look;
use super::plan::{self, Hurry};
use std::time::Duration;

impl Look {
    /// For a server to speak first.
    pub(super) fn greeting_wait(&self, hurry: Hurry) -> Duration {
        let port = self.options.port;
        match hurry {
            Hurry::Patient => GREETING_PATIENT,
            Hurry::Usual => self.wait_of(GREETING_USUAL, 4, GREETING_MAX),
            Hurry::Fast if plan::greets(port, self.channel) => {
                self.wait_of(GREETING_USUAL, 4, GREETING_MAX)
            }
            Hurry::Fast if plan::waits(port, self.channel) => {
                self.wait_of(GREETING_SHORT, 2, GREETING_MAX)
            }
            Hurry::Fast => self.wait_of(GREETING, 4, GREETING_MAX),
        }
    }

    /// For the first bytes of an answer.
    pub(super) fn reply_wait(&self, hurry: Hurry) -> Duration {
        match hurry {
            Hurry::Fast => self.wait_of(REPLY, 4, REPLY_MAX),
            Hurry::Patient | Hurry::Usual => self.wait_of(REPLY_PATIENT, 4, REPLY_PATIENT_MAX),
        }
    }

    /// For more of an answer that has begun.
    pub(super) fn quiet_wait(&self) -> Duration {
        self.wait_of(QUIET, 2, QUIET_MAX)
    }

    /// A base, and so many round trips on top, up to a bound.
    fn wait_of(&self, base: Duration, trips: u32, max: Duration) -> Duration {
        let rtt = self.options.rtt.unwrap_or(RTT_UNKNOWN);
        base.saturating_add(rtt.saturating_mul(trips)).min(max)
    }
}

/// Taken for the round-trip time when none was measured.
const RTT_UNKNOWN: Duration = Duration::from_millis(100);
const GREETING: Duration = Duration::from_millis(350);
const GREETING_SHORT: Duration = Duration::from_millis(100);
const GREETING_USUAL: Duration = Duration::from_millis(900);
const GREETING_MAX: Duration = Duration::from_millis(1500);
const GREETING_PATIENT: Duration = Duration::from_secs(4);
const REPLY: Duration = Duration::from_millis(250);
const REPLY_MAX: Duration = Duration::from_secs(1);
const REPLY_PATIENT: Duration = Duration::from_millis(1500);
const REPLY_PATIENT_MAX: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_millis(400);
const QUIET_MAX: Duration = Duration::from_secs(1);
