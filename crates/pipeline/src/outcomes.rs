//! Every way in which a host of the run ended, once, in little memory: written as bytes one after
//! the other, and read when a host is shown. Ways that are common are recognised and shared; one
//! that is met again long after may be kept twice.

use crate::outcome::{Group, Outcome};
use portolan_model::{
    Incomplete, OsHint, PortReport, Process, Reason, Service, State, Text, Transport, Tunnel,
};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Outcomes that are recognised when they come again, each at a place that 16 bits of the hash of
/// its bytes give.
const RECENT: usize = 1 << 16;

/// Outcomes by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    /// All of them, each a [`Packed`] in JSON.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u64>,
    /// Numbers, counted from 1; 0 where there is none.
    recent: Vec<u32>,
}

impl Outcomes {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of `outcome`, which is added when it is not recognised.
    pub(crate) fn number_of(&mut self, outcome: &Outcome) -> u32 {
        let number = self.push(outcome);
        let added = self.bytes_of(number).unwrap_or_default();
        let place = place_of(added);
        let recent = self.recent.get(place).and_then(|it| it.checked_sub(1));
        if let Some(recent) = recent
            && self.bytes_of(recent) == Some(added)
        {
            let start = self.bytes.len().saturating_sub(added.len());
            self.bytes.truncate(start);
            self.ends.pop();
            return recent;
        }
        if self.recent.is_empty() {
            self.recent = vec![0; RECENT];
        }
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = number.saturating_add(1);
        }
        number
    }

    /// Adds `outcome` with the next number, whether or not there is one like it.
    fn push(&mut self, outcome: &Outcome) -> u32 {
        // No run holds 2^32 of them: each takes twenty bytes and more.
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        // A vector takes every byte, and a packed outcome has no key that is not text.
        let _ = serde_json::to_writer(&mut self.bytes, &Packed::of(outcome));
        self.ends
            .push(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX));
        number
    }

    /// The outcome with this number; `None` when there is none.
    pub(crate) fn get(&self, number: u32) -> Option<Outcome> {
        let packed: Packed = serde_json::from_slice(self.bytes_of(number)?).ok()?;
        Some(packed.outcome())
    }

    /// All of them by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Outcome> + '_ {
        let count = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        (0..count).filter_map(|number| self.get(number))
    }

    /// Changes the outcome `number`.
    #[cfg(test)]
    pub(crate) fn change(&mut self, number: usize, change: impl FnOnce(&mut Outcome)) {
        let mut all: Vec<Outcome> = self.iter().collect();
        change(&mut all[number]);
        *self = Self::default();
        for outcome in &all {
            self.push(outcome);
        }
    }

    fn bytes_of(&self, number: u32) -> Option<&[u8]> {
        let at = usize::try_from(number).ok()?;
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        let start = match at.checked_sub(1) {
            Some(before) => usize::try_from(*self.ends.get(before)?).ok()?,
            None => 0,
        };
        self.bytes.get(start..end)
    }
}

fn place_of(bytes: &[u8]) -> usize {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let [.., high, low] = hasher.finish().to_be_bytes();
    usize::from(u16::from_be_bytes([high, low]))
}

/// On disk every outcome is written with the names of its fields.
impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(InTurn)
    }
}

/// Takes outcomes one at a time. All keep their numbers, even those that are alike.
struct InTurn;

impl<'de> Visitor<'de> for InTurn {
    type Value = Outcomes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of outcomes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Outcomes, A::Error> {
        let mut outcomes = Outcomes::default();
        while let Some(outcome) = list.next_element::<Outcome>()? {
            if outcome.open.iter().any(|port| port.state != State::Open) {
                return Err(serde::de::Error::custom("an open port that is not open"));
            }
            outcomes.push(&outcome);
        }
        Ok(outcomes)
    }
}

/// An [`Outcome`] without the names of its fields.
#[derive(Serialize, Deserialize)]
struct Packed(bool, Option<Reason>, Vec<PackedPort>, Vec<Group>);

/// A [`PortReport`] without the names of its fields, and without what follows from the rest.
#[derive(Serialize, Deserialize)]
struct PackedPort(
    Transport,
    u16,
    Reason,
    u8,
    Option<PackedService>,
    Vec<(String, Text)>,
    Option<Process>,
);

/// A [`Service`] without the names of its fields.
#[derive(Serialize, Deserialize)]
struct PackedService(
    Option<String>,
    Option<String>,
    Option<Tunnel>,
    Option<Text>,
    Option<Text>,
    Option<OsHint>,
    u8,
    Option<Text>,
);

impl Packed {
    fn of(outcome: &Outcome) -> Self {
        Self(
            outcome.is_up,
            outcome.first_answer,
            outcome.open.iter().map(PackedPort::of).collect(),
            outcome.groups.clone(),
        )
    }

