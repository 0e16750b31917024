//! Memory of large runs: 2^20 probes through a real kernel, and a dry run over 10.0.0.0/8 with all
//! ports, which is 2^40 endpoints.

use super::machine::Machine;
use super::measure::{Subject, Usage};
use super::table::Goal;
use anyhow::{Result, bail};
use portolan_lab::{Responder, Wire};
use serde::Serialize;
use std::path::Path;

/// 4,096 hosts, all answered for by the target.
const NETWORK: &str = "198.18.16.0/20";

/// 256 ports a host, which makes 2^20 probes.
const PORTS: &str = "1-256";

/// The port that is open on every host.
const OPEN_PORT: u16 = 80;

/// Hosts in the network.
const HOSTS: usize = 4_096;

#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    run: Usage,
    dry_run: Usage,
    goals: Vec<Goal>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path) -> Result<()> {
    let portolan = super::build(root)?.to_string_lossy().into_owned();
    let wire = Wire::create()?;
    wire.route(NETWORK)?;
    let responder = Responder::start(&wire.target, &[OPEN_PORT])?;
    let subject = |arguments: &str| Subject {
        command: std::iter::once(portolan.as_str())
            .chain(arguments.split_whitespace())
            .map(ToOwned::to_owned)
            .collect(),
        open_files: 1024,
        timeout_s: 600,
    };
    let probes = subject(&format!(
        "scan {NETWORK} -p {PORTS} --depth ports --format list --progress never"
    ))
    .measure(&wire.scanner)?;
    let found = probes.stdout.lines().count();
    println!("2^20 probes: {:?}, {found} of {HOSTS} open", probes.usage);
    if found != HOSTS {
        bail!(
            "{found} of {HOSTS} open ports found: {}",
            probes.stderr.trim()
        );
    }
    drop(responder);
    let dry = subject("scan 10.0.0.0/8 -p - --dry-run").measure(&wire.scanner)?;
    println!("dry run: {:?}", dry.usage);
    if dry.usage.code != Some(0) {
        bail!("the dry run failed: {}", dry.stderr.trim());
    }
    let goals = vec![
        memory("2^20 probes: MiB", &probes.usage, 150.0),
        memory("dry run: MiB", &dry.usage, 64.0),
        Goal {
            text: "dry run: seconds".to_owned(),
            measured: Some(dry.usage.seconds),
            at_most: 1.0,
        },
    ];
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine: Machine::here(),
        run: probes.usage,
        dry_run: dry.usage,
        goals,
    };
    super::keep(root, "scale", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
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
