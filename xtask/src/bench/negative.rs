//! A thousand ports of one host that are hostile or mean nothing, and some that speak a protocol in
//! odd pieces: what is said of each, how long it takes, and whether memory stays where it is.

use super::judged::{Engine, Judged, Stage};
use super::machine::Machine;
use super::measure::raise_open_files;
use super::table::Goal;
use anyhow::{Result, bail};
use clap::Args;
use portolan_lab::repliers::{Kind, Replier};
use portolan_lab::{Wire, random_ports};
use serde::Serialize;
use std::net::IpAddr;
use std::path::Path;

/// All ports: of a host on which most of what is asked is open, nothing is believed.
const ASKED: &str = "-";
/// Of all ports the share that may be given a false name.
const FALSE_SHARE: f64 = 0.001;
/// Memory of a run, and how much more of it than with a tenth of the ports.
const MEMORY_MAX_MIB: f64 = 100.0;
const MEMORY_GROWTH_MAX: f64 = 1.25;
/// Connections that may stand to one port at once.
const AT_ONCE_MAX: f64 = 2.0;
/// Seconds that one port may take where its connections are made for the look alone: the longest
/// conversation, and the time until the other side sees its end.
const PORT_SECONDS: f64 = 25.5;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Ports
    #[arg(long, default_value_t = 1_000)]
    endpoints: usize,
    /// Only this engine
    #[arg(long)]
    engine: Option<Engine>,
    /// Seed of the ports and of what is said on them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kill a run after this many seconds
    #[arg(long, default_value_t = 600)]
    timeout_s: u64,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    seed: u64,
    kinds: usize,
    runs: Vec<Judged>,
    goals: Vec<Goal>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let program = super::build(root)?;
    raise_open_files()?;
    let wire = Wire::create()?;
    let stage = Stage {
        program: &program,
        scanner: &wire.scanner,
        target: &wire.target,
        address: IpAddr::V4(Wire::ADDRESSES.target),
        timeout_s: options.timeout_s,
    };
    let machine = Machine::here();
    println!("{machine}");
    let ports = random_ports(options.seed, options.endpoints);
    let repliers = Replier::adverse(&ports, options.seed);
    let tenth = repliers.get(..repliers.len() / 10).unwrap_or_default();
    println!(
        "{} ports of {} kinds among all ports; first a tenth of them",
        repliers.len(),
        Kind::ADVERSE.len()
    );
    let mut runs = Vec::new();
    let mut goals = Vec::new();
    for engine in Engine::ALL {
        if options.engine.is_none_or(|only| only == engine) {
            let few = stage.run(tenth, ASKED, engine)?;
            let all = stage.run(&repliers, ASKED, engine)?;
            goals.extend(self::goals(&few, &all));
            runs.extend([few, all]);
        }
    }
    println!("\ngoals");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        seed: options.seed,
        kinds: Kind::ADVERSE.len(),
        runs,
        goals,
    };
    super::keep(root, "negative", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn goals(few: &Judged, all: &Judged) -> Vec<Goal> {
    let goal = |text: &str, measured, at_most| Goal {
        text: format!("{}: {text}", all.engine.name()),
        measured,
        at_most,
    };
    let number = |count: usize| u32::try_from(count).map_or(f64::NAN, f64::from);
    let of = |count: usize| Some(number(count));
    let kib = |judged: &Judged| i32::try_from(judged.usage.rss_max_kib).map_or(f64::NAN, f64::from);
    let allowed = (number(all.endpoints) * FALSE_SHARE).floor();
    let hung = usize::from(!few.complete) + usize::from(!all.complete);
    let away = few.turned_away + all.turned_away;
    let mut goals = vec![
        goal("false names", of(all.false_names), allowed),
        goal("TLS where there is none", of(all.false_tls), allowed),
        goal("true names and TLS missed", of(all.missed), 0.0),
        goal("ports not called open", of(all.not_open), 0.0),
        goal("ports not looked at", of(all.not_looked_at), 0.0),
        goal("runs that hung or were not complete", of(hung), 0.0),
        goal(
            "connections to one port at once",
            u32::try_from(all.at_once_max).ok().map(f64::from),
            AT_ONCE_MAX,
        ),
        goal("MiB", Some(kib(all) / 1024.0), MEMORY_MAX_MIB),
        goal(
            "memory, as a multiple of that with a tenth of the ports",
            Some(kib(all) / kib(few)),
            MEMORY_GROWTH_MAX,
        ),
        goal(
            "connections that the repliers turned away",
            u32::try_from(away).ok().map(f64::from),
            0.0,
        ),
    ];
    // Connections by which a port was found stand until it is its turn.
    if all.engine == Engine::Syn {
        goals.push(goal(
            "seconds with a connection, of one port at most",
            Some(all.stood_max_s),
            PORT_SECONDS,
        ));
    }
    goals
}
