//! The target that answers for a whole network, itself: what is measured against it is only worth
//! something when it says what it promises.

use super::{Engine, Network};
use portolan_lab::PrefixResponder;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const ADDRESSES: [&str; 4] = ["198.18.1.0", "198.18.200.7", "198.19.0.1", "198.19.255.255"];
const PORTS: std::ops::RangeInclusive<u16> = 1..=300;
const OPEN_ONE_IN: u32 = 8;

/// A network whose target answers for all of [`PrefixResponder::NETWORK`].
fn network(engine: Engine) -> (Network, PrefixResponder) {
    let network = Network::new(engine, vec![100]);
    network.wire.route_all().unwrap();
    let responder = PrefixResponder::start(&network.wire.target, "lab0", OPEN_ONE_IN).unwrap();
    (network, responder)
}

fn expected(responder: &PrefixResponder, address: &str) -> Vec<u16> {
    let address: Ipv4Addr = address.parse().unwrap();
    PORTS
        .filter(|port| responder.is_open(address, *port))
        .collect()
}

#[test]
fn raw_probes_are_answered_as_the_hash_says() {
    let (network, responder) = network(Engine::Syn);
    let document = network.found(&format!("{} -p 1-300", ADDRESSES.join(" ")));
    for address in ADDRESSES {
        let open = expected(&responder, address);
        assert!(!open.is_empty());
        assert_eq!(document.open(address), open, "{address}");
        let closed = u64::try_from(300 - open.len()).unwrap();
        assert_eq!(document.count(address, "closed"), closed, "{address}");
    }
    // The kernel has seen the answers too, and has looked at their checksums.
    assert!(network.counter("InSegs") >= 4 * 300);
    assert_eq!(network.counter("InCsumErrors"), 0);
}

#[test]
fn connections_are_answered_as_the_hash_says() {
    let (network, responder) = network(Engine::Connect);
    for address in ADDRESSES {
        let open = network.wire.scanner.enter(|| {
            let address: IpAddr = address.parse().unwrap();
            let reached = PORTS.filter(|port| {
                let to = SocketAddr::new(address, *port);
                TcpStream::connect_timeout(&to, Duration::from_secs(5)).is_ok()
            });
            reached.collect::<Vec<u16>>()
        });
        assert_eq!(open.unwrap(), expected(&responder, address), "{address}");
    }
}

#[test]
fn the_kernel_keeps_its_own_addresses() {
    let (network, _responder) = network(Engine::Syn);
    let target = super::target();
    let document = network.found(&format!("{target} -p 90-110"));
    assert_eq!(document.open(&target), [100]);
    assert_eq!(document.count(&target, "closed"), 20);
}
