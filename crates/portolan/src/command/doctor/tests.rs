//! What the checks say of machines in good and in bad order.

use super::*;
use portolan_model::Verdict;
use portolan_net::interface::{Assigned, Interface};
use portolan_net::privilege::Tracking;
use portolan_net::raw::xdp::io::WhyNot;

fn tried(name: &str, sends: Result<(), WhyNot>) -> Tried {
    Tried {
        name: name.into(),
        sends,
    }
}

/// A machine on which nothing stands in the way.
fn healthy() -> Facts {
    let interface = |name: &str, address: &str| Interface {
        name: name.into(),
        up: true,
        loopback: name == "lo",
        addresses: vec![Assigned {
            address: address.parse().unwrap(),
            prefix: 24,
            peer: None,
        }],
    };
    let attached = Attached {
        interfaces: vec![interface("eth0", "192.0.2.7"), interface("lo", "127.0.0.1")],
        ..Attached::default()
    };
    Facts {
        privilege: Privilege {
            uid: 0,
            capabilities: Some(u64::MAX),
            no_new_privileges: Some(false),
            seccomp: Some(false),
        },
        packets: Ok(()),
        frames: Some(vec![tried("eth0", Ok(()))]),
        files: Some(FileLimit {
            before: 1_024,
            now: 1_024,
            hard: 1_048_576,
        }),
        kernel: Kernel {
            ephemeral_ports: Some(32_768..=60_999),
            memory_available_bytes: Some(8 << 30),
            tracking: Some(Tracking {
                used: 10,
                max: 262_144,
            }),
            ..Kernel::default()
        },
        attached: Some(attached),
        routes: DefaultRoutes {
            v4: Some(true),
            v6: Some(true),
        },
        name_servers: Some(vec!["192.0.2.53".parse().unwrap()]),
        clock: Clock {
            now_unix_s: 1_767_225_600,
            installed_unix_s: Some(1_767_225_000),
            synchronised: Some(true),
        },
        firewall: Firewall::Open,
        container: None,
        sockets_refused: None,
        state: StateFolder::Writable("/var/lib/portolan".into()),
    }
}

fn check(name: &str, change: impl FnOnce(&mut Facts), expected: Verdict) {
    let mut facts = healthy();
    change(&mut facts);
    let checks = facts.checks();
    for one in &checks {
        let wanted = if one.name == name {
            expected
        } else {
            Verdict::Ok
        };
        assert_eq!(one.verdict, wanted, "{one:?}");
        assert!(!one.found.is_empty() && !one.meaning.is_empty(), "{one:?}");
        let explained = matches!(one.verdict, Verdict::Problem | Verdict::Fatal);
        assert!(!explained || one.fix.is_some(), "{one:?}");
    }
    assert!(name.is_empty() || checks.iter().any(|it| it.name == name));
}

#[test]
fn a_healthy_machine_has_nothing_to_mend() {
    check("", |_| {}, Verdict::Ok);
}

#[test]
fn a_machine_without_raw_packets_still_scans() {
    for why in [NoPackets::NoCapability, NoPackets::NotSupported] {
        check("raw packets", |it| it.packets = Err(why), Verdict::Note);
    }
}

#[test]
fn xdp_sockets_are_judged_by_where_they_work() {
    let frames = |it: &mut Facts, frames| it.frames = frames;
    check("XDP sockets", |it| frames(it, None), Verdict::Unknown);
    check(
        "XDP sockets",
        |it| frames(it, Some(Vec::new())),
        Verdict::Note,
    );
    let occupied = WhyNot::Occupied {
        name: "eth1".into(),
    };
    let bad = tried("eth1", Err(occupied.clone()));
    let all = Some(vec![bad.clone()]);
    check("XDP sockets", |it| frames(it, all.clone()), Verdict::Note);
    let mut facts = healthy();
    facts.frames = Some(vec![bad, tried("eth0", Ok(()))]);
    facts.privilege.capabilities = Some(1 << 13);
    let checks = facts.checks();
    let check = checks.iter().find(|it| it.name == "XDP sockets").unwrap();
    assert_eq!((check.verdict, check.found.as_str()), (Verdict::Ok, "eth0"));
    let meaning = check.meaning.as_str();
    assert!(meaning.contains(&occupied.to_string()), "{meaning}");
    assert!(meaning.contains("cap_bpf and cap_net_admin"), "{meaning}");
}

