//! What a reply means for the course of a look: the service is known, or TLS is shown, or the
//! search goes on; and what a known service is asked further.

use super::plan::{self, Channel, HTTP, Hurry, Task};
use super::{CONNECTION_READ_MAX, Look, Purpose, Sends, State, Step};
use crate::hearing::{self, After, Heard, Speech};
use crate::http::{self, Ending, Wants};
use crate::tls;
use crate::trail::Tried;
use portolan_catalog::matcher::{Known, Recognition};
use portolan_catalog::services::{self, Card, Follow, Page, QuestionId};
use portolan_model::Text;
use std::collections::VecDeque;

impl Look {
    /// Judges what was received since the last question, and says what comes next; `None` while
    /// more bytes are needed, or when there are none.
    pub(super) fn hear(&mut self, purpose: Purpose, ending: Ending) -> Option<Step> {
        if self.connection.received.is_empty() {
            return None;
        }
        match purpose {
            Purpose::Follow(card, at) => self.hear_follow(card, at, ending),
            Purpose::Greeting(card, at) => {
                let length = greeting_length(&self.connection.received, ending)?;
                let greeting = self.take(length);
                self.note(QuestionId::Nothing, &greeting);
                Some(self.follow(card, at))
            }
            Purpose::Page(page) => {
                let heard = self.understand(page.id, ending)?;
                let said = self.connection.received.clone();
                self.keep(page.id, &said);
                if let Speech::Http(reply, Some(known)) = heard.speech {
                    let shown = page_evidence(page, &reply, &known);
                    self.found.add(*known, shown);
                }
                Some(self.next())
            }
            Purpose::Search(task) => {
                let heard = self.understand(task.id(), ending)?;
                Some(self.search(task, heard))
            }
        }
    }

    /// Takes the bytes of an unfinished reply for what they are.
    pub(super) fn hear_the_rest(&mut self) {
        let State::Reading(purpose) = self.state else {
            return;
        };
        if self.connection.received.is_empty() {
            return;
        }
        let after = match purpose {
            Purpose::Follow(card, at) => match card.tcp.follows.get(at) {
                Some(follow) => follow.id,
                None => return,
            },
            Purpose::Greeting(..) => QuestionId::Nothing,
            Purpose::Page(page) => page.id,
            Purpose::Search(task) => task.id(),
        };
        let Some(heard) = self.understand(after, Ending::Ended) else {
            return;
        };
        let said = self.connection.received.clone();
        self.keep(after, &said);
        match heard.speech {
            Speech::Http(reply, known) => {
                if let Purpose::Search(_) = purpose {
                    self.take_http(reply, known);
                }
            }
            Speech::Known(known, shown) => self.found.add(*known, shown),
            Speech::Tie(names, shown) => self.tie(&names, shown),
            Speech::Tls(reply) => self.found.tls = Some(reply),
            Speech::Unproven(text) => {
                self.found.unproven.get_or_insert(text);
            }
        }
    }

    fn understand(&mut self, after: QuestionId, ending: Ending) -> Option<Heard> {
        let after = After {
            question: after,
            unix_s: self.options.unix_s,
        };
        let connection = &mut self.connection;
        let earlier = connection.before.len();
        let limit = CONNECTION_READ_MAX.saturating_sub(earlier).max(1);
        let (received, judged) = (&connection.received, &mut connection.judged);
        hearing::understand(received, limit, after, ending, judged)
    }

    /// The search heard something.
    fn search(&mut self, task: Task, heard: Heard) -> Step {
        match heard.speech {
            Speech::Tls(reply) => self.enter_tls(reply),
            Speech::Http(reply, known) => {
                let said = self.connection.received.clone();
                self.keep(task.id(), &said);
                if !matches!(task, Task::Http(_)) && self.asks_http_next(&reply, known.as_deref()) {
                    return self.next();
                }
                let wants_tls = reply.wants == Wants::Tls || reply.status == 400;
                let may_be_inside = self.channel == Channel::Clear && self.found.tls.is_none();
                self.take_http(reply, known);
                if wants_tls && may_be_inside && self.trail.count(Tried::Tls) == 0 {
                    // A refused request may mean that it should have come over TLS.
                    self.pages.clear();
                    return self.ask_for_tls();
                }
                self.next()
            }
            Speech::Known(known, shown) => {
                let card = services::protocol(&known.protocol);
                let own = matches!((task, card), (Task::Ask(ask, _), Some(card))
                    if card.tcp.asks.iter().any(|it| it.id == ask.id));
                self.connection.is_spoiled &= !own;
                let said = self.take(heard.decided_by);
                self.keep(task.id(), &said);
                self.found.add(*known, shown);
                match card {
                    Some(card) => self.follow(card, 0),
                    None => self.done(),
                }
            }
            Speech::Tie(names, shown) => {
                self.tie(&names, shown);
                self.go_on_after(task)
            }
            Speech::Unproven(text) => {
                if self.found.unproven.is_none() && !task.is_listen() {
                    // It may have been a greeting that came late.
                    self.tasks.push_front(Task::Listen(Hurry::Usual));
                }
                self.found.unproven.get_or_insert(text);
                self.go_on_after(task)
            }
        }
    }

