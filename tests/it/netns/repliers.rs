//! Ports that are hostile, mean nothing, or speak true protocols in odd pieces or behind a delay: no
//! false name, every name that is shown, and a run that ends. The same at a thousand ports, with
//! times, is `cargo xtask bench negative`.

use super::Engine;
use crate::program::Program;
use crate::result::{Document, list};
use nix::sys::resource::{UsageWho, getrusage};
use portolan_lab::repliers::{Kind, Ledger, Replier, Repliers, Service, Verdict};
use portolan_lab::{Namespace, Tunnel, Wire, random_ports};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Memory of a run, in KiB.
const MEMORY_MAX_KIB: i64 = 100 * 1024;

/// Where repliers are asked.
struct Place<'a> {
    scanner: &'a Namespace,
    target: &'a Namespace,
    address: Ipv4Addr,
}

impl Place<'_> {
    /// Every port is open, nothing false is said, and nothing that is shown is missed.
    fn check(&self, repliers: &[Replier], engine: Engine) -> Ledger {
        let started = Repliers::start(self.target, repliers).unwrap();
        let mut ports: Vec<u16> = repliers.iter().map(|it| it.port).collect();
        ports.sort_unstable();
        let (address, name) = (self.address.to_string(), engine.name());
        let program = Program::new(&format!(
            "scan {address} -p {} --engine {name} --depth identify --format json --progress never",
            list(&ports)
        ));
        let ended = self.scanner.enter(|| program.run()).unwrap();
        let document = Document::of(&ended.expect_code(0));
        let ledger = started.end();
        assert!(document.complete());
        assert_eq!(document.open(&address), ports);
        for replier in repliers {
            let shown = document.port(&address, replier.port);
            let service = &shown["service"];
            let truth = replier.kind.truth();
            let verdict = truth.judge(service["name"].as_str(), !service["tls"].is_null());
            assert_eq!(verdict, Verdict::Right, "{replier:?}: {shown}");
        }
        let memory = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
        assert!(memory < MEMORY_MAX_KIB, "{memory} KiB with {engine:?}");
        ledger
    }
}

#[test]
fn hostile_and_meaningless_ports_get_no_name() {
    let wire = Wire::create().unwrap();
    let place = Place {
        scanner: &wire.scanner,
        target: &wire.target,
        address: Wire::ADDRESSES.target,
    };
    let repliers = Replier::adverse(&random_ports(31, 2 * Kind::ADVERSE.len()), 31);
    for engine in Engine::ALL {
        let ledger = place.check(&repliers, engine);
        assert_eq!(ledger.turned_away, 0);
        // Each was looked at.
        let silent = ledger.ports.values().filter(|it| it.connections == 0);
        assert_eq!(silent.count(), 0, "{ledger:?}");
    }
}

#[test]
fn services_behind_a_delay_are_named() {
    let tunnel = Tunnel::create_delayed(Duration::from_millis(25)).unwrap();
    let place = Place {
        scanner: &tunnel.scanner,
        target: &tunnel.target,
        address: Tunnel::ADDRESSES.target,
    };
    let repliers = Replier::services(&random_ports(32, 2 * Service::ALL.len()), 32);
    for engine in Engine::ALL {
        place.check(&repliers, engine);
    }
}

/// What a client reads that says `asked`, up to `most` bytes and until nothing more comes for a while.
fn read(stream: &mut TcpStream, asked: &[u8], most: usize) -> (Vec<u8>, Option<ErrorKind>) {
    let wait = Some(Duration::from_millis(1_500));
    stream.set_read_timeout(wait).unwrap();
    // Whoever has closed already may refuse it.
    let _ = stream.write_all(asked);
    let mut read = Vec::new();
    let mut buffer = [0_u8; 4_096];
    while read.len() < most {
        match stream.read(&mut buffer) {
            Ok(0) => return (read, None),
            Ok(length) => read.extend(&buffer[..length]),
            Err(error) => return (read, Some(error.kind())),
        }
    }
    (read, Some(ErrorKind::WouldBlock))
}

/// How a conversation ends that is not over.
const OPEN: Option<ErrorKind> = Some(ErrorKind::WouldBlock);
const RESET: Option<ErrorKind> = Some(ErrorKind::ConnectionReset);

/// What each kind does, as a client sees it that says `asked`: how what it reads begins, how many bytes
/// that are at least, and how it ends.
const SEEN: [(Kind, &str, &str, usize, Option<ErrorKind>); 16] = [
    (Kind::Closes, "", "", 0, None),
    (Kind::Echo, "abc", "abc", 3, OPEN),
    (Kind::Endless, "", "", 1 << 20, OPEN),
    (Kind::EndlessReply, "", "220-", 1 << 20, OPEN),
    (Kind::FtpLate, "NOOP\r\n", "220-Welcome to ", 60, OPEN),
    (Kind::HalfCloses, "", "", 0, None),
    (
        Kind::HttpSplit,
        "GET / HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nServer: ",
        80,
        None,
    ),
    (Kind::Large, "", "", 65_536, None),
    (Kind::LongLine, "", "", 1 << 20, OPEN),
    (Kind::Resets, "", "", 0, RESET),
    (Kind::Reversed, "abc", "cba", 3, OPEN),
    (Kind::Silent, "abc", "", 0, OPEN),
    (Kind::SmtpSplit, "", "220 ", 30, OPEN),
    (Kind::SshByByte, "", "SSH-2.0-Laboratory_1.2\r\n", 24, OPEN),
    (
        Kind::TlsAlert,
        "abc",
        "\u{15}\u{3}\u{3}\0\u{2}\u{2}",
        7,
        None,
    ),
    (Kind::TlsSilentClose, "abc", "", 0, None),
];

#[test]
fn repliers_do_what_they_are_there_for() {
    let wire = Wire::create().unwrap();
    let address = Wire::ADDRESSES.target;
    let repliers: Vec<Replier> = (1_000..)
        .zip(SEEN)
        .map(|(port, (kind, ..))| Replier {
            port,
            kind,
            seed: 33,
        })
        .collect();
    let started = Repliers::start(&wire.target, &repliers).unwrap();
    for (replier, (kind, asked, begins, least, expected)) in repliers.iter().zip(SEEN) {
        let connect = || TcpStream::connect((address, replier.port)).unwrap();
        let mut stream = wire.scanner.enter(connect).unwrap();
        let (read, end) = read(&mut stream, asked.as_bytes(), 1 << 20);
        assert!(read.starts_with(begins.as_bytes()), "{kind:?}: {read:?}");
        assert!(read.len() >= least, "{kind:?}: {} bytes", read.len());
        assert_eq!(end, expected, "{kind:?}");
    }
    let ledger = started.end();
    for replier in repliers {
        assert_eq!(ledger.ports[&replier.port].connections, 1, "{replier:?}");
    }
}
