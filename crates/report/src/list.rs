//! `address:port` of every open port, one a line, for other programs.

use crate::document::Shown;
use crate::only;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Writes the open ports in order of address (IPv4 first) and port, each once, with IPv6 addresses
/// in brackets (RFC 3986 §3.2.2).
pub(crate) fn write(document: &Shown<'_>, out: &mut dyn Write) -> io::Result<()> {
    for host in document.hosts.by_address() {
        let open = host.ports.iter().filter(|port| only::is_open(port));
        let open: BTreeSet<u16> = open.map(|port| port.port).collect();
        for port in open {
            writeln!(out, "{}", SocketAddr::new(host.ip, port))?;
        }
    }
    Ok(())
}
