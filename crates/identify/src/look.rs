//! The first look as a state machine: what to send, how long to wait, when it is over. The order
//! of the questions is in `look/plan`, the reading of the bytes in `hearing`, the conclusion in
//! `look/found`, and the words for a look without result in `trail`.

use crate::http::{self, Ending};
use crate::tls::{self, HelloOptions};
use crate::trail::{Cause, End, Trail, Tried};
use portolan_catalog::form::Asker;
use portolan_catalog::services::{Card, Page, QuestionId};
use portolan_model::{Incomplete, Service, Text, Tunnel};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

mod found;
mod plan;
mod talk;
mod waits;

pub use found::Secured;

use found::Found;
use plan::{Channel, Hurry, Task};

/// Connections of one look, the first included.
pub const CONNECTIONS_MAX: usize = 56;
/// Bytes read in one look over all its connections.
pub const READ_MAX: usize = CONNECTIONS_MAX * CONNECTION_READ_MAX;
/// Bytes read from one connection. A fixed part of [`READ_MAX`], so that a result never depends
/// on how much of an earlier reply happened to arrive in one piece.
pub const CONNECTION_READ_MAX: usize = 8 * 1024;
/// Bytes sent in one look over all its connections, TLS not counted.
pub const SENT_MAX: usize = 16 * 1024;
/// Longest look, connecting included. There is no clock in here: the driver ends it.
pub const CONVERSATION_MAX: Duration = Duration::from_secs(25);
/// Longest wait for a connection of a look.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for a TLS handshake.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(4);
/// Replies that a look keeps.
pub const REPLIES_MAX: usize = 8;
/// Calls of [`Look::step`] after which a look is over whatever happens: every byte alone, and
/// what surrounds them.
pub const STEPS_MAX: usize = READ_MAX + 8 * CONNECTIONS_MAX;

/// A first look at one open TCP port.
///
/// # Call order
///
/// 1. [`Look::new`]; the driver opens a connection.
/// 2. [`Look::step`] with [`Input::Connected`] or [`Input::ConnectFailed`] (also when the
///    connection takes longer than [`CONNECT_WAIT`]).
/// 3. The driver does what the [`Step`] says and calls `step` with what happened next:
///    * [`Step::Wait`]: bytes, the peer's close or reset, or [`Input::TimedOut`] when the wait
///      passes without bytes. Bytes come in pieces of any size, never empty; no more than
///      [`CONNECTION_READ_MAX`] are read from one connection.
///    * [`Step::Send`]: writes the bytes on the same connection, then waits as above.
///    * [`Step::Secure`]: begins TLS on the same connection, which all that follows on it goes
///      through, and then [`Input::Secured`] or [`Input::SecureFailed`] (also after
///      [`HANDSHAKE_WAIT`]). Certificates are not judged.
///    * [`Step::Reconnect`]: closes the connection (abortively, nothing is owed to the peer),
///      opens another, and goes on with 2.
///    * [`Step::Done`]: closes the connection.
/// 4. [`Look::finish`]. It may be called early, when [`CONVERSATION_MAX`] has passed or the run
///    ends, and then tells what is known so far.
///
/// The result depends on the bytes of each connection and on how it ended, never on how the
/// bytes were cut into pieces.
///
/// # What it does
///
/// It listens: whoever speaks first is heard. A silent server is asked what the services of its
/// port would answer, then over HTTP and by a TLS hello, then what is likely on any port; the
/// port number decides the order, and is never part of a conclusion. Inside TLS the same goes on.
/// Once the service is known it is asked what it is and whether TLS begins in it on command.
/// Nothing is asked of ports that must get no bytes ([`Sends::Never`]).
#[derive(Debug)]
pub struct Look {
    options: LookOptions,
    state: State,
    channel: Channel,
    /// What is left to ask.
    tasks: VecDeque<Task>,
    /// Pages of applications that are left to ask for.
    pages: VecDeque<&'static Page>,
    connection: Connection,
    /// The wait that the last step asked for.
    wait: Duration,
    /// The waits that passed in silence.
    waited: Duration,
    connections: usize,
    failed: usize,
    sent: usize,
    steps: usize,
    is_patient: bool,
    trail: Trail,
    found: Found,
    starttls: Option<Secured>,
    said: Vec<Said>,
}

