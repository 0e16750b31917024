//! Drives the raw engine over packet sockets: one thread, window by window.
//!
//! What is not here: the decision what to probe (`portolan-scan`), how hosts are reached
//! ([`crate::ways`]), and what becomes of a find.

use crate::collector::telling;
use crate::discovery::{Lookout, Search};
use crate::rights::{Thread, give_up};
use crate::sweep::{Control, FAULT, Find, SweepOptions, Word, merge};
use crate::ways::{Clock, Line, Opened, Queues, Way, Ways, answer_of};
use portolan_model::{Discovery, Endpoint, IoChoice, Moment, PortSet, Reason};
use portolan_net::port_block::PortBlock;
use portolan_net::route::Origin;
use portolan_scan::{Figures, SOURCE_PORTS, SynEngine, SynOptions, SynProbe};
use portolan_targets::Window;
use portolan_wire::{Syn, parse};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Finds that are gathered before they are said.
const BATCH: usize = 512;
/// Longest time that a find waits to be said.
const BATCH_WAIT: Duration = Duration::from_millis(40);
/// Probes sent between two looks at what came in.
const PROBES: usize = 64;
/// Frames taken from one interface at once.
const FRAMES: usize = 4_096;
/// Answers of neighbours among them that are looked at.
const NEIGHBOURS: usize = 256;
/// Time between two looks at the counters of the kernel.
const COUNTERS_EVERY: Duration = Duration::from_millis(50);
/// How long answers are waited for after the order to stop.
const DRAIN_MAX: Duration = Duration::from_millis(1_500);
/// Longest frame of a probe.
const FRAME_BYTES: usize = 128;

/// What the raw sweep is told beside what every sweep is.
pub(crate) struct RawOptions {
    pub(crate) sweep: SweepOptions,
    pub(crate) ports: PortSet,
    pub(crate) origin: Origin,
    pub(crate) block: PortBlock,
    pub(crate) key: [u8; 16],
    pub(crate) io: IoChoice,
    pub(crate) discovery: Discovery,
    /// Hosts of the first window that an earlier part of the run has found.
    pub(crate) known: HashSet<IpAddr>,
    /// Of the receive ring of each interface.
    pub(crate) receive_bytes: usize,
    /// Whether the user is told how packets pass each interface.
    pub(crate) tells_passage: bool,
}

/// Starts the thread. It ends when the order is exhausted or [`Control::drain`] is set, and says
/// [`Word::Stopped`] last.
pub(crate) fn start(
    options: RawOptions,
    control: &Arc<Control>,
    words: &Sender<Word>,
) -> io::Result<()> {
    let (control, words) = (Arc::clone(control), words.clone());
    let thread = std::thread::Builder::new().name("sweep".to_owned());
    thread.spawn(move || {
        let said = words.clone();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            Worker {
                options,
                control,
                words,
                lookout: Lookout::default(),
                before: Figures::default(),
                overruns: 0,
            }
            .run()
        }));
        // A worker that vanished without a word would be waited for in vain.
        let ended = ended.unwrap_or_else(|_| Err(io::Error::other(FAULT)));
        // The receiver is gone only when the run itself has failed.
        let _ = said.blocking_send(Word::Stopped(ended));
    })?;
    Ok(())
}

struct Worker {
    options: RawOptions,
    control: Arc<Control>,
    words: Sender<Word>,
    lookout: Lookout,
    /// Counts of the windows that are done.
    before: Figures,
    /// Frames that receivers had no room for, so far.
    overruns: u64,
}

/// What is under way in a window.
struct Round {
    finds: Vec<Find>,
    said: Moment,
    counted: Moment,
    queued: Queues<SynProbe>,
}

