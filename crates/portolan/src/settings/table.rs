//! Which options may be set outside of the command line, under which names, and whether a value is
//! one that the option takes. All of it is asked of the table of flags.

use super::resolve::Given;
use clap::builder::ValueHint;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use std::error::Error as _;
use std::ffi::OsString;

/// Where a setting stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// At the top: of every command.
    Every,
    /// Under `[scan]`.
    Scan,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any number of values.
    Many,
    /// One value.
    One,
    /// Nothing: it is there or not.
    Switch,
}

/// The options that may be set.
pub(super) struct Table {
    /// The flags without environment variables.
    command: Command,
    entries: Vec<Entry>,
}

/// One of them.
pub(super) struct Entry {
    pub(super) section: Section,
    /// The long name, without dashes.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) arg: Arg,
}

/// Options of `scan` that belong to one run, and why a file is not their place.
const REFUSED: &[(&str, &str)] = &[
    (
        "ask-anyway",
        "whether a printer or a controller is sent anything is said for each scan: give \
         --ask-anyway with it",
    ),
    (
        "checkpoint",
        "a folder from somebody else must not choose which file is written: give --checkpoint, or \
         PORTOLAN_CHECKPOINT in the environment",
    ),
    (
        "dry-run",
        "it asks for one look ahead: give --dry-run with that scan",
    ),
    (
        "help",
        "it is asked on the command line: portolan scan --help",
    ),
    (
        "i-am-authorized",
        "who allowed a scan is said for each scan: give --i-am-authorized, or name a scope file \
         with scope = \"FILE\"",
    ),
    (
        "input",
        "what is scanned is said for each scan: give --input with it",
    ),
    (
        "output",
        "every scan would overwrite the last result: give --output with each scan",
    ),
    (
        "resume",
        "a checkpoint belongs to one scan: give --resume with it",
    ),
    (
        "seed",
        "every scan would probe in the same order: give --seed with the scan to repeat",
    ),
    (
        "shard",
        "each part of a scan has its own number: give --shard with it",
    ),
    (
        "targets",
        "what is scanned is said for each scan: portolan scan TARGETS",
    ),
    (
        "version",
        "it is asked on the command line: portolan --version",
    ),
];

impl Table {
    /// Reads it from the table of flags: `bare` without environment variables, `whole` with them.
    pub(super) fn of(bare: &Command, whole: &Command) -> Self {
        let every = whole.get_arguments().map(|arg| (Section::Every, arg));
        let scan = whole.find_subcommand("scan").into_iter();
        let scan = scan
            .flat_map(Command::get_arguments)
            .map(|arg| (Section::Scan, arg));
        let mut entries: Vec<Entry> = every
            .chain(scan)
            .filter_map(|(section, arg)| {
                let name = arg.get_long()?.to_owned();
                let kind = match arg.get_action() {
                    ArgAction::Append => Kind::Many,
                    ArgAction::Set => Kind::One,
                    ArgAction::SetFalse | ArgAction::SetTrue => Kind::Switch,
                    _ => return None,
                };
                let arg = arg.clone();
                (refusal(&name).is_none()).then_some(Entry {
                    section,
                    name,
                    kind,
                    arg,
                })
            })
            .collect();
        entries.sort_by(|a, b| (a.section, &a.name).cmp(&(b.section, &b.name)));
        Self {
            command: bare.clone(),
            entries,
        }
    }

    /// In the order of their names, those of every command first.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The option that is called `name` and stands in `section`.
    pub(super) fn find(&self, section: Section, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.section == section && entry.name == name)
    }

    /// The known name that is most like `name`.
    pub(super) fn nearest(&self, name: &str) -> Option<&Entry> {
        // Which is nearest is clap's to say, as for a mistyped flag.
        let suggested = [Section::Scan, Section::Every].map(|section| {
            let error = self
                .try_argument(section, format!("--{name}").into())
                .err()?;
            match error.get(ContextKind::SuggestedArg)? {
                ContextValue::String(flag) => Some(flag.trim_start_matches('-').to_owned()),
                _ => None,
            }
        });
        suggested
            .iter()
            .flatten()
            .find_map(|name| self.entries.iter().find(|entry| entry.name == *name))
    }

    /// Whether either option excludes the other.
    pub(super) fn conflict(&self, one: &str, other: &str) -> bool {
        let scan = self.command.find_subcommand("scan");
        [Some(&self.command), scan]
            .into_iter()
            .flatten()
            .any(|command| names(command, one, other) || names(command, other, one))
    }

    /// Asks the option's own parser.
    ///
    /// # Errors
    /// The sentence that says where the value stands and what is right.
    pub(super) fn check(&self, given: &Given) -> Result<(), String> {
        if given.kind == Kind::Switch {
            return Ok(());
        }
        for value in &given.values {
            let mut argument = OsString::from(format!("--{}=", given.name));
            argument.push(value);
            if let Err(error) = self.try_argument(given.section, argument) {
                return Err(given.wrong(&what_is_right(&error)));
            }
        }
        Ok(())
    }

    fn try_argument(&self, section: Section, argument: OsString) -> Result<(), clap::Error> {
        let scan = OsString::from("scan");
        let line = match section {
            Section::Every => [argument, scan],
            Section::Scan => [scan, argument],
        };
        let line = std::iter::once(OsString::from("portolan")).chain(line);
        self.command.clone().try_get_matches_from(line).map(drop)
    }
}

impl Entry {
    /// What clap calls it.
    pub(super) fn id(&self) -> &str {
        self.arg.get_id().as_str()
    }

    /// Whether its values are paths, which in a file are relative to the file.
    pub(super) fn is_path(&self) -> bool {
        matches!(
            self.arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::DirPath | ValueHint::FilePath
        )
    }

    /// What happens when nothing is set: the help says it as `[default: …]` where the default is
    /// no value of the option.
    pub(super) fn unset(&self) -> Option<String> {
        let help = self.arg.get_help()?.to_string();
        let (_, default) = help.rsplit_once("[default: ")?;
        Some(default.strip_suffix(']')?.to_owned())
    }
}

/// Why `name` cannot be set in a file.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    let found = REFUSED.iter().find(|(refused, _)| *refused == name);
    found.map(|(_, why)| *why)
}

fn names(command: &Command, one: &str, other: &str) -> bool {
    let arg = command.get_arguments().find(|arg| arg.get_id() == one);
    arg.is_some_and(|arg| {
        let conflicts = command.get_arg_conflicts_with(arg);
        conflicts.iter().any(|arg| arg.get_id() == other)
    })
}

fn what_is_right(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
        && let Some((last, others)) = values.split_last()
        && !others.is_empty()
    {
        return format!("write {} or {last}", others.join(", "));
    }
    match error.source() {
        Some(source) => source.to_string(),
        None => "write a value".to_owned(),
    }
}
