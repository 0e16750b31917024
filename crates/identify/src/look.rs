//! The first look as a state machine: what to send, how long to wait, when it is over. The
//! reading of the bytes is in `speech`, the conclusion in `look/found`, and the words for a look
//! without result in `trail`.

use crate::http::{self, Ending};
use crate::speech::{self, Asked, Speech};
use crate::tls::{self, Alpn, HelloOptions};
use crate::trail::{Cause, End, Question, Trail};
use portolan_model::{Incomplete, Service};
use std::net::IpAddr;
use std::time::Duration;

mod found;

use found::{Found, label};

/// Connections of one look, the first included.
pub const CONNECTIONS_MAX: usize = 3;
/// Bytes read in one look over all its connections.
pub const READ_MAX: usize = 8 * 1024;
/// Bytes read from one connection. A fixed part of [`READ_MAX`], so that a result never depends
/// on how much of an earlier reply happened to arrive in one piece.
pub const CONNECTION_READ_MAX: usize = READ_MAX / CONNECTIONS_MAX;
/// Bytes sent in one look over all its connections.
pub const SENT_MAX: usize = 1024;
/// Longest look, connecting included. There is no clock in here: the driver ends it.
pub const CONVERSATION_MAX: Duration = Duration::from_secs(6);
/// Longest wait for a connection of a look.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Calls of [`Look::step`] after which a look is over whatever happens: every byte alone, and
/// what surrounds them.
pub const STEPS_MAX: usize = READ_MAX + 64;

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
/// It listens: whoever speaks first is heard and not asked anything. A silent server gets an
/// HTTP request or a TLS hello on the same connection, and on a new one the other of the two
/// when the first shows nothing; the port number decides which questions are asked in which
/// order, and is never part of a conclusion. After TLS is shown, an HTTP request in clear asks
/// whether HTTP is inside: many servers say that the port is for HTTPS. Nothing is asked of
/// ports that must get no bytes ([`Sends::Never`]).
#[derive(Debug)]
pub struct Look {
    options: LookOptions,
    state: State,
    received: Vec<u8>,
    /// The wait that the last step asked for.
    wait: Duration,
    asked: Vec<Question>,
    connections: usize,
    sent: usize,
    steps: usize,
    trail: Trail,
    found: Found,
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
    /// Source of the random fields of the TLS hello.
    pub seed: u64,
}

/// Whether a look may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    /// An HTTP request and a TLS hello.
    Allowed,
    /// Nothing: the port prints, or acts on, whatever it gets (9100, 515).
    Never,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Why there is no service.
    pub incomplete: Vec<Incomplete>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Dialing(Question),
    Over,
    Reading(Question),
}

impl Look {
    /// A look that has not begun.
    pub fn new(options: LookOptions) -> Self {
        Self {
            options,
            state: State::Dialing(Question::Listen),
            received: Vec::new(),
            wait: Duration::ZERO,
            asked: Vec::new(),
            connections: 1,
            sent: 0,
            steps: 0,
            trail: Trail::default(),
            found: Found::default(),
        }
    }

    /// Takes what happened and says what to do next. After [`Step::Done`] it says that again.
    pub fn step(&mut self, input: Input<'_>) -> Step {
        self.steps = self.steps.saturating_add(1);
        if self.steps > STEPS_MAX {
            self.hear(Ending::Ended);
            self.state = State::Over;
        }
        match self.state {
            State::Over => Step::Done,
            State::Dialing(question) => match input {
                Input::Connected => self.begin(question),
                _ => self.end(question, End::NotConnected),
            },
            State::Reading(question) => match input {
                Input::Bytes(bytes) => {
                    let room = CONNECTION_READ_MAX.saturating_sub(self.received.len());
                    let taken = bytes.get(..room).unwrap_or(bytes);
                    self.received.extend_from_slice(taken);
                    match self.hear(Ending::Open) {
                        Heard::Enough => self.next(),
                        Heard::More => self.wait_for(self.quiet_wait()),
                    }
                }
                Input::Closed => self.stop(question, End::Closed),
                Input::Reset => self.stop(question, End::Reset),
                Input::TimedOut => self.stop(question, End::Silent(self.wait)),
                // Out of order; the connection is as it was.
                Input::Connected | Input::ConnectFailed => self.wait_for(self.wait),
            },
        }
    }

