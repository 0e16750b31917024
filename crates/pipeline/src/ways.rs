//! How packets reach the hosts of a window: by which interface, from which address, and which
//! hardware address comes next. Neighbours that the kernel does not know are asked for here.

mod ahead;
mod queues;

pub(crate) use ahead::Opened;
pub(crate) use queues::Queues;

use portolan_model::{IoChoice, Moment, Reason, Scope, Text};
use portolan_net::filter::{Filter, Wanted};
use portolan_net::link::{Link, LinkKind};
use portolan_net::neighbours;
use portolan_net::raw::ring::{self, Ring};
use portolan_net::raw::transmit::Transmitter;
use portolan_net::raw::xdp::io::{self as frames, WhyNot};
use portolan_net::route::{Origin, Route, RouteError, RouteKind, Routes};
use portolan_scan::Path;
use portolan_wire::arp::{Arp, ArpRequest};
use portolan_wire::ndp::NeighbourSolicitation;
use portolan_wire::{Addresses, Envelope, Framing, LinkType, Mac, Packet, SynTemplate, parse};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An interface that packets leave and arrive by.
pub(crate) struct Line {
    pub(crate) link: Link,
    pub(crate) link_type: LinkType,
    pub(crate) ring: Ring,
    pub(crate) transmitter: Transmitter,
    /// By source address.
    templates: Vec<(IpAddr, SynTemplate)>,
    gateways: BTreeSet<IpAddr>,
}

/// How packets reach one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Among the lines.
    pub(crate) line: usize,
    /// Among the templates of the line.
    template: usize,
    next_hop: Option<Mac>,
    /// Whose hardware address that is.
    neighbour: Option<IpAddr>,
    /// What the engine paces together.
    pub(crate) path: Path,
}

/// The ways of a scan.
pub(crate) struct Ways {
    routes: Routes,
    origin: Origin,
    scope: Arc<Scope>,
    ports: RangeInclusive<u16>,
    /// Requests a second.
    rate: f64,
    io: IoChoice,
    /// What the user asked for of the interfaces and did not get; and how packets pass, where that
    /// is to be told.
    pub(crate) notes: Vec<String>,
    pub(crate) tells_passage: bool,
    /// Of the receive ring of each interface.
    receive_bytes: usize,
    /// Every interface that the scan needs is open, and the right to open others is given up.
    is_all_open: bool,
    pub(crate) lines: Vec<Line>,
    /// Routes by the first address of the range that they lead to.
    known: BTreeMap<IpAddr, Route>,
    links: HashMap<u32, Link>,
    /// Hardware addresses by interface and address.
    macs: HashMap<(u32, IpAddr), Mac>,
    /// Neighbours that were asked for again because their hosts went silent.
    asked_again: HashSet<(u32, IpAddr)>,
}

/// Where packets for a host go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Hop {
    interface: u32,
    source: IpAddr,
    /// Who is to be asked for a hardware address; `None`: nobody.
    neighbour: Option<IpAddr>,
    is_gateway: bool,
}

/// Addresses of neighbours that are kept.
const MACS_MAX: usize = 1 << 17;
/// Routes that are kept.
const ROUTES_MAX: usize = 1 << 14;
/// When neighbours that have not answered are asked again, after the first time.
const ROUNDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(750),
];
/// How long answers are waited for after the last request.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Requests a second, unless the user allows fewer probes.
const REQUESTS_RATE: f64 = 5_000.0;
/// Time between requests that leave together, unless one alone takes longer.
const REQUESTS_EVERY: Duration = Duration::from_millis(10);
/// Frames read at once.
const FRAMES: usize = 4_096;
/// Operation of an ARP reply (RFC 826).
const ARP_REPLY: u16 = 2;

