//! The network between the scanning machine and the hosts, in virtual time.
//!
//! An attempt behaves as the kernel's `connect` does: it sends a SYN, repeats it after 1, 3 and 7
//! seconds (RFC 6298 §5.5 with the initial second of §2.1), and hears nothing after it was given
//! up, also when its id is in use again.

use crate::{Dice, Host, Machine, PortAnswer, Presence};
use portolan_model::{Endpoint, Moment};
use portolan_scan::{DialId, Reply};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::time::Duration;

/// Hosts, packets under way and attempts that wait for them.
#[derive(Debug)]
pub struct Network {
    dice: Dice,
    machine: Machine,
    hosts: BTreeMap<IpAddr, Host>,
    /// Attempts under way, by id: the number that tells an attempt from the one before.
    attempts: Vec<Option<u64>>,
    attempts_begun: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// Attempts that wait for a neighbour that does not answer.
    unresolved: BTreeMap<IpAddr, Vec<Ticket>>,
}

/// One attempt, however often its id is used again.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    id: DialId,
    attempt: u64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A SYN reaches the policer of its host.
    Arrives(Ticket, Endpoint),
    /// An answer reaches the scanning machine.
    Comes(Ticket, Reply),
    /// The kernel repeats the SYN of an attempt, the next time after this much more.
    Repeats(Ticket, Endpoint, Duration),
    /// Neighbour discovery gives up.
    Unresolved(IpAddr),
}

#[derive(Debug)]
struct Scheduled {
    at: Moment,
    number: u64,
    event: Event,
}

/// First repetition of a SYN; each further one waits twice as long.
const REPEAT_FIRST: Duration = Duration::from_secs(1);
/// The kernel's three requests, a second each (RFC 4861 §10; the same for ARP on Linux).
const NEIGHBOUR_WAIT: Duration = Duration::from_secs(3);

impl Network {
    /// A network without hosts: every address is silent.
    pub const fn new(seed: u64, machine: Machine) -> Self {
        Self {
            dice: Dice::new(seed),
            machine,
            hosts: BTreeMap::new(),
            attempts: Vec::new(),
            attempts_begun: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            unresolved: BTreeMap::new(),
        }
    }

    /// Puts `host` at `address`.
    pub fn add(&mut self, address: IpAddr, host: Host) {
        self.hosts.insert(address, host);
    }

    /// The host at `address`.
    pub fn host(&self, address: IpAddr) -> Option<&Host> {
        self.hosts.get(&address)
    }

    /// Whether an attempt of this id is under way.
    pub fn is_under_way(&self, id: DialId) -> bool {
        self.attempts.get(index(id)).is_some_and(Option::is_some)
    }

    /// Begins an attempt; returns how it ended, where that is known at once.
    pub fn begin(&mut self, now: Moment, id: DialId, endpoint: Endpoint) -> Option<Reply> {
        if !self.machine.begin(id, &mut self.dice) {
            return Some(Reply::LocalLimit);
        }
        let ticket = self.ticket(id);
        match self.hosts.get(&endpoint.address).map(Host::presence) {
            Some(Presence::Present) => self.send(now, ticket, endpoint, REPEAT_FIRST),
            Some(Presence::AbsentNeighbour) => self.resolve(now, ticket, endpoint.address),
            Some(Presence::Forbidden) => return Some(self.end(id, Reply::LocalPolicy)),
            Some(Presence::NoRoute) => return Some(self.end(id, Reply::NoRoute)),
            None => {}
        }
        None
    }

    /// Gives up an attempt; its socket stays open for the next one of this id.
    pub fn give_up(&mut self, id: DialId) {
        if let Some(attempt) = self.attempts.get_mut(index(id)) {
            *attempt = None;
        }
    }

    /// Closes the open connection of an attempt that was accepted.
    pub fn close(&mut self, id: DialId) {
        self.machine.close(id);
    }

    /// When something happens next.
    pub fn next_event(&mut self) -> Option<Moment> {
        while let Some(Reverse(next)) = self.events.peek() {
            let ended = match next.event {
                Event::Comes(ticket, _) | Event::Repeats(ticket, ..) => !self.waits(ticket),
                Event::Arrives(..) | Event::Unresolved(_) => false,
            };
            if !ended {
                return Some(next.at);
            }
            self.events.pop();
        }
        None
    }

