//! `portolan doctor`: what will and will not work here, and the command that mends it. Looks at
//! this machine only, or at the user's fingerprints; sends nothing and changes nothing.

mod examples;
mod judge;

use super::local::Form;
use crate::exit;
use crate::terminal::{sentence, show_error};
use nix::net::if_::if_nametoindex;
use portolan_model::Checkup;
use portolan_net::interface::{self, Attached};
use portolan_net::listeners;
use portolan_net::machine::{self, Clock, DefaultRoutes, Firewall};
use portolan_net::privilege::{self, FileLimit, Kernel, NoPackets, Privilege};
use portolan_net::raw::xdp::io::{self, Tried};
use portolan_report::Options;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Arguments of `portolan doctor`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub(crate) format: Form,
    /// Instead of this machine, look over the fingerprints in this folder, and try their examples
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) fingerprints: Option<PathBuf>,
}

/// What the command is asked.
#[derive(Clone, Debug)]
pub(crate) struct DoctorOptions {
    /// The arguments.
    pub(crate) args: DoctorArgs,
    /// Width, colour and layout.
    pub(crate) show: Options,
    /// The folder that history and checkpoints are written to; `None` when the user has no home.
    pub(crate) state_folder: Option<PathBuf>,
}

/// Runs the command and answers its exit code: 0, or 3 when no scan is possible here; of
/// fingerprints 1 when an example fails, and 2 when they cannot be read.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn run(options: &DoctorOptions, out: &mut dyn Write) -> anyhow::Result<u8> {
    let looked = match &options.args.fingerprints {
        Some(folder) => examples::checks(folder),
        None => Ok((
            Facts::gather(options.state_folder.as_deref()).checks(),
            exit::DONE,
        )),
    };
    let (checks, code) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            show_error(&sentence(&error));
            return Ok(exit::USAGE);
        }
    };
    let checkup = Checkup::new(env!("CARGO_PKG_VERSION"), checks);
    match options.args.format {
        Form::Json => portolan_report::write_checkup_json(&checkup, out)?,
        Form::Table => portolan_report::write_checkup(&checkup, &options.show, out)?,
    }
    Ok(if checkup.can_scan {
        code
    } else {
        exit::PARTIAL
    })
}

/// What was seen of this machine. What could not be seen is `None`.
#[derive(Debug)]
struct Facts {
    privilege: Privilege,
    packets: Result<(), NoPackets>,
    /// By interface that is up: whether XDP sockets send there, or why not.
    frames: Option<Vec<Tried>>,
    files: Option<FileLimit>,
    kernel: Kernel,
    attached: Option<Attached>,
    routes: DefaultRoutes,
    name_servers: Option<Vec<IpAddr>>,
    clock: Clock,
    firewall: Firewall,
    container: Option<String>,
    /// Why the kernel's list of sockets cannot be had.
    sockets_refused: Option<String>,
    state: StateFolder,
}

#[derive(Debug)]
enum StateFolder {
    NoHome,
    NotWritable(PathBuf),
    Writable(PathBuf),
}

impl Facts {
    fn gather(state_folder: Option<&Path>) -> Self {
        let privilege = Privilege::now();
        let attached = interface::attached().ok();
        Self {
            privilege,
            packets: privilege::may_use_packets(),
            frames: frames(attached.as_ref()),
            files: privilege::file_limit().ok(),
            kernel: Kernel::now(),
            attached,
            routes: machine::default_routes(),
            name_servers: machine::name_servers(),
            clock: machine::clock(),
            firewall: machine::firewall(&privilege),
            container: machine::container(),
            sockets_refused: listeners::connections(1).err().map(|it| it.to_string()),
            state: state_folder.map_or(StateFolder::NoHome, StateFolder::of),
        }
    }
}

/// What XDP sockets find at each interface that is up, but for loopback.
fn frames(attached: Option<&Attached>) -> Option<Vec<Tried>> {
    let up = attached?
        .interfaces
        .iter()
        .filter(|it| it.up && !it.loopback);
    let indexes: Vec<u32> = up
        .filter_map(|it| if_nametoindex(it.name.as_str()).ok())
        .collect();
    io::try_on(&indexes).ok()
}

impl StateFolder {
    /// Whether `path` can be written, or made where it does not exist yet.
    fn of(path: &Path) -> Self {
        let existing = path.ancestors().find(|it| it.exists());
        let writable = existing.is_some_and(|it| {
            let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
            it.is_dir() && nix::unistd::eaccess(it, flags).is_ok()
        });
        if writable {
            Self::Writable(path.to_owned())
        } else {
            Self::NotWritable(path.to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
