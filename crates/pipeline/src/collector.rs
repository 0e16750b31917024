//! Gathers what the sweep and the first looks find, host by host, and makes events and the final
//! document of it. No waiting here: it is told, and it answers.

use crate::checkpoint::{Checkpoint, SavedCounts, Snapshot, UnderWay};
use crate::discovery::Looked;
use crate::ended::{EndedHosts, FoundHosts, Names, Telling};
use crate::host_record::HostRecord;
use crate::own::Own;
use crate::silent::Silent;
use crate::sweep::Find;
use crate::udp_sweep::UdpFind;
use portolan_identify::Outcome;
use portolan_model::{
    Depth, Endpoint, Event, HostReport, Incomplete, Plan, PortSet, Progress, Reason, Run, Shard,
    State, Text, Transport, Unanswered,
};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// First looks at one host. A host with more open ports than this answers everywhere, and its
/// ports tell nothing new.
const LOOKS_PER_HOST_MAX: usize = 1_024;
/// First looks at one host that in a row show nothing, after which the rest of its ports is not
/// looked at: each of them would take as long as a look may.
const MUTE_LOOKS_MAX: u32 = 64;
/// First looks at a host that says open for every port it is asked.
const EVERYTHING_LOOKS_MAX: usize = 24;
/// Events that wait for their reader, beyond which nothing more is heard.
const EVENTS_WAITING_MAX: usize = 4_096;
/// First looks that wait for their turn, beyond which nothing more is heard.
const LOOKS_WAITING_MAX: usize = 4_096;

/// A first look to be held.
pub(crate) struct PendingLook {
    pub(crate) endpoint: Endpoint,
    pub(crate) rtt: Option<Duration>,
    pub(crate) name: Option<String>,
    pub(crate) connection: Option<OwnedFd>,
}

/// Everything found so far.
pub(crate) struct Collector {
    plan: Plan,
    names: Names,
    own: Own,
    hosts: HashMap<IpAddr, HostRecord>,
    ended: EndedHosts,
    silent: Silent,
    silent_before: Unanswered,
    /// Ports of hosts that ended without an answer.
    reasons: BTreeMap<Reason, u64>,
    /// Ports that were not tested, of all hosts that ended.
    not_tested: BTreeMap<Reason, u64>,
    /// Hosts of the window under way that were not discovered. A checkpoint leaves them out: a
    /// resumed run looks for them again.
    undiscovered: Vec<IpAddr>,
    windows_ended: u64,
    /// Decided ports of the window under way.
    decided: u64,
    open: u64,
    events: VecDeque<Event>,
    /// The newest figures that were not told yet.
    progress: Option<Progress>,
    looks: VecDeque<PendingLook>,
    /// Ports that are asked and looked at even of hosts that answer everything.
    telling: PortSet,
}

impl Collector {
    /// A collector for `plan` on a machine with these addresses and sockets.
    pub(crate) fn new(plan: &Plan, own: Own) -> Self {
        Self {
            plan: plan.clone(),
            names: Names::new(&plan.names),
            own,
            hosts: HashMap::new(),
            ended: EndedHosts::default(),
            silent: Silent::default(),
            silent_before: Unanswered::default(),
            reasons: BTreeMap::new(),
            not_tested: BTreeMap::new(),
            undiscovered: Vec::new(),
            windows_ended: 0,
            decided: 0,
            open: 0,
            events: VecDeque::new(),
            progress: None,
            looks: VecDeque::new(),
            telling: telling(&plan.tcp),
        }
    }

    /// Takes over what an earlier part of the run found, and tells it again.
    pub(crate) fn resume(&mut self, checkpoint: Checkpoint) {
        self.windows_ended = checkpoint.windows_ended;
        self.silent_before = checkpoint.unanswered;
        self.not_tested = checkpoint.not_tested.into_iter().collect();
        self.ended = EndedHosts::restore(checkpoint.ended);
        self.open = self.ended.open();
        for saved in checkpoint.hosts {
            let (ip, record) = HostRecord::restore(saved);
            if record.window >= self.windows_ended {
                self.decided = self.decided.saturating_add(record.decided_count());
            }
            let names = self.names.of(ip);
            for ((transport, port), open) in &record.open {
                self.open = self.open.saturating_add(1);
                self.events.push_back(Event::Port {
                    ip,
                    names: names.clone(),
                    port: open.report(*transport, *port),
                });
                if open.look_pending {
                    let endpoint = Endpoint::tcp(ip, *port);
                    self.looks
                        .push_back(self.pending_look(endpoint, record.rtt(), None));
                } else {
                    let report = open.report(*transport, *port);
                    self.events.push_back(service_event(ip, report));
                }
            }
            self.hosts.insert(ip, record);
        }
    }

