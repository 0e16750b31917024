//! What a received packet means.

use super::cohort::Kind;
use super::epoch::Epoch;
use super::ledger::Pair;
use super::trip::{RoundTrip, WAIT_MAX, WAIT_PORT_MIN};
use super::{SynEngine, index};
use crate::everything;
use portolan_model::{Endpoint, Moment, Reason, Transport, Unreachable};
use portolan_wire::icmp::{IcmpError, QuotedContent};
use portolan_wire::tcp::{Flags, Tcp};
use std::net::IpAddr;
use std::time::Duration;

impl<L: FnMut(u32) -> Option<(u32, u16)>> SynEngine<L> {
    pub(super) fn handle_segment(&mut self, now: Moment, segment: &Tcp) {
        let endpoint = Endpoint::tcp(segment.addresses.source, segment.source_port);
        let Some(pair) = self.ledger.pair(endpoint) else {
            return;
        };
        let source_port = segment.destination_port;
        let sequence = self.cookies.sequence(endpoint, source_port);
        let acknowledged = segment.acknowledgement.wrapping_sub(sequence);
        let is_reset = segment.flags.contains(Flags::RST);
        if self.epochs.of_port(source_port).is_none()
            || !segment.flags.contains(Flags::ACK)
            || (acknowledged != 1 && !(is_reset && acknowledged == 0))
        {
            self.strays.forged = self.strays.forged.saturating_add(1);
        } else if is_reset {
            self.answered(now, pair, source_port, Reason::Rst);
        } else if segment.flags.is_syn_ack() {
            self.answered(now, pair, source_port, Reason::SynAck);
        }
    }

    pub(super) fn handle_error(&mut self, now: Moment, error: &IcmpError) {
        let QuotedContent::Tcp {
            source_port,
            destination_port,
            sequence,
        } = error.quoted.content
        else {
            return;
        };
        let address = error.quoted.addresses.destination;
        let endpoint = Endpoint::new(address, Transport::Tcp, destination_port);
        let Some(pair) = self.ledger.pair(endpoint) else {
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
        let sent = self.cookies.sequence(endpoint, source_port);
        if self.epochs.of_port(source_port).is_none() || sequence != Some(sent) {
            self.strays.forged = self.strays.forged.saturating_add(1);
            return;
        }
        let code = match address {
            IpAddr::V4(_) => Unreachable::of_v4(error.kind, error.code),
            IpAddr::V6(_) => Unreachable::of_v6(error.kind, error.code),
        };
        self.answered(now, pair, source_port, Reason::Icmp(code));
    }

    /// A probe from `source_port` to `pair` was answered, beyond doubt.
    fn answered(&mut self, now: Moment, pair: Pair, source_port: u16, reason: Reason) {
        let Some(epoch) = self.epochs.of_port(source_port).copied() else {
            return;
        };
        let is_own = matches!(reason, Reason::SynAck | Reason::Rst);
        if is_own {
            self.hear(now, pair.host);
        }
        if self.ledger.is_decided(pair) {
            self.answered_again(now, pair, source_port, &epoch);
            return;
        }
        self.epochs.answered(source_port);
        let trip = self.measure(now, pair, &epoch);
        // Who sends an ICMP error may be nearer than the host.
        if is_own {
            self.observe(now, pair.host, trip, &epoch);
        }
        let Some(host) = self.hosts.get_mut(index(pair.host)) else {
            return;
        };
        host.answered = host.answered.saturating_add(1);
        host.late = host
            .late
            .saturating_add(u32::from(is_own && epoch.pass > 0));
        let is_open = reason == Reason::SynAck;
        host.open = host.open.saturating_add(u32::from(is_open));
        host.answers_everything |= everything::is_said(host.open, host.asked, self.ports_each);
        self.tell_groups(pair, &epoch, is_own, is_open);
        // Errors are answers that routers and hosts give only so often: a later one shows no loss.
        self.loss.answer(if is_own { epoch.pass } else { 0 });
        if is_open {
            self.loss.open = self.loss.open.saturating_add(1);
        }
        self.decide(pair, reason, epoch.pass.saturating_add(1), trip);
    }

    /// Tells the groups of a host of a first answer of one of its ports.
    fn tell_groups(&mut self, pair: Pair, epoch: &Epoch, is_own: bool, is_open: bool) {
        let kind = if epoch.pass == 0 {
            Kind::First
        } else {
            Kind::Repeat
        };
        let groups = self.groups_of(pair.host);
        // A repeat may have been sent since, from any source port up to the newest.
        let newest = self.epochs.newest();
        for number in groups.into_iter().flatten() {
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            if !is_own {
                // It says nothing of what the host itself would have answered.
                group.excused(epoch.number, kind);
                continue;
            }
            group.know(pair, is_open, newest);
            group.evidence.answer(epoch.pass, is_open);
            if group.answered(epoch.number, kind) {
                self.judgements
                    .push(std::cmp::Reverse((Moment::START, number)));
            }
        }
    }

    /// A port that is decided answered: because it was checked, or for no reason of ours.
    fn answered_again(&mut self, now: Moment, pair: Pair, source_port: u16, epoch: &Epoch) {
        let check = self.checks.get(&pair).copied();
        let Some(check) = check.filter(|check| check.epoch == epoch.number) else {
            self.strays.duplicates = self.strays.duplicates.saturating_add(1);
            return;
        };
        self.checks.remove(&pair);
        self.epochs.answered(source_port);
        let trip = now.since(check.sent);
        self.observe(now, pair.host, Some(trip), epoch);
        let groups = self.groups_of(pair.host);
        for number in groups.into_iter().flatten() {
            let Some(group) = self.groups.get_mut(number) else {
                continue;
            };
            group.evidence.check(check.pass, false);
            if group.answered(epoch.number, Kind::Check) {
                self.judgements
                    .push(std::cmp::Reverse((Moment::START, number)));
            }
        }
    }

    /// The host lives.
    fn hear(&mut self, now: Moment, host: u32) {
        let newest = self.epochs.newest();
        for number in self.groups_of(host).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(number)
                && group.heard(now, newest)
            {
                self.silent.retain(|it| *it != number);
            }
        }
    }

