//! Which questions a port is asked, and in which order: the likeliest for its number first, then
//! HTTP and a TLS hello, then the rest. The number decides the order and is never part of a
//! conclusion.

use crate::tls::Newest;
use crate::trail::Tried;
use portolan_catalog::services::{self, Ask, Card, QuestionId};
use std::collections::VecDeque;

/// What is done on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// The question of a card.
    Ask(&'static Ask, Hurry),
    /// A TLS hello.
    Hello(Newest, Hurry),
    /// An HTTP request for `/`.
    Http(Hurry),
    /// Nothing is sent.
    Listen(Hurry),
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hurry {
    /// A short while, so that the next question gets its turn.
    Fast,
    /// As long as slow servers need.
    Patient,
    /// As long as most servers need.
    Usual,
}

/// Whether the questions go in clear or inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// In clear.
    Clear,
    /// Inside TLS.
    Tls,
}

impl Task {
    /// What an answer comes after.
    pub(super) const fn id(self) -> QuestionId {
        match self {
            Self::Ask(ask, _) => ask.id,
            Self::Hello(..) => QuestionId::Tls,
            Self::Http(_) => QuestionId::Http,
            Self::Listen(_) => QuestionId::Nothing,
        }
    }

    /// What it is called in the end.
    pub(super) fn tried(self) -> Tried {
        match self {
            Self::Ask(ask, _) => Tried::Card(name_of(ask)),
            Self::Hello(..) => Tried::Tls,
            Self::Http(_) => Tried::Http,
            Self::Listen(_) => Tried::Listen,
        }
    }

    pub(super) const fn is_listen(self) -> bool {
        matches!(self, Self::Listen(_))
    }
}

/// What is asked on `port`, in order.
pub(super) fn plan(port: u16, channel: Channel) -> VecDeque<Task> {
    let usual = usual(port, channel);
    let is_mail = is_tls_usual(port);
    let mut tasks = VecDeque::new();
    tasks.push_back(Task::Listen(Hurry::Fast));
    let own = usual.iter().flat_map(|card| &card.tcp.asks);
    let own: Vec<&'static Ask> = own.filter(|ask| !ask.is_for_greetings()).collect();
    tasks.extend(own.iter().map(|ask| Task::Ask(ask, Hurry::Patient)));
    let is_http = usual.iter().any(|card| card.protocol() == HTTP);
    let http = Task::Http(if is_http { Hurry::Patient } else { Hurry::Fast });
    if channel == Channel::Clear {
        let is_tls = is_tls_usual(port);
        let hurry = if is_tls { Hurry::Patient } else { Hurry::Fast };
        let hello = Task::Hello(Newest::Tls13, hurry);
        if is_tls && !is_http {
            tasks.insert(1, hello);
            tasks.push_back(http);
        } else {
            tasks.push_back(http);
            tasks.push_back(hello);
        }
        tasks.push_back(Task::Hello(Newest::Tls12, Hurry::Fast));
    } else if !is_mail || is_http {
        tasks.push_back(http);
    }
    let ranked = services::asks_by_rank().iter().copied();
    let rest = ranked.filter(|ask| own.iter().all(|own| own.id != ask.id));
    tasks.extend(rest.take(REST_MAX).map(|ask| Task::Ask(ask, Hurry::Fast)));
    if channel == Channel::Tls && is_mail && !is_http {
        // On a port for mail and the like a request is noise in the server's log: last.
        tasks.push_back(http);
    }
    tasks
}

/// What a port is asked on which nothing but silence was heard.
pub(super) fn patient_plan() -> VecDeque<Task> {
    VecDeque::from([Task::Listen(Hurry::Patient), Task::Http(Hurry::Patient)])
}

/// Whether a server that usually stands on `port` speaks first.
pub(super) fn greets(port: u16, channel: Channel) -> bool {
    usual(port, channel).iter().any(|card| card.tcp.greets)
}

/// Whether servers that usually stand on `port` wait to be asked.
pub(super) fn waits(port: u16, channel: Channel) -> bool {
    let usual = usual(port, channel);
    let tls = channel == Channel::Clear && is_tls_usual(port);
    tls || !usual.is_empty() && usual.iter().all(|card| !card.tcp.greets)
}

/// Whether what stands inside TLS on `port` may be HTTP: on a port for mail and the like a request is
/// noise in the server's log.
pub(super) fn may_hold_http(port: u16) -> bool {
    let usual = usual(port, Channel::Tls);
    usual.is_empty() || usual.iter().any(|card| card.protocol() == HTTP)
}

/// The cards of what usually stands on `port`.
fn usual(port: u16, channel: Channel) -> Vec<&'static Card> {
    let is_usual = |card: &&Card| match channel {
        Channel::Clear => card.tcp.ports.contains(port),
        Channel::Tls => card.tcp.tls_ports.contains(port) || card.tcp.ports.contains(port),
    };
    services::cards()
        .iter()
        .filter(is_usual)
        .take(USUAL_MAX)
        .collect()
}

fn is_tls_usual(port: u16) -> bool {
    let mut cards = services::cards().iter();
    cards.any(|card| card.tcp.tls_ports.contains(port) && !card.tcp.ports.contains(port))
}

/// The name of the card that a question stands on.
fn name_of(ask: &'static Ask) -> &'static str {
    let QuestionId::Of { card, .. } = ask.id else {
        return "";
    };
    services::card(usize::from(card)).map_or("", |card| card.name.as_str())
}

pub(super) const HTTP: &str = "http";
/// Cards whose questions come first on a port.
const USUAL_MAX: usize = 4;
/// Questions of cards that any silent port is asked.
const REST_MAX: usize = 44;