impl Ways {
    /// # Errors
    /// When the kernel does not tell its routes.
    pub(crate) fn new(
        origin: Origin,
        scope: Arc<Scope>,
        ports: RangeInclusive<u16>,
        rate: Option<f64>,
        io: IoChoice,
        receive_bytes: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            routes: Routes::open().map_err(io::Error::other)?,
            origin,
            scope,
            ports,
            rate: rate.unwrap_or(REQUESTS_RATE).clamp(0.1, REQUESTS_RATE),
            io,
            notes: Vec::new(),
            tells_passage: false,
            receive_bytes,
            is_all_open: false,
            lines: Vec::new(),
            known: BTreeMap::new(),
            links: HashMap::new(),
            macs: HashMap::new(),
            asked_again: HashSet::new(),
        })
    }

    /// The way to each of `addresses`, or why there is none. Opens the interfaces that are needed
    /// and asks for neighbours, which takes up to two seconds and more where they are many;
    /// `go_on` ends it early.
    ///
    /// # Errors
    /// When an interface cannot be opened.
    pub(crate) fn to(
        &mut self,
        addresses: &[IpAddr],
        go_on: impl Fn() -> bool,
    ) -> io::Result<Vec<Result<Way, Reason>>> {
        let hops: Vec<Result<Hop, Reason>> = addresses.iter().map(|it| self.hop(*it)).collect();
        let distinct: BTreeSet<Hop> = hops.iter().flatten().copied().collect();
        self.open_lines(&distinct)?;
        self.ask_neighbours(&distinct, go_on)?;
        let paths = Paths::of(&distinct);
        let way = |hop: Result<Hop, Reason>| {
            let hop = hop?;
            self.way(&hop, paths.number(&hop))
        };
        Ok(hops.into_iter().map(way).collect())
    }

    /// Asks again for the hardware address that a way leads to: it may be another by now.
    pub(crate) fn ask_again(&mut self, way: Way) {
        let Some(line) = self.lines.get(way.line) else {
            return;
        };
        let (Some(neighbour), Some((source, _))) =
            (way.neighbour, line.templates.get(way.template))
        else {
            return;
        };
        let hop = Hop {
            interface: line.link.index,
            source: *source,
            neighbour: way.neighbour,
            is_gateway: way.path.is_routed,
        };
        if self.asked_again.len() < MACS_MAX {
            self.asked_again.insert((hop.interface, neighbour));
        }
        self.ask(&hop);
        if let Some(line) = self.lines.get_mut(way.line) {
            // One that is not sent is sent when the host is told of again.
            let _ = line.transmitter.flush();
        }
    }

    /// Takes the hardware address of a neighbour that was asked for again. Answers whether it is
    /// another than before: then [`Ways::lead_anew`] has to be called.
    pub(crate) fn learn(&mut self, line: usize, (address, mac): (IpAddr, Mac)) -> bool {
        let interface = self.lines.get(line).map_or(0, |line| line.link.index);
        let key = (interface, address);
        self.asked_again.contains(&key) && self.macs.insert(key, mac) != Some(mac)
    }

    /// Leads ways to the hardware addresses that are known now.
    pub(crate) fn lead_anew(&self, ways: &mut [Result<Way, Reason>]) {
        for way in ways.iter_mut().flatten() {
            let line = self.lines.get(way.line);
            if let (Some(neighbour), Some(line)) = (way.neighbour, line)
                && let Some(mac) = self.macs.get(&(line.link.index, neighbour))
            {
                way.next_hop = Some(*mac);
            }
        }
    }

    /// Writes the SYN that `syn` describes into `out`, for a host reached by `way`; its length.
    pub(crate) fn write(
        &self,
        way: Way,
        syn: &portolan_wire::Syn,
        out: &mut [u8],
    ) -> Option<usize> {
        let (_, template) = self.lines.get(way.line)?.templates.get(way.template)?;
        let syn = portolan_wire::Syn {
            next_hop: way.next_hop,
            ..*syn
        };
        template.write(&syn, out).ok()
    }

    fn hop(&mut self, address: IpAddr) -> Result<Hop, Reason> {
        let route = self.route(address)?;
        let link = self.link(route.interface)?;
        if link.kind.link_type().is_none() {
            return Err(Reason::NoRoute);
        }
        let asks = link.kind == LinkKind::Ethernet && link.resolves;
        Ok(Hop {
            interface: route.interface,
            source: route.source,
            neighbour: asks.then(|| route.gateway.unwrap_or(address)),
            is_gateway: route.gateway.is_some(),
        })
    }

    fn route(&mut self, address: IpAddr) -> Result<Route, Reason> {
        let known = self.known.range(..=address).next_back();
        let known = known.map(|(_, route)| *route);
        let route = match known.filter(|route| route.last >= address) {
            Some(route) => route,
            None => self.ask_route(address)?,
        };
        // To its own addresses a machine speaks from the address itself.
        let is_own = route.kind == RouteKind::Local && self.origin.address.is_none();
        Ok(Route {
            source: if is_own { address } else { route.source },
            ..route
        })
    }

    /// The way that the kernel tells, which is kept.
    fn ask_route(&mut self, address: IpAddr) -> Result<Route, Reason> {
        let route = self.routes.route_to(address, &self.origin);
        let route = route.map_err(|error| reason_of(&error))?;
        if !matches!(
            route.kind,
            RouteKind::Unicast | RouteKind::Local | RouteKind::Anycast
        ) {
            return Err(Reason::LocalPolicy);
        }
        if self.known.len() >= ROUTES_MAX {
            self.known.clear();
        }
        self.known.insert(route.first, route);
        Ok(route)
    }

    fn link(&mut self, interface: u32) -> Result<Link, Reason> {
        if let Some(link) = self.links.get(&interface) {
            return Ok(link.clone());
        }
        let link = self.routes.link(interface).map_err(|_| Reason::NoRoute)?;
        self.links.insert(interface, link.clone());
        Ok(link)
    }

    /// Opens every interface that is not open for all that leaves by it.
    fn open_lines(&mut self, hops: &BTreeSet<Hop>) -> io::Result<()> {
        let mut wanted: BTreeMap<u32, (BTreeSet<IpAddr>, BTreeSet<IpAddr>)> = BTreeMap::new();
        for hop in hops {
            let (sources, gateways) = wanted.entry(hop.interface).or_default();
            sources.insert(hop.source);
            gateways.extend(hop.neighbour.filter(|_| hop.is_gateway));
        }
        for (interface, (mut sources, mut gateways)) in wanted {
            let open = self.lines.iter().position(|it| it.link.index == interface);
            if let Some(line) = open.and_then(|at| self.lines.get(at)) {
                let has_all = sources.iter().all(|it| line.template_of(*it).is_some());
                // A further gateway of an open interface is spoken to if the kernel knows it.
                if has_all && (self.is_all_open || gateways.is_subset(&line.gateways)) {
                    continue;
                }
            }
            let Some(link) = self.links.get(&interface) else {
                continue;
            };
            if self.is_all_open {
                return Err(io::Error::other(format!(
                    "the way to some targets has changed to {} since the scan began, and the right \
                     to open it is given up; go on with --resume",
                    link.name
                )));
            }
            if let Some(line) = open.and_then(|at| self.lines.get_mut(at)) {
                sources.extend(line.templates.iter().map(|(source, _)| *source));
                gateways.extend(&line.gateways);
                // Two cannot have the same queue.
                line.leave_frames();
            }
            let mut line = Line::open(link, &sources, gateways, self)?;
            // Where there is no better way packet sockets do.
            match line.take_frames(&self.ports, self.io) {
                Err(why) if self.io == IoChoice::Xdp => {
                    self.notes.push(format!(
                        "nothing was received by XDP sockets, as was asked for: {why}"
                    ));
                    let _ = line.take_frames(&self.ports, IoChoice::Auto);
                }
                taken if self.tells_passage => {
                    self.notes.push(passage(&line.link.name, taken));
                }
                _ => {}
            }
            match open.and_then(|at| self.lines.get_mut(at)) {
                Some(place) => *place = line,
                None => self.lines.push(line),
            }
        }
        Ok(())
    }

    fn way(&self, hop: &Hop, path: Path) -> Result<Way, Reason> {
        let mut lines = self.lines.iter();
        let line = lines
            .position(|it| it.link.index == hop.interface)
            .ok_or(Reason::NoRoute)?;
        let template = self
            .lines
            .get(line)
            .and_then(|it| it.template_of(hop.source));
        let next_hop = match hop.neighbour {
            None => None,
            Some(neighbour) => {
                // That a gateway is absent tells nothing of the hosts behind it.
                let absent = if hop.is_gateway {
                    Reason::NoRoute
                } else {
                    Reason::NoNeighbour
                };
                let mac = self.macs.get(&(hop.interface, neighbour));
                Some(*mac.ok_or(absent)?)
            }
        };
        Ok(Way {
            line,
            template: template.ok_or(Reason::NoRoute)?,
            next_hop,
            neighbour: hop.neighbour,
            path,
        })
    }

    /// Learns the hardware addresses that are missing.
    fn ask_neighbours(&mut self, hops: &BTreeSet<Hop>, go_on: impl Fn() -> bool) -> io::Result<()> {
        if self.macs.len() > MACS_MAX {
            self.macs.clear();
        }
        let mut missing: HashSet<Hop> = hops
            .iter()
            .filter(|hop| {
                hop.neighbour
                    .is_some_and(|it| !self.macs.contains_key(&(hop.interface, it)))
            })
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        // Without the table everybody is asked.
        for known in neighbours::table().unwrap_or_default() {
            if let Some(mac) = known.mac.filter(|_| known.state.is_confirmed()) {
                self.macs.insert((known.interface, known.address), mac);
            }
        }
        self.drop_known(&mut missing);
        let (together, pause) = together(self.rate);
        let began = Instant::now();
        for round in ROUNDS {
            while began.elapsed() < round && !missing.is_empty() && go_on() {
                self.hear_neighbours(round.saturating_sub(began.elapsed()))?;
                self.drop_known(&mut missing);
            }
            let mut asked: Vec<Hop> = missing.iter().copied().collect();
            asked.sort_unstable();
            for part in asked.chunks(together) {
                if !go_on() {
                    return Ok(());
                }
                for hop in part {
                    self.ask(hop);
                }
                for line in &mut self.lines {
                    // One that is not sent is sent in the next round.
                    let _ = line.transmitter.flush();
                }
                let next = Instant::now() + pause;
                while Instant::now() < next && go_on() {
                    self.hear_neighbours(next.saturating_duration_since(Instant::now()))?;
                }
            }
            self.drop_known(&mut missing);
        }
        let last = Instant::now();
        while last.elapsed() < LAST_WAIT && !missing.is_empty() && go_on() {
            self.hear_neighbours(LAST_WAIT.saturating_sub(last.elapsed()))?;
            self.drop_known(&mut missing);
        }
        Ok(())
    }

    fn drop_known(&self, missing: &mut HashSet<Hop>) {
        missing.retain(|hop| {
            let neighbour = hop.neighbour.map(|it| (hop.interface, it));
            neighbour.is_none_or(|it| !self.macs.contains_key(&it))
        });
    }

    /// Queues a request for the hardware address of a hop.
    fn ask(&mut self, hop: &Hop) {
        let mut lines = self.lines.iter_mut();
        let Some(line) = lines.find(|it| it.link.index == hop.interface) else {
            return;
        };
        let Some(mac) = line.link.mac else { return };
        let mut frame = [0; 128];
        let written = match (hop.source, hop.neighbour) {
            (IpAddr::V4(source), Some(IpAddr::V4(target))) => ArpRequest {
                mac,
                source,
                target,
            }
            .write(&mut frame),
            (IpAddr::V6(source), Some(IpAddr::V6(target))) => NeighbourSolicitation {
                mac,
                source,
                target,
            }
            .write(&mut frame),
            // An IPv4 route by an IPv6 gateway: only the kernel's own table helps.
            _ => return,
        };
        if let Ok(length) = written
            && let Some(frame) = frame.get(..length)
        {
            // What the scope does not allow is nobody to be asked for.
            let _ = line.transmitter.push(frame);
        }
    }

    /// Takes the answers of neighbours that arrive within `patience`.
    fn hear_neighbours(&mut self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let mut heard = 0;
            for line in &mut self.lines {
                let (link_type, interface) = (line.link_type, line.link.index);
                let macs = &mut self.macs;
                heard += line.ring.drain(FRAMES, |frame| {
                    let packet = parse(frame.bytes, link_type);
                    if let Some((address, mac)) = packet.ok().as_ref().and_then(answer_of) {
                        macs.insert((interface, address), mac);
                    }
                });
                // An interface that is down answers nothing; the probes will tell.
                let _ = line.ring.take_error();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || heard > 0 {
                return Ok(());
            }
            ring::wait(self.lines.iter().map(|it| &it.ring), left)?;
        }
    }
}

