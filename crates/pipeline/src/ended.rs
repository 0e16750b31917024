//! The hosts that are done: a few bytes each, and the number of the way in which it ended.

use crate::host_record::HostRecord;
use crate::outcome::{Individual, Outcome};
use crate::outcomes::Outcomes;
use portolan_model::{HostReport, Hosts, Text};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Names that the user gave, by address.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<IpAddr, Vec<Text>>);

/// The hosts that are done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EndedHosts {
    pub(crate) outcomes: Outcomes,
    pub(crate) v4: Vec<Brief<Ipv4Addr>>,
    pub(crate) v6: Vec<Brief<Ipv6Addr>>,
    /// Hardware addresses, of those that have one.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub(crate) macs: HashMap<IpAddr, [u8; 6]>,
    #[serde(skip)]
    told: Told,
}

/// How many of each list are told, and how many at its start an earlier part of the run found.
#[derive(Clone, Debug, Default)]
struct Told {
    v4: usize,
    v6: usize,
    v4_before: usize,
    v6_before: usize,
}

/// A host: its address, the number of its outcome, and its shortest round trip in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Brief<A>(pub(crate) A, pub(crate) u32, pub(crate) Option<NonZeroU32>);

/// A host that is to be told.
#[derive(Debug)]
pub(crate) enum Telling {
    /// Its open ports were told by an earlier part of the run only.
    WithPorts(HostReport),
    /// Its open ports were told.
    Alone(HostReport),
}

/// The hosts that a run found. Each is made when it is asked for: as reports, a million of them
/// would take a hundred times the room.
#[derive(Debug)]
pub struct FoundHosts {
    ended: EndedHosts,
    names: Names,
}

impl Names {
    pub(crate) fn new(targets: &[portolan_model::Target]) -> Self {
        let mut names: HashMap<IpAddr, Vec<Text>> = HashMap::new();
        for target in targets {
            for address in &target.addresses {
                names.entry(*address).or_default().push(target.name.clone());
            }
        }
        Self(names)
    }

    /// The names of `ip`, in the order of the command line.
    pub(crate) fn of(&self, ip: IpAddr) -> Vec<Text> {
        self.0.get(&ip).cloned().unwrap_or_default()
    }
}

impl EndedHosts {
    /// The hosts that a checkpoint kept; all of them are told again.
    pub(crate) fn restore(saved: Self) -> Self {
        let told = Told {
            v4_before: saved.v4.len(),
            v6_before: saved.v6.len(),
            ..Told::default()
        };
        Self { told, ..saved }
    }

    /// Adds a host that ended as `outcome` says.
    pub(crate) fn add(&mut self, ip: IpAddr, record: &HostRecord, outcome: &Outcome) {
        let number = self.outcomes.number_of(outcome);
        let rtt = record.rtt().map(|rtt| rtt.as_micros().max(1));
        let rtt = rtt.map(|us| u32::try_from(us).unwrap_or(u32::MAX));
        let rtt = rtt.and_then(NonZeroU32::new);
        if let Some(mac) = record.mac() {
            self.macs.insert(ip, mac);
        }
        match ip {
            IpAddr::V4(ip) => self.v4.push(Brief(ip, number, rtt)),
            IpAddr::V6(ip) => self.v6.push(Brief(ip, number, rtt)),
        }
    }

    /// The next host that nobody was told of.
    pub(crate) fn next_to_tell(&mut self, names: &Names) -> Option<Telling> {
        let (host, is_again) = if let Some(brief) = self.v4.get(self.told.v4) {
            let is_again = self.told.v4 < self.told.v4_before;
            self.told.v4 = self.told.v4.saturating_add(1);
            (self.report(*brief, names)?, is_again)
        } else {
            let brief = self.v6.get(self.told.v6)?;
            let is_again = self.told.v6 < self.told.v6_before;
            self.told.v6 = self.told.v6.saturating_add(1);
            (self.report(*brief, names)?, is_again)
        };
        Some(if is_again {
            Telling::WithPorts(host)
        } else {
            Telling::Alone(host)
        })
    }

    /// Counts every host that waits as told.
    pub(crate) fn forget_to_tell(&mut self) {
        self.told.v4 = self.v4.len();
        self.told.v6 = self.v6.len();
    }

    /// Whether somebody is still to be told of a host.
    pub(crate) fn has_to_tell(&self) -> bool {
        self.told.v4 < self.v4.len() || self.told.v6 < self.v6.len()
    }

