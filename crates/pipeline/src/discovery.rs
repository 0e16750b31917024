//! Finds out which hosts of a window are there before their ports are asked: those of attached
//! segments by ARP and neighbour discovery, which the way to them has shown already, others by a
//! few probes each.
//!
//! What is not here: which probe goes when (`portolan-scan`), how hosts are reached
//! ([`crate::ways`]), and what becomes of what was seen ([`crate::collector`]).

use crate::prepare::PrepareError;
use crate::raw_sweep::RawOptions;
use crate::ways::{Clock, Line, Queues, Way, Ways};
use portolan_model::{Discovery, EngineChoice, Moment, Reason};
use portolan_net::raw::transmit::PushError;
use portolan_scan::{
    DiscoveryEngine, DiscoveryOptions, DiscoveryProbe, Experience, Found, HostVerdict, ProbeKind,
};
use portolan_wire::icmp::{EchoRequest, TimestampRequest};
use portolan_wire::tcp::AckProbe;
use portolan_wire::udp::UdpProbe;
use portolan_wire::{Syn, parse};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Plans with more addresses than this have likely been named as networks: their hosts are looked
/// for first, unless the user says otherwise.
const NAMED_MAX: u128 = 16;

/// A silent host gets no more probes by being asked so few ports than by being looked for.
const PORTS_FEW: u32 = 4;

/// Whether hosts are looked for in a run over `addresses` addresses with `ports` ports each.
pub(crate) fn choose(
    wished: Option<Discovery>,
    engine: EngineChoice,
    addresses: u128,
    ports: u32,
) -> Result<Discovery, PrepareError> {
    match (wished, engine) {
        (Some(Discovery::Always), EngineChoice::Connect) => Err(PrepareError::DiscoveryByConnect),
        (Some(wished), _) => Ok(wished),
        (None, EngineChoice::Syn) if addresses > NAMED_MAX && ports > PORTS_FEW => {
            Ok(Discovery::Always)
        }
        (None, _) => Ok(Discovery::Never),
    }
}

/// What is known of a host beside its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) address: IpAddr,
    /// Whether the host itself answered.
    pub(crate) is_up: bool,
    /// The answer.
    pub(crate) reason: Reason,
    pub(crate) rtt: Option<Duration>,
    /// Its hardware address, on an attached segment.
    pub(crate) mac: Option<[u8; 6]>,
}

/// How hosts are looked for.
pub(crate) struct Search<'a> {
    discovery: Discovery,
    options: DiscoveryOptions,
    /// Hosts that have answered already.
    known: &'a HashSet<IpAddr>,
    started: Instant,
}

/// What was seen of a window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    /// Hosts of which something is known.
    pub(crate) seen: Vec<Seen>,
    /// Hosts that did not answer, whose ports are not asked. A device on the way may have said
    /// something of them.
    pub(crate) undiscovered: Vec<IpAddr>,
    /// Probes that were sent.
    pub(crate) probes: u64,
}

/// Looks for the hosts of one window after the other, and keeps what it learns of the network.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    experience: Experience,
}

/// Probes sent between two looks at what came in.
const PROBES: usize = 64;
/// Frames taken from one interface at once.
const FRAMES: usize = 4_096;
/// Time between two looks at the counters of the kernel.
const COUNTERS_EVERY: Duration = Duration::from_millis(50);
/// Longest frame of a probe.
const FRAME_BYTES: usize = 128;

impl<'a> Search<'a> {
    /// As the run has it.
    pub(crate) fn of(options: &'a RawOptions) -> Self {
        let RawOptions { sweep, .. } = options;
        Self {
            discovery: options.discovery,
            options: DiscoveryOptions {
                first_port: options.block.first(),
                key: options.key,
                rate: sweep.engine.rate,
                host_rate: sweep.engine.host_rate,
                ports: sweep.scope.ports.clone(),
            },
            known: &options.known,
            started: sweep.started,
        }
    }

    fn now(&self) -> Moment {
        Moment::after_start(self.started.elapsed())
    }
}

