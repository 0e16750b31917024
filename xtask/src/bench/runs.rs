//! Single runs of programs and what several of them come to.

use super::measure::{Outcome, Subject, Usage};
use super::peer::Peer;
use super::table::{Row, median};
use anyhow::Result;
use portolan_lab::Wire;
use serde::Serialize;
use std::collections::BTreeSet;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) peer: String,
    #[serde(skip)]
    pub(super) settings: Peer,
    pub(super) found: usize,
    pub(super) false_open: usize,
    pub(super) usage: Usage,
}

impl Run {
    /// Runs `peer` in the scanner's namespace and compares what it says with what is open.
    pub(super) fn of(
        peer: Peer,
        subject: &Subject,
        wire: &Wire,
        open: &BTreeSet<u16>,
    ) -> Result<Self> {
        let Outcome {
            usage,
            stdout,
            stderr,
        } = subject.measure(&wire.scanner)?;
        let reported = peer.open_ports(&stdout);
        let found = reported.intersection(open).count();
        println!(
            "  {:<32} {:>7.2} s  {found:>3} found  {:>5} MiB  {}",
            peer.name(),
            usage.seconds,
            usage.rss_max_kib / 1024,
            if usage.timed_out { "timed out" } else { "" }
        );
        if found == 0 {
            println!("{}", stderr.trim());
        }
        Ok(Self {
            peer: peer.name(),
            settings: peer,
            found,
            false_open: reported.len() - found,
            usage,
        })
    }
}

/// What the runs of `peer` come to.
pub(super) fn row(peer: Peer, runs: &[Run], open: usize) -> Row {
    let own: Vec<&Run> = runs.iter().filter(|run| run.settings == peer).collect();
    let seconds: Vec<f64> = own.iter().map(|run| run.usage.seconds).collect();
    Row {
        peer: peer.name(),
        seconds: median(&seconds).unwrap_or(f64::NAN),
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
