//! Which service what a peer said proves: all fingerprints at once, the most specific first.
//!
//! What is not here: what is asked, and when (the crate `identify`).

use crate::fingerprint::{Fingerprint, Part, Proven};
use crate::services::{Card, QuestionId};
use portolan_model::Text;
use regex::bytes::RegexSet;

/// What something that was said proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// One service.
    One(Known),
    /// It fits these services equally well, so it proves none of them.
    Tie(Vec<String>),
}

/// A service, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Number of the card whose fingerprint matched.
    pub card: usize,
    /// The protocol.
    pub protocol: String,
    /// Product, where it is disclosed.
    pub product: Option<Text>,
    /// Version, where it is disclosed.
    pub version: Option<Text>,
    /// Operating system, where it is named.
    pub os: Option<Text>,
    /// How sure the protocol is, 0 to 100.
    pub confidence: u8,
    /// Nothing that may follow on the same connection would tell more.
    pub is_final: bool,
    /// The bytes that matched.
    pub shown: Vec<u8>,
    /// Other products that fit equally well; the product is not named then.
    pub rivals: Vec<String>,
}

/// The fingerprints of all cards.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    sets: Vec<Set>,
}

/// The fingerprints about one part of a reply.
#[derive(Debug)]
struct Set {
    part: Part,
    patterns: RegexSet,
    /// Number of the card, and of the fingerprint on it.
    places: Vec<(usize, usize)>,
}

/// Whether a match has something that makes it more specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    No,
    Yes,
}

impl From<bool> for Has {
    fn from(has: bool) -> Self {
        if has { Self::Yes } else { Self::No }
    }
}

/// The larger wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The card of an application.
    application: Has,
    product: Has,
    version: Has,
    /// It answers a question of its own card.
    asked: Has,
    weight: usize,
}

impl Rank {
    /// Whether it comes so close to the best that another protocol may be meant: no product tells
    /// them apart, and it holds more than half as many fixed bytes.
    fn is_near(self, best: Self) -> bool {
        if self == best {
            return true;
        }
        let tells_apart = [
            self.product,
            best.product,
            self.application,
            best.application,
        ];
        let same = self.asked == best.asked && !tells_apart.contains(&Has::Yes);
        same && self.weight.saturating_mul(2) > best.weight
    }
}

struct Candidate<'a> {
    rank: Rank,
    card: usize,
    protocol: &'a str,
    fingerprint: &'a Fingerprint,
    proven: Proven,
}

/// Longest text that is matched, in bytes; what follows is not looked at.
pub const SAID_MAX: usize = 16 * 1024;
/// Matches of one text that are weighed; more are not expected.
const CANDIDATES_MAX: usize = 64;

impl Matcher {
    /// All fingerprints of `cards`.
    pub(crate) fn new(cards: &[Card]) -> Result<Self, String> {
        let parts = [Part::Body, Part::Head, Part::Reply, Part::Server];
        let sets = parts.into_iter().map(|part| {
            let mut places = Vec::new();
            let mut patterns = Vec::new();
            for (number, card) in cards.iter().enumerate() {
                for (at, fingerprint) in card.tcp.shows.iter().enumerate() {
                    if fingerprint.part == part {
                        places.push((number, at));
                        patterns.push(fingerprint.source.as_str());
                    }
                }
            }
            let built = regex::bytes::RegexSetBuilder::new(&patterns)
                .unicode(false)
                .size_limit(SET_BYTES_MAX)
                .build();
            let patterns = built.map_err(|error| error.to_string())?;
            Ok(Set {
                part,
                patterns,
                places,
            })
        });
        let sets: Result<Vec<Set>, String> = sets.collect();
        Ok(Self { sets: sets? })
    }

    /// What `said` proves, said after `after` at `unix_s`.
    pub(crate) fn recognise(
        &self,
        cards: &[Card],
        after: QuestionId,
        said: &[u8],
        unix_s: Option<u64>,
    ) -> Option<Recognition> {
        let said = said.get(..SAID_MAX).unwrap_or(said);
        let mut found = self.candidates(cards, after, said, unix_s);
        found.sort_by_key(|it| std::cmp::Reverse(it.rank));
        let best = found.first()?;
        let equals = found.iter().filter(|it| it.rank.is_near(best.rank));
        let mut names: Vec<String> = equals.map(|it| it.protocol.to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            return Some(Recognition::Tie(names));
        }
        Some(Recognition::One(known(&found, best)))
    }

