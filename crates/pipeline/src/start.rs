//! Starts the sweeps of a run: one for each transport that has ports.

use crate::limits::Limits;
use crate::orders::Orders;
use crate::raw_sweep;
use crate::run::raw_options;
use crate::sweep::{self, Control, SweepOptions, Word};
use crate::udp_sweep::{self, UdpSweepOptions};
use portolan_model::{EngineChoice, Plan, Transport};
use portolan_targets::Order;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Starts the sweep of each transport that has ports.
pub(crate) fn start_sweeps(
    plan: &Plan,
    (limits, workers): (Limits, u32),
    orders: &Orders,
    sweep_of: impl Fn(&Order, Transport) -> SweepOptions,
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
            let raw = raw_options(plan, limits, options)?;
            raw_sweep::start(raw, control, words)?;
        }
    }
    if let Some(order) = &orders.udp {
        let options = udp_options(plan, workers, sweep_of(order, Transport::Udp))?;
        udp_sweep::start(options, control, words)?;
    }
    Ok(())
}

/// What the UDP sweep is told beside `sweep`.
fn udp_options(plan: &Plan, workers: u32, sweep: SweepOptions) -> io::Result<UdpSweepOptions> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let gauge = workers.saturating_sub(1);
    Ok(UdpSweepOptions {
        sweep,
        ports: plan.udp.clone(),
        key,
        gauge: usize::try_from(gauge).unwrap_or(usize::MAX),
    })
}
