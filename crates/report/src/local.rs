//! The listening sockets of this machine as a table, in sentences, or as JSON. What one port in
//! particular means is written in `local/port.rs`, and what to do about it in `local/remedy.rs`.

mod port;
mod remedy;

pub use port::{PortView, Surroundings, Unit};
pub use remedy::Remedy;

use crate::columns::{Cell, Column, Grid};
use crate::options::{Colour, Layout, Options};
use crate::style::{Indent, Ink, Sheet};
use crate::words;
use portolan_model::{Bid, Conflict, ConflictKind, Listener, Reach, Transport};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{self, Write};

/// The listening sockets of this machine, with what follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Always [`Local::SCHEMA`].
    pub schema: String,
    /// Version of the program that looked.
    pub version: String,
    /// The sockets, by port, transport and address; those of one port when one was asked for.
    pub listeners: Vec<Listener>,
    /// Ports held by programs that do not belong together, or may not.
    pub conflicts: Vec<Conflict>,
    /// Sockets whose process cannot be seen.
    pub hidden: usize,
    /// What is missing from this document, why, and how to get it.
    pub notes: Vec<String>,
    /// The port that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortView>,
}

impl Local {
    /// Name and version of the format.
    pub const SCHEMA: &str = "portolan.local/1";

    /// Everything that listens, found by `version` of the program.
    pub fn new(version: &str, listeners: Vec<Listener>, notes: Vec<String>) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: version.to_owned(),
            conflicts: conflicts(&listeners),
            hidden: listeners
                .iter()
                .filter(|it| it.processes.is_empty())
                .count(),
            listeners,
            notes,
            port: None,
        }
    }

    /// Narrows it to `port` and adds what a second server would get there.
    #[must_use]
    pub fn of_port(mut self, port: u16, surroundings: &Surroundings) -> Self {
        self.port = Some(PortView::new(port, &self.listeners, surroundings));
        self.listeners.retain(|it| it.port == port);
        Self {
            port: self.port,
            ..Self::new(&self.version, self.listeners, self.notes)
        }
    }
}

fn conflicts(listeners: &[Listener]) -> Vec<Conflict> {
    let mut found = Conflict::among(listeners);
    found.retain(|it| it.kind != ConflictKind::Workers);
    found
}

/// Writes `local` for people: a table, or sentences.
pub fn write_local(local: &Local, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let accessible = Options {
        width: usize::MAX,
        colour: Colour::Never,
        ..*options
    };
    let mut sheet = match options.layout {
        Layout::Accessible => Sheet::new(&accessible, out),
        Layout::Columns => Sheet::new(options, out),
    };
    if let Some(view) = &local.port {
        port::write(view, &local.listeners, options.layout, &mut sheet)?;
    } else {
        match options.layout {
            Layout::Accessible => write_sentences(&local.listeners, &mut sheet)?,
            Layout::Columns => write_columns(&local.listeners, &mut sheet)?,
        }
        write_summary(&local.listeners, &mut sheet)?;
    }
    for conflict in &local.conflicts {
        let (word, ink) = if conflict.is_warning() {
            ("Warning", Ink::Notable)
        } else {
            ("Note", Ink::Plain)
        };
        let message = words::printable(&format!("{word}: {}.", conflict.message));
        sheet.prose(HANGING, ink, &message)?;
    }
    for note in &local.notes {
        sheet.prose(HANGING, Ink::Faint, &words::printable(note))?;
    }
    Ok(())
}

/// Writes `local` as one JSON document and a line feed.
pub fn write_local_json(local: &Local, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, local)?;
    out.write_all(b"\n")
}

fn write_columns(listeners: &[Listener], sheet: &mut Sheet<'_>) -> io::Result<()> {
    if listeners.is_empty() {
        return Ok(());
    }
    let rows = rows(listeners);
    let most = usize::MAX;
    let columns = [
        column("PORT", 9, most),
        column("ADDRESS", 9, 39),
        column("REACH", 8, most),
        column("PROCESS", 8, 36),
        column("USER", 4, 20),
        column("UNIT/CONTAINER", 8, most),
    ];
    match Grid::fitted(&columns, &rows, 0, sheet.width()) {
        Some(grid) => {
            grid.write_header(sheet)?;
            for row in &rows {
                grid.write_row(row, sheet)?;
            }
            Ok(())
        }
        // Narrower than any table: sentences wrap.
        None => write_sentences(listeners, sheet),
    }
}

const fn column(header: &'static str, least: usize, most: usize) -> Column {
    Column {
        header,
        least,
        most,
    }
}

/// One row a socket; sockets that differ in nothing that is shown are one row with their number.
fn rows(listeners: &[Listener]) -> Vec<Vec<Cell>> {
    let mut rows: Vec<(Vec<Cell>, usize)> = Vec::new();
    for listener in listeners {
        let row = row(listener);
        match rows.last_mut() {
            Some((last, count)) if same_cells(last, &row) => *count = count.saturating_add(1),
            _ => rows.push((row, 1)),
        }
    }
    rows.into_iter()
        .map(|(mut row, count)| {
            if count > 1
                && let Some(address) = row.get_mut(ADDRESS_COLUMN)
            {
                // Writing to a string does not fail.
                let _ = write!(address.text, " ×{count}");
            }
            row
        })
        .collect()
}

fn same_cells(a: &[Cell], b: &[Cell]) -> bool {
    a.iter().map(|it| &it.text).eq(b.iter().map(|it| &it.text))
}

