//! Hosts that are unlike each other in one run: what one of them needs must not be what all get, and
//! what is true of most must not be told of each.

use super::super::Engine;
use super::{MISSED_MAX, Town, check_host, neighbours, some_ports};
use crate::result::Document;
use portolan_lab::crowd::{Closed, Deaf, Host, Move, Policer, Ports, Segment, Way};
use portolan_wire::Mac;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const PORTS: u16 = 2_000;

/// The reason of ports of a host that says open for all of them.
const EVERYTHING: &str = "answers everything";

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
fn one_policed_host_among_many_is_told_as_it_is_and_so_are_they() {
    let mut hosts = neighbours(21, PORTS, 20);
    hosts[7].way = policed(500);
    Town::new(hosts).check(PORTS);
}

#[test]
fn one_lossy_host_among_many_is_told_as_it_is_and_so_are_they() {
    let mut hosts = neighbours(21, PORTS, 20);
    hosts[7].way = Way {
        loss_in_permille: 100,
        loss_out_permille: 100,
        ..Way::default()
    };
    let town = Town::new(hosts);
    let document = town.found(PORTS);
    for (index, host) in town.hosts.iter().enumerate() {
        let lost_max = if index == 7 { MISSED_MAX } else { 0 };
        check_host(&document, host, PORTS, lost_max);
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
fn far_hosts_that_refuse_hide_nothing() {
    let mut hosts = neighbours(4, 1_000, 5);
    for (host, rtt_ms) in hosts.iter_mut().zip([1, 50, 900, 1_500]) {
        host.rtt = Duration::from_millis(rtt_ms);
    }
    Town::new(hosts).check(1_000);
}

#[test]
fn a_policer_before_silent_ports_hides_nothing() {
    let mut hosts = neighbours(1, 10_000, 100);
    hosts[0].closed = Closed::Silent;
    hosts[0].way = policed(2_000);
    Town::new(hosts).check(10_000);
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

#[test]
fn a_hardware_address_that_changes_hides_nothing() {
    let mut hosts = neighbours(6, PORTS, 20);
    for (index, host) in hosts.iter_mut().enumerate().skip(2).take(2) {
        let last = u8::try_from(index).unwrap();
        host.moves.push(Move {
            after_syns: 800,
            mac: Mac([2, 0, 0, 0, 0x77, last]),
        });
    }
    Town::new(hosts).check(PORTS);
}

#[test]
fn a_router_whose_hardware_address_changes_hides_nothing() {
    let first = Segment::ROUTER_MAC;
    let next = Move {
        after_syns: 800,
        mac: Mac([2, 0, 0, 0, 0x77, 0xff]),
    };
    let router = Host {
        mac: first,
        ..Host::at(Segment::ADDRESSES.router)
    };
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let mut host = Host::behind(first, address).open(&some_ports(3, PORTS, 20));
    host.moves.push(next);
    let mut town = Town::new(vec![host, router]);
    town.hosts.pop();
    let program = Engine::Syn.scan(&town.arguments(PORTS));
    let mut running = town.segment.scanner.enter(|| program.start()).unwrap();
    running.wait_until(|_| town.crowd.syns() >= 800);
    town.crowd
        .change(Segment::ADDRESSES.router.into(), |router| {
            router.mac = next.mac;
        });
    let document = Document::of(&running.end().expect_code(0));
    check_host(&document, &town.hosts[0], PORTS, 0);
}

#[test]
fn a_host_that_answers_everything_is_not_asked_everything() {
    for engine in [Engine::Syn, Engine::Connect] {
        let mut hosts = neighbours(6, PORTS, 20);
        hosts[3].open = Ports::All;
        let town = Town::new(hosts);
        let scan = engine.scan(&town.arguments(PORTS));
        let ended = town.segment.scanner.enter(|| scan.run()).unwrap();
        let document = Document::of(&ended.expect_code(0));
        for (index, host) in town.hosts.iter().enumerate() {
            if index != 3 {
                check_host(&document, host, PORTS, 0);
            }
        }
        let address = town.hosts[3].address;
        let ports = document.ports(&address.to_string());
        assert_eq!(ports.len(), usize::from(PORTS));
        let named = ports.values().filter(|port| port.reason == EVERYTHING);
        assert!(named.count() > usize::from(PORTS) / 2);
        assert!(ports.values().all(|port| port.state != "closed"));
        let heard = town.crowd.record().heard(address).unwrap();
        assert!(heard.syns < u64::from(PORTS) / 2, "{heard:?}");
    }
}
