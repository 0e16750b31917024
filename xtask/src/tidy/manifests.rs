//! Manifests and the files that must stand beside them: reasons for dependencies, one place for
//! versions, lints that members must ask for, bans of the pure crates, the map that names every
//! crate.

use super::Problem;
use super::arrows::{PURE, short};
use super::repository::Repository;
use toml::{Table, Value};

/// What the `clippy.toml` of a pure crate must ban.
const PURE_BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::fs::File",
];

/// All checks of this file.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = reasons(repository);
    for (package, folder) in repository.members() {
        problems.extend(member(repository, folder));
        problems.extend(purity(repository, short(&package.name), folder));
    }
    problems.extend(map(repository));
    problems
}

/// Every external dependency in the root manifest follows a comment, or continues a family whose
/// first line does (`clap`, `clap_complete`).
fn reasons(repository: &Repository) -> Vec<Problem> {
    const MANIFEST: &str = "Cargo.toml";
    let mut problems = Vec::new();
    let text = repository.files.get(MANIFEST).map_or("", String::as_str);
    let mut inside = false;
    let mut reason = false;
    let mut family = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if inside && line.is_empty() {
            reason = false;
            family.clear();
        } else if inside && line.starts_with('#') {
            reason = true;
        } else if inside
            && let Some((name, rest)) = line.split_once('=')
            && !rest.contains("path =")
        {
            let name = name.trim();
            let stem = name.split(['-', '_']).next().unwrap_or(name);
            if !reason && stem != family {
                problems.push(Problem::new(
                    MANIFEST,
                    format!("the dependency {name} has no comment that says why it is taken"),
                ));
            }
            stem.clone_into(&mut family);
            reason = false;
        }
    }
    if !text.contains("[workspace.dependencies]") {
        problems.push(Problem::new(
            MANIFEST,
            "no [workspace.dependencies]".to_owned(),
        ));
    }
    problems
}

/// A member asks for the workspace's lints and takes every dependency from the workspace.
fn member(repository: &Repository, folder: &str) -> Vec<Problem> {
    let path = format!("{folder}/Cargo.toml");
    let text = repository.files.get(&path).map_or("", String::as_str);
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Problem::new(&path, format!("no valid TOML: {error}"))],
    };
    let mut problems = Vec::new();
    if !inherits(manifest.get("lints")) {
        let message = "add `[lints] workspace = true`; it is not inherited by itself";
        problems.push(Problem::new(&path, message.to_owned()));
    }
    let mut tables: Vec<&Table> = vec![&manifest];
    if let Some(Value::Table(targets)) = manifest.get("target") {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let entries = tables
            .iter()
            .filter_map(|table| table.get(section)?.as_table())
            .flatten();
        for (name, value) in entries {
            if !inherits(Some(value)) {
                problems.push(Problem::new(
                    &path,
                    format!("{name} must come from the workspace: `{name}.workspace = true`"),
                ));
            }
        }
    }
    problems
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")?.as_bool()) == Some(true)
}

/// A pure crate carries its own bans, because clippy merges no files.
fn purity(repository: &Repository, name: &str, folder: &str) -> Vec<Problem> {
    if !PURE.contains(&name) {
        return Vec::new();
    }
    let path = format!("{folder}/clippy.toml");
    let Some(text) = repository.files.get(&path) else {
        return vec![Problem::new(
            &path,
            format!("{name} is pure and needs its bans"),
        )];
    };
    let settings: Table = match text.parse() {
        Ok(settings) => settings,
        Err(error) => return vec![Problem::new(&path, format!("no valid TOML: {error}"))],
    };
    let banned: Vec<&str> = ["disallowed-methods", "disallowed-types"]
        .iter()
        .filter_map(|key| settings.get(*key)?.as_array())
        .flatten()
        .filter_map(|entry| entry.get("path")?.as_str())
        .collect();
    PURE_BANS
        .iter()
        .filter(|ban| !banned.contains(ban))
        .map(|ban| Problem::new(&path, format!("{ban} is not banned here")))
        .collect()
}

