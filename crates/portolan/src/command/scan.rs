//! `portolan scan`: reads what the flags name, has the pipeline plan and run it, and shows what
//! comes back.

use crate::exit;
use crate::fingerprints;
use crate::flags::{DepthArg, Engine, OnlyArg, Progress, ScanArgs, ShowArgs};
use crate::folders;
use crate::output::{self, Output};
use crate::status::Status;
use crate::terminal::{Terminal, sentence, show_error, show_note};
use anyhow::{Context as _, bail};
use portolan_catalog::recog::{Examples, Fingerprints};
use portolan_model::{Depth, Document, EngineChoice, Event, Hosts, Pace, Plan, Preview};
use portolan_net::rights::keep_only;
use portolan_pipeline::{
    Authority, Checkpoint, CheckpointError, Ended, Finished, PrepareError, RunRequest,
    SegmentError, Source, Transports, Wish, current_engine, current_scope, engine_reason, prepare,
    preview, run as run_plan,
};
use portolan_report::{
    Format, Only, Options, write_document, write_event, write_preview, write_preview_json,
};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Events that wait to be shown.
const EVENTS_MAX: usize = 1_024;
/// Shortest time between two events of progress in JSON Lines.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Largest list of targets, exclusions or scope file.
const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Runs the command and answers its exit code.
pub(crate) fn run(args: &ScanArgs, show: &ShowArgs, terminal: &Terminal) -> u8 {
    let mut options = terminal.options();
    if args.only == Some(OnlyArg::Open) {
        options.only = Only::Open;
    }
    let scan = Scan {
        args,
        show,
        options,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Those that wait for the resolver.
        .on_thread_start(without_rights)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            show_error(&format!("the scan cannot start: {error}"));
            return exit::SYSTEM;
        }
    };
    let ended = runtime.block_on(scan.run());
    // A resolver that still waits for a name server must not hold the program up.
    runtime.shutdown_background();
    ended
}

struct Scan<'a> {
    args: &'a ScanArgs,
    show: &'a ShowArgs,
    options: Options,
}

/// What is to be done, all checks passed.
enum Ready {
    /// A dry run: what would be done is shown.
    Preview(Box<Preview>),
    Run(Box<ReadyRun>),
}

/// What is to be run.
struct ReadyRun {
    request: RunRequest,
    outputs: Vec<Output>,
    notices: Vec<String>,
}

