//! Tests of scope files and of what lies outside a scope.

use super::*;
use crate::NamedPorts;
use portolan_model::{Endpoint, Refusal};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};

fn set(text: &str) -> AddressSet {
    let texts = text.split(", ").filter(|text| !text.is_empty());
    let sets = texts.map(|text| match Spec::parse_boundary(text) {
        Ok(Spec::Addresses(set)) => set,
        other => panic!("{other:?}"),
    });
    AddressSet::union_of(sets)
}

fn reserved() -> Reserved {
    Reserved {
        local: set("127.0.0.0/8, 10.0.0.0/8, fc00::/7"),
        never: set("0.0.0.0/8, 224.0.0.0/4, ff00::/8"),
    }
}

fn names() -> PortNames {
    let ssh = NamedPorts {
        tcp: PortSet::range(22, 22),
        udp: PortSet::default(),
    };
    PortNames {
        services: [("ssh".to_owned(), ssh)].into(),
        ..PortNames::default()
    }
}

fn parse(text: &str) -> Result<Scope, ScopeError> {
    parse_scope(text, "scope.toml", &reserved(), &names())
}

fn check_error(text: &str, expected: &str) {
    let error = parse(text).unwrap_err().to_string();
    assert!(
        !expected.is_empty() && error.starts_with(expected),
        "{error}"
    );
}

const WHOLE: &str = r#"
# agreed on 2026-01-02
owner = "Example Ltd"
contact = "soc@example.com"
reason = "ticket 4711"
expires = 2026-12-31T18:00:00Z
allow = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.1-20"]
deny = [
  "192.0.2.7",
  "2001:db8:1::/48",
]
ports = "22,80,8000-8100,U:53"
rate = 1000
host_rate = 50
"#;

#[test]
fn every_key_is_read() {
    for text in [
        WHOLE.to_owned(),
        WHOLE.replace('\n', "\r\n"),
        format!("\u{feff}{WHOLE}"),
    ] {
        let scope = parse(&text).unwrap();
        assert_eq!(
            scope.allowed,
            set("192.0.2.0/24, 2001:db8::/32, 198.51.100.1-20")
        );
        assert_eq!(
            scope.denied,
            set("192.0.2.7, 2001:db8:1::/48, 0.0.0.0/8, 224.0.0.0/4, ff00::/8")
        );
        assert_eq!(scope.ports.unwrap().to_string(), "22,53,80,8000-8100");
        assert_eq!((scope.rate, scope.host_rate), (Some(1000), Some(50)));
        assert_eq!(scope.owner, Some(Text::from("Example Ltd")));
        assert_eq!(scope.contact, Some(Text::from("soc@example.com")));
        assert_eq!(scope.reason, Some(Text::from("ticket 4711")));
        assert_eq!(scope.expires_unix_s, Some(1_798_740_000));
    }
}

#[test]
fn only_allow_is_needed() {
    let scope = parse("allow = [\"10.0.0.1\"]").unwrap();
    assert_eq!(scope.allowed, set("10.0.0.1"));
    assert_eq!(scope.denied, reserved().never);
    assert_eq!(
        (scope.ports, scope.rate, scope.expires_unix_s),
        (None, None, None)
    );
}

#[test]
fn an_end_may_be_a_date_or_a_text() {
    let check = |expires: &str, unix_s| {
        let scope = parse(&format!("allow = [\"10.0.0.1\"]\nexpires = {expires}")).unwrap();
        assert_eq!(scope.expires_unix_s, Some(unix_s), "{expires}");
    };
    check("1970-01-01", 86_400);
    check("\"1970-01-01\"", 86_400);
    check("\"1970-01-01T01:00:00+01:00\"", 0);
    check("1970-01-01T01:00:00+01:00", 0);
}

