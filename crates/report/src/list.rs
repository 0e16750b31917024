//! `address:port` of every open port, one a line, for other programs; a UDP port has `/udp` behind it.

use crate::document::Shown;
use crate::only;
use portolan_model::Transport;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;

/// Writes the open ports in order of address (IPv4 first) and port, each once, with IPv6 addresses
/// in brackets (RFC 3986 §3.2.2).
pub(crate) fn write(document: &Shown<'_>, out: &mut dyn Write) -> io::Result<()> {
    for host in document.hosts.by_address() {
        let open = host.ports.iter().filter(|port| only::is_open(port));
        let open: BTreeSet<(u16, Transport)> =
            open.map(|port| (port.port, port.transport)).collect();
        for (port, transport) in open {
            let address = SocketAddr::new(host.ip, port);
            match transport {
                Transport::Tcp => writeln!(out, "{address}")?,
                Transport::Udp => writeln!(out, "{address}/udp")?,
            }
        }
    }
    Ok(())
}