    /// HTTP was the answer to another question: it is asked in its own words, once.
    fn asks_http_next(&mut self, reply: &http::Reply, known: Option<&Known>) -> bool {
        if self.found.in_passing.is_some() || self.options.sends == Sends::Never {
            return false;
        }
        self.found.in_passing = Some((reply.clone(), known.cloned()));
        self.tasks.push_front(Task::Http(Hurry::Patient));
        true
    }

    /// Something was said that proves no service.
    fn go_on_after(&mut self, task: Task) -> Step {
        if self.options.sends == Sends::Never {
            return self.done();
        }
        let is_greeting = task.is_listen();
        let said = &self.connection.received;
        let asks = services::cards().iter().flat_map(|card| &card.tcp.asks);
        let mut greeted = asks.filter(|ask| is_greeting && ask.follows_greeting(said));
        let first = greeted.next();
        if is_greeting {
            // Whoever spoke by itself is asked no more than that.
            self.tasks = greeted.map(|ask| Task::Ask(ask, Hurry::Patient)).collect();
        } else if let Task::Ask(ask, _) = task
            && ask.is_for_greetings()
            && self.tasks.is_empty()
        {
            return self.done();
        }
        match first {
            Some(_) if self.connection.is_over => self.done(),
            Some(ask) => self.begin(Purpose::Search(Task::Ask(ask, Hurry::Patient))),
            None => self.next(),
        }
    }

    fn tie(&mut self, names: &[String], shown: Text) {
        let why = format!("what it says fits equally well: {}", names.join(", "));
        self.found.miss("service.name", Text::from(why));
        self.found.unproven.get_or_insert(shown);
    }

    /// The port speaks TLS: what is inside?
    fn enter_tls(&mut self, reply: tls::Reply) -> Step {
        let is_first = self.found.tls.is_none();
        self.found.tls = Some(reply);
        if !is_first || self.options.sends == Sends::Never || self.channel == Channel::Tls {
            return self.next();
        }
        self.channel = Channel::Tls;
        self.found.in_clear = self.found.http.take();
        self.found.unproven = None;
        self.tasks = plan::plan(self.options.port, Channel::Tls);
        self.next()
    }

    fn ask_for_tls(&mut self) -> Step {
        self.found.refused = self.found.known.take();
        let hello = Task::Hello(tls::Newest::Tls13, Hurry::Patient);
        self.tasks = VecDeque::new();
        self.reconnect(Purpose::Search(hello))
    }

    /// A reply to a request for `/`, and the pages that may tell more.
    fn take_http(&mut self, reply: http::Reply, known: Option<Box<Known>>) {
        let mut evidence: String = reply.evidence().into();
        let received = &self.connection.received;
        let mut known = known.map(|known| *known);
        if let Some(known) = &known {
            let is_application =
                services::card(known.card).is_some_and(|card| card.tcp.speaks.is_some());
            let shown = Text::from_bytes(&known.shown);
            if is_application && shown.as_str().len() <= SHOWN_MAX {
                evidence = format!("{evidence} · {shown}");
            }
        }
        let wants_pages = known
            .as_ref()
            .is_none_or(|it| it.version.is_none() || !it.is_final);
        if wants_pages && self.options.sends == Sends::Allowed {
            let pages = services::cards().iter().flat_map(|card| &card.tcp.pages);
            let port = self.options.port;
            let asked = pages.filter(|page| page.is_asked(port, received));
            self.pages = asked.take(PAGES_MAX).collect();
        }
        if known.as_ref().is_some_and(|known| known.protocol != HTTP) {
            known = None;
        }
        if let Some(mut known) = known {
            if known.product.is_none() {
                (known.product, known.version) = reply.product();
            }
            self.found.known = Some((known, Text::from(evidence)));
        }
        self.found.http = Some(reply);
    }

