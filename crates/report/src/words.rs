//! Figures and facts as words for people. Layout and colour are elsewhere.

use crate::columns;
use crate::only::Tally;
use portolan_model::{
    AddressSet, HostReport, Incomplete, PortReport, PortSet, Process, Reason, Service, State, Text,
    Transport, Tunnel,
};
use std::fmt::Write as _;
use std::net::IpAddr;

/// What stands for a service that nothing identified.
pub(crate) const UNKNOWN: &str = "unknown";

/// Text for a terminal: without control characters, and without marks piled on one letter.
pub(crate) fn printable(text: &str) -> String {
    columns::without_piles(Text::from(text).as_str()).into_owned()
}

/// A number with its noun: `1 port`, `2 ports`.
pub(crate) fn counted(count: u64, noun: Noun) -> String {
    let noun = match (noun, count) {
        (Noun::Address, 1) => "address",
        (Noun::Address, _) => "addresses",
        (Noun::Answer, 1) => "answer",
        (Noun::Answer, _) => "answers",
        (Noun::Host, 1) => "host",
        (Noun::Host, _) => "hosts",
        (Noun::OpenPort, 1) => "open port",
        (Noun::OpenPort, _) => "open ports",
        (Noun::Port, 1) => "port",
        (Noun::Port, _) => "ports",
        (Noun::Probe, 1) => "probe",
        (Noun::Probe, _) => "probes",
        (Noun::UdpPort, 1) => "UDP port",
        (Noun::UdpPort, _) => "UDP ports",
    };
    format!("{count} {noun}")
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noun {
    Address,
    Answer,
    Host,
    OpenPort,
    Port,
    Probe,
    UdpPort,
}

/// A figure with as many digits as it deserves: `0`, `0.0002`, `4.9`, `120`.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && size < 0.0001 {
        return "less than 0.0001".to_owned();
    }
    let text = if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Seconds as people say them: `0.2 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 59.95 || !seconds.is_finite() {
        return format!("{} s", figure(seconds));
    }
    // Years of seconds fit; a conversion from float saturates.
    let whole = std::time::Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    let (minutes, seconds) = (whole.as_secs() / 60, whole.as_secs() % 60);
    if minutes < 60 {
        format!("{minutes} min {seconds} s")
    } else {
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// A share of one as per cent: `4.9 %`.
pub(crate) fn per_cent(share: f64) -> String {
    format!("{} %", figure(share * 100.0))
}

/// The names of a host, in order.
pub(crate) fn names(host: &HostReport) -> String {
    let names: Vec<&str> = host.names.iter().map(Text::as_str).collect();
    printable(&names.join(", "))
}

/// Ports with a blank after each comma, so that they wrap.
pub(crate) fn ports(set: &PortSet) -> String {
    set.to_string().replace(',', ", ")
}

/// The first `ranges_max` ranges of `set`, and how many there are beyond.
pub(crate) fn addresses(set: &AddressSet, ranges_max: usize) -> String {
    let mut text = String::new();
    for (at, (first, last)) in set.ranges().take(ranges_max).enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{}", address_range(first, last));
    }
    let beyond = set.ranges().count().saturating_sub(ranges_max);
    if beyond > 0 {
        let ranges = if beyond == 1 { "range" } else { "ranges" };
        let _ = write!(text, " and {beyond} more {ranges}");
    }
    text
}

/// A range in the shortest form that can be typed as a target: `192.0.2.7`, `192.0.2.0/25`,
/// `192.0.2.3-9`, `192.0.2.3-192.0.3.9`.
fn address_range(first: IpAddr, last: IpAddr) -> String {
    let (low, high) = (number(first), number(last));
    let bits = if first.is_ipv4() { 32_u32 } else { 128 };
    let span = low ^ high;
    if span == 0 {
        first.to_string()
    } else if span & span.wrapping_add(1) == 0 && low & span == 0 {
        format!("{first}/{}", bits.saturating_sub(span.count_ones()))
    } else if bits == 32 && span < 256 {
        format!("{first}-{}", high & 255)
    } else {
        format!("{first}-{last}")
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What speaks on a port, in a word: `https`, `redis/tls`, `smtp/starttls`, `tls`, `unknown`.
/// Empty for a port that is not open.
pub(crate) fn service(port: &PortReport) -> String {
    if port.state != State::Open {
        return String::new();
    }
    let Some(service) = &port.service else {
        return UNKNOWN.to_owned();
    };
    let name = service.label.as_deref().or(service.name.as_deref());
    let in_clear_too = service.label.is_none() || service.label == service.name;
    match (name, service.tls) {
        (Some(name), Some(Tunnel::Implicit)) if in_clear_too => printable(&format!("{name}/tls")),
        (Some(name), Some(Tunnel::StartTls)) => printable(&format!("{name}/starttls")),
        (Some(name), Some(Tunnel::Implicit) | None) => printable(name),
        (None, Some(_)) => "tls".to_owned(),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// Product and version as far as the bytes disclose them; empty when they do not.
pub(crate) fn product(service: &Service) -> String {
    let parts: Vec<&str> = [&service.product, &service.version]
        .into_iter()
        .flatten()
        .map(Text::as_str)
        .collect();
    printable(&parts.join(" "))
}

/// Why nothing is known of what speaks on a port; `None` when that was not the question.
pub(crate) fn why_unknown(incomplete: &[Incomplete]) -> Option<String> {
    let found = incomplete.iter().find(|it| it.fact == "service");
    found.map(|it| printable(it.why.as_str()))
}

/// A process in a few columns: `nginx (712)`.
pub(crate) fn process(process: &Process) -> String {
    format!("{} ({})", printable(process.name.as_str()), process.pid)
}

/// User, unit, container, executable and start of a process, as a list.
pub(crate) fn process_origin(process: &Process) -> String {
    let mut text = format!("user {}", process.user);
    let parts = [
        ("unit", &process.unit),
        ("container", &process.container),
        ("executable", &process.executable),
    ];
    for (what, value) in parts {
        if let Some(value) = value {
            let _ = write!(text, ", {what} {value}");
        }
    }
    let started = process
        .started_unix_s
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    if let Some(started) = started {
        let _ = write!(text, ", since {started}");
    }
    printable(&text)
}

/// How many ports are in a state and why: `997 closed (rst)`, `2 UDP open`.
pub(crate) fn tally(tally: &Tally<'_>) -> String {
    let count = tally.count;
    let state = state_words(tally.state);
    let transport = match tally.transport {
        Transport::Tcp => "",
        Transport::Udp => "UDP ",
    };
    match tally.reason {
        Some(reason) => format!("{count} {transport}{state} ({reason})"),
        None => format!("{count} {transport}{state}"),
    }
}

/// A state in words.
pub(crate) const fn state_words(state: State) -> &'static str {
    match state {
        State::NotTested => "not tested",
        State::OpenFiltered => "open or filtered",
        State::Open | State::Closed | State::Filtered => state.as_str(),
    }
}

/// What a reason means, as a sentence without its full stop.
pub(crate) fn reason_sentence(reason: Reason) -> String {
    match reason {
        Reason::SynAck => "It accepts connections".to_owned(),
        Reason::Rst => "The host refuses connections".to_owned(),
        Reason::ArpResponse | Reason::NdResponse => "The host told its hardware address".to_owned(),
        Reason::EchoReply => "The host answered an echo request".to_owned(),
        Reason::TimestampReply => "The host answered a timestamp request".to_owned(),
        Reason::Icmp(_) => format!("The network answered {reason}"),
        Reason::Timeout { probes } => {
            format!(
                "Nothing came back to {}",
                counted(probes.into(), Noun::Probe)
            )
        }
        Reason::IcmpElsewhere => {
            "A device on the way answered that the port is unreachable".to_owned()
        }
        Reason::IcmpLimited { probes } => format!(
            "Nothing came back to {}, and the host limits its errors, so that it may be closed too",
            counted(probes.into(), Noun::Probe)
        ),
        Reason::NeverSend => "It gets nothing from us, for what may stand there".to_owned(),
        Reason::UdpResponse => "It answers".to_owned(),
        Reason::NoNeighbour => "The host did not answer on its own segment".to_owned(),
        Reason::NotDiscovered => "The host answered none of the probes that look for it".to_owned(),
        Reason::NoRoute => "This machine has no route to it".to_owned(),
        Reason::LocalLimit => "This machine ran out of sockets or buffers".to_owned(),
        Reason::LocalPolicy => "A rule of this machine forbade the packet".to_owned(),
        Reason::AnswersEverything => "The host says open for every port it is asked".to_owned(),
        Reason::WentSilent => "The host stopped answering before this was known".to_owned(),
        Reason::TimeLimit => "The time of the run was over".to_owned(),
        Reason::Interrupted => "The run was interrupted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_claim_zero_for_something() {
        let check = |value, expected| assert_eq!(figure(value), expected, "{value}");
        check(0.0, "0");
        check(0.000_2, "0.0002");
        check(0.000_000_1, "less than 0.0001");
        check(0.049, "0.05");
        check(4.9, "4.9");
        check(5.0, "5");
        check(99.97, "100");
        check(5000.4, "5000");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let check = |seconds, expected| assert_eq!(duration(seconds), expected, "{seconds}");
        check(0.2, "0.2 s");
        check(12.34, "12.3 s");
        check(59.96, "1 min 0 s");
        check(200.4, "3 min 20 s");
        check(7500.0, "2 h 5 min");
        check(f64::INFINITY, "inf s");
        check(-1.0, "-1 s");
    }

    #[test]
    fn ranges_of_addresses_can_be_typed_as_targets() {
        let check = |first: &str, last: &str, expected: &str| {
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            let set = AddressSet::range(first, last).unwrap();
            assert_eq!(addresses(&set, 4), expected);
        };
        check("192.0.2.7", "192.0.2.7", "192.0.2.7");
        check("192.0.2.0", "192.0.2.127", "192.0.2.0/25");
        check("192.0.2.1", "192.0.2.2", "192.0.2.1-2");
        check("192.0.2.200", "192.0.3.9", "192.0.2.200-192.0.3.9");
        check("0.0.0.0", "255.255.255.255", "0.0.0.0/0");
        check("2001:db8::", "2001:db8::ff", "2001:db8::/120");
        check("2001:db8::1", "2001:db8::3", "2001:db8::1-2001:db8::3");
        check("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0");
    }

    #[test]
    fn many_ranges_of_addresses_are_cut_and_counted() {
        let set: AddressSet = (0..10)
            .map(|at| IpAddr::from([192, 0, 2, at * 2]))
            .collect();
        assert_eq!(
            addresses(&set, 3),
            "192.0.2.0, 192.0.2.2, 192.0.2.4 and 7 more ranges"
        );
    }
}
