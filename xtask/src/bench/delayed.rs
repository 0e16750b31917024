//! Two hundred ports of ten services behind a delay: whether each is named, and how long it takes.

use super::judged::{Engine, Judged, Stage};
use super::machine::Machine;
use super::measure::raise_open_files;
use super::table::Goal;
use anyhow::{Result, bail};
use clap::Args;
use portolan_lab::repliers::{Replier, Service};
use portolan_lab::{Tunnel, random_ports};
use serde::Serialize;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What the whole may take.
const SECONDS_MAX: f64 = 20.0;
const MEMORY_MAX_MIB: f64 = 300.0;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ports; the ten services share them
    #[arg(long, default_value_t = 200)]
    endpoints: usize,
    /// Delay of a round trip, half of it each way, in milliseconds
    #[arg(long, default_value_t = 50)]
    round_trip_ms: u64,
    /// Only this engine
    #[arg(long)]
    engine: Option<Engine>,
    /// Seed of the ports and of what is said on them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill a run after this many seconds
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    seed: u64,
    round_trip_ms: u64,
    services: Vec<&'static str>,
    runs: Vec<Judged>,
    goals: Vec<Goal>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let program = super::build(root)?;
    raise_open_files()?;
    let each_way = Duration::from_millis(options.round_trip_ms) / 2;
    let tunnel = Tunnel::create_delayed(each_way)?;
    let stage = Stage {
        program: &program,
        scanner: &tunnel.scanner,
        target: &tunnel.target,
        address: IpAddr::V4(Tunnel::ADDRESSES.target),
        timeout_s: options.timeout_s,
    };
    let machine = Machine::here();
    println!("{machine}");
    let ports = random_ports(options.seed, options.endpoints);
    let repliers = Replier::services(&ports, options.seed);
    let services: Vec<&str> = Service::ALL.iter().map(|it| it.name()).collect();
    println!(
        "{} ports, {} ms there and back: {}",
        repliers.len(),
        options.round_trip_ms,
        services.join(", ")
    );
    let list: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut runs = Vec::new();
    for engine in Engine::ALL {
        if options.engine.is_none_or(|only| only == engine) {
            runs.push(stage.run(&repliers, &list.join(","), engine)?);
        }
    }
    let goals: Vec<Goal> = runs.iter().flat_map(goals).collect();
    println!("\ngoals");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        seed: options.seed,
        round_trip_ms: options.round_trip_ms,
        services,
        runs,
        goals,
    };
    super::keep(root, "delayed", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn goals(run: &Judged) -> Vec<Goal> {
    let goal = |text: &str, measured, at_most| Goal {
        text: format!("{}: {text}", run.engine.name()),
        measured,
        at_most,
    };
    let of = |count: usize| u32::try_from(count).ok().map(f64::from);
    let mib = i32::try_from(run.usage.rss_max_kib / 1024)
        .ok()
        .map(f64::from);
    vec![
        goal("seconds", Some(run.usage.seconds), SECONDS_MAX),
        goal("MiB", mib, MEMORY_MAX_MIB),
        goal("services not named", of(run.namable - run.named), 0.0),
        goal(
            "false names and TLS",
            of(run.false_names + run.false_tls),
            0.0,
        ),
        goal(
            "runs that were not complete",
            of(usize::from(!run.complete)),
            0.0,
        ),
    ]
}
