//! What to do when a port is held by somebody else. Nothing is done here, only said, with the
//! exact command where there is one.

use super::short_container;
use portolan_model::{Listener, Process, Transport};
use serde::{Deserialize, Serialize};

/// A way to have the port, or to do without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// What it does, as a request.
    pub what: String,
    /// The command that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Remedy {
    fn new(what: impl Into<String>, command: Option<String>) -> Self {
        Self {
            what: what.into(),
            command,
        }
    }

    /// What can be done about the holders of `port`, best known first. `listeners` are all of the
    /// machine, so that a port is not proposed that is taken too.
    pub(super) fn all(port: u16, listeners: &[Listener]) -> Vec<Self> {
        let held: Vec<&Listener> = listeners.iter().filter(|it| it.port == port).collect();
        if held.is_empty() {
            return Vec::new();
        }
        let mut remedies: Vec<Self> = Vec::new();
        for listener in &held {
            for remedy in freeing(listener) {
                if !remedies.contains(&remedy) {
                    remedies.push(remedy);
                }
            }
        }
        remedies.extend(moving(port, &held, listeners));
        remedies
    }
}

/// Ways to make the holder let go.
fn freeing(listener: &Listener) -> Vec<Remedy> {
    let Some(server) = listener.server() else {
        let what = "See who holds it: as root, and from the host rather than from a container";
        let command = format!("sudo portolan local {}", listener.port);
        return vec![Remedy::new(what, Some(command))];
    };
    // Names of processes are chosen by their authors, so none of them becomes part of a command.
    if let Some(container) = &server.container {
        return vec![stop_container(container.as_str(), listener.port)];
    }
    if server.name.as_str() == "docker-proxy" {
        return vec![Remedy::new(
            "Find the container that publishes the port, then stop it or publish another port",
            Some(format!("docker ps --filter publish={}", listener.port)),
        )];
    }
    if listener.processes.iter().any(Process::is_service_manager) {
        return vec![Remedy::new(
            "systemd holds the port for a socket unit: find the unit, then run `sudo systemctl \
             disable --now` with its name",
            Some("systemctl list-sockets --show-types".to_owned()),
        )];
    }
    let unit = server.unit.as_ref().map(portolan_model::Text::as_str);
    match unit.map(|it| it.split_once('/').unwrap_or(("", it))) {
        Some((manager, unit)) if unit.ends_with(".service") && is_plain(unit) => {
            stop_unit(manager, unit)
        }
        _ => vec![stop_process(server)],
    }
}

fn stop_unit(manager: &str, unit: &str) -> Vec<Remedy> {
    let systemctl = match manager
        .strip_prefix("user@")
        .and_then(|it| it.strip_suffix(".service"))
    {
        Some(user) if is_plain(user) => format!("sudo systemctl --user --machine={user}@"),
        _ => "sudo systemctl".to_owned(),
    };
    vec![
        Remedy::new(
            format!("Stop {unit} until it is started again"),
            Some(format!("{systemctl} stop {unit}")),
        ),
        Remedy::new(
            format!("Stop {unit} and keep it from starting at boot"),
            Some(format!("{systemctl} disable --now {unit}")),
        ),
    ]
}

fn stop_process(server: &Process) -> Remedy {
    Remedy::new(
        format!(
            "Ask {} to end (no service unit starts it, so whatever started it may do so again)",
            server.name
        ),
        Some(format!("sudo kill {}", server.pid)),
    )
}

fn stop_container(container: &str, port: u16) -> Remedy {
    let short = short_container(container);
    let (runtime, id) = short.split_once(':').unwrap_or(("", &short));
    let command = match runtime {
        _ if !is_plain(id) => None,
        "docker" => Some(format!("docker stop {id}")),
        "podman" => Some(format!("podman stop {id}")),
        "containerd" | "cri-o" | "kubernetes" => Some(format!("sudo crictl stop {id}")),
        "lxc" => Some(format!("sudo lxc-stop --name {id}")),
        "nspawn" => Some(format!("sudo machinectl stop {id}")),
        _ => None,
    };
    Remedy::new(
        format!("Stop the container {short}, or start it again without host port {port}"),
        command,
    )
}

/// Whether a name may stand in a command as it is.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-_.@:".contains(&it))
}

/// Ways to leave the port to its holder.
fn moving(port: u16, held: &[&Listener], listeners: &[Listener]) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    let spare = (8080..=8199).find(|it| listeners.iter().all(|held| held.port != *it));
    if let Some(spare) = spare {
        remedies.push(Remedy::new(
            format!(
                "Let the second server listen on another port, such as {spare}, which is free now"
            ),
            None,
        ));
    }
    if held.iter().any(|it| it.address.is_unspecified()) {
        remedies.push(Remedy::new(
            "Give each server an address of its own: then both must name it, because a server on \
             every address (0.0.0.0 or ::) leaves none for another",
            None,
        ));
    }
    let tcp = held.iter().find(|it| it.transport == Transport::Tcp);
    if let (Some(tcp), Some(spare)) = (tcp, spare) {
        remedies.push(Remedy::new(
            format!(
                "Put one behind the other: let the second server listen on 127.0.0.1:{spare} and \
                 let {} pass requests on to it (reverse proxy), or the other way round",
                tcp.server().map_or_else(
                    || format!("the holder of port {port}"),
                    |it| it.name.to_string()
                )
            ),
            None,
        ));
    }
    remedies
}
