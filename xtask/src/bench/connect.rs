//! All 65,535 TCP ports of one host, 200 of them open, without privileges: on a clean link, with
//! the closed ports silently filtered, and with random loss in both directions.

use super::machine::Machine;
use super::measure::open_files_max;
use super::peer::{Peer, Programs};
use super::question::Question;
use super::runs::{Run, row};
use super::table::{Goal, Row, lines};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use portolan_lab::{Responder, Wire, random_ports};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Ports that are open.
const OPEN_COUNT: usize = 200;

/// Loss in each direction, in percent, where there is loss.
const LOSS_PERCENT: u8 = 5;

/// Batch sizes among which `RustScan`'s best is looked for.
const BATCHES: &[u32] = &[1_000, 3_000, 4_500, 10_000, 15_000, 30_000, 65_000];

/// Tries that `RustScan` is given: its default, and what it takes to survive loss.
const TRIES: &[u8] = &[1, 3];

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each program under each condition
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Run Portolan alone, this many times a condition, and count what it finds
    #[arg(long, value_name = "RUNS")]
    truth: Option<usize>,
    /// Only this condition
    #[arg(long)]
    condition: Option<Condition>,
    /// Seed of the open ports
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill a run after this many seconds
    #[arg(long, default_value_t = 120)]
    timeout_s: u64,
}

/// What happens to packets on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Condition {
    /// Closed ports refuse.
    Answering,
    /// Closed ports are silent.
    Dropped,
    /// Closed ports refuse; packets get lost both ways.
    Loss,
}

/// Raw results of one condition.
#[derive(Debug, Serialize)]
struct Results {
    condition: Condition,
    /// One run of each setting of `RustScan`, to find its best.
    pilot: Vec<Run>,
    /// The runs that count, in the order in which they were made.
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
    loss_percent_each_way: u8,
    conditions: Vec<Results>,
}

/// Two namespaces with open ports, and the programs to compare.
struct Arena<'a> {
    options: &'a Options,
    programs: Programs,
    wire: Wire,
    question: Question,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let programs = Programs::find(super::build(root)?).with_rustscan(root)?;
    let open = random_ports(options.seed, OPEN_COUNT);
    let wire = Wire::create()?;
    let responder = Responder::start(&wire.target, &open)?;
    let machine = Machine::here();
    println!("{machine}");
    let mut record = Record {
        machine,
        versions: programs.versions()?,
        seed: options.seed,
        open_count: open.len(),
        loss_percent_each_way: LOSS_PERCENT,
        conditions: Vec::new(),
    };
    let address = IpAddr::V4(Wire::ADDRESSES.target);
    let arena = Arena {
        options,
        programs,
        wire,
        question: Question::of_host(address, &open, options.timeout_s),
    };
    for condition in [Condition::Answering, Condition::Dropped, Condition::Loss] {
        if options.condition.is_none_or(|only| only == condition) {
            record.conditions.push(arena.results(condition)?);
        }
    }
    drop(responder);
    let goals: Vec<&Goal> = record
        .conditions
        .iter()
        .flat_map(|results| &results.goals)
        .collect();
    println!("\ngoals");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    super::keep(root, "connect", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

impl Arena<'_> {
    fn results(&self, condition: Condition) -> Result<Results> {
        println!("\n{condition:?}");
        self.impose(condition)?;
        let mut pilot = Vec::new();
        let mut peers = vec![Peer::Portolan];
        if self.options.truth.is_none() {
            peers.push(Peer::Nmap);
            for tries in TRIES {
                let runs = self.pilot(*tries)?;
                peers.extend(best(&runs, self.question.open.len()));
                pilot.extend(runs);
            }
        }
        let rounds = self.options.truth.unwrap_or(self.options.runs);
        let mut runs = Vec::new();
        for round in 0..rounds {
            // Who begins changes from round to round, so that nobody always runs behind another.
            let count = peers.len();
            for peer in peers.iter().cycle().skip(round % count).take(count) {
                runs.push(self.run(*peer)?);
            }
        }
        let rows: Vec<Row> = peers
            .iter()
            .map(|peer| row(*peer, &runs, self.question.open.len()))
            .collect();
        for line in lines(&rows, &Peer::Portolan.name()) {
            println!("{line}");
        }
        Ok(Results {
            goals: goals(condition, &rows, self.options.truth.is_some()),
            condition,
            pilot,
            runs,
            rows,
        })
    }

    fn impose(&self, condition: Condition) -> Result<()> {
        self.wire.target.clear_rules()?;
        match condition {
            Condition::Answering => {}
            Condition::Dropped => {
                let open = self.question.open.iter().map(SocketAddr::port);
                let open: Vec<u16> = open.collect();
                self.wire.silence_except(&open)?;
            }
            Condition::Loss => self.wire.lose(LOSS_PERCENT)?,
        }
        Ok(())
    }

    fn pilot(&self, tries: u8) -> Result<Vec<Run>> {
        let files_max = open_files_max()?;
        BATCHES
            .iter()
            .map(|batch| Peer::RustScan {
                batch: *batch,
                tries,
            })
            // A batch that no process of this kernel could have is no setting.
            .filter(|peer| peer.open_files() <= files_max)
            .map(|peer| self.run(peer))
            .collect()
    }

    fn run(&self, peer: Peer) -> Result<Run> {
        let subject = peer.subject(&self.programs, &self.question);
        let subject = subject.with_context(|| format!("{} is missing", peer.name()))?;
        Ok(Run::of(peer, &subject, &self.wire.scanner, &self.question)?.0)
    }
}

