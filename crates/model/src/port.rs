//! The state of a port and the reason that shows it.

use crate::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Something accepts packets there.
    #[serde(rename = "open")]
    Open,
    /// The host refuses.
    #[serde(rename = "closed")]
    Closed,
    /// Nothing came back, or a device on the way said no.
    #[serde(rename = "filtered")]
    Filtered,
    /// UDP only: silence, which both an open and a filtered port may keep.
    #[serde(rename = "open|filtered")]
    OpenFiltered,
    /// Not asked, or not asked often enough to say.
    #[serde(rename = "not_tested")]
    NotTested,
}

impl State {
    /// The word used in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Filtered => "filtered",
            Self::OpenFiltered => "open|filtered",
            Self::NotTested => "not_tested",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An ICMP error that answered a probe, with its raw numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    /// Code of an ICMP type 3 message (RFC 792; RFC 1812 §5.2.7.1 for codes 9 to 15).
    V4(u8),
    /// Code of an `ICMPv6` type 1 message (RFC 4443 §3.1).
    V6(u8),
    /// Any other ICMP error, as "time exceeded" (RFC 792; its code 0 has a name here).
    OtherV4 {
        /// ICMP type, not 3.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Any other ICMP error of IPv6 (RFC 4443 §3).
    OtherV6 {
        /// ICMP type, not 1.
        kind: u8,
        /// Its code.
        code: u8,
    },
}

impl Unreachable {
    /// The ICMP error of this type and code (RFC 792).
    pub const fn of_v4(kind: u8, code: u8) -> Self {
        if kind == 3 {
            Self::V4(code)
        } else {
            Self::OtherV4 { kind, code }
        }
    }

    /// The ICMP error of IPv6 of this type and code (RFC 4443).
    pub const fn of_v6(kind: u8, code: u8) -> Self {
        if kind == 1 {
            Self::V6(code)
        } else {
            Self::OtherV6 { kind, code }
        }
    }

    /// Whether it is "port unreachable" of either version (RFC 792; RFC 4443 §3.1).
    pub const fn is_port_unreachable(self) -> bool {
        matches!(self, Self::V4(3) | Self::V6(4))
    }

    /// The field's name for the code; `None` for one that has no name here.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::V4(0) | Self::V6(0) => "net-unreachable",
            Self::V4(1) | Self::V6(3) => "host-unreachable",
            Self::V4(2) => "proto-unreachable",
            Self::V4(3) | Self::V6(4) => "port-unreachable",
            Self::V4(4) => "fragmentation-needed",
            Self::V4(5) => "source-route-failed",
            Self::V4(6) => "net-unknown",
            Self::V4(7) => "host-unknown",
            Self::V4(8) => "host-isolated",
            Self::V4(9) => "net-prohibited",
            Self::V4(10) => "host-prohibited",
            Self::V4(11) => "net-unreachable-for-tos",
            Self::V4(12) => "host-unreachable-for-tos",
            Self::V4(13) | Self::V6(1) => "admin-prohibited",
            Self::V4(14) => "host-precedence-violation",
            Self::V4(15) => "precedence-cutoff",
            Self::V6(2) => "beyond-scope",
            Self::V6(5) => "policy-failed",
            Self::V6(6) => "reject-route",
            Self::V6(7) => "source-routing-error",
            Self::OtherV4 { kind: 11, code: 0 } | Self::OtherV6 { kind: 3, code: 0 } => {
                "time-exceeded"
            }
            Self::V4(_) | Self::V6(_) | Self::OtherV4 { .. } | Self::OtherV6 { .. } => return None,
        })
    }
}