/// `ARCHITECTURE.md` names every crate, as its folder or as its package.
fn map(repository: &Repository) -> Vec<Problem> {
    const MAP: &str = "ARCHITECTURE.md";
    let Some(text) = repository.files.get(MAP) else {
        return vec![Problem::new(MAP, "the map is missing".to_owned())];
    };
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_/".contains(c)))
        .collect();
    repository
        .members()
        .filter(|(package, folder)| {
            let last = folder.rsplit('/').next().unwrap_or(folder);
            let marked = format!("`{last}`");
            let named = words.iter().any(|word| {
                *word == package.name && package.name.contains('-')
                    || word.trim_end_matches('/') == *folder
                    || word.strip_suffix('/') == Some(last)
            });
            !named && !text.contains(&marked)
        })
        .map(|(package, _)| Problem::new(MAP, format!("the crate {} is not named", package.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::repository::Package;

    fn repository(files: &[(&str, &str)]) -> Repository {
        Repository {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
            packages: vec![Package {
                name: "portolan-scan".to_owned(),
                folder: Some("crates/scan".to_owned()),
                ..Package::default()
            }],
        }
    }

    fn check_reasons(dependencies: &str, expected: usize) {
        let text =
            format!("[workspace]\n[workspace.dependencies]\n{dependencies}\n[profile.dev]\n");
        let problems = reasons(&repository(&[("Cargo.toml", &text)]));
        assert_eq!(problems.len(), expected, "{dependencies}: {problems:?}");
    }

    #[test]
    fn a_dependency_needs_a_reason_above_it() {
        check_reasons("# why\na = \"1\"", 0);
        check_reasons("a = \"1\"", 1);
        check_reasons("# why\na = \"1\"\nb = \"1\"", 1);
        check_reasons("# why\n\na = \"1\"", 1);
        check_reasons("# why\na = \"1\"\na_more = \"1\"\na-most = \"1\"", 0);
        check_reasons("portolan-model = { path = \"crates/model\" }", 0);
    }

    fn check_member(manifest: &str, expected: usize) {
        let problems = member(
            &repository(&[("crates/scan/Cargo.toml", manifest)]),
            "crates/scan",
        );
        assert_eq!(problems.len(), expected, "{manifest}: {problems:?}");
    }

    #[test]
    fn a_member_inherits_lints_and_dependencies() {
        check_member(
            "[lints]\nworkspace = true\n[dependencies]\na.workspace = true",
            0,
        );
        check_member("[dependencies]\na.workspace = true", 1);
        check_member("[lints]\nworkspace = true\n[dependencies]\na = \"1\"", 1);
        check_member(
            "[lints]\nworkspace = true\n[dev-dependencies]\na = \"1\"",
            1,
        );
        check_member(
            "[lints]\nworkspace = true\n[target.'cfg(unix)'.dependencies]\na = { version = \"1\" }",
            1,
        );
        check_member("not toml", 1);
    }

    fn check_purity(settings: Option<&str>, expected: usize) {
        let files: Vec<(&str, &str)> = settings
            .map(|text| ("crates/scan/clippy.toml", text))
            .into_iter()
            .collect();
        let problems = purity(&repository(&files), "scan", "crates/scan");
        assert_eq!(problems.len(), expected, "{settings:?}: {problems:?}");
    }

    #[test]
    fn a_pure_crate_carries_every_ban() {
        let ban = |path: &&str| format!("{{ path = \"{path}\", reason = \"r\" }}");
        let all: Vec<String> = PURE_BANS.iter().map(ban).collect();
        check_purity(
            Some(&format!("disallowed-methods = [{}]", all.join(", "))),
            0,
        );
        let fewer = all[1..].join(", ");
        check_purity(Some(&format!("disallowed-methods = [{fewer}]")), 1);
        check_purity(Some(""), PURE_BANS.len());
        check_purity(None, 1);
    }

    fn check_map(text: &str, expected: usize) {
        let problems = map(&repository(&[("ARCHITECTURE.md", text)]));
        assert_eq!(problems.len(), expected, "{text}: {problems:?}");
    }

    #[test]
    fn the_map_names_every_crate() {
        check_map("├─ scan/ engine", 0);
        check_map("see `scan`.", 0);
        check_map("see crates/scan.", 0);
        check_map("portolan-scan does it", 0);
        check_map("we scan; rescan/ and portolan-scanner", 1);
    }
}
