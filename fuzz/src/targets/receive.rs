//! Engines for raw packets under way, while a network answers with anything: right answers, wrong
//! ones, copies, cuts, errors of every kind. Nothing is told of a port or host but what a packet
//! showed that only who had seen the probe could send.
//!
//! An input is a list of steps, read by [`Script`]. How frames are read is the matter of `frame`.

mod answers;
mod shown;

use answers::{Answer, Changes};
use portolan_model::{Moment, PortSet};
use portolan_scan::{
    DiscoveryEngine, DiscoveryOptions, DiscoveryProbe, Experience, Patience, SynEngine, SynOptions,
    SynProbe,
};
use portolan_wire::{LinkType, parse};
use shown::{HostsShown, PortsShown};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Own addresses.
const OWN: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
/// Hosts that are asked.
const HOSTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];
/// Ports of each host: 1 and on.
const PORTS: u16 = 24;
const FIRST_PORT: u16 = 61_440;
const KEY: [u8; 16] = [7; 16];
/// Steps of one input.
const STEPS_MAX: usize = 64;
/// Probes that are asked of an engine at once.
const PROBES_MAX: usize = 16;
/// Most copies of one answer.
const COPIES_MAX: u16 = 1_000;

/// What an input has an engine meet.
enum Step<'a> {
    /// An answer to a probe, changed, so many times.
    Answer {
        probe: usize,
        answer: Answer,
        changes: Changes,
        copies: u16,
    },
    /// A frame as it is.
    Frame(LinkType, &'a [u8]),
    /// The receiver had no room.
    Overrun,
    /// Time passes.
    Time(Duration),
    /// The newest probe did not leave.
    Unsent,
}

/// Reads steps from bytes.
struct Script<'a>(&'a [u8]);

impl<'a> Iterator for Script<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let ([kind, first, rest @ ..], after) = self.0.split_first_chunk::<8>()?;
        self.0 = after;
        let [choice, detail, code, changes @ .., last] = *rest;
        Some(match kind % 8 {
            0 => {
                let length = usize::from(*first).min(self.0.len());
                let (frame, after) = self.0.split_at(length);
                self.0 = after;
                let link_type = if choice & 1 == 0 {
                    LinkType::Bare
                } else {
                    LinkType::Ethernet
                };
                Step::Frame(link_type, frame)
            }
            1 => Step::Time(Duration::from_millis(
                u16::from_be_bytes([*first, choice]).into(),
            )),
            2 if first & 1 == 0 => Step::Overrun,
            2 => Step::Unsent,
            _ => Step::Answer {
                probe: (*first).into(),
                answer: Answer::of(choice, detail, code),
                changes: Changes::of(changes, last),
                copies: match last {
                    255 => COPIES_MAX,
                    _ => u16::from(last & 3) + 1,
                },
            },
        })
    }
}

/// A frame that comes in, so many times.
struct Arriving {
    frame: Vec<u8>,
    link_type: LinkType,
    copies: u16,
}

/// The frame of a step, when it has one; `answered` makes one that answers a probe.
fn arriving<P>(
    step: &Step<'_>,
    sent: &[P],
    answered: impl Fn(Answer, &P) -> Vec<u8>,
) -> Option<Arriving> {
    match step {
        Step::Answer {
            probe,
            answer,
            changes,
            copies,
        } => {
            let probe = sent.get(probe.checked_rem(sent.len())?)?;
            Some(Arriving {
                frame: changes.apply(answered(*answer, probe)),
                link_type: LinkType::Bare,
                copies: *copies,
            })
        }
        Step::Frame(link_type, frame) => Some(Arriving {
            frame: frame.to_vec(),
            link_type: *link_type,
            copies: 1,
        }),
        Step::Overrun | Step::Time(_) | Step::Unsent => None,
    }
}

/// The engine that asks ports.
pub(crate) fn ports(data: &[u8]) {
    let mut engine = SynEngine::new(
        |position| {
            let host = position % 2;
            Some((host, u16::try_from(position / 2).unwrap_or(0) + 1))
        },
        u32::from(PORTS) * 2,
        HOSTS.to_vec(),
        &PortSet::range(1, PORTS),
        SynOptions {
            first_port: FIRST_PORT,
            key: KEY,
            rate: None,
            host_rate: None,
            patience: Patience::default(),
        },
    );
    let mut now = Moment::START;
    let mut sent: Vec<SynProbe> = Vec::new();
    let mut shown = PortsShown::default();
    let mut told = BTreeSet::new();
    for step in Script(data).take(STEPS_MAX) {
        sent.extend(std::iter::from_fn(|| engine.poll_probe(now)).take(PROBES_MAX));
        if let Some(arriving) = arriving(&step, &sent, Answer::to_syn)
            && let Ok(packet) = parse(&arriving.frame, arriving.link_type)
        {
            shown.learn(&packet, &sent);
            for _ in 0..arriving.copies {
                engine.handle_packet(now, &packet);
            }
        }
        match step {
            Step::Answer { .. } | Step::Frame(..) => {}
            Step::Overrun => engine.handle_overrun(),
            Step::Time(passed) => now = now + passed,
            Step::Unsent => {
                if let Some(probe) = sent.pop() {
                    shown.forget(&probe);
                    engine.handle_unsent(now, &probe);
                }
            }
        }
        engine.handle_timeout(now);
        while let Some(verdict) = engine.poll_verdict() {
            assert!(told.insert(verdict.endpoint), "{verdict:?} is told twice");
            shown.check(verdict.endpoint, verdict.reason);
        }
        while engine.poll_silent().is_some() {}
    }
    assert!(told.len() <= usize::from(PORTS) * HOSTS.len());
    let answered = usize::try_from(engine.figures().loss.answered).unwrap_or(usize::MAX);
    assert!(answered <= shown.ports(), "{answered} answers are counted");
}

/// The engine that looks for hosts.
pub(crate) fn hosts(data: &[u8]) {
    let options = DiscoveryOptions {
        first_port: FIRST_PORT,
        key: KEY,
        rate: None,
        host_rate: None,
        ports: None,
    };
    let mut engine = DiscoveryEngine::new(HOSTS.to_vec(), options, Experience::default());
    let mut now = Moment::START;
    let mut sent: Vec<DiscoveryProbe> = Vec::new();
    let mut shown = HostsShown::default();
    let mut told = BTreeSet::new();
    for step in Script(data).take(STEPS_MAX) {
        sent.extend(std::iter::from_fn(|| engine.poll_probe(now)).take(PROBES_MAX));
        if let Some(arriving) = arriving(&step, &sent, Answer::to_discovery)
            && let Ok(packet) = parse(&arriving.frame, arriving.link_type)
        {
            shown.learn(&packet, &sent);
            for _ in 0..arriving.copies {
                engine.handle_packet(now, &packet);
            }
        }
        match step {
            Step::Answer { .. } | Step::Frame(..) => {}
            Step::Overrun => engine.handle_overrun(),
            Step::Time(passed) => now = now + passed,
            Step::Unsent => {
                if let Some(probe) = sent.last() {
                    engine.handle_unsent(now, probe);
                }
            }
        }
        engine.handle_timeout(now);
        while let Some(verdict) = engine.poll_verdict() {
            assert!(told.insert(verdict.host), "{verdict:?} is told twice");
            shown.check(&verdict);
        }
    }
    assert!(told.len() <= HOSTS.len());
}