    /// Ports of hosts under way that are decided, for the sweep to pass over.
    pub(crate) fn decided(&self, transport: Transport) -> HashMap<IpAddr, RoaringBitmap> {
        let under_way = self
            .hosts
            .iter()
            .filter(|(_, host)| host.window >= self.windows_ended);
        under_way
            .map(|(ip, host)| (*ip, host.decided(transport)))
            .collect()
    }

    /// Takes decided ports of window `window`; their open connections go to the first looks.
    /// Answers how many connections were closed because no look will use them.
    pub(crate) fn take(&mut self, window: u64, finds: Vec<Find>) -> u32 {
        let mut closed = 0_u32;
        for Find {
            verdict,
            connection,
        } in finds
        {
            let Endpoint {
                address: ip, port, ..
            } = verdict.endpoint;
            let host = self
                .hosts
                .entry(ip)
                .or_insert_with(|| HostRecord::new(window));
            let key = (Transport::Tcp, port);
            let before = host.answers_everything();
            let is_new = host.decide(key, verdict.reason, verdict.probes, verdict.rtt);
            let shows_everything = !before && host.answers_everything();
            self.decided = self.decided.saturating_add(u64::from(is_new));
            if is_new && verdict.reason == Reason::SynAck {
                let held = u32::from(connection.is_some());
                if !self.take_open(verdict.endpoint, connection) {
                    closed = closed.saturating_add(held);
                }
            } else {
                closed = closed.saturating_add(u32::from(connection.is_some()));
            }
            if shows_everything {
                closed = closed.saturating_add(self.pass_over_everything(ip));
            }
        }
        closed
    }

    /// A host says open for everything: of its ports that wait for a look only the most telling get
    /// one. Answers how many connections were closed.
    fn pass_over_everything(&mut self, ip: IpAddr) -> u32 {
        let (mut closed, mut kept) = (0_u32, 0);
        let mut passed_over = Vec::new();
        let telling = &self.telling;
        self.looks.retain(|look| {
            let is_kept = look.endpoint.address != ip
                || (telling.contains(look.endpoint.port) && kept < EVERYTHING_LOOKS_MAX);
            if !is_kept {
                passed_over.push(look.endpoint);
                closed = closed.saturating_add(u32::from(look.connection.is_some()));
            } else if look.endpoint.address == ip {
                kept += 1;
            }
            is_kept
        });
        for endpoint in passed_over {
            self.pass_over(endpoint, "this host says open for every port it is asked");
        }
        closed
    }

    /// Takes what is known of hosts of window `window` beside their ports.
    pub(crate) fn take_hosts(&mut self, window: u64, looked: Looked) {
        for host in looked.seen {
            let record = self.hosts.entry(host.address);
            let record = record.or_insert_with(|| HostRecord::new(window));
            record.see(&host);
        }
        let ports = self.ports_each();
        for ip in looked.undiscovered {
            let mut known = 0;
            if let Some(record) = self.hosts.get_mut(&ip) {
                known = record.decided_count();
                record.leave_undecided(Transport::Tcp, &self.plan.tcp, Reason::NotDiscovered);
                record.leave_undecided(Transport::Udp, &self.plan.udp, Reason::NotDiscovered);
            } else {
                self.undiscovered.push(ip);
            }
            let new = ports.saturating_sub(known);
            self.decided = self.decided.saturating_add(new);
        }
    }

    /// Ports that are asked of each host.
    fn ports_each(&self) -> u64 {
        u64::from(self.plan.tcp.len()).saturating_add(u64::from(self.plan.udp.len()))
    }

    /// Counts the hosts that were not discovered, none of whose ports is asked.
    fn end_undiscovered(&mut self) {
        let ports = self.ports_each();
        for ip in std::mem::take(&mut self.undiscovered) {
            add(&mut self.not_tested, Reason::NotDiscovered, ports);
            add(&mut self.reasons, Reason::NotDiscovered, ports);
            self.silent.insert(ip);
        }
    }

