//! The part of a card that is about TCP: where a service usually stands, what it is asked, how TLS
//! begins in it, and the fingerprints of its servers.
//!
//! What is not here: what a fingerprint is (`fingerprint`), and which one wins (`matcher`).

use crate::fingerprint::{Entry, Fingerprint, compile};
use crate::form::{Asker, Sends};
use portolan_model::PortSet;
use regex::bytes::Regex;
use serde::Deserialize;

/// What was asked before something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuestionId {
    /// An HTTP request for `/`.
    Http,
    /// Nothing: the server spoke first.
    Nothing,
    /// A question of a card.
    Of {
        /// Number of the card.
        card: u16,
        /// Number of the question on it.
        number: u16,
    },
    /// A TLS hello.
    Tls,
}

/// What is asked of a port whose service is not known yet.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its number.
    pub id: QuestionId,
    /// What it asks, in words.
    pub asks: String,
    /// The lower, the earlier it is asked on a port of no known service; `None`: only on its own.
    pub rank: Option<u16>,
    /// It is asked on the same connection after a greeting like this, which alone proves nothing.
    greeted: Option<Regex>,
    sends: Sends,
}

/// What is asked once the service is known, in order, on a connection that has seen nothing else.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Its number.
    pub id: QuestionId,
    /// What it asks, in words.
    pub asks: String,
    /// It is asked when what was said on this connection so far matches.
    when: Option<Regex>,
    /// What ends the reply.
    ends: Option<Regex>,
    /// TLS begins after a reply like this.
    starts_tls: Option<Regex>,
    sends: Sends,
}

/// A page that shows an HTTP application.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its number.
    pub id: QuestionId,
    /// Its path.
    pub path: String,
    /// It is asked on these ports,
    ports: PortSet,
    /// and where the reply to `/` matches.
    when: Option<Regex>,
}

/// What is known of a service over TCP.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Ports where it usually stands.
    pub ports: PortSet,
    /// Ports where it usually stands inside TLS.
    pub tls_ports: PortSet,
    /// What people call it inside TLS, where that is another word.
    pub tls_label: Option<String>,
    /// The protocol of an application (`http`); `None`: the card is the protocol's own.
    pub speaks: Option<String>,
    /// The server speaks first.
    pub greets: bool,
    /// What it is asked.
    pub asks: Vec<Ask>,
    /// What is asked once it is known.
    pub follows: Vec<Follow>,
    /// Pages of an HTTP application.
    pub pages: Vec<Page>,
    bye: Option<Sends>,
    pub(crate) shows: Vec<Fingerprint>,
}

impl Tcp {
    /// What ends a conversation in order, where the protocol has a word for it.
    pub fn bye(&self, asker: &Asker) -> Option<Vec<u8>> {
        self.bye.as_ref().map(|bye| bye.bytes(asker))
    }
}

impl Ask {
    /// Its bytes.
    pub fn bytes(&self, asker: &Asker) -> Vec<u8> {
        self.sends.bytes(asker)
    }

    /// Whether it is asked after greetings alone.
    pub const fn is_for_greetings(&self) -> bool {
        self.greeted.is_some()
    }

    /// Whether it is asked after this greeting.
    pub fn follows_greeting(&self, greeting: &[u8]) -> bool {
        self.greeted
            .as_ref()
            .is_some_and(|it| it.is_match(greeting))
    }
}

impl Follow {
    /// Its bytes.
    pub fn bytes(&self, asker: &Asker) -> Vec<u8> {
        self.sends.bytes(asker)
    }

    /// Whether it is asked after what was said on this connection.
    pub fn is_asked_after(&self, said: &[u8]) -> bool {
        self.when.as_ref().is_none_or(|it| it.is_match(said))
    }

    /// Whether a reply is whole.
    pub fn is_ended_by(&self, reply: &[u8]) -> bool {
        let ends = |it: &Option<Regex>| it.as_ref().is_some_and(|it| it.is_match(reply));
        ends(&self.ends) || ends(&self.starts_tls)
    }

