//! Drives the engine over real sockets: one thread a worker, each with a disjoint part of every
//! window of the order, and one bounded channel for what they find.
//!
//! What is not here: the decision what to probe (`portolan-scan`) and what becomes of a find.

use crate::discovery::Looked;
use crate::rights::{Thread, give_up};
use crate::udp_sweep::UdpFind;
use portolan_model::{Endpoint, Moment, Plan, PortSet, Scope, Shard};
use portolan_net::connect::{ConnectPool, Ending, Source};
use portolan_net::neighbours;
use portolan_scan::{
    Dial, DialId, Engine, EngineOptions, Figures, Patience, ProbeTarget, Reply, Verdict,
};
use portolan_targets::{Order, Window};
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// A decided port, with its connection when that is wanted for a first look.
pub(crate) struct Find {
    pub(crate) verdict: Verdict,
    pub(crate) connection: Option<OwnedFd>,
}

/// What a worker says.
pub(crate) enum Word {
    /// Ports of window `window` that are decided.
    Finds { window: u64, finds: Vec<Find> },
    /// Hosts of window `window` of which something is known beside their ports.
    Hosts { window: u64, looked: Looked },
    /// UDP ports of window `window` that are decided.
    UdpFinds { window: u64, finds: Vec<UdpFind> },
    /// Every port of this worker's part of the window is decided.
    WindowEnded,
    /// The worker stopped; an error says why, if it was not the end of its work.
    Stopped(io::Result<()>),
}

/// What the workers and the run share.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Set: begin no further probes and stop.
    pub(crate) drain: AtomicBool,
    /// Connections handed over for a first look that are not closed yet.
    pub(crate) held: AtomicU32,
    /// Windows that every worker has ended.
    pub(crate) windows_ended: AtomicU64,
    /// Windows whose hosts were looked for before their ports are asked.
    pub(crate) windows_looked: AtomicU64,
    /// Hosts of the last of them that nothing is asked.
    pub(crate) absent: Mutex<Arc<HashSet<IpAddr>>>,
    /// Received packets that were lost for want of room.
    pub(crate) overruns: AtomicU64,
    /// Counts by worker, refreshed with every batch.
    pub(crate) gauges: Vec<Gauge>,
    /// What the user should know of the ways out, once each.
    pub(crate) notes: Mutex<BTreeSet<String>>,
}

impl Control {
    /// Adds what the user should know at the end.
    pub(crate) fn note(&self, notes: impl Iterator<Item = String>) {
        let mut known = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(notes);
    }

    /// Everything that the user should know.
    pub(crate) fn take_notes(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One worker's counts.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    probes: AtomicU64,
    decided: AtomicU64,
    answered: AtomicU64,
    lost: AtomicU64,
    open: AtomicU64,
    silent: AtomicU64,
    silent_probes_min: AtomicU64,
    /// One more than the number; 0: there is none.
    missed_millionths: AtomicU64,
}

/// What the workers are told.
pub(crate) struct SweepOptions {
    pub(crate) order: Order,
    /// First window to probe: those before it are done.
    pub(crate) first_window: u64,
    /// Ports of the first window that are decided already.
    pub(crate) decided: Arc<HashMap<IpAddr, RoaringBitmap>>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) source: Source,
    /// Ports that are asked even of hosts that answer everything.
    pub(crate) telling: PortSet,
    pub(crate) engine: EngineOptions,
    pub(crate) workers: u32,
    /// Most connections that are handed over at once; 0: none is.
    pub(crate) held_max: u32,
    /// Start of the run.
    pub(crate) started: Instant,
}

/// Finds that a worker gathers before it says them.
const BATCH: usize = 512;
/// Longest time that a find waits to be said.
const BATCH_WAIT: Duration = Duration::from_millis(40);
/// Dials begun between two looks at the replies.
const DIALS_A_ROUND: u32 = 64;
/// Replies taken from the kernel before the engine hears of them.
const ENDINGS_A_ROUND: usize = 16_384;
/// A longer time between two looks at the replies means that this thread was held up.
const LATE: Duration = Duration::from_millis(10);
/// Time between two looks at the table of neighbours.
const NEIGHBOURS_EVERY: Duration = Duration::from_millis(100);
/// Neighbour discovery fails after three requests, a second apart (arp(7), `mcast_solicit` and
/// `retrans_time_ms`).
const DISCOVERY: Duration = Duration::from_millis(3_100);
/// Longest wait for a reply before the drain flag is looked at again.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// How long answers to what is under way are waited for after the order to stop.
const DRAIN_MAX: Duration = Duration::from_millis(1_500);