/// Why a port has its state. The text form is part of the output contract; every value can be
/// read back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Reason {
    /// The handshake was answered.
    SynAck,
    /// The host answered with a reset.
    Rst,
    /// The host told its hardware address (ARP, RFC 826). Shows a host, never a port; so do the
    /// three that follow.
    ArpResponse,
    /// The host answered an echo request (RFC 792, RFC 4443 §4.2).
    EchoReply,
    /// The host told its hardware address (neighbour discovery, RFC 4861).
    NdResponse,
    /// The host answered a timestamp request (RFC 792).
    TimestampReply,
    /// An ICMP error came back.
    Icmp(Unreachable),
    /// An ICMP "port unreachable" came back from another address than the one that was asked: a
    /// device on the way speaks for the host.
    IcmpElsewhere,
    /// UDP only: nothing came back to this many probes, and the host sends fewer ICMP errors than
    /// it is asked for: a closed port may be silent as well.
    IcmpLimited {
        /// Probes sent without an answer.
        probes: u8,
    },
    /// Ports that get no bytes from us: what listens there acts on whatever it is sent.
    NeverSend,
    /// Nothing came back to this many probes.
    Timeout {
        /// Probes sent without an answer.
        probes: u8,
    },
    /// UDP only: the port answered.
    UdpResponse,
    /// The host did not answer the neighbour discovery of its own segment (ARP, RFC 826; ND,
    /// RFC 4861), so no probe reached the wire.
    NoNeighbour,
    /// The host answered none of the probes that look for hosts, so its ports were not asked.
    NotDiscovered,
    /// This machine has no route to the address.
    NoRoute,
    /// This machine ran out of something (descriptors, ports, buffers) more often than the run
    /// repeats a probe.
    LocalLimit,
    /// A local rule forbade the packet (firewall on this machine, EPERM or EACCES).
    LocalPolicy,
    /// The host says open for whatever port it is asked, so that its word proves nothing.
    AnswersEverything,
    /// The host answered at first and then, for whatever reason, nothing more: what it would have
    /// said of this port is not known.
    WentSilent,
    /// The run's time was over before the port was decided.
    TimeLimit,
    /// The run was interrupted before the port was decided.
    Interrupted,
}

impl Reason {
    /// The state this reason shows for a TCP port.
    pub const fn tcp_state(self) -> State {
        match self {
            Self::SynAck | Self::UdpResponse => State::Open,
            Self::Rst => State::Closed,
            Self::Icmp(_)
            | Self::IcmpElsewhere
            | Self::IcmpLimited { .. }
            | Self::Timeout { .. } => State::Filtered,
            Self::ArpResponse
            | Self::EchoReply
            | Self::NdResponse
            | Self::TimestampReply
            | Self::NeverSend
            | Self::NoNeighbour
            | Self::NotDiscovered
            | Self::NoRoute
            | Self::LocalLimit
            | Self::LocalPolicy
            | Self::AnswersEverything
            | Self::WentSilent
            | Self::TimeLimit
            | Self::Interrupted => State::NotTested,
        }
    }

    /// The state this reason shows for a UDP port. Silence shows little: a service need not answer.
    pub const fn udp_state(self) -> State {
        match self {
            Self::Icmp(code) if code.is_port_unreachable() => State::Closed,
            Self::IcmpLimited { .. } | Self::Timeout { .. } => State::OpenFiltered,
            _ => self.tcp_state(),
        }
    }

    /// The state this reason shows for a port of `transport`.
    pub const fn state(self, transport: Transport) -> State {
        match transport {
            Transport::Tcp => self.tcp_state(),
            Transport::Udp => self.udp_state(),
        }
    }

    /// Whether the host, or a device in front of it, said something.
    pub const fn is_answer(self) -> bool {
        self.is_of_host() || matches!(self, Self::Icmp(_) | Self::IcmpElsewhere)
    }

    /// Whether the host itself must have said it. An ICMP error may come from the host as well.
    pub const fn is_of_host(self) -> bool {
        matches!(
            self,
            Self::SynAck
                | Self::Rst
                | Self::ArpResponse
                | Self::EchoReply
                | Self::NdResponse
                | Self::TimestampReply
                | Self::UdpResponse
        )
    }

