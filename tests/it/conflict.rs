//! `portolan local PORT` foretells what a second server would get; here the kernel is asked for
//! the same by really binding. Ports lie below the range that the kernel gives to connections, so
//! that no other test takes them in between.

use crate::program::portolan;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use serde_json::Value;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

/// A socket to be made.
#[derive(Clone, Copy, Debug)]
struct Ask {
    kind: SockType,
    address: IpAddr,
    /// `IPV6_V6ONLY`; nothing to an IPv4 socket.
    one_family: bool,
    /// `SO_REUSEPORT`.
    share: bool,
}

impl Ask {
    fn tcp(address: &str) -> Self {
        Self {
            kind: SockType::Stream,
            address: address.parse().unwrap(),
            one_family: true,
            share: false,
        }
    }

    fn udp(address: &str) -> Self {
        Self {
            kind: SockType::Datagram,
            ..Self::tcp(address)
        }
    }

    fn dual(self) -> Self {
        Self {
            one_family: false,
            ..self
        }
    }

    fn shared(self) -> Self {
        Self {
            share: true,
            ..self
        }
    }

    fn at(self, port: u16) -> Result<OwnedFd, Errno> {
        let family = match self.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let fd = socket(family, self.kind, SockFlag::SOCK_CLOEXEC, None)?;
        if family == AddressFamily::Inet6 {
            setsockopt(&fd, sockopt::Ipv6V6Only, &self.one_family)?;
        }
        if self.share {
            setsockopt(&fd, sockopt::ReusePort, &true)?;
        }
        let address = SockaddrStorage::from(SocketAddr::new(self.address, port));
        bind(fd.as_raw_fd(), &address)?;
        if self.kind == SockType::Stream {
            listen(&fd, Backlog::new(8).unwrap())?;
        }
        Ok(fd)
    }
}

/// Sockets that hold a port while no other test of this file holds one.
struct Held {
    port: u16,
    sockets: Vec<OwnedFd>,
    /// Two tests on one port would be each other's second server.
    _alone: File,
}

/// Makes all `holders` on one port that is free. `None` when this machine has no IPv6.
fn hold(holders: &[Ask]) -> Option<Held> {
    let lock = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conflict.lock");
    let alone = File::create(lock).unwrap();
    alone.lock().unwrap();
    let start = u16::try_from(std::process::id() % 9_000).unwrap();
    for step in 0..1_000 {
        let port = 20_000 + (start + step * 7) % 9_000;
        let made: Result<Vec<OwnedFd>, Errno> = holders.iter().map(|it| it.at(port)).collect();
        match made {
            Ok(sockets) => {
                return Some(Held {
                    port,
                    sockets,
                    _alone: alone,
                });
            }
            Err(Errno::EADDRINUSE) => {}
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
                if holders.iter().any(|it| it.address.is_ipv6()) =>
            {
                return None;
            }
            Err(error) => panic!("{holders:?}: {error}"),
        }
    }
    panic!("no free port for {holders:?}");
}

/// What the program foretells for `port`.
fn foretold(port: u16) -> Vec<Value> {
    let ended = portolan(&format!("local {port} --format json")).expect_code(0);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["schema"], "portolan.local/1");
    document["port"]["forecasts"].as_array().unwrap().clone()
}

fn bid_of(forecast: &Value) -> Ask {
    let bid = &forecast["bid"];
    Ask {
        kind: match bid["transport"].as_str().unwrap() {
            "tcp" => SockType::Stream,
            "udp" => SockType::Datagram,
            other => panic!("{other}"),
        },
        address: bid["address"].as_str().unwrap().parse().unwrap(),
        one_family: bid["one_family"].as_bool().unwrap(),
        share: false,
    }
}

