//! `portolan local [PORT]`: what listens on this machine, who holds it, and what a second server
//! would get. Reads the kernel's lists; nothing is bound or sent to find out.

use anyhow::Context as _;
use portolan_model::{Listener, Process, Text};
use portolan_net::interface;
use portolan_net::listeners::{self, Boot, Connections, Listening};
use portolan_net::privilege::{Kernel, Privilege};
use portolan_report::{Local, Options, Surroundings, Unit};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::SystemTime;

/// Arguments of `portolan local`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LocalArgs {
    /// Explain this port: who holds it, since when, who starts it, from where it can be reached,
    /// and what a second server that wants it would get
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// How the result is written
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub(crate) format: Form,
}

/// The formats of what is said about this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// One document
    Json,
    /// For people
    Table,
}

/// What the command is asked.
#[derive(Clone, Debug)]
pub(crate) struct LocalOptions {
    /// The arguments.
    pub(crate) args: LocalArgs,
    /// Width, colour and layout.
    pub(crate) show: Options,
}

/// Runs the command and answers its exit code: 0, or 3 when the kernel refused a part of the list
/// or a limit cut it.
///
/// # Errors
/// When the kernel refuses every list, or when `out` cannot be written.
pub(crate) fn run(options: &LocalOptions, out: &mut dyn Write) -> anyhow::Result<u8> {
    let found = listeners::listening().context("cannot list the sockets of this machine")?;
    let partial = found.cut || !found.refused.is_empty();
    let local = describe(found, options.args.port);
    match options.args.format {
        Form::Json => portolan_report::write_local_json(&local, out)?,
        Form::Table => portolan_report::write_local(&local, &options.show, out)?,
    }
    Ok(if partial { 3 } else { 0 })
}

fn describe(found: Listening, port: Option<u16>) -> Local {
    let version = env!("CARGO_PKG_VERSION");
    let shown = |it: &&Listener| port.is_none_or(|port| it.port == port);
    let hidden = found
        .listeners
        .iter()
        .filter(shown)
        .filter(|it| it.processes.is_empty())
        .count();
    let mut notes: Vec<String> = hidden_note(hidden, found.unreadable, Privilege::now(), port)
        .into_iter()
        .collect();
    let refused = found.refused.iter();
    notes.extend(refused.map(|it| format!("The list is incomplete: {it}.")));
    if found.cut {
        notes.push(
            "This machine has more sockets or processes than are looked at, so sockets or their \
             holders are missing."
                .to_owned(),
        );
    }
    let around = port.map(|port| surroundings(port, &found.listeners));
    let local = Local::new(version, found.listeners, notes);
    match port.zip(around) {
        Some((port, around)) => local.of_port(port, &around),
        None => local,
    }
}

/// Why the holders of some sockets are not shown, and what would show them.
fn hidden_note(
    hidden: usize,
    unreadable: usize,
    privilege: Privilege,
    port: Option<u16>,
) -> Option<String> {
    let sockets = match hidden {
        0 => return None,
        1 => "The process of 1 socket is hidden".to_owned(),
        many => format!("The processes of {many} sockets are hidden"),
    };
    let port = port.map(|it| format!(" {it}")).unwrap_or_default();
    Some(if unreadable == 0 {
        format!(
            "{sockets}: every process here was looked at, so the kernel itself holds it, or a \
             process outside of this PID namespace (look from the host, not from a container)."
        )
    } else if privilege.is_root() {
        format!(
            "{sockets}: root is confined here, and {unreadable} processes may not be looked at. \
             With CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, process, unit and start would be shown."
        )
    } else {
        format!(
            "{sockets}: other users' processes may not be looked at. Root would add process, \
             unit, container and start: sudo portolan local{port}"
        )
    })
}

fn surroundings(port: u16, listeners: &[Listener]) -> Surroundings {
    let kernel = Kernel::now();
    let connections: Option<Connections> = listeners::connections(port).ok();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Surroundings {
        now_unix_s: now
            .ok()
            .and_then(|it| i64::try_from(it.as_secs()).ok())
            .unwrap_or_default(),
        own: own_addresses(),
        unprivileged_port_start: kernel.unprivileged_port_start,
        ephemeral_ports: kernel.ephemeral_ports,
        connections: connections.map(|it| it.live.saturating_add(it.time_wait)),
        bound: connections.map(|it| it.bound),
        units: units(listeners.iter().filter(|it| it.port == port)),
    }
}

/// Addresses that a server here may bind by themselves. A link-local IPv6 address needs its
/// interface as well, so it makes no example.
fn own_addresses() -> Vec<std::net::IpAddr> {
    let attached = interface::attached().unwrap_or_default();
    attached
        .interfaces
        .iter()
        .filter(|it| it.up && !it.loopback)
        .flat_map(|it| &it.addresses)
        .map(|it| it.address)
        .filter(|it| !matches!(it, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect()
}

fn units<'a>(held: impl Iterator<Item = &'a Listener>) -> Vec<Unit> {
    let names: BTreeSet<&str> = held
        .filter_map(|it| it.server())
        .filter(|it: &&Process| it.container.is_none())
        .filter_map(|it| it.unit.as_ref().map(Text::as_str))
        .collect();
    names
        .into_iter()
        .map(|name| Unit {
            name: name.to_owned(),
            starts_at_boot: match listeners::starts_at_boot(name) {
                Boot::Enabled => Some(true),
                Boot::NotEnabled => Some(false),
                Boot::Unknown => None,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_holders_are_explained_by_what_would_show_them() {
        let check = |hidden, unreadable, uid, expected: Option<&str>| {
            let privilege = Privilege {
                uid,
                ..Privilege::default()
            };
            let found = hidden_note(hidden, unreadable, privilege, Some(80));
            match expected {
                None => assert_eq!(found, None),
                Some(part) => {
                    let found = found.unwrap();
                    assert!(found.contains(part), "{found}");
                }
            }
        };
        check(0, 9, 1000, None);
        check(1, 9, 1000, Some("1 socket is hidden"));
        check(2, 9, 1000, Some("sudo portolan local 80"));
        check(2, 9, 0, Some("CAP_SYS_PTRACE"));
        check(2, 0, 0, Some("PID namespace"));
    }
}
