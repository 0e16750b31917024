//! Starts the sweeps of a run: one for each transport that has ports.

use crate::limits::Limits;
use crate::orders::Orders;
use crate::raw_sweep::{self, RawOptions};
use crate::sweep::{self, Control, SweepOptions, Word};
use crate::udp_sweep::{self, UdpSweepOptions};
use portolan_model::{Discovery, EngineChoice, Plan, Transport};
use portolan_net::port_block::PortBlock;
use portolan_net::privilege::{Kernel, may_use_packets};
use portolan_net::raw::ring::Ring;
use portolan_net::route::Origin;
use portolan_scan::SOURCE_PORTS;
use portolan_targets::Order;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What raw packets need to know of the run beside its plan.
pub(crate) struct Beside {
    /// Hosts of the first window that an earlier part of the run has found.
    pub(crate) known: HashSet<IpAddr>,
    /// Of the receive ring of each interface; `None`: as much as is usual.
    pub(crate) receive_bytes: Option<usize>,
    /// Whether the user is told how packets pass each interface.
    pub(crate) tells_passage: bool,
}

/// Starts the sweep of each transport that has ports.
pub(crate) fn start_sweeps(
    plan: &Plan,
    (limits, workers): (Limits, u32),
    orders: &Orders,
    (sweep_of, beside): (impl Fn(&Order, Transport) -> SweepOptions, Beside),
    (control, words): (&Arc<Control>, &mpsc::Sender<Word>),
) -> io::Result<()> {
    match (&orders.tcp, plan.engine) {
        (None, _) => {}
        (Some(order), EngineChoice::Connect) => {
            let options = sweep_of(order, Transport::Tcp);
            sweep::start(options, control, words)?;
        }
        (Some(order), EngineChoice::Syn) => {
            let options = sweep_of(order, Transport::Tcp);
            let raw = raw_options(plan, limits, beside, options)?;
            raw_sweep::start(raw, control, words)?;
        }
    }
    if let Some(order) = &orders.udp {
        let options = udp_options(plan, workers, sweep_of(order, Transport::Udp))?;
        udp_sweep::start(options, control, words)?;
    }
    Ok(())
}

/// What the raw sweep is told beside `sweep`.
fn raw_options(
    plan: &Plan,
    limits: Limits,
    beside: Beside,
    sweep: SweepOptions,
) -> io::Result<RawOptions> {
    may_use_packets().map_err(io::Error::other)?;
    let ephemeral = Kernel::now().ephemeral_ports;
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let (key, start) = random.split_at(16);
    let start = start.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let block = match plan.source_port {
        Some(first) => PortBlock::hold(first, SOURCE_PORTS, limits.ports_held),
        None => PortBlock::find(SOURCE_PORTS, limits.ports_held, ephemeral, start),
    };
    Ok(RawOptions {
        origin: Origin::of(&sweep.source).map_err(io::Error::other)?,
        block: block.map_err(io::Error::other)?,
        key: key.try_into().map_err(io::Error::other)?,
        ports: plan.tcp.clone(),
        io: plan.io,
        discovery: plan.discovery,
        known: beside.known,
        receive_bytes: beside.receive_bytes.unwrap_or(Ring::BYTES),
        tells_passage: beside.tells_passage,
        sweep,
    })
}

/// What the UDP sweep is told beside `sweep`.
fn udp_options(plan: &Plan, workers: u32, sweep: SweepOptions) -> io::Result<UdpSweepOptions> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let searches = plan.discovery == Discovery::Always && !plan.tcp.is_empty();
    let gauge = workers.saturating_sub(1);
    Ok(UdpSweepOptions {
        sweep,
        waits_for_hosts: plan.engine == EngineChoice::Syn && searches,
        ports: plan.udp.clone(),
        key,
        gauge: usize::try_from(gauge).unwrap_or(usize::MAX),
    })
}