/// What a stage beside the sweep needs of a way.
impl Ways {
    /// What stands around a packet for `destination`, to which `way` leads.
    pub(crate) fn envelope(&self, way: Way, destination: IpAddr) -> Option<Envelope> {
        let line = self.lines.get(way.line)?;
        let (source, _) = line.templates.get(way.template)?;
        Some(Envelope {
            framing: match line.link_type {
                LinkType::Bare => Framing::Bare,
                LinkType::Ethernet => Framing::Ethernet {
                    source: line.link.mac.unwrap_or(Mac::ZERO),
                    destination: way.next_hop.unwrap_or(Mac::ZERO),
                },
            },
            addresses: Addresses {
                source: *source,
                destination,
            },
            hop_limit: HOP_LIMIT,
            mtu: line.link.mtu,
        })
    }

    /// The hardware address of `address`, when it is a host of an attached segment that has told it.
    pub(crate) fn neighbour(&mut self, address: IpAddr) -> Option<Mac> {
        let hop = self.hop(address).ok()?;
        let asked = hop.neighbour.filter(|_| !hop.is_gateway)?;
        self.macs.get(&(hop.interface, asked)).copied()
    }
}

/// TTL and hop limit of what is sent (IANA, IP Parameters).
const HOP_LIMIT: u8 = 64;

