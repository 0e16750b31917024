//! How much this machine lets a run do at once.

use crate::orders::Orders;
use portolan_model::{EngineChoice, Plan, Text};
use portolan_net::privilege::{FileLimit, file_limit, raise_file_limit};
use portolan_scan::SOURCE_PORTS;

/// Bounds of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Probes under way, over all workers.
    pub(crate) capacity: u32,
    /// Threads that probe.
    pub(crate) workers: u32,
    /// First looks under way.
    pub(crate) looks_max: usize,
    /// Connections that wait for or are in a first look.
    pub(crate) held_max: u32,
    /// Source ports that raw packets may hold.
    pub(crate) ports_held: u16,
    /// The limit of open files, where it could be read.
    files: Option<FileLimit>,
}

/// Probes under way on any machine.
const CAPACITY_MAX: u32 = 28_000;
/// Threads that probe on any machine.
const WORKERS_MAX: u32 = 4;
/// Below this many probes a second one thread is enough, and keeps the rate more evenly.
const ONE_WORKER_RATE: u64 = 5_000;
/// Below this many probes one thread is enough.
const ONE_WORKER_PROBES: u64 = 4_096;
/// First looks under way on any machine.
const LOOKS_MAX: u32 = 128;
/// Descriptors kept free for everything else: output files, epoll, netlink, the resolver.
const RESERVE: u64 = 48;
/// Assumed when the limit cannot be read.
const FILES_ASSUMED: u64 = 1_024;

impl Limits {
    /// The bounds for `plan` with `probes` first probes. Raises the soft limit of open files to
    /// the hard one.
    pub(crate) fn of(plan: &Plan, probes: u64) -> Self {
        // Where the soft limit cannot be raised, what is allowed now is made do with.
        let limit = raise_file_limit().or_else(|_| file_limit()).ok();
        let files = limit.map_or(FILES_ASSUMED, |limit| limit.now);
        let files = u32::try_from(files.saturating_sub(RESERVE))
            .unwrap_or(u32::MAX)
            .max(16);
        let ports_held = match plan.engine {
            EngineChoice::Connect => 0,
            EngineChoice::Syn => u16::try_from(files / 4)
                .map_or(SOURCE_PORTS, |quarter| quarter.clamp(1, SOURCE_PORTS)),
        };
        let files = files.saturating_sub(u32::from(ports_held)).max(16);
        let looks = (files / 8).clamp(2, LOOKS_MAX);
        let held_max = looks.saturating_mul(2);
        let capacity = (files.saturating_sub(held_max + looks)).clamp(8, CAPACITY_MAX);
        let slow = [plan.pace.rate, plan.scope.rate]
            .into_iter()
            .flatten()
            .min();
        let one = plan.engine == EngineChoice::Syn
            || probes < ONE_WORKER_PROBES
            || slow.is_some_and(|rate| rate < ONE_WORKER_RATE)
            || plan.pace.host_rate.or(plan.scope.host_rate).is_some();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = u32::try_from(cores).unwrap_or(WORKERS_MAX);
        Self {
            capacity,
            workers: if one { 1 } else { cores.clamp(1, WORKERS_MAX) },
            looks_max: usize::try_from(looks).unwrap_or(usize::MAX),
            held_max,
            ports_held,
            files: limit,
        }
    }

    /// Threads that sweep: those for TCP, and one for UDP behind them.
    pub(crate) fn workers_of(&self, orders: &Orders) -> u32 {
        let tcp = orders.tcp.as_ref().map_or(0, |_| self.workers);
        tcp.saturating_add(u32::from(orders.udp.is_some()))
    }

    /// What a user should know of the limit of open files, for a run of `probes` first probes.
    pub(crate) fn notice(&self, probes: u64) -> Option<Text> {
        let FileLimit { before, now, hard } = self.files?;
        if self.ports_held > 0 {
            // Raw packets take no open file each.
            return None;
        }
        let capacity = self.capacity;
        if now < FILES_ASSUMED && probes > u64::from(capacity) {
            return Some(Text::from(format!(
                "this process may open only {now} files, so no more than {capacity} probes are \
                 under way at once; as root, `ulimit -n 65536` before the scan allows more"
            )));
        }
        (before < now && probes > before).then(|| {
            Text::from(format!(
                "the limit of open files was raised from {before} to {now} (at most {hard}) for \
                 this scan"
            ))
        })
    }
}