/// The setting that found most, and of those the fastest.
fn best(runs: &[Run], open: usize) -> Option<Peer> {
    runs.iter()
        .filter(|run| !run.usage.timed_out)
        .min_by(|a, b| {
            let missed = |run: &Run| open.saturating_sub(run.found);
            missed(a)
                .cmp(&missed(b))
                .then(a.usage.seconds.total_cmp(&b.usage.seconds))
        })
        .map(|run| run.settings)
}

fn goals(condition: Condition, rows: &[Row], alone: bool) -> Vec<Goal> {
    let Some(own) = rows.iter().find(|row| row.peer == Peer::Portolan.name()) else {
        return Vec::new();
    };
    let incomplete = own.runs - own.complete_runs;
    let mut goals = vec![Goal {
        text: format!("{condition:?}: runs that missed a port, of {}", own.runs),
        measured: u32::try_from(incomplete).ok().map(f64::from),
        at_most: 0.0,
    }];
    if alone {
        return goals;
    }
    let fastest = |accept: &dyn Fn(&Row) -> bool| {
        rows.iter()
            // The time of a run that missed something is no time to compare.
            .filter(|row| incomplete == 0 && row.peer != own.peer && accept(row))
            .map(|row| own.seconds / row.seconds)
            .max_by(f64::total_cmp)
    };
    let against = |name: &str, at_most: f64, accept: &dyn Fn(&Row) -> bool| Goal {
        text: format!("{condition:?}: time, as a multiple of {name}"),
        measured: fastest(accept),
        at_most,
    };
    let rustscan = |row: &Row| row.peer.starts_with("rustscan");
    match condition {
        Condition::Answering => {
            goals.push(against("nmap", 1.0, &|row| row.peer == Peer::Nmap.name()));
            goals.push(against("rustscan at its best", 0.4, &rustscan));
        }
        Condition::Dropped => {
            goals.push(Goal {
                text: "Dropped: seconds".to_owned(),
                measured: Some(own.seconds),
                at_most: 10.0,
            });
            goals.push(against("rustscan at its best", 0.5, &rustscan));
        }
        Condition::Loss => {
            goals.push(against("the fastest peer that finds all", 0.5, &|row| {
                row.complete_runs == row.runs
            }));
        }
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::made;
    use super::*;

    const SMALL: Peer = Peer::RustScan { batch: 1, tries: 1 };
    const LARGE: Peer = Peer::RustScan { batch: 9, tries: 1 };

    #[test]
    fn the_best_setting_finds_most_and_then_is_fastest() {
        let runs = [made(SMALL, 2.0, 10), made(LARGE, 1.0, 9)];
        assert_eq!(best(&runs, 10), Some(SMALL));
        let runs = [made(SMALL, 2.0, 10), made(LARGE, 1.0, 10)];
        assert_eq!(best(&runs, 10), Some(LARGE));
        assert_eq!(best(&[], 10), None);
    }

    fn check_goals(condition: Condition, runs: &[Run], expected: &[bool]) {
        let rows: Vec<Row> = [Peer::Portolan, Peer::Nmap, SMALL, LARGE]
            .into_iter()
            .filter(|peer| runs.iter().any(|run| run.settings == *peer))
            .map(|peer| row(peer, runs, 10))
            .collect();
        let met: Vec<bool> = goals(condition, &rows, false)
            .iter()
            .map(Goal::is_met)
            .collect();
        assert_eq!(met, expected, "{runs:?}");
    }

    #[test]
    fn a_goal_compares_with_the_fastest_of_its_peers() {
        let own = made(Peer::Portolan, 1.0, 10);
        let runs = [
            own,
            made(Peer::Nmap, 1.0, 10),
            made(SMALL, 5.0, 10),
            made(LARGE, 2.0, 10),
        ];
        check_goals(Condition::Answering, &runs, &[true, true, false]);
        check_goals(Condition::Dropped, &runs, &[true, true, true]);
        check_goals(Condition::Loss, &runs, &[true, false]);
    }

    #[test]
    fn a_peer_that_misses_ports_is_no_measure_under_loss() {
        let own = made(Peer::Portolan, 1.0, 10);
        let runs = [own, made(Peer::Nmap, 2.0, 10), made(LARGE, 0.1, 9)];
        check_goals(Condition::Loss, &runs, &[true, true]);
    }

    #[test]
    fn a_missed_port_misses_every_goal() {
        let runs = [made(Peer::Portolan, 1.0, 9), made(Peer::Nmap, 9.0, 10)];
        check_goals(Condition::Loss, &runs, &[false, false]);
    }
}
