//! Medians of runs, as lines of text, and goals with their verdicts.

use serde::Serialize;

/// One program's runs under one condition.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// The program with its settings.
    pub(super) peer: String,
    /// Median wall time in seconds.
    pub(super) seconds: f64,
    /// Ports that there were to find.
    pub(super) open: usize,
    /// Fewest ports that a run found.
    pub(super) found_min: usize,
    /// Runs that found every port.
    pub(super) complete_runs: usize,
    /// Runs in all.
    pub(super) runs: usize,
    /// Most ports that a run called open and that were not.
    pub(super) false_max: usize,
    /// Most memory of a run, in KiB.
    pub(super) rss_max_kib: i64,
    /// Runs that were killed because their time was over.
    pub(super) timed_out: usize,
    /// Most of what the condition measured besides, where it did.
    pub(super) aside_max: Option<f64>,
}

/// A number that must not be exceeded.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Goal {
    /// What is asked for.
    pub(super) text: String,
    /// What was measured; `None` when it could not be.
    pub(super) measured: Option<f64>,
    /// The most that meets the goal.
    pub(super) at_most: f64,
}

impl Row {
    /// The share of the open ports that the worst run found, in words.
    fn recall(&self) -> String {
        let count = |number: usize| u32::try_from(number).map_or(f64::NAN, f64::from);
        if self.open == 0 {
            return "-".to_owned();
        }
        format!("{:.2} %", 100.0 * count(self.found_min) / count(self.open))
    }
}

impl Goal {
    /// Whether it is met; what was not measured is not met.
    pub(super) fn is_met(&self) -> bool {
        self.measured
            .is_some_and(|measured| measured <= self.at_most)
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let verdict = if self.is_met() { "met   " } else { "MISSED" };
        let measured = self.measured.map_or_else(
            || "not measured".to_owned(),
            |measured| format!("{measured:.2}"),
        );
        format!(
            "{verdict}  {}: {measured} (at most {:.2})",
            self.text, self.at_most
        )
    }
}

/// The middle value; of an even number, the mean of the two in the middle. `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// A table of rows, with the ratio of the row called `ours` to each.
pub(super) fn lines(rows: &[Row], ours: &str) -> Vec<String> {
    let own = rows.iter().find(|row| row.peer == ours);
    let head = format!(
        "{:<32} {:>8} {:>9} {:>6} {:>8} {:>9} {:>6} {:>9} {:>10}",
        "program",
        "median s",
        "ours/this",
        "found",
        "recall",
        "complete",
        "false",
        "rss MiB",
        "unfinished"
    );
    let body = rows.iter().map(|row| {
        let ratio = own.map_or(f64::NAN, |own| own.seconds / row.seconds);
        format!(
            "{:<32} {:>8.2} {:>9.2} {:>6} {:>8} {:>9} {:>6} {:>9} {:>10}",
            row.peer,
            row.seconds,
            ratio,
            row.found_min,
            row.recall(),
            format!("{}/{}", row.complete_runs, row.runs),
            row.false_max,
            row.rss_max_kib / 1024,
            row.timed_out,
        )
    });
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_median(values: &[f64], expected: Option<f64>) {
        assert_eq!(median(values), expected, "{values:?}");
    }

    #[test]
    fn the_median_is_the_middle() {
        check_median(&[], None);
        check_median(&[3.0], Some(3.0));
        check_median(&[9.0, 1.0, 2.0], Some(2.0));
        check_median(&[4.0, 1.0, 2.0, 9.0], Some(3.0));
    }

    fn check_goal(measured: Option<f64>, met: bool) {
        let goal = Goal {
            text: "goal".to_owned(),
            measured,
            at_most: 1.0,
        };
        assert_eq!(goal.is_met(), met);
        assert_eq!(goal.line().starts_with("met"), met);
    }

    #[test]
    fn a_goal_is_met_only_by_a_measurement() {
        check_goal(Some(1.0), true);
        check_goal(Some(1.01), false);
        check_goal(Some(f64::NAN), false);
        check_goal(None, false);
    }
}
