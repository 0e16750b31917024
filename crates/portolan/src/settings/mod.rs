//! Where the value of an option comes from: flag > environment > `./portolan.toml` > the user's
//! `portolan.toml` > default. Every value, wherever it stands, is read by the flag's own parser.
//! The flags themselves are in [`crate::flags`]; what settings mean is not known here.

mod file;
mod resolve;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use file::SettingsFile;
pub(crate) use table::{Kind, Section};

use crate::flags::Cli;
use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use resolve::{Given, Resolved};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use table::Table;

/// Every setting that is in force, and the files that were looked for.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// In the order of their names, those of every command first. Those of `scan` are here when
    /// the command is `scan` or `config`.
    pub(crate) list: Vec<Setting>,
    /// The first wins.
    pub(crate) files: Vec<SettingsFile>,
}

/// One option that may be set in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Where it stands in a file.
    pub(crate) section: Section,
    /// The long name of the option, without dashes.
    pub(crate) name: String,
    /// What it takes.
    pub(crate) kind: Kind,
    /// Empty when nothing is set.
    pub(crate) values: Vec<String>,
    /// What happens when nothing is set, in the words of the help.
    pub(crate) unset: Option<String>,
    /// Where the value comes from.
    pub(crate) source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody set it.
    Default,
    /// The environment variable of this name.
    Environment(String),
    /// A settings file.
    File {
        /// As it is shown to the user.
        path: String,
        /// From 1.
        line: usize,
    },
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{path} line {line}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// The program ends before a command runs.
#[derive(Debug)]
pub(crate) enum ParseEnd {
    /// Help, the version, or a wrong command line.
    CommandLine(Box<clap::Error>),
    /// A sentence about a wrong setting.
    Setting(String),
}

impl ParseEnd {
    /// Shows it and answers the exit code: help and the version go to stdout with 0, everything
    /// else to stderr with 2.
    pub(crate) fn show(&self) -> u8 {
        match self {
            Self::CommandLine(error) => {
                // A closed stream is no reason to fail: there is nobody left to tell.
                let _ = error.print();
                u8::try_from(error.exit_code()).unwrap_or(crate::exit::USAGE)
            }
            Self::Setting(sentence) => {
                crate::terminal::show_error(sentence);
                crate::exit::USAGE
            }
        }
    }
}

impl From<clap::Error> for ParseEnd {
    fn from(error: clap::Error) -> Self {
        Self::CommandLine(Box::new(error))
    }
}

/// Reads the command line and everything below it.
///
/// # Errors
/// When there is only something to show: help, the version, or what is wrong with a flag, an
/// environment variable or a settings file.
pub(crate) fn parse(
    arguments: impl Iterator<Item = OsString>,
) -> Result<(Cli, Settings), ParseEnd> {
    let arguments: Vec<OsString> = arguments.collect();
    // Names that are not Unicode cannot be ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    parse_in(&arguments, &environment, file::find)
}

/// As [`parse`], with everything that it would look at.
fn parse_in(
    arguments: &[OsString],
    environment: &BTreeMap<String, OsString>,
    find: impl FnOnce() -> Result<Vec<SettingsFile>, String>,
) -> Result<(Cli, Settings), ParseEnd> {
    let bare = apart_from_environment(Cli::command());
    let first = match bare.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Err(with_environment_names(error, arguments)),
    };
    if !uses_settings(&first) {
        return Ok((Cli::from_arg_matches(&first)?, Settings::default()));
    }
    let table = Table::of(&bare, &Cli::command());
    let files = find().map_err(ParseEnd::Setting)?;
    let given = given(&table, environment, &files, &first).map_err(ParseEnd::Setting)?;
    let resolved = Resolved::of(&table, given, &first).map_err(ParseEnd::Setting)?;
    let layered = resolved.as_defaults(&table, bare);
    let matches = layered.clone().try_get_matches_from(arguments)?;
    let list = list(&table, &resolved, &layered, &matches)?;
    Ok((Cli::from_arg_matches(&matches)?, Settings { list, files }))
}

/// The command without its environment variables: they are a layer here, for which clap would not
/// say in a message whose fault a wrong value is, and which must not conflict with flags.
fn apart_from_environment(command: Command) -> Command {
    command
        .mut_args(|arg| arg.env(None::<&str>))
        .mut_subcommands(apart_from_environment)
}

/// Help names the environment variables, so it comes from the whole table. What they hold is left
/// out: it may be secret, and help should be the same everywhere.
fn with_environment_names(error: clap::Error, arguments: &[OsString]) -> ParseEnd {
    fn hide_values(command: Command) -> Command {
        command
            .mut_args(|arg| arg.hide_env_values(true))
            .mut_subcommands(hide_values)
    }
    if error.kind() == ErrorKind::DisplayHelp
        && let Err(help) = hide_values(Cli::command()).try_get_matches_from(arguments)
    {
        return help.into();
    }
    error.into()
}

/// What prints the same everywhere must also work with a broken settings file.
fn uses_settings(matches: &ArgMatches) -> bool {
    !matches!(matches.subcommand_name(), Some("completions" | "man"))
}

/// Whether the settings of `scan` matter to the command.
fn uses_scan(matches: &ArgMatches) -> bool {
    matches!(matches.subcommand_name(), Some("config" | "scan"))
}

/// Every value below the flags, the weakest first.
fn given(
    table: &Table,
    environment: &BTreeMap<String, OsString>,
    files: &[SettingsFile],
    first: &ArgMatches,
) -> Result<Vec<Given>, String> {
    let mut given = Vec::new();
    for (strength, file) in files.iter().rev().enumerate() {
        given.extend(file::values(table, file, strength)?);
    }
    let strength = files.len();
    let wanted = table
        .entries()
        .iter()
        .filter(|entry| entry.section == Section::Every || uses_scan(first));
    for entry in wanted {
        given.extend(resolve::from_environment(entry, environment, strength)?);
    }
    for value in &given {
        table.check(value)?;
    }
    Ok(given)
}

fn list(
    table: &Table,
    resolved: &Resolved,
    layered: &Command,
    matches: &ArgMatches,
) -> Result<Vec<Setting>, clap::Error> {
    let scan = match matches.subcommand() {
        Some(("scan", scan)) => Some(scan.clone()),
        Some(("config", _)) => {
            let scan = layered.clone().try_get_matches_from(["portolan", "scan"])?;
            scan.subcommand_matches("scan").cloned()
        }
        _ => None,
    };
    let settings = table.entries().iter().filter_map(|entry| {
        let matches = match entry.section {
            Section::Every => matches,
            Section::Scan => scan.as_ref()?,
        };
        let id = entry.id();
        let values = matches.get_raw(id).into_iter().flatten();
        let flag = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
        Some(Setting {
            section: entry.section,
            name: entry.name.clone(),
            kind: entry.kind,
            values: values
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
            unset: entry.unset(),
            source: if flag {
                Source::Flag
            } else {
                resolved.source(id)
            },
        })
    });
    Ok(settings.collect())
}