    /// Hosts under way that are up, for which nobody needs to look again.
    pub(crate) fn known(&self) -> HashSet<IpAddr> {
        let under_way = self
            .hosts
            .iter()
            .filter(|(_, host)| host.window >= self.windows_ended && host.is_up());
        under_way.map(|(ip, _)| *ip).collect()
    }

    /// Takes decided UDP ports of window `window`; what an open one answered is its first look.
    pub(crate) fn take_udp(&mut self, window: u64, finds: Vec<UdpFind>) {
        for UdpFind { verdict, shown } in finds {
            let Endpoint {
                address: ip, port, ..
            } = verdict.endpoint;
            let host = self
                .hosts
                .entry(ip)
                .or_insert_with(|| HostRecord::new(window));
            let key = (Transport::Udp, port);
            let is_new = host.decide(key, verdict.reason, verdict.probes, verdict.rtt);
            self.decided = self.decided.saturating_add(u64::from(is_new));
            let open = host.open.get_mut(&key).filter(|_| is_new);
            let Some(open) = open else {
                continue;
            };
            self.open = self.open.saturating_add(1);
            let names = self.names.of(ip);
            let report = open.report(Transport::Udp, port);
            self.events.push_back(Event::Port {
                ip,
                names,
                port: report,
            });
            if self.plan.depth != Depth::Ports {
                open.end_look(shown.unwrap_or_default());
                let report = open.report(Transport::Udp, port);
                self.events.push_back(service_event(ip, report));
            }
        }
    }

    /// Tells of an open port that its host's record has; `false`: no look at it will be held.
    fn take_open(&mut self, endpoint: Endpoint, connection: Option<OwnedFd>) -> bool {
        let Endpoint {
            address: ip, port, ..
        } = endpoint;
        let names = self.names.of(ip);
        let Some(host) = self.hosts.get_mut(&ip) else {
            return false;
        };
        let (rtt, open_ports, is_mute) = (host.rtt(), host.open_tcp(), is_mute(host));
        let Some(open) = host.open.get_mut(&(Transport::Tcp, port)) else {
            return false;
        };
        self.open = self.open.saturating_add(1);
        let report = open.report(Transport::Tcp, port);
        self.events.push_back(Event::Port {
            ip,
            names,
            port: report,
        });
        if self.plan.depth == Depth::Ports {
            return false;
        }
        open.look_pending = true;
        if open_ports > LOOKS_PER_HOST_MAX {
            self.pass_over(
                endpoint,
                &format!("more than {LOOKS_PER_HOST_MAX} ports of this host are open"),
            );
            return false;
        }
        if is_mute {
            self.pass_over_mute(endpoint);
            return false;
        }
        let look = self.pending_look(endpoint, rtt, connection);
        self.looks.push_back(look);
        true
    }

    /// Whether there is room for what the sweep says next. While there is none, the sweep waits.
    pub(crate) fn has_room(&self) -> bool {
        self.events.len() < EVENTS_WAITING_MAX && self.looks.len() < LOOKS_WAITING_MAX
    }

    /// First looks that wait for their turn.
    pub(crate) fn looks_waiting(&self) -> usize {
        self.looks.len()
    }

    /// The next first look; [`Collector::put_back`] takes one whose turn has not come.
    pub(crate) fn next_look(&mut self) -> Option<PendingLook> {
        self.looks.pop_front()
    }

    /// Lets a look wait on, behind all others.
    pub(crate) fn put_back(&mut self, look: PendingLook) {
        self.looks.push_back(look);
    }

    /// Whether so many looks at `ip` showed nothing that no further one is worth its time.
    pub(crate) fn is_mute(&self, ip: IpAddr) -> bool {
        self.hosts.get(&ip).is_some_and(is_mute)
    }

    /// Takes the outcome of a first look.
    pub(crate) fn take_look(&mut self, endpoint: Endpoint, outcome: Outcome) {
        let Some(host) = self.hosts.get_mut(&endpoint.address) else {
            return;
        };
        host.mute_looks = if outcome.service.is_some() {
            0
        } else {
            host.mute_looks.saturating_add(1)
        };
        self.end_look(endpoint, outcome);
    }

    /// Ends the look at a port without holding it; `why` is said.
    pub(crate) fn pass_over(&mut self, endpoint: Endpoint, why: &str) {
        let outcome = Outcome {
            service: None,
            incomplete: vec![not_looked_at(why)],
        };
        self.end_look(endpoint, outcome);
    }

