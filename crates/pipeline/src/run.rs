//! One run from plan to document: one loop that owns the state and hears the sweep, the first
//! looks, the clock and the user.

use crate::checkpoint::{Checkpoint, SavedCounts, sha256};
use crate::collector::{Collector, PendingLook};
use crate::limits::Limits;
use crate::look::look;
use crate::progress::Meter;
use crate::sweep::{self, Control, SweepOptions, Word};
use portolan_identify::{LookOptions, Outcome, Sends};
use portolan_model::{
    Depth, Document, Endpoint, Event, Plan, Reason, Run, SCHEMA_RUN, Stats, Text,
};
use portolan_net::connect::Source;
use portolan_net::dial::Dialer;
use portolan_net::never_send::gets_no_bytes;
use portolan_scan::Figures;
use portolan_targets::{Order, OrderError};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What to run.
#[derive(Debug)]
pub struct RunRequest {
    /// The plan; that of the checkpoint when there is one.
    pub plan: Plan,
    /// The command line, for the document.
    pub command: String,
    /// What an earlier part of the run left.
    pub resume: Option<Checkpoint>,
    /// Where to keep a checkpoint; `None`: nowhere.
    pub checkpoint: Option<PathBuf>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every port of the plan is decided, and every open port looked at.
    Complete,
    /// The system or a fault of the program ended it; the notices of the run say which.
    Failed,
    /// The user ended it.
    Interrupted,
    /// Something is missing; the notices of the run say what.
    Partial,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Everything that was found.
    pub document: Document,
    /// How it ended.
    pub ended: Ended,
    /// The checkpoint to go on from, when something is left to do.
    pub checkpoint: Option<PathBuf>,
}

/// Why a run could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan has no order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The system refused what a run needs.
    #[error("the scan cannot run: {0}")]
    System(#[from] io::Error),
}

/// Words of the sweep that wait to be heard.
const WORDS_MAX: usize = 64;
/// Time between two looks at the clock.
const TICK: Duration = Duration::from_millis(200);
/// Time that first looks under way get after an interruption.
const LOOKS_DRAIN: Duration = Duration::from_secs(2);
/// First looks under way at one host.
const LOOKS_AT_HOST_MAX: u32 = 24;
/// Shortest time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Holds the run. Events go to `events` in order; when nobody takes them any more the run ends as
/// if it were interrupted. `interrupt` becoming `true` ends it after what is under way.
pub async fn run(
    request: RunRequest,
    events: mpsc::Sender<Event>,
    interrupt: watch::Receiver<bool>,
) -> Result<Finished, RunError> {
    let plan = &request.plan;
    let order = Order::new(&plan.addresses, &plan.tcp, plan.seed, plan.shard)?;
    let limits = Limits::of(plan, order.total());
    let started = Instant::now();
    let run = describe(&request)?;
    let mut collector = Collector::new(plan);
    collector.events.push_back(Event::RunStarted {
        run: run.clone(),
        addresses: u64::try_from(plan.addresses.len()).unwrap_or(u64::MAX),
        ports: plan.tcp.len(),
    });
    let mut counts = SavedCounts::default();
    let mut first_window = 0;
    if let Some(text) = limits.notice(order.total()) {
        collector.events.push_back(Event::Notice { text });
    }
    if let Some(earlier) = &request.resume {
        counts = earlier.counts;
        first_window = earlier.windows_ended.min(order.windows());
        collector.resume(earlier);
    }
    let meter = Meter::new(&order, first_window, counts);
    let total = order.total();
    let options = sweep_options(plan, order, limits, started);
    let options = SweepOptions {
        first_window,
        decided: Arc::new(collector.decided()),
        ..options
    };
    let control = Arc::new(Control::new(limits.workers));
    control.windows_ended.store(first_window, Ordering::Release);
    let dialer = Dialer::new(Arc::clone(&options.scope), options.source.clone());
    let (words_in, words) = mpsc::channel(WORDS_MAX);
    sweep::start(options, &control, &words_in)?;
    drop(words_in);
    let max_time = plan.pace.max_time_s.map(Duration::from_secs);
    let state = State {
        collector,
        control,
        limits,
        dialer,
        meter,
        run,
        started,
        deadline: max_time.and_then(|time| started.checked_add(time)),
        looks: JoinSet::new(),
        looks_at: HashMap::new(),
        looks_until: None,
        stop: None,
        workers_left: limits.workers,
        workers_in_window: limits.workers,
        failure: None,
        checkpoint: request.checkpoint.map(|path| CheckpointFile {
            path,
            next: started + CHECKPOINT_EVERY,
        }),
        events,
        seed: request.plan.seed,
        total,
    };
    state.hold(words, interrupt).await
}

