//! Turns counts into progress: how far, how fast, how long still.

use crate::checkpoint::SavedCounts;
use portolan_model::Progress;
use portolan_scan::Figures;
use portolan_targets::Order;
use std::collections::VecDeque;
use std::time::Duration;

/// Measures a run. Feed it at even intervals.
pub(crate) struct Meter {
    total: u64,
    /// Ports decided before this part of the run, in windows that were done.
    before: u64,
    counts: SavedCounts,
    /// Time, probes and decided ports of the last moments.
    recent: VecDeque<(Duration, u64, u64)>,
}

/// Readings that the rate is taken over: ten, at five a second, are two seconds.
const RECENT: usize = 10;

impl Meter {
    /// A meter for the windows of `order` from `first_window` on.
    pub(crate) fn new(order: &Order, first_window: u64, counts: SavedCounts) -> Self {
        let windows = (0..first_window).filter_map(|window| order.window(window));
        let before = windows.map(|window| window.len()).sum();
        Self {
            total: order.total(),
            before,
            counts,
            recent: VecDeque::new(),
        }
    }

    /// Ports of the whole run that are decided.
    pub(crate) fn decided(&self, figures: Figures) -> u64 {
        self.before.saturating_add(figures.decided)
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
            duration_s: self.counts.duration_s + elapsed.as_secs_f64(),
        }
    }

    /// How far the run is at `elapsed`.
    pub(crate) fn read(
        &mut self,
        figures: Figures,
        elapsed: Duration,
        open: u64,
        looks_waiting: u64,
    ) -> Progress {
        let done = self.decided(figures);
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
        let left = to_f64(self.total.saturating_sub(done));
        Progress {
            done,
            total: self.total,
            probes: counts.probes,
            pps: per_second(counts.probes.saturating_sub(probes)),
            open,
            looks_waiting,
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
