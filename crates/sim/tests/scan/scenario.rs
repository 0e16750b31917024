//! A network, a plan and an engine in one value. Not here: what is expected of the outcome.

use portolan_model::{AddressSet, Endpoint, Moment, PortSet, Reason, Shard, State};
use portolan_scan::{Engine, EngineOptions, Patience, ProbeTarget};
use portolan_sim::{
    Bounds, Dice, Host, Machine, Network, Outcome, Path, PortAnswer, Presence, Stuck, drive,
};
use portolan_targets::Order;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// As many attempts at once as a machine with the usual hard limit has room for.
pub(crate) const CAPACITY: u32 = 18_000;

/// Options without a wish.
pub(crate) const ADAPTIVE: EngineOptions = EngineOptions {
    capacity: CAPACITY,
    rate: None,
    host_rate: None,
    patience: Patience {
        retries: None,
        timeout: None,
    },
};

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) machine: Machine,
    pub(crate) hosts: Vec<Host>,
    pub(crate) ports: PortSet,
    pub(crate) telling: PortSet,
    pub(crate) options: EngineOptions,
    pub(crate) until: Duration,
    pub(crate) drain_at: Option<Duration>,
}

/// What a run came to, with what it ran against.
pub(crate) struct Ran {
    pub(crate) scenario: Scenario,
    pub(crate) outcome: Outcome,
}

impl Scenario {
    pub(crate) fn new(seed: u64, hosts: Vec<Host>, ports: PortSet) -> Self {
        Self {
            seed,
            machine: Machine::boundless(),
            hosts,
            ports,
            telling: PortSet::default(),
            options: ADAPTIVE,
            until: Duration::from_mins(10),
            drain_at: None,
        }
    }

    pub(crate) fn try_run(self) -> Result<Ran, Stuck> {
        let mut network = Network::new(self.seed, self.machine.clone());
        for (at, host) in self.hosts.iter().enumerate() {
            network.add(address(at), host.clone());
        }
        let addresses: AddressSet = (0..self.hosts.len()).map(address).collect();
        let order = Order::new(&addresses, &self.ports, self.seed, Shard::WHOLE).unwrap();
        assert_eq!(order.windows(), 1, "a scenario fits into one window");
        let window = order.window(0).unwrap();
        let lookup = |position| {
            let slot = window.slot(u64::from(position))?;
            let endpoint = Endpoint::tcp(window.address(slot.host)?, slot.port);
            Some(ProbeTarget {
                host: slot.host,
                endpoint,
            })
        };
        let positions = u32::try_from(window.len()).unwrap();
        let mut engine = Engine::new(lookup, positions, window.hosts(), self.options);
        engine.handle_telling(self.telling.clone());
        let bounds = Bounds {
            until: Moment::after_start(self.until),
            drain_at: self.drain_at.map(Moment::after_start),
        };
        let outcome = drive(&mut engine, &mut network, bounds)?;
        Ok(Ran {
            scenario: self,
            outcome,
        })
    }

    /// Runs to the end and checks what must hold of every run: one verdict for each port, none
    /// of them false, and never more under way than the options allow.
    pub(crate) fn run(self) -> Ran {
        let seed = self.seed;
        let drained = self.drain_at.is_some();
        let ran = self
            .try_run()
            .unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
        let ports = usize::try_from(ran.scenario.ports.len()).unwrap();
        if !drained {
            assert_eq!(
                ran.outcome.verdicts.len(),
                ran.scenario.hosts.len() * ports,
                "seed {seed}"
            );
        }
        ran.assert_one_true_verdict_each();
        assert!(ran.outcome.flying_max <= ran.scenario.options.capacity);
        ran
    }
}

impl Ran {
    pub(crate) fn host(&self, address: IpAddr) -> &Host {
        &self.scenario.hosts[number(address)]
    }

    pub(crate) fn open_found(&self) -> usize {
        self.count(State::Open)
    }

    pub(crate) fn count(&self, state: State) -> usize {
        let verdicts = self.outcome.verdicts.iter();
        verdicts
            .filter(|(_, verdict)| verdict.reason.tcp_state() == state)
            .count()
    }

