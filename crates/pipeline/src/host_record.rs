//! What is known of one host while its window is under way, in little memory: every open port in
//! full, and the others as sets of numbers by reason.

use crate::discovery::Seen;
use crate::outcome::{Group, LISTED_MAX, Outcome, port_report};
use portolan_model::{PortReport, PortSet, Reason, Transport};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// One host under way.
#[derive(Debug)]
pub(crate) struct HostRecord {
    pub(crate) window: u64,
    pub(crate) open: BTreeMap<(Transport, u16), OpenPort>,
    /// First looks in a row that ended with nothing shown.
    pub(crate) mute_looks: u32,
    first_answer: Option<Reason>,
    is_up: bool,
    rtt: Option<Duration>,
    mac: Option<[u8; 6]>,
    others: Vec<Others>,
}

/// An open port. A window may have a hundred thousand, so what a look showed stands apart.
#[derive(Debug)]
pub(crate) struct OpenPort {
    probes: u8,
    /// Its first look is still to come.
    pub(crate) look_pending: bool,
    shown: Option<Box<portolan_identify::Outcome>>,
}

/// Ports of one transport and reason. Silent ports are one group, whatever their number of probes: the group's
/// reason names the fewest.
#[derive(Debug)]
struct Others {
    transport: Transport,
    reason: Reason,
    ports: Ports,
}

/// Most hosts have one port of a reason or all of them: a bitmap is for the second.
#[derive(Debug)]
enum Ports {
    /// Port and probes, as many as are ever listed.
    Few(Vec<(u16, u8)>),
    Many(RoaringBitmap),
}

/// A [`HostRecord`] as a checkpoint keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedHost {
    pub(crate) ip: IpAddr,
    pub(crate) window: u64,
    pub(crate) open: Vec<SavedOpen>,
    pub(crate) rtt_us: Option<u64>,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) outcome: Outcome,
}

/// An [`OpenPort`] as a checkpoint keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SavedOpen {
    pub(crate) report: PortReport,
    pub(crate) look_pending: bool,
}

impl OpenPort {
    fn new(probes: u8) -> Self {
        Self {
            probes,
            look_pending: false,
            shown: None,
        }
    }

    /// Ends its first look with what it showed.
    pub(crate) fn end_look(&mut self, shown: portolan_identify::Outcome) {
        self.look_pending = false;
        self.shown = Some(Box::new(shown));
    }

    /// The port `port` as it is shown.
    pub(crate) fn report(&self, transport: Transport, port: u16) -> PortReport {
        let reason = match transport {
            Transport::Tcp => Reason::SynAck,
            Transport::Udp => Reason::UdpResponse,
        };
        let mut report = port_report(transport, port, reason, self.probes);
        if let Some(shown) = &self.shown {
            report.service.clone_from(&shown.service);
            report.incomplete.clone_from(&shown.incomplete);
        }
        report
    }
}

