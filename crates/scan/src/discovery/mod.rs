//! Finds out which hosts are there before their ports are asked: a few probes of several kinds to
//! each, those first that others on the network answered.
//!
//! Hosts are asked in waves: two questions, three further ones, and the rest with the two best once
//! more. Any answer ends the asking. Silence is told when every host has been asked, so that late
//! answers still count.
//!
//! What is not here: hosts of attached segments, whom ARP and neighbour discovery find; frames and
//! sockets (`portolan-wire`, `portolan-net`); and what becomes of hosts that are not found.

mod host;
mod kinds;
mod mark;
mod timing;

use host::{Host, bit};
use kinds::{LIST, QUESTIONS};
use mark::{Marks, Tag};
use portolan_model::{Moment, PortSet, Reason, Unreachable};
use portolan_wire::Packet;
use portolan_wire::icmp::IcmpError;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use timing::Pace;

pub use kinds::{Experience, ProbeKind};

/// Limits and wishes; what is `None` adapts to what the network answers.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryOptions {
    /// The first of [`SOURCE_PORTS`](crate::SOURCE_PORTS) source ports.
    pub first_port: u16,
    /// Key of what probes carry, not to be known to anybody else.
    pub key: [u8; 16],
    /// Probes a second, in total.
    pub rate: Option<f64>,
    /// Probes a second to one host.
    pub host_rate: Option<f64>,
    /// Ports that may be asked; `None`: every port.
    pub ports: Option<PortSet>,
}

/// A probe to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryProbe {
    /// Number of the host.
    pub host: u32,
    /// Where it goes.
    pub address: IpAddr,
    /// What it is.
    pub kind: ProbeKind,
    /// Port of the target, for TCP and UDP.
    pub port: u16,
    /// Where its answer comes back to, for TCP and UDP.
    pub source_port: u16,
    /// Sequence number of a SYN, acknowledgement number of an ACK; identifier (high half) and
    /// sequence number of a request.
    pub number: u32,
    /// Sequence number of an ACK, first data of an echo request (big endian), originate time of a
    /// timestamp request.
    pub check: u32,
    tag: Tag,
}

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing came back.
    Silent,
    /// A device on the way said that it cannot be reached, or may not be.
    Unreachable(Unreachable),
    /// It answered.
    Up {
        /// How.
        reason: Reason,
        /// After which time, where that is known.
        rtt: Option<Duration>,
    },
}

/// The final word on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostVerdict {
    /// Number of the host.
    pub host: u32,
    /// What is known.
    pub found: Found,
    /// Probes that it was sent.
    pub probes: u8,
}

/// Asks every host until it answers or has had all questions.
///
/// Call order, again and again until [`DiscoveryEngine::is_done`]:
/// 1. [`DiscoveryEngine::handle_packet`] with what came in,
/// 2. [`DiscoveryEngine::handle_timeout`] with the time,
/// 3. [`DiscoveryEngine::poll_verdict`] until `None`,
/// 4. [`DiscoveryEngine::poll_probe`] until `None`, [`DiscoveryEngine::handle_unsent`] for each
///    probe that did not leave,
/// 5. wait for a packet, at most until [`DiscoveryEngine::poll_timeout`].
///
/// Memory is bounded by the number of hosts, whatever comes in.
#[derive(Debug)]
pub struct DiscoveryEngine {
    options: DiscoveryOptions,
    marks: Marks,
    addresses: Vec<IpAddr>,
    numbers: HashMap<IpAddr, u32>,
    hosts: Vec<Host>,
    experience: Experience,
    pace: Pace,
    /// The next host that was never asked.
    next_new: u32,
    /// Probes of waves that have begun.
    ready: VecDeque<(u32, Tag)>,
    /// Hosts whose next wave may begin.
    due: VecDeque<u32>,
    /// Hosts whose wave was sent, with the moment of its last probe, by wave.
    waiting: [VecDeque<(Moment, u32)>; WAVES],
    verdicts: VecDeque<HostVerdict>,
    /// When a host was asked for the first time, the last such moment.
    last_began: Moment,
    /// Hosts before this one have a verdict, once silence is told.
    told: u32,
    undecided: u32,
    probes: u64,
    forged: u64,
    draining: bool,
}

/// Waves that differ in their wait.
const WAVES: usize = 3;
/// Questions of the first and of the second wave.
const WAVE_SIZES: [usize; 2] = [2, 3];
/// The best questions are asked so many a second time.
const REPEATED: usize = 2;
/// Silence of a host is told no sooner after its first probe: round trips of a second exist.
const LIFE_MIN: Duration = Duration::from_millis(1_100);
/// Time that a machine gets to take probes again that it refused.
const PAUSE: Duration = Duration::from_millis(10);
/// Refusals that tell of the host and not of one question, after which it is asked no more.
const REFUSALS_MAX: u8 = 2;