/// What happened on the connection that stands.
#[derive(Debug, Default)]
struct Connection {
    /// Since the last question.
    received: Vec<u8>,
    /// How much of it was seen to be no decision.
    judged: usize,
    /// Before it.
    before: Vec<u8>,
    /// Bytes read from it.
    read: usize,
    /// Something was asked that a service which comes to be known later did not expect.
    is_spoiled: bool,
    /// The peer has ended it.
    is_over: bool,
}

/// What a look needs to know.
#[derive(Clone, Debug)]
pub struct LookOptions {
    /// Port number: decides the order of the questions and stands in `Host`.
    pub port: u16,
    /// Round-trip time as measured when the port was probed; `None` when it is not known.
    pub rtt: Option<Duration>,
    /// Whether anything may be sent.
    pub sends: Sends,
    /// The name that the user gave. Used for `Host` and SNI when it is a DNS name.
    pub host: Option<String>,
    /// Address of the port, for `Host` when there is no name.
    pub address: IpAddr,
    /// Source of the random fields of what is sent.
    pub seed: u64,
    /// Seconds since 1970: some services tell the time and nothing else.
    pub unix_s: u64,
    /// Whether what was said is kept.
    pub keeps: Keeps,
}

/// Whether what was said is kept for others to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Only what shows the service.
    Evidence,
    /// The replies that showed it, too, as they came.
    Replies,
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What was asked before.
    pub after: QuestionId,
    /// Its bytes, at most [`CONNECTION_READ_MAX`].
    pub bytes: Vec<u8>,
}

/// Whether a look may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// Questions of the catalogue, an HTTP request and a TLS hello.
    Allowed,
    /// Nothing: the port prints, or acts on, whatever it gets (9100, 515).
    Never,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes came.
    Bytes(&'a [u8]),
    /// The peer closed its side.
    Closed,
    /// There was no connection to be had.
    ConnectFailed,
    /// The connection stands.
    Connected,
    /// The peer reset the connection.
    Reset,
    /// TLS stands.
    Secured(Secured),
    /// TLS did not come about, for this reason.
    SecureFailed(Text),
    /// The wait passed without bytes.
    TimedOut,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The look is over.
    Done,
    /// Close the connection and open another.
    Reconnect,
    /// Begin TLS on the connection.
    Secure {
        /// DNS name for `server_name` (RFC 6066 §3).
        server_name: Option<String>,
    },
    /// Send, then wait.
    Send {
        /// What to send.
        bytes: Vec<u8>,
        /// How long to wait for the first bytes after it.
        then_wait: Duration,
    },
    /// Wait for bytes.
    Wait(Duration),
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What speaks there. `None` when nothing was said; without a name when what was said proves
    /// no protocol.
    pub service: Option<Service>,
    /// Why there is no service, or why something of it is not known.
    pub incomplete: Vec<Incomplete>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waiting for the connection.
    Dialing(Purpose),
    /// Waiting for the last word of a peer that was told the end.
    Leaving,
    Over,
    /// Waiting for what comes after a question.
    Reading(Purpose),
    /// Waiting for the handshake.
    Securing(Purpose),
}

