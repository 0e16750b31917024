//! What the engine asks of a driver and what it hears back.

use portolan_model::{Endpoint, Reason, Unreachable};
use std::time::Duration;

/// Names one connection attempt that is under way. Ids are small and used again after the attempt
/// has ended, so a driver can keep its sockets in a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(u32);

impl DialId {
    /// The id with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, below the engine's capacity.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// What one position of the probe order stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Number of the host, below the number of hosts the engine was made for.
    pub host: u32,
    /// Where the probe goes.
    pub endpoint: Endpoint,
}

/// A connection attempt to begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Its name until it ends.
    pub id: DialId,
    /// Number of the host.
    pub host: u32,
    /// Where to connect.
    pub endpoint: Endpoint,
}

/// How an attempt ended, in the driver's words. A silent attempt has no reply: the engine gives
/// it up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The handshake was completed.
    Accepted,
    /// An ICMP error came back for it.
    Icmp(Unreachable),
    /// This machine had no descriptor, port or buffer for it; no packet left.
    LocalLimit,
    /// A rule of this machine forbade it; no packet left.
    LocalPolicy,
    /// The neighbour did not answer ARP or ND; no packet left.
    NoNeighbour,
    /// There is no route; no packet left.
    NoRoute,
    /// The host refused with a reset.
    Refused,
}

/// The final word on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Number of the host.
    pub host: u32,
    /// The port.
    pub endpoint: Endpoint,
    /// What was found; [`Reason::tcp_state`] gives the state.
    pub reason: Reason,
    /// Probes that left for it.
    pub probes: u8,
    /// Round-trip time of the answer, where there was one.
    pub rtt: Option<Duration>,
    /// The attempt that found it, when that attempt's connection stands open.
    pub connection: Option<DialId>,
}
