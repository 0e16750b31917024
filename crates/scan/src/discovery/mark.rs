//! What a probe carries that only this scan can know, and how an answer shows it.
//!
//! Numbers come from the keyed hash of the raw engine. A TCP answer, an echo or a timestamp reply
//! has to repeat 32 bits of it or more. A datagram is known by its two ports only: 21 bits.

use super::kinds::{LIST, ProbeKind, QUESTIONS};
use crate::SOURCE_PORTS;
use crate::syn::cookie::Cookies;
use portolan_model::Endpoint;
use portolan_wire::icmp::{EchoReply, QuotedContent, TimestampReply};
use portolan_wire::tcp::{Flags, Tcp};
use portolan_wire::udp::UdpDatagram;
use std::net::IpAddr;

/// A question and the how-manieth time it is asked of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u8);

/// Times that a question may be asked of one host.
pub(crate) const TIMES: u8 = 4;

impl Tag {
    /// Question `question` of the list, asked for the `time`-th time, counted from 0.
    pub(crate) fn new(question: usize, time: u8) -> Self {
        let question = u8::try_from(question).unwrap_or(u8::MAX / TIMES);
        Self(question.saturating_mul(TIMES) + time.min(TIMES - 1))
    }

    pub(crate) fn question(self) -> usize {
        usize::from(self.0 / TIMES)
    }

    /// Every tag of one kind of probe to `port`.
    fn of(kind: ProbeKind, port: u16) -> impl Iterator<Item = Self> {
        (0..QUESTIONS)
            .filter(move |at| {
                LIST.get(*at)
                    .is_some_and(|it| it.kind == kind && it.port == port)
            })
            .flat_map(|at| (0..TIMES).map(move |time| Self::new(at, time)))
    }
}

/// What a probe carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Port of this machine, for TCP and UDP.
    pub(crate) source_port: u16,
    /// Port of the target; 0 for ICMP.
    pub(crate) port: u16,
    /// Sequence number of a SYN, acknowledgement number of an ACK; identifier and sequence number
    /// of a request.
    pub(crate) number: u32,
    /// Sequence number of an ACK, data of an echo request, time of a timestamp request.
    pub(crate) check: u32,
}

/// Makes and checks marks.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    cookies: Cookies,
    first_port: u16,
}

/// Ports at which datagrams are sent: neither assigned by IANA nor given out by common systems.
const UDP_FIRST: u16 = 40_000;
const UDP_PORTS: u32 = 8_192;
/// Timestamps that are no time of day have the highest bit set (RFC 792).
const NO_TIME: u32 = 0x8000_0000;

impl Marks {
    pub(crate) fn new(key: [u8; 16], first_port: u16) -> Self {
        Self {
            cookies: Cookies::new(key),
            first_port,
        }
    }

    /// What the probe `tag` to `address` carries.
    pub(crate) fn mark(&self, address: IpAddr, tag: Tag) -> Mark {
        let hash = |part| {
            let endpoint = Endpoint::tcp(address, u16::from(tag.0));
            self.cookies.sequence(endpoint, part)
        };
        let (number, check, ports) = (hash(0), hash(1), hash(2));
        let question = LIST.get(tag.question());
        let kind = question.map(|it| it.kind);
        let own = u16::try_from(ports % u32::from(SOURCE_PORTS)).unwrap_or(0);
        Mark {
            source_port: self.first_port.saturating_add(own),
            port: match kind {
                Some(ProbeKind::Udp) => {
                    let port = u16::try_from((ports >> 16) % UDP_PORTS).unwrap_or(0);
                    UDP_FIRST.saturating_add(port)
                }
                _ => question.map_or(0, |it| it.port),
            },
            number,
            check: match kind {
                Some(ProbeKind::Timestamp) => check | NO_TIME,
                _ => check,
            },
        }
    }

