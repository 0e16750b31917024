//! `address:port` of every open port, one a line, for other programs.

use crate::only;
use portolan_model::Document;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Writes the open ports in order of address (IPv4 first) and port, each once, with IPv6 addresses
/// in brackets (RFC 3986 §3.2.2).
pub(crate) fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let mut open = BTreeSet::new();
    for host in &document.hosts {
        for port in host.ports.iter().filter(|port| only::is_open(port)) {
            open.insert(SocketAddr::new(host.ip, port.port));
        }
    }
    for address in open {
        writeln!(out, "{address}")?;
    }
    Ok(())
}
