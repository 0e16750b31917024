//! The run in nmap's XML schema, for the programs that read it. What the schema has no place for
//! is left out; `docs/output.md` lists it.

use crate::document::Shown;
use crate::only::{self, Tally};
use crate::options::Options;
use jiff::Timestamp;
use portolan_model::{
    HostReport, HostState, PortReport, PortSet, Reason, Run, Service, State, Text, Transport,
    Tunnel, Unreachable,
};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Version of the schema.
const SCHEMA_VERSION: &str = "1.05";
/// A time that was not measured, where the schema demands one.
const NOT_MEASURED: &str = "-1";
/// Name of a service that was looked at and not recognised.
const UNKNOWN: &str = "unknown";

/// Writes `document`. Hosts that did not answer are only counted.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut xml = Xml {
        writer: Writer::new_with_indent(out, b' ', 1),
    };
    let times = Times::of(document);
    xml.prologue(document)?;
    xml.open(root(document, &times))?;
    for info in scan_infos(document.run) {
        xml.empty(info)?;
    }
    for name in ["verbose", "debugging"] {
        xml.empty(Element::new(name).with("level", "0"))?;
    }
    for host in only::hosts(document, options.only) {
        write_host(&host, document.run, &times, &mut xml)?;
    }
    write_run_stats(document, &times, &mut xml)?;
    xml.close("nmaprun")?;
    xml.writer.get_mut().write_all(b"\n")
}

/// A start tag under construction. Every value becomes text that XML 1.0 allows.
struct Element {
    start: BytesStart<'static>,
}

impl Element {
    fn new(name: &'static str) -> Self {
        Self {
            start: BytesStart::new(name),
        }
    }

    fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = allowed(value.as_ref());
        self.start.push_attribute((name, value.as_str()));
        self
    }

    fn with_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

struct Xml<'a> {
    writer: Writer<&'a mut dyn Write>,
}

impl Xml<'_> {
    /// Declaration, document type, and a comment that says which program wrote it: the schema
    /// itself allows only nmap as the scanner's name.
    fn prologue(&mut self, document: &Shown<'_>) -> io::Result<()> {
        let declaration = BytesDecl::new("1.0", Some("UTF-8"), None);
        self.writer.write_event(Event::Decl(declaration))?;
        let doctype = BytesText::from_escaped("nmaprun");
        self.writer.write_event(Event::DocType(doctype))?;
        // Two hyphens may not stand in a comment (XML 1.0 §2.5).
        let version = allowed(document.version).replace('-', "_");
        let comment = format!(" written by portolan {version} in the schema of nmap ");
        let comment = BytesText::from_escaped(comment);
        self.writer.write_event(Event::Comment(comment))
    }

    fn open(&mut self, element: Element) -> io::Result<()> {
        self.writer.write_event(Event::Start(element.start))
    }

    fn close(&mut self, name: &'static str) -> io::Result<()> {
        self.writer.write_event(Event::End(BytesEnd::new(name)))
    }

    fn empty(&mut self, element: Element) -> io::Result<()> {
        self.writer.write_event(Event::Empty(element.start))
    }
}

