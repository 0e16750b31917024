//! The engine for raw SYN packets: stateless probes and a ledger of what is decided.
//!
//! A probe leaves no note of itself. What comes back names its port, acknowledges a number that
//! only this scan can have sent, and by the source port tells when the probe was sent. The ports
//! of a window are sent in passes: the first asks each, every further one what is still silent,
//! from other source ports, until what is expected to be missed is less than a part of a port.
//!
//! What is not here: frames and sockets (`portolan-wire`, `portolan-net`), and the order.

mod cohort;
pub(crate) mod cookie;
mod epoch;
mod evidence;
mod finish;
mod group;
mod host;
mod ledger;
mod pass;
mod receive;
mod send;
mod speed;
mod trip;

use crate::{Figures, Loss, Patience, Verdict};
use cohort::Kind;
use cookie::Cookies;
use epoch::Epochs;
use foldhash::fast::FixedState;
use group::Group;
use host::{Host, Waiting};
use ledger::{Ledger, Pair};
use pass::Passes;
use portolan_model::{Endpoint, Moment, PortSet, Reason};
use portolan_wire::Packet;
use speed::Speed;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

pub use epoch::SOURCE_PORTS;

/// Limits and wishes; what is `None` adapts to what the network answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SynOptions {
    /// The first of [`SOURCE_PORTS`] source ports; a multiple of their number.
    pub first_port: u16,
    /// Key of the sequence numbers, not to be known to anybody else.
    pub key: [u8; 16],
    /// Probes a second, in total.
    pub rate: Option<f64>,
    /// Probes a second to one host.
    pub host_rate: Option<f64>,
    /// When silence is believed.
    pub patience: Patience,
}

/// A SYN to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynProbe {
    /// Number of the host.
    pub host: u32,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Where its answer comes back to.
    pub source_port: u16,
    /// Its sequence number.
    pub sequence: u32,
}

/// What came in and decided nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Answers for ports that are decided.
    pub duplicates: u64,
    /// Packets that claim to answer and do not acknowledge what was sent.
    pub forged: u64,
}

/// The way to a host, as far as hosts share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Hosts with the same number share a gateway or a segment; numbers are small and dense.
    pub number: u16,
    /// Whether it leads through a gateway: networks behind it may have limits of their own.
    pub is_routed: bool,
}

/// Probes every position of an order until each has a verdict.
///
/// Call order, again and again until [`SynEngine::is_done`]:
/// 1. [`SynEngine::handle_packet`] with what came in,
/// 2. [`SynEngine::handle_timeout`] with the time,
/// 3. [`SynEngine::poll_verdict`] until `None`, and [`SynEngine::poll_silent`] likewise,
/// 4. [`SynEngine::poll_probe`] until `None`, [`SynEngine::handle_unsent`] for each probe that did
///    not leave,
/// 5. wait for a packet, at most until [`SynEngine::poll_timeout`].
#[derive(Debug)]
pub struct SynEngine<L> {
    lookup: L,
    options: SynOptions,
    cookies: Cookies,
    ledger: Ledger,
    hosts: Vec<Host>,
    groups: Vec<Group>,
    /// What each group stands for.
    members: Vec<Member>,
    ways: Vec<WayState>,
    /// The path with more that waits than it may, which the pass under way stopped at.
    full: Option<u32>,
    /// Groups of networks behind a gateway, by path and prefix.
    networks: HashMap<(u32, IpAddr), u32>,
    /// Whether each host has a group of its own.
    has_own: bool,
    /// Ports that each host is asked.
    ports_each: u32,
    epochs: Epochs,
    passes: Passes,
    /// How long the end of the pass under way waits for answers, and when that was looked at.
    pass_wait: Option<(Duration, Moment)>,
    speed: Speed,
    /// Probes that did not leave.
    again: VecDeque<Pair>,
    /// Probes whose host must not be asked yet.
    waiting: Waiting,
    /// Probes whose round trip is measured.
    timed: HashMap<Pair, Moment, FixedState>,
    /// Ports that are known to answer and were asked again.
    checks: HashMap<Pair, Check, FixedState>,
    /// When they count as lost.
    check_ends: BinaryHeap<Reverse<(Moment, Pair)>>,
    /// Groups that are to check a port now.
    check_turns: VecDeque<usize>,
    /// Checks before the pass under way may end, by group.
    closing: VecDeque<usize>,
    /// When cohorts are to be judged.
    judgements: BinaryHeap<Reverse<(Moment, usize)>>,
    /// Groups that do not answer any more.
    silent: Vec<usize>,
    silent_hosts: VecDeque<u32>,
    verdicts: VecDeque<Verdict>,
    probes: u64,
    decided: u64,
    loss: Loss,
    strays: Strays,
    /// The longest smoothed round trip.
    slowest: Duration,
    /// Passes that lost answers on this machine, a bit for each.
    disturbed: u32,
    /// Ports that are asked even of hosts that answer everything.
    telling: PortSet,
    draining: bool,
}

