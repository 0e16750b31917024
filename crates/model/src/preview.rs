//! What a plan would do: the answer of a dry run.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a plan would do. Nothing was sent to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Addresses of the plan, over all shards.
    pub addresses: u64,
    /// TCP ports of each address.
    pub ports: u32,
    /// UDP ports of each address.
    #[serde(default)]
    pub udp_ports: u32,
    /// First probes of this shard.
    pub probes: u64,
    /// Packets on the wire when every port refuses: the question and the refusal.
    pub packets_min: u64,
    /// Packets sent when no port answers: every probe that the run sends, and every repeat of it
    /// that the kernel adds while the run waits.
    pub packets_max: u64,
    /// Seconds when everything answers at once.
    pub seconds_min: u64,
    /// Seconds when nothing answers.
    pub seconds_max: u64,
    /// An address that gets the most probes.
    pub hardest: Option<IpAddr>,
    /// How many first probes that address gets.
    pub hardest_probes: u64,
    /// The first endpoints of the order.
    pub first: Vec<String>,
    /// Seed of the order.
    pub seed: u64,
}
