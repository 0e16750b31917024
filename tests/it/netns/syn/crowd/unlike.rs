//! Hosts that are unlike each other in one run: what one of them needs must not be what all get, and
//! what is true of most must not be told of each.

use super::{Town, check_host, neighbours, some_ports};
use portolan_lab::crowd::{Closed, Deaf, Host, Policer, Segment, Way};
use std::net::Ipv4Addr;
use std::time::Duration;

const PORTS: u16 = 2_000;

/// A policer that lets so many packets a second through, and a hundredth of them at once.
fn policed(rate: u32) -> Way {
    Way {
        policer: Some(Policer {
            rate,
            burst: rate.div_ceil(100),
        }),
        ..Way::default()
    }
}

#[test]
fn a_policer_that_hosts_behind_a_router_share_hides_nothing() {
    let router = Host::at(Segment::ADDRESSES.router);
    let behind = (1..=16).map(|last| {
        let address = Ipv4Addr::new(203, 0, 113, last);
        let open = some_ports(u16::from(last), PORTS, 20);
        Host::behind(router.mac, address).open(&open)
    });
    let mut hosts: Vec<Host> = behind.collect();
    hosts.push(router);
    let mut town = Town::new(hosts);
    town.hosts.pop();
    town.crowd.change_path(|path| *path = policed(5_000));
    town.check(PORTS);
}

#[test]
fn near_and_far_hosts_with_silent_ports_hide_nothing() {
    let mut hosts = neighbours(8, 1_000, 5);
    for (host, rtt_ms) in hosts.iter_mut().zip([1, 1, 50, 50, 300, 300, 900, 900]) {
        host.rtt = Duration::from_millis(rtt_ms);
        host.closed = Closed::Silent;
    }
    Town::new(hosts).check(1_000);
}

#[test]
fn a_limit_of_refusals_is_not_called_a_filter_of_open_ports() {
    let mut hosts = neighbours(2, PORTS, 20);
    for host in &mut hosts {
        host.refusals = Some(Policer {
            rate: 200,
            burst: 50,
        });
    }
    let town = Town::new(hosts);
    let document = town.found(PORTS);
    for host in &town.hosts {
        // Which of the refusals were held back cannot be known.
        check_host(&document, host, PORTS, u64::from(PORTS));
    }
}

#[test]
fn a_host_that_hears_second_syns_only_hides_nothing() {
    let mut hosts = neighbours(4, PORTS, 20);
    hosts[1].deaf = Some(Deaf::Pair);
    hosts[2].deaf = Some(Deaf::Pair);
    Town::new(hosts).check(PORTS);
}