/// The run as it is told; a resumed one keeps its name, start and command.
fn describe(request: &RunRequest) -> Result<Run, RunError> {
    let plan = &request.plan;
    let plan_hash = sha256(&serde_json::to_vec(plan).map_err(io::Error::from)?);
    let run = Run {
        id: run_id(&plan_hash),
        started: now_text(),
        finished: None,
        command: request.command.clone(),
        seed: plan.seed,
        plan_hash,
        engine: "connect".to_owned(),
        ports: plan.tcp.clone(),
        complete: false,
        notices: Vec::new(),
    };
    Ok(match &request.resume {
        None => run,
        Some(earlier) => Run {
            notices: Vec::new(),
            finished: None,
            complete: false,
            ..earlier.run.clone()
        },
    })
}

/// What the workers are told, for a run from the start.
fn sweep_options(plan: &Plan, order: Order, limits: Limits, started: Instant) -> SweepOptions {
    let wants_looks = plan.depth != Depth::Ports;
    SweepOptions {
        order,
        first_window: 0,
        decided: Arc::default(),
        scope: Arc::new(plan.scope.clone()),
        source: Source {
            address: plan.source_address,
            port: plan.source_port,
            interface: plan.interface.clone(),
        },
        engine: sweep::engine_options(plan, limits.capacity, limits.workers),
        workers: limits.workers,
        held_max: if wants_looks { limits.held_max } else { 0 },
        started,
    }
}

/// The state of a run; one loop owns it.
struct State {
    collector: Collector,
    control: Arc<Control>,
    limits: Limits,
    dialer: Dialer,
    meter: Meter,
    run: Run,
    started: Instant,
    deadline: Option<Instant>,
    looks: JoinSet<(Endpoint, Held, Outcome)>,
    looks_at: HashMap<IpAddr, u32>,
    /// When first looks under way are given up, after an interruption.
    looks_until: Option<Instant>,
    /// Why the run ends early.
    stop: Option<Reason>,
    workers_left: u32,
    workers_in_window: u32,
    failure: Option<io::Error>,
    checkpoint: Option<CheckpointFile>,
    events: mpsc::Sender<Event>,
    seed: u64,
    total: u64,
}

struct CheckpointFile {
    path: PathBuf,
    next: Instant,
}

/// Whether a look began on a connection that the sweep handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Yes,
}

impl State {
    /// The loop. Every arm of the `select!` is cancel-safe: receiving from a channel, joining a
    /// set, a change of a watch and a timer lose nothing when another arm wins.
    async fn hold(
        mut self,
        mut words: mpsc::Receiver<Word>,
        mut interrupt: watch::Receiver<bool>,
    ) -> Result<Finished, RunError> {
        let mut tick = tokio::time::interval(TICK);
        let mut user = true;
        loop {
            self.start_looks();
            self.tell().await;
            if self.workers_left == 0 && self.looks.is_empty() && self.no_look_is_wanted() {
                break;
            }
            tokio::select! {
                word = words.recv(), if self.workers_left > 0 => self.hear(word),
                Some(looked) = self.looks.join_next(), if !self.looks.is_empty() => {
                    self.end_look(looked);
                }
                changed = interrupt.changed(), if user => {
                    user = changed.is_ok();
                    if *interrupt.borrow() {
                        self.stop(Reason::Interrupted);
                    }
                }
                _ = tick.tick() => self.tick(),
            }
        }
        self.finish().await
    }

    fn no_look_is_wanted(&self) -> bool {
        self.stop.is_some() || self.collector.looks.is_empty()
    }