    /// What was found, with the bytes of an unfinished reply taken for what they are.
    pub fn finish(mut self) -> Outcome {
        let cause = match (self.state, self.options.sends) {
            (State::Over, Sends::Never) => Cause::NeverSend(self.options.port),
            (State::Over, Sends::Allowed) => Cause::Exhausted,
            _ => Cause::CutShort,
        };
        if self.state != State::Over {
            self.hear(Ending::Ended);
        }
        match self.found.service() {
            Some(service) => Outcome {
                service: Some(service),
                incomplete: Vec::new(),
            },
            None => Outcome {
                service: None,
                incomplete: vec![Incomplete {
                    fact: "service".to_owned(),
                    why: self.trail.sentence(cause),
                }],
            },
        }
    }

    /// A connection stands: ask on it.
    fn begin(&mut self, question: Question) -> Step {
        self.state = State::Reading(question);
        self.received.clear();
        self.asked.push(question);
        let bytes = match question {
            Question::Listen => return self.wait_for(self.greeting_wait()),
            Question::Http => self.http_request(),
            Question::Tls => self.tls_hello(),
        };
        self.sent = self.sent.saturating_add(bytes.len());
        if self.sent > SENT_MAX {
            return self.done();
        }
        self.wait = self.reply_wait();
        Step::Send {
            bytes,
            then_wait: self.wait,
        }
    }

    /// The connection or the wait came to its end.
    fn stop(&mut self, question: Question, end: End) -> Step {
        match self.hear(Ending::Ended) {
            Heard::Enough => self.next(),
            Heard::More => self.end(question, end),
        }
    }

    /// Nothing was said.
    fn end(&mut self, question: Question, end: End) -> Step {
        self.trail.add(question, end);
        match (question, end) {
            (Question::Listen, End::Silent(_)) => match self.next_question() {
                Some(next) => self.begin(next),
                None => self.done(),
            },
            // Servers that are busy (sshd's MaxStartups) drop connections at random: once more.
            (Question::Listen, End::Closed | End::Reset)
                if self.trail.count(Question::Listen) == 1 =>
            {
                self.reconnect(Question::Listen)
            }
            (Question::Listen, _) => self.done(),
            _ => self.next(),
        }
    }

    /// A try is over: the next one on a new connection, if there is one to make.
    fn next(&mut self) -> Step {
        self.received.clear();
        match self.next_question() {
            Some(question) => self.reconnect(question),
            None => self.done(),
        }
    }

    fn reconnect(&mut self, question: Question) -> Step {
        if self.connections >= CONNECTIONS_MAX {
            return self.done();
        }
        self.connections = self.connections.saturating_add(1);
        self.state = State::Dialing(question);
        Step::Reconnect
    }

    const fn done(&mut self) -> Step {
        self.state = State::Over;
        Step::Done
    }

    fn next_question(&self) -> Option<Question> {
        if self.options.sends == Sends::Never || self.found.is_final(&self.asked) {
            return None;
        }
        let order = if TLS_FIRST.contains(&self.options.port) {
            [Question::Tls, Question::Http]
        } else {
            [Question::Http, Question::Tls]
        };
        order
            .into_iter()
            .find(|question| !self.asked.contains(question) && self.wants(*question))
    }

    /// Whether the answer to `question` could add something.
    fn wants(&self, question: Question) -> bool {
        let found = &self.found;
        match question {
            // Behind TLS on a port for mail and the like, the request in clear would only be noise
            // in the server's log.
            Question::Http => {
                let noise = found.tls.is_some() && NO_HTTP_INSIDE.contains(&self.options.port);
                !noise && !found.alpn_is_http()
            }
            // A refused request may mean that it should have come over TLS.
            Question::Tls => found.http.as_ref().is_none_or(|reply| reply.status == 400),
            Question::Listen => false,
        }
    }

