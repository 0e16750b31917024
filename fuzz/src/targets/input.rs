//! What a user types or feeds: targets, one by one and in lists, ports, and scope files.

use super::assert_printable;
use portolan_model::{AddressSet, PortSet, Refusal, Scope};
use portolan_targets::{
    NamedPorts, PortNames, Reserved, Spec, apply_scope, parse_ports, parse_scope, read_boundaries,
    read_targets,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One target as typed.
pub(crate) fn target_spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let boundary = Spec::parse_boundary(&text);
    match Spec::parse(&text) {
        Ok(spec) => {
            let excluded = boundary.as_ref().ok();
            match &spec {
                Spec::AllNodes(name) => assert!(excluded.is_none() && name.len() <= 15),
                _ => assert_eq!(excluded, Some(&spec), "a target can be excluded as well"),
            }
            match &spec {
                Spec::AllNodes(_) => {}
                Spec::Addresses(set) => assert!(!set.is_empty()),
                Spec::Name(name) => {
                    assert!(name.len() <= 254 && name.is_ascii());
                    assert_eq!(Spec::parse(name).as_ref(), Ok(&spec), "a name stays itself");
                }
            }
        }
        Err(error) => assert_printable(&error.to_string()),
    }
    if let Err(error) = boundary {
        assert_printable(&error.to_string());
    }
}

/// A list of targets: plain, nmap XML or our JSON.
pub(crate) fn target_input(data: &[u8]) {
    for read in [read_targets, read_boundaries] {
        match read(data, "fuzz.txt") {
            Ok(specs) => {
                assert!(!specs.is_empty());
                for (at, spec) in specs.iter().enumerate() {
                    match spec {
                        Spec::Addresses(set) => assert!(at == 0 && !set.is_empty()),
                        Spec::AllNodes(name) => {
                            assert!(Spec::parse(&format!("ff02::1%{name}")).is_ok(), "{name:?}");
                        }
                        Spec::Name(name) => assert!(Spec::parse(name).is_ok(), "{name:?}"),
                    }
                }
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
}

/// Ports as typed.
pub(crate) fn port_spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_ports(&text, &port_names()) {
        Ok(chosen) => {
            let all = [&chosen.tcp, &chosen.udp, &chosen.unprefixed];
            assert!(all.iter().any(|set| !set.is_empty()), "ports were chosen");
            // What the text chose, written out, chooses the same.
            if !chosen.tcp.is_empty() {
                let again = parse_ports(&format!("T:{}", chosen.tcp), &PortNames::default());
                assert_eq!(again.map(|again| again.tcp), Ok(chosen.tcp));
            }
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A scope file.
pub(crate) fn scope_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let never = AddressSet::network(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4);
    let reserved = Reserved {
        never: never.unwrap_or_default(),
        ..Reserved::default()
    };
    match parse_scope(&text, "scope.toml", &reserved, &port_names()) {
        Ok(scope) => check_scope(&scope, &reserved),
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A scope denies what is reserved, and sorts every target into one of three sets.
fn check_scope(scope: &Scope, reserved: &Reserved) {
    assert!(!scope.allowed.is_empty());
    assert!(reserved.never.without(&scope.denied).is_empty());
    assert!(scope.rate != Some(0) && scope.host_rate != Some(0));
    let mut targets = AddressSet::union_of([scope.allowed.clone(), scope.denied.clone()]);
    targets.insert(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    targets.insert(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let sorted = apply_scope(scope, &targets);
    assert!(sorted.inside.intersection(&scope.denied).is_empty());
    assert!(sorted.inside.without(&scope.allowed).is_empty());
    for (first, last) in sorted.inside.ranges() {
        for address in [first, last] {
            let refusal = scope.check(portolan_model::Endpoint::tcp(address, 1)).err();
            assert!(matches!(refusal, None | Some(Refusal::PortNotAllowed)));
        }
    }
}

/// A few names and short lists, as a catalogue would give them.
fn port_names() -> PortNames {
    let both = NamedPorts {
        tcp: PortSet::range(53, 53),
        udp: PortSet::range(53, 53),
    };
    let web = NamedPorts {
        tcp: [80, 443].into_iter().collect(),
        udp: PortSet::default(),
    };
    PortNames {
        services: BTreeMap::from([("dns".to_owned(), both), ("http".to_owned(), web)]),
        top_tcp: vec![80, 443, 22, 21, 25],
        top_udp: vec![53, 67, 123],
    }
}