    fn hear(&mut self, word: Option<Word>) {
        match word {
            Some(Word::Finds { window, finds }) => self.collector.take(window, finds),
            Some(Word::WindowEnded) => {
                self.workers_in_window = self.workers_in_window.saturating_sub(1);
                if self.workers_in_window == 0 {
                    let window = self.control.windows_ended.load(Ordering::Acquire);
                    self.collector.end_window(window);
                    self.workers_in_window = self.limits.workers;
                    self.control
                        .windows_ended
                        .store(window.saturating_add(1), Ordering::Release);
                }
            }
            Some(Word::Stopped(ended)) => {
                self.workers_left = self.workers_left.saturating_sub(1);
                if let Err(error) = ended {
                    self.failure = Some(error);
                    self.stop(Reason::LocalLimit);
                }
            }
            None => self.workers_left = 0,
        }
    }

    fn start_looks(&mut self) {
        if self.stop.is_some() {
            return;
        }
        for _ in 0..self.collector.looks.len() {
            if self.looks.len() >= self.limits.looks_max {
                break;
            }
            let Some(pending) = self.collector.looks.pop_front() else {
                break;
            };
            let at_host = self.looks_at.entry(pending.endpoint.address).or_default();
            if *at_host >= LOOKS_AT_HOST_MAX {
                self.collector.looks.push_back(pending);
                continue;
            }
            *at_host = at_host.saturating_add(1);
            let PendingLook {
                endpoint,
                rtt,
                name,
                connection,
            } = pending;
            let held = if connection.is_some() {
                Held::Yes
            } else {
                Held::No
            };
            let never = gets_no_bytes(endpoint.port);
            let options = LookOptions {
                port: endpoint.port,
                rtt,
                sends: if never { Sends::Never } else { Sends::Allowed },
                host: name,
                address: endpoint.address,
                seed: self.seed ^ u64::from(endpoint.port),
            };
            let dialer = self.dialer.clone();
            self.looks.spawn(async move {
                (
                    endpoint,
                    held,
                    look(dialer, endpoint, connection, options).await,
                )
            });
        }
    }

