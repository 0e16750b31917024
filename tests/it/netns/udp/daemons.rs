//! Real daemons behind the default limits of their host: each is found, and said to be what it is.

use super::{scan, udp_open, udp_ports};
use crate::netns::target;
use crate::result::Document;
use portolan_lab::{Daemons, Wire};

#[test]
fn real_daemons_are_found_and_named() {
    let wire = Wire::create().unwrap();
    let daemons = Daemons::start(&wire.target, &Daemons::FEW).unwrap();
    let program = scan(&format!("{} -p U:1-1000,11211", target()));
    let ended = wire.scanner.enter(|| program.run()).unwrap().expect_code(0);
    let document = Document::of(&ended);
    let expected: Vec<u16> = daemons.services().iter().map(|it| it.port).collect();
    assert_eq!(udp_open(&document, &target()), expected);
    for service in daemons.services() {
        let port = document.port(&target(), service.port);
        assert_eq!(port["service"]["name"], service.name, "{port}");
        assert!(
            !port["service"]["evidence"].as_str().unwrap().is_empty(),
            "{port}"
        );
    }
    let ports = udp_ports(&document, &target());
    assert_eq!(ports.len(), 1_001);
}
