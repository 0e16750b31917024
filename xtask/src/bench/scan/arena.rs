//! The network of each condition, with what is open there. Who scans it is in `setting`.

use super::super::beside::{Ping, Trickle};
use super::super::peer::{Peer, Programs};
use super::super::question::{Asked, Question};
use super::super::runs::{Run, Said};
use super::setting::Condition;
use anyhow::Result;
use portolan_lab::crowd::{Crowd, Host, Ports, Segment};
use portolan_lab::{Namespace, PrefixResponder, Responder, Routed, Wire, random_ports};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Ports of a single host that are open.
const OPEN_COUNT: usize = 200;

/// The least that a receive buffer can be: Portolan rounds up to whole blocks.
const SMALL_RING: &str = "--receive-buffer 1";

/// What the bottleneck lets through in a second, in bits.
const BOTTLENECK: f64 = 20e6;

/// The same as `tc` takes it. The queue holds eight milliseconds.
const SHAPED: &str = "qdisc replace dev far0 root tbf rate 20mbit burst 4000 limit 20000";

/// Bytes of a probe as the bottleneck counts them: Ethernet, IPv4 and a SYN with its options.
const PROBE_BYTES: f64 = 66.0;

/// 65,536 hosts, and 256 of them.
const HOSTS: &str = "198.19.0.0/16";
const SOME_HOSTS: &str = "198.19.7.0/24";
const SOME_HOSTS_FIRST: Ipv4Addr = Ipv4Addr::new(198, 19, 7, 0);

/// The port that is asked of all of them.
const PORT: u16 = 80;

/// Of the ports of the 256 hosts one in so many is open.
const OPEN_ONE_IN: u32 = 300;

/// The host that accepts on every port.
const EVERYTHING: Ipv4Addr = Ipv4Addr::new(198, 18, 64, 10);

/// How Portolan names such a host.
const LABEL: &str = "answers everything";

/// How Portolan tells that it had no room for what it received.
const OVERRUN: &str = "found no room in the buffer";

/// A network and what is asked of it.
#[derive(Debug)]
pub(super) struct Arena {
    condition: Condition,
    network: Network,
    pub(super) question: Question,
}

#[derive(Debug)]
enum Network {
    Crowd {
        _crowd: Crowd,
        segment: Segment,
    },
    Prefix {
        _responder: PrefixResponder,
        wire: Wire,
    },
    Shaped {
        _responder: Responder,
        routed: Routed,
    },
    Wire {
        _responder: Responder,
        wire: Wire,
    },
}

impl Arena {
    /// Makes the network of a condition. `seed` decides which ports of a single host are open.
    pub(super) fn new(condition: Condition, seed: u64) -> Result<Self> {
        let timeout_s = condition.setting().timeout_s;
        let open = random_ports(seed, OPEN_COUNT);
        let of_host = |address: IpAddr| Question::of_host(address, &open, timeout_s);
        let (network, question) = match condition {
            Condition::AnswersEverything => everything(of_host(EVERYTHING.into()))?,
            Condition::Hosts => hosts(timeout_s)?,
            Condition::Ports => all_ports(timeout_s)?,
            Condition::Shaped => shaped(&open, of_host(Routed::ADDRESSES.target.into()))?,
            Condition::V6 => (
                single(condition, &open)?,
                of_host(Wire::ADDRESSES.target_v6.into()),
            ),
            Condition::Ring => {
                let question = of_host(Wire::ADDRESSES.target.into());
                let own_words = SMALL_RING;
                (
                    single(condition, &open)?,
                    Question {
                        own_words,
                        ..question
                    },
                )
            }
            _ => (
                single(condition, &open)?,
                of_host(Wire::ADDRESSES.target.into()),
            ),
        };
        Ok(Self {
            condition,
            network,
            question,
        })
    }

    /// One run; `None` when the program is not installed.
    pub(super) fn run(&self, peer: Peer, programs: &Programs) -> Result<Option<Run>> {
        let Some(mut subject) = peer.subject(programs, &self.question) else {
            return Ok(None);
        };
        if peer == Peer::PortolanSyn {
            subject.timeout_s = self.condition.setting().own_timeout_s;
        }
        let run = || Run::of(peer, &subject, self.scanner(), &self.question);
        let (mut run, said) = match (peer, &self.network) {
            (Peer::Masscan { .. }, Network::Wire { wire, .. } | Network::Prefix { wire, .. }) => {
                let scanner = IpAddr::V4(Wire::ADDRESSES.scanner);
                let trickle = Trickle::start(&wire.target, scanner)?;
                let ended = run();
                trickle.end();
                ended?
            }
            (_, Network::Shaped { routed, .. }) => {
                let address = IpAddr::V4(Routed::ADDRESSES.target);
                let ping = Ping::start(&routed.scanner, &routed.target, address)?;
                let ended = run();
                let lost = ping.lost_percent()?;
                println!("  {lost:.2} % of the pings were lost");
                let (mut run, said) = ended?;
                run.aside = Some(lost);
                (run, said)
            }
            _ => run()?,
        };
        run.aside = run.aside.or_else(|| missing_word(self.condition, &said));
        Ok(Some(run))
    }

