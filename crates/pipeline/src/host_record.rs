//! What is known of one host while its window is under way, in little memory: every open port in
//! full, and the others as sets of numbers by reason.

use portolan_model::{
    HostReport, HostState, OtherPorts, PortGroup, PortReport, PortSet, Reason, State, Text,
    Transport,
};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A group of ports that are not open is shown port by port up to this size.
pub(crate) const LISTED_MAX: usize = 25;

/// One host under way.
#[derive(Debug)]
pub(crate) struct HostRecord {
    pub(crate) window: u64,
    pub(crate) open: BTreeMap<u16, OpenPort>,
    first_answer: Option<Reason>,
    is_up: bool,
    rtt: Option<Duration>,
    others: Vec<Others>,
}

/// An open port and whether its first look is still to come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenPort {
    pub(crate) report: PortReport,
    pub(crate) look_pending: bool,
}

/// Ports of one reason. Silent ports are one group, whatever their number of probes: the group's
/// reason names the fewest.
#[derive(Debug)]
struct Others {
    reason: Reason,
    /// Port and probes, until there are more than are ever listed.
    few: Vec<(u16, u8)>,
    all: RoaringBitmap,
}

/// A [`HostRecord`] as a checkpoint keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedHost {
    ip: IpAddr,
    window: u64,
    open: Vec<OpenPort>,
    first_answer: Option<Reason>,
    is_up: bool,
    rtt_us: Option<u64>,
    others: Vec<SavedOthers>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedOthers {
    reason: Reason,
    few: Vec<(u16, u8)>,
    all: PortSet,
}

