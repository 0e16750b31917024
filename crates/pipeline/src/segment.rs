//! The IPv6 neighbours on the segment of an interface, found by an echo request to all of them
//! (`ff02::1`, RFC 4291 §2.7.1): the addresses of a segment are too many to be asked one by one.
//!
//! What is not here: who of them may be probed (the scope decides that as for every target), and
//! the neighbours of IPv4, which ARP finds.

use crate::prepare::Wish;
use portolan_model::{AddressSet, Scope, Text};
use portolan_net::connect::Source;
use portolan_net::filter::{Filter, Wanted};
use portolan_net::interface::{self, Interface};
use portolan_net::link::{Link, LinkKind};
use portolan_net::privilege::{NoPackets, may_use_packets};
use portolan_net::raw::ring::{self, Ring};
use portolan_net::raw::transmit::Transmitter;
use portolan_net::route::{Origin, Routes};
use portolan_targets::summary;
use portolan_wire::icmp::{EchoReply, EchoRequest};
use portolan_wire::{Addresses, Envelope, Framing, LinkType, Mac, Packet, ethernet, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Why the neighbours of an interface are no targets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// Nothing may be sent.
    #[error(
        "a dry run sends nothing, so it cannot know who is on {interface}; run it without \
         --dry-run, or name addresses"
    )]
    DryRun {
        /// The interface.
        interface: Text,
    },
    /// An exclusion, or the scope, stands between.
    #[error(
        "a request to all neighbours on {interface} also reaches {network}, which may not be \
         probed; name the addresses that may be"
    )]
    Forbidden {
        /// The interface.
        interface: Text,
        /// What may not be probed of its networks.
        network: String,
    },
    /// The system refused.
    #[error("the neighbours on {interface} cannot be asked: {source}")]
    Io {
        /// The interface.
        interface: Text,
        /// What it said.
        source: io::Error,
    },
    /// The interfaces could not be read.
    #[error(transparent)]
    Interface(#[from] interface::InterfaceError),
    /// Nobody answered.
    #[error(
        "no neighbour on {interface} answered an echo request to ff02::1; hosts may leave such \
         requests unanswered: list those that you know of with --input (`ip -6 neighbour`)"
    )]
    Nobody {
        /// The interface.
        interface: Text,
    },
    /// Those that answered have only addresses that are of no use without the interface.
    #[error(
        "the neighbours on {interface} have link-local addresses only ({addresses}); name the \
         interface as well: ff02::1%{interface} --interface {interface}"
    )]
    OnlyLinkLocal {
        /// The interface.
        interface: Text,
        /// Theirs.
        addresses: String,
    },
    /// Packets may not be sent.
    #[error("the neighbours on {interface} cannot be asked: {reason}; or name their addresses")]
    Packets {
        /// The interface.
        interface: Text,
        /// Why.
        reason: NoPackets,
    },
    /// It has no IPv6 address, no hardware address, or is down.
    #[error(
        "{interface} is no interface with IPv6 neighbours; it has to be up, speak Ethernet and \
         have an IPv6 address: look at `ip -6 address show`"
    )]
    Unfit {
        /// The interface.
        interface: Text,
    },
}

/// Whose neighbours are asked for, and what may be.
pub(crate) struct Asking<'a> {
    pub(crate) interface: &'a str,
    pub(crate) scope: &'a Scope,
    pub(crate) wish: &'a Wish,
}

/// All nodes of a segment.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// When they are asked; answers to one of the requests may be lost.
const ROUNDS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_millis(900),
];
/// How long answers are waited for after the last request.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Own addresses from which is asked: a neighbour answers from an address of the same kind.
const SOURCES_MAX: usize = 8;
/// Neighbours that are heard.
const NEIGHBOURS_MAX: usize = 1 << 16;
/// Frames read at once.
const FRAMES: usize = 4_096;
/// Bytes of the receive ring.
const RING_BYTES: usize = 4 << 20;
/// A multicast to the segment goes no further (RFC 3493 §5.2).
const HOP_LIMIT: u8 = 1;
/// Random bytes in a request, which its answers repeat.
const COOKIE_BYTES: usize = 16;