    /// Open ports of the hosts.
    pub(crate) fn open(&self) -> u64 {
        let open = |outcome: Outcome| u64::try_from(outcome.open.len()).unwrap_or(u64::MAX);
        let of_outcome: Vec<u64> = self.outcomes.iter().map(open).collect();
        let numbers = self.v4.iter().map(|it| it.1);
        let numbers = numbers.chain(self.v6.iter().map(|it| it.1));
        let open = numbers.filter_map(|number| of_outcome.get(usize::try_from(number).ok()?));
        open.fold(0, |sum, open| sum.saturating_add(*open))
    }

    /// The hosts for the result, by address.
    pub(crate) fn finish(mut self, names: Names) -> FoundHosts {
        self.v4.sort_unstable_by_key(|it| it.0);
        self.v6.sort_unstable_by_key(|it| it.0);
        FoundHosts { ended: self, names }
    }

    fn report<A: Into<IpAddr>>(&self, brief: Brief<A>, names: &Names) -> Option<HostReport> {
        let Brief(address, number, rtt) = brief;
        let ip = address.into();
        Some(self.outcomes.get(number)?.report(Individual {
            ip,
            names: names.of(ip),
            rtt: rtt.map(|us| Duration::from_micros(u64::from(us.get()))),
            mac: self.macs.get(&ip).copied(),
        }))
    }
}

impl Hosts for FoundHosts {
    fn by_address(&self) -> Box<dyn Iterator<Item = Cow<'_, HostReport>> + '_> {
        let Self { ended, names } = self;
        let v4 = ended.v4.iter().filter_map(|it| ended.report(*it, names));
        let v6 = ended.v6.iter().filter_map(|it| ended.report(*it, names));
        Box::new(v4.chain(v6).map(Cow::Owned))
    }

    fn count(&self) -> u64 {
        let count = self.ended.v4.len().saturating_add(self.ended.v6.len());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_model::{Reason, Transport};

    fn closed(port: u16, rtt: Duration) -> HostRecord {
        let mut record = HostRecord::new(0);
        record.decide((Transport::Tcp, port), Reason::Rst, 1, Some(rtt));
        record
    }

    fn add(hosts: &mut EndedHosts, ip: IpAddr, record: &HostRecord) {
        hosts.add(ip, record, &record.outcome());
    }

    fn told(hosts: &mut EndedHosts) -> Vec<HostReport> {
        let names = Names::default();
        let next = std::iter::from_fn(|| hosts.next_to_tell(&names));
        next.map(|telling| match telling {
            Telling::Alone(host) | Telling::WithPorts(host) => host,
        })
        .collect()
    }

    #[test]
    fn hosts_that_ended_alike_share_an_outcome_and_are_shown_as_if_they_did_not() {
        let mut hosts = EndedHosts::default();
        let mut expected = Vec::new();
        for last in (1..=200_u8).rev() {
            let (v4, v6) = (
                IpAddr::from([192, 0, 2, last]),
                IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]),
            );
            for ip in [v4, v6] {
                let rtt = Duration::from_micros(u64::from(last));
                let record = closed(80, rtt);
                add(&mut hosts, ip, &record);
                expected.push(record.outcome().report(Individual {
                    ip,
                    names: Vec::new(),
                    rtt: Some(rtt),
                    mac: None,
                }));
            }
        }
        expected.sort_by_key(|host| host.ip);
        assert_eq!(hosts.outcomes.len(), 1);
        let found = hosts.finish(Names::default());
        assert_eq!(found.count(), 400);
        let reports: Vec<HostReport> = found.by_address().map(Cow::into_owned).collect();
        assert_eq!(reports, expected);
    }

    #[test]
    fn every_host_is_told_once_and_by_a_resumed_run_again() {
        let mut hosts = EndedHosts::default();
        let ip = IpAddr::from([192, 0, 2, 1]);
        add(&mut hosts, ip, &closed(80, Duration::ZERO));
        let mut open = HostRecord::new(0);
        open.decide((Transport::Tcp, 80), Reason::SynAck, 1, None);
        add(&mut hosts, IpAddr::from([192, 0, 2, 2]), &open);
        let first = told(&mut hosts);
        assert_eq!((first.len(), hosts.has_to_tell()), (2, false));
        let mut again = EndedHosts::restore(hosts.clone());
        assert!(matches!(
            again.next_to_tell(&Names::default()),
            Some(Telling::WithPorts(_))
        ));
        assert_eq!(told(&mut again), first[1..]);
        assert_eq!(again.open(), 1);
        let new = IpAddr::from([192, 0, 2, 3]);
        add(&mut again, new, &closed(80, Duration::ZERO));
        assert_eq!(again.outcomes.len(), 2);
        assert!(matches!(
            again.next_to_tell(&Names::default()),
            Some(Telling::Alone(host)) if host.ip == new
        ));
    }
}