impl HostRecord {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            window,
            open: BTreeMap::new(),
            mute_looks: 0,
            first_answer: None,
            is_up: false,
            rtt: None,
            mac: None,
            others: Vec::new(),
        }
    }

    /// Takes what is known of the host beside its ports.
    pub(crate) fn see(&mut self, seen: &Seen) {
        if self.first_answer.is_none() || (seen.is_up && !self.is_up) {
            self.first_answer = Some(seen.reason);
        }
        self.is_up |= seen.is_up;
        self.rtt = [self.rtt, seen.rtt].into_iter().flatten().min();
        self.mac = seen.mac.or(self.mac);
    }

    /// Takes a decided port; `false`: it was decided before, and stays as it was.
    pub(crate) fn decide(
        &mut self,
        (transport, port): (Transport, u16),
        reason: Reason,
        probes: u8,
        rtt: Option<Duration>,
    ) -> bool {
        if self.is_decided(transport, port) {
            return false;
        }
        if reason.is_answer() && self.first_answer.is_none() {
            self.first_answer = Some(reason);
        }
        if reason.shows_host(transport) {
            if !self.is_up {
                self.first_answer = Some(reason);
            }
            self.is_up = true;
        }
        self.rtt = [self.rtt, rtt].into_iter().flatten().min();
        if matches!(reason, Reason::SynAck | Reason::UdpResponse) {
            self.open.insert((transport, port), OpenPort::new(probes));
        } else {
            self.add_other(transport, port, reason, probes);
        }
        true
    }

    /// How many TCP ports are open.
    pub(crate) fn open_tcp(&self) -> usize {
        let tcp = (Transport::Tcp, u16::MIN)..=(Transport::Tcp, u16::MAX);
        self.open.range(tcp).count()
    }

    /// The shortest round trip measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether the host itself answered.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Its hardware address, when that was seen.
    pub(crate) fn mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    /// Whether anything came back from it or for it.
    pub(crate) fn has_answered(&self) -> bool {
        self.first_answer.is_some()
    }

    /// Whether a first look at one of its ports is still to come.
    pub(crate) fn awaits_looks(&self) -> bool {
        self.open.values().any(|open| open.look_pending)
    }

    /// Ports of one transport that are decided.
    pub(crate) fn decided(&self, transport: Transport) -> RoaringBitmap {
        let open = self.open.keys().filter(|(of, _)| *of == transport);
        let mut decided: RoaringBitmap = open.map(|(_, port)| u32::from(*port)).collect();
        for group in self.others.iter().filter(|it| it.transport == transport) {
            match &group.ports {
                Ports::Few(few) => decided.extend(few.iter().map(|(port, _)| u32::from(*port))),
                Ports::Many(many) => decided |= many,
            }
        }
        decided
    }

    /// How many ports are decided.
    pub(crate) fn decided_count(&self) -> u64 {
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        let others = self.others.iter().map(|group| group.ports.len());
        others.fold(open, u64::saturating_add)
    }

    /// How many ports ended for which reason, the open ones left out.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.others
            .iter()
            .map(|group| (group.reason, group.ports.len()))
    }

    /// Adds every port of `asked` that is not decided, for `reason`.
    pub(crate) fn leave_undecided(
        &mut self,
        transport: Transport,
        asked: &PortSet,
        reason: Reason,
    ) {
        let decided = self.decided(transport);
        for port in asked
            .iter()
            .filter(|port| !decided.contains(u32::from(*port)))
        {
            self.add_other(transport, port, reason, 0);
        }
    }

    /// Whether the host says open for whatever port it is asked.
    pub(crate) fn answers_everything(&self) -> bool {
        let mut others = self.others.iter();
        others.any(|group| group.reason == Reason::AnswersEverything)
    }

    /// How it ended, when it has. That a host which answers everything said open of a port is no
    /// more than what it says of all.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = Outcome {
            open: self.open_reports().collect(),
            ..self.outcome_of_others()
        };
        if self.answers_everything() {
            let is_shown =
                |port: &PortReport| port.transport == Transport::Udp || port.service.is_some();
            let (shown, rest) = outcome.open.into_iter().partition(is_shown);
            outcome.open = shown;
            outcome
                .groups
                .retain(|it| it.reason != Reason::AnswersEverything);
            outcome.groups.push(self.everything(&rest));
            outcome
                .groups
                .sort_by_key(|group| (group.transport, group.reason));
        }
        outcome
    }

    /// The ports of a host that answers everything of which its word is all that is known.
    fn everything(&self, open: &[PortReport]) -> Group {
        let groups = self.others.iter();
        let unasked = groups.filter(|it| it.reason == Reason::AnswersEverything);
        let mut ports: RoaringBitmap = open.iter().map(|it| u32::from(it.port)).collect();
        for group in unasked {
            match &group.ports {
                Ports::Few(few) => ports.extend(few.iter().map(|(port, _)| u32::from(*port))),
                Ports::Many(many) => ports |= many,
            }
        }
        let ports = ports.iter().filter_map(|port| u16::try_from(port).ok());
        Group {
            transport: Transport::Tcp,
            reason: Reason::AnswersEverything,
            few: Vec::new(),
            many: ports.collect(),
        }
    }

    fn open_reports(&self) -> impl Iterator<Item = PortReport> + '_ {
        self.open
            .iter()
            .map(|((transport, port), open)| open.report(*transport, *port))
    }

    fn outcome_of_others(&self) -> Outcome {
        let mut groups: Vec<Group> = self.others.iter().map(Others::group).collect();
        groups.sort_by_key(|group| (group.transport, group.reason));
        Outcome {
            is_up: self.is_up,
            first_answer: self.first_answer,
            open: Vec::new(),
            groups,
        }
    }

    /// The record for a checkpoint.
    pub(crate) fn save(&self, ip: IpAddr) -> SavedHost {
        let open = self.open.iter().map(|((transport, port), open)| SavedOpen {
            report: open.report(*transport, *port),
            look_pending: open.look_pending,
        });
        SavedHost {
            ip,
            window: self.window,
            open: open.collect(),
            rtt_us: self.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
            mac: self.mac,
            outcome: self.outcome_of_others(),
        }
    }

    /// The record that a checkpoint kept.
    pub(crate) fn restore(saved: SavedHost) -> (IpAddr, Self) {
        let others = saved.outcome.groups.into_iter().map(|group| Others {
            transport: group.transport,
            reason: group.reason,
            ports: if group.many.is_empty() {
                Ports::Few(group.few)
            } else {
                Ports::Many(group.many.iter().map(u32::from).collect())
            },
        });
        let open = saved.open.into_iter().map(|saved| {
            let report = saved.report;
            let mut open = OpenPort::new(report.probes);
            open.look_pending = saved.look_pending;
            if report.service.is_some() || !report.incomplete.is_empty() {
                open.shown = Some(Box::new(portolan_identify::Outcome {
                    service: report.service,
                    incomplete: report.incomplete,
                }));
            }
            ((report.transport, report.port), open)
        });
        let record = Self {
            window: saved.window,
            open: open.collect(),
            mute_looks: 0,
            first_answer: saved.outcome.first_answer,
            is_up: saved.outcome.is_up,
            rtt: saved.rtt_us.map(Duration::from_micros),
            mac: saved.mac,
            others: others.collect(),
        };
        (saved.ip, record)
    }

    fn is_decided(&self, transport: Transport, port: u16) -> bool {
        let of_transport = |group: &&Others| group.transport == transport;
        let mut others = self.others.iter().filter(of_transport);
        self.open.contains_key(&(transport, port)) || others.any(|group| group.ports.contain(port))
    }

    fn add_other(&mut self, transport: Transport, port: u16, reason: Reason, probes: u8) {
        let same = |group: &&mut Others| {
            let same_reason = match (group.reason, reason) {
                (Reason::Timeout { .. }, Reason::Timeout { .. })
                | (Reason::IcmpLimited { .. }, Reason::IcmpLimited { .. }) => true,
                (a, b) => a == b,
            };
            group.transport == transport && same_reason
        };
        let Some(group) = self.others.iter_mut().find(same) else {
            // Most hosts have one group: room for more would be most of what they take.
            self.others.reserve_exact(1);
            self.others.push(Others {
                transport,
                reason,
                ports: Ports::Few(vec![(port, probes)]),
            });
            return;
        };
        if let (Reason::Timeout { probes: fewest }, Reason::Timeout { probes })
        | (Reason::IcmpLimited { probes: fewest }, Reason::IcmpLimited { probes }) =
            (&mut group.reason, reason)
        {
            *fewest = (*fewest).min(probes);
        }
        group.ports.add(port, probes);
    }
}

