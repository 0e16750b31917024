//! A run in columns: one block a host, then what the run as a whole says ([`crate::footer`]).

use crate::columns::{self, Cell, Column, Grid};
use crate::document::Shown;
use crate::options::{Detail, Options};
use crate::style::{Indent, Ink, Sheet};
use crate::{footer, only, words};
use portolan_model::{HostReport, HostState, PortReport, Reason, State, Tunnel};
use std::io::{self, Write};

/// Blanks before the rows of a host.
const ROW_INDENT: usize = 2;
/// Blanks before what is said below a row.
const DETAIL: Indent = Indent { first: 6, rest: 8 };
/// Where the service column stands among [`COLUMNS`].
const SERVICE: usize = 2;
/// Where the text column stands among [`COLUMNS`].
const SAYS: usize = 3;

const COLUMNS: [Column; 5] = [
    Column {
        header: "PORT",
        least: 9,
        most: 9,
    },
    Column {
        header: "STATE",
        least: 13,
        most: 13,
    },
    Column {
        header: "SERVICE",
        least: 7,
        most: 20,
    },
    Column {
        header: "WHAT IT IS OR SAYS",
        least: 12,
        most: 120,
    },
    Column {
        header: "PROCESS",
        least: 12,
        most: 24,
    },
];

/// Writes every shown host and the footer.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut sheet = Sheet::new(options, out);
    let mut before = Block::None;
    for host in only::hosts(document, options.only) {
        let block = block_of(&host, options, &sheet);
        if before == Block::Tall || (before != Block::None && block == Block::Tall) {
            sheet.line(&[])?;
        }
        match block {
            Block::Line => write_line(&host, &mut sheet)?,
            Block::None | Block::Tall => write_block(&host, options, &mut sheet)?,
        }
        before = block;
    }
    if before != Block::None {
        sheet.line(&[])?;
    }
    footer::write(document, options, &mut sheet)
}

/// How much room a host takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Line,
    Tall,
}

fn block_of(host: &HostReport, options: &Options, sheet: &Sheet<'_>) -> Block {
    let short = host.ports.is_empty() && host.mac.is_none() && options.detail == Detail::Normal;
    let fits = || {
        let (headline, summary) = (headline(host), summary(host));
        let width = columns::width_of(&headline).saturating_add(columns::width_of(&summary));
        width.saturating_add(2) <= sheet.width()
    };
    if short && fits() {
        Block::Line
    } else {
        Block::Tall
    }
}

/// A host without listed ports on one line.
fn write_line(host: &HostReport, sheet: &mut Sheet<'_>) -> io::Result<()> {
    sheet.line(&[
        (Ink::Strong, &headline(host)),
        (Ink::Plain, "  "),
        (Ink::Plain, &summary(host)),
    ])
}

fn write_block(host: &HostReport, options: &Options, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let headline = headline(host);
    let headline = columns::cut(&headline, sheet.width());
    sheet.line(&[(Ink::Strong, &headline)])?;
    let indent = Indent {
        first: ROW_INDENT,
        rest: ROW_INDENT + 2,
    };
    sheet.prose(indent, Ink::Plain, &summary(host))?;
    if let Some(hardware) = hardware(host) {
        sheet.prose(indent, Ink::Faint, &hardware)?;
    }
    write_ports(host, options, sheet)?;
    if options.detail == Detail::Verbose {
        for tally in only::other_tallies(&host.other_ports) {
            let Some(ports) = &tally.ports else { continue };
            let which = words::tally(&tally);
            let text = format!("{which}: {}", words::ports(ports));
            sheet.prose(indent, Ink::Faint, &text)?;
        }
    }
    Ok(())
}

/// Address and names.
fn headline(host: &HostReport) -> String {
    let names = words::names(host);
    if names.is_empty() {
        host.ip.to_string()
    } else {
        format!("{}  {names}", host.ip)
    }
}

/// Whether the host is there, and all its ports in counts.
fn summary(host: &HostReport) -> String {
    let state = match (host.state, host.rtt_ms) {
        (HostState::Up, Some(rtt)) => format!("up, {} ms", words::figure(rtt)),
        (HostState::Up, None) => "up".to_owned(),
        (HostState::Unknown, _) => match host.reason {
            Some(reason @ Reason::Icmp(_)) => {
                format!("unknown, a device on the way answered {reason}")
            }
            _ => "unknown, nothing came from the host itself".to_owned(),
        },
    };
    let mut counts: Vec<String> = only::tallies(host).iter().map(words::tally).collect();
    if !host.ports.iter().any(only::is_open) {
        counts.insert(0, "no open port".to_owned());
    }
    format!("{state}: {}", counts.join(", "))
}

fn hardware(host: &HostReport) -> Option<String> {
    let mac = host.mac.as_deref()?;
    let text = match host.vendor.as_deref() {
        Some(vendor) => format!("hardware address {mac} ({vendor})"),
        None => format!("hardware address {mac}"),
    };
    Some(words::printable(&text))
}

