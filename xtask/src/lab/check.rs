//! `cargo xtask lab check identify`: a scan of every endpoint of the site from its scanner's
//! namespace, what it found beside the truth, and whether every daemon still serves afterwards.
//!
//! What is not here: the site (`portolan-lab`), the clients (`client`), the verdicts (`verdict`).

use super::verdict::{Found, FoundAt, Sheet, Tally};
use super::{Daemons, LayoutName, client, folder, nmap, up};
use crate::bench::machine::Machine;
use crate::bench::measure::{Outcome, Subject, Usage};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum as _};
use portolan_lab::Namespace;
use portolan_lab::site::{Layout, Site, TrueEndpoint, Truth};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What to check.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// Whether services, products, versions and TLS are named right
    Identify(Options),
}

/// How to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Which ports the daemons have: standard, shuffled, high, or all, one after the other
    #[arg(long, default_value = "standard")]
    layout: String,
    #[command(flatten)]
    daemons: Daemons,
    /// What decides about the ports of the layout
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Have nmap -sV do the same, and print its sheet beside ours
    #[arg(long)]
    nmap: bool,
    /// Check the site that runs, and leave it running
    #[arg(long)]
    running: bool,
    /// Do not keep the results in bench/results
    #[arg(long)]
    throw_away: bool,
}

/// An endpoint and what was found there.
#[derive(Debug, Serialize)]
struct Row {
    truth: TrueEndpoint,
    ours: Sheet,
    nmap: Option<Sheet>,
    /// What was wrong with the daemon before the scan.
    before: Option<String>,
    /// What is wrong with it behind the scan.
    after: Option<String>,
    passed: bool,
}

/// One layout.
#[derive(Debug, Serialize)]
struct Record {
    layout: String,
    seed: u64,
    passed: usize,
    failed: usize,
    /// Daemons that did not start.
    absent: Vec<String>,
    usage: Usage,
    tally: Tally,
    nmap_usage: Option<Usage>,
    nmap_tally: Option<Tally>,
    rows: Vec<Row>,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    layouts: Vec<Record>,
}

/// Files that may be open at once, and seconds that a scan may take.
const OPEN_FILES: u64 = 16_384;
const TIMEOUT_S: u64 = 900;

/// Checks, prints and keeps; fails when an endpoint fails.
pub(super) fn run(root: &Path, check: &Check) -> Result<()> {
    let Check::Identify(options) = check;
    let program = crate::bench::build(root)?;
    let machine = Machine::here();
    println!("{machine}");
    let mut layouts = Vec::new();
    if options.running {
        let site = Site::read(&folder(root))?.context("no site runs; start one with lab up")?;
        layouts.push(examine(root, &program, options, &site, Vec::new())?);
    } else {
        for layout in options.layouts()? {
            let recipes = options.daemons.recipes()?;
            let (site, absent) = up(root, recipes, layout, options.seed)?;
            let record = examine(root, &program, options, &site, absent);
            Site::down(&folder(root))?;
            layouts.push(record?);
        }
    }
    let passed: usize = layouts.iter().map(|it| it.passed).sum();
    let failed: usize = layouts.iter().map(|it| it.failed).sum();
    if !options.throw_away {
        crate::bench::keep(root, "identify", &Results { machine, layouts })?;
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} endpoints failed; each says above why");
    }
    Ok(())
}

impl Options {
    fn layouts(&self) -> Result<Vec<Layout>> {
        if self.layout == "all" {
            return Ok(Layout::ALL.to_vec());
        }
        let name = LayoutName::from_str(&self.layout, true);
        let name = name.map_err(|_| anyhow::anyhow!("there is no layout {}", self.layout))?;
        Ok(vec![name.layout()])
    }
}

/// Scans a site that runs, and compares.
fn examine(
    root: &Path,
    program: &Path,
    options: &Options,
    site: &Site,
    absent: Vec<String>,
) -> Result<Record> {
    let truth = &site.truth;
    let scanner = site.scanner();
    let before = client::visit(&scanner, truth);
    let outcome = subject(ours(program, truth)).measure(&scanner)?;
    let found = read(&outcome)?;
    let after = client::visit(&scanner, truth);
    let harm = harm(root, site);
    let (nmap_usage, theirs) = if options.nmap {
        let (usage, theirs) = ask_nmap(&scanner, truth)?;
        (Some(usage), Some(theirs))
    } else {
        (None, None)
    };
    let nothing = Found::default();
    let mut rows = Vec::new();
    for ((endpoint, before), after) in truth.endpoints.iter().zip(before).zip(after) {
        let key = (endpoint.address.to_string(), endpoint.port);
        let ours = Sheet::of(endpoint, found.get(&key).unwrap_or(&nothing));
        let nmap = theirs
            .as_ref()
            .map(|theirs| Sheet::of_nmap(endpoint, theirs.get(&key).unwrap_or(&nothing)));
        let after = after.or_else(|| harm.get(&endpoint.daemon).cloned());
        rows.push(Row {
            truth: endpoint.clone(),
            passed: ours.is_right() && after.is_none(),
            ours,
            nmap,
            before,
            after,
        });
    }
    let record = record(truth, outcome.usage, nmap_usage, rows, absent);
    record.print();
    Ok(record)
}