impl Control {
    pub(crate) fn new(workers: u32) -> Self {
        Self {
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
            ..Self::default()
        }
    }

    /// Says that the hosts of window `number` were looked for, and which of them are asked nothing.
    pub(crate) fn looked(&self, number: u64, absent: HashSet<IpAddr>) {
        *self.absent.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(absent);
        self.windows_looked
            .store(number.saturating_add(1), Ordering::Release);
    }

    /// Hosts that are asked nothing, of the window that was looked at last.
    pub(crate) fn absent(&self) -> Arc<HashSet<IpAddr>> {
        Arc::clone(&self.absent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counts of all workers.
    pub(crate) fn figures(&self) -> Figures {
        self.gauges
            .iter()
            .map(Gauge::read)
            .fold(Figures::default(), merge)
    }
}

/// The counts of two engines.
pub(crate) fn merge(one: Figures, other: Figures) -> Figures {
    Figures {
        probes: one.probes.saturating_add(other.probes),
        decided: one.decided.saturating_add(other.decided),
        loss: one.loss.and(other.loss),
    }
}

impl Gauge {
    pub(crate) fn write(&self, before: Figures, now: Figures) {
        let loss = before.loss.and(now.loss);
        self.probes
            .store(before.probes.saturating_add(now.probes), Ordering::Relaxed);
        self.decided.store(
            before.decided.saturating_add(now.decided),
            Ordering::Relaxed,
        );
        self.answered.store(loss.answered, Ordering::Relaxed);
        self.lost.store(loss.lost, Ordering::Relaxed);
        self.open.store(loss.open, Ordering::Relaxed);
        self.silent.store(loss.silent, Ordering::Relaxed);
        self.silent_probes_min
            .store(u64::from(loss.silent_probes_min), Ordering::Relaxed);
        let missed = loss.missed_millionths.map_or(0, |it| it.saturating_add(1));
        self.missed_millionths.store(missed, Ordering::Relaxed);
    }

    fn read(&self) -> Figures {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Figures {
            probes: load(&self.probes),
            decided: load(&self.decided),
            loss: portolan_scan::Loss {
                answered: load(&self.answered),
                lost: load(&self.lost),
                open: load(&self.open),
                silent: load(&self.silent),
                silent_probes_min: u8::try_from(load(&self.silent_probes_min)).unwrap_or(u8::MAX),
                missed_millionths: load(&self.missed_millionths).checked_sub(1),
            },
        }
    }
}

/// The engine's options as the plan has them, for one of `workers` workers.
pub(crate) fn engine_options(plan: &Plan, capacity: u32, workers: u32) -> EngineOptions {
    let share = |rate: Option<u64>, ceiling: Option<u64>| {
        let rate = match (rate, ceiling) {
            (Some(rate), Some(ceiling)) => Some(rate.min(ceiling)),
            (rate, ceiling) => rate.or(ceiling),
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "rates are far below 2^52 a second"
        )]
        rate.map(|rate| rate as f64 / f64::from(workers.max(1)))
    };
    EngineOptions {
        capacity: (capacity / workers.max(1)).max(1),
        rate: share(plan.pace.rate, plan.scope.rate),
        host_rate: share(plan.pace.host_rate, plan.scope.host_rate),
        patience: Patience {
            retries: plan.pace.retries,
            timeout: plan
                .pace
                .timeout_ms
                .map(|ms| Duration::from_millis(u64::from(ms))),
        },
    }
}

/// Starts the workers. They end when the order is exhausted or [`Control::drain`] is set; each says
/// [`Word::Stopped`] last.
pub(crate) fn start(
    options: SweepOptions,
    control: &Arc<Control>,
    words: &Sender<Word>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let options = Arc::new(options);
    (0..options.workers)
        .map(|number| {
            let worker = Worker {
                number,
                options: Arc::clone(&options),
                control: Arc::clone(control),
                words: words.clone(),
            };
            std::thread::Builder::new()
                .name(format!("sweep-{number}"))
                .spawn(move || {
                    let notes = give_up(Thread::Connections, worker.options.source.port);
                    worker.control.note(notes.into_iter());
                    let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
                    // A worker that vanished without a word would be waited for in vain.
                    let ended = ended.unwrap_or_else(|_| Err(io::Error::other(FAULT)));
                    // The receiver is gone only when the run itself has failed.
                    let _ = worker.words.blocking_send(Word::Stopped(ended));
                })
        })
        .collect()
}

pub(crate) const FAULT: &str = "a thread of the scan failed, which is a fault of this program";

struct Worker {
    number: u32,
    options: Arc<SweepOptions>,
    control: Arc<Control>,
    words: Sender<Word>,
}

impl Worker {
    fn run(&self) -> io::Result<()> {
        let options = &self.options;
        let source = options.source.clone();
        let mut pool = ConnectPool::new(Arc::clone(&options.scope), source)?;
        let mut before = Figures::default();
        for window in options.first_window..options.order.windows() {
            // No worker runs ahead of the others: what a window holds is freed before the next.
            while self.control.windows_ended.load(Ordering::Acquire) < window {
                if self.is_draining() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let Some(whole) = options.order.window(window) else {
                break;
            };
            let part = whole.split(Shard {
                index: self.number + 1,
                count: options.workers,
            });
            let ended = self.sweep(window, &part, &mut pool, &mut before)?;
            if !ended {
                break;
            }
            if self.words.blocking_send(Word::WindowEnded).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Probes one part of one window; `false`: it was told to stop before the end.
    fn sweep(
        &self,
        number: u64,
        part: &Window,
        pool: &mut ConnectPool,
        before: &mut Figures,
    ) -> io::Result<bool> {
        let positions = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let decided = (number == self.options.first_window).then_some(&*self.options.decided);
        let lookup = |position: u32| {
            let slot = part.slot(u64::from(position))?;
            let address = part.address(slot.host)?;
            let ports = decided.and_then(|hosts| hosts.get(&address));
            let is_decided = ports.is_some_and(|ports| ports.contains(u32::from(slot.port)));
            let endpoint = Endpoint::tcp(address, slot.port);
            (!is_decided).then_some(ProbeTarget {
                host: slot.host,
                endpoint,
            })
        };
        let mut engine = Engine::new(lookup, positions, part.hosts(), self.options.engine);
        engine.handle_telling(self.options.telling.clone());
        let mut round = Round::default();
        let mut drain_until: Option<Moment> = None;
        while !engine.is_done() {
            let now = self.now();
            if drain_until.is_none() && self.is_draining() {
                engine.drain();
                drain_until = Some(now + DRAIN_MAX);
            }
            if drain_until.is_some_and(|moment| moment <= now) {
                break;
            }
            // Who is known to be absent is not to be taken for silent.
            if now.since(round.neighbours) >= NEIGHBOURS_EVERY {
                round.neighbours = now;
                note_absent(&mut engine, part, now);
            }
            self.drive(&mut engine, pool, &mut round)?;
            let full = round.finds.len() >= BATCH;
            if full || (!round.finds.is_empty() && now.since(round.said) >= BATCH_WAIT) {
                self.say(number, &mut round, now)?;
            }
            self.gauge().write(*before, engine.figures());
        }
        self.say(number, &mut round, self.now())?;
        let figures = engine.figures();
        self.gauge().write(*before, figures);
        *before = merge(*before, figures);
        Ok(drain_until.is_none())
    }

    /// One round: give up, hand over, begin, wait.
    fn drive<L: FnMut(u32) -> Option<ProbeTarget>>(
        &self,
        engine: &mut Engine<L>,
        pool: &mut ConnectPool,
        round: &mut Round,
    ) -> io::Result<()> {
        if self.now().since(round.heard) > LATE {
            // This thread was held up: what came meanwhile counts before anything is given up.
            self.hear(engine, pool, round, Duration::ZERO)?;
        }
        engine.handle_timeout(self.now());
        while let Some(id) = engine.poll_abandoned() {
            pool.give_up(id.number());
        }
        while let Some(verdict) = engine.poll_verdict() {
            let connection = verdict.connection.and_then(|id| self.hand_over(pool, id));
            round.finds.push(Find {
                verdict,
                connection,
            });
        }
        for _ in 0..DIALS_A_ROUND {
            let now = self.now();
            let Some(Dial { id, endpoint, .. }) = engine.poll_dial(now) else {
                break;
            };
            if let Some(ending) = pool.begin(id.number(), endpoint) {
                round.endings.push((id.number(), ending));
            }
        }
        let now = self.now();
        let patience = if round.endings.is_empty() {
            engine
                .poll_timeout(now)
                .map_or(WAIT_MAX, |moment| moment.since(now).min(WAIT_MAX))
        } else {
            Duration::ZERO
        };
        self.hear(engine, pool, round, patience)
    }

    /// Waits for replies, at most `patience`, and hands them to the engine.
    fn hear<L: FnMut(u32) -> Option<ProbeTarget>>(
        &self,
        engine: &mut Engine<L>,
        pool: &mut ConnectPool,
        round: &mut Round,
        patience: Duration,
    ) -> io::Result<()> {
        let mut patience = patience;
        loop {
            let heard_before = round.endings.len();
            pool.wait(patience, &mut round.endings)?;
            if round.endings.len() == heard_before || round.endings.len() >= ENDINGS_A_ROUND {
                break;
            }
            patience = Duration::ZERO;
        }
        let now = self.now();
        round.heard = now;
        for (number, ending) in round.endings.drain(..) {
            engine.handle_reply(now, DialId::new(number), reply_of(ending));
        }
        Ok(())
    }

    /// The connection of an open port, when a first look wants it and there is room for it.
    fn hand_over(&self, pool: &mut ConnectPool, id: DialId) -> Option<OwnedFd> {
        let connection = pool.take(id.number())?;
        let held = &self.control.held;
        let room = held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            (held < self.options.held_max).then(|| held.saturating_add(1))
        });
        // Without room the connection is closed here, and dialled again when its turn comes.
        room.is_ok().then_some(connection)
    }

    fn say(&self, window: u64, round: &mut Round, now: Moment) -> io::Result<()> {
        round.said = now;
        if round.finds.is_empty() {
            return Ok(());
        }
        let finds = std::mem::take(&mut round.finds);
        self.words
            .blocking_send(Word::Finds { window, finds })
            .map_err(|_| io::Error::other("nobody takes what the sweep finds"))
    }

    fn gauge(&self) -> &Gauge {
        static SPARE: Gauge = Gauge {
            probes: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            open: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            silent_probes_min: AtomicU64::new(0),
            missed_millionths: AtomicU64::new(0),
        };
        let at = usize::try_from(self.number).unwrap_or(usize::MAX);
        self.control.gauges.get(at).unwrap_or(&SPARE)
    }

    fn is_draining(&self) -> bool {
        self.control.drain.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        Moment::after_start(self.options.started.elapsed())
    }
}

#[derive(Default)]
struct Round {
    endings: Vec<(u32, Ending)>,
    finds: Vec<Find>,
    said: Moment,
    heard: Moment,
    /// When the table of neighbours was last looked at.
    neighbours: Moment,
}

/// Tells the engine of hosts on attached segments that did not answer the neighbour discovery.
fn note_absent<L: FnMut(u32) -> Option<ProbeTarget>>(
    engine: &mut Engine<L>,
    part: &Window,
    now: Moment,
) {
    let Some(asked) = now
        .elapsed()
        .checked_sub(DISCOVERY)
        .map(Moment::after_start)
    else {
        return;
    };
    let unseen: Vec<u32> = engine.unseen_since(asked).collect();
    if unseen.is_empty() {
        return;
    }
    // Without the table such hosts are silent ones.
    let unresolved = neighbours::unresolved().unwrap_or_default();
    for host in unseen {
        if let Some(IpAddr::V4(address)) = part.address(host)
            && unresolved.contains(&address)
        {
            engine.handle_absent(host);
        }
    }
}

fn reply_of(ending: Ending) -> Reply {
    match ending {
        Ending::Accepted => Reply::Accepted,
        Ending::Icmp(code) => Reply::Icmp(code),
        Ending::LocalLimit => Reply::LocalLimit,
        // The plan never holds an endpoint outside its scope; were it so, nothing was sent.
        Ending::LocalPolicy | Ending::OutsideScope => Reply::LocalPolicy,
        Ending::NoNeighbour => Reply::NoNeighbour,
        Ending::NoRoute => Reply::NoRoute,
        Ending::Refused => Reply::Refused,
    }
}
