//! Memory of large runs: 2^20 probes through a real kernel, to few hosts and to many, and a dry run
//! over 10.0.0.0/8 with all ports, which is 2^40 endpoints.

use super::machine::Machine;
use super::measure::{Subject, Usage};
use super::table::Goal;
use anyhow::{Result, bail};
use portolan_lab::{Responder, Wire};
use serde::Serialize;
use std::path::Path;

/// 4,096 hosts, all answered for by the target.
const NETWORK: &str = "198.18.16.0/20";

/// 2^20 addresses of the scanner's own loopback interface.
const LOOPBACK: &str = "127.16.0.0/12";

/// The port that is open on every host.
const OPEN_PORT: u16 = 80;

/// 2^20 probes of one shape.
struct Shape {
    text: &'static str,
    targets: &'static str,
    ports: &'static str,
    /// Hosts of which the port [`OPEN_PORT`] is asked.
    open: usize,
}

const SHAPES: [Shape; 3] = [
    Shape {
        text: "4,096 hosts, 256 ports each",
        targets: NETWORK,
        ports: "1-256",
        open: 1 << 12,
    },
    Shape {
        text: "2^20 hosts, one port each, closed",
        targets: LOOPBACK,
        ports: "9",
        open: 0,
    },
    Shape {
        text: "2^20 hosts, one port each, open",
        targets: LOOPBACK,
        ports: "80",
        open: 1 << 20,
    },
];

#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    runs: Vec<Run>,
    dry_run: Usage,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    shape: &'static str,
    usage: Usage,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path) -> Result<()> {
    let portolan = super::build(root)?.to_string_lossy().into_owned();
    let subject = |arguments: &str| Subject {
        command: std::iter::once(portolan.as_str())
            .chain(arguments.split_whitespace())
            .map(ToOwned::to_owned)
            .collect(),
        open_files: 1024,
        timeout_s: 600,
    };
    let wire = Wire::create()?;
    wire.route(NETWORK)?;
    let mut runs = Vec::new();
    for shape in &SHAPES {
        runs.push(measure(shape, &wire, subject)?);
    }
    let dry = subject("scan 10.0.0.0/8 -p - --dry-run").measure(&wire.scanner)?;
    println!("dry run: {:?}", dry.usage);
    if dry.usage.code != Some(0) {
        bail!("the dry run failed: {}", dry.stderr.trim());
    }
    let mut goals: Vec<Goal> = runs
        .iter()
        .map(|run| memory(&format!("{}: MiB", run.shape), &run.usage, 150.0))
        .collect();
    goals.push(memory("dry run: MiB", &dry.usage, 64.0));
    goals.push(Goal {
        text: "dry run: seconds".to_owned(),
        measured: Some(dry.usage.seconds),
        at_most: 1.0,
    });
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine: Machine::here(),
        runs,
        dry_run: dry.usage,
        goals,
    };
    super::keep(root, "scale", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

/// Runs 2^20 probes. Every host is also written to a file, as the formats do that show most.
fn measure(shape: &Shape, wire: &Wire, subject: impl Fn(&str) -> Subject) -> Result<Run> {
    let responders = [&wire.target, &wire.scanner]
        .map(|namespace| Responder::start(namespace, &[OPEN_PORT]))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let folder = tempfile::tempdir()?;
    let everything = folder.path().join("everything.json");
    let ended = subject(&format!(
        "scan {} -p {} --engine connect --depth ports --format list --progress never -o {}",
        shape.targets,
        shape.ports,
        everything.display()
    ))
    .measure(&wire.scanner)?;
    drop(responders);
    let found = ended.stdout.lines().count();
    let (text, open) = (shape.text, shape.open);
    println!("{text}: {:?}, {found} of {open} open", ended.usage);
    if found != open || ended.usage.code != Some(0) {
        bail!(
            "{found} of {open} open ports found: {}",
            ended.stderr.trim()
        );
    }
    Ok(Run {
        shape: shape.text,
        usage: ended.usage,
    })
}

fn memory(text: &str, usage: &Usage, at_most: f64) -> Goal {
    Goal {
        text: text.to_owned(),
        measured: u32::try_from(usage.rss_max_kib)
            .ok()
            .map(|kib| f64::from(kib) / 1024.0),
        at_most,
    }
}
