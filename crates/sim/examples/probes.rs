//! Asks every port of some hosts in memory, from the order to the frame and from the answer to the
//! verdict, for `cargo xtask bench instructions` to count what that takes. There is no socket, and
//! the gate before one is not here either.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]

use portolan_model::{AddressSet, Endpoint, Moment, PortSet, Shard};
use portolan_scan::{Patience, SynEngine, SynOptions, SynProbe};
use portolan_targets::Order;
use portolan_wire::{Framing, LinkType, Mac, Syn, SynTemplate, parse};
use std::collections::VecDeque;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// From a probe to its answer.
const RTT: Duration = Duration::from_millis(1);

/// Time that the network takes for a frame: the clock goes on while probes are sent.
const A_FRAME: Duration = Duration::from_micros(4);

/// Probes between two looks at what came in, as the product has it.
const BATCH: usize = 64;

/// Of so many ports one is open.
const OPEN_ONE_IN: u16 = 300;

/// Turns of the loop that no run needs.
const TURNS_MAX: u32 = 10_000_000;

/// Bytes of a SYN over Ethernet and IPv4.
const FRAME: usize = 66;

/// An answer under way.
struct Answer {
    due: Moment,
    frame: [u8; FRAME],
}

fn main() -> Result<(), Box<dyn Error>> {
    let hosts: u32 = std::env::args().nth(1).ok_or("how many hosts?")?.parse()?;
    let first = Ipv4Addr::new(198, 18, 1, 0);
    let last = Ipv4Addr::from_bits(first.to_bits() + hosts.clamp(1, 1 << 16) - 1);
    let addresses = AddressSet::range(IpAddr::V4(first), IpAddr::V4(last)).ok_or("no addresses")?;
    let ports = PortSet::range(1, u16::MAX);
    let order = Order::new(&addresses, &ports, 1, Shard::WHOLE)?;
    let (mut probes, mut verdicts) = (0, 0);
    for number in 0..order.windows() {
        let window = order.window(number).ok_or("no window")?;
        let lookup = |position: u32| {
            let slot = window.slot(u64::from(position))?;
            Some((slot.host, slot.port))
        };
        let hosts = (0..window.hosts()).filter_map(|host| window.address(host));
        let positions = u32::try_from(window.len())?;
        let engine = SynEngine::new(lookup, positions, hosts.collect(), &ports, options());
        let (sent, said) = ask(engine)?;
        probes += sent;
        verdicts += said;
    }
    if verdicts != order.total() {
        return Err(format!("{verdicts} verdicts of {}", order.total()).into());
    }
    println!("{probes}");
    Ok(())
}

fn options() -> SynOptions {
    SynOptions {
        first_port: 61_440,
        key: [7; 16],
        // Without loss there is no pace to find.
        rate: Some(200_000.0),
        host_rate: None,
        patience: Patience::default(),
    }
}

/// Holds one window; how many probes were sent and verdicts given.
fn ask<L: FnMut(u32) -> Option<(u32, u16)>>(
    mut engine: SynEngine<L>,
) -> Result<(u64, u64), Box<dyn Error>> {
    let own = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
    let framing = Framing::Ethernet {
        source: Mac([2, 0, 0, 0, 0, 1]),
        destination: Mac([2, 0, 0, 0, 0, 2]),
    };
    let template = SynTemplate::new(framing, own);
    let mut under_way: VecDeque<Answer> = VecDeque::new();
    let mut now = Moment::from_nanos(0);
    let (mut probes, mut verdicts) = (0, 0);
    for _ in 0..TURNS_MAX {
        if engine.is_done() {
            return Ok((probes, verdicts));
        }
        while let Some(answer) = under_way.pop_front_if(|answer| answer.due <= now) {
            engine.handle_packet(answer.due, &parse(&answer.frame, LinkType::Ethernet)?);
        }
        engine.handle_timeout(now);
        while engine.poll_verdict().is_some() {
            verdicts += 1;
        }
        let mut asked = 0;
        while asked < BATCH
            && let Some(probe) = engine.poll_probe(now)
        {
            asked += 1;
            probes += 1;
            now = now + A_FRAME;
            under_way.push_back(Answer {
                due: now + RTT,
                frame: answer(&template, &probe)?,
            });
        }
        if asked == 0 {
            let due = under_way.front().map(|answer| answer.due);
            let next = [due, engine.poll_timeout(now)].into_iter().flatten().min();
            now = next.unwrap_or(now).max(now + A_FRAME);
        }
    }
    Err("it does not end".into())
}

/// The frame of a probe turned around: SYN-ACK or RST, with the sums of the probe, of which that of
/// the IPv4 header is right.
fn answer(template: &SynTemplate, probe: &SynProbe) -> Result<[u8; FRAME], Box<dyn Error>> {
    let mut frame = [0; FRAME];
    let Endpoint { address, port, .. } = probe.endpoint;
    let syn = Syn {
        next_hop: None,
        destination: address,
        destination_port: port,
        source_port: probe.source_port,
        sequence: probe.sequence,
    };
    template.write(&syn, &mut frame)?;
    for at in 0..4 {
        frame.swap(26 + at, 30 + at);
    }
    frame.swap(34, 36);
    frame.swap(35, 37);
    frame[42..46].copy_from_slice(&probe.sequence.wrapping_add(1).to_be_bytes());
    let is_open = port % OPEN_ONE_IN == 0;
    frame[47] = if is_open { 0x12 } else { 0x14 };
    Ok(frame)
}
