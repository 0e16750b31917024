//! What a crowd answers: frames and time in, frames with their time out. Nothing here has a socket
//! or a clock.

use super::frame::{self, Envelope, LINK_LENGTH, Segment};
use super::host::{Closed, Deaf, Host, Icmp, Noise, Policer, Talk, Way, hash};
use super::record::{Record, Syn};
use crate::Seed;
use portolan_wire::ethernet::Header;
use portolan_wire::tcp::{Flags, Tcp};
use portolan_wire::{Addresses, LinkType, Mac, Other, Packet, parse};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

/// Frames that wait for their time; further ones are lost.
const LATER_MAX: usize = 1 << 20;

/// First SYNs that a deaf host remembers; further ones it hears.
const MET_MAX: usize = 1 << 20;

/// The hosts with everything that they remember.
#[derive(Debug)]
pub(super) struct Stage {
    stations: HashMap<IpAddr, Station>,
    path: Way,
    passage: Passage,
    record: Record,
    outbox: Outbox,
    begun: Instant,
}

#[derive(Debug)]
struct Station {
    host: Host,
    passage: Passage,
    refusals: Bucket,
    moves_made: usize,
    met: HashSet<u64>,
}

/// How far a way has come with its cuts and its policer.
#[derive(Debug, Default)]
struct Passage {
    syns: u64,
    cuts_ended: usize,
    cut_until: Option<Instant>,
    bucket: Bucket,
}

/// Tokens of a policer.
#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

/// What leaves, now and later, and what decides which of it gets lost.
#[derive(Debug)]
struct Outbox {
    seed: Seed,
    later: BinaryHeap<Reverse<Later>>,
    posted: u64,
    lost: u64,
}

/// A frame and its time; the number keeps the order among those of one moment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

/// A frame that was heard, with the headers that were read.
struct Heard<'a> {
    now: Instant,
    header: Header<'a>,
}

impl Stage {
    pub(super) fn new(hosts: Vec<Host>, seed: u64) -> Self {
        let stations = hosts.into_iter().map(|host| (host.address, host.into()));
        Self {
            stations: stations.collect(),
            path: Way::default(),
            passage: Passage::default(),
            record: Record::default(),
            outbox: Outbox {
                seed: Seed::new(seed),
                later: BinaryHeap::new(),
                posted: 0,
                lost: 0,
            },
            begun: Instant::now(),
        }
    }

