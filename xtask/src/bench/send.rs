//! Frames a second into a peer that drops them, on one core: what a scan does for each probe beside
//! a loop that does nothing but send, for both ways out, and the peers.

use super::machine::Machine;
use super::send_loop::Way;
use super::table::median;
use crate::run::find;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use portolan_lab::{Namespace, Wire};
use serde::Serialize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each sender
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// The core that everything runs on
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// How long each run is watched, in milliseconds
    #[arg(long, default_value_t = 700)]
    watch_ms: u64,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Own(Way),
    Masscan,
    Zmap,
}

const SENDERS: [Sender; 6] = [
    Sender::Own(Way::Packet),
    Sender::Own(Way::PacketBare),
    Sender::Own(Way::Xdp),
    Sender::Own(Way::XdpBare),
    Sender::Masscan,
    Sender::Zmap,
];

/// A network behind the target, which drops what is for it.
const NETWORK: &str = "198.19.0.0/16";

/// How long a program may take until its first frames.
const START_MAX: Duration = Duration::from_secs(20);
/// After the first frames, until they are counted.
const SETTLE: Duration = Duration::from_millis(300);
/// When one of our own is over at the latest, in seconds.
const SECONDS_MAX: &str = "60";

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Run {
    sender: String,
    frames_per_second: f64,
}

/// The middle of the runs of one sender.
#[derive(Clone, Debug, Serialize)]
struct Row {
    sender: String,
    frames_per_second: f64,
}

/// A ratio that must be reached.
#[derive(Clone, Debug, Serialize)]
struct Floor {
    text: String,
    measured: Option<f64>,
    at_least: f64,
}

/// Everything that a file of results holds.
#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    versions: Vec<String>,
    core: usize,
    watch_ms: u64,
    runs: Vec<Run>,
    rows: Vec<Row>,
    goals: Vec<Floor>,
}

/// Measures, prints, keeps; fails when a goal is missed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    for program in ["masscan", "zmap", "taskset"] {
        find(program).with_context(|| format!("{program} is missing: install it with apt-get"))?;
    }
    let own = build(root)?;
    let wire = Wire::create()?;
    wire.route_all()?;
    wire.target.rules(&format!(
        "table netdev sink {{
           chain ingress {{
             type filter hook ingress device \"lab0\" priority 0;
             ip daddr {NETWORK} drop
           }}
         }}"
    ))?;
    let machine = Machine::here();
    println!("{machine}, core {}", options.core);
    let mut runs = Vec::new();
    for round in 0..options.runs {
        // Who begins changes from round to round, so that nobody always runs behind another.
        let count = SENDERS.len();
        for sender in SENDERS.iter().cycle().skip(round % count).take(count) {
            let frames_per_second = rate(*sender, &own, &wire.scanner, options)?;
            println!(
                "  {:<24} {:>9.0} frames/s",
                sender.name(),
                frames_per_second
            );
            runs.push(Run {
                sender: sender.name(),
                frames_per_second,
            });
        }
    }
    let rows: Vec<Row> = SENDERS.iter().map(|it| row(*it, &runs)).collect();
    let goals = goals(&runs);
    println!("\n{:<24} {:>16}", "sender", "median frames/s");
    for row in &rows {
        println!("{:<24} {:>16.0}", row.sender, row.frames_per_second);
    }
    println!("\ngoals");
    for goal in &goals {
        println!("{}", goal.line());
    }
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    let record = Record {
        machine,
        versions: versions()?,
        core: options.core,
        watch_ms: options.watch_ms,
        runs,
        rows,
        goals,
    };
    super::keep(root, "send", &record)?;
    if missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

/// This program as it would ship: what it measures must not be measured unoptimised.
fn build(root: &Path) -> Result<std::path::PathBuf> {
    crate::run::succeed(&mut crate::run::cargo_command(
        root,
        &["build", "--release", "--locked", "--package", "xtask"],
    ))?;
    Ok(crate::run::target(root).join("release").join("xtask"))
}

impl Sender {
    fn name(self) -> String {
        match self {
            Self::Own(Way::Packet) => "portolan, packet socket".to_owned(),
            Self::Own(Way::PacketBare) => "bare sendmmsg loop".to_owned(),
            Self::Own(Way::Xdp) => "portolan, AF_XDP".to_owned(),
            Self::Own(Way::XdpBare) => "bare AF_XDP loop".to_owned(),
            Self::Masscan => "masscan".to_owned(),
            Self::Zmap => "zmap".to_owned(),
        }
    }

    /// Program and arguments, for as many frames as it can send.
    fn command(self, own: &Path) -> Vec<String> {
        let mac = Wire::TARGET_MAC;
        let source = Wire::ADDRESSES.scanner;
        let line = match self {
            Self::Own(way) => {
                let way = match way {
                    Way::Packet => "packet",
                    Way::PacketBare => "packet-bare",
                    Way::Xdp => "xdp",
                    Way::XdpBare => "xdp-bare",
                };
                format!("send-loop --way {way} --next-hop {mac} --seconds {SECONDS_MAX}")
            }
            Self::Masscan => format!(
                "{NETWORK} -p1-65535 --rate 100000000 --wait 0 --adapter lab0 \
                 --adapter-ip {source} --router-mac {mac} -oL /dev/null"
            ),
            // Each address many times: it cannot be told to scan several ports.
            Self::Zmap => format!(
                "-p 80 {NETWORK} -b /dev/null -i lab0 -S {source} -G {} -r 100000000 -T 1 -P 200 \
                 -c 0 -o /dev/null -q",
                mac.replace('-', ":")
            ),
        };
        let program = match self {
            Self::Own(_) => own.to_string_lossy().into_owned(),
            Self::Masscan => "masscan".to_owned(),
            Self::Zmap => "zmap".to_owned(),
        };
        std::iter::once(program)
            .chain(line.split_whitespace().map(ToOwned::to_owned))
            .collect()
    }
}

