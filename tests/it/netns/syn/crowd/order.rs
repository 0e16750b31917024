//! What comes back that answers nothing, and what is sent: no port is told by noise, no pair is asked
//! too soon from the same source port, and nothing is sent where nothing may be.

use super::{Town, address, check_host, neighbours, some_ports};
use crate::result::Document;
use portolan_lab::crowd::{Closed, Host, Noise, Ports, Segment, Talk, Way};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const PORTS: u16 = 1_000;

/// Ports at which noise is made, among open, closed and silent ones.
fn noisy() -> Ports {
    Ports::these(&(100..120).collect::<Vec<u16>>())
}

fn check_noise(noise: Noise) {
    let hosts = neighbours(4, PORTS, 20).into_iter();
    let hosts = hosts.zip([Closed::Reset, Closed::Reset, Closed::Silent, Closed::Silent]);
    let hosts = hosts.map(|(host, closed)| host.closed(closed).noise(noisy(), noise));
    let town = Town::new(hosts.collect());
    town.check(PORTS);
}

#[test]
fn duplicates_count_once() {
    check_noise(Noise::Copies(1_000));
}

#[test]
fn forged_answers_count_for_nothing() {
    check_noise(Noise::Forged);
}

#[test]
fn answers_that_are_cut_short_count_for_nothing() {
    check_noise(Noise::CutShort);
}

#[test]
fn forged_icmp_messages_count_for_nothing() {
    check_noise(Noise::EveryIcmpForged);
}

/// Hosts behind a router that say nothing themselves, while `noise` comes for each SYN to them.
fn check_nobody_is_found(noise: Noise) {
    let addresses = Segment::ADDRESSES;
    let routers = [
        IpAddr::V4(addresses.router),
        IpAddr::V6(addresses.router_v6),
    ]
    .map(Host::at);
    let [mac, mac_v6] = [routers[0].mac, routers[1].mac];
    let behind = |last: u8| Host::behind(mac, Ipv4Addr::new(203, 0, 113, last));
    let behind_v6 = |last: u8| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0x65, 0, 0, 0, 0, last.into());
        Host::behind(mac_v6, address)
    };
    let good = [behind(8), behind_v6(8)].map(|host| host.open(&[100]));
    let quiet = (9..16).flat_map(|last| [behind(last), behind_v6(last)]);
    let quiet = quiet.map(|host| Host {
        echo: false,
        ..host.closed(Closed::Silent).noise(Ports::All, noise)
    });
    let town = Town::new(good.into_iter().chain(routers).chain(quiet).collect());
    let ended = town.scan("203.0.113.8/29 2001:db8:65::8/125 -p 98-102 --discovery always");
    let document = Document::of(&ended.expect_code(0));
    for address in ["203.0.113.8", "2001:db8:65::8"] {
        assert_eq!(document.open(address), [100]);
    }
    assert_eq!(document.hosts().len(), 2, "{noise:?}: {}", document.0);
    let reasons = document.unanswered_reasons();
    assert_eq!(reasons, [("no answer to discovery", 14 * 5)].into());
    // Each was looked for, and the noise was made.
    let record = town.crowd.record();
    for address in [behind(9).address, behind_v6(9).address] {
        assert!(record.heard(address).unwrap().syns >= 4, "{address}");
    }
}

#[test]
fn forged_answers_find_no_host() {
    for noise in [Noise::CutShort, Noise::EveryIcmpForged, Noise::Forged] {
        check_nobody_is_found(noise);
    }
}

#[test]
fn no_icmp_message_opens_or_closes_a_port() {
    let hosts = neighbours(4, PORTS, 20).into_iter();
    let hosts = hosts.map(|host| {
        // Where an open port answers as well, which of the two is believed is not the matter here.
        let quiet = Ports::these(&(100..104).collect::<Vec<u16>>());
        let mut host = host.closed(Closed::Silent).noise(quiet, Noise::EveryIcmp);
        host.open = Ports::these(&some_ports(5, 99, 10));
        host
    });
    let town = Town::new(hosts.collect());
    let document = Document::of(&town.scan(&town.arguments(PORTS)).expect_code(0));
    for host in &town.hosts {
        check_host(&document, host, PORTS, 0);
    }
}

#[test]
fn no_pair_is_asked_too_soon_from_the_same_port() {
    let mut hosts = neighbours(4, PORTS, 20);
    for host in &mut hosts {
        host.way = Way {
            loss_in_permille: 100,
            loss_out_permille: 100,
            ..Way::default()
        };
    }
    hosts[2].closed = Closed::Silent;
    let town = Town::new(hosts);
    let document = town.found(PORTS);
    for host in &town.hosts {
        assert_eq!(document.open(&host.address.to_string()).len(), 20);
    }
    let record = town.crowd.record();
    // A Linux host ignores a SYN of a connection that it has just answered for half a second.
    assert_eq!(record.repeated_within(Duration::from_millis(500)), None);
    let pairs = record.pairs().unwrap();
    assert_eq!(pairs.len(), 4 * usize::from(PORTS));
    assert!(pairs.values().any(|asked| *asked > 1));
}

#[test]
fn what_has_answered_is_not_asked_again() {
    let town = Town::new(neighbours(8, PORTS, 20));
    // At a pace at which nothing can get lost on the way.
    let arguments = format!("{} --rate 4000", town.arguments(PORTS));
    town.scan(&arguments).expect_code(0);
    let pairs = town.crowd.record().pairs().unwrap();
    assert_eq!(pairs.len(), 8 * usize::from(PORTS));
    let again = pairs.values().filter(|asked| **asked > 1).count();
    assert_eq!(again, 0);
}

#[test]
fn a_receive_buffer_without_room_hides_nothing() {
    let hosts = neighbours(4, PORTS, 20).into_iter();
    // Bursts of answers, of which the buffer has no room for all.
    let hosts = hosts.map(|host| host.noise(Ports::All, Noise::Copies(20)));
    let town = Town::new(hosts.collect());
    let arguments = format!("{} --receive-buffer 1", town.arguments(PORTS));
    let document = Document::of(&town.scan(&arguments).expect_code(0));
    for host in &town.hosts {
        check_host(&document, host, PORTS, 0);
    }
}

#[test]
fn nobody_gets_a_frame_who_is_excluded() {
    let hosts: Vec<Host> = (16..48)
        .step_by(2)
        .map(|number| Host::at(address(number)).open(&[100]))
        .collect();
    let town = Town::new(hosts);
    let excluded: BTreeSet<IpAddr> = [address(18), address(24), address(46)].into();
    let flags: Vec<String> = excluded.iter().map(|it| format!("-x {it}")).collect();
    let network = "198.18.64.16/28 198.18.64.32/28";
    let ended = town.scan(&format!("{network} {} -p 90-110", flags.join(" ")));
    let document = Document::of(&ended.expect_code(0));
    assert_eq!(document.hosts().len(), 16 - 3);
    let record = town.crowd.record();
    for address in excluded {
        assert_eq!(record.heard(address).unwrap().frames, 0, "{address}");
    }
    // The counter counts.
    assert!(record.heard(address(20)).unwrap().syns >= 21);
}

#[test]
fn ports_that_accept_and_say_nothing_are_open() {
    let mut hosts = neighbours(2, PORTS, 20);
    hosts[0].talk = Talk::Reset;
    hosts[1].talk = Talk::Silent;
    Town::new(hosts).check(PORTS);
}