impl Scan<'_> {
    async fn run(&self) -> u8 {
        let ready = match self.ready().await {
            Ok(Ready::Run(ready)) => *ready,
            Ok(Ready::Preview(preview)) => return self.show_preview(&preview),
            Err(error) => {
                show_error(&sentence(&error));
                return exit_of(&error);
            }
        };
        if !self.show.quiet {
            ready.notices.iter().for_each(|notice| show_note(notice));
        }
        let format = self.format();
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let shown = self.show_events(events, format);
        let interrupt = watch_signals();
        let ended = run_plan(ready.request, events_in, interrupt.clone()).await;
        // The thread ends when the run has dropped its end of the channel.
        let stdout = shown
            .join()
            .unwrap_or_else(|_| Stdout::Broken(ErrorKind::Other.into()));
        match ended {
            Ok(finished) => {
                let code = self.finish(finished, ready.outputs, format, stdout);
                // A scan that was ended because its reader left is no failure; one that the user
                // ended is told as such, even if the reader was ended with it.
                let asked = *interrupt.borrow();
                if code == exit::INTERRUPTED && !asked {
                    exit::DONE
                } else {
                    code
                }
            }
            Err(error) => {
                show_error(&error.to_string());
                exit::SYSTEM
            }
        }
    }

    /// Everything that can be wrong is found here, before anything is sent.
    async fn ready(&self) -> anyhow::Result<Ready> {
        let (plan, resume, mut notices) = if let Some(path) = &self.args.resume {
            let checkpoint = Checkpoint::read(path)?;
            check_scope_again(checkpoint.plan())?;
            let mut plan = current_scope(checkpoint.plan())
                .context("this scan may not go on as it began; start it again without --resume")?;
            plan.pace.max_time_s = self.args.max_time.map(|time| time.seconds);
            let began_with = plan.engine;
            let plan = current_engine(plan, self.engine())?;
            let notices: Option<String> = (plan.engine != began_with).then(|| {
                let (before, now) = (began_with.as_str(), plan.engine.as_str());
                format!("the scan began with the {before} engine and goes on with {now}")
            });
            (plan, Some(checkpoint), Vec::from_iter(notices))
        } else {
            let prepared = prepare(self.wish()?).await?;
            (prepared.plan, None, prepared.notices)
        };
        let fingerprints = self.fingerprints(&mut notices)?;
        if self.args.dry_run {
            return Ok(Ready::Preview(Box::new(preview(&plan)?)));
        }
        if self.show.verbose {
            notices.extend(engine_reason(&plan, self.engine()));
        }
        let checkpoint = self.checkpoint_path();
        if let Some(path) = &checkpoint {
            Checkpoint::may_replace(path)?;
        }
        let outputs = output::open_all(&self.args.output, checkpoint.as_deref())?;
        let request = RunRequest {
            plan,
            command: command_line(),
            resume,
            checkpoint,
            receive_bytes: self
                .args
                .receive_buffer
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            tells_passage: self.show.verbose,
            fingerprints,
        };
        Ok(Ready::Run(Box::new(ReadyRun {
            request,
            outputs,
            notices,
        })))
    }

    /// What the user knows of products.
    fn fingerprints(&self, notices: &mut Vec<String>) -> anyhow::Result<Option<Arc<Fingerprints>>> {
        let Some(folder) = &self.args.fingerprints else {
            return Ok(None);
        };
        let read = fingerprints::read(folder, Examples::Dropped)?;
        notices.extend(read.unused());
        Ok(Some(Arc::new(read.fingerprints)))
    }

    fn wish(&self) -> anyhow::Result<Wish> {
        let args = self.args;
        let mut inputs = Vec::new();
        let mut targets = Vec::new();
        for target in &args.targets {
            if target == "-" {
                inputs.push(read_source("standard input", io::stdin().lock())?);
            } else {
                targets.push(target.clone());
            }
        }
        for path in &args.input {
            inputs.push(if path.as_os_str() == "-" {
                read_source("standard input", io::stdin().lock())?
            } else {
                read_file(path, "list of targets")?
            });
        }
        let exclude_inputs = args
            .exclude_file
            .iter()
            .map(|path| read_file(path, "exclusions"));
        let authority = match (&args.scope, &args.i_am_authorized) {
            (Some(path), _) => Authority::ScopeFile(read_file(path, "scope")?),
            (None, Some(reason)) if reason.trim().is_empty() => {
                bail!("--i-am-authorized needs the reason: who allowed this scan, and why")
            }
            (None, Some(reason)) => Authority::Reason(reason.clone()),
            (None, None) => Authority::Local,
        };
        if args.shard.0.count > 1 && args.seed.is_none() {
            bail!(
                "--shard needs --seed: only parts of the same order are disjoint; give every part \
                 the same number, as in --seed 7"
            );
        }
        Ok(Wish {
            targets,
            transports: transports(args),
            inputs,
            exclude: args.exclude.clone(),
            exclude_inputs: exclude_inputs.collect::<anyhow::Result<_>>()?,
            authority,
            ports: args.ports.clone(),
            seed: args.seed.map_or_else(random_seed, Ok)?,
            shard: args.shard.0,
            pace: Pace {
                rate: args.rate.0,
                host_rate: args.host_rate.0,
                retries: args.retries,
                timeout_ms: args.timeout.0,
                max_time_s: args.max_time.map(|time| time.seconds),
            },
            engine: self.engine(),
            io: args.io.into(),
            discovery: args.discovery.wished(),
            dry_run: args.dry_run,
            depth: match args.depth {
                DepthArg::Ports => Depth::Ports,
                DepthArg::Identify => Depth::Identify,
                DepthArg::Inspect => Depth::Inspect,
            },
            ask_anyway: args.ask_anyway.clone(),
            source_address: args.source_ip,
            source_port: args.source_port,
            interface: args.interface.clone(),
        })
    }

    fn engine(&self) -> Option<EngineChoice> {
        match self.args.engine {
            Engine::Auto => None,
            Engine::Connect => Some(EngineChoice::Connect),
            Engine::Syn => Some(EngineChoice::Syn),
        }
    }

    fn format(&self) -> Format {
        let usual = if io::stdout().is_terminal() {
            Format::Table
        } else {
            Format::Jsonl
        };
        self.args.format.unwrap_or(usual)
    }

    fn show_preview(&self, preview: &Preview) -> u8 {
        let mut out = BufWriter::new(io::stdout().lock());
        let written = match self.args.format {
            Some(Format::Json | Format::Jsonl) => write_preview_json(preview, &mut out),
            _ => write_preview(preview, &self.options, &mut out),
        };
        match of_write(written.and_then(|()| out.flush())) {
            Stdout::Gone | Stdout::Open => exit::DONE,
            Stdout::Broken(error) => {
                show_error(&format!(
                    "the dry run was not written to standard output: {error}; check where it leads"
                ));
                exit::SYSTEM
            }
        }
    }

    /// Shows events on a thread of its own, so that a slow reader holds the scan up no sooner
    /// than the queue is full.
    fn show_events(&self, events: mpsc::Receiver<Event>, format: Format) -> JoinHandle<Stdout> {
        let (options, quiet) = (self.options, self.show.quiet);
        let stop_when_gone = self.args.output.is_empty();
        let status = self.args.progress == Progress::Auto && !quiet && !self.show.accessible;
        std::thread::spawn(move || {
            without_rights();
            let status = Status::new(status);
            let stdout = show_events(events, format, &options, quiet, &status, stop_when_gone);
            status.end();
            stdout
        })
    }

    fn finish(
        &self,
        finished: Finished,
        outputs: Vec<Output>,
        format: Format,
        stdout: Stdout,
    ) -> u8 {
        let Finished {
            document,
            ended,
            checkpoint,
        } = finished;
        let mut lost = false;
        let stdout = match stdout {
            Stdout::Open if format != Format::Jsonl => {
                write_stdout(&document, format, &self.options)
            }
            other => other,
        };
        if let Stdout::Broken(error) = stdout {
            show_error(&format!(
                "the result was not written to standard output: {error}"
            ));
            lost = true;
        }
        for output in outputs {
            if let Err(error) = output.write(&document, &self.options) {
                show_error(&sentence(&error));
                lost = true;
            }
        }
        if lost {
            rescue(&document);
        }
        // Until everything is written the checkpoint is all there is to go on from.
        let left = match checkpoint {
            Some(kept) if lost => Some(kept.to_path_buf()),
            Some(kept) => kept.settle(),
            None => None,
        };
        if let Some(path) = left.filter(|path| path.exists()) {
            show_note(&format!(
                "go on with: portolan scan --resume {}",
                quoted(&path)
            ));
        }
        match ended {
            _ if lost => exit::SYSTEM,
            Ended::Complete => exit::DONE,
            Ended::Failed => exit::SYSTEM,
            Ended::Interrupted => exit::INTERRUPTED,
            Ended::Partial => exit::PARTIAL,
        }
    }

    fn checkpoint_path(&self) -> Option<PathBuf> {
        let given = self
            .args
            .checkpoint
            .clone()
            .or_else(|| self.args.resume.clone());
        given.or_else(|| {
            let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            let name = format!("{stamp}-{}.checkpoint", std::process::id());
            Some(folders::state()?.join("checkpoints").join(name))
        })
    }
}

