//! The run as events, one object a line, `portolan.event/1`.

use crate::document::Shown;
use crate::only;
use crate::options::{Only, Options};
use portolan_model::{Event, HostReport, PortReport, Run, SCHEMA_EVENT};
use serde::Serialize;
use std::io::{self, Write};

/// One line: the schema, then the event.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    #[serde(flatten)]
    event: &'a Event,
}

/// Writes one event as one line. With [`Only::Open`], ports that are not open and hosts without
/// an open port leave nothing.
///
/// The line is handed over in one piece, so that two writers of one stream never share a line.
///
/// # Errors
/// Those of `out`, a broken pipe included.
pub fn write_event(event: &Event, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    match (options.only, event) {
        (Only::Open, Event::Port { port, .. }) if !only::is_open(port) => Ok(()),
        (Only::Open, Event::Host { host }) => match only::host(host, Only::Open) {
            Some(host) => {
                let host = host.into_owned();
                write_line(&Event::Host { host }, out)
            }
            None => Ok(()),
        },
        _ => write_line(event, out),
    }
}

/// Writes the events that a run with this result had, in the order of the document: no progress,
/// and every host after its ports.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let answered = document.hosts.count();
    let silent = u64::try_from(document.unanswered.addresses.len()).unwrap_or(u64::MAX);
    let started = Event::RunStarted {
        run: Run {
            finished: None,
            complete: false,
            notices: Vec::new(),
            ..document.run.clone()
        },
        addresses: answered.saturating_add(silent),
        ports: document.run.ports.len(),
    };
    write_line(&started, out)?;
    for host in only::hosts(document, options.only) {
        for port in host.ports.iter().filter(|port| only::is_open(port)) {
            write_port(&host, port, out)?;
        }
        let host = host.into_owned();
        write_line(&Event::Host { host }, out)?;
    }
    let finished = Event::RunFinished {
        run: document.run.clone(),
        stats: *document.stats,
        unanswered: document.unanswered.clone(),
    };
    write_line(&finished, out)
}

/// An open port as it was found, then what the first look at it showed, when there was one.
fn write_port(host: &HostReport, port: &PortReport, out: &mut dyn Write) -> io::Result<()> {
    let found = Event::Port {
        ip: host.ip,
        names: host.names.clone(),
        port: PortReport {
            service: None,
            incomplete: Vec::new(),
            ..port.clone()
        },
    };
    write_line(&found, out)?;
    if port.service.is_none() && port.incomplete.is_empty() {
        return Ok(());
    }
    let looked_at = Event::Service {
        ip: host.ip,
        transport: port.transport,
        port: port.port,
        service: port.service.clone(),
        incomplete: port.incomplete.clone(),
    };
    write_line(&looked_at, out)
}

fn write_line(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line {
        schema: SCHEMA_EVENT,
        event,
    })?;
    line.push(b'\n');
    out.write_all(&line)
}
