//! From how far a socket can be reached, judged by its address and interface alone. Firewalls and
//! routes are not asked.

use super::BoundInterface;
use portolan_model::Reach;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The reach of a socket bound to `address`, and to `interface` if it is bound to one.
pub(super) fn reach(address: IpAddr, interface: Option<&BoundInterface>) -> Reach {
    let by_address = match address {
        IpAddr::V4(v4) => of_v4(v4),
        IpAddr::V6(v6) => of_v6(v6),
    };
    match interface {
        Some(it) if it.loopback => Reach::Loopback,
        Some(_) => by_address.min(Reach::Segment),
        None => by_address,
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    // 100.64.0.0/10 is shared between a provider and its customers (RFC 6598).
    let shared = address.octets().first() == Some(&100)
        && address.octets().get(1).is_some_and(|it| it & 0xc0 == 64);
    // 224.0.0.0/24 is never forwarded (RFC 5771 §4); 239.0.0.0/8 stays inside (RFC 2365).
    let local_group = matches!(address.octets(), [224, 0, 0, _] | [239, ..]);
    if address.is_loopback() {
        Reach::Loopback
    } else if address.is_link_local()
        || address.is_private()
        || address.is_broadcast()
        || shared
        || local_group
    {
        Reach::Segment
    } else {
        Reach::Anywhere
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Loopback;
    }
    // The scope of a group is the low half of its second byte (RFC 4291 §2.7).
    match address.octets() {
        [0xff, scope, ..] if scope & 0xf <= 1 => Reach::Loopback,
        [0xff, scope, ..] if scope & 0xf < 0xe => Reach::Segment,
        _ if address.is_unicast_link_local() || address.is_unique_local() => Reach::Segment,
        _ => Reach::Anywhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, interface: Option<&str>, expected: Reach) {
        let interface = interface.map(|name| BoundInterface {
            name: name.into(),
            loopback: name == "lo",
        });
        let found = reach(address.parse().unwrap(), interface.as_ref());
        assert_eq!(found, expected, "{address} {interface:?}");
    }

    #[test]
    fn addresses_decide_how_far_a_socket_reaches() {
        for address in ["0.0.0.0", "::", "203.0.113.5", "2001:db8::1", "172.32.0.1"] {
            check(address, None, Reach::Anywhere);
        }
        for address in ["224.0.1.1", "ff0e::1", "100.128.0.1", "100.63.0.1"] {
            check(address, None, Reach::Anywhere);
        }
        for address in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.0.1"] {
            check(address, None, Reach::Segment);
        }
        for address in [
            "100.64.0.1",
            "fe80::1",
            "fd00::1",
            "224.0.0.251",
            "ff02::fb",
        ] {
            check(address, None, Reach::Segment);
        }
        for address in ["127.0.0.1", "127.0.0.53", "::1", "ff01::1"] {
            check(address, None, Reach::Loopback);
        }
    }

    #[test]
    fn an_interface_narrows_and_never_widens() {
        check("0.0.0.0", Some("eth0"), Reach::Segment);
        check("::", Some("lo"), Reach::Loopback);
        check("127.0.0.1", Some("eth0"), Reach::Loopback);
        check("203.0.113.5", Some("eth0"), Reach::Segment);
    }
}