/// What became of stdout.
#[derive(Debug)]
enum Stdout {
    Broken(io::Error),
    /// The reader closed the pipe.
    Gone,
    Open,
}

fn show_events(
    mut events: mpsc::Receiver<Event>,
    format: Format,
    options: &Options,
    quiet: bool,
    status: &Status,
    stop_when_gone: bool,
) -> Stdout {
    let mut stdout = Stdout::Open;
    let mut told: Option<Instant> = None;
    while let Some(event) = events.blocking_recv() {
        match &event {
            Event::Progress { progress } => status.show(progress),
            Event::Notice { text } if !quiet => status.say(text.as_str()),
            _ => {}
        }
        let is_progress = matches!(event, Event::Progress { .. });
        if is_progress && told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            continue;
        }
        if is_progress {
            told = Some(Instant::now());
        }
        if format == Format::Jsonl && matches!(stdout, Stdout::Open) {
            stdout = of_write(write_event(&event, options, &mut io::stdout().lock()));
            if !matches!(stdout, Stdout::Open) && stop_when_gone {
                // Dropping the receiver tells the run that nobody listens.
                break;
            }
        }
    }
    stdout
}

fn write_stdout(document: &Document<impl Hosts>, format: Format, options: &Options) -> Stdout {
    let mut out = io::stdout().lock();
    of_write(write_document(document, format, options, &mut out).and_then(|()| out.flush()))
}

fn of_write(written: io::Result<()>) -> Stdout {
    match written {
        Ok(()) => Stdout::Open,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Stdout::Gone,
        Err(error) => Stdout::Broken(error),
    }
}

/// Keeps a result that could not be written where it was wanted.
fn rescue(document: &Document<impl Hosts>) {
    let places = [folders::state(), Some(std::env::temp_dir())];
    for folder in places.into_iter().flatten() {
        for name in rescue_names(&document.run.id) {
            let path = folder.join(name);
            if rescue_into(document, &folder, &path).is_ok() {
                show_note(&format!("the whole result was kept in {}", path.display()));
                return;
            }
        }
    }
    show_error("the result could not be kept anywhere; free some disk space and scan again");
}

