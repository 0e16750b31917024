//! The hosts that are done: those with an open port in full, the others as a few bytes and a
//! number that says how they ended, for most of them ended alike.

use crate::host_record::HostRecord;
use crate::outcome::{Individual, Outcome};
use portolan_model::{HostReport, Text};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Names that the user gave, by address.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<IpAddr, Vec<Text>>);

/// The hosts that are done.
#[derive(Debug, Default)]
pub(crate) struct EndedHosts {
    full: Vec<HostReport>,
    v4: Vec<Brief<Ipv4Addr>>,
    v6: Vec<Brief<Ipv6Addr>>,
    outcomes: Vec<Arc<Outcome>>,
    numbers: HashMap<Arc<Outcome>, u32>,
    told: Told,
}

/// How many of each list are told.
#[derive(Debug, Default)]
struct Told {
    full: usize,
    v4: usize,
    v6: usize,
    /// Hosts at the start of the first list that an earlier part of the run found.
    full_before: usize,
}

/// [`EndedHosts`] as a checkpoint keeps them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedEnded {
    pub(crate) full: Vec<HostReport>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) v4: Vec<Brief<Ipv4Addr>>,
    pub(crate) v6: Vec<Brief<Ipv6Addr>>,
}

/// A host without an open port: its address, the number of its outcome, and its shortest round
/// trip in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Brief<A>(pub(crate) A, pub(crate) u32, pub(crate) Option<NonZeroU32>);

/// A host that is to be told.
#[derive(Debug)]
pub(crate) enum Telling {
    /// Its open ports were told by an earlier part of the run only.
    WithPorts(HostReport),
    /// Its open ports were told.
    Alone(HostReport),
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
    pub(crate) fn restore(saved: SavedEnded) -> Self {
        let outcomes: Vec<Arc<Outcome>> = saved.outcomes.into_iter().map(Arc::new).collect();
        let numbers = (0..).zip(&outcomes).map(|(at, it)| (Arc::clone(it), at));
        Self {
            numbers: numbers.collect(),
            told: Told {
                full_before: saved.full.len(),
                ..Told::default()
            },
            full: saved.full,
            v4: saved.v4,
            v6: saved.v6,
            outcomes,
        }
    }

    /// The hosts for a checkpoint.
    pub(crate) fn save(&self) -> SavedEnded {
        SavedEnded {
            full: self.full.clone(),
            outcomes: self.outcomes.iter().map(|it| (**it).clone()).collect(),
            v4: self.v4.clone(),
            v6: self.v6.clone(),
        }
    }

    /// Adds a host with an open port.
    pub(crate) fn add_full(&mut self, host: HostReport) {
        self.full.push(host);
    }

    /// Adds a host without an open port.
    pub(crate) fn add_brief(&mut self, ip: IpAddr, record: &HostRecord) {
        let number = self.number_of(record.outcome());
        let rtt = record.rtt().map(|rtt| rtt.as_micros().max(1));
        let rtt = rtt.map(|us| u32::try_from(us).unwrap_or(u32::MAX));
        let rtt = rtt.and_then(NonZeroU32::new);
        match ip {
            IpAddr::V4(ip) => self.v4.push(Brief(ip, number, rtt)),
            IpAddr::V6(ip) => self.v6.push(Brief(ip, number, rtt)),
        }
    }

    /// The next host that nobody was told of, hosts with open ports first.
    pub(crate) fn next_to_tell(&mut self, names: &Names) -> Option<Telling> {
        if let Some(host) = self.full.get(self.told.full) {
            let host = host.clone();
            let is_again = self.told.full < self.told.full_before;
            self.told.full = self.told.full.saturating_add(1);
            return Some(if is_again {
                Telling::WithPorts(host)
            } else {
                Telling::Alone(host)
            });
        }
        let host = if let Some(brief) = self.v4.get(self.told.v4) {
            self.told.v4 = self.told.v4.saturating_add(1);
            self.report(*brief, names)
        } else {
            let brief = self.v6.get(self.told.v6)?;
            self.told.v6 = self.told.v6.saturating_add(1);
            self.report(*brief, names)
        };
        host.map(Telling::Alone)
    }