/// The neighbours that answer, as targets.
///
/// # Errors
/// When they may not or cannot be asked, and when nobody answers.
pub(crate) fn targets(
    asking: &Asking<'_>,
    notices: &mut Vec<String>,
) -> Result<AddressSet, SegmentError> {
    let name = || Text::from(asking.interface);
    let attached = interface::attached()?;
    let mut interfaces = attached.interfaces.iter();
    let unfit = || SegmentError::Unfit { interface: name() };
    let interface = interfaces.find(|it| it.name.as_str() == asking.interface);
    let interface = interface.filter(|it| it.up && !it.loopback);
    let interface = interface.ok_or_else(unfit)?;
    let networks = networks_of(interface);
    if networks.is_empty() {
        return Err(unfit());
    }
    if let Some(forbidden) = forbidden(&networks, asking.scope) {
        return Err(SegmentError::Forbidden {
            interface: name(),
            network: summary(&forbidden, 3),
        });
    }
    if asking.wish.dry_run {
        return Err(SegmentError::DryRun { interface: name() });
    }
    may_use_packets().map_err(|reason| SegmentError::Packets {
        interface: name(),
        reason,
    })?;
    let sources = sources_of(interface);
    let heard = ask(asking.interface, &sources).map_err(|source| SegmentError::Io {
        interface: name(),
        source,
    })?;
    let heard = heard.ok_or_else(unfit)?;
    let of_segment = |address: &Ipv6Addr| {
        networks.contains(IpAddr::V6(*address)) && !attached.own.contains(IpAddr::V6(*address))
    };
    let heard = heard.into_iter().filter(|(it, _)| of_segment(it)).collect();
    let by_interface = asking.wish.interface.as_deref() == Some(asking.interface);
    choose(&name(), &heard, by_interface, notices)
}

/// Of all that answered, those that can be probed: one that shows only a link-local address can be
/// where packets leave by the interface in any case.
fn choose(
    interface: &Text,
    heard: &BTreeMap<Ipv6Addr, Mac>,
    by_interface: bool,
    notices: &mut Vec<String>,
) -> Result<AddressSet, SegmentError> {
    let is_local = |address: &Ipv6Addr| address.is_unicast_link_local();
    let wide: BTreeSet<Mac> = heard
        .iter()
        .filter(|(address, _)| !is_local(address))
        .map(|(_, mac)| *mac)
        .collect();
    let set = |only_local: bool| -> AddressSet {
        let chosen = heard.iter().filter(|(address, mac)| {
            if only_local {
                is_local(address) && !wide.contains(mac)
            } else {
                !is_local(address)
            }
        });
        chosen.map(|(address, _)| IpAddr::V6(*address)).collect()
    };
    let (mut found, local) = (set(false), set(true));
    if by_interface {
        found.extend_from(&local);
    } else if !local.is_empty() {
        let addresses = summary(&local, 3);
        if found.is_empty() {
            return Err(SegmentError::OnlyLinkLocal {
                interface: interface.clone(),
                addresses,
            });
        }
        notices.push(format!(
            "neighbours on {interface} with a link-local address only are left out ({addresses}); \
             --interface {interface} takes them in"
        ));
    }
    if found.is_empty() {
        let interface = interface.clone();
        return Err(SegmentError::Nobody { interface });
    }
    notices.push(format!(
        "{} IPv6 neighbours on {interface} answered: {}",
        found.len(),
        summary(&found, 3)
    ));
    Ok(found)
}

/// Every address that a neighbour can have there.
fn networks_of(interface: &Interface) -> AddressSet {
    let v6 = interface.addresses.iter().filter(|it| it.address.is_ipv6());
    let networks = v6.filter_map(|it| AddressSet::network(it.address, it.prefix));
    let mut networks = AddressSet::union_of(networks);
    if !networks.is_empty() {
        let local = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));
        networks.extend_from(&AddressSet::network(local, 64).unwrap_or_default());
    }
    networks
}