/// The hardware address that an answer of a neighbour tells.
pub(crate) fn answer_of(packet: &Packet<'_>) -> Option<(IpAddr, Mac)> {
    match packet {
        Packet::Arp(Arp {
            operation: ARP_REPLY,
            sender,
            sender_mac,
            ..
        }) => Some((IpAddr::V4(*sender), *sender_mac)),
        Packet::NeighbourAdvertisement(said) => said.mac.map(|mac| (IpAddr::V6(said.target), mac)),
        _ => None,
    }
}

/// What hosts share of their ways: a gateway, or else the segment.
struct Paths(Vec<(u32, Option<IpAddr>)>);

impl Paths {
    fn of(hops: &BTreeSet<Hop>) -> Self {
        let keys: BTreeSet<_> = hops.iter().map(Self::key).collect();
        Self(keys.into_iter().collect())
    }

    /// Paths beyond what can be numbered share the last number.
    fn number(&self, hop: &Hop) -> Path {
        let at = self.0.binary_search(&Self::key(hop)).unwrap_or(0);
        Path {
            number: u16::try_from(at).unwrap_or(u16::MAX),
            is_routed: hop.is_gateway,
        }
    }

    fn key(hop: &Hop) -> (u32, Option<IpAddr>) {
        (hop.interface, hop.neighbour.filter(|_| hop.is_gateway))
    }
}