/// Holds a port and compares every forecast for it with what the kernel says. `blocked` are the
/// addresses of the transport of the first holder that must be found taken, so that a program
/// that foretells nothing does not pass.
fn check(holders: &[Ask], blocked: &[&str]) {
    let Some(held) = hold(holders) else {
        return;
    };
    let port = held.port;
    let mut taken = Vec::new();
    for forecast in foretold(port) {
        let bid = bid_of(&forecast);
        let free = forecast["blocked_by"].as_array().unwrap().is_empty();
        match bid.at(port) {
            Ok(_) => assert!(free, "the kernel allows {forecast}"),
            Err(Errno::EADDRINUSE) => assert!(!free, "the kernel refuses {forecast}"),
            // Without IPv6 there is nothing to compare.
            Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if bid.address.is_ipv6() => {}
            Err(error) => panic!("{forecast}: {error}"),
        }
        if !free && bid.kind == holders[0].kind {
            let dual = if bid.one_family { "" } else { "+" };
            taken.push(format!("{}{dual}", bid.address));
        }
        if forecast["sharing"] == "shown" {
            let joined = Ask { share: true, ..bid }.at(port);
            assert!(joined.is_ok(), "{forecast}: {joined:?}");
        }
    }
    for address in blocked {
        assert!(taken.iter().any(|it| it == address), "{address}: {taken:?}");
    }
    assert_eq!(held.sockets.len(), holders.len());
}

const V4_BLOCKED: [&str; 3] = ["0.0.0.0", "::+", "127.0.0.1"];
const V6_BLOCKED: [&str; 3] = ["::", "::+", "::1"];
const BOTH_BLOCKED: [&str; 5] = ["0.0.0.0", "127.0.0.1", "::", "::+", "::1"];

#[test]
fn one_address_blocks_itself_and_what_includes_it() {
    check(&[Ask::tcp("127.0.0.1")], &V4_BLOCKED);
    check(&[Ask::tcp("127.0.0.2")], &["0.0.0.0", "::+"]);
    check(&[Ask::tcp("::1")], &V6_BLOCKED);
    check(&[Ask::tcp("::ffff:127.0.0.1").dual()], &V4_BLOCKED);
}

#[test]
fn every_address_blocks_its_family_and_dual_stack_blocks_both() {
    check(&[Ask::tcp("0.0.0.0")], &V4_BLOCKED);
    check(&[Ask::tcp("::")], &V6_BLOCKED);
    check(&[Ask::tcp("::").dual()], &BOTH_BLOCKED);
    check(&[Ask::tcp("0.0.0.0"), Ask::tcp("::")], &BOTH_BLOCKED);
}

#[test]
fn servers_that_share_a_port_admit_one_that_shares() {
    let shared = Ask::tcp("127.0.0.1").shared();
    check(&[shared], &V4_BLOCKED);
    check(&[shared, shared], &V4_BLOCKED);
    let dual = Ask::tcp("::").dual().shared();
    check(&[dual, shared], &V4_BLOCKED);
}

#[test]
fn udp_follows_the_same_addresses() {
    check(&[Ask::udp("127.0.0.1")], &V4_BLOCKED);
    check(&[Ask::udp("::").dual()], &BOTH_BLOCKED);
    check(&[Ask::udp("::1"), Ask::tcp("127.0.0.1")], &V6_BLOCKED);
}

#[test]
fn sockets_that_share_are_told_to_be_of_one_service() {
    let shared = Ask::tcp("127.0.0.1").shared();
    let held = hold(&[shared, shared]).unwrap();
    let port = held.port;
    let ended = portolan(&format!("local {port}")).expect_code(0);
    let text = ended
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let expected = format!("2 sockets of one service share tcp port {port}");
    assert!(text.contains(&expected), "{text}");
    assert!(!text.contains("Warning"), "{text}");
}

#[test]
fn a_socket_carries_its_process_family_and_reach() {
    let Some(held) = hold(&[Ask::tcp("::1"), Ask::udp("127.0.0.1")]) else {
        return;
    };
    let ended = portolan("local --format json").expect_code(0);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mine: Vec<&Value> = document["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["port"] == held.port)
        .collect();
    assert_eq!(mine.len(), 2, "{mine:?}");
    for listener in mine {
        assert_eq!(listener["reach"], "loopback");
        assert_eq!(listener["one_family"], true);
        let pids: Vec<&Value> = listener["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["pid"])
            .collect();
        assert_eq!(pids, [std::process::id()], "{listener}");
        let started = listener["processes"][0]["started_unix_s"].as_i64().unwrap();
        assert!(started > 0, "{listener}");
        let backlog = &listener["backlog"];
        let expected = if listener["transport"] == "tcp" {
            Value::from(8)
        } else {
            Value::Null
        };
        assert_eq!(*backlog, expected);
    }
}
