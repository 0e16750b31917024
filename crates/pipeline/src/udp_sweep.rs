//! Drives the UDP engine over unconnected sockets: one thread beside those of the TCP sweep, in the
//! same windows of hosts.
//!
//! What is not here: the decision what to ask when (`portolan-scan`), what is asked and what a reply
//! proves (`portolan-catalog`), and what becomes of a find.

use crate::rights::{Thread, give_up};
use crate::sweep::{Control, FAULT, SweepOptions, Word, merge};
use portolan_catalog::form::Asker;
use portolan_catalog::services::{self, Asked};
use portolan_identify::Outcome;
use portolan_model::{Endpoint, Incomplete, Moment, PortSet, Reason, Service, Text};
use portolan_net::datagram::{Datagrams, Family, Heard, Outgoing, Unsent, source_to};
use portolan_net::neighbours;
use portolan_net::never_send::gets_no_bytes;
use portolan_scan::{
    Ask, Figures, UDP_SOURCES, UdpEngine, UdpError, UdpOptions, UdpPort, UdpProbe, UdpTokens,
    Verdict,
};
use portolan_targets::Window;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// A decided UDP port, with what its reply shows.
pub(crate) struct UdpFind {
    pub(crate) verdict: Verdict,
    /// Where it is open.
    pub(crate) shown: Option<Outcome>,
}

/// What the UDP sweep is told beside what every sweep is.
pub(crate) struct UdpSweepOptions {
    pub(crate) sweep: SweepOptions,
    pub(crate) ports: PortSet,
    /// Hosts are looked for first, by the sweep of TCP.
    pub(crate) waits_for_hosts: bool,
    /// Key of the numbers in questions.
    pub(crate) key: [u8; 16],
    /// Which of the gauges is its own.
    pub(crate) gauge: usize,
}

/// Finds that are gathered before they are said.
const BATCH: usize = 512;
/// Longest time that a find waits to be said.
const BATCH_WAIT: Duration = Duration::from_millis(40);
/// Probes sent between two looks at what came in.
const PROBES: usize = 64;
/// Replies and errors taken from one socket at once.
const HEARD_MAX: usize = 256;
/// A shorter wait is none.
const WAIT_MIN: Duration = Duration::from_micros(100);
/// Longest wait before the drain flag is looked at again.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// How long the kernel may have no room for any datagram.
const REFUSED_MAX: Duration = Duration::from_secs(10);
/// Time between two looks at the table of neighbours.
const NEIGHBOURS_EVERY: Duration = Duration::from_millis(100);
/// Neighbour discovery fails after three requests, a second apart (arp(7), `mcast_solicit` and
/// `retrans_time_ms`).
const DISCOVERY: Duration = Duration::from_millis(3_100);
/// How sure a reply of a form of its own makes of a service.
const PROVEN: u8 = 95;

/// What is asked at every port of a plan.
struct Questions {
    ports: Vec<UdpPort>,
    asked: BTreeMap<u16, Vec<Asked>>,
    /// Ports whose answers come from other ports.
    elsewhere: Vec<u16>,
}

