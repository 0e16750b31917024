//! Joins what a scan sees from outside to what this machine knows of its own sockets.

use portolan_model::{AddressSet, Listener, PortReport, Process, Transport};
use portolan_net::{interface, listeners};
use std::net::{IpAddr, Ipv4Addr};

/// This machine's addresses and, where they are asked for, its listening sockets.
#[derive(Debug)]
pub(crate) struct Own {
    addresses: AddressSet,
    listeners: Vec<Listener>,
}

impl Own {
    /// Reads the addresses of this machine and, when any of `targets` is one of them, its listening
    /// sockets with their processes: this takes rights that a run does not keep. Where they cannot
    /// be read, nothing is joined.
    pub(crate) fn read(targets: &AddressSet) -> Self {
        let mut addresses = interface::attached().map(|it| it.own).unwrap_or_default();
        // All of 127.0.0.0/8 is this host (RFC 1122 §3.2.1.3), whatever is assigned.
        let loopback = AddressSet::network(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
        addresses.extend_from(&loopback.unwrap_or_default());
        let listeners = if addresses.intersection(targets).is_empty() {
            Vec::new()
        } else {
            let listening = listeners::listening().map(|it| it.listeners);
            listening.unwrap_or_default()
        };
        Self {
            addresses,
            listeners,
        }
    }

    /// A machine without an address, of which nothing is known.
    #[cfg(test)]
    pub(crate) fn nothing() -> Self {
        Self {
            addresses: AddressSet::new(),
            listeners: Vec::new(),
        }
    }

    /// Whether `address` is one of this machine's.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(address)
    }

    /// Adds the owning process to the open ports of `address`, if it is one of this machine's.
    pub(crate) fn join(&self, address: IpAddr, open: &mut [PortReport]) {
        if open.is_empty() || !self.has(address) {
            return;
        }
        for port in open {
            port.process = holder(&self.listeners, address, port.transport, port.port);
        }
    }
}

/// The process that answers for `port` at `address`. A socket bound to the very address comes
/// before one that is bound to all.
fn holder(
    listeners: &[Listener],
    address: IpAddr,
    transport: Transport,
    port: u16,
) -> Option<Process> {
    let answering = listeners
        .iter()
        .filter(|it| it.transport == transport && it.port == port && it.answers_for(address));
    let closest = answering
        .filter(|it| !it.processes.is_empty())
        .max_by_key(|it| it.address == address)?;
    closest.processes.first().cloned()
}
