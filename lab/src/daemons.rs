//! Real daemons that speak UDP, inside a namespace: started with the least configuration, each with
//! a folder, a `/run` and a `/dev/shm` of its own.
//!
//! What is not here: which daemons there are, and their configurations (`catalogue`).

mod catalogue;

use crate::{LabError, Namespace};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A daemon and what it offers.
#[derive(Clone, Copy, Debug)]
pub struct Daemon {
    /// What people call it.
    pub name: &'static str,
    /// The package it comes from.
    pub package: &'static str,
    /// Who has that package.
    pub origin: Origin,
    /// The program.
    pub program: &'static str,
    /// What it offers over UDP.
    pub services: &'static [DaemonService],
    /// What the shell does in its folder before it starts.
    before: &'static str,
    /// Its arguments, between blanks; `{folder}` is its own.
    arguments: &'static str,
    /// Names and contents of files in its folder.
    files: &'static [(&'static str, &'static str)],
}

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The packages of Debian.
    Debian,
    /// Packages of Node.js, in `npm` of [`Daemons::folder_beside`].
    Npm,
    /// Packages of Python, in `venv` of [`Daemons::folder_beside`].
    Pypi,
}

/// A service over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaemonService {
    /// Its port.
    pub port: u16,
    /// Name of the protocol.
    pub name: &'static str,
    /// It is offered over IPv6 alone.
    pub is_v6_only: bool,
}

/// Daemons that run; dropping it ends them.
#[derive(Debug)]
pub struct Daemons {
    children: Vec<Child>,
    folder: PathBuf,
    services: Vec<DaemonService>,
}

/// Distinguishes the folders of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// How often and how far apart it is looked whether a port is there.
const LOOKS: u32 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Daemons {
    /// Starts `daemons` in `namespace`, which has the addresses of the target of a
    /// [`crate::Wire`]. They listen when this returns.
    pub fn start(namespace: &Namespace, daemons: &[Daemon]) -> Result<Self, LabError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portolan-lab-{}-{number}-daemons", std::process::id());
        let mut started = Self {
            children: Vec::new(),
            folder: std::env::temp_dir().join(name),
            services: Vec::new(),
        };
        for daemon in daemons {
            let folder = started.folder.join(daemon.folder());
            let child = namespace.enter(|| begin(daemon, &folder))??;
            started.children.push(child);
            started.services.extend(daemon.services);
        }
        started.services.sort_unstable();
        for daemon in daemons {
            for service in daemon.services {
                started.await_port(namespace, daemon, service.port)?;
            }
        }
        Ok(started)
    }

    /// Where packages that Debian does not have are looked for.
    pub fn folder_beside() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/daemons")
    }

    /// What they offer, by port.
    pub fn services(&self) -> &[DaemonService] {
        &self.services
    }

    fn await_port(
        &self,
        namespace: &Namespace,
        daemon: &Daemon,
        port: u16,
    ) -> Result<(), LabError> {
        for _ in 0..LOOKS {
            if namespace.enter(|| listens(port))? {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let log = fs::read_to_string(self.folder.join(daemon.folder()).join("said"));
        Err(LabError::Command {
            command: format!("{} (port {port})", daemon.program),
            stderr: log.unwrap_or_default(),
        })
    }
}

impl Daemon {
    /// What its folder is called: its program, without the way to it.
    fn folder(&self) -> &'static str {
        let name = self.program.rsplit('/').next();
        name.unwrap_or(self.program)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Each began a group of its own, with whatever it started.
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts one, inside the namespace of the calling thread.
fn begin(daemon: &Daemon, folder: &Path) -> Result<Child, LabError> {
    let own = folder.display().to_string();
    let start = |source| LabError::Start {
        command: daemon.program.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(start)?;
    for (name, content) in daemon.files {
        let content = content.replace("{folder}", &own);
        fs::write(folder.join(name), content).map_err(start)?;
    }
    let said = fs::File::create(folder.join("said")).map_err(start)?;
    let mut command = Command::new("unshare");
    // Lock files, sockets and memory that have a name are for one daemon of a kind on the whole
    // machine. Processes of its own end with it.
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    let own_run = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm && mkdir /run/samba";
    let before = daemon.before.replace("{folder}", &own);
    command.arg(format!("{own_run} || exit\n{before}\nexec \"$0\" \"$@\""));
    command.arg(daemon.program);
    let beside = Daemons::folder_beside();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!(
        "{}:{path}:/usr/sbin:/sbin",
        beside.join("venv/bin").display()
    );
    command.env("PATH", path);
    command.env("NODE_PATH", beside.join("npm/node_modules"));
    let arguments = daemon.arguments.replace("{folder}", &own);
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(start)?)
        .stderr(said)
        .process_group(0);
    command.spawn().map_err(start)
}

/// Whether a socket of the namespace of the calling thread is bound to a UDP port.
fn listens(port: u16) -> bool {
    let ending = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
        let table = table.unwrap_or_default();
        let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        table
            .lines()
            .filter_map(local)
            .any(|address| address.ends_with(&ending))
    })
}
