//! Every check, cheap ones first: `cargo xtask ci`, and `cargo xtask test`, which installs what is
//! missing before. What the single checks look for is elsewhere.

use crate::groups::{self, GROUPS, Group, PYTHON_VARIABLE, RefusedBy};
use crate::run::{Ledger, Stream, cargo_command, output, succeed, target, watch};
use crate::{docs, tidy};
use anyhow::{Result, bail};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What to do when a group of tests lacks something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Root installs it; another user skips the group.
    Install,
    /// Skip the group.
    Skip,
}

/// A check by a tool that not every installation of Rust has.
struct Tool {
    step: &'static str,
    subcommand: &'static str,
    component: &'static str,
    run: fn(&Path) -> Result<()>,
}

const TOOLS: &[Tool] = &[
    Tool {
        step: "format",
        subcommand: "fmt",
        component: "rustfmt",
        run: format,
    },
    Tool {
        step: "lints",
        subcommand: "clippy",
        component: "clippy",
        run: lints,
    },
];

/// A group of tests that is left out, and why.
struct Skipped {
    group: &'static Group,
    reason: String,
}

/// Runs all checks and prints what each came to.
pub(crate) fn run(root: &Path, missing: Missing) -> Result<()> {
    let mut ledger = Ledger::default();
    let target = target(root);
    if missing == Missing::Install && groups::is_root() {
        ledger.step("packages for the tests", groups::install);
    }
    let skipped = skipped_groups(&target);
    if missing == Missing::Install && groups::is_root() {
        // Root was able to bring everything, so what still cannot run is a failure, unless the
        // kernel forbids it.
        let failed = |skipped: &&Skipped| skipped.group.refused_by == RefusedBy::Nobody;
        for skipped in skipped.iter().filter(failed) {
            ledger.step(&format!("tests of {}", skipped.group.module), || {
                bail!("{}", skipped.reason)
            });
        }
    }
    ledger.step("tidy", || tidy::run(root));
    for tool in TOOLS {
        match tool.obstacle(root, missing) {
            Some(obstacle) if missing == Missing::Install => {
                ledger.note(format!("   skipped  {}: {obstacle}", tool.step));
            }
            Some(obstacle) => ledger.step(tool.step, || bail!("{obstacle}")),
            None => ledger.step(tool.step, || (tool.run)(root)),
        }
    }
    let mut closing = None;
    ledger.step("tests", || {
        let (line, passed) = tests(root, &skipped)?;
        closing = line;
        if passed {
            Ok(())
        } else {
            bail!("a test failed")
        }
    });
    ledger.step("documentation tests", || {
        let arguments = ["test", "--workspace", "--locked", "--doc", "--quiet"];
        succeed(&mut cargo_command(root, &arguments))
    });
    ledger.step("documentation", || documentation(root));
    ledger.step("generated files", || docs::check(root));
    for skipped in skipped {
        ledger.note(format!(
            "   skipped  tests of {}: {}; `cargo xtask test` as root installs what they need",
            skipped.group.module, skipped.reason
        ));
    }
    if let Some(closing) = closing {
        ledger.note(closing);
    }
    ledger.close()
}

fn skipped_groups(target: &Path) -> Vec<Skipped> {
    GROUPS
        .iter()
        .filter_map(|group| {
            let reason = group.obstacle(target)?;
            println!("tests of {} are skipped: {reason}", group.module);
            Some(Skipped { group, reason })
        })
        .collect()
}

impl Tool {
    /// Why the tool cannot run here, after an attempt to install it where that is asked for.
    fn obstacle(&self, root: &Path, missing: Missing) -> Option<String> {
        let is_there = || output(&mut cargo_command(root, &[self.subcommand, "--version"])).is_ok();
        if is_there() {
            return None;
        }
        if missing == Missing::Install {
            let added = output(Command::new("rustup").args(["component", "add", self.component]));
            if added.is_ok() && is_there() {
                return None;
            }
        }
        Some(format!(
            "this Rust has no {0}; `rustup component add {0}` brings it",
            self.component
        ))
    }
}