impl Line {
    fn open(
        link: &Link,
        sources: &BTreeSet<IpAddr>,
        gateways: BTreeSet<IpAddr>,
        ways: &Ways,
    ) -> io::Result<Self> {
        let link_type = link.kind.link_type().unwrap_or(LinkType::Ethernet);
        let own = link.mac.unwrap_or(Mac::ZERO);
        let framing = match link_type {
            LinkType::Bare => Framing::Bare,
            LinkType::Ethernet => Framing::Ethernet {
                source: own,
                destination: Mac::ZERO,
            },
        };
        let addresses: Vec<IpAddr> = sources.iter().copied().collect();
        let filter = Filter::for_scan(&Wanted {
            link_type,
            addresses: &addresses,
            ports: ways.ports.clone(),
        })
        .map_err(io::Error::other)?;
        // The ring is there before anything is sent that could be answered.
        let ring = Ring::open(link, &filter, ways.receive_bytes).map_err(io::Error::other)?;
        let asked: Vec<IpAddr> = gateways.iter().copied().collect();
        let transmitter = Transmitter::open(link, Arc::clone(&ways.scope), &asked);
        Ok(Self {
            link: link.clone(),
            link_type,
            ring,
            transmitter: transmitter.map_err(io::Error::other)?,
            templates: addresses
                .into_iter()
                .map(|source| (source, SynTemplate::new(framing, source)))
                .collect(),
            gateways,
        })
    }

