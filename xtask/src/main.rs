//! The project's own commands: `cargo xtask ci`, `test`, `tidy`, `docs`, `bench` and `lab`. Nothing here
//! ships; what a command checks or measures is in the module of its name.
#![expect(
    clippy::print_stdout,
    reason = "a development command talks to whoever started it"
)]

mod bench;
mod ci;
mod docs;
mod groups;
mod lab;
mod run;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Commands for working on Portolan.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures Portolan beside its peers; needs root, for network namespaces
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Checks everything that can be checked with what is installed
    Ci,
    /// Writes the generated files: help, man page, completions
    Docs {
        /// Compare instead of writing, and fail on a difference
        #[arg(long)]
        check: bool,
    },
    /// A site of real daemons in network namespaces; needs root
    Lab {
        #[command(subcommand)]
        lab: lab::Lab,
    },
    /// Runs one command and writes its time and memory to a file
    #[command(hide = true)]
    Measure(bench::measure::Measure),
    /// Sends frames as fast as one way out takes them
    #[command(hide = true)]
    SendLoop(bench::send_loop::SendLoop),
    /// Installs what the tests need (as root, with apt-get) and checks everything
    Test,
    /// Checks the rules of ARCHITECTURE.md and STYLE.md that a machine can check
    Tidy,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let root = run::root()?;
    match Arguments::parse().task {
        Task::Bench { bench } => bench::run(&root, bench),
        Task::Ci => ci::run(&root, ci::Missing::Skip),
        Task::Docs { check: true } => docs::check(&root),
        Task::Docs { check: false } => docs::write(&root),
        Task::Lab { lab } => lab::run(&root, lab),
        Task::Measure(measure) => bench::measure::run(&measure),
        Task::SendLoop(options) => bench::send_loop::run(&options),
        Task::Test => ci::run(&root, ci::Missing::Install),
        Task::Tidy => tidy::run(&root),
    }
}