    /// Goes on with what a known service is asked, from the question of this number on.
    pub(super) fn follow(&mut self, card: &'static Card, from: usize) -> Step {
        let follows = card.tcp.follows.iter().enumerate().skip(from);
        let clean = !self.connection.is_spoiled && !self.connection.is_over;
        let said = &self.connection.before;
        let inside = self.channel == Channel::Tls;
        let wanted = |(_, follow): &(usize, &Follow)| {
            let fits = !clean || follow.is_asked_after(said);
            fits && !(inside && follow.is_for_tls())
        };
        let next = follows.into_iter().find(|it| wanted(it)).map(|(at, _)| at);
        match next {
            None => self.leave(card),
            Some(_) if self.options.sends == Sends::Never => self.done(),
            Some(at) if clean => self.begin(Purpose::Follow(card, at)),
            // What stands was spoiled by the search, once; what has ended later has ended.
            Some(_) if from > 0 => self.done(),
            Some(at) if card.tcp.greets => self.reconnect(Purpose::Greeting(card, at)),
            Some(at) => self.reconnect(Purpose::Follow(card, at)),
        }
    }

    fn hear_follow(&mut self, card: &'static Card, at: usize, ending: Ending) -> Option<Step> {
        let Some(follow) = card.tcp.follows.get(at) else {
            return Some(self.done());
        };
        let received = &self.connection.received;
        if ending == Ending::Open && !follow.is_ended_by(received) {
            return None;
        }
        let starts_tls = follow.starts_tls(received);
        let length = received.len();
        let reply = self.take(length);
        self.note(follow.id, &reply);
        if starts_tls && !self.connection.is_over {
            self.state = State::Securing(Purpose::Follow(card, at));
            return Some(self.secure());
        }
        Some(self.follow(card, at.saturating_add(1)))
    }

    /// Adds what a further reply proves.
    fn note(&mut self, after: QuestionId, said: &[u8]) {
        self.keep(after, said);
        if let Some(Recognition::One(known)) = services::recognise(after, said) {
            let mut lines = known.shown.trim_ascii().rsplit(|byte| *byte == b'\n');
            let shown = hearing::evidence(lines.next().unwrap_or_default());
            self.found.add(known, shown);
        }
    }

    /// Ends the conversation in order, where the protocol has a word for it.
    pub(super) fn leave(&mut self, card: &Card) -> Step {
        let bye = card.tcp.bye(&self.asker());
        match bye {
            Some(bytes) if !self.connection.is_over && !self.connection.is_spoiled => {
                let step = self.send(bytes, self.quiet_wait());
                if !matches!(step, Step::Done) {
                    self.state = State::Leaving;
                }
                step
            }
            _ => self.done(),
        }
    }

    /// Takes the first bytes since the last question away from there.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let length = length.min(self.connection.received.len());
        let rest = self.connection.received.split_off(length);
        let taken = std::mem::replace(&mut self.connection.received, rest);
        self.connection.before.extend_from_slice(&taken);
        self.connection.judged = 0;
        taken
    }
}

/// How long a greeting is: to the end of the first line that does not say that more follow
/// (RFC 959 §4.2: digits and a hyphen).
fn greeting_length(received: &[u8], ending: Ending) -> Option<usize> {
    let mut start = 0_usize;
    for (at, byte) in received.iter().enumerate() {
        if *byte != b'\n' {
            continue;
        }
        let line = received.get(start..at).unwrap_or_default();
        let goes_on = matches!(line, [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..]);
        start = at.saturating_add(1);
        if !goes_on {
            return Some(start);
        }
    }
    (ending == Ending::Ended).then_some(received.len())
}

/// What a page shows of an application.
fn page_evidence(page: &Page, reply: &http::Reply, known: &Known) -> Text {
    let shown = Text::from_bytes(known.shown.get(..SHOWN_MAX).unwrap_or(&known.shown));
    Text::from(format!("GET {}: {} · {shown}", page.path, reply.status))
}

/// Longest matched text that is shown beside the status line, in bytes.
const SHOWN_MAX: usize = 120;
/// Pages that are asked for.
const PAGES_MAX: usize = 4;