/// Start and end of the run in seconds since 1970-01-01 UTC.
struct Times {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Times {
    /// As the document says; a run that has not finished ends where its duration ends.
    fn of(document: &Shown<'_>) -> Self {
        let start: Option<Timestamp> = document.run.started.parse().ok();
        let finished = document.run.finished.as_deref();
        let end = match finished.and_then(|finished| finished.parse().ok()) {
            Some(end) => Some(end),
            None => start.and_then(|start| {
                let ran = std::time::Duration::try_from_secs_f64(document.stats.duration_s).ok()?;
                start.checked_add(ran).ok()
            }),
        };
        Self { start, end }
    }
}

fn seconds(time: Option<Timestamp>) -> String {
    time.map_or(0, Timestamp::as_second).to_string()
}

/// A time in the words of C's `asctime`, in UTC.
fn words(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

fn root(document: &Shown<'_>, times: &Times) -> Element {
    Element::new("nmaprun")
        .with("scanner", "nmap")
        .with("args", &document.run.command)
        .with("start", seconds(times.start))
        .with_some("startstr", words(times.start))
        .with("version", document.version)
        .with("xmloutputversion", SCHEMA_VERSION)
}

/// One for each transport that was probed.
fn scan_infos(run: &Run) -> Vec<Element> {
    let tcp = match run.engine.as_str() {
        "syn" => "syn",
        _ => "connect",
    };
    let info = |kind: &str, transport: Transport, ports: &PortSet| {
        Element::new("scaninfo")
            .with("type", kind)
            .with("protocol", transport.to_string())
            .with("numservices", ports.len().to_string())
            .with("services", ports.to_string())
    };
    let mut infos = Vec::new();
    if !run.ports.is_empty() || run.udp_ports.is_empty() {
        infos.push(info(tcp, Transport::Tcp, &run.ports));
    }
    if !run.udp_ports.is_empty() {
        infos.push(info("udp", Transport::Udp, &run.udp_ports));
    }
    infos
}

fn write_host(host: &HostReport, run: &Run, times: &Times, xml: &mut Xml<'_>) -> io::Result<()> {
    let element = Element::new("host")
        .with("starttime", seconds(times.start))
        .with("endtime", seconds(times.end));
    xml.open(element)?;
    let state = match host.state {
        HostState::Up => "up",
        HostState::Unknown => "unknown",
    };
    let shown_by = host.reason.map_or("no-response", |it| reason(it, run));
    let status = Element::new("status").with("state", state);
    xml.empty(status.with("reason", shown_by).with("reason_ttl", "0"))?;
    let family = if host.ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let address = Element::new("address").with("addr", host.ip.to_string());
    xml.empty(address.with("addrtype", family))?;
    if let Some(mac) = &host.mac {
        let address = Element::new("address").with("addr", mac);
        let address = address.with("addrtype", "mac");
        xml.empty(address.with_some("vendor", host.vendor.as_ref()))?;
    }
    xml.open(Element::new("hostnames"))?;
    for name in &host.names {
        let name = Element::new("hostname").with("name", name.as_str());
        xml.empty(name.with("type", "user"))?;
    }
    xml.close("hostnames")?;
    write_ports(host, run, xml)?;
    if let Some(rtt_ms) = host.rtt_ms {
        // The schema counts in microseconds.
        let times = Element::new("times").with("srtt", format!("{:.0}", rtt_ms * 1000.0));
        xml.empty(times.with("rttvar", NOT_MEASURED).with("to", NOT_MEASURED))?;
    }
    xml.close("host")
}

fn write_ports(host: &HostReport, run: &Run, xml: &mut Xml<'_>) -> io::Result<()> {
    xml.open(Element::new("ports"))?;
    // Listed ports that were not tested have no state of the schema: they are counted only.
    let untested = |tally: &Tally<'_>| tally.state == State::NotTested;
    let mut counted: BTreeMap<State, Vec<Tally<'_>>> = BTreeMap::new();
    let others = only::other_tallies(&host.other_ports);
    let others = others.into_iter().filter(|tally| !untested(tally));
    for tally in others.chain(only::tallies(host).into_iter().filter(untested)) {
        counted.entry(tally.state).or_default().push(tally);
    }
    // Some readers keep the last entry only: the states that say most come last.
    for (state, tallies) in counted.into_iter().rev() {
        let count = tallies
            .iter()
            .fold(0_u32, |sum, it| sum.saturating_add(it.count));
        let extra = Element::new("extraports").with("state", state_name(state));
        xml.open(extra.with("count", count.to_string()))?;
        for tally in tallies {
            let Some(why) = tally.reason else { continue };
            let reasons = Element::new("extrareasons")
                .with("reason", reason(why, run))
                .with("count", tally.count.to_string())
                .with("proto", tally.transport.to_string());
            xml.empty(reasons.with_some("ports", tally.ports.map(|it| it.to_string())))?;
        }
        xml.close("extraports")?;
    }
    for port in host
        .ports
        .iter()
        .filter(|port| port.state != State::NotTested)
    {
        write_port(port, run, xml)?;
    }
    xml.close("ports")
}

fn write_port(port: &PortReport, run: &Run, xml: &mut Xml<'_>) -> io::Result<()> {
    let element = Element::new("port").with("protocol", port.transport.to_string());
    xml.open(element.with("portid", port.port.to_string()))?;
    let state = Element::new("state").with("state", state_name(port.state));
    let state = state.with("reason", reason(port.reason, run));
    xml.empty(state.with("reason_ttl", "0"))?;
    if let Some(process) = &port.process {
        xml.empty(Element::new("owner").with("name", process.user.as_str()))?;
    }
    if let Some(service) = &port.service {
        xml.empty(service_element(service))?;
        if let Some(evidence) = &service.evidence {
            let banner = Element::new("script").with("id", "banner");
            xml.empty(banner.with("output", evidence.as_str()))?;
        }
    }
    xml.close("port")
}

fn service_element(service: &Service) -> Element {
    let (tunnel, extra) = match service.tls {
        Some(Tunnel::Implicit) => (Some("ssl"), None),
        Some(Tunnel::StartTls) => (None, Some("STARTTLS")),
        None => (None, None),
    };
    // The schema's confidence goes from 0 to 10.
    let confidence = (service.confidence.min(100) / 10).to_string();
    Element::new("service")
        .with("name", service.name.as_deref().unwrap_or(UNKNOWN))
        .with_some("product", service.product.as_ref().map(Text::as_str))
        .with_some("version", service.version.as_ref().map(Text::as_str))
        .with_some("extrainfo", extra)
        .with_some("tunnel", tunnel)
        .with("method", "probed")
        .with("conf", confidence)
}

fn write_run_stats(document: &Shown<'_>, times: &Times, xml: &mut Xml<'_>) -> io::Result<()> {
    let hosts = document.hosts.by_address();
    let up = hosts.filter(|it| it.state == HostState::Up).count();
    let up = u128::try_from(up).unwrap_or(u128::MAX);
    let answered = u128::from(document.hosts.count());
    let total = answered.saturating_add(document.unanswered.addresses.len());
    let down = total.saturating_sub(up);
    let elapsed = document.stats.duration_s;
    let summary = format!("{total} addresses, {up} up, {elapsed:.2} seconds");
    let notices: Vec<&str> = document.run.notices.iter().map(Text::as_str).collect();
    let (exit, message) = if document.run.complete {
        ("success", None)
    } else if notices.is_empty() {
        ("error", Some("partial result".to_owned()))
    } else {
        (
            "error",
            Some(format!("partial result: {}", notices.join("; "))),
        )
    };
    xml.open(Element::new("runstats"))?;
    let finished = Element::new("finished")
        .with("time", seconds(times.end))
        .with_some("timestr", words(times.end))
        .with("summary", summary)
        .with("elapsed", format!("{elapsed:.2}"))
        .with("exit", exit);
    xml.empty(finished.with_some("errormsg", message))?;
    let hosts = Element::new("hosts")
        .with("up", up.to_string())
        .with("down", down.to_string());
    xml.empty(hosts.with("total", total.to_string()))?;
    xml.close("runstats")
}

/// The schema's word for a state. It has none for a port that was not tested.
const fn state_name(state: State) -> &'static str {
    match state {
        State::NotTested => UNKNOWN,
        State::Open | State::Closed | State::Filtered | State::OpenFiltered => state.as_str(),
    }
}

/// The schema's word for a reason where its readers know one, else ours in the same spelling.
fn reason(reason: Reason, run: &Run) -> &'static str {
    match reason {
        Reason::SynAck => "syn-ack",
        Reason::Rst if run.engine == "syn" => "reset",
        // A refused connect is what the operating system makes of a reset.
        Reason::Rst => "conn-refused",
        Reason::ArpResponse => "arp-response",
        Reason::EchoReply => "echo-reply",
        Reason::NdResponse => "nd-response",
        Reason::TimestampReply => "timestamp-reply",
        Reason::UdpResponse => "udp-response",
        Reason::Icmp(code) => unreachable(code),
        Reason::IcmpElsewhere => "port-unreach",
        Reason::NeverSend => "never-sent",
        Reason::IcmpLimited { .. } | Reason::Timeout { .. } => "no-response",
        Reason::NotDiscovered => "no-answer-to-discovery",
        Reason::NoNeighbour => "no-neighbour",
        Reason::NoRoute => "no-route",
        Reason::LocalLimit => "local-limit",
        Reason::LocalPolicy => "local-policy",
        Reason::AnswersEverything => "answers-everything",
        Reason::WentSilent => "went-silent",
        Reason::TimeLimit => "time-limit",
        Reason::Interrupted => "interrupted",
    }
}

