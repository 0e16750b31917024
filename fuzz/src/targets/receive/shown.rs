//! What packets show, judged apart from the engines: by the probes that were sent, not by keys.

use portolan_model::{Endpoint, Reason};
use portolan_scan::{DiscoveryProbe, Found, HostVerdict, ProbeKind, SynProbe};
use portolan_wire::Packet;
use portolan_wire::icmp::{IcmpError, QuotedContent};
use portolan_wire::tcp::{Flags, Tcp};
use std::collections::BTreeSet;

/// What was shown of ports so far.
#[derive(Debug, Default)]
pub(super) struct PortsShown {
    open: BTreeSet<Endpoint>,
    refused: BTreeSet<Endpoint>,
    unreachable: BTreeSet<Endpoint>,
    /// Probes that a caller said had not left; an answer to one is as good as any.
    taken_back: Vec<SynProbe>,
}

impl PortsShown {
    /// Takes in what `packet` shows of ports that were asked by `sent`.
    pub(super) fn learn(&mut self, packet: &Packet<'_>, sent: &[SynProbe]) {
        for probe in sent.iter().chain(&self.taken_back) {
            match packet {
                Packet::Tcp(tcp) if is_from(tcp, probe) && tcp.flags.contains(Flags::ACK) => {
                    let ahead = tcp.acknowledgement.wrapping_sub(probe.sequence);
                    let is_reset = tcp.flags.contains(Flags::RST);
                    if is_reset && ahead <= 1 {
                        self.refused.insert(probe.endpoint);
                    } else if tcp.flags.is_syn_ack() && ahead == 1 {
                        self.open.insert(probe.endpoint);
                    }
                }
                Packet::IcmpError(error) if quotes_syn(error, probe) => {
                    self.unreachable.insert(probe.endpoint);
                }
                _ => {}
            }
        }
    }

    pub(super) fn forget(&mut self, probe: &SynProbe) {
        self.taken_back.push(*probe);
    }

    /// What is told has to have been shown.
    pub(super) fn check(&self, endpoint: Endpoint, reason: Reason) {
        let shown = match reason {
            Reason::SynAck => &self.open,
            Reason::Rst => &self.refused,
            Reason::Icmp(_) => &self.unreachable,
            _ => return,
        };
        assert!(shown.contains(&endpoint), "{endpoint:?}: {reason:?}");
    }

    /// Ports of which anything was shown.
    pub(super) fn ports(&self) -> usize {
        let all = self.open.iter().chain(&self.refused);
        all.chain(&self.unreachable).collect::<BTreeSet<_>>().len()
    }
}

fn is_from(tcp: &Tcp, probe: &SynProbe) -> bool {
    tcp.addresses.source == probe.endpoint.address
        && (tcp.source_port, tcp.destination_port) == (probe.endpoint.port, probe.source_port)
}

fn quotes_syn(error: &IcmpError, probe: &SynProbe) -> bool {
    let expected = QuotedContent::Tcp {
        source_port: probe.source_port,
        destination_port: probe.endpoint.port,
        sequence: Some(probe.sequence),
    };
    error.quoted.addresses.destination == probe.endpoint.address && error.quoted.content == expected
}

/// What was shown of hosts so far.
#[derive(Debug, Default)]
pub(super) struct HostsShown {
    up: BTreeSet<u32>,
    /// An error about one of their probes came, from whomever.
    unreachable: BTreeSet<u32>,
}

impl HostsShown {
    /// Takes in what `packet` shows of hosts that were asked by `sent`.
    pub(super) fn learn(&mut self, packet: &Packet<'_>, sent: &[DiscoveryProbe]) {
        for probe in sent {
            match packet {
                Packet::IcmpError(error) if quotes(error, probe) => {
                    self.unreachable.insert(probe.host);
                }
                _ if answers(packet, probe) => {
                    self.up.insert(probe.host);
                }
                _ => {}
            }
        }
    }

    /// What is told has to have been shown.
    pub(super) fn check(&self, verdict: &HostVerdict) {
        let shown = match verdict.found {
            Found::Silent => return,
            Found::Up { reason, .. } if !matches!(reason, Reason::Icmp(_)) => &self.up,
            Found::Unreachable(_) | Found::Up { .. } => &self.unreachable,
        };
        assert!(shown.contains(&verdict.host), "{verdict:?}");
    }
}

fn answers(packet: &Packet<'_>, probe: &DiscoveryProbe) -> bool {
    let number = |identifier: u16, sequence: u16| u32::from(identifier) << 16 | u32::from(sequence);
    match packet {
        Packet::EchoReply(reply) => {
            reply.addresses.source == probe.address
                && probe.kind == ProbeKind::Echo
                && number(reply.identifier, reply.sequence) == probe.number
                && reply.payload.starts_with(&probe.check.to_be_bytes())
        }
        Packet::TimestampReply(reply) => {
            reply.addresses.source == probe.address
                && probe.kind == ProbeKind::Timestamp
                && number(reply.identifier, reply.sequence) == probe.number
                && reply.originate == probe.check
        }
        Packet::Tcp(tcp) => {
            let is_reset = tcp.flags.contains(Flags::RST);
            let ahead = tcp.acknowledgement.wrapping_sub(probe.number);
            let by_kind = match probe.kind {
                ProbeKind::Syn => {
                    tcp.flags.contains(Flags::ACK)
                        && (ahead == 1 || (is_reset && ahead == 0))
                        && (is_reset || tcp.flags.is_syn_ack())
                }
                ProbeKind::Ack => is_reset && tcp.sequence == probe.number,
                _ => false,
            };
            by_kind
                && tcp.addresses.source == probe.address
                && (tcp.source_port, tcp.destination_port) == (probe.port, probe.source_port)
        }
        Packet::Udp(udp) => {
            udp.addresses.source == probe.address
                && probe.kind == ProbeKind::Udp
                && (udp.source_port, udp.destination_port) == (probe.port, probe.source_port)
        }
        _ => false,
    }
}

/// An error about a probe has to quote what the first eight bytes of it hold.
fn quotes(error: &IcmpError, probe: &DiscoveryProbe) -> bool {
    let ports = (probe.source_port, probe.port);
    let is_it = match (error.quoted.content, probe.kind) {
        (
            QuotedContent::Tcp {
                source_port,
                destination_port,
                sequence,
            },
            ProbeKind::Syn | ProbeKind::Ack,
        ) => {
            let sent = match probe.kind {
                ProbeKind::Ack => probe.check,
                _ => probe.number,
            };
            (source_port, destination_port) == ports && sequence == Some(sent)
        }
        (
            QuotedContent::Udp {
                source_port,
                destination_port,
            },
            ProbeKind::Udp,
        ) => (source_port, destination_port) == ports,
        (
            QuotedContent::Query {
                identifier,
                sequence,
                ..
            },
            ProbeKind::Echo | ProbeKind::Timestamp,
        ) => u32::from(identifier) << 16 | u32::from(sequence) == probe.number,
        _ => false,
    };
    is_it && error.quoted.addresses.destination == probe.address
}
