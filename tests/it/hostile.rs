//! Peers that behave badly on purpose: they may keep a first look from learning anything, but not
//! make a run hang, grow, lie or hand their bytes to the user's terminal.

use crate::listeners::{Listeners, Server, own_address, wait_for_end};
use crate::program::{Ended, Program};
use crate::result::{Document, list};
use nix::libc::linger;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use portolan_lab::Seed;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Memory that a run of a few ports may need, in KiB.
const MEMORY_MAX_KIB: i64 = 64 * 1024;

/// What a terminal must never be handed: an escape and a C1 control introducer.
const CONTROLS: [char; 3] = ['\u{1b}', '\u{9b}', '\u{7}'];

/// Every format shows the port as open, ends well, and contains no control character of the peer.
fn check_survives(address: Ipv4Addr, port: u16) {
    for format in ["json", "jsonl", "csv", "xml", "list", "table"] {
        let ended = look(address, &[port], format);
        assert!(
            ended.stdout.contains(&port.to_string()),
            "{format} does not show {port}:\n{}",
            ended.stdout
        );
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!text.contains(CONTROLS), "{format} hands on: {text:?}");
        if format == "json" {
            let document = Document::of(&ended);
            assert_eq!(document.open(&address.to_string()), [port]);
            assert!(document.complete());
        }
    }
    // The processes that this test started are the program's alone.
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
}

fn look(address: Ipv4Addr, ports: &[u16], format: &str) -> Ended {
    let ports = list(ports);
    Program::new(&format!(
        "scan {address} -p {ports} --depth identify --format {format} --progress never"
    ))
    .run()
    .expect_code(0)
}

fn check_treatment(treat: fn(TcpStream)) {
    let address = own_address();
    let server = Server::start(address, treat);
    check_survives(address, server.port);
}

#[test]
fn an_endless_banner_ends() {
    check_treatment(|mut stream| {
        let line = [b'A'; 4096];
        while stream.write_all(&line).is_ok() {}
    });
}

#[test]
fn endless_lines_end() {
    check_treatment(|mut stream| while stream.write_all(b"220-more\r\n").is_ok() {});
}

#[test]
fn one_byte_a_second_is_not_waited_for() {
    check_treatment(|mut stream| {
        while stream.write_all(b"2").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

#[test]
fn an_immediate_reset_is_an_open_port() {
    check_treatment(|stream| {
        let abort = linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&stream, Linger, &abort).unwrap();
        drop(stream);
    });
}

#[test]
fn an_immediate_end_is_an_open_port() {
    check_treatment(drop);
}

#[test]
fn silence_ends() {
    check_treatment(|mut stream| wait_for_end(&mut stream));
}

#[test]
fn binary_noise_is_shown_as_text() {
    check_treatment(|mut stream| {
        let mut seed = Seed::new(5);
        let noise: Vec<u8> = (0..8192).flat_map(|_| seed.next().to_le_bytes()).collect();
        // The scanner may stop reading before the end.
        let _ = stream.write_all(&noise);
        wait_for_end(&mut stream);
    });
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    const TRICKS: &[u8] =
        b"220 \x1b[2J\x1b[31mred\x07 \x1b]0;title\x07 \xc2\x9b31m \xe2\x80\xaeback \
        ]]> <script>&amp; \"quoted\", =1+1 \r\n";
    let address = own_address();
    let server = Server::greeting(address, TRICKS);
    check_survives(address, server.port);
}

#[test]
fn a_wrong_tls_answer_is_survived() {
    check_treatment(|mut stream| {
        let mut hello = [0_u8; 1024];
        let _ = stream.read(&mut hello);
        // A handshake record that claims 65,535 bytes and brings three.
        let _ = stream.write_all(&[22, 3, 3, 0xff, 0xff, 2, 0xff, 0xff]);
        wait_for_end(&mut stream);
    });
}

#[test]
fn endless_headers_end() {
    check_treatment(|mut stream| {
        let mut request = [0_u8; 64];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: of the same\r\n").is_ok() {}
    });
}

#[test]
fn bad_neighbours_do_not_harm_good_ones() {
    let address = own_address();
    let slow = Server::start(address, |mut stream| {
        while stream.write_all(b"2").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let good = Server::greeting(address, b"220 good.example FTP server ready\r\n");
    let quiet = Listeners::open(address, 50);
    let mut ports = quiet.ports();
    ports.extend([slow.port, good.port]);
    ports.sort_unstable();
    let document = Document::of(&look(address, &ports, "json"));
    let address = address.to_string();
    assert_eq!(document.open(&address), ports);
    let shown = document.port(&address, good.port);
    assert!(
        shown["service"]["evidence"]
            .as_str()
            .is_some_and(|text| text.contains("good.example")),
        "{shown}"
    );
}