/// Starts the thread. It ends when the order is exhausted or [`Control::drain`] is set, and says
/// [`Word::Stopped`] last.
pub(crate) fn start(
    options: UdpSweepOptions,
    control: &Arc<Control>,
    words: &Sender<Word>,
) -> io::Result<()> {
    let (control, words) = (Arc::clone(control), words.clone());
    let thread = std::thread::Builder::new().name("sweep-udp".to_owned());
    thread.spawn(move || {
        let said = words.clone();
        let notes = give_up(Thread::Datagrams, options.sweep.source.port);
        control.note(notes.into_iter());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let scope = Arc::clone(&options.sweep.scope);
            let source = options.sweep.source.clone();
            Worker {
                datagrams: Datagrams::open(scope, source, UDP_SOURCES)?,
                questions: Questions::of(&options.ports),
                tokens: UdpTokens::new(options.key),
                claimed: Vec::new(),
                options,
                control,
                words,
                before: Figures::default(),
                found_rate: None,
                dropped: 0,
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
    options: UdpSweepOptions,
    control: Arc<Control>,
    words: Sender<Word>,
    datagrams: Datagrams,
    questions: Questions,
    tokens: UdpTokens,
    /// Ports that were asked of the system, and the source that each became.
    claimed: Vec<(bool, u16, Option<u8>)>,
    /// Counts of the windows that are done.
    before: Figures,
    /// The pace that the window before found.
    found_rate: Option<f64>,
    /// Datagrams that sockets had no room for, so far.
    dropped: u64,
}

/// What is under way in a window.
struct Round {
    finds: Vec<UdpFind>,
    shown: HashMap<Endpoint, Outcome>,
    began: Moment,
    said: Moment,
    neighbours: Moment,
    /// Since when the kernel had no room.
    refused: Option<Moment>,
}

/// A probe with its bytes and the source it leaves from.
struct Ready {
    probe: UdpProbe,
    source: u8,
    bytes: Vec<u8>,
}

impl Questions {
    fn of(ports: &PortSet) -> Self {
        let untouched = services::untouched_udp_ports();
        let mut asked = BTreeMap::new();
        let mut elsewhere = Vec::new();
        let mut kinds = Vec::new();
        for port in ports.iter() {
            let known = services::questions(port);
            let ask = match u8::try_from(known.len()) {
                _ if gets_no_bytes(port) || untouched.contains(port) => Ask::Nothing,
                Ok(0) | Err(_) => Ask::Empty,
                Ok(count) => Ask::Questions(count),
            };
            if known.iter().any(|it| it.question.answers_elsewhere) {
                elsewhere.push(port);
            }
            if !known.is_empty() {
                asked.insert(port, known);
            }
            kinds.push(UdpPort { port, ask });
        }
        Self {
            ports: kinds,
            asked,
            elsewhere,
        }
    }

    fn at(&self, port: u16, question: u8) -> Option<Asked> {
        self.asked.get(&port)?.get(usize::from(question)).copied()
    }

    /// What `reply` shows of `endpoint`, asked with the number `id`; `None`: no known service.
    fn recognise(&self, endpoint: Endpoint, id: &[u8; 16], reply: &[u8]) -> Option<Outcome> {
        let asked = self.asked.get(&endpoint.port)?;
        asked.iter().find_map(|asked| {
            let found = asked.question.recognise(id, reply)?;
            Some(Outcome {
                service: Some(Service {
                    name: Some(asked.card.name.clone()),
                    label: Some(asked.card.label.clone()),
                    tls: None,
                    product: None,
                    version: None,
                    os: None,
                    confidence: PROVEN,
                    evidence: Some(found.evidence),
                }),
                incomplete: Vec::new(),
            })
        })
    }
}

impl Worker {
    fn run(&mut self) -> io::Result<()> {
        let order = self.options.sweep.order.clone();
        for number in self.options.sweep.first_window..order.windows() {
            while self.control.windows_ended.load(Ordering::Acquire) < number {
                if self.is_draining() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            // Hosts that were looked for in vain are asked nothing by any sweep.
            while self.options.waits_for_hosts
                && self.control.windows_looked.load(Ordering::Acquire) <= number
            {
                if self.is_draining() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let Some(window) = order.window(number) else {
                break;
            };
            if !self.sweep(number, &window)? || self.words.blocking_send(Word::WindowEnded).is_err()
            {
                break;
            }
        }
        Ok(())
    }

    /// Probes one window; `false`: it was told to stop before the end.
    fn sweep(&mut self, number: u64, window: &Window) -> io::Result<bool> {
        let addresses: Vec<IpAddr> = (0..window.hosts())
            .filter_map(|host| window.address(host))
            .collect();
        let positions = u32::try_from(window.len()).unwrap_or(u32::MAX);
        let decided = Arc::clone(&self.options.sweep.decided);
        let is_first = number == self.options.sweep.first_window;
        let absent = self.control.absent();
        let lookup = |position: u32| {
            let slot = window.slot(u64::from(position))?;
            if !absent.is_empty() && absent.contains(&window.address(slot.host)?) {
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
        let engine = self.options.sweep.engine;
        let options = UdpOptions {
            rate: engine.rate,
            found_rate: self.found_rate,
            host_rate: engine.host_rate,
            patience: engine.patience,
        };
        let ports = self.questions.ports.clone();
        let mut engine = UdpEngine::new(lookup, positions, addresses.clone(), &ports, options);
        let now = self.now();
        let mut round = Round {
            finds: Vec::new(),
            shown: HashMap::new(),
            began: now,
            said: now,
            neighbours: now,
            refused: None,
        };
        while !engine.is_done() {
            if self.is_draining() {
                engine.drain();
            }
            self.hear(&mut engine, &mut round);
            self.look_for_absent(&mut engine, &addresses, &mut round);
            engine.handle_timeout(self.now());
            self.take_verdicts(number, &mut engine, &mut round)?;
            if self.send(&mut engine, &mut round)? == 0 {
                self.wait(&mut engine)?;
            }
            self.write_gauge(engine.figures());
        }
        self.take_verdicts(number, &mut engine, &mut round)?;
        self.say(number, &mut round)?;
        let figures = engine.figures();
        self.write_gauge(figures);
        self.before = merge(self.before, figures);
        self.found_rate = engine.found_rate();
        Ok(!self.is_draining())
    }

    /// Hands what came in to the engine.
    fn hear<L: FnMut(u32) -> Option<(u32, u16)>>(
        &mut self,
        engine: &mut UdpEngine<L>,
        round: &mut Round,
    ) {
        let now = self.now();
        let Self {
            datagrams,
            questions,
            tokens,
            ..
        } = self;
        let sources = datagrams.sources();
        // A source of one question only has no pass of its own.
        let pass_source = |source: u8| if source < sources { source } else { 0 };
        datagrams.hear(HEARD_MAX, |heard| match heard {
            Heard::Reply {
                source,
                from,
                bytes,
            } => {
                let asked = asked_by(engine, questions, from, bytes);
                let id = tokens.of(asked, source);
                let shown = questions.recognise(asked, &id, bytes);
                if engine.handle_reply(now, pass_source(source), asked) {
                    let shown = shown.unwrap_or_else(|| not_recognised(bytes));
                    round.shown.insert(asked, shown);
                }
            }
            Heard::Error {
                source,
                to,
                code,
                from,
            } => {
                let error = UdpError {
                    endpoint: to,
                    code,
                    from,
                };
                engine.handle_error(now, pass_source(source), error);
            }
            Heard::NoNeighbour { to } => {
                engine.handle_unreachable(to.address, Reason::NoNeighbour);
            }
            Heard::Policy { to } => engine.handle_policy(to),
        });
        let dropped = self.datagrams.dropped();
        if dropped > self.dropped {
            let new = dropped - self.dropped;
            self.control.overruns.fetch_add(new, Ordering::Relaxed);
            self.dropped = dropped;
            engine.handle_overrun();
        }
    }

    /// Hosts on attached segments that do not answer the neighbour discovery are not silent.
    fn look_for_absent<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        engine: &mut UdpEngine<L>,
        addresses: &[IpAddr],
        round: &mut Round,
    ) {
        let now = self.now();
        if now.since(round.neighbours) < NEIGHBOURS_EVERY {
            return;
        }
        round.neighbours = now;
        // Without the table such hosts are silent ones.
        let unresolved = neighbours::unresolved().unwrap_or_default();
        if unresolved.is_empty() {
            return;
        }
        let is_unresolved = |it: &&IpAddr| match it {
            IpAddr::V4(address) => unresolved.contains(address),
            IpAddr::V6(_) => false,
        };
        let absent = addresses.iter().filter(is_unresolved);
        if now.since(round.began) >= DISCOVERY {
            for address in absent {
                engine.handle_unreachable(*address, Reason::NoNeighbour);
            }
        } else if absent.count() > 0 {
            engine.hold(round.began + DISCOVERY);
        }
    }

    fn take_verdicts<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        number: u64,
        engine: &mut UdpEngine<L>,
        round: &mut Round,
    ) -> io::Result<()> {
        while let Some(verdict) = engine.poll_verdict() {
            let shown = round.shown.remove(&verdict.endpoint);
            round.finds.push(UdpFind { verdict, shown });
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
        &mut self,
        engine: &mut UdpEngine<L>,
        round: &mut Round,
    ) -> io::Result<usize> {
        let mut ready = Vec::new();
        while ready.len() < PROBES {
            let Some(probe) = engine.poll_probe(self.now()) else {
                break;
            };
            ready.push(self.ready(probe));
        }
        let count = ready.len();
        let key = |it: &Ready| (it.source, it.probe.endpoint.address.is_ipv6());
        ready.sort_by_key(key);
        for batch in ready.chunk_by(|a, b| key(a) == key(b)) {
            self.send_batch(engine, batch, round)?;
        }
        Ok(count)
    }

    fn send_batch<L: FnMut(u32) -> Option<(u32, u16)>>(
        &mut self,
        engine: &mut UdpEngine<L>,
        batch: &[Ready],
        round: &mut Round,
    ) -> io::Result<()> {
        let outgoing: Vec<Outgoing<'_>> = batch
            .iter()
            .map(|it| Outgoing {
                to: it.probe.endpoint,
                bytes: &it.bytes,
            })
            .collect();
        let mut at = 0_usize;
        while let (Some(first), Some(rest)) = (batch.get(at), outgoing.get(at..)) {
            // An answer may be there before the call returns.
            let now = self.now();
            let sent = self.datagrams.send(first.source, rest);
            let left = batch.iter().skip(at).take(sent.count);
            left.for_each(|it| engine.handle_sent(now, &it.probe));
            if sent.count > 0 {
                round.refused = None;
            }
            at = at.saturating_add(sent.count);
            let (Some(unsent), Some(next)) = (sent.unsent, batch.get(at)) else {
                continue;
            };
            let reason = match unsent {
                Unsent::Full => {
                    let rest = batch.iter().skip(at);
                    rest.for_each(|it| engine.handle_unsent(now, &it.probe));
                    return check_refused(now, round);
                }
                // The plan never holds an endpoint outside its scope; were it so, nothing was sent.
                Unsent::OutsideScope(_) | Unsent::Policy => Reason::LocalPolicy,
                Unsent::NeverSend => Reason::NeverSend,
                Unsent::NoRoute => Reason::NoRoute,
            };
            engine.handle_refused(&next.probe, reason);
            at = at.saturating_add(1);
        }
        Ok(())
    }

    /// The bytes of a probe, and the source it leaves from.
    fn ready(&mut self, probe: UdpProbe) -> Ready {
        let target = probe.endpoint.address;
        let asked = probe
            .question
            .and_then(|question| self.questions.at(probe.endpoint.port, question))
            .filter(|asked| asked.question.is_for(target));
        let sources = self.datagrams.sources();
        let usual = probe.source % sources.max(1);
        let Some(asked) = asked else {
            return Ready {
                probe,
                source: usual,
                bytes: Vec::new(),
            };
        };
        let claimed = asked
            .question
            .from_port
            .and_then(|port| self.claim(target, port));
        let source = claimed.unwrap_or(usual);
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let own = if asked.question.names_source() {
            source_to(target, &self.options.sweep.source).unwrap_or(unknown)
        } else {
            unknown
        };
        let asker = Asker {
            id: self.tokens.of(probe.endpoint, source),
            source: own,
            target,
        };
        Ready {
            bytes: asked.question.bytes(&asker),
            probe,
            source,
        }
    }

    /// The source with the local port `port`. Where the system does not give it, the question
    /// leaves from another: whether the port is closed shows all the same.
    fn claim(&mut self, target: IpAddr, port: u16) -> Option<u8> {
        let is_v6 = target.is_ipv6();
        let known = self.claimed.iter().find(|it| (it.0, it.1) == (is_v6, port));
        if let Some((_, _, source)) = known {
            return *source;
        }
        let source = self.datagrams.claim(Family::of(target), port).ok();
        self.claimed.push((is_v6, port, source));
        source
    }

    fn wait<L: FnMut(u32) -> Option<(u32, u16)>>(
        &self,
        engine: &mut UdpEngine<L>,
    ) -> io::Result<()> {
        let now = self.now();
        let patience = engine
            .poll_timeout(now)
            .map_or(WAIT_MAX, |moment| moment.since(now).min(WAIT_MAX));
        if patience < WAIT_MIN {
            return Ok(());
        }
        self.datagrams.wait(patience.max(Duration::from_millis(1)))
    }

    fn say(&self, window: u64, round: &mut Round) -> io::Result<()> {
        round.said = self.now();
        if round.finds.is_empty() {
            return Ok(());
        }
        let finds = std::mem::take(&mut round.finds);
        self.words
            .blocking_send(Word::UdpFinds { window, finds })
            .map_err(|_| io::Error::other("nobody takes what the sweep finds"))
    }

    fn write_gauge(&self, figures: Figures) {
        if let Some(gauge) = self.control.gauges.get(self.options.gauge) {
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

/// The endpoint whose question `bytes` answers: usually the one that they come from. An answer from
/// a port of its own has to have the form of one, and somebody has to wait for it.
fn asked_by<L: FnMut(u32) -> Option<(u32, u16)>>(
    engine: &UdpEngine<L>,
    questions: &Questions,
    from: Endpoint,
    bytes: &[u8],
) -> Endpoint {
    let mut waiting = questions.elsewhere.iter().filter_map(|port| {
        let endpoint = Endpoint::udp(from.address, *port);
        let shown = questions.recognise(endpoint, &[0; 16], bytes);
        (endpoint != from && shown.is_some() && engine.awaits(endpoint)).then_some(endpoint)
    });
    match (waiting.next(), waiting.next()) {
        (Some(endpoint), None) => endpoint,
        _ => from,
    }
}

fn check_refused(now: Moment, round: &mut Round) -> io::Result<()> {
    let since = *round.refused.get_or_insert(now);
    if now.since(since) < REFUSED_MAX {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the system has taken no UDP packet for {} seconds; look at `ip link` and `nstat -a`, and \
         go on with --resume",
        REFUSED_MAX.as_secs()
    )))
}

/// A reply that has no form that is known for its port.
fn not_recognised(bytes: &[u8]) -> Outcome {
    /// Bytes of it that are shown.
    const SHOWN: usize = 64;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    Outcome {
        service: (!shown.is_empty()).then(|| Service {
            name: None,
            label: None,
            tls: None,
            product: None,
            version: None,
            os: None,
            confidence: 0,
            evidence: Some(Text::from_bytes(shown)),
        }),
        incomplete: vec![Incomplete {
            fact: "service".to_owned(),
            why: Text::from("it answered, and no known service answers so"),
        }],
    }
}
