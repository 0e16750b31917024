//! One run from plan to document: one loop that owns the state and hears the sweep, the first
//! looks, the clock and the user.

use crate::checkpoint::{Checkpoint, SavedCounts, sha256};
use crate::collector::{Collector, telling};
use crate::ended::FoundHosts;
use crate::limits::Limits;
use crate::looks::Looks;
use crate::orders::Orders;
use crate::own::Own;
use crate::progress::Meter;
use crate::rights::{Thread, give_up};
use crate::start::{Beside, start_sweeps};
use crate::stop::{LOCAL_REASONS, Stop, notice_of};
use crate::sweep::{self, Control, SweepOptions, Word};
use portolan_catalog::recog::Fingerprints;
use portolan_model::{
    Depth, Document, EngineChoice, Event, Plan, Progress, Reason, Run, SCHEMA_RUN, Stats, Text,
};
use portolan_net::connect::Source;
use portolan_net::dial::Dialer;
use portolan_targets::{Order, OrderError};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

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
    /// Bytes for packets that were received on an interface and not looked at yet; `None`: what is
    /// usual. Without meaning for connections.
    pub receive_bytes: Option<usize>,
    /// Whether notices tell how packets pass each interface.
    pub tells_passage: bool,
    /// What the user knows of products, for first looks.
    pub fingerprints: Option<Arc<Fingerprints>>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing ended it early, no port went untested for a reason of this machine, and no look
    /// failed.
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
    pub document: Document<FoundHosts>,
    /// How it ended.
    pub ended: Ended,
    /// The checkpoint, when one was kept. It stays until the caller has written what it makes of
    /// the document, and says so by [`Kept::settle`]: a crash before loses nothing.
    pub checkpoint: Option<Kept>,
}

/// The checkpoint of a run that has ended.
#[derive(Debug)]
#[must_use = "a checkpoint that nobody settles stays on disk"]
pub struct Kept {
    path: PathBuf,
    rest: Rest,
}

/// What of a run is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Something,
}

impl Kept {
    /// Call this once everything is written that is made of the run. Answers the checkpoint to go
    /// on from; when nothing is left to do, takes it away and answers `None`.
    pub fn settle(self) -> Option<PathBuf> {
        match self.rest {
            Rest::Something => Some(self.path),
            Rest::Nothing => {
                Checkpoint::remove(&self.path);
                None
            }
        }
    }
}

/// Where it is.
impl Deref for Kept {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
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
/// Events told before anything else is looked at again.
const EVENTS_A_ROUND: usize = 256;
/// Time between two looks at the clock.
const TICK: Duration = Duration::from_millis(200);
/// Time that first looks under way get after an interruption.
const LOOKS_DRAIN: Duration = Duration::from_secs(2);
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
    let orders = Orders::of(plan)?;
    let limits = Limits::of(plan, orders.total());
    let started = Instant::now();
    let run = describe(&request)?;
    let mut collector = Collector::new(plan, Own::read(&plan.addresses));
    collector.tell(Event::RunStarted {
        run: run.clone(),
        addresses: u64::try_from(plan.addresses.len()).unwrap_or(u64::MAX),
        ports: plan.tcp.len().saturating_add(plan.udp.len()),
    });
    if let Some(text) = limits.notice(orders.total()) {
        collector.tell(Event::Notice { text });
    }
    let counts = request.resume.as_ref().map(|earlier| earlier.counts);
    if let Some(earlier) = request.resume {
        collector.resume(earlier);
    }
    let first_window = collector.windows_ended().min(orders.windows());
    let sweep_of = |order: &Order, transport| SweepOptions {
        first_window,
        decided: Arc::new(collector.decided(transport)),
        ..sweep_options(plan, order.clone(), limits, started, &orders)
    };
    let workers = limits.workers_of(&orders);
    let control = Arc::new(Control::new(workers));
    control.windows_ended.store(first_window, Ordering::Release);
    let dialer = dialer_of(plan);
    let (words_in, words) = mpsc::channel(WORDS_MAX);
    let beside = Beside {
        known: collector.known(),
        receive_bytes: request.receive_bytes,
        tells_passage: request.tells_passage,
    };
    let (sweeps, limited) = ((sweep_of, beside), (limits, workers));
    start_sweeps(plan, limited, &orders, sweeps, (&control, &words_in))?;
    drop(words_in);
    // The sweeps have begun with all rights, and give up theirs when their sockets are open.
    control.note(give_up(Thread::Run, plan.source_port).into_iter());
    let max_time = plan.pace.max_time_s.map(Duration::from_secs);
    let state = State {
        collector,
        looks: Looks::new(dialer, Arc::clone(&control), limits.looks_max, plan.seed)
            .with(request.fingerprints.clone()),
        control,
        meter: Meter::new(orders, counts.unwrap_or_default()),
        run,
        started,
        deadline: max_time.and_then(|time| started.checked_add(time)),
        expires_unix_s: plan.scope.expires_unix_s,
        looks_until: None,
        stop: None,
        workers,
        workers_left: workers,
        workers_in_window: workers,
        checkpoint: request.checkpoint.map(|path| CheckpointFile {
            path,
            next: started + CHECKPOINT_EVERY,
            written: false,
        }),
        events,
    };
    state.hold(words, interrupt).await
}