    /// Has frames pass by the best way there is besides packet sockets; else why there is none.
    fn take_frames(&mut self, ports: &RangeInclusive<u16>, io: IoChoice) -> Result<(), WhyNot> {
        let addresses: Vec<IpAddr> = self.templates.iter().map(|(source, _)| *source).collect();
        let wanted = Wanted {
            link_type: self.link_type,
            addresses: &addresses,
            ports: ports.clone(),
        };
        let halves = frames::open(&self.link, &wanted, io)?;
        self.transmitter.send_by(Some(halves.sender));
        self.ring.receive_by(halves.receiver);
        Ok(())
    }

    /// Has frames pass by packet sockets alone.
    fn leave_frames(&mut self) {
        self.transmitter.send_by(None);
        self.ring.receive_by(None);
    }

    fn template_of(&self, source: IpAddr) -> Option<usize> {
        self.templates.iter().position(|(it, _)| *it == source)
    }

    /// When `captured`, by the kernel's clock, was, on the clock of the run that began at `start`.
    pub(crate) fn moment(captured: Duration, clock: Clock) -> Moment {
        let age = clock.kernel.saturating_sub(captured);
        Moment::after_start(clock.run.saturating_sub(age))
    }
}

/// The same moment on two clocks.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Since 1970, as the kernel stamps frames.
    pub(crate) kernel: Duration,
    /// Since the start of the run.
    pub(crate) run: Duration,
}

/// How many requests leave together at `rate` a second, and how long until the next.
fn together(rate: f64) -> (usize, Duration) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between one and fifty"
    )]
    let together = (rate * REQUESTS_EVERY.as_secs_f64()).max(1.0) as u32;
    let pause = Duration::from_secs_f64(f64::from(together) / rate);
    (usize::try_from(together).unwrap_or(1), pause)
}

/// How packets pass an interface, and why not better.
fn passage(name: &Text, taken: Result<(), WhyNot>) -> String {
    match taken {
        Ok(()) => format!("packets leave {name} by an XDP socket"),
        Err(why) => format!("packets leave {name} by a packet socket: {why}"),
    }
}

fn reason_of(error: &RouteError) -> Reason {
    match error {
        RouteError::Blackhole(_) | RouteError::Prohibited(_) => Reason::LocalPolicy,
        _ => Reason::NoRoute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_the_rate() {
        for (rate, expected) in [(5_000.0, 50), (250.0, 2), (10.0, 1), (0.1, 1)] {
            let (together, pause) = together(rate);
            assert_eq!(together, expected);
            let every = f64::from(u32::try_from(together).unwrap()) / rate;
            assert!((pause.as_secs_f64() - every).abs() < 1e-6);
        }
    }
}
