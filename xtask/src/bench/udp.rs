//! A thousand UDP ports of one host with the ICMP limits that Linux has by default, a dozen real
//! daemons on them: what is found, and how long it takes.

mod daemons;

use super::machine::Machine;
use super::measure::{Outcome, Subject, Usage};
use super::table::{Goal, median};
use anyhow::{Result, bail};
use clap::Args;
use portolan_lab::{Daemons, Wire};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// The ports: the first 994, and those of daemons that listen above.
const PORTS: &str = "1-994,1701,3478,5060,5683,11211,20048";
/// Seconds that a run may take.
const SECONDS: f64 = 10.0;
/// Soft limit of open files, as systems have it.
const OPEN_FILES: u64 = 1_024;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of Portolan
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Runs of nmap; each takes about as many seconds as there are closed ports
    #[arg(long, default_value_t = 1)]
    nmap_runs: usize,
    /// Kill a run after this many seconds
    #[arg(long, default_value_t = 1_800)]
    timeout_s: u64,
    /// Ask every service of its real daemon instead, one after the other, and tell which answer
    #[arg(long)]
    daemons: bool,
    /// With --daemons: only those that offer this service, and nothing is kept
    #[arg(long, requires = "daemons")]
    service: Option<String>,
}

/// One run.
#[derive(Debug, Serialize)]
struct Run {
    program: &'static str,
    /// Daemons of which at least one service was called open.
    daemons: usize,
    /// Services that were called open.
    services: usize,
    /// Ports that were called open and are closed.
    false_open: usize,
    usage: Usage,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    ports: &'static str,
    daemons: Vec<&'static str>,
    services: usize,
    timeout_s: u64,
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.daemons {
        return daemons::run(root, options.service.as_deref());
    }
    let program = super::build(root)?;
    let wire = Wire::create()?;
    let daemons = Daemons::start(&wire.target, &Daemons::DOZEN)?;
    let machine = Machine::here();
    println!("{machine}");
    println!(
        "{} daemons, {} services",
        Daemons::DOZEN.len(),
        daemons.services().len()
    );
    // What a daemon opens for itself, as a client does, is not closed.
    let bound = bound_ports(&wire)?;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(one(&own(&program, options), "portolan", &wire, &bound)?);
    }
    for _ in 0..options.nmap_runs {
        runs.push(one(&nmap(options), "nmap -sU -T4", &wire, &bound)?);
    }
    let goals = goals(&runs);
    println!("\ngoals");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        ports: PORTS,
        daemons: Daemons::DOZEN.iter().map(|it| it.name).collect(),
        services: daemons.services().len(),
        timeout_s: options.timeout_s,
        runs,
        goals,
    };
    super::keep(root, "udp", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn own(program: &Path, options: &Options) -> Subject {
    let address = Wire::ADDRESSES.target;
    let arguments =
        format!("scan {address} -p {PORTS} --udp --format csv --only open --progress never");
    subject(&program.to_string_lossy(), &arguments, options)
}

fn nmap(options: &Options) -> Subject {
    let address = Wire::ADDRESSES.target;
    subject(
        "nmap",
        &format!("-sU -T4 -n -Pn -p {PORTS} -oG - {address}"),
        options,
    )
}

fn subject(program: &str, arguments: &str, options: &Options) -> Subject {
    let mut command = vec![program.to_owned()];
    command.extend(arguments.split_whitespace().map(ToOwned::to_owned));
    Subject {
        command,
        open_files: OPEN_FILES,
        timeout_s: options.timeout_s,
    }
}

fn one(
    subject: &Subject,
    program: &'static str,
    wire: &Wire,
    bound: &BTreeSet<u16>,
) -> Result<Run> {
    let Outcome { usage, stdout, .. } = subject.measure(&wire.scanner)?;
    let open = open_ports(&stdout);
    let has = |port: u16| open.contains(&port);
    let found = Daemons::DOZEN
        .iter()
        .filter(|it| it.services.iter().any(|it| has(it.port)));
    let services = Daemons::DOZEN.iter().flat_map(|it| it.services);
    let run = Run {
        program,
        daemons: found.count(),
        services: services.filter(|it| has(it.port)).count(),
        false_open: open.iter().filter(|port| !bound.contains(port)).count(),
        usage,
    };
    println!(
        "  {:<16} {:>8.2} s  {:>2}/{} daemons  {:>2} services  {} closed ports called open{}",
        run.program,
        run.usage.seconds,
        run.daemons,
        Daemons::DOZEN.len(),
        run.services,
        run.false_open,
        if run.usage.timed_out {
            "  timed out"
        } else {
            ""
        }
    );
    Ok(run)
}

/// Ports that an output calls open: rows of ours, or nmap's list.
fn open_ports(stdout: &str) -> BTreeSet<u16> {
    let rows = stdout.lines().filter_map(|line| {
        let mut cells = line.split(',').skip(2);
        let is_udp = cells.next() == Some("udp");
        let port = cells.next()?.parse().ok();
        port.filter(|_| is_udp && cells.next() == Some("open"))
    });
    let lists = stdout.lines().filter_map(|line| line.split_once("Ports: "));
    let listed = lists
        .flat_map(|(_, ports)| ports.split(", "))
        .filter_map(|port| port.split_once("/open/udp")?.0.trim().parse().ok());
    rows.chain(listed).collect()
}

/// UDP ports that anything in the target's namespace is bound to.
fn bound_ports(wire: &Wire) -> Result<BTreeSet<u16>> {
    let read = || {
        let tables = ["udp", "udp6"].map(|it| format!("/proc/thread-self/net/{it}"));
        tables
            .map(|it| std::fs::read_to_string(it).unwrap_or_default())
            .concat()
    };
    let tables = wire.target.enter(read)?;
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    Ok(tables.lines().filter_map(port).collect())
}

fn goals(runs: &[Run]) -> Vec<Goal> {
    let own: Vec<&Run> = runs.iter().filter(|it| it.program == "portolan").collect();
    let seconds: Vec<f64> = own.iter().map(|it| it.usage.seconds).collect();
    let count = |bad: fn(&Run) -> bool| {
        let bad = own.iter().filter(|it| bad(it)).count();
        u32::try_from(bad).ok().map(f64::from)
    };
    let goal = |text: &str, measured, at_most| Goal {
        text: text.to_owned(),
        measured,
        at_most,
    };
    vec![
        goal(
            "runs that missed a daemon",
            count(|it| it.daemons < Daemons::DOZEN.len()),
            0.0,
        ),
        goal(
            "runs that called a closed port open",
            count(|it| it.false_open > 0),
            0.0,
        ),
        goal("seconds (median)", median(&seconds), SECONDS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read() {
        let check = |stdout: &str, expected: &[u16]| {
            let found: Vec<u16> = open_ports(stdout).into_iter().collect();
            assert_eq!(found, expected, "{stdout}");
        };
        check(
            "ip,names,transport,port,state\n198.18.0.2,,udp,53,open,x\n198.18.0.2,,udp,54,closed\n\
             198.18.0.2,,tcp,55,open,x\n",
            &[53],
        );
        check(
            "Host: 198.18.0.2 ()\tPorts: 53/open/udp//domain///, 68/open|filtered/udp//x///\tIgn\n",
            &[53],
        );
    }
}
