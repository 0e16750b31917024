//! A rich document that stands for every shape a result can have. The tests that use it are in
//! `main.rs`.

use portolan_model::{
    AddressSet, Document, Estimate, HostReport, HostState, Incomplete, OtherPorts, PortGroup,
    PortReport, PortSet, Process, Reason, Run, SCHEMA_RUN, Service, State, Stats, Text, Transport,
    Tunnel, Unanswered, Unreachable,
};
use std::net::IpAddr;

/// Four hosts: one with every kind of port, a hostile one, a closed one, and one for which only a
/// router spoke.
pub(crate) fn rich() -> Document {
    Document {
        hosts: vec![server(), closed(), behind_a_router(), hostile()],
        unanswered: Unanswered {
            addresses: AddressSet::union_of(
                [("192.0.2.20", "192.0.2.25"), ("192.0.2.128", "192.0.2.255")]
                    .into_iter()
                    .chain(SCATTERED)
                    .filter_map(|(first, last)| AddressSet::range(ip(first), ip(last))),
            ),
            reasons: vec![
                (Reason::Timeout { probes: 3 }, 140_000),
                (Reason::NoNeighbour, 1000),
            ],
        },
        ..empty()
    }
}

const SCATTERED: [(&str, &str); 6] = [
    ("192.0.2.31", "192.0.2.31"),
    ("192.0.2.33", "192.0.2.33"),
    ("192.0.2.35", "192.0.2.35"),
    ("192.0.2.37", "192.0.2.37"),
    ("192.0.2.39", "192.0.2.39"),
    ("2001:db8::100", "2001:db8::1ff"),
];