#[test]
fn mistakes_name_the_key_and_the_line() {
    check_error("", "scope.toml: it allows nothing");
    check_error("deny = [\"10.0.0.1\"]", "scope.toml: it allows nothing");
    check_error("allow = []", "scope.toml: it allows nothing");
    check_error(
        "owner = \"x\"\nalow = [\"10.0.0.1\"]",
        "scope.toml, line 2: unknown field \"alow\"",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nrate = \"x\"",
        "scope.toml, line 2: invalid type: string",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nrate = -1",
        "scope.toml, line 2: invalid value",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\n\nrate = 0",
        "scope.toml, line 3: rate = 0 allows no probe",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nhost_rate = 0",
        "scope.toml, line 2: host_rate = 0",
    );
    check_error("allow = \"10.0.0.1\"", "scope.toml, line 1: invalid type");
    check_error("allow = [\"10.0.0.1\"", "scope.toml, line 1: ");
    check_error(
        "allow = [\"10.0.0.1\"]\nallow = []",
        "scope.toml, line 2: duplicate key",
    );
    check_error(
        "allow = [\n  \"10.0.0.1\",\n  \"10.0.0.256\",\n]",
        "scope.toml, line 3: \"10.0.0.256\" is not a target: 256 is greater",
    );
    check_error(
        "allow = [\"a.example\"]",
        "scope.toml, line 1: \"a.example\" is a name, and",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\ndeny = [\"b\"]",
        "scope.toml, line 2: \"b\" is a name, and",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nports = \"70000\"",
        "scope.toml, line 2: ports \"70000\": 70000 is not a port",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nexpires = \"soon\"",
        "scope.toml, line 2: \"soon\" is no date",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nexpires = 2026-01-01T00:00:00",
        "scope.toml, line 2: 2026-01-01T00:00:00 does not say in which time zone",
    );
    check_error(
        "allow = [\"10.0.0.1\"]\nexpires = 5",
        "scope.toml, line 2: ",
    );
    check_error(
        &"#".repeat(SCOPE_BYTES_MAX + 1),
        "scope.toml: it is larger than 1 MiB",
    );
}

#[test]
fn no_file_allows_what_the_internet_does_not_route() {
    let scope = default_scope(&set("203.0.113.0/24"), &reserved());
    let check = |address: &str, expected| {
        let endpoint = Endpoint::tcp(address.parse().unwrap(), 80);
        assert_eq!(scope.check(endpoint), expected, "{address}");
    };
    check("127.0.0.1", Ok(()));
    check("10.1.2.3", Ok(()));
    check("203.0.113.9", Ok(()));
    check("fd00::1", Ok(()));
    check("8.8.8.8", Err(Refusal::NotAllowed));
    check("0.0.0.0", Err(Refusal::Denied));
    check("239.1.1.1", Err(Refusal::Denied));
    let authorized = authorized_scope("my own", &reserved());
    assert_eq!(
        authorized.check(Endpoint::tcp("8.8.8.8".parse().unwrap(), 80)),
        Ok(())
    );
    assert_eq!(
        authorized.check(Endpoint::tcp("ff02::1".parse().unwrap(), 80)),
        Err(Refusal::Denied)
    );
    assert_eq!(authorized.reason, Some(Text::from("my own")));
}

#[test]
fn targets_outside_are_named() {
    let mut scope = Scope::of(set("10.0.0.0/24"));
    scope.denied = set("10.0.0.128/25, 192.0.2.1");
    let sorted = apply_scope(&scope, &set("10.0.0.100-10.0.1.3, 192.0.2.0/30"));
    assert_eq!(sorted.inside, set("10.0.0.100-10.0.0.127"));
    assert_eq!(sorted.denied, set("10.0.0.128-10.0.0.255, 192.0.2.1"));
    assert_eq!(
        sorted.outside,
        set("10.0.1.0-10.0.1.3, 192.0.2.0, 192.0.2.2-192.0.2.3")
    );
    let message = sorted.inside_only().unwrap_err().to_string();
    assert!(message.starts_with(
        "10.0.1.0-10.0.1.3, 192.0.2.0, 192.0.2.2-192.0.2.3 may not be probed: no scope allows them"
    ));
    let one = apply_scope(&scope, &set("8.8.8.8"))
        .inside_only()
        .unwrap_err();
    assert!(
        one.to_string()
            .starts_with("8.8.8.8 may not be probed: no scope allows it; name")
    );
    assert_eq!(
        apply_scope(&scope, &set("10.0.0.1")).inside_only(),
        Ok(set("10.0.0.1"))
    );
}

#[test]
fn a_summary_counts_what_it_leaves_out() {
    let ranges = set("10.0.0.1, 10.0.0.3-5, ::1, ::5");
    assert_eq!(summary(&ranges, 4), "10.0.0.1, 10.0.0.3-10.0.0.5, ::1, ::5");
    assert_eq!(
        summary(&ranges, 3),
        "10.0.0.1, 10.0.0.3-10.0.0.5, ::1 and 1 more range"
    );
    assert_eq!(summary(&ranges, 1), "10.0.0.1 and 3 more ranges");
}

proptest! {
    #[test]
    fn nothing_inside_is_refused_and_nothing_is_lost(
        allowed in prop::collection::vec((any::<u8>(), any::<u8>()), 0..6),
        denied in prop::collection::vec((any::<u8>(), any::<u8>()), 0..6),
        targets in prop::collection::vec((any::<u8>(), any::<u8>()), 0..6),
    ) {
        let address = |byte| IpAddr::from(Ipv4Addr::new(192, 0, 2, byte));
        let of = |ranges: Vec<(u8, u8)>| AddressSet::union_of(ranges.into_iter().filter_map(
            |(a, b)| AddressSet::range(address(a.min(b)), address(a.max(b))),
        ));
        let mut scope = Scope::of(of(allowed));
        scope.denied = of(denied);
        let targets = of(targets);
        let sorted = apply_scope(&scope, &targets);
        for byte in 0..=u8::MAX {
            let address = address(byte);
            let expected = targets.contains(address).then(|| scope.check(Endpoint::tcp(address, 1)));
            prop_assert_eq!(sorted.inside.contains(address), expected == Some(Ok(())));
            prop_assert_eq!(sorted.denied.contains(address), expected == Some(Err(Refusal::Denied)));
            prop_assert_eq!(
                sorted.outside.contains(address),
                expected == Some(Err(Refusal::NotAllowed))
            );
        }
    }

    #[test]
    fn damaged_scopes_never_panic(at in 0_usize..400, byte in 0_u8..128, cut: bool) {
        let mut bytes = WHOLE.as_bytes().to_vec();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(scope) = parse(std::str::from_utf8(&bytes).unwrap()) {
            prop_assert!(!scope.allowed.is_empty());
            prop_assert!(reserved().never.without(&scope.denied).is_empty());
        }
    }
}