    /// Whether this answer about a port of `transport` shows that the host itself is there. An
    /// ICMP error may come from a device on the way; for UDP, "port unreachable" from the asked
    /// address is the host's own refusal.
    pub const fn shows_host(self, transport: Transport) -> bool {
        match self {
            Self::Icmp(code) => matches!(transport, Transport::Udp) && code.is_port_unreachable(),
            _ => self.is_of_host(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SynAck => f.pad("syn-ack"),
            Self::Rst => f.pad("rst"),
            Self::ArpResponse => f.pad("arp-response"),
            Self::EchoReply => f.pad("echo-reply"),
            Self::NdResponse => f.pad("nd-response"),
            Self::TimestampReply => f.pad("timestamp-reply"),
            Self::Icmp(code) => match (code.name(), code) {
                (Some(name), _) => f.pad(name),
                (None, Unreachable::V4(code)) => f.pad(&format!("icmp type 3 code {code}")),
                (None, Unreachable::V6(code)) => f.pad(&format!("icmpv6 type 1 code {code}")),
                (None, Unreachable::OtherV4 { kind, code }) => {
                    f.pad(&format!("icmp type {kind} code {code}"))
                }
                (None, Unreachable::OtherV6 { kind, code }) => {
                    f.pad(&format!("icmpv6 type {kind} code {code}"))
                }
            },
            Self::IcmpElsewhere => f.pad("port-unreachable from elsewhere"),
            Self::IcmpLimited { probes } => {
                f.pad(&format!("{}{LIMITED}", Self::Timeout { probes: *probes }))
            }
            Self::NeverSend => f.pad("never sent to"),
            Self::UdpResponse => f.pad("udp-response"),
            Self::Timeout { probes: 1 } => f.pad("timeout after 1 probe"),
            Self::Timeout { probes } => f.pad(&format!("timeout after {probes} probes")),
            Self::NoNeighbour => f.pad("no neighbour"),
            Self::NotDiscovered => f.pad("no answer to discovery"),
            Self::NoRoute => f.pad("no route"),
            Self::LocalLimit => f.pad("local limit"),
            Self::LocalPolicy => f.pad("local policy"),
            Self::AnswersEverything => f.pad("answers everything"),
            Self::WentSilent => f.pad("went silent"),
            Self::TimeLimit => f.pad("time limit"),
            Self::Interrupted => f.pad("interrupted"),
        }
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        // The two ICMP families share names; a document keeps which one it was.
        match reason {
            Reason::Icmp(code @ (Unreachable::V6(_) | Unreachable::OtherV6 { .. }))
                if code.name().is_some() =>
            {
                format!("{reason} (v6)")
            }
            _ => reason.to_string(),
        }
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// What the text of [`Reason::IcmpLimited`] adds to that of [`Reason::Timeout`].
const LIMITED: &str = ", icmp errors limited";

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |start: &str, end: &str| -> Option<u8> {
            text.strip_prefix(start)?.strip_suffix(end)?.parse().ok()
        };
        Ok(match text {
            "syn-ack" => Self::SynAck,
            "rst" => Self::Rst,
            "arp-response" => Self::ArpResponse,
            "echo-reply" => Self::EchoReply,
            "nd-response" => Self::NdResponse,
            "timestamp-reply" => Self::TimestampReply,
            "udp-response" => Self::UdpResponse,
            "port-unreachable from elsewhere" => Self::IcmpElsewhere,
            "never sent to" => Self::NeverSend,
            "timeout after 1 probe" => Self::Timeout { probes: 1 },
            "no neighbour" => Self::NoNeighbour,
            "no answer to discovery" => Self::NotDiscovered,
            "no route" => Self::NoRoute,
            "local limit" => Self::LocalLimit,
            "local policy" => Self::LocalPolicy,
            "answers everything" => Self::AnswersEverything,
            "went silent" => Self::WentSilent,
            "time limit" => Self::TimeLimit,
            "interrupted" => Self::Interrupted,
            _ => {
                if let Some(silence) = text.strip_suffix(LIMITED)
                    && let Ok(Self::Timeout { probes }) = silence.parse()
                {
                    return Ok(Self::IcmpLimited { probes });
                }
                if let Some(probes) = number("timeout after ", " probes") {
                    return Ok(Self::Timeout { probes });
                }
                if let Some((kind, code)) = two_numbers(text, "icmp type ") {
                    return Ok(Self::Icmp(Unreachable::of_v4(kind, code)));
                }
                if let Some((kind, code)) = two_numbers(text, "icmpv6 type ") {
                    return Ok(Self::Icmp(Unreachable::of_v6(kind, code)));
                }
                let (name, make, exceeded): (_, fn(u8) -> Unreachable, _) =
                    if let Some(name) = text.strip_suffix(" (v6)") {
                        (name, Unreachable::V6, Unreachable::of_v6(3, 0))
                    } else {
                        (text, Unreachable::V4, Unreachable::of_v4(11, 0))
                    };
                let mut codes = (0..=u8::MAX).map(make).chain([exceeded]);
                let code = codes.find(|code| code.name() == Some(name));
                return code
                    .map(Self::Icmp)
                    .ok_or_else(|| format!("unknown reason {text:?}"));
            }
        })
    }
}

/// Type and code, as in `icmp type 11 code 1`.
fn two_numbers(text: &str, start: &str) -> Option<(u8, u8)> {
    let (kind, code) = text.strip_prefix(start)?.split_once(" code ")?;
    Some((kind.parse().ok()?, code.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_can_be_read_back() {
        let icmp = (0..=u8::MAX).flat_map(|code| {
            let other_v4 = Unreachable::of_v4(11, code);
            let other_v6 = Unreachable::of_v6(3, code);
            [
                Reason::Icmp(Unreachable::V4(code)),
                Reason::Icmp(Unreachable::V6(code)),
                Reason::Icmp(other_v4),
                Reason::Icmp(other_v6),
            ]
        });
        let silent = (0..=u8::MAX).map(|probes| Reason::Timeout { probes });
        let silent = silent.chain((0..=u8::MAX).map(|probes| Reason::IcmpLimited { probes }));
        let rest = [
            Reason::SynAck,
            Reason::Rst,
            Reason::ArpResponse,
            Reason::EchoReply,
            Reason::NdResponse,
            Reason::TimestampReply,
            Reason::UdpResponse,
            Reason::IcmpElsewhere,
            Reason::NeverSend,
            Reason::NoNeighbour,
            Reason::NotDiscovered,
            Reason::NoRoute,
            Reason::LocalLimit,
            Reason::LocalPolicy,
            Reason::AnswersEverything,
            Reason::WentSilent,
            Reason::TimeLimit,
            Reason::Interrupted,
        ];
        for reason in icmp.chain(silent).chain(rest) {
            assert_eq!(String::from(reason).parse(), Ok(reason));
        }
        let exceeded = Reason::Icmp(Unreachable::of_v6(3, 0));
        assert_eq!(exceeded.to_string(), "time-exceeded");
        assert_eq!("time-exceeded (v6)".parse(), Ok(exceeded));
        assert!("rstt".parse::<Reason>().is_err());
        assert!("timeout after 300 probes".parse::<Reason>().is_err());
    }

    #[test]
    fn udp_silence_shows_less_than_that_of_tcp() {
        let check = |reason: Reason, tcp: State, udp: State| {
            let states = [Transport::Tcp, Transport::Udp].map(|it| reason.state(it));
            assert_eq!(states, [tcp, udp], "{reason}");
        };
        let silence = Reason::Timeout { probes: 3 };
        check(silence, State::Filtered, State::OpenFiltered);
        let refused = Reason::Icmp(Unreachable::V4(3));
        check(refused, State::Filtered, State::Closed);
        let refused = Reason::Icmp(Unreachable::V6(4));
        check(refused, State::Filtered, State::Closed);
        let prohibited = Reason::Icmp(Unreachable::V4(13));
        check(prohibited, State::Filtered, State::Filtered);
        check(Reason::IcmpElsewhere, State::Filtered, State::Filtered);
        check(Reason::NeverSend, State::NotTested, State::NotTested);
        check(Reason::UdpResponse, State::Open, State::Open);
    }
}
