//! Cards of services: which ports a service uses, what is asked there, and which reply proves it.
//! The cards are the files in `data/services/`; every reply carries an example that has its form
//! and one that has not, and so does every fingerprint.
//!
//! Nothing here sends anything.

use crate::form::{Asker, Form, ID_BYTES, Sends};
use crate::matcher::{Matcher, Recognition};
use portolan_model::{PortSet, Text};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

mod embedded;
mod examples;
mod tcp;

pub use examples::faults;
pub use tcp::{Ask, Follow, Page, QuestionId, Tcp};

/// What is known of a service.
#[derive(Clone, Debug)]
pub struct Card {
    /// Name of the protocol (`dns`).
    pub name: String,
    /// What people read, where it is another word.
    pub label: String,
    /// Specifications that the questions and replies are made from.
    pub source: String,
    /// What is known of it over TCP.
    pub tcp: Tcp,
    questions: Vec<Question>,
    silent: Vec<Silence>,
    untouched: Vec<Silence>,
}

/// A question over UDP.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where it is asked.
    pub ports: PortSet,
    /// What it asks, in words.
    pub asks: String,
    /// The version of IP that the protocol is for, where it is for one only.
    pub ip: Option<u8>,
    /// The only port that services answer to, where there is one.
    pub from_port: Option<u16>,
    /// The answer comes from another port of the same host.
    pub answers_elsewhere: bool,
    /// Devices that speak this are known to fail easily: asked only where the user names the port.
    pub is_fragile: bool,
    sends: Sends,
    replies: Vec<ReplyForm>,
}

/// Ports of a service that is not asked, and why.
#[derive(Clone, Debug)]
pub struct Silence {
    /// The ports.
    pub ports: PortSet,
    /// Why.
    pub why: String,
}

/// What a reply shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The part of the reply that is worth showing, or what it says in our words.
    pub evidence: Text,
}

/// A question and the card it stands on.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The card.
    pub card: &'static Card,
    /// The question.
    pub question: &'static Question,
}

#[derive(Clone, Debug)]
struct ReplyForm {
    form: Form,
    says: String,
    /// A reply that has this form.
    example: Sends,
    /// One that has not.
    counter: Sends,
}

/// A card that cannot be read. The files are part of the program; a test reads them all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct CardError {
    /// Name of the file.
    pub file: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// Most questions to one port.
pub const QUESTIONS_MAX: usize = 4;

/// All cards, by file name.
pub fn cards() -> &'static [Card] {
    &CATALOGUE.cards
}

/// What is asked at a UDP port, at most [`QUESTIONS_MAX`] questions; nothing where no service is
/// known.
pub fn questions(port: u16) -> Vec<Asked> {
    let found = CATALOGUE.by_port.get(&port);
    let places = found.into_iter().flatten();
    let asked = places.filter_map(|(card, question)| {
        let card = CATALOGUE.cards.get(*card)?;
        let question = card.questions.get(*question)?;
        Some(Asked { card, question })
    });
    asked.take(QUESTIONS_MAX).collect()
}

/// Ports that have a question, without those of fragile devices.
pub fn udp_ports() -> PortSet {
    let questions = cards().iter().flat_map(|card| &card.questions);
    let robust = questions.clone().filter(|it| !it.is_fragile);
    let all = PortSet::union_of(robust.map(|it| it.ports.clone()));
    all.without(&fragile_udp_ports())
}

/// Ports of devices that are known to fail easily: probed only where the user names them.
pub fn fragile_udp_ports() -> PortSet {
    let questions = cards().iter().flat_map(|card| &card.questions);
    let fragile = questions.filter(|it| it.is_fragile);
    PortSet::union_of(fragile.map(|it| it.ports.clone()))
}

/// Ports that get nothing over UDP, because what stands there acts on whatever it is sent and no
/// safe question is known.
pub fn untouched_udp_ports() -> PortSet {
    let untouched = cards().iter().flat_map(|card| &card.untouched);
    PortSet::union_of(untouched.map(|it| it.ports.clone()))
}

/// Why the service that usually stands on a UDP port answers nobody it does not know; `None` where
/// none is known.
pub fn silence(port: u16) -> Option<&'static str> {
    let mut silences = silences().map(|(_, silence)| silence);
    let silence = silences.find(|silence| silence.ports.contains(port))?;
    Some(silence.why.as_str())
}

/// Ports of services that answer nobody they do not know, with the reason.
pub fn silences() -> impl Iterator<Item = (&'static Card, &'static Silence)> {
    let silences = |card: &'static Card| card.silent.iter().map(move |it| (card, it));
    cards().iter().flat_map(silences)
}

/// The card of a number that a [`crate::matcher::Known`] carries.
pub fn card(number: usize) -> Option<&'static Card> {
    CATALOGUE.cards.get(number)
}

/// The card of a protocol.
pub fn protocol(name: &str) -> Option<&'static Card> {
    let mut own = cards().iter().filter(|card| card.tcp.speaks.is_none());
    own.find(|card| card.name == name)
}

/// What is asked over TCP on any port, the likeliest first.
pub fn asks_by_rank() -> &'static [&'static Ask] {
    static RANKED: LazyLock<Vec<&'static Ask>> = LazyLock::new(|| {
        let asks = cards().iter().flat_map(|card| &card.tcp.asks);
        let mut ranked: Vec<&Ask> = asks.filter(|ask| ask.rank.is_some()).collect();
        ranked.sort_by_key(|ask| ask.rank);
        ranked
    });
    &RANKED
}

/// What `said` proves, when it was said after `after`; `None`: nothing that is known.
pub fn recognise(after: QuestionId, said: &[u8]) -> Option<Recognition> {
    CATALOGUE
        .matcher
        .recognise(&CATALOGUE.cards, after, said, None)
}

