//! Scope and options of one run: serialisable, so that a checkpoint can carry it and two runs can
//! be told apart.

use crate::{AddressSet, PortSet, Scope, Text};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Everything that decides which probes a run sends. The same plan gives the same probes in the
/// same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is probed: resolved, and without what is excluded.
    pub addresses: AddressSet,
    /// Names that the user gave and what they stood for when the run began.
    pub names: Vec<Target>,
    /// TCP ports to probe.
    pub tcp: PortSet,
    /// UDP ports to probe.
    #[serde(default)]
    pub udp: PortSet,
    /// TCP ports whose services get bytes although they act on whatever they are sent.
    #[serde(default)]
    pub ask_anyway: PortSet,
    /// Seed of the probe order.
    pub seed: u64,
    /// Which part of the order is this run's.
    pub shard: Shard,
    /// How TCP is probed.
    pub engine: EngineChoice,
    /// How raw packets pass between this process and an interface.
    #[serde(default)]
    pub io: IoChoice,
    /// Whether hosts are looked for before their ports are asked.
    #[serde(default)]
    pub discovery: Discovery,
    /// Rates, retries and times; what is absent adapts by itself.
    pub pace: Pace,
    /// How far to go.
    pub depth: Depth,
    /// Local address to send from; `None`: as the routing table says.
    pub source_address: Option<IpAddr>,
    /// Local port to send from; `None`: the system chooses.
    pub source_port: Option<u16>,
    /// Interface to send on; `None`: as the routing table says.
    pub interface: Option<String>,
    /// What may be touched.
    pub scope: Scope,
}

/// A host name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The name as given.
    pub name: Text,
    /// What it resolved to.
    pub addresses: Vec<IpAddr>,
}

/// Part `index` (counted from 1) of `count` disjoint parts that together are the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// 1 to `count`.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

impl Shard {
    /// The whole.
    pub const WHOLE: Self = Self { index: 1, count: 1 };
}

/// Limits that the user set; `None` adapts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Probes a second in total.
    pub rate: Option<u64>,
    /// Probes a second to one host.
    pub host_rate: Option<u64>,
    /// Further probes to a silent port after the first.
    pub retries: Option<u8>,
    /// Wait for one probe, in milliseconds.
    pub timeout_ms: Option<u32>,
    /// Longest run, in seconds.
    pub max_time_s: Option<u64>,
}

/// How far a run goes with an open port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// States of ports only.
    Ports,
    /// What speaks there.
    Identify,
    /// What can be learnt of it safely.
    Inspect,
}

/// How raw packets pass between this process and an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoChoice {
    /// The best way that changes nothing on an interface.
    #[default]
    Auto,
    /// Packet sockets alone.
    Packet,
    /// Sockets for frames (`AF_XDP`) to send and to receive, with a program on the interface.
    Xdp,
}

/// Whether hosts are looked for before their ports are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// They are: the ports of a host that answers nothing are not asked.
    Always,
    /// Every port of every host is asked.
    #[default]
    Never,
}

/// How TCP ports are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// The operating system's connect: needs no privilege.
    Connect,
    /// Raw SYN packets: need the right to use packet sockets.
    Syn,
}

impl EngineChoice {
    /// The word used in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Syn => "syn",
        }
    }
}
