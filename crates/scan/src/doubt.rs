//! Doubt about silence. Waits follow the round-trip time that a host has shown, and that may be
//! the wrong one: a firewall near by answers for some ports of a host far away, or the path has
//! become slow since. So a sample of the last probes, the watches, is given much more time. What
//! is silent is believed only after watches were silent as well; when one of them is answered
//! late, everything that was settled meanwhile is asked again, with a longer wait.

use crate::host::Waiting;
use crate::rtt::Position;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Doubt {
    /// Watches under way.
    watching: u32,
    /// Watches that were silent since the last belief.
    silent: u32,
    /// Ports that had all their probes and are not believed silent yet.
    settled: Vec<Waiting>,
    /// No wait for this host is shorter.
    floor: Duration,
    /// How often an answer came too late.
    raised: u8,
}

/// Watches of one host under way at once, and silent watches that make a belief. Where one silent
/// port in twenty would be answered late, 64 of them overlook it in one case of 27.
const WATCHES: u32 = 64;
/// Watches under way at once, up to which a probe that is not the last becomes one.
const EARLY_WATCHES: u32 = 8;
/// Wait of a watch: as long as the kernel's first repeat leaves an answer without doubt to which
/// probe it belongs (RFC 6298 §2.1).
const WATCH_WAIT: Duration = Duration::from_millis(990);
/// Late answers that are acted upon; a host that goes on getting slower is believed slow.
const RAISED_MAX: u8 = 8;
/// No wait grows beyond.
const FLOOR_MAX: Duration = Duration::from_secs(4);

impl Doubt {
    /// The wait for a probe, when `usual` is what the round-trip time asks for.
    pub(crate) fn wait(&self, usual: Duration) -> Duration {
        usual.max(self.floor)
    }

    /// Whether the next probe is to be a watch, and then its wait. `room`: attempts that may be
    /// under way in all; watches take a small part of them.
    pub(crate) fn watch(
        &mut self,
        usual: Duration,
        position: Position,
        room: u32,
    ) -> Option<Duration> {
        let most = match position {
            // These find out soon when a host has become slow …
            Position::Earlier => EARLY_WATCHES,
            // … and these decide what is believed.
            Position::Last => WATCHES,
        };
        if self.watching >= most.min(room / 8).max(1) || usual >= WATCH_WAIT {
            return None;
        }
        self.watching += 1;
        Some(WATCH_WAIT)
    }

    /// A watch ended without an answer.
    pub(crate) fn watch_was_silent(&mut self) {
        self.watching = self.watching.saturating_sub(1);
        self.silent = self.silent.saturating_add(1);
    }

    /// A watch was answered after `rtt`, where `usual` would have been waited. Returns what is to
    /// be asked again when that would have been too late, `None` when not.
    pub(crate) fn watch_was_answered(
        &mut self,
        rtt: Duration,
        usual: Duration,
    ) -> Option<Vec<Waiting>> {
        self.watching = self.watching.saturating_sub(1);
        let longer = rtt.saturating_mul(3) / 2;
        if rtt <= usual || longer <= self.floor || self.raised >= RAISED_MAX {
            return None;
        }
        self.floor = longer.min(FLOOR_MAX);
        self.raised += 1;
        self.silent = 0;
        Some(std::mem::take(&mut self.settled))
    }

    /// A watch did not leave this machine.
    pub(crate) fn watch_was_withdrawn(&mut self) {
        self.watching = self.watching.saturating_sub(1);
    }

    /// A port had all its probes.
    pub(crate) fn settle(&mut self, port: Waiting) {
        self.settled.push(port);
    }

    /// The ports that are believed silent now. `idle`: nothing is under way to the host and
    /// nothing waits, so nothing more will be learnt.
    pub(crate) fn believed(&mut self, idle: bool) -> Vec<Waiting> {
        if !idle && self.silent < WATCHES {
            return Vec::new();
        }
        self.silent = 0;
        std::mem::take(&mut self.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_millis(50);

    fn port(position: u32) -> Waiting {
        Waiting {
            position,
            pass: 3,
            refusals: 0,
        }
    }

    #[test]
    fn silence_is_believed_after_silent_watches() {
        let mut doubt = Doubt::default();
        for position in 0..100 {
            doubt.settle(port(position));
        }
        for _ in 0..WATCHES {
            assert_eq!(doubt.watch(USUAL, Position::Last, 1_000), Some(WATCH_WAIT));
        }
        assert_eq!(doubt.watch(USUAL, Position::Last, 1_000), None);
        for _ in 1..WATCHES {
            doubt.watch_was_silent();
        }
        assert!(doubt.believed(false).is_empty());
        doubt.watch_was_silent();
        assert_eq!(doubt.believed(false).len(), 100);
        assert!(doubt.believed(true).is_empty());
    }

    #[test]
    fn a_late_answer_has_everything_asked_again_with_more_time() {
        let mut doubt = Doubt::default();
        doubt.settle(port(1));
        doubt.watch(USUAL, Position::Last, 1_000);
        let late = Duration::from_millis(400);
        assert_eq!(doubt.watch_was_answered(late, USUAL), Some(vec![port(1)]));
        assert_eq!(doubt.wait(USUAL), Duration::from_millis(600));
        // The same delay again is no news.
        doubt.settle(port(2));
        doubt.watch(USUAL, Position::Last, 1_000);
        assert_eq!(doubt.watch_was_answered(late, doubt.wait(USUAL)), None);
    }

    #[test]
    fn a_host_that_gets_slower_for_ever_is_not_asked_for_ever() {
        let mut doubt = Doubt::default();
        let mut asked_again = 0;
        for round in 1..1_000_u32 {
            doubt.settle(port(round));
            doubt.watch(USUAL, Position::Last, 1_000);
            let rtt = Duration::from_millis(60).saturating_mul(round);
            asked_again += doubt
                .watch_was_answered(rtt, USUAL)
                .map_or(0, |it| it.len());
        }
        assert!(asked_again < 50, "{asked_again}");
        assert!(doubt.wait(USUAL) <= FLOOR_MAX);
    }
}