#[test]
fn what_stands_in_the_way_is_judged_by_what_it_costs() {
    check("privileges", |it| it.privilege.uid = 1000, Verdict::Note);
    check(
        "sandbox",
        |it| it.privilege.seccomp = Some(true),
        Verdict::Note,
    );
    check(
        "sandbox",
        |it| it.privilege.no_new_privileges = Some(true),
        Verdict::Note,
    );
    let hard = |hard| move |it: &mut Facts| it.files.as_mut().unwrap().hard = hard;
    check("open files", hard(4_096), Verdict::Note);
    check("open files", hard(256), Verdict::Problem);
    check("open files", hard(16), Verdict::Fatal);
    check("open files", hard(u64::MAX), Verdict::Ok);
    check(
        "memory",
        |it| it.kernel.memory_available_bytes = Some(1 << 20),
        Verdict::Note,
    );
    check("IPv4 route", |it| it.routes.v4 = Some(false), Verdict::Note);
    check("IPv6 route", |it| it.routes.v6 = Some(false), Verdict::Note);
    check(
        "name resolution",
        |it| it.name_servers = None,
        Verdict::Note,
    );
    check(
        "source ports",
        |it| it.kernel.ephemeral_ports = Some(60_000..=60_999),
        Verdict::Note,
    );
    check(
        "local firewall",
        |it| it.firewall = Firewall::DropsOutput,
        Verdict::Problem,
    );
    check(
        "local firewall",
        |it| it.firewall = Firewall::OutputRules { rules: 3 },
        Verdict::Note,
    );
    let table = |used, max| move |it: &mut Facts| it.kernel.tracking = Some(Tracking { used, max });
    check("connection tracking", table(100, 8_192), Verdict::Note);
    check("connection tracking", table(8_000, 8_192), Verdict::Problem);
    check(
        "container",
        |it| it.container = Some("docker".to_owned()),
        Verdict::Note,
    );
    check("clock", |it| it.clock.now_unix_s = 86_400, Verdict::Problem);
    check(
        "clock",
        |it| it.clock.synchronised = Some(false),
        Verdict::Note,
    );
    check(
        "state folder",
        |it| it.state = StateFolder::NoHome,
        Verdict::Problem,
    );
    check(
        "socket list",
        |it| it.sockets_refused = Some("blocked".to_owned()),
        Verdict::Problem,
    );
}

#[test]
fn only_a_machine_that_reaches_nothing_cannot_scan() {
    let without = |name: &'static str| {
        move |it: &mut Facts| {
            let attached = it.attached.as_mut().unwrap();
            attached.interfaces.retain(|it| it.name.as_str() != name);
        }
    };
    check("interfaces", without("eth0"), Verdict::Note);
    check("interfaces", without("lo"), Verdict::Problem);
    check(
        "interfaces",
        |it| it.attached.as_mut().unwrap().interfaces.clear(),
        Verdict::Fatal,
    );
}

#[test]
fn what_cannot_be_seen_is_unknown_and_never_ok() {
    check("open files", |it| it.files = None, Verdict::Unknown);
    check(
        "sandbox",
        |it| it.privilege.seccomp = None,
        Verdict::Unknown,
    );
    check(
        "memory",
        |it| it.kernel.memory_available_bytes = None,
        Verdict::Unknown,
    );
    check("interfaces", |it| it.attached = None, Verdict::Unknown);
    check("IPv4 route", |it| it.routes.v4 = None, Verdict::Unknown);
    check(
        "source ports",
        |it| it.kernel.ephemeral_ports = None,
        Verdict::Unknown,
    );
    check(
        "local firewall",
        |it| it.firewall = Firewall::NeedsPrivilege,
        Verdict::Unknown,
    );
    check(
        "local firewall",
        |it| it.firewall = Firewall::Unknown,
        Verdict::Unknown,
    );
    check("clock", |it| it.clock.synchronised = None, Verdict::Unknown);
}
