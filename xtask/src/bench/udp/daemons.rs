//! Every service that has a card, asked of a real daemon where there is one: which answer, and are
//! recognised.
//!
//! What is not here: how the daemons are started (`portolan-lab`), and how long a scan takes.

use super::super::machine::Machine;
use super::super::measure::{Outcome, Subject};
use super::OPEN_FILES;
use anyhow::{Context as _, Result, bail};
use portolan_lab::{Daemon, DaemonService, Daemons, Origin, Wire};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Services that no daemon from Debian 12 or of the registries of Python and Node.js answers.
const WITHOUT: &[(&str, &str)] = &[
    ("addp", "firmware of Digi devices only"),
    ("iax", "Asterisk is not in Debian 12"),
    ("jellyfin", "Jellyfin is in none of the registries"),
    ("lantronix-setup", "firmware of Lantronix devices only"),
    (
        "minecraft-query",
        "the server of Minecraft is in none of the registries",
    ),
    ("ms-sql-browser", "part of Microsoft SQL Server only"),
    ("pcanywhere", "withdrawn by its maker"),
    (
        "plex-discovery",
        "the server of Plex is in none of the registries",
    ),
    ("qotd", "no super-server of Debian 12 has it built in"),
    ("rdp-udp", "FreeRDP and xrdp speak RDP over TCP only"),
    ("slp", "OpenSLP is not in Debian 12"),
    (
        "source",
        "the servers of Valve are in none of the registries",
    ),
    ("ubiquiti-discovery", "firmware of Ubiquiti devices only"),
    ("wiz", "firmware of lamps only"),
];
/// A port may be there before the daemon is ready to answer.
const SETTLING: Duration = Duration::from_secs(4);
/// A run may take so long.
const TIMEOUT_S: u64 = 60;

/// One service.
#[derive(Debug, Serialize)]
struct Row {
    service: String,
    port: Option<u16>,
    daemon: &'static str,
    package: String,
    version: Option<String>,
    answered: bool,
    recognised: bool,
    /// What the reply showed, or why there is none.
    says: String,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    cards: usize,
    answered: usize,
    recognised: usize,
    rows: Vec<Row>,
}

/// Asks, prints, keeps; fails when a daemon that runs is not recognised.
pub(super) fn run(root: &Path, only: Option<&str>) -> Result<()> {
    let program = super::super::build(root)?;
    let machine = Machine::here();
    println!("{machine}");
    let mut rows = Vec::new();
    for daemon in Daemons::DOZEN.iter().chain(&Daemons::FURTHER) {
        if only.is_some_and(|only| daemon.services.iter().all(|it| it.name != only)) {
            continue;
        }
        let of_daemon = ask(&program, daemon)?;
        for row in &of_daemon {
            println!("{}", row.line());
        }
        rows.extend(of_daemon);
    }
    if only.is_some() {
        return Ok(());
    }
    let cards = cards(root)?;
    for (service, why) in WITHOUT {
        let row = Row {
            service: (*service).to_owned(),
            port: None,
            daemon: "none",
            package: String::new(),
            version: None,
            answered: false,
            recognised: false,
            says: (*why).to_owned(),
        };
        println!("{}", row.line());
        rows.push(row);
    }
    for card in &cards {
        if !rows.iter().any(|row| row.service == *card) {
            bail!("the service {card} has neither a daemon nor a reason");
        }
    }
    let count = |has: fn(&Row) -> bool| {
        let of_card = |card: &&String| rows.iter().any(|row| row.service == **card && has(row));
        cards.iter().filter(of_card).count()
    };
    let record = Record {
        machine,
        cards: cards.len(),
        answered: count(|row| row.answered),
        recognised: count(|row| row.recognised),
        rows,
    };
    println!(
        "{} of {} services answered by a real daemon, {} recognised",
        record.answered, record.cards, record.recognised
    );
    super::super::keep(root, "udp-daemons", &record)?;
    let there = |row: &&Row| row.version.is_some() && !row.recognised;
    let failed: Vec<&str> = record
        .rows
        .iter()
        .filter(there)
        .map(|it| it.service.as_str())
        .collect();
    if !failed.is_empty() {
        bail!("not recognised: {}", failed.join(", "));
    }
    Ok(())
}

impl Row {
    fn of(daemon: &Daemon, service: &DaemonService, version: Option<String>) -> Self {
        let registry = match daemon.origin {
            Origin::Debian => "Debian",
            Origin::Npm => "npm",
            Origin::Pypi => "PyPI",
        };
        Self {
            service: service.name.to_owned(),
            port: Some(service.port),
            daemon: daemon.name,
            package: format!("{registry}: {}", daemon.package),
            version,
            answered: false,
            recognised: false,
            says: String::new(),
        }
    }