    const fn scanner(&self) -> &Namespace {
        match &self.network {
            Network::Crowd { segment, .. } => &segment.scanner,
            Network::Prefix { wire, .. } | Network::Wire { wire, .. } => &wire.scanner,
            Network::Shaped { routed, .. } => &routed.scanner,
        }
    }
}

/// 1 where a word is missing that the condition wants to be said, and 0 where it is there.
fn missing_word(condition: Condition, said: &Said) -> Option<f64> {
    let there = match condition {
        Condition::AnswersEverything => said.stdout.contains(LABEL),
        Condition::Ring => said.stderr.contains(OVERRUN),
        _ => return None,
    };
    Some(if there { 0.0 } else { 1.0 })
}

/// Seconds in which the bottleneck lets a probe to every port through.
pub(super) fn bottleneck_seconds() -> f64 {
    f64::from(u16::MAX) * PROBE_BYTES * 8.0 / BOTTLENECK
}

fn single(condition: Condition, open: &[u16]) -> Result<Network> {
    let wire = Wire::create()?;
    match condition {
        Condition::Loss1 => wire.lose(1)?,
        Condition::Loss5 => wire.lose(5)?,
        Condition::Police20k => wire.police(20_000)?,
        Condition::Police5k => wire.police(5_000)?,
        Condition::Dropped => wire.silence_except(open)?,
        Condition::DroppedLoss1 => {
            wire.silence_except(open)?;
            wire.lose(1)?;
        }
        _ => {}
    }
    Ok(Network::Wire {
        _responder: Responder::start(&wire.target, open)?,
        wire,
    })
}

fn shaped(open: &[u16], question: Question) -> Result<(Network, Question)> {
    let routed = Routed::create()?;
    routed.router.tc(&SHAPED.split(' ').collect::<Vec<_>>())?;
    let network = Network::Shaped {
        _responder: Responder::start(&routed.target, open)?,
        routed,
    };
    Ok((network, question))
}

fn everything(question: Question) -> Result<(Network, Question)> {
    let segment = Segment::create()?;
    let mut host = Host::at(EVERYTHING);
    host.open = Ports::All;
    let network = Network::Crowd {
        _crowd: Crowd::start(&segment.beyond, Segment::INTERFACE, vec![host], 1)?,
        segment,
    };
    let question = Question {
        format: "json",
        open: std::collections::BTreeSet::new(),
        ..question
    };
    Ok((network, question))
}

fn hosts(timeout_s: u64) -> Result<(Network, Question)> {
    let (wire, responder) = prefix(1)?;
    let [first, second, ..] = Ipv4Addr::new(198, 19, 0, 0).octets();
    let addresses = (0..=u16::MAX).map(|host| {
        let [third, fourth] = host.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(first, second, third, fourth))
    });
    let question = Question {
        targets: HOSTS.to_owned(),
        ports: Asked::One(PORT),
        format: "list",
        own_words: "",
        open: addresses.map(|it| SocketAddr::new(it, PORT)).collect(),
        timeout_s,
    };
    let network = Network::Prefix {
        _responder: responder,
        wire,
    };
    Ok((network, question))
}

/// The core that the target's end works on where it is not to take time of the scanner's; `None`
/// where there is no other.
fn target_core() -> Option<u32> {
    let cores = std::thread::available_parallelism().ok()?.get();
    u32::try_from(cores)
        .ok()?
        .min(32)
        .checked_sub(1)
        .filter(|core| *core > 0)
}

fn all_ports(timeout_s: u64) -> Result<(Network, Question)> {
    let (wire, responder) = prefix(OPEN_ONE_IN)?;
    if let Some(core) = target_core() {
        wire.target.steer("lab0", core)?;
    }
    let first = SOME_HOSTS_FIRST.to_bits();
    let addresses = (first..first + 256).map(Ipv4Addr::from_bits);
    let open = addresses.flat_map(|address| {
        let open = (1..=u16::MAX).filter(|port| responder.is_open(address, *port));
        open.map(|port| SocketAddr::new(address.into(), port))
            .collect::<Vec<_>>()
    });
    let question = Question {
        targets: SOME_HOSTS.to_owned(),
        ports: Asked::All,
        format: "list",
        own_words: "",
        open: open.collect(),
        timeout_s,
    };
    let network = Network::Prefix {
        _responder: responder,
        wire,
    };
    Ok((network, question))
}

fn prefix(open_one_in: u32) -> Result<(Wire, PrefixResponder)> {
    let wire = Wire::create()?;
    wire.route_all()?;
    let responder = PrefixResponder::start(&wire.target, "lab0", open_one_in)?;
    Ok((wire, responder))
}