    fn outcome(self) -> Outcome {
        let Self(is_up, first_answer, open, groups) = self;
        Outcome {
            is_up,
            first_answer,
            open: open.into_iter().map(PackedPort::report).collect(),
            groups,
        }
    }
}

impl PackedPort {
    fn of(port: &PortReport) -> Self {
        let incomplete = port.incomplete.iter();
        Self(
            port.transport,
            port.port,
            port.reason,
            port.probes,
            port.service.as_ref().map(PackedService::of),
            incomplete
                .map(|it| (it.fact.clone(), it.why.clone()))
                .collect(),
            port.process.clone(),
        )
    }

    fn report(self) -> PortReport {
        let Self(transport, port, reason, probes, service, incomplete, process) = self;
        let incomplete = incomplete.into_iter();
        PortReport {
            transport,
            port,
            state: State::Open,
            reason,
            probes,
            service: service.map(PackedService::service),
            incomplete: incomplete
                .map(|(fact, why)| Incomplete { fact, why })
                .collect(),
            process,
        }
    }
}

impl PackedService {
    fn of(service: &Service) -> Self {
        let Service {
            name,
            label,
            tls,
            product,
            version,
            os,
            confidence,
            evidence,
        } = service.clone();
        Self(name, label, tls, product, version, os, confidence, evidence)
    }

    fn service(self) -> Service {
        let Self(name, label, tls, product, version, os, confidence, evidence) = self;
        Service {
            name,
            label,
            tls,
            product,
            version,
            os,
            confidence,
            evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::port_report;
    use portolan_model::PortSet;

    fn open(port: u16, says: &str) -> Outcome {
        let service = Service {
            name: Some("ssh".to_owned()),
            label: None,
            tls: Some(Tunnel::Implicit),
            product: None,
            version: Some("1".into()),
            os: Some(OsHint {
                name: "Debian".into(),
                confidence: 70,
            }),
            confidence: 90,
            evidence: Some(says.into()),
        };
        let process = Process {
            pid: 7,
            name: "sshd".into(),
            executable: None,
            user: "root".into(),
            unit: Some("ssh.service".into()),
            container: None,
            started_unix_s: Some(1),
        };
        Outcome {
            is_up: true,
            first_answer: Some(Reason::SynAck),
            open: vec![PortReport {
                service: Some(service),
                incomplete: vec![Incomplete {
                    fact: "service".to_owned(),
                    why: "not looked at".into(),
                }],
                process: Some(process),
                ..port_report(Transport::Tcp, port, Reason::SynAck, 2)
            }],
            groups: vec![
                Group {
                    transport: Transport::Tcp,
                    reason: Reason::Rst,
                    few: vec![(1, 1), (2, 3)],
                    many: PortSet::default(),
                },
                Group {
                    transport: Transport::Tcp,
                    reason: Reason::Timeout { probes: 3 },
                    few: Vec::new(),
                    many: PortSet::range(100, 200),
                },
            ],
        }
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let mut outcomes = Outcomes::default();
        // No two of these share a place in the table; who does is kept twice.
        let kept: Vec<Outcome> = (1..=100)
            .map(|port| open(port, &format!("it says {port}")))
            .collect();
        for (number, outcome) in (0..).zip(&kept) {
            assert_eq!(outcomes.number_of(outcome), number);
        }
        for (number, outcome) in (0..).zip(&kept) {
            assert_eq!(outcomes.get(number).as_ref(), Some(outcome));
            assert_eq!(outcomes.number_of(outcome), number);
        }
        assert_eq!((outcomes.len(), outcomes.get(100)), (100, None));
    }

    #[test]
    fn numbers_are_the_same_after_a_way_through_a_checkpoint() {
        let mut outcomes = Outcomes::default();
        for says in ["a", "b", "c"] {
            outcomes.push(&open(22, says));
        }
        // The same once more, as a table that forgot the first leaves it.
        outcomes.push(&open(22, "a"));
        let text = serde_json::to_string(&outcomes).unwrap();
        let mut read: Outcomes = serde_json::from_str(&text).unwrap();
        assert!(read.iter().eq(outcomes.iter()));
        assert_eq!(read.len(), 4);
        assert_eq!(read.number_of(&open(22, "d")), 4);
        let closed = text.replacen("\"state\":\"open\"", "\"state\":\"closed\"", 1);
        let said = serde_json::from_str::<Outcomes>(&closed).unwrap_err();
        assert!(said.to_string().contains("not open"), "{said}");
    }

    #[test]
    fn outcomes_that_share_a_place_are_not_taken_for_each_other() {
        let mut outcomes = Outcomes::default();
        let numbers: Vec<u32> = (0..200_u32)
            .map(|at| {
                let outcome = open(22, &at.to_string());
                let number = outcomes.number_of(&outcome);
                // As if every outcome fell on every place.
                outcomes.recent.fill(number + 1);
                number
            })
            .collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    }
}