const fn unreachable(code: Unreachable) -> &'static str {
    match code {
        Unreachable::V4(0) => "net-unreach",
        Unreachable::V4(1) | Unreachable::V6(3) => "host-unreach",
        Unreachable::V4(2) => "proto-unreach",
        Unreachable::V4(3) | Unreachable::V6(4) => "port-unreach",
        Unreachable::V4(9) => "net-prohibited",
        Unreachable::V4(10) => "host-prohibited",
        Unreachable::V4(13) | Unreachable::V6(1 | 5) => "admin-prohibited",
        Unreachable::V6(0) => "no-route",
        Unreachable::V6(2) => "beyond-scope",
        Unreachable::V6(6) => "reject-route",
        Unreachable::V4(_) | Unreachable::V6(_) => "dest-unreach",
        Unreachable::OtherV4 { kind: 11, .. } | Unreachable::OtherV6 { kind: 3, .. } => {
            "time-exceeded"
        }
        Unreachable::OtherV4 { .. } | Unreachable::OtherV6 { .. } => "unknown-response",
    }
}

/// `text` without the characters that XML 1.0 §2.2 excludes and without control characters that
/// it would fold in an attribute; each becomes U+FFFD.
fn allowed(text: &str) -> String {
    let is_allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let replaced = |c| if is_allowed(c) { c } else { '\u{fffd}' };
    text.chars().map(replaced).collect()
}