impl DiscoveryEngine {
    /// An engine for the hosts at `addresses`, which have the numbers of their places there.
    pub fn new(addresses: Vec<IpAddr>, options: DiscoveryOptions, experience: Experience) -> Self {
        let numbers: HashMap<IpAddr, u32> = addresses.iter().copied().zip(0..).collect();
        Self {
            marks: Marks::new(options.key, options.first_port),
            hosts: vec![Host::default(); addresses.len()],
            undecided: u32::try_from(addresses.len()).unwrap_or(u32::MAX),
            pace: Pace::new(options.rate),
            options,
            addresses,
            numbers,
            experience,
            next_new: 0,
            ready: VecDeque::new(),
            due: VecDeque::new(),
            waiting: std::array::from_fn(|_| VecDeque::new()),
            verdicts: VecDeque::new(),
            last_began: Moment::START,
            told: 0,
            probes: 0,
            forged: 0,
            draining: false,
        }
    }

    /// The next probe, when it may be sent now.
    pub fn poll_probe(&mut self, now: Moment) -> Option<DiscoveryProbe> {
        if self.draining || self.pace.next() > now {
            return None;
        }
        // Every turn takes a probe from the queue or begins a wave of a host, which have their ends.
        loop {
            if let Some((number, tag)) = self.ready.pop_front() {
                if let Some(probe) = self.send(now, number, tag) {
                    return Some(probe);
                }
                continue;
            }
            let next = self.due.pop_front().or_else(|| self.take_new(now))?;
            self.begin_wave(next);
        }
    }

    /// A probe of [`DiscoveryEngine::poll_probe`] did not leave this machine.
    pub fn handle_unsent(&mut self, now: Moment, probe: &DiscoveryProbe) {
        self.probes = self.probes.saturating_sub(1);
        self.pace.pause(now + PAUSE);
        if let Some(host) = self.hosts.get_mut(index(probe.host))
            && !host.decided
        {
            host.probes = host.probes.saturating_sub(1);
            host.unsent = host.unsent.saturating_add(1);
            self.ready.push_back((probe.host, probe.tag));
        }
    }

    /// The receiver had no room for some of what came in: hosts that wait are asked again, more
    /// slowly.
    pub fn handle_overrun(&mut self) {
        self.pace.slow_for_receiver();
        for (_, number) in self.waiting.iter().flatten() {
            if let Some(host) = self.hosts.get_mut(index(*number)) {
                host.redo = true;
            }
        }
    }

    /// Takes a received packet.
    pub fn handle_packet(&mut self, now: Moment, packet: &Packet<'_>) {
        let (source, tag, reason) = match packet {
            Packet::Tcp(segment) => {
                let reason = if segment.flags.is_syn_ack() {
                    Reason::SynAck
                } else {
                    Reason::Rst
                };
                let tag = self.marks.of_segment(segment);
                (segment.addresses.source, tag, reason)
            }
            Packet::EchoReply(reply) => {
                let tag = self.marks.of_echo(reply);
                (reply.addresses.source, tag, Reason::EchoReply)
            }
            Packet::TimestampReply(reply) => {
                let tag = self.marks.of_timestamp(reply);
                (reply.addresses.source, tag, Reason::TimestampReply)
            }
            Packet::Udp(datagram) => {
                let tag = self.marks.of_datagram(datagram);
                (datagram.addresses.source, tag, Reason::UdpResponse)
            }
            Packet::IcmpError(error) => return self.handle_error(now, error),
            _ => return,
        };
        let Some(number) = self.number(source) else {
            return;
        };
        match tag {
            Some(tag) => self.answered(now, number, tag, reason),
            None => self.forged = self.forged.saturating_add(1),
        }
    }

    /// Ends waves whose time is over.
    pub fn handle_timeout(&mut self, now: Moment) {
        for wave in 0..WAVES {
            let wait = self.wait(wave);
            while let Some(queue) = self.waiting.get_mut(wave)
                && let Some((sent, number)) = queue.front().copied()
                && sent + wait <= now
            {
                queue.pop_front();
                self.end_wave(number);
            }
        }
        if self.is_asked() && !self.draining && self.last_began + LIFE_MIN <= now {
            self.tell_silent();
        }
    }