impl Worker {
    fn run(&mut self) -> io::Result<()> {
        let first = self.options.block.first();
        let ports = first..=first.saturating_add(SOURCE_PORTS - 1);
        let scope = Arc::clone(&self.options.sweep.scope);
        let rate = self.options.sweep.engine.rate;
        let mut ways = Ways::new(
            self.options.origin,
            scope,
            ports,
            rate,
            self.options.io,
            self.options.receive_bytes,
        )?;
        ways.tells_passage = self.options.tells_passage;
        let order = self.options.sweep.order.clone();
        let thread = match ways.open_ahead(order.ranges())? {
            Opened::All => Thread::Packets,
            Opened::Some => Thread::PacketsOnTheWay,
        };
        let held = self.options.sweep.source.port;
        self.control.note(give_up(thread, held).into_iter());
        for number in self.options.sweep.first_window..order.windows() {
            while self.control.windows_ended.load(Ordering::Acquire) < number {
                if self.is_draining() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let Some(window) = order.window(number) else {
                break;
            };
            if !self.sweep(number, &window, &mut ways)?
                || self.words.blocking_send(Word::WindowEnded).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Probes one window; `false`: it was told to stop before the end.
    fn sweep(&mut self, number: u64, window: &Window, ways: &mut Ways) -> io::Result<bool> {
        let addresses: Vec<IpAddr> = (0..window.hosts())
            .filter_map(|host| window.address(host))
            .collect();
        let control = Arc::clone(&self.control);
        let mut reached = ways.to(&addresses, || !control.drain.load(Ordering::Relaxed))?;
        self.control.note(ways.notes.drain(..));
        let undiscovered = self.look_for_hosts(number, window, &addresses, &mut reached, ways)?;
        let positions = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let decided = Arc::clone(&self.options.sweep.decided);
        let is_first = number == self.options.sweep.first_window;
        let lookup = |position: u32| {
            let slot = window.slot(u64::from(position))?;
            if is_undiscovered(&undiscovered, slot.host) {
                return None;
            }
            let known = if is_first && !decided.is_empty() {
                decided.get(&window.address(slot.host)?)
            } else {
                None
            };
            let is_known = known.is_some_and(|ports| ports.contains(u32::from(slot.port)));
            (!is_known).then_some((slot.host, slot.port))
        };
        let options = self.engine_options();
        let mut engine = SynEngine::new(lookup, positions, addresses, &self.options.ports, options);
        engine.handle_telling(telling(&self.options.ports));
        for (host, way) in (0..).zip(&reached) {
            match way {
                Ok(way) => engine.handle_path(host, way.path),
                Err(reason) => engine.handle_unreachable(host, *reason),
            }
        }
        let mut round = Round {
            finds: Vec::new(),
            said: self.now(),
            counted: self.now(),
            queued: Queues::of(ways),
        };
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
            self.hear(&mut engine, ways, &mut reached)?;
            self.count_overruns(&mut engine, ways, &mut round);
            engine.handle_timeout(self.now());
            self.take_verdicts(number, &mut engine, &mut round)?;
            ask_again(&mut engine, ways, &reached);
            if self.send(&mut engine, ways, &reached, &mut round)? == 0 {
                let now = self.now();
                ways.wait(now, engine.poll_timeout(now))?;
            }
            self.write_gauge(engine.figures());
        }
        self.take_verdicts(number, &mut engine, &mut round)?;
        self.say(number, &mut round)?;
        let figures = engine.figures();
        self.write_gauge(figures);
        self.before = merge(self.before, figures);
        Ok(drain_until.is_none())
    }

    /// Finds out which hosts are there, and tells of them; the ways to others are taken away.
    /// Answers by host which were looked for in vain, so that their ports need no word each.
    fn look_for_hosts(
        &mut self,
        number: u64,
        window: &Window,
        addresses: &[IpAddr],
        reached: &mut [Result<Way, Reason>],
        ways: &mut Ways,
    ) -> io::Result<Vec<bool>> {
        let control = Arc::clone(&self.control);
        let search = Search::of(&self.options);
        let go_on = || !control.drain.load(Ordering::Relaxed);
        let lookout = &mut self.lookout;
        let mut looked = lookout.look(&search, addresses, reached, ways, go_on)?;
        self.before.probes = self.before.probes.saturating_add(looked.probes);
        let ports = u64::from(self.options.ports.len());
        let mut undiscovered = Vec::new();
        let mut absent = HashSet::new();
        if window.len() == u64::from(window.hosts()).saturating_mul(ports) {
            let ways = reached.iter();
            undiscovered.extend(ways.map(|way| *way == Err(Reason::NotDiscovered)));
            absent.extend(looked.undiscovered.iter().copied());
        } else {
            // Which of their ports are this shard's only the order knows.
            looked.undiscovered.clear();
        }
        self.control.looked(number, absent);
        let word = Word::Hosts {
            window: number,
            looked,
        };
        let heard = self.words.blocking_send(word);
        heard.map_err(|_| io::Error::other("nobody takes what the sweep finds"))?;
        Ok(undiscovered)
    }

    fn engine_options(&self) -> SynOptions {
        let engine = self.options.sweep.engine;
        SynOptions {
            first_port: self.options.block.first(),
            key: self.options.key,
            rate: engine.rate,
            host_rate: engine.host_rate,
            patience: engine.patience,
        }
    }

    /// Hands what arrived to the engine.
    fn hear<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        engine: &mut SynEngine<L>,
        ways: &mut Ways,
        reached: &mut [Result<Way, Reason>],
    ) -> io::Result<()> {
        let clock = Clock::read(self.options.sweep.started)?;
        let mut answers = Vec::new();
        for (number, line) in ways.lines.iter_mut().enumerate() {
            let link_type = line.link_type;
            line.ring.drain(FRAMES, |frame| {
                // What is malformed answers nothing.
                let Ok(packet) = parse(frame.bytes, link_type) else {
                    return;
                };
                engine.handle_packet(Line::moment(frame.at, clock), &packet);
                if answers.len() < NEIGHBOURS
                    && let Some(answer) = answer_of(&packet)
                {
                    answers.push((number, answer));
                }
            });
        }
        let mut is_new = false;
        for (line, answer) in answers {
            is_new |= ways.learn(line, answer);
        }
        if is_new {
            ways.lead_anew(reached);
        }
        Ok(())
    }

    /// Tells the engine when a receiver had no room.
    fn count_overruns<L: FnMut(u32) -> Option<(u32, u16)>>(
        &mut self,
        engine: &mut SynEngine<L>,
        ways: &mut Ways,
        round: &mut Round,
    ) {
        let now = self.now();
        if now.since(round.counted) < COUNTERS_EVERY {
            return;
        }
        round.counted = now;
        let dropped = ways.dropped();
        if dropped > self.overruns {
            self.control
                .overruns
                .fetch_add(dropped - self.overruns, Ordering::Relaxed);
            engine.handle_overrun();
        }
        self.overruns = dropped;
    }

    fn take_verdicts<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        number: u64,
        engine: &mut SynEngine<L>,
        round: &mut Round,
    ) -> io::Result<()> {
        while let Some(verdict) = engine.poll_verdict() {
            round.finds.push(Find {
                verdict,
                connection: None,
            });
            if round.finds.len() >= BATCH {
                self.say(number, round)?;
            }
        }
        if self.now().since(round.said) >= BATCH_WAIT {
            self.say(number, round)?;
        }
        Ok(())
    }