/// What a connection or a reply is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// What a known service is asked further.
    Follow(&'static Card, usize),
    /// Its greeting, before it is asked.
    Greeting(&'static Card, usize),
    /// A page of an application.
    Page(&'static Page),
    /// Which service it is.
    Search(Task),
}

impl Look {
    /// A look that has not begun.
    pub fn new(options: LookOptions) -> Self {
        let mut tasks = plan::plan(options.port, Channel::Clear);
        let first = tasks.pop_front().unwrap_or(Task::Listen(Hurry::Fast));
        Self {
            options,
            state: State::Dialing(Purpose::Search(first)),
            channel: Channel::Clear,
            tasks,
            pages: VecDeque::new(),
            connection: Connection::default(),
            wait: Duration::ZERO,
            waited: Duration::ZERO,
            connections: 1,
            failed: 0,
            sent: 0,
            steps: 0,
            is_patient: false,
            trail: Trail::default(),
            found: Found::default(),
            starttls: None,
            said: Vec::new(),
        }
    }

    /// Takes what happened and says what to do next. After [`Step::Done`] it says that again.
    pub fn step(&mut self, input: Input<'_>) -> Step {
        self.steps = self.steps.saturating_add(1);
        if self.steps > STEPS_MAX {
            self.hear_the_rest();
            self.state = State::Over;
        }
        match (self.state, input) {
            (State::Over, _) => Step::Done,
            (State::Leaving, Input::Bytes(_)) => self.wait_for(self.quiet_wait()),
            (State::Leaving, _) => self.done(),
            (State::Dialing(purpose), Input::Connected) => self.connected(purpose),
            (State::Dialing(purpose), _) => self.not_connected(purpose),
            (State::Securing(purpose), Input::Secured(secured)) => self.secured(purpose, secured),
            (State::Securing(purpose), Input::SecureFailed(why)) => self.insecure(purpose, &why),
            (State::Securing(purpose), _) => self.insecure(purpose, &Text::from("it broke off")),
            (State::Reading(purpose), Input::Bytes(bytes)) => self.bytes(purpose, bytes),
            (State::Reading(purpose), Input::Closed) => self.stop(purpose, End::Closed),
            (State::Reading(purpose), Input::Reset) => self.stop(purpose, End::Reset),
            (State::Reading(purpose), Input::TimedOut) => {
                self.waited = self.waited.saturating_add(self.wait);
                self.stop(purpose, End::Silent(self.wait))
            }
            // Out of order; the connection is as it was.
            (State::Reading(_), _) => self.wait_for(self.wait),
        }
    }

    /// As [`Look::finish`], with the replies that showed the service, where they are kept; at most
    /// [`REPLIES_MAX`].
    pub fn finish_with_replies(mut self) -> (Outcome, Vec<Said>) {
        let outcome = self.conclude();
        (outcome, self.said)
    }

    /// What was found, with the bytes of an unfinished reply taken for what they are.
    pub fn finish(mut self) -> Outcome {
        self.conclude()
    }

    fn conclude(&mut self) -> Outcome {
        let cause = match (self.state, self.options.sends) {
            (State::Over, Sends::Never) => Cause::NeverSend(self.options.port),
            (State::Over | State::Leaving, _) => Cause::Exhausted,
            _ => Cause::CutShort,
        };
        self.hear_the_rest();
        self.found.fall_back();
        self.found.tell_rivals();
        let tunnel = match (self.channel, &self.starttls, &self.found.tls) {
            (Channel::Tls, ..) | (_, _, Some(_)) => Some(Tunnel::Implicit),
            (Channel::Clear, Some(_), None) => Some(Tunnel::StartTls),
            (Channel::Clear, None, None) => None,
        };
        let service = self.found.service(tunnel);
        let mut incomplete = std::mem::take(&mut self.found.incomplete);
        if service.is_none() {
            incomplete.retain(|it| it.fact != FACT);
            incomplete.insert(
                0,
                Incomplete {
                    fact: FACT.to_owned(),
                    why: self.trail.sentence(cause),
                },
            );
        }
        Outcome {
            service,
            incomplete,
        }
    }

    fn bytes(&mut self, purpose: Purpose, bytes: &[u8]) -> Step {
        let room = CONNECTION_READ_MAX.saturating_sub(self.connection.read);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.connection.read = self.connection.read.saturating_add(taken.len());
        self.connection.received.extend_from_slice(taken);
        let ending = if self.connection.read >= CONNECTION_READ_MAX {
            Ending::Ended
        } else {
            Ending::Open
        };
        match self.hear(purpose, ending) {
            Some(step) => step,
            None => self.wait_for(self.quiet_wait()),
        }
    }

    /// The connection or the wait came to its end.
    fn stop(&mut self, purpose: Purpose, end: End) -> Step {
        self.connection.is_over = !matches!(end, End::Silent(_));
        match self.hear(purpose, Ending::Ended) {
            Some(step) => step,
            None => self.nothing_said(purpose, end),
        }
    }

    /// A connection stands: TLS first where the search is inside it.
    fn connected(&mut self, purpose: Purpose) -> Step {
        self.failed = 0;
        self.connection = Connection::default();
        if self.channel == Channel::Tls {
            self.state = State::Securing(purpose);
            return self.secure();
        }
        self.begin(purpose)
    }

    fn secure(&self) -> Step {
        let name = self.options.host.as_deref().and_then(http::dns_name);
        Step::Secure {
            server_name: name.map(str::to_owned),
        }
    }

    fn secured(&mut self, purpose: Purpose, secured: Secured) -> Step {
        if self.channel == Channel::Clear {
            // TLS on command.
            self.starttls = Some(secured);
            return match purpose {
                Purpose::Follow(card, _) => self.leave(card),
                _ => self.done(),
            };
        }
        self.found.secured = Some(secured);
        self.begin(purpose)
    }

    fn insecure(&mut self, purpose: Purpose, why: &Text) -> Step {
        self.connection.is_over = true;
        if self.channel == Channel::Clear {
            let why = format!("the server began TLS on command, but the handshake failed: {why}");
            self.found.miss("service.tls", Text::from(why));
            return self.done();
        }
        if let Purpose::Search(task) = purpose
            && task.is_listen()
            && self.found.secured.is_none()
        {
            let why = format!("speaks TLS, but the handshake failed: {why}");
            self.found.miss(FACT, Text::from(why));
            return self.ask_https_in_clear();
        }
        self.next()
    }

    /// Inside TLS nothing can be asked: a request in clear may show whether HTTP is there.
    fn ask_https_in_clear(&mut self) -> Step {
        self.channel = Channel::Clear;
        if let Some(reply) = self.found.in_clear.take() {
            self.found.known = self.found.refused.take();
            self.found.http = Some(reply);
            return self.done();
        }
        self.tasks = VecDeque::new();
        if plan::may_hold_http(self.options.port) {
            self.tasks.push_back(Task::Http(Hurry::Fast));
        }
        self.next()
    }

    fn not_connected(&mut self, purpose: Purpose) -> Step {
        if let Purpose::Search(task) = purpose {
            self.trail.add(task.tried(), End::NotConnected);
        }
        self.failed = self.failed.saturating_add(1);
        if self.failed >= FAILED_MAX || self.connections <= 1 {
            return self.done();
        }
        match purpose {
            Purpose::Search(_) | Purpose::Page(_) => self.next(),
            Purpose::Follow(..) | Purpose::Greeting(..) => self.done(),
        }
    }

    /// Nothing was said after a question.
    fn nothing_said(&mut self, purpose: Purpose, end: End) -> Step {
        let task = match purpose {
            Purpose::Follow(card, at) => return self.follow(card, at.saturating_add(1)),
            Purpose::Greeting(card, _) => return self.leave(card),
            Purpose::Page(_) => return self.next(),
            Purpose::Search(task) => task,
        };
        self.trail.add(task.tried(), end);
        match (task, end) {
            (Task::Listen(_), End::Silent(_)) => match self.take_task() {
                Some(next) => self.begin(Purpose::Search(next)),
                None => self.done(),
            },
            // Servers that are busy (sshd's MaxStartups) drop connections at random: once more.
            (Task::Listen(_), _)
                if self.channel == Channel::Clear && self.trail.count(Tried::Listen) == 1 =>
            {
                self.reconnect(Purpose::Search(task))
            }
            (Task::Listen(_), _) if self.channel == Channel::Clear => self.done(),
            // Whoever answers a hello at all needs no second one.
            _ => self.next(),
        }
    }

    /// A connection stands, in clear or inside TLS: ask on it.
    fn begin(&mut self, purpose: Purpose) -> Step {
        self.state = State::Reading(purpose);
        self.connection.judged = 0;
        let received = std::mem::take(&mut self.connection.received);
        self.connection.before.extend(received);
        let bytes = match purpose {
            Purpose::Greeting(..) => return self.wait_for(self.reply_wait(Hurry::Patient)),
            Purpose::Follow(card, at) => match card.tcp.follows.get(at) {
                Some(follow) => follow.bytes(&self.asker()),
                None => return self.done(),
            },
            Purpose::Page(page) => self.http_request(&page.path),
            Purpose::Search(Task::Listen(hurry)) => {
                let wait = self.greeting_wait(hurry);
                return self.wait_for(wait);
            }
            Purpose::Search(task) => {
                self.connection.is_spoiled = true;
                match task {
                    Task::Ask(ask, _) => ask.bytes(&self.asker()),
                    Task::Hello(newest, _) => tls::client_hello(HelloOptions {
                        server_name: self.options.host.as_deref().and_then(http::dns_name),
                        newest,
                        seed: self.options.seed,
                    }),
                    Task::Http(_) | Task::Listen(_) => self.http_request("/"),
                }
            }
        };
        let wait = self.reply_wait(match purpose {
            Purpose::Search(Task::Ask(_, hurry) | Task::Hello(_, hurry) | Task::Http(hurry)) => {
                hurry
            }
            _ => Hurry::Patient,
        });
        self.send(bytes, wait)
    }

    fn send(&mut self, bytes: Vec<u8>, then_wait: Duration) -> Step {
        self.sent = self.sent.saturating_add(bytes.len());
        if self.sent > SENT_MAX || self.options.sends == Sends::Never {
            return self.done();
        }
        self.wait = then_wait;
        Step::Send { bytes, then_wait }
    }

    /// A try is over: the next one on a new connection, if there is one to make.
    fn next(&mut self) -> Step {
        if let Some(page) = self.pages.pop_front() {
            return self.reconnect(Purpose::Page(page));
        }
        match self.take_task() {
            Some(task) => self.reconnect(Purpose::Search(task)),
            None => self.done(),
        }
    }

    /// The next question of the search, if it goes on.
    fn take_task(&mut self) -> Option<Task> {
        if self.options.sends == Sends::Never || self.found.known.is_some() {
            return None;
        }
        if self.found.http.is_some() {
            return None;
        }
        let needless = |task: &Task| {
            // The second hello is for those who closed on the first.
            matches!(task, Task::Hello(tls::Newest::Tls12, _)) && !self.trail.has_closed(Tried::Tls)
        };
        while self.tasks.front().is_some_and(needless) {
            self.tasks.pop_front();
        }
        if self.waited >= SEARCH_WAIT_MAX && !self.is_patient {
            self.tasks.clear();
        }
        if self.tasks.is_empty() && !self.is_patient && self.heard_only_silence() {
            self.is_patient = true;
            self.tasks = plan::patient_plan();
        }
        self.tasks.pop_front()
    }

    fn heard_only_silence(&self) -> bool {
        self.found.unproven.is_none() && self.found.tls.is_none() && self.trail.is_all_silence()
    }

    fn reconnect(&mut self, purpose: Purpose) -> Step {
        if self.connections >= CONNECTIONS_MAX {
            return self.done();
        }
        self.connections = self.connections.saturating_add(1);
        self.connection = Connection::default();
        self.state = State::Dialing(purpose);
        Step::Reconnect
    }

    const fn done(&mut self) -> Step {
        self.state = State::Over;
        Step::Done
    }

    fn http_request(&self, path: &str) -> Vec<u8> {
        let options = &self.options;
        let host = http::host_field(options.host.as_deref(), options.address, options.port);
        http::request(&host, path)
    }

    /// Who asks. The number is only for questions whose reply repeats it.
    fn asker(&self) -> Asker {
        let mut id = [0; 16];
        let spread = self.options.seed.wrapping_mul(SPREAD);
        let words = [self.options.seed, spread].map(u64::to_be_bytes);
        for (place, byte) in id.iter_mut().zip(words.into_iter().flatten()) {
            *place = byte;
        }
        Asker {
            id,
            source: IpAddr::from([0, 0, 0, 0]),
            target: self.options.address,
        }
    }

    /// Keeps a reply, where that is wanted.
    fn keep(&mut self, after: QuestionId, bytes: &[u8]) {
        if self.options.keeps == Keeps::Replies && self.said.len() < REPLIES_MAX {
            self.said.push(Said {
                after,
                bytes: bytes.to_vec(),
            });
        }
    }

    fn wait_for(&mut self, wait: Duration) -> Step {
        self.wait = wait;
        Step::Wait(wait)
    }
}

/// What is not known where there is no service.
const FACT: &str = "service";
/// Silence after which no further question is asked on a port, but those with patience.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(14);
/// Connections in a row that do not come about, after which no more are tried.
const FAILED_MAX: usize = 2;
/// Spreads a seed (the golden ratio, as `SplitMix64` does).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests;
