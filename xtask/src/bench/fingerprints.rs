//! Time and memory that the user's fingerprints cost a start: a dry run with a folder of 4,700
//! patterns beside one without, and a look over the examples in it. The patterns are made here, no
//! two alike.

use super::machine::Machine;
use super::measure::{Outcome, Subject, Usage};
use super::table::Goal;
use anyhow::{Result, bail};
use portolan_lab::Namespace;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Patterns in all, over the files of [`KINDS`].
const PATTERNS: usize = 4_700;
/// Runs of each command; they take turns.
const ROUNDS: usize = 9;
/// Seconds that reading may take.
const SECONDS_MAX: f64 = 2.0;
/// MiB that a start with them may take.
const MIB_MAX: f64 = 64.0;

const KINDS: [&str; 8] = [
    "ftp.banner",
    "html_title",
    "http_header.server",
    "http_header.wwwauth",
    "smtp.banner",
    "snmp.sys_description",
    "ssh.banner",
    "telnet.banner",
];

#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    patterns: usize,
    without: Vec<Usage>,
    with: Vec<Usage>,
    examples: Vec<Usage>,
    goals: Vec<Goal>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path) -> Result<()> {
    let portolan = super::build(root)?.to_string_lossy().into_owned();
    let folder = tempfile::tempdir()?;
    write_files(folder.path())?;
    let namespace = Namespace::create("prints")?;
    let measure = |arguments: &str| -> Result<Outcome> {
        let command = std::iter::once(portolan.as_str())
            .chain(arguments.split_whitespace())
            .map(ToOwned::to_owned)
            .collect();
        let subject = Subject {
            command,
            open_files: 1024,
            timeout_s: 60,
        };
        let ended = subject.measure(&namespace)?;
        if ended.usage.code != Some(0) {
            bail!("{arguments}: {}{}", ended.stdout, ended.stderr);
        }
        Ok(ended)
    };
    let scan = "scan 127.0.0.1 -p 80 --dry-run";
    let path = folder.path().display();
    let (mut without, mut with, mut examples) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(measure(scan)?.usage);
        with.push(measure(&format!("{scan} --fingerprints {path}"))?.usage);
        let looked = measure(&format!("doctor --fingerprints {path}"))?;
        if !looked
            .stdout
            .contains(&format!("{PATTERNS} of {PATTERNS} hold"))
        {
            bail!("not every example holds: {}", looked.stdout);
        }
        examples.push(looked.usage);
    }
    let goals = goals(&without, &with);
    for goal in &goals {
        println!("{}", goal.line());
    }
    println!(
        "without: {:.3} s, {:.1} MiB; examples: {:.3} s, {:.1} MiB",
        median(&without),
        most_mib(&without).unwrap_or(f64::NAN),
        median(&examples),
        most_mib(&examples).unwrap_or(f64::NAN)
    );
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine: Machine::here(),
        patterns: PATTERNS,
        without,
        with,
        examples,
        goals,
    };
    super::keep(root, "fingerprints", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

fn goals(without: &[Usage], with: &[Usage]) -> Vec<Goal> {
    vec![
        Goal {
            text: format!("{PATTERNS} patterns: seconds more than without"),
            measured: Some(median(with) - median(without)),
            at_most: SECONDS_MAX,
        },
        Goal {
            text: format!("{PATTERNS} patterns: MiB"),
            measured: most_mib(with),
            at_most: MIB_MAX,
        },
    ]
}

fn median(usages: &[Usage]) -> f64 {
    let mut seconds: Vec<f64> = usages.iter().map(|usage| usage.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

fn most_mib(usages: &[Usage]) -> Option<f64> {
    let most = usages.iter().map(|usage| usage.rss_max_kib).max()?;
    Some(f64::from(i32::try_from(most).ok()?) / 1024.0)
}

/// One file for each kind.
fn write_files(folder: &Path) -> Result<()> {
    for (at, kind) in KINDS.iter().enumerate() {
        let mut text = format!("<fingerprints matches=\"{kind}\" preference=\"0.9\">\n");
        for number in (at..PATTERNS).step_by(KINDS.len()) {
            let (pattern, flags, example) = shape(number);
            writeln!(
                text,
                "<fingerprint pattern=\"{pattern}\" flags=\"{flags}\" certainty=\"0.9\">\n\
                 <description>Made product {number}</description>\n\
                 <example service.version=\"1.2\">{example}</example>\n\
                 <param pos=\"0\" name=\"service.product\" value=\"Product {number}\"/>\n\
                 <param pos=\"1\" name=\"service.version\"/>\n\
                 <param pos=\"0\" name=\"service.cpe23\" value=\"cpe:/a:x:y:{{service.version}}\"/>\n\
                 </fingerprint>"
            )?;
        }
        text.push_str("</fingerprints>\n");
        std::fs::write(folder.join(format!("{kind}.xml")), text)?;
    }
    Ok(())
}

/// A pattern, its flags, and a text that it matches.
fn shape(number: usize) -> (String, &'static str, String) {
    let any_case = "REG_ICASE";
    match number % 7 {
        0 => (
            format!(r"^Prod{number}[ -]?Web/(\d+\.\d+(?:\.\d+)?)(?: \(([^)]+)\))?$"),
            "",
            format!("Prod{number} Web/1.2 (x)"),
        ),
        1 => (
            format!(r"^\S+ ESMTP Mail{number} v?([\w.]+);.*$"),
            "",
            format!("mx ESMTP Mail{number} 1.2; now"),
        ),
        2 => (
            format!(r"^.*device{number}.*version ([\d.]+(?:[a-z]\d+)?).*$"),
            any_case,
            format!("A Device{number}, Version 1.2"),
        ),
        3 => (
            format!(r"^Fw{number}_([\d.]+p?\d*)(?:[ _-](\S+))?"),
            "REG_MULTILINE",
            format!("Fw{number}_1.2-x"),
        ),
        4 => (
            format!(r"welcome to [^\s]{{1,64}} unit{number}.{{0,200}}rev (\d+\.\d{{1,4}})"),
            "REG_ICASE,REG_DOT_NEWLINE",
            format!("Welcome to a unit{number}\n rev 1.2"),
        ),
        5 => (
            format!(r"^(?:Alpha|Beta|Gamma){number} \w+ \(build ([\d.]{{1,8}})\) ready\.?\s*$"),
            "",
            format!("Beta{number} x (build 1.2) ready."),
        ),
        _ => (
            format!(r"^Server{number}/([^\s]+) (.*) OpenSSL/([^\s]+) (.*)PHP/([^\s]+)"),
            "",
            format!("Server{number}/1.2 a OpenSSL/3 PHP/8"),
        ),
    }
}
