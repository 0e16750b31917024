//! Times in which nothing comes back: they prove nothing, and what was asked meanwhile has to be
//! asked again, or be told as not tested.

use super::{Engine, Town, check_host, neighbours};
use crate::result::Document;
use portolan_lab::crowd::{Cut, Segment};
use std::time::Duration;

const PORTS: u16 = 2_000;

/// How the reason begins of ports that were not tested because their host answers no longer.
const WENT_SILENT: &str = "went silent";

/// A time of silence.
const fn cut(after_syns: u64) -> Cut {
    Cut {
        after_syns,
        lasts: Duration::from_secs(3),
    }
}

#[test]
fn a_path_that_is_silent_for_a_while_hides_nothing() {
    let town = Town::new(neighbours(8, PORTS, 20));
    town.crowd.change_path(|path| path.cuts.push(cut(4_000)));
    town.check(PORTS);
}

#[test]
fn a_path_that_is_silent_twice_hides_nothing() {
    let town = Town::new(neighbours(8, PORTS, 20));
    town.crowd
        .change_path(|path| path.cuts.extend([cut(2_000), cut(9_000)]));
    town.check(PORTS);
}

#[test]
fn a_host_that_is_silent_for_a_while_hides_nothing() {
    let mut hosts = neighbours(8, PORTS, 20);
    hosts[2].way.cuts.push(cut(500));
    hosts[5].way.cuts.push(cut(1_500));
    Town::new(hosts).check(PORTS);
}

#[test]
fn a_single_host_that_is_silent_for_a_while_hides_nothing() {
    let mut hosts = neighbours(1, 20_000, 50);
    hosts[0].way.cuts.push(cut(10_000));
    Town::new(hosts).check(20_000);
}

/// A host that answered and then answers no longer, whatever it is asked, was switched off or
/// shields itself. Its silence says nothing about single ports: `filtered` would be a claim without
/// evidence, and so would be any other state.
#[test]
fn ports_of_a_host_that_went_silent_for_good_are_not_tested() {
    let mut hosts = neighbours(8, PORTS, 20);
    hosts[3].way.cuts.push(Cut::for_good(800));
    let town = Town::new(hosts);
    let ended = town.scan(&town.arguments(PORTS)).expect_code(3);
    let document = Document::of(&ended);
    assert!(!document.complete());
    for (index, host) in town.hosts.iter().enumerate() {
        if index != 3 {
            check_host(&document, host, PORTS, 0);
        }
    }
    let host = &town.hosts[3];
    let ports = document.ports(&host.address.to_string());
    assert_eq!(ports.len(), usize::from(PORTS));
    let mut silent = 0;
    for (port, found) in ports {
        let is_open = host.open.contain(host.address, port);
        match found.state.as_str() {
            "open" => assert!(is_open, "{port}"),
            "closed" => assert!(!is_open, "{port}"),
            "not_tested" => {
                assert!(found.reason.starts_with(WENT_SILENT), "{port}: {found:?}");
                silent += 1;
            }
            _ => panic!("{port}: {found:?}"),
        }
    }
    // The SYN that made the 800 complete was the first without an answer.
    assert!(silent > u64::from(PORTS) - 800, "{silent}");
    assert!(silent < u64::from(PORTS), "{silent}");
}

/// How long the link is down.
const DOWN: Duration = Duration::from_secs(3);

#[test]
fn a_link_that_is_down_for_a_while_hides_nothing() {
    let hosts = neighbours(12, 4_000, 20);
    // IPv6 addresses go with their link, which a scan cannot mend.
    let hosts = hosts.into_iter().filter(|host| host.address.is_ipv4());
    let town = Town::new(hosts.collect());
    let program = Engine::Syn.scan(&format!("{} --rate 8000", town.arguments(4_000)));
    let scanner = &town.segment.scanner;
    let mut running = scanner.enter(|| program.start()).unwrap();
    running.wait_until(|_| town.crowd.syns() >= 6_000);
    scanner
        .ip(&["link", "set", Segment::INTERFACE, "down"])
        .unwrap();
    let before = town.crowd.syns();
    std::thread::sleep(DOWN);
    assert!(running.is_running());
    town.segment.bring_up().unwrap();
    let document = Document::of(&running.end().expect_code(0));
    assert!(town.crowd.syns() > before);
    for host in &town.hosts {
        check_host(&document, host, 4_000, 0);
    }
}