impl HostRecord {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            window,
            open: BTreeMap::new(),
            first_answer: None,
            is_up: false,
            rtt: None,
            others: Vec::new(),
        }
    }

    /// Takes a decided TCP port.
    pub(crate) fn decide(&mut self, port: u16, reason: Reason, probes: u8, rtt: Option<Duration>) {
        if reason.is_answer() && self.first_answer.is_none() {
            self.first_answer = Some(reason);
        }
        // An ICMP error may come from a device on the way: it does not show that the host is up.
        if matches!(reason, Reason::SynAck | Reason::Rst) {
            if !self.is_up {
                self.first_answer = Some(reason);
            }
            self.is_up = true;
        }
        self.rtt = [self.rtt, rtt].into_iter().flatten().min();
        if matches!(reason, Reason::SynAck) {
            let report = port_report(port, reason, probes);
            self.open.insert(
                port,
                OpenPort {
                    report,
                    look_pending: false,
                },
            );
        } else {
            self.add_other(port, reason, probes);
        }
    }

    /// The shortest round trip measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether anything came back from it or for it.
    pub(crate) fn has_answered(&self) -> bool {
        self.first_answer.is_some()
    }

    /// Ports that are decided.
    pub(crate) fn decided(&self) -> impl Iterator<Item = u16> + '_ {
        let others = self.others.iter().flat_map(|group| group.all.iter());
        self.open
            .keys()
            .copied()
            .chain(others.filter_map(|port| u16::try_from(port).ok()))
    }

    /// How many ports ended for which reason, the open ones left out.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.others
            .iter()
            .map(|group| (group.reason, group.all.len()))
    }

    /// Adds every port of `asked` that is not decided, for `reason`.
    pub(crate) fn leave_undecided(&mut self, asked: &PortSet, reason: Reason) {
        let decided: RoaringBitmap = self.decided().map(u32::from).collect();
        for port in asked
            .iter()
            .filter(|port| !decided.contains(u32::from(*port)))
        {
            self.add_other(port, reason, 0);
        }
    }

    /// The host as it is shown.
    pub(crate) fn report(&self, ip: IpAddr, names: Vec<Text>) -> HostReport {
        let mut ports: Vec<PortReport> = self.open.values().map(|o| o.report.clone()).collect();
        let mut other_ports = OtherPorts::default();
        let mut groups: Vec<&Others> = self.others.iter().collect();
        groups.sort_by_key(|group| (group.reason.tcp_state(), std::cmp::Reverse(group.all.len())));
        for group in groups {
            if group.is_listed() {
                let listed = group.few.iter();
                ports.extend(listed.map(|(port, probes)| {
                    port_report(*port, of_probes(group.reason, *probes), *probes)
                }));
            } else {
                count(&mut other_ports, group);
            }
        }
        ports.sort_by_key(|port| (port.transport, port.port));
        HostReport {
            ip,
            names,
            state: if self.is_up {
                HostState::Up
            } else {
                HostState::Unknown
            },
            reason: self.first_answer,
            rtt_ms: self.rtt.map(milliseconds),
            mac: None,
            vendor: None,
            ports,
            other_ports,
        }
    }

    /// The record for a checkpoint.
    pub(crate) fn save(&self, ip: IpAddr) -> SavedHost {
        SavedHost {
            ip,
            window: self.window,
            open: self.open.values().cloned().collect(),
            first_answer: self.first_answer,
            is_up: self.is_up,
            rtt_us: self.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
            others: self
                .others
                .iter()
                .map(|group| SavedOthers {
                    reason: group.reason,
                    few: if group.is_listed() {
                        group.few.clone()
                    } else {
                        Vec::new()
                    },
                    all: port_set(&group.all),
                })
                .collect(),
        }
    }

    /// The record that a checkpoint kept.
    pub(crate) fn restore(saved: SavedHost) -> (IpAddr, Self) {
        let others = saved.others.into_iter().map(|group| Others {
            reason: group.reason,
            few: group.few,
            all: group.all.iter().map(u32::from).collect(),
        });
        let record = Self {
            window: saved.window,
            open: saved
                .open
                .into_iter()
                .map(|open| (open.report.port, open))
                .collect(),
            first_answer: saved.first_answer,
            is_up: saved.is_up,
            rtt: saved.rtt_us.map(Duration::from_micros),
            others: others.collect(),
        };
        (saved.ip, record)
    }

    fn add_other(&mut self, port: u16, reason: Reason, probes: u8) {
        let same = |group: &&mut Others| match (group.reason, reason) {
            (Reason::Timeout { .. }, Reason::Timeout { .. }) => true,
            (a, b) => a == b,
        };
        let group = if let Some(group) = self.others.iter_mut().find(same) {
            group
        } else {
            self.others.push(Others {
                reason,
                few: Vec::new(),
                all: RoaringBitmap::new(),
            });
            let Some(group) = self.others.last_mut() else {
                return;
            };
            group
        };
        if let (Reason::Timeout { probes: fewest }, Reason::Timeout { probes }) =
            (&mut group.reason, reason)
        {
            *fewest = (*fewest).min(probes);
        }
        if group.all.insert(u32::from(port)) && group.few.len() <= LISTED_MAX {
            group.few.push((port, probes));
        }
    }
}

impl Others {
    fn is_listed(&self) -> bool {
        let few = u64::try_from(self.few.len()).unwrap_or(u64::MAX);
        few == self.all.len() && self.few.len() <= LISTED_MAX
    }
}

fn count(other_ports: &mut OtherPorts, group: &Others) {
    let state = group.reason.tcp_state();
    let number = u32::try_from(group.all.len()).unwrap_or(u32::MAX);
    match state {
        State::Closed => other_ports.closed = other_ports.closed.saturating_add(number),
        State::Filtered | State::OpenFiltered => {
            other_ports.filtered = other_ports.filtered.saturating_add(number);
        }
        State::NotTested => {
            other_ports.not_tested = other_ports.not_tested.saturating_add(number);
        }
        State::Open => {}
    }
    let ports = port_set(&group.all);
    other_ports.groups.push(PortGroup {
        state,
        reason: group.reason,
        ports,
    });
}