/// What a group stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// All hosts of a path.
    Path(u32),
    /// Hosts of one network behind a gateway.
    Network(u32),
    /// One host.
    Host(u32),
}

/// A path, and the probes that wait for its pace.
#[derive(Debug)]
struct WayState {
    group: usize,
    waiting: VecDeque<Pair>,
}

/// A port that is known to answer and was asked again.
#[derive(Clone, Copy, Debug)]
struct Check {
    sent: Moment,
    epoch: u64,
    pass: u8,
}

/// Hosts that are asked so many ports or more have a pace of their own.
const OWN_PORTS_MIN: u32 = 128;
/// Networks behind a gateway that have a pace of their own, by the length of their prefix.
const NETWORK_PREFIX: (u8, u8) = (24, 48);
/// No more of them.
const NETWORKS_MAX: usize = 4_096;
/// Ports that are known to answer and kept for checks: of each group, and of each host where there
/// are more than [`HOSTS_FEW`].
const KNOWN: usize = 16;
const KNOWN_OF_MANY: usize = 4;
const HOSTS_FEW: usize = 4_096;
/// After a packet could not be sent for want of room.
const PAUSE: Duration = Duration::from_millis(1);

impl<L: FnMut(u32) -> Option<(u32, u16)>> SynEngine<L> {
    /// An engine over `positions` positions. `lookup` says what a position stands for: the number
    /// of a host in `addresses`, and one of `ports`; `None` passes over it (it was decided in an
    /// earlier run). The same position must always give the same answer, and no two the same.
    pub fn new(
        lookup: L,
        positions: u32,
        addresses: Vec<IpAddr>,
        ports: &PortSet,
        options: SynOptions,
    ) -> Self {
        let hosts = vec![Host::default(); addresses.len()];
        let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let ports_each = positions.checked_div(count).unwrap_or(0);
        let has_own = count > 1 && ports_each >= OWN_PORTS_MIN;
        // Only what the run has chosen to ask is ever put into a table; packets are looked up.
        let keyed = FixedState::with_seed(seed_of(options.key));
        let mut engine = Self {
            lookup,
            options,
            cookies: Cookies::new(options.key),
            ledger: Ledger::new(addresses, ports, keyed.clone()),
            hosts,
            groups: Vec::new(),
            members: Vec::new(),
            ways: Vec::new(),
            full: None,
            networks: HashMap::new(),
            has_own,
            ports_each,
            epochs: Epochs::new(options.first_port),
            passes: Passes::new(positions),
            pass_wait: None,
            speed: Speed::new(options.rate),
            again: VecDeque::new(),
            waiting: Waiting::default(),
            timed: HashMap::with_hasher(keyed.clone()),
            checks: HashMap::with_hasher(keyed),
            check_ends: BinaryHeap::new(),
            check_turns: VecDeque::new(),
            closing: VecDeque::new(),
            judgements: BinaryHeap::new(),
            silent: Vec::new(),
            silent_hosts: VecDeque::new(),
            verdicts: VecDeque::new(),
            probes: 0,
            decided: 0,
            loss: Loss::default(),
            strays: Strays::default(),
            slowest: Duration::ZERO,
            disturbed: 0,
            telling: PortSet::default(),
            draining: false,
        };
        engine.ensure_path(Path {
            number: 0,
            is_routed: false,
        });
        engine
    }

