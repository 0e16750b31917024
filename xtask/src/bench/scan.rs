//! All TCP ports of one host, 200 of them open, with raw packets: on a clean link, with random loss
//! in both directions, behind a policer of unknown rate, and with the closed ports silently
//! filtered.

use super::machine::Machine;
use super::peer::{Peer, Programs};
use super::runs::{Run, row};
use super::table::{Goal, Row, lines};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use portolan_lab::{Responder, Wire, random_ports};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Ports that are open.
const OPEN_COUNT: usize = 200;

/// Ports that are asked.
const PORTS: f64 = 65_536.0;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each program under each condition
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Run Portolan alone, this many times a condition, and count what it finds
    #[arg(long, value_name = "RUNS")]
    truth: Option<usize>,
    /// Only these conditions
    #[arg(long)]
    condition: Vec<Condition>,
    /// Seed of the open ports
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill a run after this many seconds
    #[arg(long, default_value_t = 30)]
    timeout_s: u64,
}

/// What happens to packets on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    /// Closed ports refuse.
    Clean,
    /// The same, and one packet in a hundred gets lost each way.
    Loss1,
    /// The same, and five in a hundred.
    Loss5,
    /// No more than 20,000 packets a second reach the target.
    Police20k,
    /// No more than 5,000.
    Police5k,
    /// Closed ports are silent.
    Dropped,
    /// Closed ports are silent, and one packet in a hundred gets lost each way.
    DroppedLoss1,
}

const CONDITIONS: [Condition; 7] = [
    Condition::Clean,
    Condition::Loss1,
    Condition::Loss5,
    Condition::Police20k,
    Condition::Police5k,
    Condition::Dropped,
    Condition::DroppedLoss1,
];

const PEERS: [Peer; 4] = [
    Peer::PortolanSyn,
    Peer::NmapSyn,
    Peer::Masscan { retries: 0 },
    Peer::Masscan { retries: 2 },
];

