//! How a host ended, without its address, its names and its round trip. Most hosts of a large run
//! end alike, and share one of these ([`crate::outcomes`]).

use portolan_catalog::services;
use portolan_model::{
    HostLabel, HostReport, HostState, Incomplete, OtherPorts, PortGroup, PortReport, PortSet,
    Reason, State, Text, Transport,
};
use portolan_wire::Mac;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Duration;

/// A group of ports that are not open is shown port by port up to this size.
pub(crate) const LISTED_MAX: usize = 25;

/// What is shown of a host beside its address, its names and its round trip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Whether the host itself answered.
    pub(crate) is_up: bool,
    /// The answer that shows it; `None` when nothing came back.
    pub(crate) first_answer: Option<Reason>,
    /// Open ports by number. Empty while the host is under way, when its record has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) open: Vec<PortReport>,
    /// One for each reason, by reason.
    pub(crate) groups: Vec<Group>,
}

/// Ports of one transport that ended for one reason. Silent ports are one group, whatever their number of probes:
/// the group's reason names the fewest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    #[serde(default)]
    pub(crate) transport: Transport,
    pub(crate) reason: Reason,
    /// Port and probes, by port, when there are few enough to be listed.
    pub(crate) few: Vec<(u16, u8)>,
    /// The ports otherwise.
    pub(crate) many: PortSet,
}

/// What only one host has.
pub(crate) struct Individual {
    pub(crate) ip: IpAddr,
    pub(crate) names: Vec<Text>,
    pub(crate) rtt: Option<Duration>,
    pub(crate) mac: Option<[u8; 6]>,
}

impl Outcome {
    /// The host as it is shown.
    pub(crate) fn report(self, own: Individual) -> HostReport {
        let everything = |group: &Group| group.reason == Reason::AnswersEverything;
        let label = self.groups.iter().any(everything);
        let label = label.then_some(HostLabel::AnswersEverything);
        let mut ports = self.open;
        let mut other_ports = OtherPorts::default();
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| (group.state(), Reverse(group.len())));
        for group in groups {
            if group.many.is_empty() {
                let listed = group.few.iter();
                ports.extend(listed.map(|(port, probes)| {
                    let reason = of_probes(group.reason, *probes);
                    let report = port_report(group.transport, *port, reason, *probes);
                    PortReport {
                        incomplete: silence(&report).into_iter().collect(),
                        ..report
                    }
                }));
            } else {
                count(&mut other_ports, group);
            }
        }
        ports.sort_by_key(|port| (port.transport, port.port));
        HostReport {
            ip: own.ip,
            names: own.names,
            state: if self.is_up {
                HostState::Up
            } else {
                HostState::Unknown
            },
            reason: self.first_answer,
            rtt_ms: own.rtt.map(milliseconds),
            mac: own.mac.map(|mac| Mac(mac).to_string()),
            vendor: None,
            label,
            ports,
            other_ports,
        }
    }
}

impl Group {
    /// What its reason shows of its ports.
    pub(crate) fn state(&self) -> State {
        self.reason.state(self.transport)
    }

    /// How many ports it has.
    pub(crate) fn len(&self) -> u64 {
        let few = u64::try_from(self.few.len()).unwrap_or(u64::MAX);
        few.saturating_add(u64::from(self.many.len()))
    }

    /// Its ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        let few = self.few.iter().map(|(port, _)| *port);
        few.chain(self.many.iter())
    }
}

fn count(other_ports: &mut OtherPorts, group: &Group) {
    let state = group.state();
    let number = u32::try_from(group.len()).unwrap_or(u32::MAX);
    let counter = match state {
        State::Closed => Some(&mut other_ports.closed),
        State::Filtered => Some(&mut other_ports.filtered),
        State::OpenFiltered => Some(&mut other_ports.open_filtered),
        State::NotTested => Some(&mut other_ports.not_tested),
        State::Open => None,
    };
    if let Some(counter) = counter {
        *counter = counter.saturating_add(number);
    }
    other_ports.groups.push(PortGroup {
        transport: group.transport,
        state,
        reason: group.reason,
        ports: group.many.clone(),
    });
}

fn of_probes(reason: Reason, probes: u8) -> Reason {
    match reason {
        Reason::Timeout { .. } => Reason::Timeout { probes },
        Reason::IcmpLimited { .. } => Reason::IcmpLimited { probes },
        other => other,
    }
}

/// A port without its service.
pub(crate) fn port_report(
    transport: Transport,
    port: u16,
    reason: Reason,
    probes: u8,
) -> PortReport {
    PortReport {
        transport,
        port,
        state: reason.state(transport),
        reason,
        probes,
        service: None,
        incomplete: Vec::new(),
        process: None,
    }
}

/// What is known of a UDP port whose service answers nobody it does not know: its silence shows
/// less than that of others.
fn silence(port: &PortReport) -> Option<Incomplete> {
    let is_silent = port.transport == Transport::Udp && port.state == State::OpenFiltered;
    let why = services::silence(port.port).filter(|_| is_silent)?;
    Some(Incomplete {
        fact: "service".to_owned(),
        why: Text::from(why),
    })
}

/// Microseconds are what a user-space clock can tell apart.
fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e6).round() / 1e3
}