/// What makes the connections of the looks.
fn dialer_of(plan: &Plan) -> Dialer {
    let scope = Arc::new(plan.scope.clone());
    let dialer = Dialer::new(scope, look_source(plan)).paced(plan.pace);
    dialer.asking_anyway(plan.ask_anyway.clone())
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
        engine: plan.engine.as_str().to_owned(),
        ports: plan.tcp.clone(),
        udp_ports: plan.udp.clone(),
        complete: false,
        notices: Vec::new(),
    };
    Ok(match &request.resume {
        None => run,
        Some(earlier) => Run {
            engine: run.engine,
            notices: Vec::new(),
            finished: None,
            complete: false,
            ..earlier.run.clone()
        },
    })
}

/// First looks are connections: the source ports of raw packets are none for them.
fn look_source(plan: &Plan) -> Source {
    let source = source_of(plan);
    match plan.engine {
        EngineChoice::Connect => source,
        EngineChoice::Syn => Source {
            port: None,
            ..source
        },
    }
}

fn source_of(plan: &Plan) -> Source {
    Source {
        address: plan.source_address,
        port: plan.source_port,
        interface: plan.interface.clone(),
    }
}

/// What the workers are told, for a run from the start.
fn sweep_options(
    plan: &Plan,
    order: Order,
    limits: Limits,
    started: Instant,
    orders: &Orders,
) -> SweepOptions {
    let wants_looks = plan.depth != Depth::Ports;
    let mut engine = sweep::engine_options(plan, limits.capacity, limits.workers);
    if orders.tcp.is_none() {
        // One thread sweeps alone.
        engine = sweep::engine_options(plan, limits.capacity, 1);
    } else if orders.udp.is_some() {
        // A rate is for both transports together.
        engine.rate = engine.rate.map(|rate| rate / 2.0);
        engine.host_rate = engine.host_rate.map(|rate| rate / 2.0);
    }
    SweepOptions {
        order,
        first_window: 0,
        decided: Arc::default(),
        scope: Arc::new(plan.scope.clone()),
        source: source_of(plan),
        telling: telling(&plan.tcp),
        engine,
        workers: limits.workers,
        held_max: if wants_looks { limits.held_max } else { 0 },
        started,
    }
}

/// The state of a run; one loop owns it.
struct State {
    collector: Collector,
    looks: Looks,
    control: Arc<Control>,
    meter: Meter,
    run: Run,
    started: Instant,
    /// When the time that the user gave is over.
    deadline: Option<Instant>,
    /// When the scope is over. By the clock on the wall: a machine may sleep meanwhile.
    expires_unix_s: Option<i64>,
    /// When first looks under way are given up, after an interruption.
    looks_until: Option<Instant>,
    /// Why the run ends early.
    stop: Option<Stop>,
    workers: u32,
    workers_left: u32,
    workers_in_window: u32,
    checkpoint: Option<CheckpointFile>,
    events: mpsc::Sender<Event>,
}

struct CheckpointFile {
    path: PathBuf,
    next: Instant,
    written: bool,
}