impl Lookout {
    /// Finds out which hosts at `addresses` are there. The way to one that is not found is taken
    /// away from `reached`, with the reason. `go_on` ends it early; ways then stay.
    ///
    /// # Errors
    /// When an interface takes no packet for many seconds.
    pub(crate) fn look(
        &mut self,
        search: &Search<'_>,
        addresses: &[IpAddr],
        reached: &mut [Result<Way, Reason>],
        ways: &mut Ways,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Looked> {
        let mut looked = Looked::default();
        // Places of those that are to be asked, with their ways.
        let mut asked = Vec::new();
        for (at, (address, way)) in addresses.iter().zip(reached.iter()).enumerate() {
            let Ok(way) = way else { continue };
            if let Some(mac) = ways.neighbour(*address) {
                looked.seen.push(Seen {
                    address: *address,
                    is_up: true,
                    reason: if address.is_ipv4() {
                        Reason::ArpResponse
                    } else {
                        Reason::NdResponse
                    },
                    rtt: None,
                    mac: Some(mac.0),
                });
            } else if search.discovery == Discovery::Always && !search.known.contains(address) {
                asked.push((at, *way));
            }
        }
        if asked.is_empty() {
            return Ok(looked);
        }
        let hosts = asked.iter().filter_map(|(at, _)| addresses.get(*at));
        let hosts: Vec<IpAddr> = hosts.copied().collect();
        let engine = DiscoveryEngine::new(hosts, search.options.clone(), self.experience);
        let queued = Queues::of(ways);
        let mut asking = Asking {
            engine,
            search,
            ways,
            hosts: &asked,
            queued,
            counted: search.now(),
            overruns: None,
        };
        let verdicts = asking.ask(go_on)?;
        looked.probes = asking.engine.probes();
        self.experience = asking.engine.experience();
        for verdict in verdicts {
            let host = usize::try_from(verdict.host).ok();
            let Some((at, _)) = host.and_then(|host| asked.get(host)) else {
                continue;
            };
            let (Some(address), Some(way)) = (addresses.get(*at), reached.get_mut(*at)) else {
                continue;
            };
            if let Some(seen) = seen(*address, &verdict) {
                looked.seen.push(seen);
            }
            if !matches!(verdict.found, Found::Up { .. }) {
                *way = Err(Reason::NotDiscovered);
                looked.undiscovered.push(*address);
            }
        }
        Ok(looked)
    }
}

/// What a verdict says of a host; `None`: nothing came back.
fn seen(address: IpAddr, verdict: &HostVerdict) -> Option<Seen> {
    let (is_up, reason, rtt) = match verdict.found {
        Found::Silent => return None,
        Found::Unreachable(code) => (false, Reason::Icmp(code), None),
        Found::Up { reason, rtt } => (true, reason, rtt),
    };
    Some(Seen {
        address,
        is_up,
        reason,
        rtt,
        mac: None,
    })
}

/// The engine at work on packet sockets.
struct Asking<'a, 'w> {
    engine: DiscoveryEngine,
    search: &'a Search<'a>,
    ways: &'w mut Ways,
    /// Ways by host.
    hosts: &'a [(usize, Way)],
    queued: Queues<DiscoveryProbe>,
    counted: Moment,
    /// Frames for which receivers had no room, so far.
    overruns: Option<u64>,
}

impl Asking<'_, '_> {
    fn ask(&mut self, go_on: impl Fn() -> bool) -> io::Result<Vec<HostVerdict>> {
        let mut verdicts = Vec::new();
        self.count_overruns();
        while !self.engine.is_done() {
            if !go_on() {
                self.engine.drain();
            }
            self.hear()?;
            if self.search.now().since(self.counted) >= COUNTERS_EVERY {
                self.count_overruns();
            }
            self.engine.handle_timeout(self.search.now());
            while let Some(verdict) = self.engine.poll_verdict() {
                verdicts.push(verdict);
            }
            if self.send()? == 0 && !self.engine.is_done() {
                let now = self.search.now();
                self.ways.wait(now, self.engine.poll_timeout(now))?;
            }
        }
        Ok(verdicts)
    }

    /// Hands what arrived to the engine.
    fn hear(&mut self) -> io::Result<()> {
        let clock = Clock::read(self.search.started)?;
        let engine = &mut self.engine;
        for line in &mut self.ways.lines {
            let link_type = line.link_type;
            line.ring.drain(FRAMES, |frame| {
                // What is malformed answers nothing.
                if let Ok(packet) = parse(frame.bytes, link_type) {
                    engine.handle_packet(Line::moment(frame.at, clock), &packet);
                }
            });
        }
        Ok(())
    }

