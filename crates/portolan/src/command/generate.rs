//! `portolan completions` and `portolan man`: what is written from the table of flags. The same
//! build writes the same bytes everywhere.

use crate::exit;
use crate::flags::Cli;
use clap::{Arg, Command, CommandFactory as _};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use std::io::Write;

/// Where the date of a page stands; a date would differ from build to build.
const NO_DATE: &str = "\"\"";
/// Longest line of prose in the source of the page.
const SOURCE_WIDTH: usize = 70;

/// What the exit codes mean.
const EXIT_STATUS: &[(u8, &str)] = &[
    (exit::DONE, "Done, also when nothing is open."),
    (
        1,
        "Findings at or above the level that was asked for, or drift from a policy.",
    ),
    (exit::USAGE, "Wrong usage or input; nothing was sent."),
    (
        exit::PARTIAL,
        "Partial: the time was up, or some targets could not be reached for want of privilege or \
         of a route. What was found is printed.",
    ),
    (exit::SYSTEM, "Internal error, or an error of the system."),
    (
        exit::INTERRUPTED,
        "Interrupted; a checkpoint was written, and the command that goes on was printed.",
    ),
];

/// Environment variables that stand in no flag's entry.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "COLUMNS",
        "Width of the output when the terminal does not tell it.",
    ),
    (
        "NO_COLOR",
        "When it is not empty, nothing is coloured unless --color always asks for it.",
    ),
    (
        "XDG_CONFIG_HOME",
        "Folder of the user's settings; ~/.config when it is not set.",
    ),
    (
        "XDG_STATE_HOME",
        "Folder of state; ~/.local/state when it is not set.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "./portolan.toml",
        "Settings for the folder in which the program is started.",
    ),
    (
        "$XDG_CONFIG_HOME/portolan/portolan.toml",
        "The user's settings.",
    ),
    (
        "$XDG_STATE_HOME/portolan/",
        "Checkpoints of scans, from which --resume goes on.",
    ),
];

const DESCRIPTION: &[&str] = &[
    "Results are written to standard output; progress, warnings and errors to standard error.",
    "A flag wins over its environment variable, that over ./portolan.toml, that over the user's \
     settings file, and that over the default. In a settings file an option has its long name; \
     options of scan stand under [scan], those of every command above. What is in force, and why, \
     is printed by portolan config show --origin.",
];

/// Writes the completions for a shell and answers the exit code.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> anyhow::Result<u8> {
    // The generator panics when it cannot write, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "portolan", &mut text);
    out.write_all(&text)?;
    Ok(exit::DONE)
}

/// Writes the man page and answers the exit code.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn man(out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut page = Page {
        roff: Roff::new(),
        // Building gives every command the options of all; the page says those once.
        flags: Cli::command(),
        built: Cli::command(),
    };
    page.built.build();
    page.write();
    page.roff.to_writer(out)?;
    Ok(exit::DONE)
}

struct Page {
    roff: Roff,
    flags: Command,
    built: Command,
}

impl Page {
    fn write(&mut self) {
        let version = self.flags.get_version().unwrap_or_default().to_owned();
        let about = about(&self.flags);
        let source = format!("portolan {version}");
        self.roff
            .control("TH", ["PORTOLAN", "1", NO_DATE, &source, "User Commands"]);
        // Names of options and files are not broken at the end of a line.
        self.roff.control("nh", []);
        self.section("NAME");
        self.prose(&format!("portolan - {about}"));
        let commands = commands(&self.flags, &[]);
        self.synopsis(&commands);
        self.section("DESCRIPTION");
        self.prose(&format!("{about}."));
        for paragraph in DESCRIPTION {
            self.roff.control("PP", []);
            self.prose(paragraph);
        }
        self.section("COMMANDS");
        for (path, command) in &commands {
            self.command(path, command);
        }
        self.section("OPTIONS OF EVERY COMMAND");
        let flags = self.flags.clone();
        flags.get_arguments().for_each(|arg| self.argument(arg));
        self.exit_status();
        self.environment();
        self.section("FILES");
        for (path, meaning) in FILES {
            self.item(vec![italic(*path)], meaning);
        }
        self.examples();
    }

    fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
    }

    fn item(&mut self, term: Vec<Inline>, meaning: &str) {
        self.roff.control("TP", []);
        self.roff.text(term);
        self.prose(meaning);
    }

    /// Text that the reader's program fills; short lines keep the source readable.
    fn prose(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > SOURCE_WIDTH {
                self.roff.text([roman(std::mem::take(&mut line))]);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.roff.text([roman(line)]);
    }

    fn synopsis(&mut self, commands: &[(Vec<String>, Command)]) {
        self.section("SYNOPSIS");
        for (at, (path, _)) in commands.iter().enumerate() {
            if at > 0 {
                self.roff.control("br", []);
            }
            let (name, rest) = self.usage(path);
            self.roff.text([bold(name), roman(rest)]);
        }
    }

    /// The name of a command with all above it, and what follows it.
    fn usage(&mut self, path: &[String]) -> (String, String) {
        let name = ["portolan"]
            .into_iter()
            .chain(path.iter().map(String::as_str));
        let name = name.collect::<Vec<_>>().join(" ");
        let mut command = Some(&mut self.built);
        for part in path {
            command = command.and_then(|command| command.find_subcommand_mut(part));
        }
        let usage = command.map(|command| command.render_usage().to_string());
        let usage = usage.unwrap_or_default();
        let rest = usage.split_once(&name).map(|(_, rest)| rest);
        (name, rest.unwrap_or_default().trim_end().to_owned())
    }

    fn command(&mut self, path: &[String], command: &Command) {
        let (name, rest) = self.usage(path);
        self.roff.control("SS", [format!("{name}{rest}").as_str()]);
        self.prose(&format!("{}.", about(command)));
        let mut headings: Vec<Option<&str>> = Vec::new();
        for arg in command.get_arguments() {
            if !headings.contains(&arg.get_help_heading()) {
                headings.push(arg.get_help_heading());
            }
        }
        for heading in headings {
            if let Some(heading) = heading {
                self.roff.control("PP", []);
                self.roff.text([italic(format!("{heading}:"))]);
            }
            let below = command.get_arguments();
            below
                .filter(|arg| arg.get_help_heading() == heading && !arg.is_hide_set())
                .for_each(|arg| self.argument(arg));
        }
    }

    fn argument(&mut self, arg: &Arg) {
        let values = arg.get_possible_values();
        let explained = values.iter().any(|value| value.get_help().is_some());
        self.item(term(arg), &meaning(arg));
        if values.is_empty() || !arg.get_action().takes_values() {
            return;
        }
        if !explained {
            let names: Vec<&str> = values
                .iter()
                .map(clap::builder::PossibleValue::get_name)
                .collect();
            self.prose(&format!("One of {}.", names.join(", ")));
            return;
        }
        self.roff.control("RS", []);
        for value in values.iter().filter(|value| !value.is_hide_set()) {
            let help = value.get_help().map(ToString::to_string);
            let help = format!("{}.", help.unwrap_or_default());
            self.item(vec![bold(value.get_name())], &help);
        }
        self.roff.control("RE", []);
    }

    fn exit_status(&mut self) {
        self.section("EXIT STATUS");
        for (code, meaning) in EXIT_STATUS {
            self.item(vec![bold(code.to_string())], meaning);
        }
    }

    fn environment(&mut self) {
        self.section("ENVIRONMENT");
        let every = self.flags.get_arguments().map(|arg| (arg, "every command"));
        let scan = self.flags.find_subcommand("scan").into_iter();
        let scan = scan
            .flat_map(Command::get_arguments)
            .map(|arg| (arg, "portolan scan"));
        let mut variables: Vec<(String, String)> = every
            .chain(scan)
            .filter_map(|(arg, of)| {
                let name = arg.get_env()?.to_str()?.to_owned();
                Some((name, variable(arg, of)?))
            })
            .collect();
        let others = ENVIRONMENT.iter();
        variables.extend(others.map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned())));
        variables.sort();
        self.prose("A variable that is empty counts as not set.");
        for (name, meaning) in variables {
            self.item(vec![bold(name)], &meaning);
        }
    }

    /// The examples of the help.
    fn examples(&mut self) {
        let help = self.flags.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else {
            return;
        };
        self.section("EXAMPLES");
        self.roff.control("nf", []);
        for example in examples.lines() {
            self.roff.text([roman(example.trim())]);
        }
        self.roff.control("fi", []);
    }
}