    /// Judges what was received on this connection.
    fn hear(&mut self, ending: Ending) -> Heard {
        let State::Reading(question) = self.state else {
            return Heard::More;
        };
        if self.received.is_empty() {
            return Heard::More;
        }
        let asked = match question {
            Question::Listen => Asked::Nothing,
            Question::Http | Question::Tls => Asked::Something,
        };
        match speech::understand(&self.received, CONNECTION_READ_MAX, asked, ending) {
            None => return Heard::More,
            Some(Speech::Http(reply)) => self.found.http = Some(reply),
            Some(Speech::Tls(reply)) => self.found.tls = Some(reply),
            Some(Speech::Named(named, evidence)) => {
                self.found.named = Some(Service {
                    name: Some(named.name.to_owned()),
                    label: Some(label(named.name, None).to_owned()),
                    tls: None,
                    product: named.product,
                    version: named.version,
                    confidence: named.confidence,
                    evidence: Some(evidence),
                });
            }
            Some(Speech::Unproven(text)) => {
                self.found.unproven.get_or_insert(text);
            }
        }
        Heard::Enough
    }

    fn http_request(&self) -> Vec<u8> {
        let options = &self.options;
        http::request(&http::host_field(
            options.host.as_deref(),
            options.address,
            options.port,
        ))
    }

    fn tls_hello(&self) -> Vec<u8> {
        let alpn = if NO_HTTP_INSIDE.contains(&self.options.port) {
            Alpn::NotOffered
        } else {
            Alpn::Http
        };
        tls::client_hello(HelloOptions {
            server_name: self.options.host.as_deref().and_then(http::dns_name),
            alpn,
            seed: self.options.seed,
        })
    }

    fn wait_for(&mut self, wait: Duration) -> Step {
        self.wait = wait;
        Step::Wait(wait)
    }

    fn greeting_wait(&self) -> Duration {
        let port = self.options.port;
        if TLS_FIRST.contains(&port) || HTTP_USUAL.contains(&port) {
            self.wait_of(GREETING_SHORT, 2, GREETING_MAX)
        } else {
            self.wait_of(GREETING, 4, GREETING_MAX)
        }
    }

    fn reply_wait(&self) -> Duration {
        self.wait_of(REPLY, 4, REPLY_MAX)
    }

    fn quiet_wait(&self) -> Duration {
        self.wait_of(QUIET, 2, QUIET_MAX)
    }

    fn wait_of(&self, base: Duration, round_trips: u32, longest: Duration) -> Duration {
        let rtt = self.options.rtt.unwrap_or(RTT_UNKNOWN);
        base.saturating_add(rtt.saturating_mul(round_trips))
            .min(longest)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Enough,
    More,
}

/// Taken for the round-trip time when none was measured.
const RTT_UNKNOWN: Duration = Duration::from_millis(100);
const GREETING: Duration = Duration::from_millis(350);
const GREETING_SHORT: Duration = Duration::from_millis(150);
const GREETING_MAX: Duration = Duration::from_millis(1500);
const REPLY: Duration = Duration::from_millis(1500);
const REPLY_MAX: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(250);
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Ports whose servers usually speak TLS from the first byte (IANA registry and common practice).
const TLS_FIRST: [u16; 21] = [
    443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2376, 3269, 5061, 5671, 6443, 6697,
    8443, 8883, 9443, 10250,
];

/// Of these, the ports for protocols other than HTTP: a server there may refuse a hello that
/// offers only HTTP (RFC 7301 §3.2).
const NO_HTTP_INSIDE: [u16; 15] = [
    465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 3269, 5061, 5671, 6697, 8883,
];

/// Ports whose servers usually speak HTTP, and so wait to be asked.
const HTTP_USUAL: [u16; 16] = [
    80, 81, 591, 631, 3000, 3128, 5000, 5985, 8000, 8008, 8080, 8081, 8088, 8888, 9090, 9200,
];

#[cfg(test)]
mod tests;