    pub(crate) fn probes(&self) -> BTreeMap<Endpoint, u32> {
        let mut probes = BTreeMap::new();
        for (_, endpoint) in &self.outcome.dials {
            *probes.entry(*endpoint).or_default() += 1;
        }
        probes
    }

    /// Ports that accept and that a packet can reach.
    pub(crate) fn open_true(&self) -> usize {
        let present = self
            .scenario
            .hosts
            .iter()
            .filter(|host| host.presence() == Presence::Present);
        let accepts = |answer| matches!(answer, PortAnswer::Accepts | PortAnswer::AcceptsAfter(_));
        present
            .map(|host| {
                self.scenario
                    .ports
                    .iter()
                    .filter(|p| accepts(host.answer(*p)))
                    .count()
            })
            .sum()
    }

    /// Every open port is found.
    pub(crate) fn assert_recall(&self) {
        let seed = self.scenario.seed;
        assert_eq!(
            self.open_found(),
            self.open_true(),
            "seed {seed}: {:?}",
            self.outcome.figures
        );
    }

    fn assert_one_true_verdict_each(&self) {
        let mut seen = BTreeSet::new();
        for (_, verdict) in &self.outcome.verdicts {
            let endpoint = verdict.endpoint;
            assert!(seen.insert(endpoint), "{endpoint} was decided twice");
            let host = self.host(endpoint.address);
            let possible = is_possible(host, endpoint.port, verdict.reason);
            assert!(possible, "{endpoint} with {host:?}: {verdict:?}");
            let is_open = verdict.reason == Reason::SynAck;
            assert_eq!(verdict.connection.is_some(), is_open, "{verdict:?}");
            assert_eq!(
                verdict.rtt.is_some(),
                verdict.reason.is_answer(),
                "{verdict:?}"
            );
        }
    }
}

/// Whether a port with this truth may get this reason. Silence may always be all there was.
fn is_possible(host: &Host, port: u16, reason: Reason) -> bool {
    let answer = host.answer(port);
    match (host.presence(), reason) {
        (_, Reason::LocalLimit) | (Presence::AbsentNeighbour, Reason::NoNeighbour) => true,
        (Presence::NoRoute, reason) => reason == Reason::NoRoute,
        (Presence::Forbidden, reason) => reason == Reason::LocalPolicy,
        (_, Reason::Timeout { .. }) => true,
        (Presence::Present, Reason::SynAck) => {
            matches!(answer, PortAnswer::Accepts | PortAnswer::AcceptsAfter(_))
        }
        (Presence::Present, Reason::AnswersEverything) => answer == PortAnswer::Accepts,
        (Presence::Present, Reason::Rst) => answer == PortAnswer::Refuses,
        (Presence::Present, Reason::Icmp(code)) => answer == PortAnswer::Rejects(code),
        _ => false,
    }
}

/// Address of the host with this place in the scenario.
pub(crate) fn address(at: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(FIRST + u32::try_from(at).unwrap()))
}

/// Place in the scenario of the host with this address.
pub(crate) fn number(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(address) => usize::try_from(address.to_bits() - FIRST).unwrap(),
        IpAddr::V6(_) => unreachable!("scenarios have IPv4 hosts"),
    }
}

/// `count` ports, drawn from all of them.
pub(crate) fn some_ports(seed: u64, count: usize) -> BTreeSet<u16> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut ports = BTreeSet::new();
    while ports.len() < count {
        ports.insert(u16::try_from(1 + dice.below(65_535)).unwrap());
    }
    ports
}

/// A host with 200 open ports of 65,535; the others give `answer`.
pub(crate) fn server(seed: u64, path: Path, answer: PortAnswer) -> Host {
    Host::new(path, answer).with_ports(some_ports(seed, 200), PortAnswer::Accepts)
}

/// Every port but 0.
pub(crate) fn all_ports() -> PortSet {
    PortSet::range(1, u16::MAX)
}

/// 198.18.0.1.
const FIRST: u32 = 0xc612_0001;