/// As [`recognise`], where it was said at `unix_s` (seconds since 1970), so that it may also be the
/// time.
pub fn recognise_at(after: QuestionId, said: &[u8], unix_s: u64) -> Option<Recognition> {
    let cards = &CATALOGUE.cards;
    CATALOGUE
        .matcher
        .recognise(cards, after, said, Some(unix_s))
}

impl Card {
    /// Its questions over UDP.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The protocol that it speaks.
    pub fn protocol(&self) -> &str {
        self.tcp.speaks.as_deref().unwrap_or(&self.name)
    }
}

impl Question {
    /// Whether every reply that stands as an example has its form, and every one that stands as
    /// none has not, when `asker` asked.
    pub fn holds(&self, asker: &Asker) -> bool {
        self.replies.iter().all(|known| {
            let has_form = |reply: &Sends| known.form.recognise(&asker.id, &reply.bytes(asker));
            has_form(&known.example).is_some() && has_form(&known.counter).is_none()
        })
    }

    /// Whether it can be asked at `target`.
    pub fn is_for(&self, target: IpAddr) -> bool {
        let version = if target.is_ipv4() { 4 } else { 6 };
        self.ip.is_none_or(|ip| ip == version)
    }

    /// Whether it names the address that it leaves from.
    pub fn names_source(&self) -> bool {
        self.sends.names_source()
    }

    /// The datagram that asks it.
    pub fn bytes(&self, asker: &Asker) -> Vec<u8> {
        self.sends.bytes(asker)
    }

    /// What `reply` shows, if it is an answer to this question asked with this number.
    pub fn recognise(&self, id: &[u8; ID_BYTES], reply: &[u8]) -> Option<Recognised> {
        self.replies.iter().find_map(|known| {
            let shown = known.form.recognise(id, reply)?;
            let evidence = match (shown.is_empty(), known.says.as_str()) {
                (true, "") => Text::from("answers"),
                (true, says) => Text::from(says),
                (false, "") => shown,
                (false, says) => Text::from(format!("{says}: {shown}")),
            };
            Some(Recognised { evidence })
        })
    }
}

#[derive(Default)]
struct Catalogue {
    cards: Vec<Card>,
    /// Number of the card and of the question on it.
    by_port: BTreeMap<u16, Vec<(usize, usize)>>,
    matcher: Matcher,
}

/// Empty when a card cannot be read, which the tests rule out for those that are embedded.
static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::read(embedded::FILES).unwrap_or_default());

impl Catalogue {
    fn read(files: &[(&'static str, &str)]) -> Result<Self, CardError> {
        let mut catalogue = Self::default();
        for (file, text) in files {
            let number = catalogue.cards.len();
            let card = Card::parse(text, u16::try_from(number).unwrap_or(u16::MAX))
                .map_err(|problem| CardError { file, problem })?;
            for (at, question) in card.questions.iter().enumerate() {
                for port in question.ports.iter() {
                    let places = catalogue.by_port.entry(port).or_default();
                    places.push((number, at));
                }
            }
            catalogue.cards.push(card);
        }
        catalogue.matcher = Matcher::new(&catalogue.cards).map_err(|problem| CardError {
            file: "all cards",
            problem,
        })?;
        Ok(catalogue)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    label: Option<String>,
    source: String,
    #[serde(default)]
    tcp: tcp::TcpFile,
    #[serde(default)]
    udp: Vec<AskEntry>,
    #[serde(default)]
    silent: Vec<SilentEntry>,
    #[serde(default)]
    untouched: Vec<SilentEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskEntry {
    ports: String,
    asks: String,
    send: String,
    ip: Option<u8>,
    from_port: Option<u16>,
    #[serde(default)]
    answers_elsewhere: bool,
    #[serde(default)]
    fragile: bool,
    reply: Vec<ReplyEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyEntry {
    is: String,
    says: String,
    example: String,
    #[serde(rename = "not")]
    counter: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SilentEntry {
    ports: String,
    why: String,
}

impl Card {
    fn parse(text: &str, number: u16) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let silences = |entries: Vec<SilentEntry>| {
            let silence = |entry: SilentEntry| {
                Ok(Silence {
                    ports: PortSet::try_from(entry.ports)?,
                    why: entry.why,
                })
            };
            let read: Result<Vec<Silence>, String> = entries.into_iter().map(silence).collect();
            read
        };
        let questions: Result<Vec<Question>, String> =
            file.udp.into_iter().map(Question::parse).collect();
        Ok(Self {
            label: file.label.unwrap_or_else(|| file.name.clone()),
            tcp: Tcp::parse(file.tcp, number, &file.name, text)?,
            name: file.name,
            source: file.source,
            questions: questions?,
            silent: silences(file.silent)?,
            untouched: silences(file.untouched)?,
        })
    }
}

impl Question {
    fn parse(entry: AskEntry) -> Result<Self, String> {
        let reply = |entry: ReplyEntry| {
            Ok(ReplyForm {
                form: Form::parse(&entry.is)?,
                says: entry.says,
                example: Sends::parse(&entry.example)?,
                counter: Sends::parse(&entry.counter)?,
            })
        };
        let replies: Result<Vec<ReplyForm>, String> = entry.reply.into_iter().map(reply).collect();
        Ok(Self {
            ports: PortSet::try_from(entry.ports)?,
            asks: entry.asks,
            ip: entry.ip,
            from_port: entry.from_port,
            answers_elsewhere: entry.answers_elsewhere,
            is_fragile: entry.fragile,
            sends: Sends::parse(&entry.send)?,
            replies: replies?,
        })
    }
}

#[cfg(test)]
mod tests;