    /// Ends the look at a port of a mute host without holding it.
    pub(crate) fn pass_over_mute(&mut self, endpoint: Endpoint) {
        self.pass_over(
            endpoint,
            &format!("{MUTE_LOOKS_MAX} ports of this host before it said nothing"),
        );
    }

    fn end_look(&mut self, endpoint: Endpoint, outcome: Outcome) {
        let ip = endpoint.address;
        let Some(host) = self.hosts.get_mut(&ip) else {
            return;
        };
        let key = (endpoint.transport, endpoint.port);
        let Some(open) = host.open.get_mut(&key) else {
            return;
        };
        open.end_look(outcome);
        let report = open.report(endpoint.transport, endpoint.port);
        let event = service_event(ip, report);
        self.events.push_back(event);
        if self.hosts.get(&ip).is_some_and(|host| self.is_ended(host)) {
            self.end_host(ip);
        }
    }

    /// All workers have ended window `window`.
    pub(crate) fn end_window(&mut self, window: u64) {
        self.end_undiscovered();
        self.windows_ended = window.saturating_add(1);
        self.decided = 0;
        let hosts = self.hosts.iter();
        let mut ended: Vec<IpAddr> = hosts
            .filter(|(_, host)| self.is_ended(host))
            .map(|(ip, _)| *ip)
            .collect();
        ended.sort_unstable();
        for ip in ended {
            self.end_host(ip);
        }
    }

    /// Ends the hosts that are under way although ports of them are undecided, for `reason`.
    /// Answers how many open ports were not looked at for it.
    pub(crate) fn end_early(&mut self, reason: Reason) -> u64 {
        self.end_undiscovered();
        let mut passed_over = 0_u64;
        let mut under_way: Vec<IpAddr> = self.hosts.keys().copied().collect();
        under_way.sort_unstable();
        for ip in under_way {
            let Some(mut host) = self.hosts.remove(&ip) else {
                continue;
            };
            // What the end of the run leaves undecided is counted as a whole, not by host.
            self.count(&host);
            // Which ports a part of a sharded run would have asked is not known here.
            let whole = self.plan.shard == Shard::WHOLE;
            if whole && host.window >= self.windows_ended && host.has_answered() {
                host.leave_undecided(Transport::Tcp, &self.plan.tcp, reason);
                host.leave_undecided(Transport::Udp, &self.plan.udp, reason);
            }
            for open in host.open.values_mut().filter(|open| open.look_pending) {
                open.end_look(Outcome {
                    service: None,
                    incomplete: vec![not_looked_at(&reason.to_string())],
                });
                passed_over = passed_over.saturating_add(1);
            }
            self.keep(ip, &host);
        }
        passed_over
    }

    /// Open ports found so far.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// Windows that have ended.
    pub(crate) fn windows_ended(&self) -> u64 {
        self.windows_ended
    }

    /// Ports of the window under way that are decided, by this part of the run or an earlier one.
    pub(crate) fn decided_in_window(&self) -> u64 {
        self.decided
    }

    /// How many ports were not tested for `reason`, over all hosts that have ended.
    pub(crate) fn not_tested(&self, reason: Reason) -> u64 {
        self.not_tested.get(&reason).copied().unwrap_or(0)
    }

