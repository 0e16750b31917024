//! Runs one fuzz target: `fuzz TARGET [EXECUTIONS] [SEED]`. An input that breaks the target is
//! kept in its corpus.

use portolan_fuzz::{Mutator, Seed, TARGETS, Target, named, read_seeds, write_crash};
use std::io::{self, Write};
use std::panic;
use std::process::ExitCode;
use std::time::Instant;

/// Executions when none are asked for.
const EXECUTIONS: u64 = 100_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((target, executions, seed)) = understand(&arguments) else {
        return usage();
    };
    match run(target, executions, seed) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "cannot use the corpus of {}: {error}",
                target.name
            );
            ExitCode::from(4)
        }
    }
}

fn understand(arguments: &[String]) -> Option<(&'static Target, u64, u64)> {
    let mut arguments = arguments.iter();
    let target = named(arguments.next()?)?;
    let mut number = |default| match arguments.next() {
        Some(text) => text.parse().ok(),
        None => Some(default),
    };
    let (executions, seed) = (number(EXECUTIONS)?, number(1)?);
    arguments
        .next()
        .is_none()
        .then_some((target, executions, seed))
}

fn usage() -> ExitCode {
    let mut text = "usage: fuzz TARGET [EXECUTIONS] [SEED]\ntargets:\n".to_owned();
    for target in TARGETS {
        text.push_str("  ");
        text.push_str(target.name);
        text.push('\n');
    }
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}

fn run(target: &Target, executions: u64, seed: u64) -> io::Result<ExitCode> {
    let seeds = read_seeds(target.name)?;
    let start = Instant::now();
    for Seed { bytes, .. } in &seeds {
        if !holds(target, bytes) {
            return crashed(target, bytes);
        }
    }
    let mut mutator = Mutator::new(seed, &seeds, target.dictionary);
    for _ in 0..executions {
        let bytes = mutator.make();
        if !holds(target, &bytes) {
            return crashed(target, &bytes);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    writeln!(
        io::stdout(),
        "{}: {} seeds and {executions} executions from seed {seed} in {seconds:.1} s",
        target.name,
        seeds.len()
    )?;
    if let Ok(count) = u32::try_from(executions) {
        writeln!(
            io::stdout(),
            "{:.0} executions/s",
            f64::from(count) / seconds
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn holds(target: &Target, bytes: &[u8]) -> bool {
    panic::catch_unwind(|| (target.run)(bytes)).is_ok()
}

fn crashed(target: &Target, bytes: &[u8]) -> io::Result<ExitCode> {
    let path = write_crash(target.name, bytes)?;
    writeln!(
        io::stderr(),
        "{} breaks on {} bytes, kept in {}",
        target.name,
        bytes.len(),
        path.display()
    )?;
    Ok(ExitCode::from(1))
}