    /// Lets everything happen up to `now` and adds the replies that came.
    pub fn advance(&mut self, now: Moment, replies: &mut Vec<(DialId, Reply)>) {
        while self.next_event().is_some_and(|moment| moment <= now) {
            let Some(Reverse(Scheduled { at, event, .. })) = self.events.pop() else {
                return;
            };
            match event {
                Event::Arrives(ticket, endpoint) => self.arrive(at, ticket, endpoint),
                Event::Comes(ticket, reply) => {
                    replies.push((ticket.id, self.end(ticket.id, reply)));
                }
                Event::Repeats(ticket, endpoint, wait) => self.send(at, ticket, endpoint, wait),
                Event::Unresolved(address) => self.fail_neighbour(address, replies),
            }
        }
    }

    /// A SYN leaves; unless the attempt ends before, another follows after `wait`.
    fn send(&mut self, now: Moment, ticket: Ticket, endpoint: Endpoint, wait: Duration) {
        self.schedule(
            now + wait,
            Event::Repeats(ticket, endpoint, wait.saturating_mul(2)),
        );
        let Some(host) = self.hosts.get(&endpoint.address) else {
            return;
        };
        let Some(way) = host.path().there(&mut self.dice) else {
            return;
        };
        if host.is_policed() {
            self.schedule(now + way, Event::Arrives(ticket, endpoint));
        } else {
            self.answer(now + way, ticket, endpoint);
        }
    }

    /// A SYN arrives at a policer. That its attempt was given up changes nothing for the policer.
    fn arrive(&mut self, now: Moment, ticket: Ticket, endpoint: Endpoint) {
        let policer = self
            .hosts
            .get_mut(&endpoint.address)
            .and_then(Host::policer);
        if policer.is_none_or(|policer| policer.passes(now)) {
            self.answer(now, ticket, endpoint);
        }
    }

    /// The host answers a SYN at `now`, which may lie ahead.
    fn answer(&mut self, now: Moment, ticket: Ticket, endpoint: Endpoint) {
        let Some(host) = self.hosts.get(&endpoint.address) else {
            return;
        };
        let (reply, after) = match host.answer(endpoint.port) {
            PortAnswer::Accepts => (Reply::Accepted, Duration::ZERO),
            PortAnswer::AcceptsAfter(after) => (Reply::Accepted, after),
            PortAnswer::Refuses => (Reply::Refused, Duration::ZERO),
            PortAnswer::Rejects(code) => (Reply::Icmp(code), Duration::ZERO),
            PortAnswer::Silent => return,
        };
        let after = after + host.delay(now);
        if let Some(way) = host.path().back(&mut self.dice) {
            self.schedule(now + after + way, Event::Comes(ticket, reply));
        }
    }

    fn resolve(&mut self, now: Moment, ticket: Ticket, address: IpAddr) {
        let waiting = self.unresolved.entry(address).or_default();
        waiting.push(ticket);
        if waiting.len() == 1 {
            self.schedule(now + NEIGHBOUR_WAIT, Event::Unresolved(address));
        }
    }

    fn fail_neighbour(&mut self, address: IpAddr, replies: &mut Vec<(DialId, Reply)>) {
        for ticket in self.unresolved.remove(&address).unwrap_or_default() {
            if self.waits(ticket) {
                replies.push((ticket.id, self.end(ticket.id, Reply::NoNeighbour)));
            }
        }
    }

    fn ticket(&mut self, id: DialId) -> Ticket {
        self.attempts_begun = self.attempts_begun.saturating_add(1);
        let attempt = self.attempts_begun;
        let at = index(id);
        if self.attempts.len() <= at {
            self.attempts.resize(at.saturating_add(1), None);
        }
        if let Some(slot) = self.attempts.get_mut(at) {
            *slot = Some(attempt);
        }
        Ticket { id, attempt }
    }

    /// Whether the attempt is still under way.
    fn waits(&self, ticket: Ticket) -> bool {
        self.attempts.get(index(ticket.id)).copied().flatten() == Some(ticket.attempt)
    }

    fn end(&mut self, id: DialId, reply: Reply) -> Reply {
        self.give_up(id);
        if matches!(reply, Reply::LocalPolicy | Reply::NoRoute) {
            self.machine.close(id);
        }
        reply
    }

