//! Starting other programs, and the book that is kept of the steps of one command.

use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Folders where programs of the administrator lie; a user's `PATH` often lacks them.
const ADMINISTRATOR_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The cargo that started this program, else the one in `PATH`.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Folder of the checkout.
pub(crate) fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .context("xtask lies in no checkout")
}

/// Folder that cargo builds into.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || root.join("target"),
        |folder| root.join(PathBuf::from(folder)),
    )
}

/// A cargo command in the checkout.
pub(crate) fn cargo_command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(arguments).current_dir(root);
    command
}

/// Full path of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::env::split_paths(ADMINISTRATOR_FOLDERS))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a command with its output left as it is; fails when it fails.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", line(command)))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{} ended with {status}", line(command))
    }
}

/// Runs a command and returns what it wrote to standard output; fails when it fails, with what it
/// wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {}",
            line(command),
            output.status,
            stderr.trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", line(command)))
}

/// One of the two streams that a command writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stderr,
    Stdout,
}

/// Runs a command, passes one of its streams on line by line and shows each line to `see`; the
/// other stream is left as it is. Returns whether the command succeeded.
pub(crate) fn watch(
    command: &mut Command,
    stream: Stream,
    mut see: impl FnMut(&str),
) -> Result<bool> {
    match stream {
        Stream::Stderr => command.stderr(Stdio::piped()),
        Stream::Stdout => command.stdout(Stdio::piped()),
    };
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", line(command)))?;
    let stderr = child.stderr.take().map(|it| Box::new(it) as Box<dyn Read>);
    let stdout = child.stdout.take().map(|it| Box::new(it) as Box<dyn Read>);
    for text in stderr
        .or(stdout)
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines)
    {
        let text = text.context("failed to read what a command says")?;
        println!("{text}");
        see(&text);
    }
    let status = child.wait().context("failed to wait for a command")?;
    Ok(status.success())
}

/// A command as a user would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

/// What each step of a command came to.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Ledger {
    /// Runs a step, times it and books it. A failed step does not stop the ones behind it: one run
    /// shows everything that is wrong.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n==> {name}");
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs_f64();
        let verdict = match result {
            Ok(()) => {
                self.passed += 1;
                "passed".to_owned()
            }
            Err(error) => {
                self.failed += 1;
                println!("{name} failed: {error:#}");
                format!("FAILED: {error}")
            }
        };
        self.lines
            .push(format!("{seconds:>7.1} s  {name}: {verdict}"));
    }

    /// Books a sentence for the end.
    pub(crate) fn note(&mut self, text: String) {
        self.lines.push(text);
    }

    /// Prints the book; fails when a step failed.
    pub(crate) fn close(self) -> Result<()> {
        println!("\n==> summary");
        for line in &self.lines {
            println!("{line}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            bail!("{} steps failed; each says above why", self.failed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole_and_stops_nothing() {
        let mut ledger = Ledger::default();
        let mut last = false;
        ledger.step("first", || bail!("broken"));
        ledger.step("second", || {
            last = true;
            Ok(())
        });
        assert!(last);
        assert!(ledger.close().is_err());
    }

    #[test]
    fn passed_steps_pass_the_whole() {
        let mut ledger = Ledger::default();
        ledger.step("only", || Ok(()));
        assert!(ledger.close().is_ok());
    }
}