    fn end_look(&mut self, looked: Result<(Endpoint, Held, Outcome), tokio::task::JoinError>) {
        // A task that was given up leaves its port to be looked at when the run is resumed.
        let Ok((endpoint, held, outcome)) = looked else {
            return;
        };
        if held == Held::Yes {
            self.control.held.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(at_host) = self.looks_at.get_mut(&endpoint.address) {
            *at_host = at_host.saturating_sub(1);
            if *at_host == 0 {
                self.looks_at.remove(&endpoint.address);
            }
        }
        self.collector.take_look(endpoint, outcome);
    }

    fn stop(&mut self, reason: Reason) {
        if self.stop.is_none() {
            self.stop = Some(reason);
            self.looks_until = Some(Instant::now() + LOOKS_DRAIN);
            self.control.drain.store(true, Ordering::Relaxed);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.stop(Reason::TimeLimit);
        }
        if self.events.is_closed() {
            // Whoever listened has seen enough: there is nothing to go on with.
            if let Some(file) = self.checkpoint.take() {
                Checkpoint::remove(&file.path);
            }
            self.stop(Reason::Interrupted);
        }
        if self.looks_until.is_some_and(|until| until <= now) {
            self.looks.abort_all();
        }
        let waiting = self.looks.len().saturating_add(self.collector.looks.len());
        let progress = self.meter.read(
            self.control.figures(),
            self.started.elapsed(),
            self.collector.open(),
            u64::try_from(waiting).unwrap_or(u64::MAX),
        );
        self.collector
            .events
            .push_back(Event::Progress { progress });
        if self
            .checkpoint
            .as_ref()
            .is_some_and(|file| file.next <= now)
        {
            self.write_checkpoint();
        }
    }

    async fn tell(&mut self) {
        while let Some(event) = self.collector.events.pop_front() {
            // Nobody listens any more: the next tick stops the run.
            let _ = self.events.send(event).await;
        }
    }

    fn write_checkpoint(&mut self) {
        let counts = self
            .meter
            .saved(self.control.figures(), self.started.elapsed());
        let saved = self.collector.save(self.run.clone(), counts);
        let Some(file) = &mut self.checkpoint else {
            return;
        };
        let began = Instant::now();
        if let Err(error) = saved.write(&file.path) {
            let text = Text::from(format!("{error}; the scan goes on, but cannot be resumed"));
            self.collector.events.push_back(Event::Notice { text });
            self.checkpoint = None;
            return;
        }
        // Writing takes a twentieth of the run at most.
        let pause = began.elapsed().saturating_mul(20).max(CHECKPOINT_EVERY);
        file.next = Instant::now() + pause;
    }

    async fn finish(mut self) -> Result<Finished, RunError> {
        let figures = self.control.figures();
        let counts = self.meter.saved(figures, self.started.elapsed());
        let left = self.total.saturating_sub(self.meter.decided(figures));
        if let Some(reason) = self.stop {
            if self.checkpoint.is_some() {
                self.write_checkpoint();
            }
            self.collector.end_early(reason);
            let why = self
                .failure
                .as_ref()
                .map_or_else(|| stopped(reason), ToString::to_string);
            self.notice(&format!("{why}; {left} ports were not tested"));
        }
        self.notice_unreached();
        self.run.finished = Some(now_text());
        self.run.complete = self.run.notices.is_empty();
        let (hosts, unanswered) = self.collector.finish();
        let stats = stats(counts);
        self.collector.events.push_back(Event::RunFinished {
            run: self.run.clone(),
            stats,
            unanswered: unanswered.clone(),
        });
        self.tell().await;
        let ended = match self.stop {
            _ if self.failure.is_some() => Ended::Failed,
            Some(Reason::Interrupted) => Ended::Interrupted,
            _ if self.run.complete => Ended::Complete,
            _ => Ended::Partial,
        };
        let mut checkpoint = self.checkpoint.map(|file| file.path);
        if self.stop.is_none()
            && let Some(path) = checkpoint.take()
        {
            // Nothing is left to go on with.
            Checkpoint::remove(&path);
        }
        let document = Document {
            schema: SCHEMA_RUN.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run,
            hosts,
            unanswered,
            stats,
        };
        Ok(Finished {
            document,
            ended,
            checkpoint,
        })
    }

    /// What was not tested for want of a route, a right or room on this machine.
    fn notice_unreached(&mut self) {
        let sentences = [
            (
                Reason::NoRoute,
                "for want of a route; check it with `ip route get ADDRESS`",
            ),
            (
                Reason::LocalPolicy,
                "because a rule of this machine forbade the packets",
            ),
            (
                Reason::LocalLimit,
                "because this machine ran out of descriptors, ports or buffers; \
              `portolan doctor` tells which",
            ),
        ];
        for (reason, why) in sentences {
            let count = self.collector.count(reason);
            if count > 0 {
                self.notice(&format!("{count} ports were not tested {why}"));
            }
        }
    }

    fn notice(&mut self, sentence: &str) {
        let text = Text::from(sentence);
        self.collector
            .events
            .push_back(Event::Notice { text: text.clone() });
        self.run.notices.push(text);
    }
}

fn stopped(reason: Reason) -> String {
    match reason {
        Reason::TimeLimit => "the time limit was reached",
        Reason::Interrupted => "the scan was interrupted",
        _ => "the scan could not go on",
    }
    .to_owned()
}

fn stats(counts: SavedCounts) -> Stats {
    let figures = counts.figures();
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of probes stay below 2^52"
    )]
    let probes = figures.probes as f64;
    Stats {
        probes: figures.probes,
        replies: figures.loss.answered,
        lost: figures.loss.lost,
        duration_s: (counts.duration_s * 1e3).round() / 1e3,
        pps: (probes / counts.duration_s.max(1e-3)).round(),
        estimate: figures.loss.estimate(),
    }
}

impl SavedCounts {
    /// As the engine counts.
    pub(crate) fn figures(self) -> Figures {
        Figures {
            probes: self.probes,
            decided: 0,
            loss: portolan_scan::Loss {
                answered: self.answered,
                lost: self.lost,
                open: self.open,
                silent: self.silent,
                silent_probes_min: self.silent_probes_min,
            },
        }
    }
}

/// Start of the run and eight digits that tell apart runs of the same second.
fn run_id(plan_hash: &str) -> String {
    let moment = jiff::Timestamp::now();
    let unique = sha256(format!("{moment}{plan_hash}{}", std::process::id()).as_bytes());
    let stamp = moment.strftime("%Y%m%dT%H%M%SZ");
    format!("{stamp}-{}", unique.get(..8).unwrap_or_default())
}

fn now_text() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