    pub(super) const fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Host)) -> bool {
        let station = self.stations.get_mut(&address);
        station.map(|station| change(&mut station.host)).is_some()
    }

    pub(super) fn change_path(&mut self, change: impl FnOnce(&mut Way)) {
        change(&mut self.path);
    }

    pub(super) fn forget(&mut self) {
        self.record.clear();
        self.passage = Passage::default();
        for station in self.stations.values_mut() {
            station.passage = Passage::default();
            station.moves_made = 0;
            station.met.clear();
        }
    }

    pub(super) fn count_only(&mut self) {
        self.record.count_only();
    }

    /// Hears one frame. What answers it is taken by [`Stage::take_due`].
    pub(super) fn hear(&mut self, now: Instant, frame: &[u8]) {
        let Ok(header) = Header::parse(frame) else {
            return;
        };
        let heard = Heard { now, header };
        match parse(frame, LinkType::Ethernet) {
            Ok(Packet::Arp(arp)) if arp.operation == 1 => {
                self.hear_question(&heard, IpAddr::V4(arp.target), IpAddr::V4(arp.sender));
            }
            Ok(Packet::Other(Other::Icmpv6(SOLICITATION))) => {
                if let Some((target, asker)) = solicitation(header.payload) {
                    self.hear_question(&heard, IpAddr::V6(target), IpAddr::V6(asker));
                }
            }
            Ok(Packet::Tcp(tcp)) => self.hear_tcp(&heard, &tcp),
            Ok(Packet::Other(Other::Icmp(ECHO_REQUEST) | Other::Icmpv6(ECHO_REQUEST_V6))) => {
                self.hear_echo(&heard);
            }
            _ => {
                if let Some((addresses, _)) = inside(header.payload) {
                    self.record.note(addresses.destination, |_| {});
                }
            }
        }
    }

    /// Takes the frames that are due, and tells when the next one is.
    pub(super) fn take_due(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Option<Instant> {
        let later = &mut self.outbox.later;
        while out.len() < DUE_MAX
            && later.peek().is_some_and(|Reverse(next)| next.due <= now)
            && let Some(Reverse(next)) = later.pop()
        {
            out.push(next.frame);
        }
        later.peek().map(|Reverse(next)| next.due)
    }

    /// Who has this address?
    fn hear_question(&mut self, heard: &Heard<'_>, target: IpAddr, asker: IpAddr) {
        self.record.note(target, |heard| heard.questions += 1);
        let Some(station) = self.stations.get_mut(&target) else {
            return;
        };
        let to = heard.header.destination;
        let is_for_all = to.0.first().is_some_and(|byte| byte & 1 == 1);
        let host = &station.host;
        let hears = host.neighbour && (is_for_all || to == host.mac);
        let now = heard.now;
        if !hears || self.passage.is_cut(&self.path, now) || station.passage.is_cut(&host.way, now)
        {
            return;
        }
        let asker_mac = heard.header.source;
        let frame = match (target, asker) {
            (IpAddr::V4(target), IpAddr::V4(asker)) => {
                frame::arp_reply(host.mac, target, asker_mac, asker)
            }
            (IpAddr::V6(target), IpAddr::V6(asker)) => {
                frame::advertisement(host.mac, target, asker_mac, asker)
            }
            _ => return,
        };
        self.outbox.post(now + host.rtt, frame);
    }

    fn hear_echo(&mut self, heard: &Heard<'_>) {
        let Some((addresses, message)) = inside(heard.header.payload) else {
            return;
        };
        self.record.note(addresses.destination, |_| {});
        let Some(station) = self.stations.get_mut(&addresses.destination) else {
            return;
        };
        if station.host.echo
            && heard.header.destination == station.host.mac
            && arrives(
                &mut self.passage,
                &self.path,
                station,
                &mut self.outbox.seed,
                Arrival {
                    now: heard.now,
                    is_syn: false,
                },
            )
        {
            let envelope = station.envelope(addresses.source, heard.header.source);
            let reply = frame::echo_reply(&envelope, message);
            self.outbox
                .answer(heard.now, &self.path, &station.host, reply);
        }
    }

    fn hear_tcp(&mut self, heard: &Heard<'_>, tcp: &Tcp) {
        let address = tcp.addresses.destination;
        let is_syn = tcp.flags.contains(Flags::SYN) && !tcp.flags.contains(Flags::ACK);
        if is_syn {
            self.record.note_syn(Syn {
                at: heard.now.saturating_duration_since(self.begun),
                address,
                port: tcp.destination_port,
                source_port: tcp.source_port,
            });
        } else {
            self.record.note(address, |_| {});
        }
        let Some(station) = self.stations.get_mut(&address) else {
            return;
        };
        let arrival = Arrival {
            now: heard.now,
            is_syn,
        };
        let arrives = arrives(
            &mut self.passage,
            &self.path,
            station,
            &mut self.outbox.seed,
            arrival,
        );
        station.take_moves();
        if !arrives || heard.header.destination != station.host.mac {
            return;
        }
        if is_syn && station.is_deaf_to(tcp) {
            return;
        }
        let envelope = station.envelope(tcp.addresses.source, heard.header.source);
        let quote = heard.header.payload;
        let answer = if is_syn {
            station.answer_to_syn(heard.now, &envelope, tcp, quote)
        } else {
            station.answer_within(&envelope, tcp)
        };
        let Station { host, .. } = station;
        let outbox = &mut self.outbox;
        let mut say = |frame| outbox.answer(heard.now, &self.path, host, frame);
        if is_syn {
            for noisy in &host.noise {
                if noisy.ports.contain(address, tcp.destination_port) {
                    make_noise(
                        noisy.noise,
                        &envelope,
                        tcp,
                        quote,
                        answer.as_deref(),
                        &mut say,
                    );
                }
            }
        }
        answer.into_iter().for_each(say);
    }
}

/// A packet that comes to a host.
#[derive(Clone, Copy)]
struct Arrival {
    now: Instant,
    is_syn: bool,
}

/// Whether a packet gets through to its host.
fn arrives(
    passage: &mut Passage,
    path: &Way,
    station: &mut Station,
    seed: &mut Seed,
    arrival: Arrival,
) -> bool {
    passage.admits(path, seed, arrival) && station.passage.admits(&station.host.way, seed, arrival)
}

impl Passage {
    fn is_cut(&mut self, way: &Way, now: Instant) -> bool {
        let Some(cut) = way.cuts.get(self.cuts_ended) else {
            return way.silent;
        };
        if self.cut_until.is_none() && self.syns >= cut.after_syns {
            self.cut_until = now.checked_add(cut.lasts);
        }
        match self.cut_until {
            Some(until) if until <= now => {
                self.cut_until = None;
                self.cuts_ended += 1;
                way.silent
            }
            Some(_) => true,
            None => way.silent,
        }
    }

    fn admits(&mut self, way: &Way, seed: &mut Seed, arrival: Arrival) -> bool {
        self.syns += u64::from(arrival.is_syn);
        !self.is_cut(way, arrival.now)
            && way
                .policer
                .is_none_or(|policer| self.bucket.take(policer, arrival.now))
            && !is_lost(seed, way.loss_in_permille)
    }
}