fn write_ports(host: &HostReport, options: &Options, sheet: &mut Sheet<'_>) -> io::Result<()> {
    if host.ports.is_empty() {
        return Ok(());
    }
    let has_process = host.ports.iter().any(|port| port.process.is_some());
    let has_words = host.ports.iter().any(has_words);
    let columns = match (has_process, has_words) {
        (true, _) => COLUMNS.get(..),
        (false, true) => COLUMNS.get(..=SAYS),
        // Nobody was asked what it is, so nothing is said of it.
        (false, false) => COLUMNS.get(..SERVICE),
    };
    let mut rows: Vec<Vec<Cell>> = host.ports.iter().map(row).collect();
    let fitted = |columns: &[Column], rows: &[Vec<Cell>], sheet: &Sheet<'_>| {
        Grid::fitted(columns, rows, ROW_INDENT, sheet.width())
    };
    let wide = columns.and_then(|columns| fitted(columns, &rows, sheet));
    let is_wide = wide.is_some();
    if !is_wide {
        // Too narrow: what a port says, and who holds it, stands below its row.
        for row in &mut rows {
            row.truncate(SAYS);
        }
    }
    let narrow = || COLUMNS.get(..SAYS).and_then(|it| fitted(it, &rows, sheet));
    let Some(grid) = wide.or_else(narrow) else {
        return Ok(());
    };
    sheet.line(&[])?;
    grid.write_header(sheet)?;
    for (port, row) in host.ports.iter().zip(&rows) {
        grid.write_row(row, sheet)?;
        if !is_wide {
            write_below(port, sheet)?;
        }
        if options.detail == Detail::Verbose {
            write_detail(port, &grid, sheet)?;
        }
    }
    Ok(())
}

/// Whether there is more to say of a port than that it is open.
fn has_words(port: &PortReport) -> bool {
    !only::is_open(port) || port.service.is_some() || !port.incomplete.is_empty()
}

fn row(port: &PortReport) -> Vec<Cell> {
    let state = match port.state {
        State::Open => Ink::Open,
        State::Filtered | State::OpenFiltered => Ink::Notable,
        State::Closed | State::NotTested => Ink::Faint,
    };
    let (says, ink) = says(port);
    let process = port.process.as_ref().map(words::process);
    vec![
        Cell {
            text: format!("{}/{}", port.port, port.transport),
            ink: Ink::Plain,
        },
        Cell {
            text: port.state.to_string(),
            ink: state,
        },
        Cell {
            text: words::service(port),
            ink: Ink::Plain,
        },
        Cell { text: says, ink },
        Cell {
            text: process.unwrap_or_default(),
            ink: Ink::Plain,
        },
    ]
}

/// Product and version; else what the port says; else what is known instead, in our own words: the
/// reason of a port that is not open, or in parentheses why nothing is shown.
fn says(port: &PortReport) -> (String, Ink) {
    if !only::is_open(port) {
        return (port.reason.to_string(), Ink::Faint);
    }
    let evidence =
        port.service
            .as_ref()
            .map(|service| match (&service.product, &service.evidence) {
                (None, Some(evidence)) => words::printable(evidence.as_str()),
                _ => words::product(service),
            });
    match (evidence, words::why_unknown(&port.incomplete)) {
        (Some(evidence), _) if !evidence.is_empty() => (evidence, Ink::Plain),
        (_, Some(why)) => (format!("({why})"), Ink::Faint),
        (_, None) => (String::new(), Ink::Faint),
    }
}

/// What has no column in a narrow table.
fn write_below(port: &PortReport, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let (says, ink) = says(port);
    let blanks = " ".repeat(DETAIL.first);
    let room = sheet.width().saturating_sub(DETAIL.first);
    if !says.is_empty() {
        sheet.line(&[(Ink::Plain, &blanks), (ink, &columns::cut(&says, room))])?;
    }
    if let Some(process) = &port.process {
        let process = format!("held by {}", words::process(process));
        let process = columns::cut(&process, room);
        sheet.line(&[(Ink::Plain, &blanks), (Ink::Plain, &process)])?;
    }
    Ok(())
}

/// All that is known of a port and has no room in its row.
fn write_detail(port: &PortReport, grid: &Grid, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let probes = words::counted(port.probes.into(), words::Noun::Probe);
    let shown = format!("reason: {}, {probes}", port.reason);
    sheet.prose(DETAIL, Ink::Faint, &shown)?;
    if let Some(service) = &port.service {
        let product = words::product(service);
        if !grid.shows_whole(SAYS, &product) {
            sheet.prose(DETAIL, Ink::Faint, &format!("product: {product}"))?;
        }
        if let Some(os) = &service.os {
            let name = words::printable(os.name.as_str());
            let text = format!(
                "system: {name}, by its own words ({} of 100)",
                os.confidence
            );
            sheet.prose(DETAIL, Ink::Faint, &text)?;
        }
        if service.tls == Some(Tunnel::StartTls) {
            sheet.prose(DETAIL, Ink::Faint, "TLS: begins on command")?;
        }
        let sure = format!("confidence: {} of 100", service.confidence);
        sheet.prose(DETAIL, Ink::Faint, &sure)?;
        if let Some(evidence) = &service.evidence {
            let evidence = words::printable(evidence.as_str());
            let is_shown = service.product.is_none() && grid.shows_whole(SAYS, &evidence);
            if !is_shown {
                sheet.prose(DETAIL, Ink::Faint, &format!("says: {evidence}"))?;
            }
        }
    }
    if let Some(process) = &port.process {
        let origin = words::process_origin(process);
        let text = format!("process: {}, {origin}", words::process(process));
        sheet.prose(DETAIL, Ink::Faint, &text)?;
    }
    for incomplete in &port.incomplete {
        let text = format!("not decided: {}: {}", incomplete.fact, incomplete.why);
        sheet.prose(DETAIL, Ink::Faint, &words::printable(&text))?;
    }
    Ok(())
}
