//! Memory of large runs: 2^20 probes through a real kernel, to few hosts and to many; 2^24 and 2^25
//! raw probes to a network that a program answers for; and a dry run over 10.0.0.0/8 with all ports,
//! which is 2^40 endpoints.

use super::machine::Machine;
use super::measure::{Subject, Usage};
use super::table::Goal;
use anyhow::{Context as _, Result, bail};
use portolan_lab::{PrefixResponder, Responder, Wire};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
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

/// Raw probes, all of which are answered.
struct RawShape {
    text: &'static str,
    targets: &'static str,
    ports: &'static str,
}

/// The last has twice as many endpoints as the others: it shows what grows.
const RAW_SHAPES: [RawShape; 3] = [
    RawShape {
        text: "raw, 256 hosts, all 2^16 ports each: 2^24",
        targets: "198.19.7.0/24",
        ports: "0-65535",
    },
    RawShape {
        text: "raw, 2^16 hosts, 256 ports each: 2^24",
        targets: "198.19.0.0/16",
        ports: "1-256",
    },
    RawShape {
        text: "raw, 2^16 hosts, 512 ports each: 2^25",
        targets: "198.19.0.0/16",
        ports: "1-512",
    },
];

/// Of their ports one in so many is open.
const OPEN_ONE_IN: u32 = 300;

/// MiB that a raw run may take, and that twice the endpoints may add.
const RAW_MIB: f64 = 96.0;
const RAW_MORE_MIB: f64 = 4.0;

#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    runs: Vec<Run>,
    raw_runs: Vec<Run>,
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
    let raw_runs = measure_raw(subject)?;
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
    goals.extend(raw_goals(&raw_runs));
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
        raw_runs,
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

/// Runs every raw shape against one network; each port has to have been answered.
fn measure_raw(subject: impl Fn(&str) -> Subject) -> Result<Vec<Run>> {
    let wire = Wire::create()?;
    wire.route_all()?;
    let responder = PrefixResponder::start(&wire.target, "lab0", OPEN_ONE_IN)?;
    let mut runs = Vec::new();
    for shape in &RAW_SHAPES {
        let ended = subject(&format!(
            "scan {} -p {} --engine syn --depth ports --format list --progress never",
            shape.targets, shape.ports
        ))
        .measure(&wire.scanner)?;
        let found = ended.stdout.lines();
        let found = found.filter_map(|line| line.trim().parse::<SocketAddrV4>().ok());
        let found: BTreeSet<SocketAddrV4> = found.collect();
        let is_open = |it: &SocketAddrV4| responder.is_open(*it.ip(), it.port());
        let open = open_of(shape, &responder)?;
        println!(
            "{}: {:?}, {} of {open} open",
            shape.text,
            ended.usage,
            found.len()
        );
        if found.len() != open || !found.iter().all(is_open) || ended.usage.code != Some(0) {
            bail!("not what is open there: {}", ended.stderr.trim());
        }
        runs.push(Run {
            shape: shape.text,
            usage: ended.usage,
        });
    }
    Ok(runs)
}

/// How many ports of a shape are open.
fn open_of(shape: &RawShape, responder: &PrefixResponder) -> Result<usize> {
    let (first, length) = shape.targets.split_once('/').context("no network")?;
    let first: Ipv4Addr = first.parse()?;
    let count = 1_u32.checked_shl(32 - length.parse::<u32>()?);
    let count = count.context("no length of a network")?;
    let (from, to) = shape.ports.split_once('-').context("no range of ports")?;
    let (from, to): (u16, u16) = (from.parse()?, to.parse()?);
    let hosts = (first.to_bits()..first.to_bits() + count).map(Ipv4Addr::from_bits);
    let open = hosts.map(|host| {
        (from..=to)
            .filter(|it| responder.is_open(host, *it))
            .count()
    });
    Ok(open.sum())
}

fn raw_goals(runs: &[Run]) -> Vec<Goal> {
    let own = runs.iter().map(|run| {
        let text = format!("{}: MiB", run.shape);
        memory(&text, &run.usage, RAW_MIB)
    });
    let mut goals: Vec<Goal> = own.collect();
    if let [.., half, whole] = runs {
        let more = whole.usage.rss_max_kib - half.usage.rss_max_kib;
        goals.push(Goal {
            text: "raw, 2^25 instead of 2^24: more MiB".to_owned(),
            measured: i32::try_from(more).ok().map(|kib| f64::from(kib) / 1024.0),
            at_most: RAW_MORE_MIB,
        });
    }
    goals
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