    fn line(&self) -> String {
        let port = self.port.map_or(String::new(), |port| port.to_string());
        let version = self.version.as_deref().unwrap_or("-");
        let answered = match (self.recognised, self.answered) {
            (true, _) => "yes",
            (false, true) => "not recognised",
            (false, false) => "no",
        };
        format!(
            "  {:<19} {port:>5}  {:<22} {version:<28} {answered:<4} {}",
            self.service, self.daemon, self.says
        )
    }
}

/// Starts a daemon on a host of its own and scans its ports.
fn ask(program: &Path, daemon: &Daemon) -> Result<Vec<Row>> {
    let version = version(daemon);
    let row = |service| Row::of(daemon, service, version.clone());
    let mut rows: Vec<Row> = daemon.services.iter().map(row).collect();
    if version.is_none() {
        for row in &mut rows {
            "not installed".clone_into(&mut row.says);
        }
        return Ok(rows);
    }
    let wire = Wire::create()?;
    let started = match Daemons::start(&wire.target, std::slice::from_ref(daemon)) {
        Ok(started) => started,
        Err(error) => {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            for row in &mut rows {
                row.says = format!("did not start: {last}");
            }
            return Ok(rows);
        }
    };
    std::thread::sleep(SETTLING);
    for (row, service) in rows.iter_mut().zip(daemon.services) {
        let found = scan(program, &wire, service)?;
        row.answered = found.0 == "open";
        row.recognised = row.answered && found.1 == service.name;
        row.says = found.2;
    }
    drop(started);
    Ok(rows)
}

/// State, service and what is shown of the port of a service.
fn scan(program: &Path, wire: &Wire, service: &DaemonService) -> Result<(String, String, String)> {
    let target = if service.is_v6_only {
        Wire::ADDRESSES.target_v6.to_string()
    } else {
        Wire::ADDRESSES.target.to_string()
    };
    let port = format!("U:{}", service.port);
    let arguments = [
        "scan",
        &target,
        "-p",
        &port,
        "--format",
        "json",
        "--progress",
        "never",
    ];
    let mut command = vec![program.to_string_lossy().into_owned()];
    command.extend(arguments.map(ToOwned::to_owned));
    let subject = Subject {
        command,
        open_files: OPEN_FILES,
        timeout_s: TIMEOUT_S,
    };
    let Outcome { stdout, .. } = subject.measure(&wire.scanner)?;
    let document: serde_json::Value =
        serde_json::from_str(&stdout).context("failed to read the result of a scan")?;
    let ports = document
        .pointer("/hosts/0/ports")
        .and_then(serde_json::Value::as_array);
    let is_it = |it: &&serde_json::Value| it.get("port") == Some(&service.port.into());
    let Some(found) = ports.and_then(|ports| ports.iter().find(is_it)) else {
        return Ok((String::new(), String::new(), "not open".to_owned()));
    };
    let text = |at: &str| found.pointer(at)?.as_str().map(ToOwned::to_owned);
    let shown = text("/service/evidence").or_else(|| text("/reason"));
    Ok((
        text("/state").unwrap_or_default(),
        text("/service/name").unwrap_or_default(),
        shown.unwrap_or_default(),
    ))
}

/// The version of a daemon's package; `None`: it is not installed.
fn version(daemon: &Daemon) -> Option<String> {
    let beside = Daemons::folder_beside();
    let mut command = match daemon.origin {
        Origin::Debian => {
            let mut command = Command::new("dpkg-query");
            command.args(["-W", "-f=${db:Status-Status} ${Version}", daemon.package]);
            command
        }
        Origin::Npm => {
            let file = beside
                .join("npm/node_modules")
                .join(daemon.package)
                .join("package.json");
            let manifest: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
            return Some(manifest.get("version")?.as_str()?.to_owned());
        }
        Origin::Pypi => {
            let mut command = Command::new(beside.join("venv/bin/python3"));
            let ask =
                "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))";
            command.args(["-c", ask, daemon.package]);
            command
        }
    };
    let output = command.output().ok().filter(|it| it.status.success())?;
    let said = String::from_utf8(output.stdout).ok()?;
    let said = said.trim();
    match daemon.origin {
        Origin::Debian => said.strip_prefix("installed ").map(ToOwned::to_owned),
        Origin::Npm | Origin::Pypi => Some(said.to_owned()),
    }
}

/// Names of the cards that ask something.
fn cards(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("data/services");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).context("failed to read data/services")? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let card: toml::Table = text
            .parse()
            .with_context(|| format!("failed to read {}", path.display()))?;
        let name = card.get("name").and_then(toml::Value::as_str);
        if let (Some(name), true) = (name, card.contains_key("udp")) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