    /// Says before the first probe which way leads to `host`; without a word all share one.
    pub fn handle_path(&mut self, host: u32, path: Path) {
        self.ensure_path(path);
        let network = if path.is_routed {
            self.network_of(host, path)
        } else {
            0
        };
        if let Some(host) = self.hosts.get_mut(index(host)) {
            host.path = u32::from(path.number);
            host.network = network;
        }
    }

    /// Says before the first probe which ports are asked even of a host that says open for whatever
    /// port it is asked: of the others nothing would be learnt.
    pub fn handle_telling(&mut self, ports: PortSet) {
        self.telling = ports;
    }

    /// Says before the first probe that no packet can reach `host`, and why.
    pub fn handle_unreachable(&mut self, host: u32, reason: Reason) {
        if let Some(host) = self.hosts.get_mut(index(host)) {
            host.down = Some(reason);
        }
    }

    /// `probe` did not leave this machine; it is asked for again.
    pub fn handle_unsent(&mut self, now: Moment, probe: &SynProbe) {
        self.probes = self.probes.saturating_sub(1);
        self.speed.pause(now + PAUSE);
        let epoch = self.epochs.withdraw(probe.source_port);
        let Some(pair) = self.ledger.pair(probe.endpoint) else {
            return;
        };
        let kind = if self.checks.remove(&pair).is_some() {
            Kind::Check
        } else {
            self.timed.remove(&pair);
            self.again.push_back(pair);
            self.kind()
        };
        for number in self.groups_of(pair.host).into_iter().flatten() {
            if let (Some(group), Some(epoch)) = (self.groups.get_mut(number), epoch) {
                group.withdrawn(epoch, kind);
            }
        }
    }

    /// The receiver had no room for some of what came in. Which answers were lost is not known:
    /// the pass proves nothing of silence, and the rest of it goes slower.
    pub fn handle_overrun(&mut self) {
        self.disturbed |= 1_u32
            .checked_shl(u32::from(self.passes.number()))
            .unwrap_or(0);
        if self.speed.is_fixed() {
            return;
        }
        let newest = self.epochs.newest();
        for way in &self.ways {
            if let Some(group) = self.groups.get_mut(way.group) {
                group.slow_for_receiver(newest);
            }
        }
    }

    /// Takes a received packet.
    pub fn handle_packet(&mut self, now: Moment, packet: &Packet<'_>) {
        match packet {
            Packet::Tcp(segment) => self.handle_segment(now, segment),
            Packet::IcmpError(error) => self.handle_error(now, error),
            _ => {}
        }
    }

    /// The next port that is decided.
    pub fn poll_verdict(&mut self) -> Option<Verdict> {
        if self.verdicts.is_empty() && self.passes.is_finishing() && !self.draining {
            self.tell_silent();
        }
        self.verdicts.pop_front()
    }

    /// The next host that answered and does not any more, told again now and then while that
    /// lasts: the way to it may have changed.
    pub fn poll_silent(&mut self) -> Option<u32> {
        self.silent_hosts.pop_front()
    }

    /// Sends nothing further; what is under way may still be answered.
    pub fn drain(&mut self) {
        self.draining = true;
        self.again.clear();
        self.waiting.clear();
        self.check_turns.clear();
        self.closing.clear();
        self.ways.iter_mut().for_each(|way| way.waiting.clear());
    }

    /// Whether every position is decided, or the engine is drained and nothing is under way.
    pub fn is_done(&self) -> bool {
        let done = self.passes.is_finished() || (self.draining && self.epochs.flying == 0);
        done && self.verdicts.is_empty()
    }

    /// Counts so far.
    pub fn figures(&self) -> Figures {
        Figures {
            probes: self.probes,
            decided: self.decided,
            loss: self.loss,
        }
    }