    fn schedule(&mut self, at: Moment, event: Event) {
        self.scheduled = self.scheduled.saturating_add(1);
        self.events.push(Reverse(Scheduled {
            at,
            number: self.scheduled,
            event,
        }));
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

fn index(id: DialId) -> usize {
    usize::try_from(id.number()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Path, Share};
    use portolan_model::Unreachable;
    use std::net::Ipv4Addr;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const RTT: Duration = Duration::from_millis(10);

    fn network(host: Host) -> Network {
        let mut network = Network::new(1, Machine::boundless());
        network.add(ADDRESS, host);
        network
    }

    fn begin(network: &mut Network, at_ms: u64, id: u32) -> Option<Reply> {
        let now = Moment::START + Duration::from_millis(at_ms);
        network.begin(now, DialId::new(id), Endpoint::tcp(ADDRESS, 80))
    }

    /// The moment of each reply in milliseconds, the attempt's number, and the reply.
    fn replies(network: &mut Network, until_ms: u64) -> Vec<(u64, u32, Reply)> {
        let mut all = Vec::new();
        while let Some(next) = network.next_event() {
            let now_ms = u64::try_from(next.elapsed().as_millis()).unwrap();
            if now_ms > until_ms {
                break;
            }
            let mut replies = Vec::new();
            network.advance(next, &mut replies);
            all.extend(
                replies
                    .into_iter()
                    .map(|(id, reply)| (now_ms, id.number(), reply)),
            );
        }
        all
    }

    fn check(host: Host, expected: &[(u64, u32, Reply)]) {
        let mut network = network(host);
        assert_eq!(begin(&mut network, 0, 7), None);
        assert_eq!(replies(&mut network, 20_000), expected);
    }

    #[test]
    fn a_port_says_what_it_was_told_to_after_a_round_trip() {
        let path = Path::of_rtt(RTT);
        let late = Duration::from_millis(30);
        check(
            Host::new(path, PortAnswer::Accepts),
            &[(10, 7, Reply::Accepted)],
        );
        check(
            Host::new(path, PortAnswer::AcceptsAfter(late)),
            &[(40, 7, Reply::Accepted)],
        );
        check(
            Host::new(path, PortAnswer::Refuses),
            &[(10, 7, Reply::Refused)],
        );
        let code = Unreachable::V4(13);
        check(
            Host::new(path, PortAnswer::Rejects(code)),
            &[(10, 7, Reply::Icmp(code))],
        );
        check(
            Host::missing(Presence::AbsentNeighbour),
            &[(3_000, 7, Reply::NoNeighbour)],
        );
    }

    #[test]
    fn what_this_machine_refuses_is_known_at_once() {
        let ended = |presence| begin(&mut network(Host::missing(presence)), 0, 0);
        assert_eq!(ended(Presence::NoRoute), Some(Reply::NoRoute));
        assert_eq!(ended(Presence::Forbidden), Some(Reply::LocalPolicy));
        let mut full = Network::new(1, Machine::with_descriptors(0));
        assert_eq!(begin(&mut full, 0, 0), Some(Reply::LocalLimit));
    }

    #[test]
    fn a_lost_syn_is_repeated_after_a_second() {
        let path = Path::of_rtt(RTT).losing(Share::percent(40));
        let mut moments = Vec::new();
        for seed in 0..200 {
            let mut network = Network::new(seed, Machine::boundless());
            network.add(ADDRESS, Host::new(path, PortAnswer::Refuses));
            begin(&mut network, 0, 0);
            moments.extend(replies(&mut network, 5_000).into_iter().map(|(at, ..)| at));
        }
        assert!(
            moments.iter().all(|at| [10, 1_010, 3_010].contains(at)),
            "{moments:?}"
        );
        // Both ways are free in 36 % of the cases.
        let answered_at = |moment| moments.iter().filter(|at| **at == moment).count();
        assert!((50..95).contains(&answered_at(10)), "{moments:?}");
        assert!((30..65).contains(&answered_at(1_010)), "{moments:?}");
    }

    #[test]
    fn an_attempt_given_up_hears_nothing_even_if_its_id_is_used_again() {
        let mut network = network(Host::new(Path::of_rtt(RTT), PortAnswer::Refuses));
        begin(&mut network, 0, 3);
        network.give_up(DialId::new(3));
        assert_eq!(replies(&mut network, 5_000), []);
        begin(&mut network, 0, 3);
        network.give_up(DialId::new(3));
        begin(&mut network, 5, 3);
        assert_eq!(replies(&mut network, 5_000), [(15, 3, Reply::Refused)]);
    }

    #[test]
    fn a_policer_counts_packets_of_attempts_that_were_given_up() {
        let host = Host::new(Path::of_rtt(RTT), PortAnswer::Refuses);
        let mut network = network(host.behind(crate::Policer::new(1, 1)));
        begin(&mut network, 0, 0);
        network.give_up(DialId::new(0));
        begin(&mut network, 0, 1);
        // The second attempt's own repetition comes when the bucket has filled again.
        assert_eq!(replies(&mut network, 5_000), [(1_010, 1, Reply::Refused)]);
    }
}