fn record(
    truth: &Truth,
    usage: Usage,
    nmap_usage: Option<Usage>,
    rows: Vec<Row>,
    absent: Vec<String>,
) -> Record {
    let passed = rows.iter().filter(|row| row.passed).count();
    let nmap_sheets: Vec<&Sheet> = rows.iter().filter_map(|row| row.nmap.as_ref()).collect();
    Record {
        layout: truth.layout.clone(),
        seed: truth.seed,
        passed,
        // A daemon that is not there is one failure.
        failed: rows.len() - passed + absent.len(),
        absent,
        usage,
        tally: Tally::of(rows.iter().map(|row| &row.ours)),
        nmap_tally: nmap_usage
            .as_ref()
            .map(|_| Tally::of(nmap_sheets.iter().copied())),
        nmap_usage,
        rows,
    }
}

impl Record {
    fn print(&self) {
        println!(
            "\n==> layout {}: what is not as it is in truth",
            self.layout
        );
        for row in self
            .rows
            .iter()
            .filter(|row| !row.passed || !row.ours.is_full())
        {
            let it = &row.truth;
            println!(
                "{} {}:{} {} ({}): {}",
                if row.passed { "  " } else { "F " },
                it.address,
                it.port,
                it.daemon,
                it.key,
                row.ours.deviations(it).join("; ")
            );
            if let Some(before) = &row.before {
                println!("      before the scan: {before}");
            }
            if let Some(after) = &row.after {
                println!("      behind the scan: {after}");
            }
        }
        for daemon in &self.absent {
            println!("F  {daemon} did not start");
        }
        println!(
            "\n==> layout {}: {} endpoints",
            self.layout,
            self.rows.len()
        );
        println!("portolan: {}, {:.1} s", self.tally, self.usage.seconds);
        if let (Some(usage), Some(tally)) = (&self.nmap_usage, &self.nmap_tally) {
            println!("nmap -sV: {tally}, {:.1} s", usage.seconds);
            println!(
                "time: {:.3} of nmap's",
                self.usage.seconds / usage.seconds.max(0.001)
            );
        }
    }
}

fn subject(command: Vec<String>) -> Subject {
    Subject {
        command,
        open_files: OPEN_FILES,
        timeout_s: TIMEOUT_S,
    }
}

/// Our command line: every host, and the ports that any of them has.
fn ours(program: &Path, truth: &Truth) -> Vec<String> {
    let ports = format!("T:{}", ports(truth));
    let options = [
        "-p",
        &ports,
        "--tcp",
        "--format",
        "json",
        "--progress",
        "never",
    ];
    let mut command = vec![program.to_string_lossy().into_owned(), "scan".to_owned()];
    command.extend(addresses(truth));
    command.extend(options.map(ToOwned::to_owned));
    command
}

fn addresses(truth: &Truth) -> Vec<String> {
    let addresses: BTreeSet<_> = truth.endpoints.iter().map(|it| it.address).collect();
    addresses.iter().map(ToString::to_string).collect()
}

fn ports(truth: &Truth) -> String {
    let ports: BTreeSet<u16> = truth.endpoints.iter().map(|it| it.port).collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(",")
}

/// What our scan found, by address and port.
fn read(outcome: &Outcome) -> Result<FoundAt> {
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout)
        .with_context(|| format!("the scan wrote no document: {}", outcome.stderr))?;
    let array = |value: &serde_json::Value, name: &str| {
        let array = value.get(name).and_then(serde_json::Value::as_array);
        array.cloned().unwrap_or_default()
    };
    let mut found = FoundAt::new();
    for host in array(&document, "hosts") {
        let address = host.get("ip").and_then(serde_json::Value::as_str);
        for port in array(&host, "ports") {
            let number = port.get("port").and_then(serde_json::Value::as_u64);
            let number = number.and_then(|it| u16::try_from(it).ok());
            let service = port.get("service").cloned().unwrap_or_default();
            if let (Some(address), Some(number), false) = (address, number, service.is_null()) {
                found.insert((address.to_owned(), number), Found::read(&service)?);
            }
        }
    }
    Ok(found)
}

fn ask_nmap(scanner: &Namespace, truth: &Truth) -> Result<(Usage, FoundAt)> {
    let command = nmap::command(&addresses(truth), &ports(truth));
    let outcome = subject(command).measure(scanner)?;
    let found = nmap::read(&outcome.stdout).context("failed to read nmap's XML")?;
    Ok((outcome.usage, found))
}

/// What a log says of a daemon that was harmed.
const HARM: &[&str] = &[
    "assertion failed",
    "assertion `",
    "core dumped",
    "is blocked because of many",
    "panic: ",
    "panicked at",
    "segmentation fault",
    "segfault",
    "signal 11",
    "sigsegv",
    "stack smashing",
    "traceback (most recent",
];

/// Daemons that have ended or whose log tells of a crash, and what.
fn harm(root: &Path, site: &Site) -> BTreeMap<String, String> {
    let ended = site.ended();
    let mut harm = BTreeMap::new();
    let names: BTreeSet<&str> = site
        .truth
        .endpoints
        .iter()
        .map(|it| it.daemon.as_str())
        .collect();
    for name in names {
        if ended.contains(&name) {
            harm.insert(name.to_owned(), "has ended".to_owned());
            continue;
        }
        for log in logs(&Site::folder_of(&folder(root), name)) {
            let bytes = std::fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let line = text
                .lines()
                .find(|line| HARM.iter().any(|word| line.contains(word)));
            if let Some(line) = line {
                harm.insert(name.to_owned(), format!("its log says: {line}"));
            }
        }
    }
    harm
}

/// What a daemon said and the logs that it wrote into its own folder.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_log = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && (name == "said" || name == "syslog" || name.contains("log"))
    };
    files.filter(is_log).collect()
}
