//! Gathers what the sweep and the first looks find, host by host, and makes events and the final
//! document of it. No waiting here: it is told, and it answers.

use crate::checkpoint::{Checkpoint, SavedCounts};
use crate::host_record::{HostRecord, OpenPort};
use crate::own::Own;
use crate::sweep::Find;
use portolan_identify::Outcome;
use portolan_model::{
    AddressSet, Depth, Endpoint, Event, HostReport, Incomplete, Plan, Reason, Shard, Text,
    Transport, Unanswered,
};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// First looks at one host. A host with more open ports than this answers everywhere, and its
/// ports tell nothing new.
const LOOKS_PER_HOST_MAX: usize = 1_024;

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
    names: HashMap<IpAddr, Vec<Text>>,
    own: Own,
    hosts: HashMap<IpAddr, HostRecord>,
    ended: Vec<HostReport>,
    silent: Vec<IpAddr>,
    silent_before: Unanswered,
    reasons: BTreeMap<Reason, u64>,
    windows_ended: u64,
    open: u64,
    pub(crate) events: VecDeque<Event>,
    pub(crate) looks: VecDeque<PendingLook>,
}

impl Collector {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut names: HashMap<IpAddr, Vec<Text>> = HashMap::new();
        for target in &plan.names {
            for address in &target.addresses {
                names.entry(*address).or_default().push(target.name.clone());
            }
        }
        Self {
            plan: plan.clone(),
            names,
            own: Own::read(),
            hosts: HashMap::new(),
            ended: Vec::new(),
            silent: Vec::new(),
            silent_before: Unanswered::default(),
            reasons: BTreeMap::new(),
            windows_ended: 0,
            open: 0,
            events: VecDeque::new(),
            looks: VecDeque::new(),
        }
    }

    /// Takes over what an earlier part of the run found, and tells it again.
    pub(crate) fn resume(&mut self, checkpoint: &Checkpoint) {
        self.windows_ended = checkpoint.windows_ended;
        self.silent_before = checkpoint.unanswered.clone();
        for host in &checkpoint.hosts_ended {
            self.tell_again(host);
            self.ended.push(host.clone());
        }
        for saved in &checkpoint.hosts {
            let (ip, record) = HostRecord::restore(saved.clone());
            let names = self.names_of(ip);
            for (port, open) in &record.open {
                self.open = self.open.saturating_add(1);
                let port_event = open.report.clone();
                self.events.push_back(Event::Port {
                    ip,
                    names: names.clone(),
                    port: port_event,
                });
                if open.look_pending {
                    let endpoint = Endpoint::tcp(ip, *port);
                    self.looks
                        .push_back(self.pending_look(endpoint, record.rtt(), None));
                } else {
                    self.events.push_back(service_event(ip, open));
                }
            }
            self.hosts.insert(ip, record);
        }
    }

    /// Ports of hosts under way that are decided, for the sweep to pass over.
    pub(crate) fn decided(&self) -> HashMap<IpAddr, RoaringBitmap> {
        let under_way = self
            .hosts
            .iter()
            .filter(|(_, host)| host.window >= self.windows_ended);
        under_way
            .map(|(ip, host)| (*ip, host.decided().map(u32::from).collect()))
            .collect()
    }

    /// Takes decided ports of window `window`; their open connections go to the first looks.
    pub(crate) fn take(&mut self, window: u64, finds: Vec<Find>) {
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
            host.decide(port, verdict.reason, verdict.probes, verdict.rtt);
            if verdict.reason != Reason::SynAck {
                continue;
            }
            let (rtt, looked_at) = (host.rtt(), host.open.len());
            self.open = self.open.saturating_add(1);
            let names = self.names_of(ip);
            let Some(open) = self
                .hosts
                .get_mut(&ip)
                .and_then(|host| host.open.get_mut(&port))
            else {
                continue;
            };
            let report = open.report.clone();
            self.events.push_back(Event::Port {
                ip,
                names,
                port: report,
            });
            if self.plan.depth == Depth::Ports {
                continue;
            }
            if looked_at > LOOKS_PER_HOST_MAX {
                open.report.incomplete.push(Incomplete {
                    fact: "service".to_owned(),
                    why: Text::from(format!(
                        "not looked at: more than {LOOKS_PER_HOST_MAX} ports of this host are open"
                    )),
                });
                let event = service_event(ip, open);
                self.events.push_back(event);
            } else {
                open.look_pending = true;
                let look = self.pending_look(verdict.endpoint, rtt, connection);
                self.looks.push_back(look);
            }
        }
    }

    /// Takes the outcome of a first look.
    pub(crate) fn take_look(&mut self, endpoint: Endpoint, outcome: Outcome) {
        let ip = endpoint.address;
        let Some(host) = self.hosts.get_mut(&ip) else {
            return;
        };
        let Some(open) = host.open.get_mut(&endpoint.port) else {
            return;
        };
        open.look_pending = false;
        open.report.service = outcome.service;
        open.report.incomplete = outcome.incomplete;
        let event = service_event(ip, open);
        self.events.push_back(event);
        if self.hosts.get(&ip).is_some_and(|host| self.is_ended(host)) {
            self.end_host(ip);
        }
    }

    /// All workers have ended window `window`.
    pub(crate) fn end_window(&mut self, window: u64) {
        self.windows_ended = window.saturating_add(1);
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
    pub(crate) fn end_early(&mut self, reason: Reason) {
        let mut under_way: Vec<IpAddr> = self.hosts.keys().copied().collect();
        under_way.sort_unstable();
        for ip in under_way {
            let whole = self.plan.shard == Shard::WHOLE;
            if let Some(host) = self.hosts.get_mut(&ip) {
                // Which ports a part of a sharded run would have asked is not known here.
                if whole && host.window >= self.windows_ended && host.has_answered() {
                    host.leave_undecided(&self.plan.tcp, reason);
                }
                for open in host.open.values_mut().filter(|open| open.look_pending) {
                    open.look_pending = false;
                    open.report.incomplete.push(Incomplete {
                        fact: "service".to_owned(),
                        why: Text::from(format!("not looked at: {reason}")),
                    });
                }
            }
            self.end_host(ip);
        }
    }

    /// Open ports found so far.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// How many ports ended for `reason`, over hosts that have ended.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.reasons.get(&reason).copied().unwrap_or(0)
    }

    /// The state for a checkpoint.
    pub(crate) fn save(&self, run: portolan_model::Run, counts: SavedCounts) -> Checkpoint {
        Checkpoint {
            plan: self.plan.clone(),
            run,
            windows_ended: self.windows_ended,
            hosts_ended: self.ended.clone(),
            unanswered: self.unanswered(),
            hosts: self.hosts.iter().map(|(ip, host)| host.save(*ip)).collect(),
            counts,
        }
    }

    /// The hosts that answered, by address, and those that did not.
    pub(crate) fn finish(&mut self) -> (Vec<HostReport>, Unanswered) {
        let unanswered = self.unanswered();
        let mut hosts = std::mem::take(&mut self.ended);
        hosts.sort_by_key(|host| host.ip);
        (hosts, unanswered)
    }

    fn unanswered(&self) -> Unanswered {
        let mut addresses: AddressSet = self.silent.iter().copied().collect();
        addresses.extend_from(&self.silent_before.addresses);
        let mut counts: BTreeMap<Reason, u64> = self.reasons.clone();
        for (reason, count) in &self.silent_before.reasons {
            let sum = counts.entry(*reason).or_default();
            *sum = sum.saturating_add(*count);
        }
        let mut reasons: Vec<(Reason, u64)> = counts.into_iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        Unanswered { addresses, reasons }
    }

    fn is_ended(&self, host: &HostRecord) -> bool {
        host.window < self.windows_ended && !host.open.values().any(|open| open.look_pending)
    }

    fn end_host(&mut self, ip: IpAddr) {
        let Some(host) = self.hosts.remove(&ip) else {
            return;
        };
        if !host.has_answered() {
            self.silent.push(ip);
            for (reason, count) in host.reasons() {
                let sum = self.reasons.entry(reason).or_default();
                *sum = sum.saturating_add(count);
            }
            return;
        }
        let mut report = host.report(ip, self.names_of(ip));
        self.own.join(&mut report);
        self.events.push_back(Event::Host {
            host: report.clone(),
        });
        self.ended.push(report);
    }

    fn tell_again(&mut self, host: &HostReport) {
        for port in host
            .ports
            .iter()
            .filter(|port| port.reason == Reason::SynAck)
        {
            self.open = self.open.saturating_add(1);
            let (ip, names) = (host.ip, host.names.clone());
            self.events.push_back(Event::Port {
                ip,
                names,
                port: port.clone(),
            });
            let open = OpenPort {
                report: port.clone(),
                look_pending: false,
            };
            self.events.push_back(service_event(ip, &open));
        }
        self.events.push_back(Event::Host { host: host.clone() });
    }

    fn pending_look(
        &self,
        endpoint: Endpoint,
        rtt: Option<Duration>,
        connection: Option<OwnedFd>,
    ) -> PendingLook {
        let name = self
            .names
            .get(&endpoint.address)
            .and_then(|names| names.first());
        let name = name.map(|name| name.as_str().to_owned());
        PendingLook {
            endpoint,
            rtt,
            name,
            connection,
        }
    }

    fn names_of(&self, ip: IpAddr) -> Vec<Text> {
        self.names.get(&ip).cloned().unwrap_or_default()
    }
}

fn service_event(ip: IpAddr, open: &OpenPort) -> Event {
    Event::Service {
        ip,
        transport: Transport::Tcp,
        port: open.report.port,
        service: open.report.service.clone(),
        incomplete: open.report.incomplete.clone(),
    }
}