    /// Whether somebody is still to be told of a host.
    pub(crate) fn has_to_tell(&self) -> bool {
        self.told.full < self.full.len()
            || self.told.v4 < self.v4.len()
            || self.told.v6 < self.v6.len()
    }

    /// Open ports of the hosts.
    pub(crate) fn open(&self) -> u64 {
        let ports = self.full.iter().flat_map(|host| &host.ports);
        let open = ports.filter(|port| port.state == portolan_model::State::Open);
        u64::try_from(open.count()).unwrap_or(u64::MAX)
    }

    /// Every host by address.
    pub(crate) fn finish(mut self, names: &Names) -> Vec<HostReport> {
        let briefs = self.v4.len().saturating_add(self.v6.len());
        let mut hosts = std::mem::take(&mut self.full);
        hosts.reserve_exact(briefs);
        hosts.extend(self.v4.iter().filter_map(|it| self.report(*it, names)));
        hosts.extend(self.v6.iter().filter_map(|it| self.report(*it, names)));
        hosts.sort_by_key(|host| host.ip);
        hosts
    }

    fn report<A: Into<IpAddr>>(&self, brief: Brief<A>, names: &Names) -> Option<HostReport> {
        let Brief(address, number, rtt) = brief;
        let ip = address.into();
        let outcome = self.outcomes.get(usize::try_from(number).ok()?)?;
        Some(outcome.report(Individual {
            ip,
            names: names.of(ip),
            rtt: rtt.map(|us| Duration::from_micros(u64::from(us.get()))),
            open: Vec::new(),
        }))
    }

    fn number_of(&mut self, outcome: Outcome) -> u32 {
        if let Some(number) = self.numbers.get(&outcome) {
            return *number;
        }
        let number = u32::try_from(self.outcomes.len()).unwrap_or(u32::MAX);
        let outcome = Arc::new(outcome);
        self.outcomes.push(Arc::clone(&outcome));
        self.numbers.insert(outcome, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_model::Reason;

    fn closed(port: u16, rtt: Duration) -> HostRecord {
        let mut record = HostRecord::new(0);
        record.decide(port, Reason::Rst, 1, Some(rtt));
        record
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
        for last in 1..=200_u8 {
            let (v4, v6) = (
                IpAddr::from([192, 0, 2, last]),
                IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]),
            );
            for ip in [v4, v6] {
                let record = closed(80, Duration::from_micros(u64::from(last)));
                hosts.add_brief(ip, &record);
                expected.push(record.report(ip, Vec::new()));
            }
        }
        expected.sort_by_key(|host| host.ip);
        assert_eq!(hosts.outcomes.len(), 1);
        assert_eq!(hosts.finish(&Names::default()), expected);
    }

    #[test]
    fn every_host_is_told_once_and_by_a_resumed_run_again() {
        let mut hosts = EndedHosts::default();
        let ip = IpAddr::from([192, 0, 2, 1]);
        hosts.add_brief(ip, &closed(80, Duration::ZERO));
        let mut open = HostRecord::new(0);
        open.decide(80, Reason::SynAck, 1, None);
        hosts.add_full(open.report(IpAddr::from([192, 0, 2, 2]), Vec::new()));
        let first = told(&mut hosts);
        assert_eq!((first.len(), hosts.has_to_tell()), (2, false));
        let mut again = EndedHosts::restore(hosts.save());
        assert!(matches!(
            again.next_to_tell(&Names::default()),
            Some(Telling::WithPorts(_))
        ));
        assert_eq!(told(&mut again), first[1..]);
        assert_eq!(again.open(), 1);
        again.add_brief(IpAddr::from([192, 0, 2, 3]), &closed(80, Duration::ZERO));
        assert_eq!(again.outcomes.len(), 1);
    }
}
