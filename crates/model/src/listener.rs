//! A listening socket of this machine and who holds it.

use crate::{Text, Transport};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// From how far a listening socket can be reached, as its address and interface allow. A firewall
/// may allow less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// This machine only.
    Loopback,
    /// The attached segment (a link-local or private address, or bound to one interface).
    Segment,
    /// Wherever routes lead here.
    Anywhere,
}

impl Reach {
    /// The words used in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Segment => "segment",
            Self::Anywhere => "anywhere",
        }
    }
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Command name as the kernel keeps it.
    pub name: Text,
    /// Path of the executable, when it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text>,
    /// User that runs it, by name, else by number.
    pub user: Text,
    /// The systemd unit that started it, when the control group names one.
    pub unit: Option<Text>,
    /// The container it runs in as `runtime:id`, when the control group names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Text>,
    /// Start of the process in seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_s: Option<i64>,
}

/// One listening TCP socket, or one bound and unconnected UDP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Transport.
    pub transport: Transport,
    /// Local address; unspecified means every address of its family.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Bound to one interface (`SO_BINDTODEVICE`).
    pub interface: Option<Text>,
    /// `true` when an IPv6 socket does not take IPv4 as well (`IPV6_V6ONLY`); always `true` for an
    /// IPv4 socket, `None` when the kernel did not say.
    pub one_family: Option<bool>,
    /// From how far it can be reached.
    pub reach: Reach,
    /// Inode of the socket, the key that joins it to processes.
    pub inode: u64,
    /// User id that created the socket.
    pub uid: u32,
    /// That user's name, else number.
    pub user: Text,
    /// Every process that holds the socket. Empty: the kernel holds it, or looking needs root.
    pub processes: Vec<Process>,
    /// Connections waiting in the accept queue (TCP), or bytes waiting (UDP).
    pub queue: u32,
    /// Longest accept queue that the server asked for (TCP only).
    pub backlog: Option<u32>,
}

impl Listener {
    /// Whether this socket takes what is sent to `address`.
    pub fn answers_for(&self, address: IpAddr) -> bool {
        if self.address == address {
            return true;
        }
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V4(_)) => {
                own.is_unspecified() && self.one_family != Some(true)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}