    /// Learns how long answers of a host take: by a probe that was timed, or else, where nothing
    /// better is known or the answer came after it was believed lost, by the epoch of the probe.
    fn observe(&mut self, now: Moment, host: u32, trip: Option<Duration>, epoch: &Epoch) {
        let Some(state) = self.hosts.get_mut(index(host)) else {
            return;
        };
        let at_least = now.since(epoch.last);
        // Of a host that was never timed nothing tells how late its answers are.
        let shortest_us = state.trip.shortest_us().filter(|_| trip.is_some());
        if trip.is_none() && state.trip.is_known() && at_least <= WAIT_PORT_MIN {
            // No port is believed silent so soon.
            return;
        }
        let trip = match trip {
            Some(trip) => trip,
            None if !state.trip.is_known() => now.since(epoch.began),
            None if at_least > state.trip.wait_for_port() => at_least,
            None => return,
        };
        state.trip.observe(trip);
        self.slowest = self.slowest.max(trip.min(WAIT_MAX));
        self.epochs.stretch(self.slowest);
        for number in self.groups_of(host).into_iter().flatten() {
            if let Some(group) = self.groups.get_mut(number) {
                group.trip.observe(trip);
                if shortest_us.is_some_and(|shortest| group.timed(trip, shortest)) {
                    let around = self.around(number);
                    if let Some(group) = self.groups.get_mut(number) {
                        group.attend(now, self.epochs.newest(), around);
                    }
                }
            }
        }
    }

    /// The round trip of a timed probe, unless the answer is to another one, of another epoch.
    fn measure(&mut self, now: Moment, pair: Pair, epoch: &Epoch) -> Option<Duration> {
        let sent = self.timed.remove(&pair)?;
        (epoch.began..=epoch.last)
            .contains(&sent)
            .then(|| now.since(sent))
    }

    /// How long silence is doubted before the pace of an epoch is free for others.
    pub(super) fn wait(&self) -> Duration {
        let mut trip = RoundTrip::default();
        if self.slowest > Duration::ZERO {
            trip.observe(self.slowest);
        }
        self.wait_for(trip)
    }

    /// How long a port of a host with these round trips may be silent.
    pub(super) fn wait_for(&self, trip: RoundTrip) -> Duration {
        let timeout = self.options.patience.timeout;
        timeout.unwrap_or_else(|| trip.wait_for_port())
    }
}
