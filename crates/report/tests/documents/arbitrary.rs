//! Documents at random, with the worst that peers can say. The tests that use them are in
//! `main.rs`.

use portolan_model::{
    AddressSet, Document, Estimate, HostReport, HostState, Incomplete, OtherPorts, PortGroup,
    PortReport, PortSet, Process, Reason, Run, Service, State, Stats, Text, Transport, Tunnel,
    Unanswered, Unreachable,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::net::IpAddr;

/// Any document, with strings of any character where the model takes strings.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    (strings(), run(), vec(host(), 0..4), unanswered(), stats()).prop_map(
        |([schema, version], run, hosts, unanswered, stats)| Document {
            schema,
            version,
            run,
            hosts,
            unanswered,
            stats,
        },
    )
}

fn text() -> impl Strategy<Value = Text> {
    let attack = prop::sample::select(vec![
        "=cmd()",
        "<&\"']]>",
        "-->",
        "\u{1b}[2J",
        "\r\n",
        "日本語",
        "\u{301}",
        "\u{fe0f}",
        "☺",
        "\u{ffff}",
        " ",
        "a",
        "0",
    ]);
    prop_oneof![
        vec(any::<u8>(), 0..80).prop_map(|bytes| Text::from_bytes(&bytes)),
        any::<String>().prop_map(Text::from),
        vec(attack, 0..60).prop_map(|parts| Text::from_bytes(parts.concat().as_bytes())),
    ]
}

fn strings<const COUNT: usize>() -> impl Strategy<Value = [String; COUNT]> {
    vec(any::<String>(), COUNT).prop_map(|strings| strings.try_into().unwrap())
}

/// Figures that survive text exactly.
fn figure() -> impl Strategy<Value = f64> {
    any::<u16>().prop_map(|value| f64::from(value) / 8.0)
}

fn ports() -> impl Strategy<Value = PortSet> {
    vec(any::<u16>(), 0..20).prop_map(|ports| ports.into_iter().collect())
}

fn reason() -> impl Strategy<Value = Reason> {
    let plain = vec![
        Reason::SynAck,
        Reason::Rst,
        Reason::NoNeighbour,
        Reason::NoRoute,
        Reason::LocalLimit,
        Reason::LocalPolicy,
        Reason::AnswersEverything,
        Reason::WentSilent,
        Reason::TimeLimit,
        Reason::Interrupted,
    ];
    prop_oneof![
        prop::sample::select(plain),
        any::<u8>().prop_map(|code| Reason::Icmp(Unreachable::V4(code))),
        any::<u8>().prop_map(|code| Reason::Icmp(Unreachable::V6(code))),
        any::<u8>().prop_map(|probes| Reason::Timeout { probes }),
    ]
}

fn state() -> impl Strategy<Value = State> {
    prop::sample::select(vec![
        State::Open,
        State::Closed,
        State::Filtered,
        State::OpenFiltered,
        State::NotTested,
    ])
}

fn service() -> impl Strategy<Value = Service> {
    let tls = prop::sample::select(vec![None, Some(Tunnel::Implicit), Some(Tunnel::StartTls)]);
    let own = (option::of(any::<String>()), option::of(any::<String>()));
    let peer = (option::of(text()), option::of(text()), option::of(text()));
    (own, tls, peer, any::<u8>()).prop_map(
        |((name, label), tls, (product, version, evidence), confidence)| Service {
            os: version
                .clone()
                .map(|name| portolan_model::OsHint { name, confidence }),
            name,
            label,
            tls,
            product,
            version,
            confidence,
            evidence,
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    let own = (text(), text(), option::of(text()), option::of(text()));
    let rest = (option::of(text()), option::of(any::<i64>()), any::<u32>());
    (own, rest).prop_map(
        |((name, user, unit, container), (executable, started_unix_s, pid))| Process {
            pid,
            name,
            executable,
            user,
            unit,
            container,
            started_unix_s,
        },
    )
}

fn transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(vec![Transport::Tcp, Transport::Udp])
}

fn port() -> impl Strategy<Value = PortReport> {
    let incomplete = (
        prop_oneof![Just("service".to_owned()), any::<String>()],
        text(),
    )
        .prop_map(|(fact, why)| Incomplete { fact, why });
    let shown = (
        option::of(service()),
        vec(incomplete, 0..2),
        option::of(process()),
    );
    let found = (transport(), any::<u16>(), state(), reason(), any::<u8>());
    (found, shown).prop_map(
        |((transport, port, state, reason, probes), (service, incomplete, process))| PortReport {
            transport,
            port,
            state,
            reason,
            probes,
            service,
            incomplete,
            process,
        },
    )
}

fn host() -> impl Strategy<Value = HostReport> {
    let group = (transport(), state(), reason(), ports());
    let group = group.prop_map(|(transport, state, reason, ports)| PortGroup {
        transport,
        state,
        reason,
        ports,
    });
    let other = (any::<[u32; 4]>(), vec(group, 0..4)).prop_map(
        |([closed, filtered, open_filtered, not_tested], groups)| OtherPorts {
            closed,
            filtered,
            open_filtered,
            not_tested,
            groups,
        },
    );
    let state = prop::sample::select(vec![HostState::Up, HostState::Unknown]);
    let hardware = (option::of(any::<String>()), option::of(any::<String>()));
    let seen = (state, option::of(reason()), option::of(figure()));
    (
        any::<IpAddr>(),
        vec(text(), 0..3),
        seen,
        hardware,
        vec(port(), 0..5),
        other,
    )
        .prop_map(
            |(ip, names, (state, reason, rtt_ms), (mac, vendor), ports, other_ports)| HostReport {
                ip,
                names,
                state,
                reason,
                rtt_ms,
                mac,
                vendor,
                label: None,
                ports,
                other_ports,
            },
        )
}

fn run() -> impl Strategy<Value = Run> {
    let finished = option::of(any::<String>());
    let ports = (ports(), ports());
    let rest = (any::<u64>(), ports, any::<bool>(), vec(text(), 0..3));
    (strings(), finished, rest).prop_map(
        |([id, started, command, plan_hash, engine], finished, rest)| {
            let (seed, (ports, udp_ports), complete, notices) = rest;
            Run {
                id,
                started,
                finished,
                command,
                seed,
                plan_hash,
                engine,
                ports,
                udp_ports,
                complete,
                notices,
            }
        },
    )
}

fn unanswered() -> impl Strategy<Value = Unanswered> {
    let addresses = vec(any::<IpAddr>(), 0..20).prop_map(AddressSet::from_iter);
    (addresses, vec((reason(), any::<u64>()), 0..4))
        .prop_map(|(addresses, reasons)| Unanswered { addresses, reasons })
}

fn stats() -> impl Strategy<Value = Stats> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>());
    let estimate = (option::of(figure()), option::of(figure()))
        .prop_map(|(loss, missed)| Estimate { loss, missed });
    (counts, figure(), figure(), estimate).prop_map(
        |((probes, replies, lost), duration_s, pps, estimate)| Stats {
            probes,
            replies,
            lost,
            duration_s,
            pps,
            estimate,
        },
    )
}
