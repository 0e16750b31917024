//! Instructions that a probe takes without a network, counted by valgrind: they are the same on a
//! busy machine and on a quiet one. Compared with a figure that is committed. What is counted is in
//! `crates/sim/examples/probes.rs`.

use crate::run::{cargo_command, find, output, succeed, target};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the committed figure stands.
const FIGURE: &str = "bench/instructions.toml";

/// Hosts of the two runs whose difference is taken, so that what a run takes once does not count.
const HOSTS: [u32; 2] = [1, 3];

/// Above the committed figure a count fails from here, in percent.
const TOLERANCE_PERCENT: f64 = 5.0;

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Commit to what is measured now
    #[arg(long)]
    accept: bool,
}

/// The committed figure.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    /// From the order to the frame and from the answer to the verdict.
    instructions_per_probe: f64,
    /// With another compiler the figure is another.
    compiler: String,
}

/// How a count is to the committed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Less,
    More,
    Same,
}

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    instructions: u64,
    probes: u64,
}

/// Counts, prints, and fails when a probe takes more than is committed.
pub(super) fn run(root: &Path, options: &Options) -> Result<()> {
    let valgrind = find("valgrind")
        .context("valgrind is missing, and nothing was counted: apt-get install valgrind")?;
    let program = build(root)?;
    let mut counts = Vec::new();
    for hosts in HOSTS {
        counts.push(count(&valgrind, &program, hosts)?);
    }
    let measured = Figure {
        instructions_per_probe: per_probe(&counts).context("the two runs tell nothing")?,
        compiler: output(Command::new("rustc").arg("--version"))?
            .trim()
            .to_owned(),
    };
    println!(
        "{:.0} instructions a probe ({})",
        measured.instructions_per_probe, measured.compiler
    );
    let path = root.join(FIGURE);
    if options.accept {
        let text = format!("{HEAD}{}", toml::to_string(&measured)?);
        std::fs::write(&path, text).with_context(|| format!("failed to write {FIGURE}"))?;
        println!("wrote {FIGURE}");
        return Ok(());
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {FIGURE}"))?;
    let committed: Figure = toml::from_str(&text).with_context(|| format!("read {FIGURE}"))?;
    println!(
        "committed: {:.0} ({})",
        committed.instructions_per_probe, committed.compiler
    );
    match compare(
        measured.instructions_per_probe,
        committed.instructions_per_probe,
    ) {
        Verdict::Same => Ok(()),
        Verdict::Less => {
            println!(
                "fewer than committed: keep it so by `cargo xtask bench instructions --accept`"
            );
            Ok(())
        }
        Verdict::More if measured.compiler != committed.compiler => bail!(
            "more than {TOLERANCE_PERCENT} % above what is committed, with another compiler: \
             count with the committed one first, then --accept"
        ),
        Verdict::More => bail!(
            "more than {TOLERANCE_PERCENT} % above what is committed: `valgrind --tool=callgrind \
             {} 1` and `callgrind_annotate` show where, and --accept commits to it",
            program.display()
        ),
    }
}

fn build(root: &Path) -> Result<PathBuf> {
    succeed(&mut cargo_command(
        root,
        &[
            "build",
            "--release",
            "--locked",
            "--package",
            "portolan-sim",
            "--example",
            "probes",
        ],
    ))?;
    Ok(target(root).join("release/examples/probes"))
}

fn count(valgrind: &Path, program: &Path, hosts: u32) -> Result<Count> {
    let ended = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(hosts.to_string())
        .stdin(Stdio::null())
        .output()
        .context("failed to start valgrind")?;
    let stderr = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        bail!("counting failed: {}", stderr.trim());
    }
    let probes = String::from_utf8_lossy(&ended.stdout).trim().parse();
    Ok(Count {
        instructions: collected(&stderr).context("valgrind tells no count")?,
        probes: probes.context("the counted program tells no probes")?,
    })
}

/// `==123== Collected : 255760393`
fn collected(stderr: &str) -> Option<u64> {
    let line = stderr.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

fn per_probe(counts: &[Count]) -> Option<f64> {
    let [few, many] = counts else {
        return None;
    };
    let instructions = many.instructions.checked_sub(few.instructions)?;
    let probes = many.probes.checked_sub(few.probes)?;
    let instructions = u32::try_from(instructions).ok().map(f64::from)?;
    let probes = u32::try_from(probes).ok().map(f64::from)?;
    (probes > 0.0).then_some(instructions / probes)
}

fn compare(measured: f64, committed: f64) -> Verdict {
    let percent = 100.0 * (measured / committed - 1.0);
    if percent > TOLERANCE_PERCENT {
        Verdict::More
    } else if percent < -TOLERANCE_PERCENT {
        Verdict::Less
    } else {
        Verdict::Same
    }
}

/// What stands above the figure.
const HEAD: &str = "\
# Instructions that a probe takes without a network, as `cargo xtask bench instructions` counts them.
# It fails from five percent above on, and writes this file with --accept.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_takes_once_does_not_count() {
        let count = |instructions, probes| Count {
            instructions,
            probes,
        };
        assert_eq!(
            per_probe(&[count(1_000, 10), count(2_000, 20)]),
            Some(100.0)
        );
        assert_eq!(per_probe(&[count(1_000, 10), count(900, 20)]), None);
        assert_eq!(per_probe(&[count(1_000, 10), count(2_000, 10)]), None);
        assert_eq!(per_probe(&[]), None);
    }

    #[test]
    fn a_count_is_told_by_valgrind() {
        let said = "==7== \n==7== Events    : Ir\n==7== Collected : 255760393\n==7== \n";
        assert_eq!(collected(said), Some(255_760_393));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn a_twentieth_more_fails() {
        assert_eq!(compare(104.9, 100.0), Verdict::Same);
        assert_eq!(compare(95.1, 100.0), Verdict::Same);
        assert_eq!(compare(105.1, 100.0), Verdict::More);
        assert_eq!(compare(94.9, 100.0), Verdict::Less);
    }

    #[test]
    fn the_committed_figure_is_read() {
        let text = include_str!("../../../bench/instructions.toml");
        let figure: Figure = toml::from_str(text).unwrap();
        assert!(figure.instructions_per_probe > 100.0);
    }
}