/// Every command that does something by itself, with the names that lead to it.
fn commands(of: &Command, path: &[String]) -> Vec<(Vec<String>, Command)> {
    let mut found = Vec::new();
    for command in of
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let mut path = path.to_vec();
        path.push(command.get_name().to_owned());
        if command.has_subcommands() {
            found.extend(commands(command, &path));
        } else {
            found.push((path, command.clone()));
        }
    }
    found
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    about.unwrap_or_default()
}

fn term(arg: &Arg) -> Vec<Inline> {
    let mut term = Vec::new();
    if let Some(short) = arg.get_short() {
        term.push(bold(format!("-{short}")));
        term.push(roman(", "));
    }
    if let Some(long) = arg.get_long() {
        term.push(bold(format!("--{long}")));
        term.push(roman(" "));
    }
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
        term.push(italic(names.join(" ")));
    }
    // Blanks at the end of a term would be kept.
    while matches!(term.last(), Some(Inline::Roman(_))) {
        term.pop();
    }
    term
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // Where the default is no value of the option, the help says it.
    let (help, said) = match help.split_once(" [default: ") {
        Some((help, default)) => (help, default.strip_suffix(']')),
        None => (help.as_str(), None),
    };
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    let default = match said {
        Some(said) => format!(" Default: {said}."),
        None if arg.get_action().takes_values() && !values.is_empty() => {
            format!(" Default: {}.", values.join(" "))
        }
        None => String::new(),
    };
    let stop = if help.ends_with('…') { "" } else { "." };
    format!("{help}{stop}{default}")
}

fn variable(arg: &Arg, of: &str) -> Option<String> {
    let long = arg.get_long()?;
    let form = if !arg.get_action().takes_values() {
        ": true or false"
    } else if arg.get_value_delimiter() == Some(' ') {
        ": values between blanks"
    } else {
        ""
    };
    Some(format!("Stands in for --{long} of {of}{form}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let mut bytes = Vec::new();
        assert_eq!(man(&mut bytes).unwrap(), 0);
        String::from_utf8(bytes).unwrap().replace("\\-", "-")
    }

    #[test]
    fn the_page_has_every_option_and_every_variable() {
        fn check(command: &Command, page: &str) {
            for arg in command.get_arguments() {
                if let Some(long) = arg.get_long() {
                    assert!(page.contains(&format!("\\fB--{long}\\fR")), "--{long}");
                }
                if let Some(variable) = arg.get_env().and_then(|name| name.to_str()) {
                    assert!(page.contains(&format!("\\fB{variable}\\fR")), "{variable}");
                }
            }
            command
                .get_subcommands()
                .for_each(|below| check(below, page));
        }
        check(&Cli::command(), &page());
    }

    #[test]
    fn the_page_names_every_exit_code_of_the_help() {
        let help = Cli::command().get_after_help().unwrap().to_string();
        let codes = help.lines().next().unwrap();
        let codes = codes.strip_prefix("Exit codes: ").unwrap();
        let codes: Vec<u8> = codes
            .split("; ")
            .map(|code| code.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let table: Vec<u8> = EXIT_STATUS.iter().map(|(code, _)| *code).collect();
        assert_eq!(table, codes);
    }

    #[test]
    fn the_page_is_the_same_each_time() {
        assert_eq!(page(), page());
        for section in [
            "NAME",
            "SYNOPSIS",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
        ] {
            assert!(page().contains(&format!(".SH {section}\n")), "{section}");
        }
    }

    #[test]
    fn every_shell_gets_completions_that_know_the_commands() {
        use clap::ValueEnum as _;
        for shell in clap_complete::Shell::value_variants() {
            let mut bytes = Vec::new();
            assert_eq!(completions(*shell, &mut bytes).unwrap(), 0);
            let text = String::from_utf8(bytes).unwrap();
            for word in ["scan", "doctor", "dry-run"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_no_panic() {
        let mut full: &mut [u8] = &mut [0; 16];
        assert!(completions(clap_complete::Shell::Bash, &mut full).is_err());
        let mut full: &mut [u8] = &mut [0; 16];
        assert!(man(&mut full).is_err());
    }
}
