//! A run in sentences, for screen readers: one thing a line, nothing that has to be seen in its
//! place, no colour, and no line broken in two.

use crate::document::Shown;
use crate::options::{Colour, Detail, Options};
use crate::style::Sheet;
use crate::words::{self, Noun};
use crate::{footer, only};
use portolan_model::{HostReport, HostState, PortReport, State, Text, Transport, Tunnel};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes every shown host and the footer.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    for host in only::hosts(document, options.only) {
        writeln!(out, "{}", host_sentences(&host))?;
        for port in &host.ports {
            writeln!(out, "{}", port_sentences(port, options.detail))?;
        }
        for tally in only::other_tallies(&host.other_ports) {
            let state = words::state_words(tally.state);
            let count = match tally.transport {
                Transport::Tcp => words::counted(tally.count.into(), Noun::Port),
                Transport::Udp => words::counted(tally.count.into(), Noun::UdpPort),
            };
            let verb = if tally.count == 1 { "is" } else { "are" };
            let mut text = format!("{count} {verb} {state} and not listed.");
            if let Some(reason) = tally.reason {
                push(&mut text, &words::reason_sentence(reason));
            }
            if let (Detail::Verbose, Some(ports)) = (options.detail, &tally.ports) {
                push(&mut text, &format!("Numbers: {}", words::ports(ports)));
            }
            writeln!(out, "{text}")?;
        }
        writeln!(out)?;
    }
    let unwrapped = Options {
        width: usize::MAX,
        colour: Colour::Never,
        ..*options
    };
    footer::write(document, options, &mut Sheet::new(&unwrapped, out))
}

fn host_sentences(host: &HostReport) -> String {
    let mut name = format!("Host {}", host.ip);
    let names = words::names(host);
    if !names.is_empty() {
        let _ = write!(name, ", {names},");
    }
    let mut text = match host.state {
        HostState::Up => format!("{name} is up."),
        HostState::Unknown => format!("{name} did not answer itself, so its state is unknown."),
    };
    if let Some(rtt) = host.rtt_ms {
        let rtt = words::figure(rtt);
        push(&mut text, &format!("It answers in {rtt} milliseconds"));
    }
    if let Some(mac) = &host.mac {
        let vendor = host
            .vendor
            .iter()
            .map(|vendor| format!(", made by {vendor}"));
        let hardware: String = std::iter::once(mac.clone()).chain(vendor).collect();
        let hardware = words::printable(&hardware);
        push(&mut text, &format!("Its hardware address is {hardware}"));
    }
    let open = host.ports.iter().filter(|port| only::is_open(port)).count();
    let open = u64::try_from(open).unwrap_or(u64::MAX);
    let open = match open {
        0 => "It has no open port".to_owned(),
        _ => format!("It has {}", words::counted(open, Noun::OpenPort)),
    };
    push(&mut text, &open);
    text
}

/// What a peer says comes last, so that it cannot pass for a sentence of ours.
fn port_sentences(port: &PortReport, detail: Detail) -> String {
    let transport = match port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    };
    let state = words::state_words(port.state);
    let mut text = format!("Port {} {transport} is {state}.", port.port);
    if port.state != State::Open || detail == Detail::Verbose {
        push(&mut text, &words::reason_sentence(port.reason));
    }
    if detail == Detail::Verbose {
        let probes = words::counted(port.probes.into(), Noun::Probe);
        push(&mut text, &format!("It took {probes}"));
    }
    if only::is_open(port) {
        push(&mut text, &service_sentence(port));
    }
    if let Some(process) = &port.process {
        let name = words::printable(process.name.as_str());
        let origin = match detail {
            Detail::Verbose => words::process_origin(process),
            Detail::Normal => {
                let unit = process.unit.iter().map(|unit| format!(", unit {unit}"));
                let user = format!("user {}", process.user);
                let origin: String = std::iter::once(user).chain(unit).collect();
                words::printable(&origin)
            }
        };
        let pid = process.pid;
        push(
            &mut text,
            &format!("Held by process {name}, number {pid}, {origin}"),
        );
    }
    for incomplete in &port.incomplete {
        let why = format!("Not decided, {}: {}", incomplete.fact, incomplete.why);
        push(&mut text, &words::printable(&why));
    }
    if let Some(service) = &port.service {
        push_peer(&mut text, "Product", &words::product(service));
        let evidence = service.evidence.as_ref().map(Text::as_str);
        let evidence = words::printable(evidence.unwrap_or_default());
        push_peer(&mut text, "It says", &evidence);
    }
    text
}

fn service_sentence(port: &PortReport) -> String {
    let Some(service) = &port.service else {
        return "What speaks there is unknown".to_owned();
    };
    let name = service.label.as_deref().or(service.name.as_deref());
    let tls = match service.tls {
        Some(Tunnel::Implicit) => " in TLS from the first byte",
        Some(Tunnel::StartTls) => " in TLS after a command",
        None => "",
    };
    match name {
        Some(name) => words::printable(&format!("Service {name}{tls}")),
        None if service.tls.is_some() => format!("An unknown service{tls}"),
        None => "What speaks there is unknown".to_owned(),
    }
}

/// Adds what a peer said, when it said anything.
fn push_peer(text: &mut String, what: &str, said: &str) {
    if !said.is_empty() {
        push(text, &format!("{what}: {said}"));
    }
}

/// Adds a sentence, with a full stop where it has no mark of its own.
fn push(text: &mut String, sentence: &str) {
    let stop = if sentence.ends_with(['.', '!', '?', '…']) {
        ""
    } else {
        "."
    };
    // Writing to a string does not fail.
    let _ = write!(text, " {sentence}{stop}");
}
