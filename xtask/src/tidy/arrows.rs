//! Who may import whom: the table of `ARCHITECTURE.md` as data, and the check against what cargo
//! says. What a crate may call inside the standard library is clippy's business, not this file's.

use super::Problem;
use super::repository::{Kind, Package, Repository};

/// What a crate may import of this workspace.
enum May {
    /// These and no other.
    Import(&'static [&'static str]),
    /// Every crate of the product.
    ImportAll,
    /// Everything; the crate itself serves development, so nothing that ships may need it.
    Develop,
    /// These, and the crate itself serves development.
    DevelopWith(&'static [&'static str]),
}

/// The only copy of the rule. A member that stands not here fails.
const TABLE: &[(&str, May)] = &[
    ("model", May::Import(&[])),
    ("wire", May::Import(&[])),
    ("catalog", May::Import(&["model"])),
    ("targets", May::Import(&["model"])),
    ("scan", May::Import(&["model", "catalog", "wire"])),
    ("identify", May::Import(&["model", "catalog"])),
    ("inspect", May::Import(&["model", "catalog"])),
    ("assess", May::Import(&["model", "catalog"])),
    ("report", May::Import(&["model"])),
    ("net", May::Import(&["model", "wire"])),
    ("store", May::Import(&["model"])),
    (
        "pipeline",
        May::Import(&[
            "model", "catalog", "wire", "targets", "scan", "identify", "inspect", "assess", "net",
        ]),
    ),
    (
        "watch",
        May::Import(&["model", "store", "pipeline", "assess"]),
    ),
    ("portolan", May::ImportAll),
    (
        "sim",
        May::DevelopWith(&[
            "model", "catalog", "wire", "net", "inspect", "scan", "targets",
        ]),
    ),
    ("fuzz", May::Develop),
    ("lab", May::Develop),
    ("xtask", May::Develop),
];

/// Crates that are values in, values out; each carries a `clippy.toml` with the bans.
pub(super) const PURE: &[&str] = &[
    "model", "catalog", "wire", "targets", "scan", "identify", "inspect", "assess", "report",
];

/// Every arrow between members stands in the table.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (package, folder) in repository.members() {
        let place = format!("{folder}/Cargo.toml");
        let Some(rule) = rule(short(&package.name)) else {
            problems.push(Problem::new(
                &place,
                format!("{} stands not in the table of arrows", package.name),
            ));
            continue;
        };
        for (target, kind) in internal(repository, package) {
            if !allowed(rule, target, kind) {
                problems.push(Problem::new(
                    &place,
                    format!(
                        "{} may not import {target} ({})",
                        package.name,
                        match kind {
                            Kind::Build => "for its build",
                            Kind::Development => "for its tests",
                            Kind::Normal => "for the product",
                        }
                    ),
                ));
            }
        }
    }
    problems
}

/// The name without the prefix that all members carry.
pub(super) fn short(name: &str) -> &str {
    name.strip_prefix("portolan-").unwrap_or(name)
}

fn rule(name: &str) -> Option<&'static May> {
    TABLE
        .iter()
        .find(|(member, _)| *member == name)
        .map(|(_, rule)| rule)
}

fn internal<'a>(
    repository: &'a Repository,
    package: &'a Package,
) -> impl Iterator<Item = (&'a str, Kind)> {
    package
        .dependencies
        .iter()
        .filter(|dependency| {
            repository
                .members()
                .any(|(member, _)| member.name == dependency.name)
        })
        .map(|dependency| (short(&dependency.name), dependency.kind))
}

fn allowed(rule: &May, target: &str, kind: Kind) -> bool {
    let develops = matches!(self::rule(target), Some(May::Develop | May::DevelopWith(_)));
    if develops && kind == Kind::Development {
        return true;
    }
    match rule {
        May::Develop => true,
        May::ImportAll => !develops,
        May::Import(names) | May::DevelopWith(names) => names.contains(&target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::repository::Dependency;

    fn check_arrow(from: &str, to: &str, kind: Kind, expected: bool) {
        let member = |name: &str| Package {
            name: name.to_owned(),
            folder: Some(format!("crates/{}", short(name))),
            ..Package::default()
        };
        let mut source = member(from);
        source.dependencies.push(Dependency {
            name: to.to_owned(),
            kind,
        });
        let repository = Repository {
            packages: vec![source, member(to)],
            ..Repository::default()
        };
        let problems = check(&repository);
        assert_eq!(
            problems.is_empty(),
            expected,
            "{from} -> {to}: {problems:?}"
        );
    }

    #[test]
    fn arrows_of_the_table_pass_and_others_fail() {
        check_arrow("portolan-scan", "portolan-model", Kind::Normal, true);
        check_arrow("portolan-scan", "portolan-net", Kind::Normal, false);
        check_arrow("portolan-scan", "portolan-targets", Kind::Normal, false);
        check_arrow("portolan-model", "portolan-wire", Kind::Normal, false);
        check_arrow("portolan-pipeline", "portolan-net", Kind::Normal, true);
        check_arrow("portolan-pipeline", "portolan-report", Kind::Normal, false);
        check_arrow("portolan", "portolan-report", Kind::Normal, true);
    }

    #[test]
    fn development_crates_serve_tests_only() {
        check_arrow("portolan", "portolan-sim", Kind::Normal, false);
        check_arrow("portolan", "portolan-lab", Kind::Build, false);
        check_arrow("portolan", "portolan-lab", Kind::Development, true);
        check_arrow("portolan-sim", "portolan-scan", Kind::Normal, true);
        check_arrow("portolan-sim", "portolan-pipeline", Kind::Normal, false);
        check_arrow("xtask", "portolan-lab", Kind::Normal, true);
    }

    #[test]
    fn a_stage_may_not_import_a_stage_even_in_tests() {
        check_arrow(
            "portolan-scan",
            "portolan-targets",
            Kind::Development,
            false,
        );
    }

    #[test]
    fn a_member_without_a_line_in_the_table_fails() {
        check_arrow("portolan-surprise", "portolan-model", Kind::Normal, false);
    }
}
