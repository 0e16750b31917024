//! The engine for raw packets before hosts and ways with every fault that a network can have: what
//! it finds is judged, never how long it takes. The hosts are played by one thread, which also tells
//! what arrived.

mod order;
mod silence;
mod unlike;

use super::{Engine, MISSED_MAX};
use crate::program::Ended;
use crate::result::Document;
use portolan_lab::crowd::{Closed, Crowd, Host, Segment};
use portolan_lab::random_ports;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A segment with a crowd on it.
struct Town {
    segment: Segment,
    crowd: Crowd,
    hosts: Vec<Host>,
}

impl Town {
    fn new(hosts: Vec<Host>) -> Self {
        let segment = Segment::create().unwrap();
        let crowd = Crowd::start(&segment.beyond, Segment::INTERFACE, hosts.clone(), 1).unwrap();
        Self {
            segment,
            crowd,
            hosts,
        }
    }

    /// A scan of the first `ports` ports of every host.
    fn arguments(&self, ports: u16) -> String {
        let addresses = self.hosts.iter().map(|host| host.address.to_string());
        let addresses: Vec<String> = addresses.collect();
        format!("{} -p 1-{ports}", addresses.join(" "))
    }

    fn scan(&self, arguments: &str) -> Ended {
        let program = Engine::Syn.scan(arguments);
        self.segment.scanner.enter(|| program.run()).unwrap()
    }

    /// What a scan of the first `ports` ports of every host found, which looked at everything.
    fn found(&self, ports: u16) -> Document {
        let ended = self.scan(&self.arguments(ports)).expect_code(0);
        let document = Document::of(&ended);
        assert!(document.complete(), "{}", document.0["run"]);
        document
    }

    /// Every port of every host is told as it is.
    fn check(&self, ports: u16) {
        let document = self.found(ports);
        for host in &self.hosts {
            check_host(&document, host, ports, 0);
        }
    }
}

/// Every port of a host is told as it is, but for `lost_max` closed ones that may seem silent.
fn check_host(document: &Document, host: &Host, ports: u16, lost_max: u64) {
    let address = host.address.to_string();
    let open: Vec<u16> = (1..=ports)
        .filter(|port| host.open.contain(host.address, *port))
        .collect();
    assert_eq!(document.open(&address), open, "{address}");
    let rest = u64::from(ports) - u64::try_from(open.len()).unwrap();
    let count = |state| document.count(&address, state);
    let counted = ["closed", "filtered", "not_tested"].map(count);
    let [closed, filtered, not_tested] = counted;
    assert_eq!(closed + filtered, rest, "{address}: {counted:?}");
    assert_eq!(not_tested, 0, "{address}: {counted:?}");
    match host.closed {
        Closed::Reset => assert!(filtered <= lost_max, "{address}: {counted:?}"),
        Closed::Icmp(_) | Closed::Silent => assert_eq!(closed, 0, "{address}: {counted:?}"),
    }
}

/// A neighbour by its number, from 10 on; with IPv6 where the number is odd.
fn address(number: u16) -> IpAddr {
    if number.is_multiple_of(2) {
        let [high, low] = number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 18, 64 + high, low))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, number))
    }
}

/// Neighbours of both families without a fault, each with `open` of the first `ports` ports open.
fn neighbours(count: u16, ports: u16, open: usize) -> Vec<Host> {
    (10..10 + count)
        .map(|number| Host::at(address(number)).open(&some_ports(number, ports, open)))
        .collect()
}

/// `count` of the first `ports` ports.
fn some_ports(seed: u16, ports: u16, count: usize) -> Vec<u16> {
    let all = random_ports(u64::from(seed), 65_535 / usize::from(ports) * count * 2);
    let mut low: Vec<u16> = all.into_iter().filter(|port| *port <= ports).collect();
    // Not the lowest, but some from all over.
    let apart = low.len() / count;
    low = low.into_iter().step_by(apart.max(1)).take(count).collect();
    assert_eq!(low.len(), count);
    low
}