fn format(root: &Path) -> Result<()> {
    succeed(&mut cargo_command(root, &["fmt", "--all", "--check"]))
}

fn lints(root: &Path) -> Result<()> {
    let mut command = cargo_command(
        root,
        &["clippy", "--workspace", "--all-targets", "--locked"],
    );
    succeed(command.args(["--", "-D", "warnings"]))
}

fn documentation(root: &Path) -> Result<()> {
    let mut command = cargo_command(
        root,
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--document-private-items",
        ],
    );
    succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs the tests, the fuzz targets among them, and returns the closing line of their runner and
/// whether all passed.
fn tests(root: &Path, skipped: &[Skipped]) -> Result<(Option<String>, bool)> {
    let python = groups::test_python(&target(root));
    let has_nextest = output(&mut cargo_command(root, &["nextest", "--version"])).is_ok();
    if has_nextest {
        let mut closing = None;
        let mut command = nextest(root, skipped);
        command.env(PYTHON_VARIABLE, python);
        let passed = watch(&mut command, Stream::Stderr, |line| {
            if line.contains("tests run:") || line.contains("test run:") {
                closing = Some(line.trim().to_owned());
            }
        })?;
        return Ok((closing, passed));
    }
    println!(
        "cargo-nextest is not installed, so `cargo test` runs the same tests; \
         `cargo install cargo-nextest --locked` brings it"
    );
    let mut totals = Totals::default();
    let mut command = plain(root, skipped);
    command.env(PYTHON_VARIABLE, python);
    let passed = watch(&mut command, Stream::Stdout, |line| totals.add(line))?;
    Ok((Some(totals.to_string()), passed))
}

/// Sums of the closing lines of `cargo test`, which writes one for every test binary.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Totals {
    /// Adds `test result: ok. 3 passed; 0 failed; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed } = self;
        let run = passed + failed;
        write!(
            f,
            "Summary: {run} tests run: {passed} passed, {failed} failed"
        )
    }
}

fn nextest(root: &Path, skipped: &[Skipped]) -> Command {
    let mut command = cargo_command(
        root,
        &[
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--profile",
            "ci",
        ],
    );
    if let Some(filter) = filter(skipped.iter().map(|skipped| skipped.group.module)) {
        println!("tests left out: {filter}");
        command.args(["--filterset", &filter]);
    }
    command
}

/// The expression that leaves modules of the integration tests out; `None`: nothing is left out.
fn filter<'a>(modules: impl Iterator<Item = &'a str>) -> Option<String> {
    let parts: Vec<String> = modules
        .map(|module| format!("not (binary_id(portolan::it) and test(/^{module}::/))"))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn plain(root: &Path, skipped: &[Skipped]) -> Command {
    let mut command = cargo_command(
        root,
        &["test", "--workspace", "--locked", "--no-fail-fast", "--lib"],
    );
    command.args(["--bins", "--tests", "--"]);
    for skipped in skipped {
        println!("tests left out: {}", skipped.group.module);
        command.args(["--skip", &format!("{}::", skipped.group.module)]);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_filter(modules: &[&str], expected: Option<&str>) {
        assert_eq!(filter(modules.iter().copied()).as_deref(), expected);
    }

    #[test]
    fn only_what_is_skipped_is_left_out() {
        check_filter(&[], None);
        check_filter(
            &["netns"],
            Some("not (binary_id(portolan::it) and test(/^netns::/))"),
        );
        check_filter(
            &["a", "b"],
            Some(
                "not (binary_id(portolan::it) and test(/^a::/)) and \
                 not (binary_id(portolan::it) and test(/^b::/))",
            ),
        );
    }

    #[test]
    fn closing_lines_of_cargo_test_are_summed() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.09s",
            "test result: FAILED. 57 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.32s",
        ] {
            totals.add(line);
        }
        let expected = Totals {
            passed: 60,
            failed: 2,
        };
        assert_eq!(totals, expected);
    }
}
