//! The result of one run as one document: the shape of `--format json`.

use crate::{AddressSet, PortSet, Process, Reason, Service, State, Text, Transport};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;

/// Name and version of the document's shape.
pub const SCHEMA_RUN: &str = "portolan.run/1";
/// Name and version of the shape of one event.
pub const SCHEMA_EVENT: &str = "portolan.event/1";

/// Everything that one run found. A large run has no room for all its hosts at once, and keeps
/// them in a form of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document<H = Vec<HostReport>> {
    /// [`SCHEMA_RUN`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub version: String,
    /// The run.
    pub run: Run,
    /// Hosts that answered anything, by address.
    pub hosts: H,
    /// Addresses from which nothing came back.
    pub unanswered: Unanswered,
    /// Figures of the run.
    pub stats: Stats,
}

/// The hosts of a result, made one at a time when they are asked for.
pub trait Hosts {
    /// Each host once, IPv4 first, by address.
    fn by_address(&self) -> Box<dyn Iterator<Item = Cow<'_, HostReport>> + '_>;

    /// How many there are.
    fn count(&self) -> u64;
}

impl Hosts for Vec<HostReport> {
    fn by_address(&self) -> Box<dyn Iterator<Item = Cow<'_, HostReport>> + '_> {
        Box::new(self.iter().map(Cow::Borrowed))
    }

    fn count(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }
}

/// One execution of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Unique name of the run.
    pub id: String,
    /// Start, RFC 3339 in UTC.
    pub started: String,
    /// End, RFC 3339 in UTC; `None` while it runs.
    pub finished: Option<String>,
    /// The command line, as typed.
    #[serde(default)]
    pub command: String,
    /// Seed of the probe order.
    pub seed: u64,
    /// SHA-256 of the plan, in hexadecimal.
    pub plan_hash: String,
    /// Which engine probed.
    pub engine: String,
    /// TCP ports that were asked of every address.
    pub ports: PortSet,
    /// UDP ports that were asked of every address.
    #[serde(default)]
    pub udp_ports: PortSet,
    /// Whether nothing ended the run early, no port went untested for a reason of the machine that
    /// scanned, and no look at an open port failed.
    pub complete: bool,
    /// What was left out or went wrong, and what else a reader should know, one sentence each.
    #[serde(default)]
    pub notices: Vec<Text>,
}

/// A host that answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Address.
    pub ip: IpAddr,
    /// Names that the user gave for it.
    pub names: Vec<Text>,
    /// Whether it is there.
    pub state: HostState,
    /// The answer that shows it.
    pub reason: Option<Reason>,
    /// Smoothed round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Hardware address, when the host is on an attached segment and it was seen.
    pub mac: Option<String>,
    /// Maker of the hardware address.
    pub vendor: Option<String>,
    /// What the host as a whole is, where that matters more than its ports one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<HostLabel>,
    /// Ports that are shown one by one: every open port, and others where they are few.
    pub ports: Vec<PortReport>,
    /// The rest, counted.
    pub other_ports: OtherPorts,
}

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It answered.
    Up,
    /// Only a device on the way answered for it, or nothing did.
    Unknown,
}

/// What a host as a whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostLabel {
    /// It says open for whatever port it is asked, as SYN proxies and tarpits do. Only ports where
    /// something spoke are called open.
    AnswersEverything,
}

/// One port of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortReport {
    /// Transport.
    pub transport: Transport,
    /// Number.
    pub port: u16,
    /// State.
    pub state: State,
    /// What shows the state.
    pub reason: Reason,
    /// Probes sent to it.
    pub probes: u8,
    /// What speaks there; `None` when it is not open, was not looked at, or nothing was shown.
    pub service: Option<Service>,
    /// What could not be decided, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// Who holds the port, when it is this machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// Something that could not be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// What: a fact key, or `service`.
    pub fact: String,
    /// Why, in words.
    pub why: Text,
}

/// The ports of a host that are not shown one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherPorts {
    /// How many are closed.
    pub closed: u32,
    /// How many are filtered.
    pub filtered: u32,
    /// How many UDP ports were silent, which open and filtered ones may be.
    #[serde(default)]
    pub open_filtered: u32,
    /// How many were not tested.
    pub not_tested: u32,
    /// The same with their reasons and numbers.
    pub groups: Vec<PortGroup>,
}

/// Ports of one host that share transport, state and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortGroup {
    /// Transport.
    #[serde(default)]
    pub transport: Transport,
    /// State.
    pub state: State,
    /// What shows the state.
    pub reason: Reason,
    /// Which ports.
    pub ports: PortSet,
}

/// Addresses from which nothing came back: no host may be there, or one that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// The addresses.
    pub addresses: AddressSet,
    /// How many of their ports ended for which reason, most first.
    pub reasons: Vec<(Reason, u64)>,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Probes sent, repeats included.
    pub probes: u64,
    /// Answers received.
    pub replies: u64,
    /// Probes without an answer to ports that answered another probe.
    pub lost: u64,
    /// Seconds from start to end.
    pub duration_s: f64,
    /// Probes a second over the whole run.
    pub pps: f64,
    /// What the figures say about completeness.
    pub estimate: Estimate,
}

/// How sure the run is that it missed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Share of probes or their answers that got lost, 0 to 1; `None` until something answered.
    pub loss: Option<f64>,
    /// Open ports that are expected to be missed; `None` until something answered.
    pub missed: Option<f64>,
}