    /// Tells `event` after what waits already.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Tells `progress` in place of older figures that still wait.
    pub(crate) fn tell_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// Whether [`Collector::next_event`] has one.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty() || self.progress.is_some() || self.ended.has_to_tell()
    }

    /// The next event to tell. Hosts that ended come when nothing else waits, so that each comes
    /// after its ports; they wait as what they are, and not as events.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        // The start of the run comes before every figure.
        let is_start = matches!(self.events.front(), Some(Event::RunStarted { .. }));
        if !is_start && let Some(progress) = self.progress.take() {
            return Some(Event::Progress { progress });
        }
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        match self.ended.next_to_tell(&self.names)? {
            Telling::Alone(host) => Some(Event::Host { host }),
            Telling::WithPorts(host) => {
                self.tell_again(host);
                self.events.pop_front()
            }
        }
    }

    /// Forgets every event that waits: nobody listens.
    pub(crate) fn forget_events(&mut self) {
        self.events.clear();
        self.progress = None;
        self.ended.forget_to_tell();
    }

    /// The state for a checkpoint.
    pub(crate) fn save<'a>(&'a self, run: &'a Run, counts: SavedCounts) -> Snapshot<'a> {
        Snapshot {
            plan: &self.plan,
            run,
            windows_ended: self.windows_ended,
            ended: &self.ended,
            unanswered: self.unanswered(),
            not_tested: self.not_tested.iter().map(|(r, n)| (*r, *n)).collect(),
            hosts: UnderWay(&self.hosts),
            counts,
        }
    }

    /// The hosts that answered, by address, and those that did not.
    pub(crate) fn finish(self) -> (FoundHosts, Unanswered) {
        let unanswered = self.unanswered();
        (self.ended.finish(self.names), unanswered)
    }

    /// Addresses that did not answer.
    pub(crate) fn unanswered(&self) -> Unanswered {
        let mut addresses = self.silent.addresses();
        addresses.extend_from(&self.silent_before.addresses);
        let mut counts: BTreeMap<Reason, u64> = self.reasons.clone();
        for (reason, count) in &self.silent_before.reasons {
            add(&mut counts, *reason, *count);
        }
        let mut reasons: Vec<(Reason, u64)> = counts.into_iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        Unanswered { addresses, reasons }
    }

    fn is_ended(&self, host: &HostRecord) -> bool {
        host.window < self.windows_ended && !host.awaits_looks()
    }

    fn end_host(&mut self, ip: IpAddr) {
        if let Some(host) = self.hosts.remove(&ip) {
            self.count(&host);
            self.keep(ip, &host);
        }
    }

    /// Adds the ports of a host that has ended to the counts.
    fn count(&mut self, host: &HostRecord) {
        for (reason, count) in host.reasons() {
            if reason.tcp_state() == State::NotTested {
                add(&mut self.not_tested, reason, count);
            }
            if !host.has_answered() {
                add(&mut self.reasons, reason, count);
            }
        }
    }

    /// Keeps what is shown of a host that has ended.
    fn keep(&mut self, ip: IpAddr, host: &HostRecord) {
        if !host.has_answered() {
            self.silent.insert(ip);
        } else {
            let mut outcome = host.outcome();
            self.own.join(ip, &mut outcome.open);
            self.ended.add(ip, host, &outcome);
        }
    }

    /// Tells a host that an earlier part of the run found, ports first.
    fn tell_again(&mut self, host: HostReport) {
        let open = host.ports.iter().filter(|port| port.state == State::Open);
        for port in open {
            let service = service_event(host.ip, port.clone());
            let mut port = port.clone();
            // What speaks there comes with the event after.
            port.service = None;
            port.incomplete = Vec::new();
            self.events.push_back(Event::Port {
                ip: host.ip,
                names: host.names.clone(),
                port,
            });
            self.events.push_back(service);
        }
        self.events.push_back(Event::Host { host });
    }

    fn pending_look(
        &self,
        endpoint: Endpoint,
        rtt: Option<Duration>,
        connection: Option<OwnedFd>,
    ) -> PendingLook {
        let name = self.names.of(endpoint.address).into_iter().next();
        PendingLook {
            endpoint,
            rtt,
            name: name.map(String::from),
            connection,
        }
    }
}

/// The ports of `asked` that are likeliest to have something to say.
pub(crate) fn telling(asked: &PortSet) -> PortSet {
    let listed = portolan_catalog::ports::tcp().iter().map(|it| it.port);
    let asked = listed.filter(|port| asked.contains(*port));
    asked.take(EVERYTHING_LOOKS_MAX).collect()
}

fn is_mute(host: &HostRecord) -> bool {
    host.mute_looks >= MUTE_LOOKS_MAX
}

fn add(counts: &mut BTreeMap<Reason, u64>, reason: Reason, count: u64) {
    let sum = counts.entry(reason).or_default();
    *sum = sum.saturating_add(count);
}

fn not_looked_at(why: &str) -> Incomplete {
    Incomplete {
        fact: "service".to_owned(),
        why: Text::from(format!("not looked at: {why}")),
    }
}

fn service_event(ip: IpAddr, port: portolan_model::PortReport) -> Event {
    Event::Service {
        ip,
        transport: port.transport,
        port: port.port,
        service: port.service,
        incomplete: port.incomplete,
    }
}

#[cfg(test)]
#[path = "collector_tests.rs"]
pub(crate) mod tests;