fn row(listener: &Listener) -> Vec<Cell> {
    let port = format!("{}/{}", listener.port, listener.transport);
    let reach_ink = match listener.reach {
        Reach::Anywhere => Ink::Notable,
        Reach::Loopback | Reach::Segment => Ink::Plain,
    };
    let server = listener.server();
    let process = server.map_or_else(|| HIDDEN.to_owned(), words::process);
    let process = match listener.processes.len() {
        0 | 1 => process,
        count => format!("{process} +{}", count.saturating_sub(1)),
    };
    let user = server.map_or(&listener.user, |it| &it.user);
    [
        (port, Ink::Strong),
        (place(listener), Ink::Plain),
        (listener.reach.as_str().to_owned(), reach_ink),
        (process, Ink::Plain),
        (words::printable(user.as_str()), Ink::Plain),
        (server.map(home).unwrap_or_default(), Ink::Plain),
    ]
    .map(|(text, ink)| Cell { text, ink })
    .into()
}

/// Address and interface in few columns: `0.0.0.0`, `:: + IPv4`, `0.0.0.0%eth0`.
fn place(listener: &Listener) -> String {
    let mut text = listener.address.to_string();
    if let Some(interface) = &listener.interface {
        let _ = write!(text, "%{}", words::printable(interface.as_str()));
    }
    if !Bid::of(listener).one_family && listener.address.is_unspecified() {
        text.push_str(" + IPv4");
    }
    text
}

/// The unit or the container of a process, short: `nginx.service`, `docker:3f1c0b7e9a5d`.
fn home(process: &portolan_model::Process) -> String {
    let text = match (&process.container, &process.unit) {
        (Some(container), _) => short_container(container.as_str()),
        (None, Some(unit)) => {
            let unit = unit.as_str();
            unit.rsplit_once('/')
                .map_or(unit, |(_, unit)| unit)
                .to_owned()
        }
        (None, None) => String::new(),
    };
    words::printable(&text)
}

/// Runtimes accept the first twelve digits of an id.
fn short_container(container: &str) -> String {
    match container.split_once(':') {
        Some((runtime, id)) if id.len() > 12 && id.bytes().all(|it| it.is_ascii_hexdigit()) => {
            format!("{runtime}:{}", id.get(..12).unwrap_or(id))
        }
        _ => container.to_owned(),
    }
}

fn write_sentences(listeners: &[Listener], sheet: &mut Sheet<'_>) -> io::Result<()> {
    for listener in listeners {
        sheet.prose(HANGING, Ink::Plain, &sentence(listener))?;
    }
    Ok(())
}

fn sentence(listener: &Listener) -> String {
    let transport = transport_word(listener.transport);
    let mut text = format!(
        "{transport} port {} on {}",
        listener.port,
        long_place(listener)
    );
    let _ = write!(text, ", reach {}. ", listener.reach.as_str());
    match listener.server() {
        None => {
            let _ = write!(text, "Its process is hidden; user {}.", listener.user);
        }
        Some(server) => {
            let _ = write!(
                text,
                "Held by {}, process {}, user {}",
                server.name, server.pid, server.user
            );
            let home = home(server);
            if !home.is_empty() {
                let what = if server.container.is_some() {
                    "container"
                } else {
                    "unit"
                };
                let _ = write!(text, ", {what} {home}");
            }
            match listener.processes.len().saturating_sub(1) {
                0 => {}
                1 => text.push_str(", and 1 more process"),
                more => {
                    let _ = write!(text, ", and {more} more processes");
                }
            }
            text.push('.');
        }
    }
    words::printable(&text)
}

/// The address in words: `0.0.0.0, every IPv4 address`.
fn long_place(listener: &Listener) -> String {
    let mut text = listener.address.to_string();
    if listener.address.is_unspecified() {
        text.push_str(match (listener.address.is_ipv4(), listener.one_family) {
            (true, _) => ", every IPv4 address",
            (false, Some(true)) => ", every IPv6 address",
            (false, Some(false)) => ", every IPv6 and IPv4 address",
            (false, None) => ", every IPv6 address and perhaps every IPv4 address",
        });
    }
    if let Some(interface) = &listener.interface {
        let _ = write!(text, ", interface {interface} only");
    }
    words::printable(&text)
}

const fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

fn write_summary(listeners: &[Listener], sheet: &mut Sheet<'_>) -> io::Result<()> {
    if listeners.is_empty() {
        return sheet.line(&[(Ink::Plain, "Nothing listens on this machine.")]);
    }
    let of = |reach: Reach| listeners.iter().filter(|it| it.reach == reach).count();
    let sockets = if listeners.len() == 1 {
        "socket"
    } else {
        "sockets"
    };
    let text = format!(
        "{} {sockets}: {} reachable from anywhere, {} from the segment, {} from this machine only \
         (a firewall may allow less).",
        listeners.len(),
        of(Reach::Anywhere),
        of(Reach::Segment),
        of(Reach::Loopback)
    );
    sheet.prose(Indent::NONE, Ink::Plain, &text)
}

/// What stands for a process that cannot be seen.
const HIDDEN: &str = "hidden";
const ADDRESS_COLUMN: usize = 1;
/// Following lines of a paragraph stand in.
const HANGING: Indent = Indent { first: 0, rest: 2 };

#[cfg(test)]
mod tests;
