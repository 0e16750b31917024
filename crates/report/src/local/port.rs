//! One port: who holds it, since when, who starts it, from where it can be reached, and what a
//! second server would get.

use super::{HANGING, Remedy, home, long_place, place, transport_word};
use crate::options::Layout;
use crate::style::{Indent, Ink, Sheet};
use crate::{columns, words};
use portolan_model::{
    Bid, Conflict, ConflictKind, Forecast, Listener, Process, Sharing, Transport,
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What is known around a port. What is not known is `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Now, in seconds since 1970-01-01 UTC.
    pub now_unix_s: i64,
    /// Addresses of this machine that are not loopback, to be tried as examples.
    pub own: Vec<IpAddr>,
    /// Lowest port that needs no privilege.
    pub unprivileged_port_start: Option<u16>,
    /// Ports that outgoing connections are given.
    pub ephemeral_ports: Option<RangeInclusive<u16>>,
    /// Connections whose local port this is, in TIME-WAIT or not.
    pub connections: Option<usize>,
    /// TCP sockets bound to the port without listening or being connected.
    pub bound: Option<usize>,
    /// What is known of the units that hold the port.
    pub units: Vec<Unit>,
}

/// A unit of the service manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether it starts at boot; `None` when that is not known.
    pub starts_at_boot: Option<bool>,
}

/// One port in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// The port.
    pub port: u16,
    /// When this was found, in seconds since 1970-01-01 UTC.
    pub now_unix_s: i64,
    /// What a second server would get, by transport and address.
    pub forecasts: Vec<Forecast>,
    /// Whether binding needs root or `CAP_NET_BIND_SERVICE`; `None` when the limit is not known.
    pub privileged: Option<bool>,
    /// Whether outgoing connections may be given this port.
    pub ephemeral: Option<bool>,
    /// Connections whose local port this is.
    pub connections: Option<usize>,
    /// TCP sockets bound to it without listening or being connected.
    pub bound: Option<usize>,
    /// What is known of the units that hold it.
    pub units: Vec<Unit>,
    /// How the sockets of the port stand to each other, workers of one service included.
    pub together: Vec<Conflict>,
    /// What can be done when the port is wanted by another.
    pub remedies: Vec<Remedy>,
}

impl PortView {
    /// `port` among all `listeners` of the machine.
    pub(super) fn new(port: u16, listeners: &[Listener], around: &Surroundings) -> Self {
        let held: Vec<Listener> = listeners
            .iter()
            .filter(|it| it.port == port)
            .cloned()
            .collect();
        let forecasts = [Transport::Tcp, Transport::Udp]
            .into_iter()
            .flat_map(|transport| bids(transport, port, &around.own))
            .map(|bid| Forecast::of(bid, &held))
            .collect();
        Self {
            port,
            now_unix_s: around.now_unix_s,
            forecasts,
            // Port 0 is no port: the kernel picks one.
            privileged: around.unprivileged_port_start.map(|it| port < it),
            ephemeral: around.ephemeral_ports.as_ref().map(|it| it.contains(&port)),
            connections: around.connections,
            bound: around.bound,
            units: around.units.clone(),
            together: Conflict::among(&held),
            remedies: Remedy::all(port, listeners),
        }
    }
}

/// What servers usually ask for, and one address of each family of this machine.
fn bids(transport: Transport, port: u16, own: &[IpAddr]) -> Vec<Bid> {
    let on = |address| Bid::on(transport, address, port);
    let mut bids = vec![
        Bid::every_v4(transport, port),
        Bid::both_families(transport, port),
        on(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        on(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        on(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
    ];
    bids.extend(own.iter().find(|it| it.is_ipv4()).copied().map(on));
    bids.extend(own.iter().find(|it| it.is_ipv6()).copied().map(on));
    bids
}

/// Writes the port; `held` are its sockets.
pub(super) fn write(
    view: &PortView,
    held: &[Listener],
    layout: Layout,
    sheet: &mut Sheet<'_>,
) -> io::Result<()> {
    let port = view.port;
    if held.is_empty() {
        sheet.prose(
            Indent::NONE,
            Ink::Strong,
            &format!("Port {port} is free: nothing listens on it."),
        )?;
    } else {
        for group in held.chunk_by(same_holder) {
            write_holder(view, group, sheet)?;
        }
        for conflict in view
            .together
            .iter()
            .filter(|it| it.kind == ConflictKind::Workers)
        {
            let message = words::printable(&format!("{}.", conflict.message));
            sheet.prose(HANGING, Ink::Plain, &message)?;
        }
        for transport in [Transport::Tcp, Transport::Udp] {
            write_forecasts(view, held, transport, layout, sheet)?;
        }
    }
    write_circumstances(view, sheet)?;
    if !view.remedies.is_empty() {
        sheet.line(&[(
            Ink::Strong,
            "What can be done when another server wants the port:",
        )])?;
    }
    for remedy in &view.remedies {
        let what = words::printable(&format!("- {}.", remedy.what));
        sheet.prose(LIST, Ink::Plain, &what)?;
        if let Some(command) = &remedy.command {
            // A command stands on a line of its own, uncut, to be copied.
            sheet.line(&[
                (Ink::Plain, "      "),
                (Ink::Strong, &words::printable(command)),
            ])?;
        }
    }
    Ok(())
}

fn same_holder(a: &Listener, b: &Listener) -> bool {
    a.transport == b.transport && a.processes == b.processes && a.uid == b.uid
}

/// Sockets of one holder: their places, each once with how many there are, then the holder.
fn write_holder(view: &PortView, group: &[Listener], sheet: &mut Sheet<'_>) -> io::Result<()> {
    let mut heads: Vec<(String, usize)> = Vec::new();
    for listener in group {
        let head = format!(
            "{} port {} on {}, reach {}",
            transport_word(listener.transport),
            listener.port,
            long_place(listener),
            listener.reach.as_str()
        );
        match heads.iter_mut().find(|(it, _)| *it == head) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => heads.push((head, 1)),
        }
    }
    for (head, count) in heads {
        let many = if count > 1 {
            format!(", {count} sockets")
        } else {
            String::new()
        };
        sheet.prose(HANGING, Ink::Strong, &format!("{head}{many}"))?;
    }
    for (name, value) in details(view, group) {
        let text = format!("{name}: {value}");
        sheet.prose(DETAIL, Ink::Plain, &words::printable(&text))?;
    }
    Ok(())
}

fn details(view: &PortView, group: &[Listener]) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    let Some(listener) = group.first() else {
        return details;
    };
    match listener.server() {
        None => {
            details.push(("held by", "a process that cannot be seen".to_owned()));
            details.push(("user", format!("{} (created the socket)", listener.user)));
        }
        Some(server) => {
            details.push(("held by", holders(server, &listener.processes)));
            if let Some(path) = &server.executable {
                details.push(("executable", path.to_string()));
            }
            details.push(("user", server.user.to_string()));
            if let Some(started) = server.started_unix_s {
                details.push(("since", since(started, view.now_unix_s)));
            }
            details.extend(started_by(view, server));
        }
    }
    details.extend(waiting(group).map(|text| ("waiting", text)));
    details
}

/// What waits to be taken by the server, all sockets together.
fn waiting(group: &[Listener]) -> Option<String> {
    let queue: u64 = group.iter().map(|it| u64::from(it.queue)).sum();
    let backlogs: Vec<u64> = group
        .iter()
        .filter_map(|it| it.backlog)
        .map(u64::from)
        .collect();
    match (backlogs.is_empty(), queue) {
        (false, _) => {
            let most: u64 = backlogs.iter().sum();
            Some(format!("{queue} of at most {most} connections"))
        }
        (true, 0) => None,
        (true, _) => Some(format!("{queue} bytes")),
    }
}

fn holders(server: &Process, all: &[Process]) -> String {
    let mut text = words::process(server);
    let others: Vec<String> = all
        .iter()
        .filter(|it| it.pid != server.pid)
        .map(words::process)
        .collect();
    if let Some((shown, rest)) = others.split_at_checked(OTHERS_MAX)
        && !rest.is_empty()
    {
        let _ = write!(text, ", {} and {} more", shown.join(", "), rest.len());
    } else if !others.is_empty() {
        let _ = write!(text, ", {}", others.join(", "));
    }
    text
}

fn started_by(view: &PortView, server: &Process) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if server.container.is_some() {
        found.push(("container", home(server)));
    }
    let Some(unit) = &server.unit else {
        return found;
    };
    let known = view.units.iter().find(|it| it.name == unit.as_str());
    let boot = match known.and_then(|it| it.starts_at_boot) {
        Some(true) => ", starts at boot",
        Some(false) => ", not enabled at boot",
        None => "",
    };
    let text = match unit.as_str().split_once('/') {
        Some((manager, unit)) => format!("{unit} of {manager}"),
        None if unit.as_str().strip_suffix(".scope").is_some() => {
            format!("{unit} (a login session or a program started by hand)")
        }
        None => format!("{unit}{boot}"),
    };
    found.push(("unit", text));
    found
}

/// `2026-01-01T00:00:00Z, for 3 days`.
fn since(started: i64, now: i64) -> String {
    let when = jiff::Timestamp::from_second(started)
        .map_or_else(|_| format!("second {started}"), |it| it.to_string());
    match u64::try_from(now.saturating_sub(started)) {
        Ok(seconds) => format!("{when}, for {}", span(seconds)),
        // The clock was set back after the process had started.
        Err(_) => format!("{when}, which this machine's clock calls the future"),
    }
}

/// A time in its two or one largest unit: `3 days`, `5 hours`, `1 minute`.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn write_forecasts(
    view: &PortView,
    held: &[Listener],
    transport: Transport,
    layout: Layout,
    sheet: &mut Sheet<'_>,
) -> io::Result<()> {
    let forecasts: Vec<&Forecast> = view
        .forecasts
        .iter()
        .filter(|it| it.bid.transport == transport)
        .collect();
    let word = transport_word(transport);
    if forecasts.iter().all(|it| it.is_free()) {
        let text = if held.iter().any(|it| it.transport == transport) {
            format!(
                "A second server can have the usual addresses of {word} port {}.",
                view.port
            )
        } else {
            format!("{word} port {} is free.", view.port)
        };
        return sheet.prose(Indent::NONE, Ink::Plain, &text);
    }
    let head = format!(
        "A second server that asks for {word} port {} gets:",
        view.port
    );
    sheet.prose(Indent::NONE, Ink::Strong, &head)?;
    let bids: Vec<String> = forecasts
        .iter()
        .map(|it| words::printable(&it.bid.to_string()))
        .collect();
    let widest = bids
        .iter()
        .map(|it| columns::width_of(it))
        .max()
        .unwrap_or(0);
    for (forecast, bid) in forecasts.iter().zip(&bids) {
        let (ink, outcome) = if forecast.is_free() {
            (Ink::Plain, "success".to_owned())
        } else {
            (
                Ink::Notable,
                format!("{IN_USE}: {}", blockers(forecast, held)),
            )
        };
        let text = match layout {
            Layout::Accessible => format!("On {bid}: {outcome}."),
            Layout::Columns => {
                let blanks = widest.saturating_sub(columns::width_of(bid));
                format!("{bid}{}  {outcome}", " ".repeat(blanks))
            }
        };
        sheet.prose(DETAIL, ink, &text)?;
    }
    sheet.prose(DETAIL, Ink::Plain, &sharing(&forecasts, transport))
}

fn blockers(forecast: &Forecast, held: &[Listener]) -> String {
    let mut names = Vec::new();
    for listener in held
        .iter()
        .filter(|it| forecast.blocked_by.contains(&it.inode))
    {
        let name = match listener.server() {
            Some(server) => words::process(server),
            None => format!("the socket on {}", place(listener)),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" and ")
}

/// What the options of socket(7) change.
fn sharing(forecasts: &[&Forecast], transport: Transport) -> String {
    let blocked = forecasts.iter().find(|it| !it.is_free());
    let reuse_address = match transport {
        Transport::Tcp => "SO_REUSEADDR does not help while the holder listens.",
        Transport::Udp => {
            "SO_REUSEADDR helps only when the holder has set it too, and then the two compete for \
             the same datagrams."
        }
    };
    let reuse_port = match blocked.map(|it| it.sharing) {
        Some(Sharing::Shown { uid }) => format!(
            "The holders share the port with SO_REUSEPORT: a server of user id {uid} that sets it \
             joins them and gets a part of the connections."
        ),
        Some(Sharing::Possible { uid }) => format!(
            "SO_REUSEPORT helps only when the holder has set it too, which the kernel does not \
             tell, and both run as user id {uid}."
        ),
        Some(Sharing::Impossible) => {
            "SO_REUSEPORT does not help: the holders belong to different users.".to_owned()
        }
        Some(Sharing::NotNeeded) | None => String::new(),
    };
    format!("{reuse_address} {reuse_port}")
        .trim_end()
        .to_owned()
}

/// Permission, the ephemeral range and connections.
fn write_circumstances(view: &PortView, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let port = view.port;
    if view.privileged == Some(true) {
        let text = "A server needs root or CAP_NET_BIND_SERVICE for this port; without them it \
                    gets \"Permission denied\" (EACCES). A unit grants it with \
                    AmbientCapabilities=CAP_NET_BIND_SERVICE.";
        sheet.prose(Indent::NONE, Ink::Plain, text)?;
    }
    if view.ephemeral == Some(true) {
        let text = format!(
            "Port {port} is one that the kernel gives to outgoing connections, so a server may \
             find it taken at times. Keep it free with \
             `sudo sysctl -w net.ipv4.ip_local_reserved_ports={port}` (this replaces the list of \
             reserved ports)."
        );
        sheet.prose(Indent::NONE, Ink::Plain, &text)?;
    }
    if let Some(count) = view.connections.filter(|it| *it > 0) {
        let what = if count == 1 {
            "1 TCP connection has"
        } else {
            &format!("{count} TCP connections have")
        };
        let text = format!(
            "{what} local port {port} (TIME-WAIT included). A server that starts without \
             SO_REUSEADDR gets \"Address already in use\" until they are over; with it, only \
             outgoing ones stand in the way."
        );
        sheet.prose(Indent::NONE, Ink::Plain, &text)?;
    }
    if let Some(count) = view.bound.filter(|it| *it > 0) {
        let what = if count == 1 {
            "1 TCP socket is"
        } else {
            &format!("{count} TCP sockets are")
        };
        let text = format!("{what} bound to port {port} without listening, and may be in the way.");
        sheet.prose(Indent::NONE, Ink::Plain, &text)?;
    }
    Ok(())
}

/// The words of the error, and its name.
const IN_USE: &str = "Address already in use (EADDRINUSE)";
/// Most further processes named for one socket.
const OTHERS_MAX: usize = 4;
const DETAIL: Indent = Indent { first: 2, rest: 6 };
const LIST: Indent = Indent { first: 2, rest: 4 };