impl State {
    /// The loop. Every arm of the `select!` is cancel-safe: receiving from a channel, room in one,
    /// joining a set, a change of a watch and a timer lose nothing when another arm wins. No arm
    /// waits: whoever reads the events may stall without keeping the run from its end.
    async fn hold(
        mut self,
        mut words: mpsc::Receiver<Word>,
        mut interrupt: watch::Receiver<bool>,
    ) -> Result<Finished, RunError> {
        let mut tick = tokio::time::interval(TICK);
        let mut user = true;
        let events = self.events.clone();
        loop {
            if self.stop.is_none() {
                self.looks.start(&mut self.collector);
            }
            if self.is_done() {
                break;
            }
            tokio::select! {
                word = words.recv(), if self.hears_words() => self.hear(word),
                Some(looked) = self.looks.next(), if !self.looks.is_empty() => {
                    self.looks.end(looked, &mut self.collector);
                }
                changed = interrupt.changed(), if user => {
                    user = changed.is_ok();
                    if *interrupt.borrow() {
                        self.stop(Stop::Interrupted);
                    }
                }
                room = events.reserve(), if self.collector.has_events() => self.tell(room.ok()),
                _ = tick.tick() => self.tick(),
            }
        }
        drop(events);
        self.finish().await
    }

    fn is_done(&self) -> bool {
        let no_look_is_wanted = self.stop.is_some() || self.collector.looks_waiting() == 0;
        self.workers_left == 0 && self.looks.is_empty() && no_look_is_wanted
    }

    /// While nobody takes what was found, the sweep has to wait. One that was told to stop has
    /// only what is under way to say, and ends when it is heard.
    fn hears_words(&self) -> bool {
        self.workers_left > 0 && (self.stop.is_some() || self.collector.has_room())
    }

    fn hear(&mut self, word: Option<Word>) {
        match word {
            Some(Word::Finds { window, finds }) => {
                let closed = self.collector.take(window, finds);
                self.looks.release(closed);
            }
            Some(Word::Hosts { window, looked }) => self.collector.take_hosts(window, looked),
            Some(Word::UdpFinds { window, finds }) => self.collector.take_udp(window, finds),
            Some(Word::WindowEnded) => {
                self.workers_in_window = self.workers_in_window.saturating_sub(1);
                if self.workers_in_window == 0 {
                    let window = self.control.windows_ended.load(Ordering::Acquire);
                    self.collector.end_window(window);
                    self.workers_in_window = self.workers;
                    self.control
                        .windows_ended
                        .store(window.saturating_add(1), Ordering::Release);
                }
            }
            Some(Word::Stopped(ended)) => {
                self.workers_left = self.workers_left.saturating_sub(1);
                if let Err(error) = ended {
                    self.stop(Stop::Failed(error));
                }
            }
            None => self.workers_left = 0,
        }
    }

    /// A failure counts even when the run was about to end for another cause.
    fn stop(&mut self, why: Stop) {
        if self.stop.is_none() {
            self.looks_until = Some(Instant::now() + LOOKS_DRAIN);
            self.control.drain.store(true, Ordering::Relaxed);
            self.stop = Some(why);
        } else if why.is_failure() {
            self.stop = Some(why);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.stop(Stop::TimeLimit);
        }
        if let Some(expires) = self.expires_unix_s
            && expires <= jiff::Timestamp::now().as_second()
        {
            self.stop(Stop::ScopeExpired(expires));
        }
        if self.events.is_closed() {
            // Whoever listened has seen enough: there is nothing to go on with.
            self.collector.forget_events();
            if let Some(file) = self.checkpoint.take() {
                Checkpoint::remove(&file.path);
            }
            self.stop(Stop::Interrupted);
        }
        if self.looks_until.is_some_and(|until| until <= now) {
            self.looks.give_up();
        }
        let progress = self.progress();
        self.collector.tell_progress(progress);
        if self
            .checkpoint
            .as_ref()
            .is_some_and(|file| file.next <= now)
        {
            self.write_checkpoint();
        }
    }

    fn progress(&mut self) -> Progress {
        let waiting = self
            .looks
            .len()
            .saturating_add(self.collector.looks_waiting());
        let (figures, done) = (self.control.figures(), self.decided());
        Progress {
            open: self.collector.open(),
            looks_waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
            ..self.meter.read(figures, self.started.elapsed(), done)
        }
    }

    /// Ports of the whole run that are decided.
    fn decided(&mut self) -> u64 {
        self.meter.decided(
            self.collector.windows_ended(),
            self.collector.decided_in_window(),
        )
    }

    /// Tells what waits, as far as there is room; none at all: nobody listens any more, and the
    /// next tick stops the run.
    fn tell(&mut self, room: Option<mpsc::Permit<'_, Event>>) {
        let Some(room) = room else {
            self.collector.forget_events();
            return;
        };
        if let Some(event) = self.collector.next_event() {
            room.send(event);
        }
        for _ in 0..EVENTS_A_ROUND {
            let Ok(room) = self.events.try_reserve() else {
                break;
            };
            let Some(event) = self.collector.next_event() else {
                break;
            };
            room.send(event);
        }
    }