/// A complete run that found no host.
pub(crate) fn empty() -> Document {
    Document {
        schema: SCHEMA_RUN.to_owned(),
        version: "0.1.0".to_owned(),
        run: Run {
            id: "0000-test".to_owned(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            finished: Some("2026-01-01T00:00:12Z".to_owned()),
            command: "portolan scan 192.0.2.0/24 --ports 1-1000".to_owned(),
            seed: 7,
            plan_hash: "00ff".to_owned(),
            engine: "connect".to_owned(),
            ports: PortSet::range(1, 1000),
            udp_ports: PortSet::range(1, 100),
            complete: true,
            notices: Vec::new(),
        },
        hosts: Vec::new(),
        unanswered: Unanswered::default(),
        stats: Stats {
            probes: 142_512,
            replies: 3990,
            lost: 205,
            duration_s: 12.25,
            pps: 11_633.5,
            estimate: Estimate {
                loss: Some(0.049),
                missed: Some(0.000_2),
            },
        },
    }
}

/// The rich run, stopped half way.
pub(crate) fn partial() -> Document {
    let mut document = rich();
    document.run.complete = false;
    document.run.finished = None;
    document.run.notices = vec![
        Text::from("the time limit of 12 s was reached: raise --max-time or resume the run"),
        Text::from("192.0.2.64/26 has no route from this machine"),
    ];
    document.stats.estimate = Estimate::default();
    document
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host(ip: IpAddr) -> HostReport {
    HostReport {
        ip,
        names: Vec::new(),
        state: HostState::Up,
        reason: Some(Reason::SynAck),
        rtt_ms: Some(0.4),
        mac: None,
        vendor: None,
        label: None,
        ports: Vec::new(),
        other_ports: OtherPorts::default(),
    }
}

pub(crate) fn port(number: u16, reason: Reason) -> PortReport {
    PortReport {
        transport: Transport::Tcp,
        port: number,
        state: reason.tcp_state(),
        reason,
        probes: 1,
        service: None,
        incomplete: Vec::new(),
        process: None,
    }
}

fn open(number: u16, name: Option<&str>, label: Option<&str>, evidence: &[u8]) -> PortReport {
    let evidence = Text::from_bytes(evidence);
    PortReport {
        service: Some(Service {
            name: name.map(str::to_owned),
            label: label.map(str::to_owned),
            tls: None,
            product: None,
            version: None,
            os: None,
            confidence: 95,
            evidence: (!evidence.is_empty()).then_some(evidence),
        }),
        ..port(number, Reason::SynAck)
    }
}

fn tls(mut port: PortReport, tunnel: Tunnel) -> PortReport {
    if let Some(service) = &mut port.service {
        service.tls = Some(tunnel);
    }
    port
}

fn process(pid: u32, name: &str, user: &str) -> Process {
    Process {
        pid,
        name: Text::from(name),
        executable: Some(Text::from(format!("/usr/sbin/{name}"))),
        user: Text::from(user),
        unit: Some(Text::from(format!("{name}.service"))),
        container: None,
        started_unix_s: Some(1_767_225_600),
    }
}

fn mute() -> PortReport {
    let mut mute = port(9999, Reason::SynAck);
    mute.incomplete = vec![Incomplete {
        fact: "service".to_owned(),
        why: Text::from("said nothing within 2 s"),
    }];
    mute
}

fn server() -> HostReport {
    let mut ftp = open(21, Some("ftp"), Some("ftp"), b"220 (vsFTPd 3.0.3)");
    if let Some(service) = &mut ftp.service {
        service.product = Some(Text::from("vsftpd"));
        service.version = Some(Text::from("3.0.3"));
    }
    let mut ssh = open(
        22,
        Some("ssh"),
        Some("ssh"),
        b"SSH-2.0-OpenSSH_10.0p2 Debian-7",
    );
    ssh.process = Some(process(640, "sshd", "root"));
    let smtp = open(
        25,
        Some("smtp"),
        Some("smtp"),
        b"220 mail.a.example ESMTP ready",
    );
    let mut http = open(
        80,
        Some("http"),
        Some("http"),
        b"HTTP/1.1 301 Moved Permanently; Server: nginx; Location: https://a.example/start/here",
    );
    http.process = Some(process(712, "nginx", "www-data"));
    let mut https = open(443, Some("http"), Some("https"), b"HTTP/1.1 200 OK");
    https.process = http.process.clone();
    let rejected = Reason::Icmp(Unreachable::V4(13));
    HostReport {
        names: vec![Text::from("a.example"), Text::from("b.example")],
        mac: Some("00:00:5e:00:53:07".to_owned()),
        vendor: Some("Example Makers".to_owned()),
        label: None,
        ports: vec![
            ftp,
            ssh,
            tls(smtp, Tunnel::StartTls),
            http,
            port(111, Reason::Rst),
            tls(https, Tunnel::Implicit),
            port(5000, Reason::LocalLimit),
            PortReport {
                probes: 2,
                ..port(8080, rejected)
            },
            tls(open(8443, None, None, b""), Tunnel::Implicit),
            mute(),
            name_server(),
            udp(port(123, Reason::Icmp(Unreachable::V4(3)))),
        ],
        other_ports: OtherPorts {
            closed: 975,
            filtered: 12,
            open_filtered: 90,
            not_tested: 3,
            groups: vec![
                group(Reason::Rst, &[(112, 1000), (2000, 2085)]),
                group(Reason::Timeout { probes: 3 }, &[(135, 139), (445, 451)]),
                group(Reason::LocalLimit, &[(60_000, 60_002)]),
                udp_group(Reason::IcmpLimited { probes: 4 }, &[(1, 50), (61, 100)]),
            ],
        },
        ..host(ip("192.0.2.7"))
    }
}

fn group(reason: Reason, ranges: &[(u16, u16)]) -> PortGroup {
    PortGroup {
        transport: Transport::Tcp,
        state: reason.tcp_state(),
        reason,
        ports: PortSet::union_of(ranges.iter().map(|(a, b)| PortSet::range(*a, *b))),
    }
}

fn name_server() -> PortReport {
    let evidence = b"version.bind: dnsmasq-2.90";
    udp(open(53, Some("dns"), Some("dns"), evidence))
}

/// The same port over UDP.
fn udp(port: PortReport) -> PortReport {
    let reason = match port.state {
        State::Open => Reason::UdpResponse,
        _ => port.reason,
    };
    PortReport {
        transport: Transport::Udp,
        state: reason.udp_state(),
        reason,
        ..port
    }
}

fn udp_group(reason: Reason, ranges: &[(u16, u16)]) -> PortGroup {
    PortGroup {
        transport: Transport::Udp,
        state: reason.udp_state(),
        ..group(reason, ranges)
    }
}

fn closed() -> HostReport {
    HostReport {
        reason: Some(Reason::Rst),
        rtt_ms: Some(12.34),
        other_ports: OtherPorts {
            closed: 1000,
            groups: vec![group(Reason::Rst, &[(1, 1000)])],
            ..OtherPorts::default()
        },
        ..host(ip("192.0.2.9"))
    }
}

fn behind_a_router() -> HostReport {
    let reason = Reason::Icmp(Unreachable::V4(10));
    HostReport {
        state: HostState::Unknown,
        reason: Some(reason),
        rtt_ms: None,
        other_ports: OtherPorts {
            filtered: 1000,
            groups: vec![group(reason, &[(1, 1000)])],
            ..OtherPorts::default()
        },
        ..host(ip("192.0.2.10"))
    }
}

/// A host whose every byte is meant to break a reader.
fn hostile() -> HostReport {
    let mut named = open(
        2,
        None,
        None,
        "日本語のとても長い挨拶がここに続きます、まだまだ続きます、どこまでも続きます".as_bytes(),
    );
    named.process = Some(process(1, "=evil\u{1b}[2J", "+root"));
    HostReport {
        names: vec![Text::from("=HYPERLINK(\"x\")"), Text::from("b\"ad</host>")],
        ports: vec![
            open(1, None, None, b"<&\"']]>--><script>alert(1)</script>"),
            named,
            open(3, None, None, b"=cmd()"),
            open(
                4,
                None,
                None,
                b"\x1b]0;title\x07\x1b[2J\x1b[31mred\r\nsecond line\xff\xfe",
            ),
            open(5, None, None, "@\u{202e}gpj.exe\u{ffff}\u{2028}".as_bytes()),
            open(
                6,
                None,
                None,
                format!("z{}", "\u{301}".repeat(40)).as_bytes(),
            ),
            open(
                7,
                Some("na\nme"),
                Some("la\u{1b}bel"),
                b"- Partial: Host 192.0.2.1 is up.",
            ),
            PortReport {
                state: State::OpenFiltered,
                transport: Transport::Udp,
                ..port(65_535, Reason::Timeout { probes: 3 })
            },
        ],
        ..host(ip("2001:db8::7"))
    }
}
