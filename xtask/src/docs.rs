//! Files that come out of the program's own table of flags: help, man page, completions. They are
//! committed so that a change of the command line shows in review.

use crate::run::{cargo_command, output, succeed, target};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Shells and the file name under which each looks for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "portolan.bash"),
    ("elvish", "portolan.elv"),
    ("fish", "portolan.fish"),
    ("zsh", "_portolan"),
];

/// Levels of commands below `portolan` that are looked at.
const DEPTH_MAX: usize = 3;

/// Writes the files.
pub(crate) fn write(root: &Path) -> Result<()> {
    for (path, text) in generate(root)? {
        let full = root.join(&path);
        if let Some(folder) = full.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&full, text).with_context(|| format!("failed to write {path}"))?;
        println!("wrote {path}");
    }
    Ok(())
}

/// Fails when a file is not what would be written.
pub(crate) fn check(root: &Path) -> Result<()> {
    let generated = generate(root)?;
    let stale: Vec<&str> = generated
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.as_str())
        .collect();
    if !stale.is_empty() {
        bail!(
            "stale: {}; run `cargo xtask docs` and commit what it writes",
            stale.join(", ")
        );
    }
    println!("{} generated files are up to date", generated.len());
    Ok(())
}

fn generate(root: &Path) -> Result<BTreeMap<String, String>> {
    succeed(&mut cargo_command(
        root,
        &["build", "--quiet", "--locked", "--package", "portolan"],
    ))?;
    let program = Program(target(root).join("debug").join("portolan"));
    let mut files = BTreeMap::new();
    files.insert("docs/man/portolan.1".to_owned(), program.output(&["man"])?);
    for (shell, file) in COMPLETIONS {
        let text = program.output(&["completions", shell])?;
        files.insert(format!("docs/completions/{file}"), text);
    }
    let mut help =
        "# Command line\n\nWritten by `cargo xtask docs` from the program itself.\n".to_owned();
    program.describe(&mut help, &[])?;
    files.insert("docs/help.md".to_owned(), help);
    Ok(files)
}

/// The program whose table of flags is asked.
struct Program(PathBuf);

impl Program {
    /// Runs it apart from the environment: settings and the width of a terminal would show.
    fn output(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.0);
        output(command.args(arguments).env_clear())
    }

    /// Appends the help of a command and of those below it.
    fn describe(&self, help: &mut String, command: &[&str]) -> Result<()> {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let text = self.output(&arguments)?;
        let title = ["portolan"]
            .iter()
            .chain(command)
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        write!(help, "\n## {title}\n\n```text\n{}\n```\n", trimmed(&text))?;
        if command.len() < DEPTH_MAX {
            for name in commands(&text) {
                let mut below = command.to_vec();
                below.push(name);
                self.describe(help, &below)?;
            }
        }
        Ok(())
    }
}

/// Without spaces at the ends of lines, which editors and reviews dislike.
fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Names under the heading "Commands:" of a help text.
fn commands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A name is indented by two spaces; a continued description by more.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_commands(help: &str, expected: &[&str]) {
        assert_eq!(commands(help), expected);
    }

    #[test]
    fn commands_are_read_from_help() {
        check_commands("Usage: x\n\nOptions:\n  -q  quiet\n", &[]);
        check_commands(
            "Usage: x\n\nCommands:\n  scan   Scans\n         and more\n  local  Lists\n  help   Helps\n\nOptions:\n  -q\n",
            &["scan", "local"],
        );
    }

    #[test]
    fn ends_of_lines_are_bare() {
        assert_eq!(trimmed("a  \n\n b \n\n"), "a\n\n b");
    }
}