    fn write_checkpoint(&mut self) {
        let counts = self
            .meter
            .saved(self.control.figures(), self.started.elapsed());
        let Some(file) = &mut self.checkpoint else {
            return;
        };
        let began = Instant::now();
        let saved = self.collector.save(&self.run, counts);
        if let Err(error) = saved.write(&file.path) {
            let text = Text::from(format!("{error}; the scan goes on, but cannot be resumed"));
            self.collector.tell(Event::Notice { text });
            self.checkpoint = None;
            return;
        }
        file.written = true;
        // Writing takes a twentieth of the run at most.
        let pause = began.elapsed().saturating_mul(20).max(CHECKPOINT_EVERY);
        file.next = Instant::now() + pause;
    }

    async fn finish(mut self) -> Result<Finished, RunError> {
        let counts = self
            .meter
            .saved(self.control.figures(), self.started.elapsed());
        let left = self.meter.total().saturating_sub(self.decided());
        // Whoever reads the events may take long for the last of them, or never come back: what
        // was found is on disk before. A run so short that it kept nothing is soon done again.
        let is_kept = self.checkpoint.as_ref().is_some_and(|file| file.written);
        if self.stop.is_some() || is_kept {
            self.write_checkpoint();
        }
        if let Some(stop) = &self.stop {
            let (reason, why) = (stop.reason(), stop.to_string());
            let passed_over = self.collector.end_early(reason);
            let left = left_over(left, "port was", "ports were", "tested");
            let looks = left_over(passed_over, "open port was", "open ports were", "looked at");
            self.notice(&format!("{why}{left}{looks}"));
        }
        self.run.complete = self.notice_missing();
        self.run.finished = Some(now_text());
        let ended = match &self.stop {
            Some(stop) if stop.is_failure() => Ended::Failed,
            Some(Stop::Interrupted) => Ended::Interrupted,
            _ if self.run.complete => Ended::Complete,
            _ => Ended::Partial,
        };
        let stats = stats(counts);
        while let Some(event) = self.collector.next_event() {
            if self.events.send(event).await.is_err() {
                self.collector.forget_events();
            }
        }
        let last = Event::RunFinished {
            run: self.run.clone(),
            stats,
            unanswered: self.collector.unanswered(),
        };
        // When nobody listens any more, the document still tells everything.
        let _ = self.events.send(last).await;
        let rest = if self.stop.is_some() {
            Rest::Something
        } else {
            Rest::Nothing
        };
        let checkpoint = self
            .checkpoint
            .map(|CheckpointFile { path, .. }| Kept { path, rest });
        let (hosts, unanswered) = self.collector.finish();
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

    /// Says what is missing for a cause on this machine; `true`: nothing is. That a neighbour is
    /// absent is a result like any other.
    fn notice_missing(&mut self) -> bool {
        let mut complete = self.stop.is_none();
        for reason in LOCAL_REASONS {
            let count = self.collector.not_tested(reason);
            if count > 0 {
                complete = false;
                if let Some(sentence) = notice_of(reason, count) {
                    self.notice(&sentence);
                }
            }
        }
        for note in self.control.take_notes() {
            self.notice(&note);
        }
        let undiscovered = self.collector.not_tested(Reason::NotDiscovered);
        if undiscovered > 0 {
            self.notice(&format!(
                "{undiscovered} ports were not tested because their hosts answered no probe that \
                 looks for hosts; `--discovery never` tests them anyway"
            ));
        }
        let overruns = self.control.overruns.load(Ordering::Relaxed);
        if overruns > 0 {
            self.notice(&format!(
                "{overruns} received packets found no room in the buffer of this machine; what \
                 they may have answered was asked again, more slowly"
            ));
        }
        let lost = self.looks.lost();
        if lost > 0 {
            complete = false;
            self.notice(&format!(
                "{lost} open ports were not looked at to the end, by a fault of this program"
            ));
        }
        complete
    }

    fn notice(&mut self, sentence: &str) {
        let text = Text::from(sentence);
        self.collector.tell(Event::Notice { text: text.clone() });
        self.run.notices.push(text);
    }
}

/// What the end of a run leaves undone, as the rest of a sentence; nothing where nothing is left.
fn left_over(count: u64, one: &str, many: &str, done: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("; 1 {one} not {done}"),
        _ => format!("; {count} {many} not {done}"),
    }
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

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
