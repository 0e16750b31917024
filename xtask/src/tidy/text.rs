//! What stands in files and how files are called: first lines, names, words that mean "unfinished",
//! paths of one machine, `unsafe` outside its place, tests that do not run.

use super::Problem;
use super::repository::{Repository, is_rust};
use super::source::{code_only, line_of_word};

/// The only folder whose code may be `unsafe`.
const UNSAFE_FOLDER: &str = "crates/net/src/raw/";

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &[
    "common", "core", "helpers", "imp", "manager", "misc", "shared", "types", "util", "utils",
];

/// Words of unfinished work, spelt in two halves so that this file passes its own check. The flag
/// tells whether upper and lower case are the same.
const UNFINISHED: &[(&str, &str, Case)] = &[
    ("TO", "DO", Case::Exact),
    ("FIX", "ME", Case::Exact),
    ("X", "XX", Case::Exact),
    ("HA", "CK", Case::Exact),
    ("place", "holder", Case::Any),
    ("for ", "now", Case::Any),
    ("not yet ", "implemented", Case::Any),
    ("coming ", "soon", Case::Any),
];

/// Folders of one machine, in two halves for the same reason. What follows must not be part of a
/// longer name.
const MACHINE_PATHS: &[(&str, &str)] = &[("/wo", "rk"), ("/ro", "ot/"), ("/ho", "me/")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Any,
    Exact,
}

/// All checks of this file.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in repository.rust() {
        problems.extend(rust(path, text));
    }
    for (path, text) in &repository.files {
        problems.extend(name(path));
        // The lock file is cargo's text, and recorded output is evidence that nobody edits.
        if path != "Cargo.lock" {
            problems.extend(words(path, text));
        }
    }
    problems
}

fn rust(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        let message = "the file must start with `//!`: its job in a sentence";
        problems.push(Problem::new(path, message.to_owned()));
    }
    let code = code_only(text);
    if !path.starts_with(UNSAFE_FOLDER)
        && let Some(line) = line_of_word(&code, "unsafe")
    {
        let message = format!("line {line}: `unsafe` is allowed only in {UNSAFE_FOLDER}");
        problems.push(Problem::new(path, message));
    }
    let ignored = |line: &str| {
        let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        bare.contains("#[ignore") || bare.contains(",ignore)") || bare.contains(",ignore=")
    };
    if let Some(index) = code.lines().position(ignored) {
        let message = format!("line {}: a test that is ignored tests nothing", index + 1);
        problems.push(Problem::new(path, message));
    }
    problems
}

fn name(path: &str) -> Vec<Problem> {
    let in_code = is_rust(path) || path.ends_with("/Cargo.toml");
    if !in_code {
        return Vec::new();
    }
    let banned = |part: &&str| {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        BANNED_NAMES.contains(&stem) || has_version(stem)
    };
    path.split('/')
        .filter(banned)
        .map(|part| {
            Problem::new(
                path,
                format!("the name {part:?} says nothing; name the job"),
            )
        })
        .collect()
}

/// Whether a part of a name is a version (`parser_v2`); `ipv4` is a protocol.
fn has_version(stem: &str) -> bool {
    stem.split(['_', '-']).any(|part| {
        part.strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
    })
}

fn words(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (start, end, case) in UNFINISHED {
            let word = format!("{start}{end}");
            let line = if *case == Case::Any { &lower } else { line };
            if contains_whole(line, &word) {
                let message = format!("line {}: {word:?} means unfinished work", index + 1);
                problems.push(Problem::new(path, message));
            }
        }
        for (start, end) in MACHINE_PATHS {
            let folder = format!("{start}{end}");
            if contains_whole(line, &folder) {
                let message = format!("line {}: {folder:?} is a path of one machine", index + 1);
                problems.push(Problem::new(path, message));
            }
        }
    }
    problems
}

/// Whether `needle` stands in `line` and is no part of a longer word or path.
fn contains_whole(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line.get(..at).and_then(|part| part.chars().next_back());
        let after = line
            .get(at + needle.len()..)
            .and_then(|part| part.chars().next());
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let open_end = needle.ends_with('/') || !after.is_some_and(joins);
        // `a/b` is relative: a path starts where no name and no dot stands before its slash.
        let open_start = !before.is_some_and(|c| joins(c) || needle.starts_with('/') && c == '.');
        open_start && open_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_file(path: &str, text: &str, expected: usize) {
        let repository = Repository {
            files: [(path.to_owned(), text.to_owned())].into(),
            ..Repository::default()
        };
        let problems = check(&repository);
        assert_eq!(problems.len(), expected, "{path}: {text}: {problems:?}");
    }

    #[test]
    fn a_file_starts_with_its_job() {
        check_file("a.rs", "//! Job.\n", 0);
        check_file("a.rs", "\n//! Job.\n", 1);
        check_file("a.rs", "use a;\n", 1);
    }

    #[test]
    fn unsafe_has_one_place() {
        let code = "//! Job.\nfn a() { unsafe { b() } }";
        check_file("crates/net/src/raw/packet.rs", code, 0);
        check_file("crates/net/src/dial.rs", code, 1);
        check_file("a.rs", "//! unsafe\nconst A: &str = \"unsafe\";", 0);
    }

    #[test]
    fn ignored_tests_fail() {
        check_file("a.rs", "//! Job.\n#[ignore]\nfn a() {}", 1);
        check_file("a.rs", "//! Job.\n#[ ignore = \"slow\"]\nfn a() {}", 1);
        check_file(
            "a.rs",
            "//! Job.\n#[cfg_attr(windows, ignore)]\nfn a() {}",
            1,
        );
        check_file(
            "a.rs",
            "//! Job.\n// #[ignore] is banned\nfn ignore() {}",
            0,
        );
    }

    #[test]
    fn names_say_what_is_inside() {
        check_file("crates/scan/src/util.rs", "//! Job.", 1);
        check_file("crates/core/src/lib.rs", "//! Job.", 1);
        check_file("crates/helpers/Cargo.toml", "", 1);
        check_file("crates/scan/src/engine_v2.rs", "//! Job.", 1);
        check_file("crates/wire/src/ipv4.rs", "//! Job.", 0);
        check_file("crates/scan/src/manager_of_none.rs", "//! Job.", 0);
    }

    #[test]
    fn words_of_unfinished_work_fail() {
        for (start, end, case) in UNFINISHED {
            let word = format!("{start}{end}");
            check_file("a.md", &format!("a {word} b"), 1);
            check_file("a.md", &format!("a x{word}x b"), 0);
            let upper = word.to_uppercase();
            check_file("a.toml", &format!("# {upper}!"), 1);
            if *case == Case::Exact {
                check_file("a.md", &word.to_lowercase(), 0);
            }
        }
    }

    #[test]
    fn paths_of_one_machine_fail() {
        for (start, end) in MACHINE_PATHS {
            let folder = format!("{start}{end}");
            check_file("a.md", &format!("see `{folder}`"), 1);
            check_file("a.md", &format!("see {folder}/x"), 1);
            check_file("a.md", &format!("see docs{folder} and ..{folder}"), 0);
        }
        let longer = format!("{}{}shop", "/wo", "rk");
        check_file("a.md", &longer, 0);
    }
}