impl Others {
    fn group(&self) -> Group {
        let mut group = Group {
            transport: self.transport,
            reason: self.reason,
            few: Vec::new(),
            many: PortSet::default(),
        };
        match &self.ports {
            Ports::Few(few) => {
                group.few.clone_from(few);
                group.few.sort_unstable();
            }
            Ports::Many(many) => {
                let ports = many.iter().filter_map(|port| u16::try_from(port).ok());
                group.many = ports.collect();
            }
        }
        group
    }
}

impl Ports {
    fn len(&self) -> u64 {
        match self {
            Self::Few(few) => u64::try_from(few.len()).unwrap_or(u64::MAX),
            Self::Many(many) => many.len(),
        }
    }

    fn contain(&self, port: u16) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|(it, _)| *it == port),
            Self::Many(many) => many.contains(u32::from(port)),
        }
    }

    fn add(&mut self, port: u16, probes: u8) {
        match self {
            Self::Few(few) if few.len() < LISTED_MAX => few.push((port, probes)),
            Self::Few(few) => {
                let mut many: RoaringBitmap = few.iter().map(|(it, _)| u32::from(*it)).collect();
                many.insert(u32::from(port));
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(u32::from(port));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Individual;
    use portolan_model::{HostReport, HostState, State};

    fn shown(record: &HostRecord) -> HostReport {
        record.outcome().report(Individual {
            ip: IpAddr::from([192, 0, 2, 1]),
            names: Vec::new(),
            rtt: record.rtt(),
            mac: record.mac(),
        })
    }

    fn record(ports: &[(u16, Reason, u8)]) -> HostRecord {
        let mut record = HostRecord::new(0);
        for (port, reason, probes) in ports {
            record.decide((Transport::Tcp, *port), *reason, *probes, None);
        }
        record
    }

    #[test]
    fn few_ports_are_listed_and_many_are_counted() {
        let mut few: Vec<_> = (1..=25).map(|port| (port, Reason::Rst, 1)).collect();
        let report = shown(&record(&few));
        assert_eq!((report.ports.len(), report.other_ports.closed), (25, 0));
        few.push((26, Reason::Rst, 1));
        let report = shown(&record(&few));
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
        let report = shown(&record(&ports));
        let [group] = report.other_ports.groups.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!(group.reason, Reason::Timeout { probes: 3 });
        assert_eq!(group.ports.len(), 100);
    }

    #[test]
    fn only_the_host_itself_shows_that_it_is_up() {
        let icmp = Reason::Icmp(portolan_model::Unreachable::V4(13));
        let report = shown(&record(&[(1, icmp, 1)]));
        assert_eq!(
            (report.state, report.reason),
            (HostState::Unknown, Some(icmp))
        );
        let both = record(&[(1, icmp, 1), (2, Reason::Rst, 1)]);
        let report = shown(&both);
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
        assert_eq!(shown(&restored), shown(&before));
        assert_eq!(restored.decided(Transport::Tcp).len(), 200);
    }

    #[test]
    fn a_port_is_decided_once() {
        let mut record = record(&[(1, Reason::Rst, 1)]);
        assert!(!record.decide((Transport::Tcp, 1), Reason::SynAck, 1, None));
        assert!(record.decide((Transport::Tcp, 2), Reason::SynAck, 1, None));
        assert_eq!(
            (record.decided(Transport::Tcp).len(), record.open.len()),
            (2, 1)
        );
    }

    #[test]
    fn hosts_that_end_alike_have_the_same_outcome() {
        let ports = |order: &[u16]| {
            let ports: Vec<_> = order.iter().map(|port| (*port, Reason::Rst, 1)).collect();
            record(&ports).outcome()
        };
        assert_eq!(ports(&[1, 2, 3]), ports(&[3, 1, 2]));
        assert_ne!(ports(&[1, 2, 3]), ports(&[1, 2]));
    }

    #[test]
    fn what_is_left_undecided_is_said() {
        let mut record = record(&[(1, Reason::Rst, 1), (2, Reason::SynAck, 1)]);
        record.leave_undecided(Transport::Tcp, &PortSet::range(1, 100), Reason::TimeLimit);
        let report = shown(&record);
        assert_eq!(report.other_ports.not_tested, 98);
        assert_eq!(report.ports.len(), 2);
    }

    #[test]
    fn the_same_number_is_another_port_over_udp() {
        let mut record = record(&[(53, Reason::Rst, 1)]);
        let silent = Reason::Timeout { probes: 3 };
        assert!(record.decide((Transport::Udp, 53), Reason::UdpResponse, 1, None));
        assert!(record.decide((Transport::Udp, 54), silent, 3, None));
        assert!(!record.decide((Transport::Udp, 54), Reason::UdpResponse, 1, None));
        let (_, restored) = HostRecord::restore(record.save(IpAddr::from([192, 0, 2, 1])));
        for record in [record, restored] {
            assert_eq!(record.decided_count(), 3);
            assert_eq!(record.decided(Transport::Udp).len(), 2);
            let report = shown(&record);
            let states: Vec<_> = report
                .ports
                .iter()
                .map(|it| (it.transport, it.state))
                .collect();
            let expected = [
                (Transport::Tcp, State::Closed),
                (Transport::Udp, State::Open),
                (Transport::Udp, State::OpenFiltered),
            ];
            assert_eq!(states, expected);
        }
    }

    #[test]
    fn a_refusal_of_its_own_over_udp_shows_the_host() {
        let refused = Reason::Icmp(portolan_model::Unreachable::V4(3));
        for (transport, state) in [
            (Transport::Tcp, HostState::Unknown),
            (Transport::Udp, HostState::Up),
        ] {
            let mut record = HostRecord::new(0);
            record.decide((transport, 9), refused, 1, None);
            assert_eq!(shown(&record).state, state);
        }
    }

    #[test]
    fn silence_that_is_usual_is_said_to_be() {
        let mut record = HostRecord::new(0);
        let silent = Reason::Timeout { probes: 3 };
        for port in [514, 40_000, 51_820] {
            record.decide((Transport::Udp, port), silent, 3, None);
        }
        record.decide((Transport::Tcp, 514), silent, 3, None);
        let report = shown(&record);
        let said = report
            .ports
            .iter()
            .filter(|port| !port.incomplete.is_empty());
        let said: Vec<_> = said.map(|port| (port.transport, port.port)).collect();
        assert_eq!(said, [(Transport::Udp, 514), (Transport::Udp, 51_820)]);
    }
}
