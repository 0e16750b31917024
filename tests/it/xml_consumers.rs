//! Programs of others read `--format xml`: python-libnmap, xmllint with nmap's own document type,
//! xsltproc with nmap's own style sheet. Needs these programs; `cargo xtask test` brings them.

use crate::listeners::{Listeners, Server, closed, own_address};
use crate::program::{Ended, Program, portolan};
use crate::result::list;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Where Debian's package of nmap puts its files.
const DOCUMENT_TYPE: &str = "/usr/share/nmap/nmap.dtd";
const STYLE_SHEET: &str = "/usr/share/nmap/nmap.xsl";

/// Prints what the parser understood: one line a port.
const READ: &str = r#"
import sys
from libnmap.parser import NmapParser

report = NmapParser.parse_fromfile(sys.argv[1])
for host in report.hosts:
    for service in host.services:
        print(host.address, host.status, service.port, service.protocol, service.state,
              service.reason, service.service)
print("hosts up", report.hosts_up, "total", report.hosts_total)
"#;

/// A scan with services that tempt a writer of XML to mistakes.
struct Scanned {
    address: Ipv4Addr,
    open: Vec<u16>,
    ended: Ended,
}

fn scan() -> Scanned {
    let address = own_address();
    let quiet = Listeners::open(address, 2);
    let odd = Server::greeting(
        address,
        b"220 ]]> <a href=\"x\">&amp;'\" \x1b[0m \x00\x01 \xff\xfe \xef\xbf\xbf end\r\n",
    );
    let ssh = Server::greeting(address, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
    let mut open = quiet.ports();
    open.extend([odd.port, ssh.port]);
    open.sort_unstable();
    let ports = list(&[open.clone(), closed(address, 3)].concat());
    let ended = portolan(&format!(
        "scan {address} -p {ports} --depth identify -o run.xml --progress never"
    ));
    Scanned {
        address,
        open,
        ended: ended.expect_code(0),
    }
}

fn python() -> OsString {
    std::env::var_os("PORTOLAN_TEST_PYTHON").unwrap_or_else(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        root.join("target/test-venv/bin/python").into()
    })
}

#[test]
fn python_libnmap_reads_the_result() {
    let scanned = scan();
    let ended = Program::of(python())
        .argument("-c")
        .argument(READ)
        .argument(scanned.ended.folder.path().join("run.xml"))
        .run()
        .expect_code(0);
    let open: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.contains(" open "))
        .collect();
    assert_eq!(open.len(), scanned.open.len(), "{}", ended.stdout);
    for (line, port) in open.iter().zip(&scanned.open) {
        let expected = format!("{} up {port} tcp open syn-ack", scanned.address);
        assert!(line.starts_with(&expected), "{line}, not {expected}");
    }
    assert!(open.iter().any(|line| line.ends_with(" ssh")), "{open:?}");
    assert!(
        ended.stdout.contains("hosts up 1 total 1"),
        "{}",
        ended.stdout
    );
}

#[test]
fn the_result_is_of_nmaps_document_type() {
    let scanned = scan();
    let ended = Program::of("xmllint")
        .arguments("--nonet --noout --dtdvalid")
        .argument(DOCUMENT_TYPE)
        .argument(scanned.ended.folder.path().join("run.xml"))
        .run()
        .expect_code(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn nmaps_style_sheet_shows_the_result() {
    let scanned = scan();
    let ended = Program::of("xsltproc")
        .arguments("--nonet")
        .argument(STYLE_SHEET)
        .argument(scanned.ended.folder.path().join("run.xml"))
        .run()
        .expect_code(0);
    assert!(ended.stdout.contains(&scanned.address.to_string()));
    for port in &scanned.open {
        assert!(ended.stdout.contains(&format!(">{port}<")), "{port}");
    }
}