    /// Sends what the engine wants sent now; how many probes that were.
    fn send<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        engine: &mut SynEngine<L>,
        ways: &mut Ways,
        reached: &[Result<Way, Reason>],
        round: &mut Round,
    ) -> io::Result<usize> {
        let mut asked = 0;
        let mut frame = [0; FRAME_BYTES];
        while asked < PROBES {
            let Some(probe) = engine.poll_probe(self.now()) else {
                break;
            };
            asked += 1;
            let host = usize::try_from(probe.host).unwrap_or(usize::MAX);
            let queued = reached
                .get(host)
                .and_then(|way| way.ok())
                .and_then(|way| queue(ways, way, &probe, &mut frame));
            match queued {
                Some(line) => round.queued.push(line, probe),
                // The scope is the plan's own; were it not, nothing was sent.
                None => engine.handle_unreachable(probe.host, Reason::LocalPolicy),
            }
        }
        if asked > 0 {
            let now = self.now();
            let unsent = |probe: &SynProbe| engine.handle_unsent(now, probe);
            round.queued.flush(ways, now, unsent)?;
        }
        Ok(asked)
    }

    fn say(&self, window: u64, round: &mut Round) -> io::Result<()> {
        round.said = self.now();
        if round.finds.is_empty() {
            return Ok(());
        }
        let finds = std::mem::take(&mut round.finds);
        self.words
            .blocking_send(Word::Finds { window, finds })
            .map_err(|_| io::Error::other("nobody takes what the sweep finds"))
    }

    fn write_gauge(&self, figures: Figures) {
        if let Some(gauge) = self.control.gauges.first() {
            gauge.write(self.before, figures);
        }
    }

    fn is_draining(&self) -> bool {
        self.control.drain.load(Ordering::Relaxed)
    }

    fn now(&self) -> Moment {
        Moment::after_start(self.options.sweep.started.elapsed())
    }
}

fn is_undiscovered(undiscovered: &[bool], host: u32) -> bool {
    let host = usize::try_from(host).unwrap_or(usize::MAX);
    undiscovered.get(host).copied().unwrap_or(false)
}

/// Asks anew for the way to hosts that do not answer any more.
fn ask_again<L: FnMut(u32) -> Option<(u32, u16)>>(
    engine: &mut SynEngine<L>,
    ways: &mut Ways,
    reached: &[Result<Way, Reason>],
) {
    while let Some(host) = engine.poll_silent() {
        let host = usize::try_from(host).unwrap_or(usize::MAX);
        if let Some(Ok(way)) = reached.get(host) {
            ways.ask_again(*way);
        }
    }
}

/// Queues a probe; the line it leaves by.
fn queue(ways: &mut Ways, way: Way, probe: &SynProbe, frame: &mut [u8]) -> Option<usize> {
    let Endpoint { address, port, .. } = probe.endpoint;
    let syn = Syn {
        next_hop: None,
        destination: address,
        destination_port: port,
        source_port: probe.source_port,
        sequence: probe.sequence,
    };
    let length = ways.write(way, &syn, frame)?;
    let line = ways.lines.get_mut(way.line)?;
    line.transmitter.push(frame.get(..length)?).ok()?;
    Some(way.line)
}