    /// The next host that is decided.
    pub fn poll_verdict(&mut self) -> Option<HostVerdict> {
        self.verdicts.pop_front()
    }

    /// When to call [`DiscoveryEngine::handle_timeout`] if no packet comes before;
    /// [`Moment::START`] asks for an immediate further round.
    pub fn poll_timeout(&self, now: Moment) -> Option<Moment> {
        if !self.verdicts.is_empty() {
            return Some(Moment::START);
        }
        let new = index(self.next_new) < self.hosts.len();
        let sends = new || !self.ready.is_empty() || !self.due.is_empty();
        let sends = (sends && !self.draining).then(|| self.pace.next());
        let waits = self.waiting.iter().enumerate().filter_map(|(wave, queue)| {
            let (sent, _) = queue.front()?;
            Some(*sent + self.wait(wave))
        });
        let end = (self.is_asked() && self.undecided > 0).then(|| self.last_began + LIFE_MIN);
        let next = sends.into_iter().chain(waits).chain(end).min()?;
        Some(if next <= now { Moment::START } else { next })
    }

    /// Sends nothing further, and tells nothing of hosts that have not answered.
    pub fn drain(&mut self) {
        self.draining = true;
        self.ready.clear();
        self.due.clear();
    }

    /// Whether every host is decided, or the engine is drained.
    pub fn is_done(&self) -> bool {
        (self.undecided == 0 || self.draining) && self.verdicts.is_empty()
    }

    /// Probes sent so far.
    pub const fn probes(&self) -> u64 {
        self.probes
    }

    /// Packets from hosts that are asked which answer nothing that was asked, so far.
    pub const fn forged(&self) -> u64 {
        self.forged
    }

    /// What was learnt of the network.
    pub const fn experience(&self) -> Experience {
        self.experience
    }

    fn number(&self, address: IpAddr) -> Option<u32> {
        self.numbers.get(&address.to_canonical()).copied()
    }

    /// How long a wave waits for answers.
    fn wait(&self, wave: usize) -> Duration {
        let wave = u8::try_from(wave).unwrap_or(u8::MAX);
        let wait = self.experience.waits.wait(wave);
        match self.options.host_rate {
            Some(rate) => wait.max(Duration::from_secs_f64(1.0 / rate.max(0.001))),
            None => wait,
        }
    }

    /// Whether every host had all its questions, and time to answer.
    fn is_asked(&self) -> bool {
        index(self.next_new) >= self.hosts.len()
            && self.ready.is_empty()
            && self.due.is_empty()
            && self.waiting.iter().all(VecDeque::is_empty)
    }

    fn take_new(&mut self, now: Moment) -> Option<u32> {
        let number = self.next_new;
        let host = self.hosts.get_mut(index(number))?;
        self.next_new = number.saturating_add(1);
        host.cohort = Some(self.pace.host_began(now));
        self.last_began = now;
        Some(number)
    }

    /// Queues the questions of a host's next wave. Without one, the host has had all.
    fn begin_wave(&mut self, number: u32) {
        let (Some(host), Some(address)) = (
            self.hosts.get_mut(index(number)),
            self.addresses.get(index(number)),
        ) else {
            return;
        };
        if host.decided {
            return;
        }
        let size = match self.options.host_rate {
            Some(_) => 1,
            None => WAVE_SIZES
                .get(usize::from(host.wave))
                .copied()
                .unwrap_or(usize::MAX),
        };
        let marks = &self.marks;
        let ports = self.options.ports.as_ref();
        let address = *address;
        let may = |question: &usize| {
            LIST.get(*question).is_some_and(|it| {
                let has_port = !matches!(it.kind, ProbeKind::Echo | ProbeKind::Timestamp);
                let tag = Tag::new(*question, 0);
                it.fits(address)
                    && ports.is_none_or(|ports| {
                        !has_port || ports.contains(marks.mark(address, tag).port)
                    })
            })
        };
        let ranked = self.experience.ranked().filter(may);
        let tags = host.next_wave(ranked, size);
        let tags = tags.into_iter().flatten();
        self.ready.extend(tags.map(|tag| (number, tag)));
    }

