//! The status line on stderr while a scan runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portolan_model::Progress;
use std::io::{self, IsTerminal as _};

/// The status line, or nothing where there is no terminal to show it on.
#[derive(Debug)]
pub(crate) struct Status {
    line: Option<ProgressBar>,
}

impl Status {
    /// A status line when `wanted` and stderr is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let shown = wanted && io::stderr().is_terminal();
        let line = shown.then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{wide_msg}");
            line.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { line }
    }

    /// Shows how far the run is.
    pub(crate) fn show(&self, progress: &Progress) {
        if let Some(line) = &self.line {
            line.set_message(sentence(progress));
            line.tick();
        }
    }

    /// Says a sentence above the line.
    pub(crate) fn say(&self, sentence: &str) {
        match &self.line {
            Some(line) => line.suspend(|| crate::terminal::show_note(sentence)),
            None => crate::terminal::show_note(sentence),
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// Done, rate, open ports, loss and time left, in this order.
fn sentence(progress: &Progress) -> String {
    let mut words = vec![format!("{} done", percent(progress.done, progress.total))];
    words.push(format!("{:.0} probes/s", progress.pps));
    words.push(format!("{} open", progress.open));
    if let Some(loss) = progress.estimate.loss {
        words.push(format!("loss {:.1} %", loss * 100.0));
    }
    if progress.done >= progress.total {
        words.push(format!("looking at {} open ports", progress.looks_waiting));
    } else if let Some(left) = progress.left_s {
        words.push(format!("{} left", time(left)));
    }
    words.join(", ")
}

fn percent(done: u64, total: u64) -> String {
    let tenths = u128::from(done)
        .saturating_mul(1_000)
        .checked_div(u128::from(total));
    let tenths = tenths.unwrap_or(1_000).min(1_000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn time(seconds: f64) -> String {
    match seconds.round() {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_model::Estimate;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long_still() {
        let progress = Progress {
            done: 32_768,
            total: 65_535,
            probes: 33_000,
            pps: 41_234.4,
            open: 17,
            looks_waiting: 0,
            estimate: Estimate {
                loss: Some(0.049),
                missed: Some(0.0),
            },
            elapsed_s: 0.8,
            left_s: Some(0.8),
        };
        let line = sentence(&progress);
        assert_eq!(
            line,
            "50.0 % done, 41234 probes/s, 17 open, loss 4.9 %, 1 s left"
        );
        let ended = Progress {
            done: 65_535,
            looks_waiting: 3,
            ..progress
        };
        assert!(sentence(&ended).ends_with("looking at 3 open ports"));
    }

    #[test]
    fn a_run_that_is_nearly_done_is_not_called_done() {
        assert_eq!(percent(999_999, 1_000_000), "99.9 %");
        assert_eq!(percent(0, 0), "100.0 %");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time(0.2), "0 s");
        assert_eq!(time(119.0), "119 s");
        assert_eq!(time(600.0), "10 min");
        assert_eq!(time(864_000.0), "10 days");
    }
}