/// What of `networks` may not be probed.
fn forbidden(networks: &AddressSet, scope: &Scope) -> Option<AddressSet> {
    let mut forbidden = networks.without(&scope.allowed);
    forbidden.extend_from(&networks.intersection(&scope.denied));
    (!forbidden.is_empty()).then_some(forbidden)
}

/// Addresses to ask from: one of each network, the link-local one among them.
fn sources_of(interface: &Interface) -> Vec<Ipv6Addr> {
    let mut networks = BTreeSet::new();
    let addresses = interface.addresses.iter().filter_map(|it| {
        let IpAddr::V6(address) = it.address else {
            return None;
        };
        let first = AddressSet::network(it.address, it.prefix)?.first()?;
        networks.insert(first).then_some(address)
    });
    addresses.take(SOURCES_MAX).collect()
}

/// Who answers on `interface`, with the hardware address; `None` where no frames can be made.
fn ask(interface: &str, sources: &[Ipv6Addr]) -> io::Result<Option<BTreeMap<Ipv6Addr, Mac>>> {
    let origin = Origin::of(&Source {
        address: None,
        port: None,
        interface: Some(interface.to_owned()),
    })
    .map_err(io::Error::other)?;
    let mut routes = Routes::open().map_err(io::Error::other)?;
    let link = routes.link(origin.interface.unwrap_or_default());
    let link = link.map_err(io::Error::other)?;
    let (LinkKind::Ethernet, Some(mac)) = (link.kind, link.mac) else {
        return Ok(None);
    };
    let addresses: Vec<IpAddr> = sources.iter().copied().map(IpAddr::V6).collect();
    let filter = Filter::for_scan(&Wanted {
        link_type: LinkType::Ethernet,
        addresses: &addresses,
        // None of them is asked from: all that comes back is ICMP.
        ports: 0..=0,
    })
    .map_err(io::Error::other)?;
    let mut ring = Ring::open(&link, &filter, RING_BYTES).map_err(io::Error::other)?;
    let mut transmitter = Transmitter::open_to_all_nodes(&link).map_err(io::Error::other)?;
    let mut cookie = [0; COOKIE_BYTES];
    getrandom::fill(&mut cookie).map_err(io::Error::other)?;
    let mut heard = BTreeMap::new();
    let began = Instant::now();
    for (round, at) in (1..).zip(ROUNDS) {
        hear(&mut ring, began + at, &cookie, &mut heard)?;
        for source in sources {
            let mut frame = [0; 128];
            let request = request(&link, mac, *source, round, &cookie);
            let length = request.write(&mut frame).map_err(io::Error::other)?;
            let frame = frame.get(..length).unwrap_or_default();
            transmitter.push(frame).map_err(io::Error::other)?;
        }
        if let Some(error) = transmitter.flush().error {
            return Err(error);
        }
    }
    hear(&mut ring, Instant::now() + LAST_WAIT, &cookie, &mut heard)?;
    Ok(Some(heard))
}

fn request<'a>(
    link: &Link,
    mac: Mac,
    source: Ipv6Addr,
    round: u16,
    cookie: &'a [u8; COOKIE_BYTES],
) -> EchoRequest<'a> {
    let destination = IpAddr::V6(ALL_NODES);
    let [a, b, ..] = *cookie;
    EchoRequest {
        envelope: Envelope {
            framing: Framing::Ethernet {
                source: mac,
                destination: Mac::multicast(destination).unwrap_or(Mac::BROADCAST),
            },
            addresses: Addresses {
                source: IpAddr::V6(source),
                destination,
            },
            hop_limit: HOP_LIMIT,
            mtu: link.mtu,
        },
        identifier: u16::from_be_bytes([a, b]),
        sequence: round,
        payload: cookie,
    }
}

/// Takes answers until `until`.
fn hear(
    ring: &mut Ring,
    until: Instant,
    cookie: &[u8; COOKIE_BYTES],
    heard: &mut BTreeMap<Ipv6Addr, Mac>,
) -> io::Result<()> {
    loop {
        ring.drain(FRAMES, |frame| {
            if let Some((address, mac)) = answer(frame.bytes, cookie)
                && heard.len() < NEIGHBOURS_MAX
            {
                heard.insert(address, mac);
            }
        });
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        ring::wait(std::iter::once(&*ring), left)?;
    }
}

