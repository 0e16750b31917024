//! One simulated host: what each of its ports says, and whether it is there at all.

use crate::{Path, Policer};
use portolan_model::{Moment, Unreachable};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a port says to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAnswer {
    /// A SYN-ACK.
    Accepts,
    /// A SYN-ACK after some time.
    AcceptsAfter(Duration),
    /// A reset.
    Refuses,
    /// An ICMP error.
    Rejects(Unreachable),
    /// Nothing.
    Silent,
}

/// Whether a packet reaches the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nobody answers the neighbour discovery for it.
    AbsentNeighbour,
    /// A rule of the scanning machine forbids packets to it.
    Forbidden,
    /// The scanning machine has no route to it.
    NoRoute,
    /// It is there.
    #[default]
    Present,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    presence: Presence,
    path: Path,
    policer: Option<Policer>,
    others: PortAnswer,
    ports: BTreeMap<u16, PortAnswer>,
    /// From when on every answer takes longer, and by how much.
    slower: Option<(Moment, Duration)>,
}

impl Host {
    /// A host whose every port gives `answer`.
    pub const fn new(path: Path, answer: PortAnswer) -> Self {
        Self {
            presence: Presence::Present,
            path,
            policer: None,
            others: answer,
            ports: BTreeMap::new(),
            slower: None,
        }
    }

    /// A host that no packet reaches.
    pub fn missing(presence: Presence) -> Self {
        Self {
            presence,
            ..Self::new(Path::default(), PortAnswer::Silent)
        }
    }

    /// The same host with another answer of these ports.
    #[must_use]
    pub fn with_ports(mut self, ports: impl IntoIterator<Item = u16>, answer: PortAnswer) -> Self {
        self.ports
            .extend(ports.into_iter().map(|port| (port, answer)));
        self
    }

    /// The same host behind a policer.
    #[must_use]
    pub const fn behind(mut self, policer: Policer) -> Self {
        self.policer = Some(policer);
        self
    }

    /// The same host, whose every answer takes `longer` from `moment` on.
    #[must_use]
    pub const fn slower_from(mut self, moment: Moment, longer: Duration) -> Self {
        self.slower = Some((moment, longer));
        self
    }

    /// How much longer its answers take at `now`.
    pub(crate) fn delay(&self, now: Moment) -> Duration {
        match self.slower {
            Some((moment, longer)) if now >= moment => longer,
            _ => Duration::ZERO,
        }
    }

    /// Whether packets reach it.
    pub const fn presence(&self) -> Presence {
        self.presence
    }

    /// What `port` says to a SYN that arrives.
    pub fn answer(&self, port: u16) -> PortAnswer {
        self.ports.get(&port).copied().unwrap_or(self.others)
    }

    /// The way to it and back.
    pub const fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn policer(&mut self) -> Option<&mut Policer> {
        self.policer.as_mut()
    }

    pub(crate) const fn is_policed(&self) -> bool {
        self.policer.is_some()
    }
}
