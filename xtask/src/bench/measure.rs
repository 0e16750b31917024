//! Time and memory of one command. The command runs under a copy of this program that starts
//! nothing else, so that what the kernel books for its children is the command's alone.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portolan_lab::Namespace;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The hidden command that runs beside each measured one.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// Where to write what was measured
    #[arg(long)]
    report: PathBuf,
    /// Kill the command after this many seconds
    #[arg(long)]
    timeout_s: u64,
    /// Soft limit of open files; the hard limit is raised when it is lower
    #[arg(long)]
    open_files: u64,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A command to measure.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Soft limit of open files it starts with.
    pub(crate) open_files: u64,
    /// When it is killed, in seconds.
    pub(crate) timeout_s: u64,
}

/// What a command took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Wall time in seconds.
    pub(crate) seconds: f64,
    /// Processor time in seconds, the kernel's share included.
    pub(crate) processor_seconds: f64,
    /// Most memory that was resident at once, in KiB; not below the few MiB of the program that
    /// started it.
    pub(crate) rss_max_kib: i64,
    /// Whether it was killed because its time was over.
    pub(crate) timed_out: bool,
    /// Exit code, if it ended by itself.
    pub(crate) code: Option<i32>,
}

/// What a command took and wrote.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) usage: Usage,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Subject {
    /// Runs the command inside `namespace` and waits for it.
    pub(crate) fn measure(&self, namespace: &Namespace) -> Result<Outcome> {
        let folder = tempfile::tempdir()?;
        let report = folder.path().join("usage.json");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("measure")
            .arg("--report")
            .arg(&report)
            .args(["--timeout-s", &self.timeout_s.to_string()])
            .args(["--open-files", &self.open_files.to_string()])
            .arg("--")
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = namespace
            .enter(|| command.output())?
            .context("failed to start the measuring process")?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("{:?} could not be measured: {said}{stderr}", self.command);
        }
        let usage = std::fs::read(&report).context("no measurement was written")?;
        Ok(Outcome {
            usage: serde_json::from_slice(&usage)?,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr,
        })
    }
}

/// Raises the hard limit of open files as far as this process may, and says where it ends.
pub(crate) fn open_files_max() -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let kernel: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open")?
        .trim()
        .parse()?;
    // Root may be forbidden to; then the limit stays what it is.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, soft, kernel.max(hard));
    Ok(if raised.is_ok() {
        kernel.max(hard)
    } else {
        hard
    })
}

/// Lets this process have as many open files as it may, for the listeners of a benchmark.
pub(crate) fn raise_open_files() -> Result<()> {
    let most = open_files_max()?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
        .context("the limit of open files cannot be set")?;
    Ok(())
}

/// The measuring process.
pub(crate) fn run(measure: &Measure) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let hard = hard.max(measure.open_files);
    setrlimit(Resource::RLIMIT_NOFILE, measure.open_files, hard)
        .context("the limit of open files cannot be set")?;
    let Some((program, arguments)) = measure.command.split_first() else {
        bail!("no command to measure");
    };
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).context("no such process number")?);
    let timeout = Duration::from_secs(measure.timeout_s);
    let (ended, deadline) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let over = deadline.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout);
        // The child is not reaped before this thread is told, so the number is still its own.
        over && kill(pid, Signal::SIGKILL).is_ok()
    });
    let status = child.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    // The watchdog may have ended already; then nobody listens, and that is fine.
    let _ = ended.send(());
    let timed_out = watchdog.join().unwrap_or(false);
    let children = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let usage = Usage {
        seconds,
        processor_seconds: as_seconds(children.user_time()) + as_seconds(children.system_time()),
        rss_max_kib: children.max_rss(),
        timed_out,
        code: status.code(),
    };
    std::fs::write(&measure.report, serde_json::to_vec(&usage)?)?;
    Ok(())
}

fn as_seconds(time: nix::sys::time::TimeVal) -> f64 {
    let whole = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    (Duration::from_secs(whole) + Duration::from_micros(micros)).as_secs_f64()
}
