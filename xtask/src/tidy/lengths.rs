//! How long files and functions may be, with a list of exceptions that can only shrink: an entry
//! that is not needed, or that allows more than is used, fails.

use super::Problem;
use super::repository::Repository;
use super::source::{code_only, functions};
use serde::Deserialize;

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 700;

/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Where the exceptions stand.
const EXCEPTIONS: &str = "xtask/tidy-exceptions.toml";

/// How many exceptions there are. Lower it when one goes; it is never raised.
const EXCEPTIONS_MAX: usize = 0;

/// The file of exceptions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    file: Vec<FileException>,
    #[serde(default)]
    function: Vec<FunctionException>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileException {
    path: String,
    lines: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionException {
    path: String,
    name: String,
    lines: usize,
}

/// Something with a length.
struct Measured<'a> {
    path: &'a str,
    /// `None` for the file itself.
    function: Option<String>,
    lines: usize,
    lines_max: usize,
}

/// Files and functions keep their length.
pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    check_at_most(repository, EXCEPTIONS_MAX)
}

fn check_at_most(repository: &Repository, exceptions_max: usize) -> Vec<Problem> {
    let text = repository.files.get(EXCEPTIONS).map_or("", String::as_str);
    let exceptions: Exceptions = match toml::from_str(text) {
        Ok(exceptions) => exceptions,
        Err(error) => return vec![Problem::new(EXCEPTIONS, error.to_string())],
    };
    let measured: Vec<Measured<'_>> = repository
        .rust()
        .flat_map(|(path, text)| measure(path, text))
        .collect();
    let mut problems = Vec::new();
    let count = exceptions.file.len() + exceptions.function.len();
    if count > exceptions_max {
        problems.push(Problem::new(
            EXCEPTIONS,
            format!("{count} exceptions, but the list only shrinks from {exceptions_max}"),
        ));
    }
    for one in &measured {
        problems.extend(judge(one, exceptions.allowance(one)));
    }
    problems.extend(exceptions.stale(&measured));
    problems
}

fn measure<'a>(path: &'a str, text: &str) -> Vec<Measured<'a>> {
    let whole = Measured {
        path,
        function: None,
        lines: lines_before_tests(text),
        lines_max: FILE_LINES_MAX,
    };
    let inner = functions(&code_only(text))
        .into_iter()
        .map(|function| Measured {
            path,
            function: Some(format!("{} (line {})", function.name, function.line)),
            lines: function.lines,
            lines_max: FUNCTION_LINES_MAX,
        });
    std::iter::once(whole).chain(inner).collect()
}

/// Lines before the module of tests; a lone item that only tests see does not end the count.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .position(|pair| {
            matches!(pair, [attribute, item]
                if *attribute == "#[cfg(test)]" && item.starts_with("mod "))
        })
        .unwrap_or(lines.len())
}

fn judge(one: &Measured<'_>, allowance: Option<usize>) -> Option<Problem> {
    let what = one.function.as_deref().unwrap_or("the file");
    let Measured {
        lines, lines_max, ..
    } = one;
    let message = match allowance {
        None if lines > lines_max => format!("{what} has {lines} lines, at most {lines_max}"),
        Some(allowed) if *lines > allowed => {
            format!("{what} grew to {lines} lines; its exception ends at {allowed}")
        }
        Some(allowed) if lines > lines_max && *lines < allowed => {
            format!("{what} has {lines} lines; lower its exception from {allowed}")
        }
        _ => return None,
    };
    Some(Problem::new(one.path, message))
}

impl Exceptions {
    fn allowance(&self, one: &Measured<'_>) -> Option<usize> {
        match &one.function {
            None => self
                .file
                .iter()
                .find(|exception| exception.path == one.path)
                .map(|exception| exception.lines),
            Some(_) => self
                .function
                .iter()
                .find(|exception| exception.covers(one))
                .map(|exception| exception.lines),
        }
    }

    /// Entries whose subject is gone or short enough.
    fn stale(&self, measured: &[Measured<'_>]) -> Vec<Problem> {
        let needed = |covers: &dyn Fn(&Measured<'_>) -> bool| {
            measured
                .iter()
                .any(|one| covers(one) && one.lines > one.lines_max)
        };
        let files = self
            .file
            .iter()
            .filter(|exception| {
                !needed(&|one| one.function.is_none() && one.path == exception.path)
            })
            .map(|exception| exception.path.clone());
        let functions = self
            .function
            .iter()
            .filter(|exception| !needed(&|one| exception.covers(one)))
            .map(|exception| format!("{} in {}", exception.name, exception.path));
        files
            .chain(functions)
            .map(|what| Problem::new(EXCEPTIONS, format!("remove the exception of {what}")))
            .collect()
    }
}

impl FunctionException {
    fn covers(&self, one: &Measured<'_>) -> bool {
        one.path == self.path
            && one
                .function
                .as_deref()
                .and_then(|function| function.split(' ').next())
                == Some(self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one function, `long`, of `lines` lines.
    fn function(lines: usize) -> String {
        format!(
            "//! Job.\nfn long() {{\n{}}}\n",
            "    a();\n".repeat(lines - 2)
        )
    }

    fn check_lengths(text: &str, exceptions: &str, expected: usize) {
        let repository = Repository {
            files: [
                ("a.rs".to_owned(), text.to_owned()),
                (EXCEPTIONS.to_owned(), exceptions.to_owned()),
            ]
            .into(),
            ..Repository::default()
        };
        let problems = check_at_most(&repository, 1);
        assert_eq!(problems.len(), expected, "{exceptions}: {problems:?}");
    }

    #[test]
    fn functions_have_a_wall() {
        check_lengths(&function(FUNCTION_LINES_MAX), "", 0);
        check_lengths(&function(FUNCTION_LINES_MAX + 1), "", 1);
    }

    #[test]
    fn files_have_a_wall_and_tests_stand_behind_it() {
        let long = "// a\n".repeat(FILE_LINES_MAX);
        check_lengths(&long, "", 0);
        check_lengths(&format!("{long}// b\n"), "", 1);
        check_lengths(&format!("{long}#[cfg(test)]\nmod tests {{\n}}\n"), "", 0);
        check_lengths(&format!("#[cfg(test)]\nuse a;\n{long}"), "", 1);
    }

    #[test]
    fn an_exception_allows_exactly_what_is_there() {
        let entry = |lines: usize| {
            format!("[[function]]\npath = \"a.rs\"\nname = \"long\"\nlines = {lines}\n")
        };
        check_lengths(&function(90), &entry(90), 0);
        check_lengths(&function(91), &entry(90), 1);
        check_lengths(&function(89), &entry(90), 1);
        check_lengths(&function(60), &entry(90), 1);
        check_lengths("//! Job.\n", &entry(90), 1);
        let file = format!(
            "[[file]]\npath = \"a.rs\"\nlines = {}\n",
            FILE_LINES_MAX + 1
        );
        check_lengths(&"// a\n".repeat(FILE_LINES_MAX + 1), &file, 0);
        check_lengths("// a\n", &file, 1);
    }

    #[test]
    fn the_list_only_shrinks() {
        let two = "[[function]]\npath = \"a.rs\"\nname = \"long\"\nlines = 90\n".repeat(2);
        check_lengths(&function(90), &two, 1);
        check_lengths("//! Job.\n", "[[surprise]]\n", 1);
    }
}
