//! What the terminal can show, and sentences on stderr.

use crate::flags::{ShowArgs, When};
use portolan_report::{Colour, Detail, Layout, Only, Options};
use std::io::{self, IsTerminal as _, Write as _};

/// How results are shown on stdout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    options: Options,
}

/// Used when neither the terminal nor `COLUMNS` says how wide it is.
const WIDTH_DEFAULT: usize = 80;

impl Terminal {
    /// What the flags ask for and the terminal allows.
    pub(crate) fn of(show: &ShowArgs) -> Self {
        let on_terminal = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = match show.color {
            When::Always => Colour::Always,
            When::Auto if on_terminal && !dumb && !set("NO_COLOR") => Colour::Always,
            When::Auto | When::Never => Colour::Never,
        };
        Self {
            options: Options {
                width: width(),
                colour,
                layout: if show.accessible {
                    Layout::Accessible
                } else {
                    Layout::Columns
                },
                only: Only::All,
                detail: if show.verbose {
                    Detail::Verbose
                } else {
                    Detail::Normal
                },
            },
        }
    }

    /// The options for the report.
    pub(crate) fn options(&self) -> Options {
        self.options
    }
}

/// Says what went wrong, on stderr. A closed stderr is no reason to fail.
pub(crate) fn show_error(sentence: &str) {
    let _ = writeln!(io::stderr(), "error: {sentence}");
}

/// The sentence of an error and of its causes; a cause that an outer sentence already tells is
/// not told again.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut told, cause| {
        let cause = cause.to_string();
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
        told
    })
}

/// Says something that the user should know, on stderr.
pub(crate) fn show_note(sentence: &str) {
    let _ = writeln!(io::stderr(), "note: {sentence}");
}

fn width() -> usize {
    let asked = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let seen = console::Term::stdout()
        .size_checked()
        .map(|(_, columns)| usize::from(columns));
    seen.or(asked)
        .filter(|columns| *columns > 0)
        .unwrap_or(WIDTH_DEFAULT)
}
