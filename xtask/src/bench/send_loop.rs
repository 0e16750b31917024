//! Sending and nothing else: one of the ways out, as fast as it goes, until the time is over. Runs
//! as a process of its own, so that it can be kept on one core as its peers are.
//!
//! What is not here: the comparison (see [`super::send`]).

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use portolan_model::{AddressSet, IoChoice, Scope};
use portolan_net::filter::Wanted;
use portolan_net::link::Link;
use portolan_net::raw::transmit::Transmitter;
use portolan_net::raw::xdp::io;
use portolan_net::route::{Origin, Routes};
use portolan_wire::{Framing, LinkType, Mac, Syn, SynTemplate};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The hidden command.
#[derive(Debug, Args)]
pub(crate) struct SendLoop {
    /// What sends
    #[arg(long)]
    way: Way,
    /// Where frames go first
    #[arg(long)]
    next_hop: String,
    /// End after so many seconds
    #[arg(long)]
    seconds: u64,
}

/// How frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// Probes made, checked and sent as a scan does, by a packet socket.
    Packet,
    /// The same few frames again and again, by a packet socket.
    PacketBare,
    /// Probes made, checked and sent as a scan does, by a socket for frames.
    Xdp,
    /// The same few frames again and again, by a socket for frames.
    XdpBare,
}

/// 198.19.0.0/16, from the range that no network uses (RFC 2544).
const NETWORK: u32 = 0xc613_0000;

/// Flushes between two looks at the clock.
const FLUSHES: u32 = 256;

/// Sends until the time is over.
pub(crate) fn run(options: &SendLoop) -> Result<()> {
    let network = IpAddr::V4(Ipv4Addr::from_bits(NETWORK));
    let mut routes = Routes::open()?;
    let route = routes.route_to(network, &Origin::default())?;
    let link = routes.link(route.interface)?;
    let scope = AddressSet::network(network, 16).context("no such network")?;
    let scope = Arc::new(Scope::of(scope));
    let mut transmitter = Transmitter::open(&link, scope, &[])?;
    if matches!(options.way, Way::Xdp | Way::XdpBare) {
        let wanted = Wanted {
            link_type: LinkType::Ethernet,
            addresses: &[route.source],
            ports: 40_000..=40_255,
        };
        transmitter.send_by(Some(io::open(&link, &wanted, IoChoice::Auto)?.sender));
    }
    let template = template(&link, route.source, &options.next_hop)?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    match options.way {
        Way::Packet | Way::Xdp => probe(&mut transmitter, &template, until),
        Way::PacketBare | Way::XdpBare => {
            let mut number = 0;
            while transmitter.queued() < Transmitter::FRAMES_MAX {
                push(&mut transmitter, &template, number)?;
                number += 1;
            }
            let mut bare = transmitter.into_bare();
            while Instant::now() < until {
                for _ in 0..FLUSHES {
                    // No room now: the next call finds some.
                    let _ = bare.send();
                }
            }
            Ok(())
        }
    }
}

fn template(link: &Link, source: IpAddr, next_hop: &str) -> Result<SynTemplate> {
    let mut destination = [0; 6];
    let bytes = next_hop.split('-').map(|it| u8::from_str_radix(it, 16));
    for (place, byte) in destination.iter_mut().zip(bytes) {
        *place = byte?;
    }
    let framing = Framing::Ethernet {
        source: link.mac.context("the interface has no hardware address")?,
        destination: Mac(destination),
    };
    Ok(SynTemplate::new(framing, source))
}

fn probe(transmitter: &mut Transmitter, template: &SynTemplate, until: Instant) -> Result<()> {
    let mut number = 0;
    while Instant::now() < until {
        for _ in 0..FLUSHES {
            for _ in 0..Transmitter::FRAMES_MAX {
                push(transmitter, template, number)?;
                number = number.wrapping_add(1);
            }
            let sent = transmitter.flush();
            if let Some(error) = sent.error
                && !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::OutOfMemory
                )
                && error.raw_os_error() != Some(nix::libc::ENOBUFS)
            {
                bail!("frames cannot be sent: {error}");
            }
        }
    }
    Ok(())
}

fn push(transmitter: &mut Transmitter, template: &SynTemplate, number: u32) -> Result<()> {
    // An odd factor visits every address of the network once before any again.
    let spread = number.wrapping_mul(0x9e37_79b1);
    let [port_high, port_low, _, _] = spread.to_be_bytes();
    let syn = Syn {
        next_hop: None,
        destination: IpAddr::V4(Ipv4Addr::from_bits(NETWORK | (spread & 0xffff))),
        destination_port: u16::from_be_bytes([port_high, port_low]) | 1,
        source_port: 40_000,
        sequence: spread,
    };
    let mut frame = [0; SynTemplate::FRAME_LENGTH_MAX];
    let length = template.write(&syn, &mut frame)?;
    transmitter.push(frame.get(..length).unwrap_or_default())?;
    Ok(())
}
