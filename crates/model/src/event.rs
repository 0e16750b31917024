//! What a run tells the world, in order. Front ends read nothing else.

use crate::{Estimate, HostReport, PortReport, Run, Service, Stats, Text, Transport, Unanswered};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One thing that happened in a run. A line of `jsonl` is one of these with
/// `"schema":"portolan.event/1"` before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The first event.
    RunStarted {
        /// The run, not finished yet.
        run: Run,
        /// Addresses that the plan covers.
        addresses: u64,
        /// Ports of each address.
        ports: u32,
    },
    /// A port was found open.
    Port {
        /// Address.
        ip: IpAddr,
        /// Names the user gave for it.
        names: Vec<Text>,
        /// The port, without its service.
        port: PortReport,
    },
    /// A first look at an open port ended.
    Service {
        /// Address.
        ip: IpAddr,
        /// Transport.
        transport: Transport,
        /// Port.
        port: u16,
        /// What was shown; `None`: nothing was, and `incomplete` says what was tried.
        service: Option<Service>,
        /// What could not be decided, and why.
        incomplete: Vec<crate::Incomplete>,
    },
    /// Everything about one host that answered; comes once a host, after its ports.
    Host {
        /// The host.
        host: HostReport,
    },
    /// A sentence that the user should know and that changes no result.
    Notice {
        /// The sentence.
        text: Text,
    },
    /// How far the run is.
    Progress {
        /// The figures.
        progress: Progress,
    },
    /// The last event.
    RunFinished {
        /// The run.
        run: Run,
        /// Its figures.
        stats: Stats,
        /// Addresses from which nothing came back.
        unanswered: Unanswered,
    },
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Ports that are decided.
    pub done: u64,
    /// Ports in the plan (this shard's).
    pub total: u64,
    /// Probes sent so far, repeats included.
    pub probes: u64,
    /// Probes a second over the last moments.
    pub pps: f64,
    /// Open ports found so far.
    pub open: u64,
    /// First looks that are still under way or waiting.
    pub looks_waiting: u64,
    /// Loss as estimated so far.
    pub estimate: Estimate,
    /// Seconds since the start.
    pub elapsed_s: f64,
    /// Seconds that are left at this pace; `None` while there is no telling.
    pub left_s: Option<f64>,
}