/// A process that is ended when nobody looks at it any more.
struct Watched(Child);

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Frames a second that leave the scanner's namespace while `sender` is at work.
fn rate(sender: Sender, own: &Path, scanner: &Namespace, options: &Options) -> Result<f64> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", &options.core.to_string()])
        .args(sender.command(own))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let before = frames_sent(scanner)?;
    let mut child = Watched(scanner.enter(|| command.spawn())?.context("no taskset")?);
    let start = Instant::now();
    while frames_sent(scanner)? < before + FIRST_FRAMES {
        if start.elapsed() > START_MAX || child.0.try_wait()?.is_some() {
            bail!("{} sends nothing: {:?}", sender.name(), sender.command(own));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(SETTLE);
    let (first, from) = (frames_sent(scanner)?, Instant::now());
    std::thread::sleep(Duration::from_millis(options.watch_ms));
    let (last, to) = (frames_sent(scanner)?, Instant::now());
    if child.0.try_wait()?.is_some() {
        bail!("{} ended before its time", sender.name());
    }
    let frames = u32::try_from(last - first).context("more frames than can be")?;
    Ok(f64::from(frames) / (to - from).as_secs_f64())
}

/// Frames that have left a namespace by its wire, so far (`proc_net(5)`).
fn frames_sent(namespace: &Namespace) -> Result<u64> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("lab0:"));
    let number = line.and_then(|line| line.split_whitespace().nth(SENT_COLUMN)?.parse().ok());
    number.context("the kernel does not count what leaves by lab0")
}

/// More than a few questions for hardware addresses.
const FIRST_FRAMES: u64 = 1_000;
/// Behind eight columns of what was received, and the bytes.
const SENT_COLUMN: usize = 9;

fn row(sender: Sender, runs: &[Run]) -> Row {
    let own = runs.iter().filter(|run| run.sender == sender.name());
    let rates: Vec<f64> = own.map(|run| run.frames_per_second).collect();
    Row {
        sender: sender.name(),
        frames_per_second: median(&rates).unwrap_or(f64::NAN),
    }
}

fn goals(runs: &[Run]) -> Vec<Floor> {
    let [packet, packet_bare, xdp, xdp_bare, masscan, zmap] = SENDERS;
    [
        (packet, packet_bare, 0.95),
        (xdp, xdp_bare, 0.9),
        (xdp, masscan, 1.3),
        (xdp, zmap, 1.3),
    ]
    .map(|(one, other, at_least)| Floor {
        text: format!("{}, as a multiple of {}", one.name(), other.name()),
        measured: ratio(one, other, runs),
        at_least,
    })
    .into()
}

/// The middle of the ratios of the rounds: what else the machine does changes from one to the next.
fn ratio(one: Sender, other: Sender, runs: &[Run]) -> Option<f64> {
    let rounds: Vec<f64> = runs
        .chunks(SENDERS.len())
        .filter_map(|round| {
            let of = |sender: Sender| {
                let run = round.iter().find(|run| run.sender == sender.name());
                run.map(|run| run.frames_per_second)
            };
            Some(of(one)? / of(other)?)
        })
        .collect();
    median(&rounds)
}

impl Floor {
    /// Whether it is reached; what was not measured is not.
    fn is_met(&self) -> bool {
        self.measured
            .is_some_and(|measured| measured >= self.at_least)
    }

    fn line(&self) -> String {
        let verdict = if self.is_met() { "met   " } else { "MISSED" };
        let measured = self
            .measured
            .map_or_else(|| "not measured".to_owned(), |it| format!("{it:.2}"));
        format!(
            "{verdict}  {}: {measured} (at least {:.2})",
            self.text, self.at_least
        )
    }
}

/// What the peers say about themselves.
fn versions() -> Result<Vec<String>> {
    ["masscan", "zmap"]
        .map(|program| {
            let output = Command::new(program).arg("--version").output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let line = text.lines().find(|line| !line.trim().is_empty());
            Ok(line.unwrap_or_default().to_owned())
        })
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rounds: &[[f64; 6]], expected: [bool; 4]) {
        let runs: Vec<Run> = rounds
            .iter()
            .flat_map(|rates| SENDERS.iter().zip(rates))
            .map(|(sender, frames_per_second)| Run {
                sender: sender.name(),
                frames_per_second: *frames_per_second,
            })
            .collect();
        let met: Vec<bool> = goals(&runs).iter().map(Floor::is_met).collect();
        assert_eq!(met, expected, "{rounds:?}");
    }

    #[test]
    fn goals_are_ratios_that_have_to_be_reached() {
        let good = [95.0, 100.0, 130.0, 140.0, 100.0, 100.0];
        let bad = [94.0, 100.0, 129.0, 150.0, 100.0, 100.0];
        check(&[good], [true; 4]);
        check(&[bad], [false; 4]);
        check(&[], [false; 4]);
        // A round in which the whole machine was slow says the same.
        check(&[good, good.map(|it| it / 3.0), bad], [true; 4]);
    }
}