fn is_lost(seed: &mut Seed, permille: u16) -> bool {
    permille > 0 && seed.below(1_000) < u64::from(permille)
}

impl Bucket {
    fn take(&mut self, policer: Policer, now: Instant) -> bool {
        let full = f64::from(policer.burst.max(1));
        let more = match self.filled {
            None => full,
            Some(filled) => {
                now.saturating_duration_since(filled).as_secs_f64() * f64::from(policer.rate)
            }
        };
        self.filled = Some(now);
        self.tokens = (self.tokens + more).min(full);
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

impl Outbox {
    /// Sends what a host answers, unless it gets lost on the way back.
    fn answer(&mut self, now: Instant, path: &Way, host: &Host, frame: Vec<u8>) {
        let lost = is_lost(&mut self.seed, path.loss_out_permille)
            || is_lost(&mut self.seed, host.way.loss_out_permille);
        if !lost {
            self.post(now + host.rtt, frame);
        }
    }

    fn post(&mut self, due: Instant, frame: Vec<u8>) {
        if self.later.len() >= LATER_MAX {
            self.lost += 1;
            return;
        }
        self.posted += 1;
        self.later.push(Reverse(Later {
            due,
            number: self.posted,
            frame,
        }));
    }
}

impl From<Host> for Station {
    fn from(host: Host) -> Self {
        Self {
            host,
            passage: Passage::default(),
            refusals: Bucket::default(),
            moves_made: 0,
            met: HashSet::new(),
        }
    }
}

impl Station {
    fn envelope(&self, to: IpAddr, mac: Mac) -> Envelope {
        Envelope {
            from: self.host.mac,
            to: mac,
            addresses: Addresses {
                source: self.host.address,
                destination: to,
            },
            hop_limit: self.host.hop_limit,
        }
    }

    fn take_moves(&mut self) {
        while let Some(next) = self.host.moves.get(self.moves_made)
            && self.passage.syns >= next.after_syns
        {
            self.host.mac = next.mac;
            self.moves_made += 1;
        }
    }

    fn is_deaf_to(&mut self, tcp: &Tcp) -> bool {
        let asker = tcp.addresses.source;
        let ports = match self.host.deaf {
            None => return false,
            Some(Deaf::Pair) => u64::from(tcp.destination_port),
            Some(Deaf::Tuple) => tuple(tcp),
        };
        self.met.len() < MET_MAX && self.met.insert(hash(asker, ports))
    }

    fn answer_to_syn(
        &mut self,
        now: Instant,
        envelope: &Envelope,
        tcp: &Tcp,
        quote: &[u8],
    ) -> Option<Vec<u8>> {
        let host = &self.host;
        let has = |ports: &super::Ports| ports.contain(host.address, tcp.destination_port);
        if has(&host.open) {
            return Some(frame::tcp(envelope, &accepting(tcp)));
        }
        if has(&host.silent) || host.closed == Closed::Silent {
            return None;
        }
        if let Some(policer) = host.refusals
            && !self.refusals.take(policer, now)
        {
            return None;
        }
        match host.closed {
            Closed::Icmp(icmp) => Some(frame::icmp_quoting(envelope, icmp, quote)),
            Closed::Reset => Some(frame::tcp(envelope, &refusing(tcp))),
            Closed::Silent => None,
        }
    }

    /// What answers a segment that is no SYN.
    fn answer_within(&self, envelope: &Envelope, tcp: &Tcp) -> Option<Vec<u8>> {
        let host = &self.host;
        let ours = Segment {
            source_port: tcp.destination_port,
            destination_port: tcp.source_port,
            sequence: tcp.acknowledgement,
            acknowledgement: tcp.sequence.wrapping_add(length(tcp)),
            flags: Flags::ACK,
        };
        let is = |flag| tcp.flags.contains(flag);
        let ends = Segment {
            flags: Flags::RST,
            ..ours
        };
        if is(Flags::RST) || !is(Flags::ACK) {
            return None;
        }
        let segment = if !host.open.contain(host.address, tcp.destination_port) {
            (host.closed == Closed::Reset).then_some(ends)
        } else if host.talk == Talk::Reset {
            Some(ends)
        } else if is(Flags::FIN) {
            Some(Segment {
                flags: Flags::FIN.with(Flags::ACK),
                ..ours
            })
        } else {
            (tcp.payload_length > 0).then_some(ours)
        };
        segment.map(|segment| frame::tcp(envelope, &segment))
    }
}

/// Sequence numbers that a segment takes up.
fn length(tcp: &Tcp) -> u32 {
    let flags = [Flags::SYN, Flags::FIN].map(|flag| u32::from(tcp.flags.contains(flag)));
    let data = u32::try_from(tcp.payload_length).unwrap_or(u32::MAX);
    flags.into_iter().fold(data, u32::wrapping_add)
}

/// Both ports of a segment.
fn tuple(tcp: &Tcp) -> u64 {
    u64::from(tcp.source_port) << 16 | u64::from(tcp.destination_port)
}

fn accepting(tcp: &Tcp) -> Segment {
    let number = hash(tcp.addresses.source, tuple(tcp)) & u64::from(u32::MAX);
    Segment {
        source_port: tcp.destination_port,
        destination_port: tcp.source_port,
        sequence: u32::try_from(number).unwrap_or_default(),
        acknowledgement: tcp.sequence.wrapping_add(length(tcp)),
        flags: Flags::SYN.with(Flags::ACK),
    }
}

fn refusing(tcp: &Tcp) -> Segment {
    Segment {
        sequence: 0,
        flags: Flags::RST.with(Flags::ACK),
        ..accepting(tcp)
    }
}

fn make_noise(
    noise: Noise,
    envelope: &Envelope,
    tcp: &Tcp,
    quote: &[u8],
    answer: Option<&[u8]>,
    say: &mut impl FnMut(Vec<u8>),
) {
    match noise {
        Noise::Copies(count) => {
            for _ in 0..count {
                if let Some(frame) = answer {
                    say(frame.to_vec());
                }
            }
        }
        Noise::CutShort => {
            let whole = frame::tcp(envelope, &accepting(tcp));
            // Up to the last byte of the TCP header without options.
            let headers = frame::headers_length(envelope.addresses.source) + 20;
            for length in LINK_LENGTH..headers {
                whole
                    .get(..length)
                    .into_iter()
                    .for_each(|cut| say(cut.to_vec()));
            }
        }
        Noise::EveryIcmp => every_icmp(envelope, quote, say),
        Noise::EveryIcmpForged => {
            let mut forged = quote.to_vec();
            let sequence = frame::headers_length(envelope.addresses.source) - LINK_LENGTH + 4;
            for byte in forged.iter_mut().skip(sequence).take(4) {
                *byte ^= 0x5a;
            }
            every_icmp(envelope, &forged, say);
        }
        Noise::Forged => {
            // A RST may acknowledge the number of the SYN itself: some stacks do.
            let wrong = [
                (accepting(tcp), u32::MAX),
                (accepting(tcp), 1),
                (accepting(tcp), FAR),
                (refusing(tcp), 1),
                (refusing(tcp), FAR),
            ];
            for (right, by) in wrong {
                let segment = Segment {
                    acknowledgement: right.acknowledgement.wrapping_add(by),
                    ..right
                };
                say(frame::tcp(envelope, &segment));
            }
        }
    }
}

/// Messages of every type but those of neighbour discovery, which would be about the scanner's own
/// table of neighbours.
fn every_icmp(envelope: &Envelope, quote: &[u8], say: &mut impl FnMut(Vec<u8>)) {
    let is_v4 = envelope.addresses.source.is_ipv4();
    for kind in (0..=u8::MAX).filter(|kind| is_v4 || !DISCOVERY.contains(kind)) {
        for code in 0..CODES {
            say(frame::icmp_quoting(envelope, Icmp { kind, code }, quote));
        }
    }
}

/// Addresses of an IP packet and what it carries, without a look at extension headers.
fn inside(packet: &[u8]) -> Option<(Addresses, &[u8])> {
    let first = *packet.first()?;
    let (source, destination, start) = if first >> 4 == 4 {
        let octets = |at: usize| packet.get(at..)?.first_chunk::<4>().copied();
        let [source, destination] = [octets(12)?, octets(16)?].map(Ipv4Addr::from);
        let start = usize::from(first & 0x0f) * 4;
        (IpAddr::V4(source), IpAddr::V4(destination), start)
    } else {
        let octets = |at: usize| packet.get(at..)?.first_chunk::<16>().copied();
        let [source, destination] = [octets(8)?, octets(24)?].map(Ipv6Addr::from);
        (IpAddr::V6(source), IpAddr::V6(destination), 40)
    };
    let addresses = Addresses {
        source,
        destination,
    };
    Some((addresses, packet.get(start..)?))
}

/// Who is asked for, and by whom (RFC 4861 §4.3).
fn solicitation(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (addresses, message) = inside(packet)?;
    let target = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    match addresses.source {
        IpAddr::V6(asker) => Some((target, asker)),
        IpAddr::V4(_) => None,
    }
}

/// Frames that leave at once, at most.
const DUE_MAX: usize = 256;

/// ICMP types (RFC 792, RFC 4443, RFC 4861).
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const SOLICITATION: u8 = 135;
const DISCOVERY: std::ops::RangeInclusive<u8> = 130..=137;

/// How far from the truth a forged acknowledgement is that was guessed.
const FAR: u32 = 0x5a5a_5a5a;

/// Codes that every ICMP type is sent with.
const CODES: u8 = 16;

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;
