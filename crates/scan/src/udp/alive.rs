//! Whether a host that answered still does: one that falls silent under the probes makes silent
//! ports, of which nothing is known then.
//!
//! What is not here: what the silence of a host that still answers shows (`passes`).

use super::host::Habit;
use super::ledger::{Pair, index};
use super::{Ask, Lane, Next, UdpEngine};
use portolan_model::{Moment, Reason};
use std::time::Duration;

/// So many probes in a row without a sign of the host are a reason to look.
const UNHEARD_MIN: u32 = 8;
/// How long each look waits, beside four round trips. A host that reports closed ports does so once a
/// second (`icmp(7)`, `icmp_ratelimit`), so later looks give it that time.
const CHECK_WAITS: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_millis(1_100),
    Duration::from_millis(1_100),
];

impl<L: FnMut(u32) -> Option<(u32, u16)>> UdpEngine<L> {
    /// Something came from `address` itself.
    pub(super) fn hear(&mut self, address: std::net::IpAddr) {
        let host = self.ledger.host(address);
        let Some(host) = host.and_then(|host| self.hosts.get_mut(index(host))) else {
            return;
        };
        host.unheard = 0;
        if std::mem::take(&mut host.is_awaited) {
            self.awaited = self.awaited.saturating_sub(1);
        }
    }

    /// Asks hosts that have not been heard of for many probes what they answered before; `next` is
    /// what comes after, at once where there is none.
    pub(super) fn begin_check(&mut self, now: Moment, next: Next) {
        self.lane = Lane::Checking(next);
        self.check = 0;
        let is_late_round = self.is_late_round;
        for host in &mut self.hosts {
            // Who reports only so many closed ports may be silent about the next for that.
            let reports = host.closed_witness.is_some()
                && matches!(host.habit(now), Habit::Reports | Habit::LimitedTo(_));
            let has_witness = host.open_witness.is_some() || reports;
            let is_asked = host.down.is_none() && host.is_late() == is_late_round && host.left > 0;
            host.is_awaited = has_witness && is_asked && host.unheard >= UNHEARD_MIN;
            self.awaited = self.awaited.saturating_add(u32::from(host.is_awaited));
        }
        self.ask_witnesses();
        if self.awaited == 0 {
            self.enter(now, next);
        }
    }

    pub(super) fn check_is_over(&self, now: Moment) -> bool {
        self.checks.is_empty() && (self.awaited == 0 || now >= self.check_end())
    }

    pub(super) fn check_end(&self) -> Moment {
        let wait = CHECK_WAITS.get(usize::from(self.check)).copied();
        self.last_sent + wait.unwrap_or_default() + self.slowest * 4
    }

    /// Looks again, or says of hosts that stayed silent what they are.
    pub(super) fn end_check(&mut self, now: Moment, next: Next) {
        self.check = self.check.saturating_add(1);
        if self.awaited > 0 && usize::from(self.check) < CHECK_WAITS.len() {
            self.ask_witnesses();
            return;
        }
        for host in &mut self.hosts {
            if std::mem::take(&mut host.is_awaited) {
                host.down = Some(Reason::WentSilent);
                self.left = self.left.saturating_sub(u64::from(host.left));
                host.left = 0;
            }
        }
        self.awaited = 0;
        self.enter(now, next);
    }

    /// The port that answered, and from the second look on also one that was reported closed.
    fn ask_witnesses(&mut self) {
        let is_first = self.check == 0;
        for (number, host) in (0_u32..).zip(&self.hosts) {
            if !host.is_awaited {
                continue;
            }
            let closed = host.closed_witness;
            let closed = closed.filter(|_| !is_first || host.open_witness.is_none());
            for port in host.open_witness.into_iter().chain(closed) {
                let pair = Pair { host: number, port };
                match self.asks.get(index(port)) {
                    Some(Ask::Questions(count)) => {
                        let questions = (0..*count).map(|question| (pair, Some(question)));
                        self.checks.extend(questions);
                    }
                    Some(Ask::Empty) => self.checks.push_back((pair, None)),
                    Some(Ask::Nothing) | None => {}
                }
            }
        }
    }
}
