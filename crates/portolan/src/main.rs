//! The program: reads flags and settings, runs a command, shows what it says.

mod command;
mod fingerprints;
mod flags;
mod folders;
mod output;
mod settings;
mod status;
mod terminal;
mod values;

use crate::command::config::Origin;
use crate::command::doctor::DoctorOptions;
use crate::command::local::LocalOptions;
use crate::flags::{Cli, Command, ConfigCommand};
use crate::settings::Settings;
use crate::terminal::{Terminal, sentence, show_error};
use portolan_net::raw::start::stdout_was_closed;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::process::ExitCode;

/// Exit codes; the man page has the table.
mod exit {
    /// Done.
    pub(crate) const DONE: u8 = 0;
    /// Something was found that the user asked to be told of.
    pub(crate) const FINDINGS: u8 = 1;
    /// Wrong usage or input; nothing was sent.
    pub(crate) const USAGE: u8 = 2;
    /// Something is missing from the result.
    pub(crate) const PARTIAL: u8 = 3;
    /// The system refused something.
    pub(crate) const SYSTEM: u8 = 4;
    /// The user ended it.
    pub(crate) const INTERRUPTED: u8 = 130;
}

fn main() -> ExitCode {
    let code = match settings::parse(std::env::args_os()) {
        Ok((cli, settings)) => run(&cli, &settings),
        Err(end) => end.show(),
    };
    ExitCode::from(code)
}

fn run(cli: &Cli, settings: &Settings) -> u8 {
    if stdout_was_closed() && needs_stdout(&cli.command) {
        show_error(
            "standard output is closed, so the result would be lost; redirect it to a file, or \
             have `scan` write one with -o FILE",
        );
        return exit::USAGE;
    }
    let terminal = Terminal::of(&cli.show);
    let mut out = BufWriter::new(io::stdout().lock());
    let ended = match &cli.command {
        Command::Scan(args) => {
            // The scan writes from a thread of its own.
            drop(out);
            return command::scan::run(args, &cli.show, &terminal);
        }
        Command::Local(args) => {
            let options = LocalOptions {
                args: args.clone(),
                show: terminal.options(),
            };
            command::local::run(&options, &mut out)
        }
        Command::Doctor(args) => {
            let options = DoctorOptions {
                args: args.clone(),
                show: terminal.options(),
                state_folder: folders::state(),
            };
            command::doctor::run(&options, &mut out)
        }
        Command::Config(args) => {
            let ConfigCommand::Show { origin } = args.command;
            let origin = if origin {
                Origin::Shown
            } else {
                Origin::Hidden
            };
            command::config::show(settings, origin, terminal.options().layout, &mut out)
        }
        Command::Completions { shell } => command::generate::completions(*shell, &mut out),
        Command::Man => command::generate::man(&mut out),
    };
    let ended = ended.and_then(|code| out.flush().map(|()| code).map_err(Into::into));
    match ended {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => exit::DONE,
        Err(error) => {
            show_error(&sentence(&error));
            exit::SYSTEM
        }
    }
}

/// Whether what the command says goes nowhere else.
fn needs_stdout(command: &Command) -> bool {
    match command {
        Command::Scan(args) => args.dry_run || args.output.is_empty(),
        _ => true,
    }
}

/// The reader of our output has gone: it has seen what it wanted.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
