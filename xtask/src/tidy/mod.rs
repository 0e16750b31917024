//! Reads the repository and fails when a rule of `ARCHITECTURE.md` or `STYLE.md` that a machine can
//! check is broken. Formatting and lints are `cargo fmt`'s and clippy's, not this module's.

mod arrows;
mod cards;
mod lengths;
mod licences;
mod manifests;
mod repository;
mod source;
mod text;

use anyhow::{Result, bail};
use repository::Repository;
use std::fmt;
use std::path::Path;

/// A broken rule and where.
#[derive(Debug)]
struct Problem {
    path: String,
    message: String,
}

/// A group of rules: a look at the repository that answers with what is wrong.
struct Check {
    name: &'static str,
    run: fn(&Repository) -> Vec<Problem>,
}

const CHECKS: &[Check] = &[
    Check {
        name: "arrows between crates",
        run: arrows::check,
    },
    Check {
        name: "manifests",
        run: manifests::check,
    },
    Check {
        name: "licences and bans",
        run: licences::check,
    },
    Check {
        name: "cards of services",
        run: cards::check,
    },
    Check {
        name: "names and words",
        run: text::check,
    },
    Check {
        name: "lengths",
        run: lengths::check,
    },
];

/// Runs every check and prints what each found.
pub(crate) fn run(root: &Path) -> Result<()> {
    let repository = Repository::read(root)?;
    let mut count = 0;
    for check in CHECKS {
        let problems = (check.run)(&repository);
        let verdict = if problems.is_empty() { "ok" } else { "FAILED" };
        println!("tidy: {}: {verdict}", check.name);
        for problem in &problems {
            println!("  {problem}");
        }
        count += problems.len();
    }
    println!(
        "tidy: {} files and {} packages read, {count} problems",
        repository.files.len(),
        repository.packages.len(),
    );
    if count > 0 {
        bail!("tidy found {count} problems; each line above says what to change");
    }
    Ok(())
}

impl Problem {
    fn new(path: &str, message: String) -> Self {
        Self {
            path: path.to_owned(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use repository::{Dependency, Kind, Package};

    /// A repository that breaks a rule of every group.
    fn broken() -> Repository {
        let member = |name: &str, folder: &str| Package {
            name: name.to_owned(),
            folder: Some(folder.to_owned()),
            ..Package::default()
        };
        let mut model = member("portolan-model", "crates/model");
        model.dependencies.push(Dependency {
            name: "portolan-net".to_owned(),
            kind: Kind::Normal,
        });
        Repository {
            files: [
                (
                    "crates/model/src/util.rs".to_owned(),
                    format!("fn long() {{\n{}}}\n", "\n".repeat(80)),
                ),
                ("data/services/lost.toml".to_owned(), String::new()),
            ]
            .into(),
            packages: vec![model, member("portolan-net", "crates/net")],
        }
    }

    #[test]
    fn every_group_of_checks_can_fail() {
        for check in CHECKS {
            assert!(!(check.run)(&broken()).is_empty(), "{}", check.name);
        }
    }
}
