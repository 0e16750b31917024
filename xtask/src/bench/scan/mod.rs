//! Raw packets beside their peers: one host with all its ports on a clean link, with loss, behind a
//! policer, filtered, over IPv6 and behind a bottleneck; a host that answers on every port; and many
//! hosts at once.

mod arena;
mod goals;
mod setting;

use super::machine::Machine;
use super::peer::{Peer, Programs};
use super::runs::{Run, row};
use super::table::{Goal, Row, lines};
use anyhow::{Result, bail};
use arena::Arena;
use clap::Args;
use goals::goals;
use serde::Serialize;
use setting::Condition;
use std::path::Path;
use std::time::Instant;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each program under each condition; of some programs there are fewer
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
}

/// Raw results of one condition.
#[derive(Debug, Serialize)]
struct Results {
    condition: Condition,
    timeout_s: u64,
    own_timeout_s: u64,
    /// Who did not take part, and why.
    left_out: Vec<String>,
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
    seconds: f64,
    conditions: Vec<Results>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let programs = Programs::find(super::build(root)?).with_rustscan(root)?;
    let machine = Machine::here();
    println!("{machine}");
    let start = Instant::now();
    let mut conditions = Vec::new();
    for condition in Condition::ALL {
        if options.condition.is_empty() || options.condition.contains(&condition) {
            conditions.push(results(condition, options, &programs)?);
        }
    }
    println!("\ngoals");
    let goals = conditions.iter().flat_map(|results| &results.goals);
    goals.clone().for_each(|goal| println!("{}", goal.line()));
    let missed = goals.filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        versions: programs.versions()?,
        seed: options.seed,
        seconds: start.elapsed().as_secs_f64(),
        conditions,
    };
    super::keep(root, "scan", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn results(condition: Condition, options: &Options, programs: &Programs) -> Result<Results> {
    println!("\n{condition:?}");
    let setting = condition.setting();
    let mut left_out = Vec::new();
    let mut peers = vec![(Peer::PortolanSyn, setting.own_runs_max)];
    if options.truth.is_some() {
        peers = vec![(Peer::PortolanSyn, usize::MAX)];
        left_out.push("all peers: Portolan was run alone".to_owned());
    } else {
        for (peer, runs_max) in setting.peers {
            if programs.path(*peer).is_some() {
                peers.push((*peer, *runs_max));
            } else {
                left_out.push(format!("{} (not installed)", peer.name()));
            }
        }
        left_out.extend((!setting.left_out.is_empty()).then(|| setting.left_out.to_owned()));
    }
    let arena = Arena::new(condition, options.seed)?;
    let mut runs = Vec::new();
    for round in 0..options.truth.unwrap_or(options.runs) {
        // Who begins changes from round to round, so that nobody always runs behind another.
        let count = peers.len();
        for (peer, runs_max) in peers.iter().cycle().skip(round % count).take(count) {
            if round < *runs_max {
                runs.extend(arena.run(*peer, programs)?);
            }
        }
    }
    let open = arena.question.open.len();
    let rows: Vec<Row> = peers
        .iter()
        .map(|(peer, _)| row(*peer, &runs, open))
        .collect();
    println!("of {open} open");
    for line in lines(&rows, &Peer::PortolanSyn.name()) {
        println!("{line}");
    }
    for reason in &left_out {
        println!("not run: {reason}");
    }
    Ok(Results {
        goals: goals(condition, &rows),
        condition,
        timeout_s: setting.timeout_s,
        own_timeout_s: setting.own_timeout_s,
        left_out,
        runs,
        rows,
    })
}