    /// Tells the engine when a receiver had no room.
    fn count_overruns(&mut self) {
        self.counted = self.search.now();
        let dropped = self.ways.dropped();
        if self.overruns.is_some_and(|before| dropped > before) {
            self.engine.handle_overrun();
        }
        self.overruns = Some(dropped);
    }

    /// Sends what the engine wants sent now; how many probes that were.
    fn send(&mut self) -> io::Result<usize> {
        let mut asked = 0;
        while asked < PROBES {
            let Some(probe) = self.engine.poll_probe(self.search.now()) else {
                break;
            };
            asked += 1;
            self.queue(probe);
        }
        if asked > 0 {
            let now = self.search.now();
            let engine = &mut self.engine;
            let unsent = |probe: &DiscoveryProbe| engine.handle_unsent(now, probe);
            self.queued.flush(self.ways, now, unsent)?;
        }
        Ok(asked)
    }

    fn queue(&mut self, probe: DiscoveryProbe) {
        let host = usize::try_from(probe.host).unwrap_or(usize::MAX);
        let Some((_, way)) = self.hosts.get(host) else {
            return;
        };
        let mut frame = [0; FRAME_BYTES];
        let written = write(self.ways, *way, &probe, &mut frame);
        let (Some(length), Some(line)) = (written, self.ways.lines.get_mut(way.line)) else {
            return;
        };
        match line
            .transmitter
            .push(frame.get(..length).unwrap_or_default())
        {
            Ok(()) => self.queued.push(way.line, probe),
            Err(PushError::Full) => self.engine.handle_unsent(self.search.now(), &probe),
            // What the scope or this machine forbids is a question less.
            Err(_) => {}
        }
    }
}

/// Writes the frame of a probe into `out`; its length.
fn write(ways: &Ways, way: Way, probe: &DiscoveryProbe, out: &mut [u8]) -> Option<usize> {
    let envelope = ways.envelope(way, probe.address)?;
    let [a, b, c, d] = probe.number.to_be_bytes();
    let (identifier, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let written = match probe.kind {
        ProbeKind::Syn => {
            let syn = Syn {
                next_hop: None,
                destination: probe.address,
                destination_port: probe.port,
                source_port: probe.source_port,
                sequence: probe.number,
            };
            return ways.write(way, &syn, out);
        }
        ProbeKind::Ack => AckProbe {
            envelope,
            source_port: probe.source_port,
            destination_port: probe.port,
            sequence: probe.check,
            acknowledgement: probe.number,
        }
        .write(out),
        ProbeKind::Echo => EchoRequest {
            envelope,
            identifier,
            sequence,
            payload: &data(probe.check),
        }
        .write(out),
        ProbeKind::Timestamp => TimestampRequest {
            envelope,
            identifier,
            sequence,
            originate: probe.check,
        }
        .write(out),
        ProbeKind::Udp => UdpProbe {
            envelope,
            source_port: probe.source_port,
            destination_port: probe.port,
            payload: &[],
        }
        .write(out),
    };
    written.ok()
}

/// The data of an echo request: as many bytes as other programs send, the first of which show that
/// its answer is one.
fn data(check: u32) -> [u8; 32] {
    let mut data = [0; 32];
    if let Some(first) = data.first_chunk_mut() {
        *first = check.to_be_bytes();
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_looked_over_first_and_named_hosts_are_not() {
        let check = |wished, engine, addresses, expected: Option<Discovery>| {
            assert_eq!(choose(wished, engine, addresses, 5).ok(), expected);
        };
        let (always, never) = (Discovery::Always, Discovery::Never);
        let (syn, connect) = (EngineChoice::Syn, EngineChoice::Connect);
        check(None, syn, 16, Some(never));
        check(None, syn, 17, Some(always));
        check(None, connect, 70_000, Some(never));
        check(Some(always), syn, 1, Some(always));
        check(Some(never), syn, 70_000, Some(never));
        check(Some(never), connect, 70_000, Some(never));
        check(Some(always), connect, 70_000, None);
        // Where few ports are asked, looking for hosts costs more than it saves.
        assert_eq!(choose(None, syn, 70_000, 4).ok(), Some(never));
        assert_eq!(choose(Some(always), syn, 70_000, 1).ok(), Some(always));
    }
}