/// Two names for a result: a resumed run has its name from the checkpoint, so no more of it is
/// taken than can be a name, and a file of an earlier part of the run may have the first.
fn rescue_names(id: &str) -> [String; 2] {
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect();
    let again = getrandom::u64().unwrap_or_default();
    [
        format!("portolan-{id}.json"),
        format!("portolan-{id}-{again:016x}.json"),
    ]
}

/// Nothing that is there is replaced or followed: the folder may be everybody's.
fn rescue_into(document: &Document<impl Hosts>, folder: &Path, path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut out = BufWriter::new(file);
    let written = write_document(document, Format::Json, &Options::default(), &mut out)
        .and_then(|()| out.flush());
    if written.is_err() {
        // Half a result would pass for a whole one.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// `true` once the user or the system asks the scan to end. The second request ends the program.
/// A thread of its own listens: whoever reads the result may keep the others waiting.
fn watch_signals() -> watch::Receiver<bool> {
    let (asked, interrupt) = watch::channel(false);
    let listener = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(listener) = listener {
        std::thread::spawn(move || {
            without_rights();
            listener.block_on(hear_signals(&asked));
        });
    }
    interrupt
}

/// Gives up the rights of a thread beside the run, which needs none. Where the system refuses, it
/// refuses the run as well, which says so.
fn without_rights() {
    let _ = keep_only(&[]);
}

/// Without handlers the signals end the program by themselves.
async fn hear_signals(asked: &watch::Sender<bool>) {
    let handlers = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate)] = handlers else {
        return;
    };
    for request in 0_u32.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if request == 0 {
            show_note("ending what is under way; once more to quit at once");
            asked.send_replace(true);
        } else {
            quit();
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the user asked a second time: nothing is waited for any more"
)]
fn quit() -> ! {
    std::process::exit(i32::from(exit::INTERRUPTED))
}

fn check_scope_again(plan: &Plan) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now().as_second();
    if plan
        .scope
        .expires_unix_s
        .is_some_and(|expires| expires <= now)
    {
        bail!("the scope of this scan has expired meanwhile; renew it and start the scan again");
    }
    Ok(())
}

fn read_file(path: &Path, what: &str) -> anyhow::Result<Source> {
    let origin = path.display().to_string();
    let file = File::open(path)
        .with_context(|| format!("the {what} {origin} cannot be read; check the path"))?;
    read_source(&origin, file)
}

fn read_source(origin: &str, from: impl Read) -> anyhow::Result<Source> {
    let mut bytes = Vec::new();
    from.take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{origin} cannot be read"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > INPUT_BYTES_MAX {
        bail!(
            "{origin} is larger than {} MiB; split it",
            INPUT_BYTES_MAX >> 20
        );
    }
    Ok(Source {
        origin: origin.to_owned(),
        bytes,
    })
}

fn random_seed() -> anyhow::Result<u64> {
    getrandom::u64().context("the system gives no random seed; give one with --seed N")
}

/// A damaged checkpoint is a fault of the system; everything else before a scan is the user's to
/// mend.
fn exit_of(error: &anyhow::Error) -> u8 {
    let checkpoint = error.downcast_ref::<CheckpointError>();
    let prepare = error.downcast_ref::<PrepareError>();
    if let Some(CheckpointError::Damaged { .. }) = checkpoint {
        exit::SYSTEM
    } else if let Some(PrepareError::Segment(SegmentError::Nobody { .. })) = prepare {
        // This much was sent.
        exit::PARTIAL
    } else {
        exit::USAGE
    }
}

fn command_line() -> String {
    let words = std::env::args_os().enumerate().map(|(at, word)| {
        if at == 0 {
            "portolan".to_owned()
        } else {
            quoted(Path::new(&word))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back.
fn quoted(word: &Path) -> String {
    let word = word.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Which transports the user asked for.
const fn transports(args: &ScanArgs) -> Option<Transports> {
    match (args.tcp, args.udp) {
        (false, false) => None,
        (true, false) => Some(Transports::Tcp),
        (false, true) => Some(Transports::Udp),
        (true, true) => Some(Transports::Both),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_rescued_result_stays_in_its_folder() {
        let check = |id: &str, expected: &str| {
            let [first, second] = rescue_names(id);
            assert_eq!(first, expected);
            assert_ne!(first, second);
            assert!(second.starts_with("portolan-") && !second.contains('/'));
        };
        check(
            "20260101T000000Z-0a1b2c3d",
            "portolan-20260101T000000Z-0a1b2c3d.json",
        );
        check("../../etc/cron.d/x", "portolan-etccrondx.json");
        check("a\0b\n\u{e4}", "portolan-ab.json");
    }
}