fn of_probes(reason: Reason, probes: u8) -> Reason {
    match reason {
        Reason::Timeout { .. } => Reason::Timeout { probes },
        other => other,
    }
}

fn port_report(port: u16, reason: Reason, probes: u8) -> PortReport {
    PortReport {
        transport: Transport::Tcp,
        port,
        state: reason.tcp_state(),
        reason,
        probes,
        service: None,
        incomplete: Vec::new(),
        process: None,
    }
}

fn port_set(ports: &RoaringBitmap) -> PortSet {
    ports
        .iter()
        .filter_map(|port| u16::try_from(port).ok())
        .collect()
}

/// Microseconds are what a user-space clock can tell apart.
fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ports: &[(u16, Reason, u8)]) -> HostRecord {
        let mut record = HostRecord::new(0);
        for (port, reason, probes) in ports {
            record.decide(*port, *reason, *probes, None);
        }
        record
    }

    #[test]
    fn few_ports_are_listed_and_many_are_counted() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut few: Vec<_> = (1..=25).map(|port| (port, Reason::Rst, 1)).collect();
        let report = record(&few).report(address, Vec::new());
        assert_eq!((report.ports.len(), report.other_ports.closed), (25, 0));
        few.push((26, Reason::Rst, 1));
        let report = record(&few).report(address, Vec::new());
        assert_eq!((report.ports.len(), report.other_ports.closed), (0, 26));
    }

    #[test]
    fn silent_ports_are_one_group_named_by_the_fewest_probes() {
        let silent = |port: u16| {
            (
                port,
                Reason::Timeout {
                    probes: 3 + u8::from(port.is_multiple_of(2)),
                },
                3,
            )
        };
        let ports: Vec<_> = (1..=100).map(silent).collect();
        let report = record(&ports).report(IpAddr::from([192, 0, 2, 1]), Vec::new());
        let [group] = report.other_ports.groups.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(group.reason, Reason::Timeout { probes: 3 });
        assert_eq!(group.ports.len(), 100);
    }

    #[test]
    fn only_the_host_itself_shows_that_it_is_up() {
        let icmp = Reason::Icmp(portolan_model::Unreachable::V4(13));
        let report = record(&[(1, icmp, 1)]).report(IpAddr::from([192, 0, 2, 1]), Vec::new());
        assert_eq!(
            (report.state, report.reason),
            (HostState::Unknown, Some(icmp))
        );
        let both = record(&[(1, icmp, 1), (2, Reason::Rst, 1)]);
        let report = both.report(IpAddr::from([192, 0, 2, 1]), Vec::new());
        assert_eq!(
            (report.state, report.reason),
            (HostState::Up, Some(Reason::Rst))
        );
    }

    #[test]
    fn a_restored_record_shows_the_same() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let ports: Vec<_> = (1..=200)
            .map(|port| match port % 5 {
                0 => (port, Reason::SynAck, 2),
                1 if port < 90 => (port, Reason::Icmp(portolan_model::Unreachable::V4(13)), 1),
                2 => (port, Reason::Timeout { probes: 5 }, 5),
                _ => (port, Reason::Rst, 1),
            })
            .collect();
        let before = record(&ports);
        let (restored_address, restored) = HostRecord::restore(before.save(address));
        assert_eq!(restored_address, address);
        assert_eq!(
            restored.report(address, Vec::new()),
            before.report(address, Vec::new())
        );
        assert_eq!(restored.decided().count(), 200);
    }

    #[test]
    fn what_is_left_undecided_is_said() {
        let mut record = record(&[(1, Reason::Rst, 1), (2, Reason::SynAck, 1)]);
        record.leave_undecided(&PortSet::range(1, 100), Reason::TimeLimit);
        let report = record.report(IpAddr::from([192, 0, 2, 1]), Vec::new());
        assert_eq!(report.other_ports.not_tested, 98);
        assert_eq!(report.ports.len(), 2);
    }
}
