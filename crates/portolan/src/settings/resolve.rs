//! Values from below the flags: which one wins, and what becomes of those that exclude each other.

use super::Source;
use super::table::{Entry, Kind, Section, Table};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// A value that stands in a file or in the environment.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) id: String,
    pub(super) section: Section,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// `true` or `false` for a switch.
    pub(super) values: Vec<OsString>,
    pub(super) source: Source,
    /// As the user wrote it, fit to be shown.
    pub(super) written: String,
    /// A greater one wins; flags are above all.
    pub(super) strength: usize,
}

/// What is set, without a flag's doing.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    by_id: BTreeMap<String, Given>,
}

/// Longest part of a value that is shown.
const SHOWN_CHARS_MAX: usize = 60;

impl Given {
    /// The sentence about a value that is wrong.
    pub(super) fn wrong(&self, what_is_right: &str) -> String {
        wrong(&self.source, &self.name, &self.written, what_is_right)
    }

    fn is_off(&self) -> bool {
        self.kind == Kind::Switch && self.values.first().is_some_and(|value| value == "false")
    }
}

/// The sentence about a value that is wrong.
pub(super) fn wrong(source: &Source, key: &str, written: &str, what_is_right: &str) -> String {
    let what_is_right = what_is_right.trim_end_matches('.');
    match source {
        Source::Environment(variable) => format!(
            "the environment variable {variable} is {written}, which --{key} does not take: \
             {what_is_right}"
        ),
        Source::File { path, line } => format!(
            "{path}, line {line}: {key} = {written} is not a value of {key}: {what_is_right}"
        ),
        Source::Default | Source::Flag => format!("{key} = {written}: {what_is_right}"),
    }
}

/// Text of the user's, on one line, without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(|c| {
            let control = c.is_control();
            let escaped = control.then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!control).then_some(c))
        })
        .collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

/// The value of an option's environment variable; an empty one counts as unset.
///
/// # Errors
/// When a switch has a value that is neither true nor false.
pub(super) fn from_environment(
    entry: &Entry,
    environment: &BTreeMap<String, OsString>,
    strength: usize,
) -> Result<Option<Given>, String> {
    let variable = entry.arg.get_env().and_then(|name| name.to_str());
    let Some((variable, value)) = variable.and_then(|name| environment.get_key_value(name)) else {
        return Ok(None);
    };
    if value.is_empty() {
        return Ok(None);
    }
    let source = Source::Environment(variable.clone());
    let written = format!("\"{}\"", shown(&value.to_string_lossy()));
    let value = match entry.kind {
        Kind::Switch => match truth(&value.to_string_lossy()) {
            Some(truth) => OsString::from(truth),
            None => return Err(wrong(&source, &entry.name, &written, "write true or false")),
        },
        Kind::Many | Kind::One => value.clone(),
    };
    Ok(Some(Given {
        id: entry.id().to_owned(),
        section: entry.section,
        name: entry.name.clone(),
        kind: entry.kind,
        values: vec![value],
        source,
        written,
        strength,
    }))
}

/// What people write for a truth value.
fn truth(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Some("true"),
        "0" | "false" | "no" | "off" => Some("false"),
        _ => None,
    }
}

impl Resolved {
    /// Chooses among `given`, the weakest first. A value that excludes a stronger one, or a flag
    /// of the command line `first`, gives way.
    ///
    /// # Errors
    /// When two of the same file, or two environment variables, exclude each other, and when a
    /// scope would silently give way.
    pub(super) fn of(table: &Table, given: Vec<Given>, first: &ArgMatches) -> Result<Self, String> {
        let flags = flags(first);
        let mut by_id = BTreeMap::new();
        for value in given {
            by_id.insert(value.id.clone(), value);
        }
        // A flag replaces the value, so it no longer matters what the value excludes.
        by_id.retain(|id, _| !flags.contains(id));
        if let Some(scope) = by_id.get("scope")
            && flags.iter().any(|flag| flag == "i_am_authorized")
        {
            return Err(format!(
                "--i-am-authorized stands in for a scope file, but {} is set ({}), and its limits \
                 are not dropped silently: leave --i-am-authorized out, or take the setting away",
                scope.written, scope.source
            ));
        }
        let mut chosen: Vec<Given> = by_id.into_values().collect();
        chosen.sort_by_key(|value| std::cmp::Reverse(value.strength));
        let mut resolved = Self::default();
        for value in chosen {
            if resolved.admits(table, &value, &flags)? {
                resolved.by_id.insert(value.id.clone(), value);
            }
        }
        Ok(resolved)
    }

    fn admits(&self, table: &Table, value: &Given, flags: &[String]) -> Result<bool, String> {
        if value.is_off() {
            return Ok(true);
        }
        if flags.iter().any(|flag| table.conflict(flag, &value.id)) {
            return Ok(false);
        }
        let stronger = self
            .by_id
            .values()
            .find(|other| !other.is_off() && table.conflict(&other.id, &value.id));
        match stronger {
            None => Ok(true),
            Some(other) if other.strength > value.strength => Ok(false),
            Some(other) => Err(format!(
                "{} ({}) and {} ({}) exclude each other: take one of them away",
                value.name, value.source, other.name, other.source
            )),
        }
    }

    /// Where the value of an option comes from when no flag gives one.
    pub(super) fn source(&self, id: &str) -> Source {
        let given = self.by_id.get(id);
        given.map_or(Source::Default, |given| given.source.clone())
    }

    /// The command with these values for its defaults: as such they conflict with no flag.
    pub(super) fn as_defaults(&self, table: &Table, command: Command) -> Command {
        let mut command = command;
        for entry in table.entries() {
            let Some(given) = self.by_id.get(entry.id()) else {
                continue;
            };
            let with_default = |target: Command| {
                target.mut_args(|arg| {
                    if arg.get_id() == entry.id() {
                        arg.default_values(&given.values)
                    } else {
                        arg
                    }
                })
            };
            command = match entry.section {
                Section::Every => with_default(command),
                Section::Scan => command.mut_subcommands(|sub| {
                    if sub.get_name() == "scan" {
                        with_default(sub)
                    } else {
                        sub
                    }
                }),
            };
        }
        command
    }
}

/// What the command line itself names.
fn flags(matches: &ArgMatches) -> Vec<String> {
    let below = matches.subcommand().map(|(_, below)| below);
    let all = std::iter::once(matches).chain(below);
    all.flat_map(|matches| {
        let named =
            |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        matches.ids().filter(named).map(|id| id.as_str().to_owned())
    })
    .collect()
}
