//! What the engine asks of a driver and what it hears back.

use crate::Patience;
use portolan_model::{Endpoint, Unreachable};
use std::net::IpAddr;

/// Sources that probes leave from: each pass has its own, so that what keeps one probe from being
/// answered (a mapping of a router, a state of a firewall) does not keep the next.
pub const UDP_SOURCES: u8 = 8;

/// What a port is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An empty datagram: no service is known for the port.
    Empty,
    /// Nothing: the port gets no bytes.
    Nothing,
    /// So many questions, all at once; at least one.
    Questions(u8),
}

/// A port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPort {
    /// Its number.
    pub port: u16,
    /// What it is asked.
    pub ask: Ask,
}

/// Limits and wishes; what is `None` is set by the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UdpOptions {
    /// Datagrams a second, in total.
    pub rate: Option<f64>,
    /// Datagrams a second, in total, that an engine before this one found to be right.
    pub found_rate: Option<f64>,
    /// Datagrams a second to one host.
    pub host_rate: Option<f64>,
    /// When silence is believed.
    pub patience: Patience,
}

/// A datagram to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// Number of the host.
    pub host: u32,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// From which of [`UDP_SOURCES`] sources.
    pub source: u8,
    /// Number of the question; `None`: the datagram is empty.
    pub question: Option<u8>,
    /// Which pass it belongs to.
    pub(super) pass: u8,
}

/// An ICMP error about a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpError {
    /// Where the probe went.
    pub endpoint: Endpoint,
    /// What the error says.
    pub code: Unreachable,
    /// Who says it.
    pub from: Option<IpAddr>,
}