    fn send(&mut self, now: Moment, number: u32, tag: Tag) -> Option<DiscoveryProbe> {
        let host = self.hosts.get_mut(index(number))?;
        let address = *self.addresses.get(index(number))?;
        host.unsent = host.unsent.saturating_sub(1);
        if host.decided {
            return None;
        }
        let kind = LIST.get(tag.question())?.kind;
        host.sent(now, tag);
        if host.unsent == 0 && !host.waits {
            host.waits = true;
            let wave = usize::from(host.wave.saturating_sub(1)).min(WAVES - 1);
            if let Some(queue) = self.waiting.get_mut(wave) {
                queue.push_back((now, number));
            }
        }
        self.pace.sent(now);
        self.probes = self.probes.saturating_add(1);
        let mark = self.marks.mark(address, tag);
        Some(DiscoveryProbe {
            host: number,
            address,
            kind,
            port: mark.port,
            source_port: mark.source_port,
            number: mark.number,
            check: mark.check,
            tag,
        })
    }

    /// The time of a host's wave is over.
    fn end_wave(&mut self, number: u32) {
        let Some(host) = self.hosts.get_mut(index(number)) else {
            return;
        };
        host.waits = false;
        if host.redo && !host.decided && host.ask_again() {
            self.due.push_back(number);
            return;
        }
        for question in 0..QUESTIONS {
            if host.current & bit(question) != 0 {
                self.experience.asked(question);
            }
            if host.answered != 0 && host.was_asked(question) {
                self.experience.ended(question);
            }
        }
        host.current = 0;
        if let Some(cohort) = host.cohort.take() {
            self.pace.host_ended(cohort, false);
        }
        if !host.decided {
            self.due.push_back(number);
        }
    }

    /// A host answered a probe, beyond doubt.
    fn answered(&mut self, now: Moment, number: u32, tag: Tag, reason: Reason) {
        let Some(host) = self.hosts.get_mut(index(number)) else {
            return;
        };
        let question = tag.question();
        if host.answered & bit(question) == 0 {
            host.answered |= bit(question);
            self.experience.answered(question);
        }
        if host.decided {
            return;
        }
        let rtt = host.since_sent(now, tag);
        if let Some(rtt) = rtt {
            self.experience.waits.sample(rtt);
        }
        if let Some(cohort) = host.cohort.take() {
            self.pace.host_ended(cohort, true);
        }
        self.decide(number, Found::Up { reason, rtt });
    }

    fn handle_error(&mut self, now: Moment, error: &IcmpError) {
        let address = error.quoted.addresses.destination.to_canonical();
        let Some(number) = self.number(address) else {
            return;
        };
        let Some(tag) = self.marks.of_quoted(address, &error.quoted.content) else {
            self.forged = self.forged.saturating_add(1);
            return;
        };
        // The others tell of a packet that went on its way, or would have in another size.
        let refuses = match (address, error.kind, error.code) {
            (IpAddr::V4(_), 3, code) => code != 4,
            (IpAddr::V4(_), kind, _) => matches!(kind, 11 | 12),
            (IpAddr::V6(_), kind, _) => matches!(kind, 1 | 3 | 4),
        };
        if !refuses {
            return;
        }
        let code = match address {
            IpAddr::V4(_) => Unreachable::of_v4(error.kind, error.code),
            IpAddr::V6(_) => Unreachable::of_v6(error.kind, error.code),
        };
        if error.addresses.source.to_canonical() == address {
            return self.answered(now, number, tag, Reason::Icmp(code));
        }
        let Some(host) = self.hosts.get_mut(index(number)) else {
            return;
        };
        host.refused = Some(code);
        if tells_of_host(code) && host.refusals & bit(tag.question()) == 0 {
            host.refusals |= bit(tag.question());
        }
        if host.refusals.count_ones() >= u32::from(REFUSALS_MAX) {
            self.decide(number, Found::Unreachable(code));
        }
    }

    fn decide(&mut self, number: u32, found: Found) {
        let Some(host) = self.hosts.get_mut(index(number)) else {
            return;
        };
        if host.decided {
            return;
        }
        host.decided = true;
        self.undecided = self.undecided.saturating_sub(1);
        self.verdicts.push_back(HostVerdict {
            host: number,
            found,
            probes: host.probes,
        });
    }

    /// Decides the hosts that stayed silent to the end.
    fn tell_silent(&mut self) {
        while let Some(host) = self.hosts.get(index(self.told)) {
            let number = self.told;
            self.told = number.saturating_add(1);
            let found = host.refused.map_or(Found::Silent, Found::Unreachable);
            self.decide(number, found);
        }
    }
}

/// Whether an ICMP error says that there is no way to the host, whatever the packet was (RFC 1812
/// §5.2.7.1, RFC 4443 §3.1).
const fn tells_of_host(code: Unreachable) -> bool {
    matches!(
        code,
        Unreachable::V4(0 | 1 | 6 | 7 | 8) | Unreachable::V6(0 | 3)
    )
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
