//! Single runs of programs and what several of them come to.

use super::measure::{Outcome, Subject, Usage};
use super::peer::Peer;
use super::question::Question;
use super::table::{Row, median};
use anyhow::Result;
use portolan_lab::Namespace;
use serde::Serialize;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) peer: String,
    #[serde(skip)]
    pub(super) settings: Peer,
    pub(super) found: usize,
    pub(super) false_open: usize,
    /// What a condition measures besides; its goals say what.
    pub(super) aside: Option<f64>,
    pub(super) usage: Usage,
}

impl Run {
    /// Runs `peer` in the scanner's namespace and compares what it says with what is open.
    pub(super) fn of(
        peer: Peer,
        subject: &Subject,
        scanner: &Namespace,
        question: &Question,
    ) -> Result<(Self, Said)> {
        let Outcome {
            usage,
            stdout,
            stderr,
        } = subject.measure(scanner)?;
        let reported = peer.found(question, &stdout);
        let found = reported.intersection(&question.open).count();
        println!(
            "  {:<32} {:>7.2} s  {found:>3} found  {:>5} MiB  {}",
            peer.name(),
            usage.seconds,
            usage.rss_max_kib / 1024,
            if usage.timed_out {
                "did not finish"
            } else {
                ""
            }
        );
        if usage.timed_out {
            // Status lines overwrite each other.
            let mut last = stderr.split(['\r', '\n']).map(str::trim);
            let last = last.rfind(|line| !line.is_empty()).unwrap_or_default();
            println!("    when it was killed: {last}");
        }
        if found == 0 && !question.open.is_empty() {
            println!("{}", stderr.trim());
        }
        let run = Self {
            peer: peer.name(),
            settings: peer,
            found,
            false_open: reported.len() - found,
            aside: None,
            usage,
        };
        Ok((run, Said { stdout, stderr }))
    }
}

/// What a program wrote.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What the runs of `peer` come to.
pub(super) fn row(peer: Peer, runs: &[Run], open: usize) -> Row {
    let own: Vec<&Run> = runs.iter().filter(|run| run.settings == peer).collect();
    let seconds: Vec<f64> = own.iter().map(|run| run.usage.seconds).collect();
    Row {
        peer: peer.name(),
        seconds: median(&seconds).unwrap_or(f64::NAN),
        open,
        found_min: own.iter().map(|run| run.found).min().unwrap_or(0),
        complete_runs: own.iter().filter(|run| run.found == open).count(),
        runs: own.len(),
        false_max: own.iter().map(|run| run.false_open).max().unwrap_or(0),
        rss_max_kib: own
            .iter()
            .map(|run| run.usage.rss_max_kib)
            .max()
            .unwrap_or(0),
        timed_out: own.iter().filter(|run| run.usage.timed_out).count(),
        aside_max: own
            .iter()
            .filter_map(|run| run.aside)
            .max_by(f64::total_cmp),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn made(peer: Peer, seconds: f64, found: usize) -> Run {
        Run {
            peer: peer.name(),
            settings: peer,
            found,
            false_open: 0,
            aside: None,
            usage: Usage {
                seconds,
                processor_seconds: seconds,
                rss_max_kib: 1,
                timed_out: false,
                code: Some(0),
            },
        }
    }

    #[test]
    fn a_row_tells_the_worst_run() {
        let runs = [
            made(Peer::Portolan, 1.0, 10),
            made(Peer::Portolan, 3.0, 9),
            made(Peer::Portolan, 2.0, 10),
            made(Peer::Nmap, 9.0, 1),
        ];
        let row = row(Peer::Portolan, &runs, 10);
        assert_eq!((row.found_min, row.complete_runs, row.runs), (9, 2, 3));
        assert!((row.seconds - 2.0).abs() < f64::EPSILON);
    }
}