/// Who sent a frame, when it answers a request.
fn answer(frame: &[u8], cookie: &[u8; COOKIE_BYTES]) -> Option<(Ipv6Addr, Mac)> {
    let header = ethernet::Header::parse(frame).ok()?;
    let Ok(Packet::EchoReply(EchoReply {
        addresses, payload, ..
    })) = parse(frame, LinkType::Ethernet)
    else {
        return None;
    };
    match addresses.source {
        IpAddr::V6(source) if payload == cookie && !source.is_multicast() => {
            Some((source, header.source))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: [u8; COOKIE_BYTES] = [9; COOKIE_BYTES];

    fn heard(text: &[(&str, u8)]) -> BTreeMap<Ipv6Addr, Mac> {
        let mac = |last| Mac([2, 0, 0, 0, 0, last]);
        let heard = text.iter();
        heard
            .map(|(address, last)| (address.parse().unwrap(), mac(*last)))
            .collect()
    }

    /// `expected` are addresses, or a word of the error.
    fn check(all: &[(&str, u8)], by_interface: bool, expected: Result<&str, &str>) {
        let mut notices = Vec::new();
        let chosen = choose(&Text::from("eth0"), &heard(all), by_interface, &mut notices);
        match (chosen, expected) {
            (Ok(chosen), Ok(expected)) => assert_eq!(summary(&chosen, 9), expected),
            (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
            (chosen, expected) => panic!("{chosen:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_neighbour_is_probed_by_the_address_that_needs_no_interface() {
        let both = [("fe80::7", 7), ("2001:db8::7", 7)];
        check(&both, false, Ok("2001:db8::7"));
        check(&both, true, Ok("2001:db8::7"));
        let mixed = [("fe80::7", 7), ("2001:db8::7", 7), ("fe80::8", 8)];
        check(&mixed, false, Ok("2001:db8::7"));
        check(&mixed, true, Ok("2001:db8::7, fe80::8"));
        check(&[("fe80::8", 8)], false, Err("--interface eth0"));
        check(&[("fe80::8", 8)], true, Ok("fe80::8"));
        check(&[], true, Err("no neighbour"));
    }

    #[test]
    fn what_may_not_be_probed_is_not_reached_by_a_request_to_all() {
        let network = |text: &str, prefix| AddressSet::network(text.parse().unwrap(), prefix);
        let networks = network("2001:db8::", 64).unwrap();
        let mut scope = Scope::of(network("2001:db8::", 32).unwrap());
        assert_eq!(forbidden(&networks, &scope), None);
        scope.denied = network("2001:db8::7", 128).unwrap();
        assert!(forbidden(&networks, &scope).is_some());
        let narrow = Scope::of(network("2001:db8::", 65).unwrap());
        assert!(forbidden(&networks, &narrow).is_some());
    }

    #[test]
    fn only_what_repeats_the_request_is_an_answer() {
        let frame = |kind: u8, payload: &[u8]| {
            let mut frame = vec![
                2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7, 0x86, 0xdd, 0x60, 0, 0, 0,
            ];
            let length = u8::try_from(8 + payload.len()).unwrap();
            frame.extend([0, length, 58, 64]);
            frame.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7).octets());
            frame.extend(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets());
            frame.extend([kind, 0, 0, 0, 9, 9, 0, 1]);
            frame.extend(payload);
            frame
        };
        let right = frame(129, &COOKIE);
        let expected = (
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7),
            Mac([2, 0, 0, 0, 0, 7]),
        );
        assert_eq!(answer(&right, &COOKIE), Some(expected));
        for length in 0..right.len() {
            assert_eq!(answer(&right[..length], &COOKIE), None, "{length}");
        }
        assert_eq!(answer(&frame(129, &[8; COOKIE_BYTES]), &COOKIE), None);
        assert_eq!(answer(&frame(129, &[9; COOKIE_BYTES + 1]), &COOKIE), None);
        assert_eq!(answer(&frame(128, &COOKIE), &COOKIE), None);
    }
}
