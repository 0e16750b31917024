//! Times in which nothing comes back: they prove nothing, and what was asked meanwhile has to be
//! asked again, or be told as not tested.

use super::{Engine, Town, check_host, neighbours};
use crate::result::Document;
use portolan_lab::crowd::Segment;
use std::time::Duration;

/// How long the link is down.
const DOWN: Duration = Duration::from_secs(1);

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
