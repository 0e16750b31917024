//! Starts the program apart from the user's settings and collects what it says.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that takes longer hangs; the slowest run here takes a small part of it.
const HANG: Duration = Duration::from_mins(2);

/// One start of the program, in a folder of its own.
pub(crate) struct Program {
    command: Command,
    folder: TempDir,
}

/// How a run ended.
pub(crate) struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Where it ran; its files are there.
    pub(crate) folder: TempDir,
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
}

/// The program as cargo built it.
pub(crate) fn path() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_portolan"))
}

/// Starts `portolan` with `arguments` (separated by spaces) and waits for its end.
pub(crate) fn portolan(arguments: &str) -> Ended {
    Program::new(arguments).run()
}

impl Program {
    /// `portolan` with `arguments`, separated by spaces.
    pub(crate) fn new(arguments: &str) -> Self {
        Self::of(path()).arguments(arguments)
    }

    /// `portolan` as a user without privileges, in a folder that is open to everybody. Needs root.
    pub(crate) fn unprivileged(arguments: &str) -> Self {
        let program = Self::of("setpriv");
        let folder = program.folder.path();
        std::fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
        // The build folder may be closed to other users; a copy is not.
        let copy = folder.join("portolan");
        std::fs::copy(path(), &copy).unwrap();
        program
            .arguments("--reuid=65534 --regid=65534 --clear-groups --bounding-set=-all")
            .argument(&copy)
            .arguments(arguments)
    }

    /// Another program, which is to start `portolan`.
    pub(crate) fn of(program: impl AsRef<OsStr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null());
        Self { command, folder }
    }

    /// Adds arguments, separated by spaces.
    pub(crate) fn arguments(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split_whitespace());
        self
    }

    /// Adds one argument as it is.
    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the folder in which the program will run.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// A file in that folder, which need not be there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Closes a file in that folder to everybody but root.
    pub(crate) fn close(self, name: &str) -> Self {
        let file = self.folder.path().join(name);
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// Puts a link into that folder.
    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.folder.path().join(name)).unwrap();
        self
    }

    /// Reads standard input from a file in that folder.
    pub(crate) fn stdin(mut self, name: &str) -> Self {
        let file = File::open(self.folder.path().join(name)).unwrap();
        self.command.stdin(file);
        self
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self) -> Ended {
        self.start().end()
    }

    /// Starts it and waits for its end, with standard output somewhere else.
    pub(crate) fn run_into(self, stdout: impl Into<Stdio>) -> Ended {
        self.start_into(stdout.into()).end()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        let stdout = File::create(self.folder.path().join("stdout")).unwrap();
        self.start_into(stdout.into())
    }

    /// Starts it, with standard output somewhere else.
    pub(crate) fn start_into(mut self, stdout: Stdio) -> Running {
        let stderr = File::create(self.folder.path().join("stderr")).unwrap();
        let child = self.command.stdout(stdout).stderr(stderr).spawn();
        Running {
            child: child.unwrap_or_else(|error| panic!("{:?}: {error}", self.command)),
            folder: self.folder,
        }
    }
}

impl Running {
    /// Waits for its end; a run that hangs fails the test.
    pub(crate) fn end(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            self.check_hang(start);
            std::thread::sleep(Duration::from_millis(5));
        };
        self.ended(status)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name (`INT`, `KILL`). The run may have ended by itself just before.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // `kill` is asked without looking: the only failure is that the process is gone.
        let _ = Command::new("kill")
            .args(["-s", name, &pid])
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }

    /// Waits until `happened` says so; a run that ends or hangs before fails the test.
    pub(crate) fn wait_until(&mut self, happened: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !happened(self) {
            assert!(self.is_running(), "it ended: {}", self.read("stderr"));
            self.check_hang(start);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends a run that has been waited for since `start` for too long, and fails the test.
    fn check_hang(&mut self, start: Instant) {
        if start.elapsed() > HANG {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            panic!("the program hangs; so far it said: {}", self.read("stderr"));
        }
    }

    /// What it has said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8(bytes).expect("the program writes UTF-8")
    }

    fn ended(self, status: ExitStatus) -> Ended {
        Ended {
            code: status.code(),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            folder: self.folder,
        }
    }
}

impl Ended {
    /// Fails the test unless the exit code is `code`.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// A file that the run wrote.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; stderr:\n{}", self.stderr))
    }
}