/// Raw results of one condition.
#[derive(Debug, Serialize)]
struct Results {
    condition: Condition,
    /// In the order in which they were made.
    runs: Vec<Run>,
    rows: Vec<Row>,
    goals: Vec<Goal>,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    versions: Vec<String>,
    seed: u64,
    open_count: usize,
    timeout_s: u64,
    conditions: Vec<Results>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let programs = Programs::find(root, super::build(root)?)?;
    if programs.masscan.is_none() {
        bail!("masscan is missing: apt-get install masscan");
    }
    let open = random_ports(options.seed, OPEN_COUNT);
    let wire = Wire::create()?;
    let responder = Responder::start(&wire.target, &open)?;
    let machine = Machine::here();
    println!("{machine}");
    let open: BTreeSet<u16> = open.into_iter().collect();
    let mut conditions = Vec::new();
    for condition in CONDITIONS {
        if options.condition.is_empty() || options.condition.contains(&condition) {
            impose(condition, &wire, &open)?;
            conditions.push(results(condition, options, &programs, &wire, &open)?);
        }
    }
    drop(responder);
    println!("\ngoals");
    let goals = conditions.iter().flat_map(|results| &results.goals);
    goals.clone().for_each(|goal| println!("{}", goal.line()));
    let missed = goals.filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        versions: programs.versions()?,
        seed: options.seed,
        open_count: open.len(),
        timeout_s: options.timeout_s,
        conditions,
    };
    super::keep(root, "scan", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn impose(condition: Condition, wire: &Wire, open: &BTreeSet<u16>) -> Result<()> {
    wire.target.clear_rules()?;
    let ports: Vec<u16> = open.iter().copied().collect();
    match condition {
        Condition::Clean => {}
        Condition::Loss1 => wire.lose(1)?,
        Condition::Loss5 => wire.lose(5)?,
        Condition::Police20k => wire.police(20_000)?,
        Condition::Police5k => wire.police(5_000)?,
        Condition::Dropped => wire.silence_except(&ports)?,
        Condition::DroppedLoss1 => {
            wire.silence_except(&ports)?;
            wire.lose(1)?;
        }
    }
    Ok(())
}

fn results(
    condition: Condition,
    options: &Options,
    programs: &Programs,
    wire: &Wire,
    open: &BTreeSet<u16>,
) -> Result<Results> {
    println!("\n{condition:?}");
    let peers = if options.truth.is_some() {
        PEERS.get(..1)
    } else {
        PEERS.get(..)
    };
    let peers = peers.unwrap_or_default();
    let address = Wire::ADDRESSES.target.to_string();
    let mut runs = Vec::new();
    for round in 0..options.truth.unwrap_or(options.runs) {
        // Who begins changes from round to round, so that nobody always runs behind another.
        let count = peers.len();
        for peer in peers.iter().cycle().skip(round % count).take(count) {
            let subject = peer.subject(programs, &address, options.timeout_s);
            runs.push(Run::of(*peer, &subject, wire, open)?);
        }
    }
    let rows: Vec<Row> = peers
        .iter()
        .map(|peer| row(*peer, &runs, open.len()))
        .collect();
    for line in lines(&rows, &Peer::PortolanSyn.name()) {
        println!("{line}");
    }
    Ok(Results {
        goals: goals(condition, &rows),
        condition,
        runs,
        rows,
    })
}

fn goals(condition: Condition, rows: &[Row]) -> Vec<Goal> {
    let of = |peer: Peer| rows.iter().find(|row| row.peer == peer.name());
    let Some(own) = of(Peer::PortolanSyn) else {
        return Vec::new();
    };
    let goal = |text: String, measured, at_most| Goal {
        text: format!("{condition:?}: {text}"),
        measured,
        at_most,
    };
    let incomplete = own.runs - own.complete_runs;
    let missed = format!("runs that missed a port, of {}", own.runs);
    let mut goals = vec![goal(
        missed,
        u32::try_from(incomplete).ok().map(f64::from),
        0.0,
    )];
    let (seconds, of_nmap) = match condition {
        Condition::Clean => (0.8, Some(0.8)),
        Condition::Loss1 => (1.2, Some(0.15)),
        Condition::Loss5 => (1.6, Some(0.03)),
        Condition::Police20k => (1.1 * PORTS / 20_000.0, None),
        Condition::Police5k => (1.1 * PORTS / 5_000.0, None),
        Condition::Dropped => (1.8, None),
        Condition::DroppedLoss1 => (3.0, None),
    };
    goals.push(goal("seconds".to_owned(), Some(own.seconds), seconds));
    if let (Some(at_most), Some(nmap)) = (of_nmap, of(Peer::NmapSyn)) {
        // Where nmap was stopped, its time is at least what it had: the ratio is at most this.
        let ratio = own.seconds / nmap.seconds;
        goals.push(goal(
            "time, as a multiple of nmap".to_owned(),
            Some(ratio),
            at_most,
        ));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::made;
    use super::*;

    fn check(condition: Condition, runs: &[Run], expected: &[bool]) {
        let rows: Vec<Row> = PEERS
            .into_iter()
            .filter(|peer| runs.iter().any(|run| run.settings == *peer))
            .map(|peer| row(peer, runs, 10))
            .collect();
        let met: Vec<bool> = goals(condition, &rows).iter().map(Goal::is_met).collect();
        assert_eq!(met, expected, "{condition:?}");
    }

    #[test]
    fn goals_are_about_truth_time_and_nmap() {
        let own = |seconds, found| made(Peer::PortolanSyn, seconds, found);
        let nmap = made(Peer::NmapSyn, 1.0, 10);
        check(
            Condition::Clean,
            &[own(0.7, 10), nmap.clone()],
            &[true, true, true],
        );
        check(
            Condition::Clean,
            &[own(0.9, 9), nmap.clone()],
            &[false, false, false],
        );
        check(
            Condition::Loss5,
            &[own(0.7, 10), nmap],
            &[true, true, false],
        );
        check(Condition::Police5k, &[own(14.0, 10)], &[true, true]);
        check(Condition::Police20k, &[own(14.0, 10)], &[true, false]);
    }
}
