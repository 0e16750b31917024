//! The hosts of a window: what each is asked, by which way it is reached, and which of its ports
//! wait for their turn.

use super::ledger::Pair;
use super::trip::RoundTrip;
use portolan_model::{Moment, Reason};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

/// What is known of one host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Ports that are asked.
    pub(crate) asked: u32,
    /// Ports that were answered for.
    pub(crate) answered: u32,
    /// Those of them that were silent in the first pass.
    pub(crate) late: u32,
    /// Ports that were found open.
    pub(crate) open: u32,
    /// It says open for whatever port it is asked.
    pub(crate) answers_everything: bool,
    /// Passes in which it was asked.
    pub(crate) passes: u8,
    pub(crate) trip: RoundTrip,
    /// Set when nothing more is to be learnt of it.
    pub(crate) down: Option<Reason>,
    /// Earliest moment of its next probe, where the user spaces them.
    pub(crate) next: Moment,
    /// Number of its way.
    pub(crate) path: u32,
    /// The group of its network, counted from 1; 0: none.
    pub(crate) network: u32,
    /// The group of its own, counted from 1; 0: none.
    pub(crate) own: u32,
}

impl Host {
    /// Ports that are silent.
    pub(crate) fn silent(&self) -> u32 {
        self.asked.saturating_sub(self.answered)
    }

    /// How likely it is that a port that answers was silent in each of `passes` passes, by what the
    /// host itself answered late; 0: hardly anything was.
    pub(crate) fn silence(&self, passes: u8) -> f64 {
        if self.late < LATE_MIN {
            return 0.0;
        }
        let lost = f64::from(self.late) / f64::from(self.answered.max(self.late).max(1));
        lost.powi(i32::from(passes))
    }

    /// Takes the next place of its probes at `rate` a second, and tells when it is.
    pub(crate) fn reserve(&mut self, now: Moment, rate: f64) -> Moment {
        let turn = self.next.max(now);
        self.next = turn + interval(rate);
        turn
    }

    /// Whether no more than one place is taken of those that have not come.
    pub(crate) fn has_room(&self, now: Moment, rate: f64) -> bool {
        self.next <= now + interval(rate) * 2
    }
}

fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64(1.0 / rate.max(0.001))
}

/// Late answers of a host that are no chance of the whole way.
const LATE_MIN: u32 = 2;

/// Ports whose host must not be asked yet. Each host that has any holds one place in time; its
/// other ports wait behind. No port waits twice, so that all that wait are fewer than the ports of
/// the window.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    ports: HashMap<u32, VecDeque<u16>>,
    turns: BinaryHeap<Reverse<(Moment, u32)>>,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether ports of `host` wait: a further one has to wait behind them.
    pub(crate) fn has(&self, host: u32) -> bool {
        self.ports.contains_key(&host)
    }

    /// Lets `pair` wait, behind the ports of its host that wait already, or else until `turn`.
    pub(crate) fn put(&mut self, pair: Pair, turn: Moment) {
        let ports = self.ports.entry(pair.host).or_default();
        if ports.is_empty() {
            self.turns.push(Reverse((turn, pair.host)));
        }
        ports.push_back(pair.port);
    }

    /// When the next turn comes.
    pub(crate) fn next_turn(&self) -> Option<Moment> {
        self.turns.peek().map(|Reverse((turn, _))| *turn)
    }

    /// The host whose turn it is; it has no place in time until [`Waiting::keep`] or
    /// [`Waiting::forget`] is called for it.
    pub(crate) fn due(&mut self, now: Moment) -> Option<u32> {
        while let Some(Reverse((turn, host))) = self.turns.peek().copied() {
            if turn > now {
                return None;
            }
            self.turns.pop();
            if self.ports.contains_key(&host) {
                return Some(host);
            }
        }
        None
    }

    /// The first of the ports of `host` that wait.
    pub(crate) fn take(&mut self, host: u32) -> Option<u16> {
        self.ports.get_mut(&host)?.pop_front()
    }

    /// Whether `host` has a further port after [`Waiting::take`]; where not, it is forgotten.
    pub(crate) fn has_more(&mut self, host: u32) -> bool {
        let is_empty = self.ports.get(&host).is_none_or(VecDeque::is_empty);
        if is_empty {
            self.ports.remove(&host);
        }
        !is_empty
    }

    /// Gives `host` its next place in time.
    pub(crate) fn keep(&mut self, host: u32, turn: Moment) {
        self.turns.push(Reverse((turn, host)));
    }

    /// The ports of `host` wait no more.
    pub(crate) fn forget(&mut self, host: u32) {
        self.ports.remove(&host);
    }

    pub(crate) fn clear(&mut self) {
        self.ports.clear();
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn ports_of_a_host_keep_their_order_and_hosts_their_turns() {
        let mut waiting = Waiting::default();
        for (host, port, ms) in [(1, 10, 50), (2, 20, 10), (1, 11, 0), (3, 30, 70)] {
            waiting.put(Pair { host, port }, at(ms));
        }
        assert_eq!(waiting.next_turn(), Some(at(10)));
        assert_eq!(waiting.due(at(9)), None);
        assert_eq!(waiting.due(at(60)), Some(2));
        assert_eq!((waiting.take(2), waiting.has_more(2)), (Some(20), false));
        assert!(!waiting.has(2));
        assert_eq!(waiting.due(at(60)), Some(1));
        assert_eq!((waiting.take(1), waiting.has_more(1)), (Some(10), true));
        waiting.keep(1, at(61));
        assert_eq!(waiting.due(at(60)), None);
        waiting.forget(3);
        assert_eq!(waiting.due(at(90)), Some(1));
        assert_eq!((waiting.take(1), waiting.has_more(1)), (Some(11), false));
        assert_eq!(waiting.due(at(90)), None);
        assert!(waiting.is_empty());
    }
}