    fn candidates<'a>(
        &self,
        cards: &'a [Card],
        after: QuestionId,
        said: &[u8],
        unix_s: Option<u64>,
    ) -> Vec<Candidate<'a>> {
        let mut found = Vec::new();
        for set in &self.sets {
            let Some(part) = part(said, set.part) else {
                continue;
            };
            for at in set.patterns.matches(part).into_iter().take(CANDIDATES_MAX) {
                let Some((card, number)) = set.places.get(at).copied() else {
                    continue;
                };
                let Some(of) = cards.get(card) else { continue };
                let Some(fingerprint) = of.tcp.shows.get(number) else {
                    continue;
                };
                if !(fingerprint.after.is_empty() || fingerprint.after.contains(&after)) {
                    continue;
                }
                let Some(proven) = fingerprint.prove(part, unix_s) else {
                    continue;
                };
                found.push(Candidate {
                    rank: Rank {
                        application: of.tcp.speaks.is_some().into(),
                        product: proven.product.is_some().into(),
                        version: proven.version.is_some().into(),
                        asked: (matches!(after, QuestionId::Of { .. })
                            && fingerprint.after.contains(&after))
                        .into(),
                        weight: fingerprint.weight,
                    },
                    card,
                    protocol: of.protocol(),
                    fingerprint,
                    proven,
                });
            }
        }
        found
    }
}

/// What the best of several matches says, with what others of the same protocol add.
fn known(found: &[Candidate<'_>], best: &Candidate<'_>) -> Known {
    let same = || found.iter().filter(|it| it.protocol == best.protocol);
    let equals = same().filter(|it| it.rank == best.rank);
    let mut products: Vec<&Text> = equals.filter_map(|it| it.proven.product.as_ref()).collect();
    products.sort_unstable_by_key(|it| it.as_str());
    products.dedup();
    let is_one = products.len() <= 1;
    let rivals = products.into_iter().map(|it| it.as_str().to_owned());
    let agree = |it: &&Candidate<'_>| it.proven.product == best.proven.product;
    let product = best.proven.product.clone().filter(|_| is_one);
    let version = || {
        same()
            .filter(agree)
            .find_map(|it| it.proven.version.clone())
    };
    Known {
        card: best.card,
        protocol: best.protocol.to_owned(),
        version: version().filter(|_| product.is_some()),
        product,
        os: same().find_map(|it| it.proven.os.clone()),
        confidence: best.fingerprint.confidence,
        is_final: best.fingerprint.is_final,
        shown: best.proven.shown.clone(),
        rivals: if is_one { Vec::new() } else { rivals.collect() },
    }
}

/// A part of what was said; `None` where it has no such part.
pub(crate) fn part(said: &[u8], part: Part) -> Option<&[u8]> {
    if part == Part::Reply {
        return Some(said);
    }
    if !said.starts_with(b"HTTP/1.") {
        return None;
    }
    let blank = said.windows(4).position(|it| it == b"\r\n\r\n");
    let (end, skip) = match blank {
        Some(at) => (at, 4),
        None => match said.windows(2).position(|it| it == b"\n\n") {
            Some(at) => (at, 2),
            None => (said.len(), 0),
        },
    };
    let (head, rest) = said.split_at_checked(end)?;
    match part {
        Part::Body => rest.get(skip..),
        Part::Head | Part::Reply => Some(head),
        Part::Server => {
            let lines = head.split(|byte| *byte == b'\n').skip(1);
            lines.into_iter().find_map(server_value)
        }
    }
}

fn server_value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(b"server:".len())?;
    name.eq_ignore_ascii_case(b"server:")
        .then(|| value.trim_ascii())
}

/// Size of the compiled sets; the lazily built tables have bounds of their own.
const SET_BYTES_MAX: usize = 64 * 1024 * 1024;