    /// The probe that a segment answers.
    pub(crate) fn of_segment(&self, segment: &Tcp) -> Option<Tag> {
        let address = segment.addresses.source.to_canonical();
        let is_reset = segment.flags.contains(Flags::RST);
        let acknowledges = segment.flags.contains(Flags::ACK);
        if !is_reset && !segment.flags.is_syn_ack() {
            return None;
        }
        let port = segment.source_port;
        let syns = Tag::of(ProbeKind::Syn, port).filter(|tag| {
            let mark = self.mark(address, *tag);
            let acknowledged = segment.acknowledgement.wrapping_sub(mark.number);
            acknowledges
                && mark.source_port == segment.destination_port
                && (acknowledged == 1 || (is_reset && acknowledged == 0))
        });
        let acks = Tag::of(ProbeKind::Ack, port).filter(|tag| {
            let mark = self.mark(address, *tag);
            is_reset
                && mark.source_port == segment.destination_port
                && segment.sequence == mark.number
        });
        syns.chain(acks).next()
    }

    /// The probe that an echo reply answers.
    pub(crate) fn of_echo(&self, reply: &EchoReply<'_>) -> Option<Tag> {
        let address = reply.addresses.source.to_canonical();
        Tag::of(ProbeKind::Echo, 0).find(|tag| {
            let mark = self.mark(address, *tag);
            mark.number == joined(reply.identifier, reply.sequence)
                && reply.payload.starts_with(&mark.check.to_be_bytes())
        })
    }

    /// The probe that a timestamp reply answers.
    pub(crate) fn of_timestamp(&self, reply: &TimestampReply) -> Option<Tag> {
        let address = reply.addresses.source.to_canonical();
        Tag::of(ProbeKind::Timestamp, 0).find(|tag| {
            let mark = self.mark(address, *tag);
            mark.number == joined(reply.identifier, reply.sequence) && mark.check == reply.originate
        })
    }

    /// The probe that a datagram answers.
    pub(crate) fn of_datagram(&self, datagram: &UdpDatagram<'_>) -> Option<Tag> {
        let address = datagram.addresses.source.to_canonical();
        Tag::of(ProbeKind::Udp, 0).find(|tag| {
            let mark = self.mark(address, *tag);
            mark.source_port == datagram.destination_port && mark.port == datagram.source_port
        })
    }

    /// The probe to `address` that an ICMP error quotes.
    pub(crate) fn of_quoted(&self, address: IpAddr, content: &QuotedContent) -> Option<Tag> {
        let find = |kind, port, fits: &dyn Fn(Mark) -> bool| {
            Tag::of(kind, port).find(|tag| fits(self.mark(address, *tag)))
        };
        match *content {
            QuotedContent::Other => None,
            QuotedContent::Query {
                kind,
                identifier,
                sequence,
            } => {
                let asked = match kind {
                    TIMESTAMP_REQUEST => ProbeKind::Timestamp,
                    _ => ProbeKind::Echo,
                };
                find(asked, 0, &|mark| {
                    mark.number == joined(identifier, sequence)
                })
            }
            QuotedContent::Tcp {
                source_port,
                destination_port,
                sequence,
            } => {
                let syn =
                    |mark: Mark| mark.source_port == source_port && sequence == Some(mark.number);
                let ack =
                    |mark: Mark| mark.source_port == source_port && sequence == Some(mark.check);
                find(ProbeKind::Syn, destination_port, &syn)
                    .or_else(|| find(ProbeKind::Ack, destination_port, &ack))
            }
            QuotedContent::Udp {
                source_port,
                destination_port,
            } => find(ProbeKind::Udp, 0, &|mark| {
                mark.source_port == source_port && mark.port == destination_port
            }),
        }
    }
}

/// ICMP type of a timestamp request (RFC 792).
const TIMESTAMP_REQUEST: u8 = 13;

/// Identifier and sequence number as one.
fn joined(identifier: u16, sequence: u16) -> u32 {
    u32::from(identifier) << 16 | u32::from(sequence)
}
