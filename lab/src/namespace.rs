//! One network namespace: made, entered, configured and removed. What joins two of them is in
//! `wire`.

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What every namespace of this crate is called first.
const PREFIX: &str = "portolan-lab-";

/// Distinguishes the namespaces of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A program could not be started.
    #[error("start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Its last words.
        stderr: String,
    },
    /// A namespace could not be entered.
    #[error("enter the network namespace {name}: {source}")]
    Enter {
        /// Its name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel did not take a program for frames.
    #[error("answer on {interface}: {source}")]
    Answer {
        /// The interface.
        interface: String,
        /// What stands against it.
        source: portolan_net::raw::xdp::bpf::BpfError,
    },
    /// An interface is not there.
    #[error("find the interface {interface}: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Work inside a namespace panicked.
    #[error("the thread inside the network namespace {name} panicked")]
    Panicked {
        /// Its name.
        name: String,
    },
    /// A value of the kernel could not be set.
    #[error("set {name} below /proc/sys: {source}")]
    Set {
        /// The value.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The other end of a new wire does not answer.
    #[error("wait for {address} to answer: {source}")]
    Silent {
        /// The address.
        address: std::net::IpAddr,
        /// What the last attempt came to.
        source: std::io::Error,
    },
    /// The program between the two ends of a tunnel ended at once.
    #[error("relay packets between two tunnel interfaces with python3: {stderr}")]
    Relay {
        /// Its last words.
        stderr: String,
    },
    /// A crowd cannot use its interface.
    #[error("hear and speak on the interface {interface}: {source}")]
    Play {
        /// The interface.
        interface: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be read or written.
    #[error("read or write {}: {source}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The description of a daemon is wrong.
    #[error("read the recipe {}: {why}", path.display())]
    Recipe {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A responder could not listen.
    #[error("listen on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
}

impl LabError {
    /// What a failure at a file or folder becomes.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// A network namespace of this process; dropping it removes it with all that is inside, unless it
/// is to outlive this process.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// Whether it stays when this is dropped.
    is_kept: bool,
}

/// Whether namespaces can be made and ruled here: root, `ip` and `nft`. Tries it.
pub fn available() -> Result<(), LabError> {
    let namespace = Namespace::create("try")?;
    namespace.rules("table inet lab { }")
}

/// Removes namespaces that processes left behind which no longer run.
pub fn sweep() -> Result<(), LabError> {
    let listing = run(Command::new("ip").args(["netns", "list"]), None)?;
    for line in String::from_utf8_lossy(&listing.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(owner) = owner
            && !PathBuf::from(format!("/proc/{owner}")).exists()
        {
            end_processes(name)?;
            run(Command::new("ip").args(["netns", "delete", name]), None)?;
        }
    }
    Ok(())
}

/// How long a namespace stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    ThisProcess,
    UntilRemoved,
}

/// Ends every process in a namespace.
fn end_processes(name: &str) -> Result<(), LabError> {
    for _ in 0..ROUNDS_OF_ENDING {
        let listing = run(Command::new("ip").args(["netns", "pids", name]), None)?;
        let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
        let processes: Vec<i32> = listing.lines().filter_map(|it| it.parse().ok()).collect();
        if processes.is_empty() {
            break;
        }
        for process in processes {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        std::thread::sleep(ENDING);
    }
    Ok(())
}

/// How often, and how far apart, processes are looked for that have not ended yet.
const ROUNDS_OF_ENDING: u32 = 100;
const ENDING: Duration = Duration::from_millis(50);

impl Namespace {
    /// Makes a namespace with a name of its own and its loopback interface up. `label` is for the
    /// eyes of who lists them.
    pub fn create(label: &str) -> Result<Self, LabError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        Self::add(name, Lifetime::ThisProcess)
    }

    /// Makes a namespace that stays until [`Self::remove`], also behind this process. `label` begins
    /// with no number, which [`sweep`] would take for a process.
    pub(crate) fn create_kept(label: &str) -> Result<Self, LabError> {
        Self::add(format!("{PREFIX}{label}"), Lifetime::UntilRemoved)
    }

    fn add(name: String, lifetime: Lifetime) -> Result<Self, LabError> {
        run(Command::new("ip").args(["netns", "add", &name]), None)?;
        let namespace = Self {
            name,
            is_kept: lifetime == Lifetime::UntilRemoved,
        };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A namespace that is there already, and stays.
    pub fn existing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_kept: true,
        }
    }

    /// Ends every process in it, and removes it.
    pub(crate) fn remove(mut self) -> Result<(), LabError> {
        self.is_kept = true;
        end_processes(&self.name)?;
        run(
            Command::new("ip").args(["netns", "delete", &self.name]),
            None,
        )
        .map(|_| ())
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<(), LabError> {
        run(
            Command::new("ip").args(["-n", &self.name]).args(arguments),
            None,
        )
        .map(|_| ())
    }

    /// Runs `tc`, which shapes what leaves the namespace, on this namespace.
    pub fn tc(&self, arguments: &[&str]) -> Result<(), LabError> {
        run(
            Command::new("tc").args(["-n", &self.name]).args(arguments),
            None,
        )
        .map(|_| ())
    }

    /// Sets a value of the kernel for this namespace, by its path below `/proc/sys`.
    pub fn set(&self, name: &str, value: &str) -> Result<(), LabError> {
        // The kernel shows the values of the namespace of the thread that opens the file.
        self.enter(|| std::fs::write(format!("/proc/sys/{name}"), value))?
            .map_err(|source| LabError::Set {
                name: name.to_owned(),
                source,
            })
    }

    /// Has what arrives at `interface` worked on by one core, counted from 0 and below 32 (receive
    /// packet steering), and not by the one that sent it.
    pub fn steer(&self, interface: &str, core: u32) -> Result<(), LabError> {
        let mask = format!("{:x}", 1_u32.checked_shl(core).unwrap_or(0));
        let file = format!("/sys/class/net/{interface}/queues/rx-0/rps_cpus");
        // `ip netns exec` shows the interfaces of the namespace below /sys.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "tee", &file]);
        run(&mut command, Some(&mask)).map(|_| ())
    }

    /// Loads nftables rules in this namespace.
    pub fn rules(&self, rules: &str) -> Result<(), LabError> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nft", "-f", "-"]);
        run(&mut command, Some(rules)).map(|_| ())
    }

    /// The nftables rules of this namespace with their counters, as `nft` prints them.
    pub fn ruleset(&self) -> Result<String, LabError> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "nft", "list", "ruleset"]);
        let output = run(&mut command, None)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Packets that the named counter of the nftables rules of this namespace has counted; `None`
    /// when there is no such counter.
    pub fn counted(&self, counter: &str) -> Result<Option<u64>, LabError> {
        let rules = self.ruleset()?;
        let packets = rules
            .split_once(&format!("counter {counter} {{"))
            .and_then(|(_, rest)| rest.split_once("packets "))
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .and_then(|packets| packets.parse().ok());
        Ok(packets)
    }

    /// Removes every nftables rule of this namespace.
    pub fn clear_rules(&self) -> Result<(), LabError> {
        self.rules("flush ruleset")
    }

    /// Runs `work` on a thread inside this namespace and waits for it. Sockets and processes that
    /// it makes belong to the namespace and may outlive the call.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join()?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|_| {
                Err(LabError::Panicked {
                    name: self.name.clone(),
                })
            })
        })
    }

    /// Moves the calling thread into this namespace.
    fn join(&self) -> Result<(), LabError> {
        let enter = |source: std::io::Error| LabError::Enter {
            name: self.name.clone(),
            source,
        };
        let handle = File::open(format!("/run/netns/{}", self.name)).map_err(enter)?;
        setns(handle, CloneFlags::CLONE_NEWNET).map_err(|errno| enter(errno.into()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // A namespace that cannot be removed is left for `sweep`; there is nobody to tell.
        let _ = run(
            Command::new("ip").args(["netns", "delete", &self.name]),
            None,
        );
    }
}

/// Runs a command to its end, with `input` on its standard input, and fails when it fails.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> Result<Output, LabError> {
    let line = line(command);
    let start = |source| LabError::Start {
        command: line.clone(),
        source,
    };
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(start)?;
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(LabError::Command {
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            command: line,
        })
    }
}

fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}