    /// What came in and decided nothing, so far.
    pub fn strays(&self) -> Strays {
        self.strays
    }

    /// The groups that `host` belongs to: its own, that of its network, that of its path.
    fn groups_of(&self, host: u32) -> [Option<usize>; 3] {
        let Some(host) = self.hosts.get(index(host)) else {
            return [None; 3];
        };
        let counted = |number: u32| number.checked_sub(1).map(index);
        let way = self.ways.get(index(host.path)).map(|way| way.group);
        [counted(host.own), counted(host.network), way]
    }

    /// The group whose counts say what the silence of `host` is worth.
    fn unit_of(&self, host: u32) -> Option<usize> {
        let [own, _, way] = self.groups_of(host);
        own.or(way)
    }

    fn ensure_path(&mut self, path: Path) {
        while self.ways.len() <= usize::from(path.number) {
            let number = u32::try_from(self.ways.len()).unwrap_or(u32::MAX);
            let group = self.add_group(Member::Path(number));
            self.ways.push(WayState {
                group,
                waiting: VecDeque::new(),
            });
        }
    }

    /// The group of the network of `host`, counted from 1.
    fn network_of(&mut self, host: u32, path: Path) -> u32 {
        let Some(address) = self.ledger.address(host) else {
            return 0;
        };
        let number = u32::from(path.number);
        let key = (number, prefix(address));
        if let Some(known) = self.networks.get(&key) {
            return *known;
        }
        if self.networks.len() >= NETWORKS_MAX {
            return 0;
        }
        let group = self.add_group(Member::Network(number));
        let counted = u32::try_from(group + 1).unwrap_or(0);
        self.networks.insert(key, counted);
        let way = self.ways.get(usize::from(path.number));
        if let Some(group) = way.and_then(|way| self.groups.get_mut(way.group)) {
            group.mix();
        }
        counted
    }

    fn add_group(&mut self, member: Member) -> usize {
        let many = matches!(member, Member::Host(_)) && self.hosts.len() > HOSTS_FEW;
        let is_one_host = matches!(member, Member::Host(_)) || self.hosts.len() == 1;
        let mut group = Group::new(if many { KNOWN_OF_MANY } else { KNOWN }, is_one_host);
        if self.has_own && !matches!(member, Member::Host(_)) {
            group.mix();
        }
        self.groups.push(group);
        self.members.push(member);
        self.groups.len() - 1
    }

    /// What a probe of the pass under way is to the pace.
    fn kind(&self) -> Kind {
        if self.passes.number() == 0 {
            Kind::First
        } else {
            Kind::Repeat
        }
    }

    fn decide(&mut self, pair: Pair, reason: Reason, probes: u8, rtt: Option<Duration>) {
        let Some(endpoint) = self.ledger.endpoint(pair) else {
            return;
        };
        self.ledger.decide(pair);
        self.decided = self.decided.saturating_add(1);
        self.verdicts.push_back(Verdict {
            host: pair.host,
            endpoint,
            reason,
            probes,
            rtt,
            connection: None,
        });
    }

    /// Whether asking `pair` would tell nothing; then it is decided.
    fn tells_nothing(&mut self, pair: Pair) -> bool {
        let host = self.hosts.get(index(pair.host));
        let nothing =
            host.is_some_and(|host| host.answers_everything) && !self.telling.contains(pair.port);
        if nothing && !self.ledger.is_decided(pair) {
            self.decide(pair, Reason::AnswersEverything, 0, None);
        }
        nothing
    }

    /// Positions without a verdict.
    fn undecided(&self) -> u64 {
        u64::from(self.passes.positions()).saturating_sub(self.decided)
    }
}

/// The seed of look-ups: half of the key upon the other.
fn seed_of(key: [u8; 16]) -> u64 {
    let key = u128::from_le_bytes(key);
    let folded = (key ^ (key >> 64)) & u128::from(u64::MAX);
    u64::try_from(folded).unwrap_or(0)
}

/// The network of an address, which stands for it.
fn prefix(address: IpAddr) -> IpAddr {
    let (v4, v6) = NETWORK_PREFIX;
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
