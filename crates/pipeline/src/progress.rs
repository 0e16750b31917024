//! Turns counts into progress: how far, how fast, how long still.

use crate::checkpoint::SavedCounts;
use crate::orders::Orders;
use portolan_model::Progress;
use portolan_scan::Figures;
use std::collections::VecDeque;
use std::time::Duration;

/// Measures a run. Feed it at even intervals.
pub(crate) struct Meter {
    orders: Orders,
    /// Windows that are done.
    windows_ended: u64,
    /// Ports of those windows.
    ended: u64,
    counts: SavedCounts,
    /// Time, probes and decided ports of the last moments.
    recent: VecDeque<(Duration, u64, u64)>,
}

/// Readings that the rate is taken over: ten, at five a second, are two seconds.
const RECENT: usize = 10;

impl Meter {
    /// A meter for a run over `orders`, after parts of it with these counts.
    pub(crate) fn new(orders: Orders, counts: SavedCounts) -> Self {
        Self {
            orders,
            windows_ended: 0,
            ended: 0,
            counts,
            recent: VecDeque::new(),
        }
    }

    /// Ports of the whole run that are decided: all of the first `windows_ended` windows, and
    /// `in_window` of the one under way.
    pub(crate) fn decided(&mut self, windows_ended: u64, in_window: u64) -> u64 {
        while self.windows_ended < windows_ended {
            let in_window = self.orders.in_window(self.windows_ended);
            self.ended = self.ended.saturating_add(in_window);
            self.windows_ended = self.windows_ended.saturating_add(1);
        }
        self.ended.saturating_add(in_window)
    }

    /// Ports of the whole run.
    pub(crate) fn total(&self) -> u64 {
        self.orders.total()
    }

    /// The counts of the whole run.
    pub(crate) fn saved(&self, figures: Figures, elapsed: Duration) -> SavedCounts {
        let loss = self.counts.figures().loss.and(figures.loss);
        SavedCounts {
            probes: self.counts.probes.saturating_add(figures.probes),
            answered: loss.answered,
            lost: loss.lost,
            open: loss.open,
            silent: loss.silent,
            silent_probes_min: loss.silent_probes_min,
            missed_millionths: loss.missed_millionths,
            duration_s: self.counts.duration_s + elapsed.as_secs_f64(),
        }
    }

    /// How far the run is at `elapsed`, with `done` ports decided. What the collector knows is
    /// left at zero.
    pub(crate) fn read(&mut self, figures: Figures, elapsed: Duration, done: u64) -> Progress {
        let counts = self.saved(figures, elapsed);
        self.recent.push_back((elapsed, counts.probes, done));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let (then, probes, decided) =
            self.recent
                .front()
                .copied()
                .unwrap_or((Duration::ZERO, 0, 0));
        let seconds = elapsed.saturating_sub(then).as_secs_f64();
        let per_second = |count: u64| {
            if seconds > 0.0 {
                to_f64(count) / seconds
            } else {
                0.0
            }
        };
        let deciding = per_second(done.saturating_sub(decided));
        let total = self.total();
        let left = to_f64(total.saturating_sub(done));
        Progress {
            done,
            total,
            probes: counts.probes,
            pps: per_second(counts.probes.saturating_sub(probes)),
            open: 0,
            looks_waiting: 0,
            estimate: counts.figures().loss.estimate(),
            elapsed_s: counts.duration_s,
            left_s: (deciding > 0.0).then(|| left / deciding),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of ports stay below 2^52 where it matters"
)]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::tests::plan;

    #[test]
    fn ended_windows_and_the_hosts_of_the_one_under_way_are_decided() {
        let orders = Orders::of(&plan("10.0.0.0-10.1.255.255", "80")).unwrap();
        assert_eq!(orders.windows(), 2);
        let mut meter = Meter::new(orders, SavedCounts::default());
        assert_eq!(meter.decided(0, 7), 7);
        assert_eq!(meter.decided(1, 7), meter.total() / 2 + 7);
        assert_eq!(meter.decided(2, 0), meter.total());
        assert_eq!(meter.decided(9, 0), meter.total());
    }
}