    /// Whether it asks for TLS.
    pub const fn is_for_tls(&self) -> bool {
        self.starts_tls.is_some()
    }

    /// Whether TLS begins after this reply.
    pub fn starts_tls(&self, reply: &[u8]) -> bool {
        self.starts_tls
            .as_ref()
            .is_some_and(|it| it.is_match(reply))
    }
}

impl Page {
    /// Whether it is asked on `port`, where `/` answered `reply`.
    pub fn is_asked(&self, port: u16, reply: &[u8]) -> bool {
        self.ports.contains(port) || self.when.as_ref().is_some_and(|it| it.is_match(reply))
    }
}

/// The keys of a card that are about TCP.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpFile {
    #[serde(default)]
    ports: String,
    #[serde(default)]
    tls_ports: String,
    tls_label: Option<String>,
    speaks: Option<String>,
    #[serde(default)]
    greets: bool,
    #[serde(default)]
    ask: Vec<AskEntry>,
    #[serde(default)]
    follow: Vec<FollowEntry>,
    #[serde(default)]
    page: Vec<PageEntry>,
    bye: Option<String>,
    #[serde(default)]
    shows: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskEntry {
    id: Option<String>,
    asks: String,
    send: String,
    rank: Option<u16>,
    greeted: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowEntry {
    id: String,
    asks: String,
    send: String,
    when: Option<String>,
    ends: Option<String>,
    starts_tls: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageEntry {
    path: String,
    #[serde(default)]
    ports: String,
    when: Option<String>,
}

impl Tcp {
    /// Reads the TCP part of the card with this number, name and text.
    pub(super) fn parse(file: TcpFile, card: u16, name: &str, text: &str) -> Result<Self, String> {
        let mut names: Vec<String> = Vec::new();
        let mut id = |name: &str| {
            let number = u16::try_from(names.len()).unwrap_or(u16::MAX);
            names.push(name.to_owned());
            QuestionId::Of { card, number }
        };
        let regex = |pattern: &Option<String>| pattern.as_deref().map(compile).transpose();
        let mut asks = Vec::new();
        for entry in file.ask {
            asks.push(Ask {
                id: id(entry.id.as_deref().unwrap_or(name)),
                asks: entry.asks,
                rank: entry.rank,
                greeted: regex(&entry.greeted)?,
                sends: Sends::parse(&entry.send)?,
            });
        }
        let mut follows = Vec::new();
        for entry in file.follow {
            follows.push(Follow {
                id: id(&entry.id),
                asks: entry.asks,
                when: regex(&entry.when)?,
                ends: regex(&entry.ends)?,
                starts_tls: regex(&entry.starts_tls)?,
                sends: Sends::parse(&entry.send)?,
            });
        }
        let mut pages = Vec::new();
        for entry in file.page {
            pages.push(Page {
                id: id(&entry.path),
                ports: ports(entry.ports)?,
                when: regex(&entry.when)?,
                path: entry.path,
            });
        }
        let question = |wanted: &str| match wanted {
            "nothing" => Some(QuestionId::Nothing),
            "http" => Some(QuestionId::Http),
            "tls" => Some(QuestionId::Tls),
            wanted => {
                let number = names.iter().position(|name| name == wanted)?;
                let number = u16::try_from(number).ok()?;
                Some(QuestionId::Of { card, number })
            }
        };
        let shows = file.shows.into_iter();
        let shows = shows.map(|entry| Fingerprint::parse(entry, text, question));
        Ok(Self {
            ports: ports(file.ports)?,
            tls_ports: ports(file.tls_ports)?,
            tls_label: file.tls_label,
            speaks: file.speaks,
            greets: file.greets,
            asks,
            follows,
            pages,
            bye: file.bye.as_deref().map(Sends::parse).transpose()?,
            shows: shows.collect::<Result<_, _>>()?,
        })
    }
}

/// An empty text is no port.
fn ports(text: String) -> Result<PortSet, String> {
    if text.is_empty() {
        return Ok(PortSet::default());
    }
    PortSet::try_from(text)
}
