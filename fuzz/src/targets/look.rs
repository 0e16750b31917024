//! The first look and its parsers, against peers that say anything.

use portolan_catalog::matcher::Recognition;
use portolan_catalog::services::{self, QuestionId};
use portolan_identify::http::{self, Ending};
use portolan_identify::tls::{self, Parsed};
use portolan_identify::{
    CONNECTIONS_MAX, CONVERSATION_MAX, Input, Keeps, Look, LookOptions, Outcome, SENT_MAX,
    STEPS_MAX, Secured, Sends, Step,
};
use portolan_model::Text;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// How many prefixes of one input are parsed: the work grows with the square.
const PREFIXES_MAX: usize = 150;

/// What the first reading of a TLS reply decides stays decided.
pub(crate) fn tls_reply(data: &[u8]) {
    let mut decided: Option<Parsed> = None;
    for length in 0..=data.len().min(PREFIXES_MAX) {
        let now = tls::parse(data.get(..length).unwrap_or(data));
        match &decided {
            Some(before) => assert_eq!(before, &now, "at {length}"),
            None if matches!(now, Parsed::Incomplete { .. }) => {}
            None => decided = Some(now),
        }
    }
    let whole = tls::parse(data);
    if let Parsed::Tls(reply) = &whole {
        super::assert_printable(&reply.to_string());
    }
    assert!(decided.is_none_or(|before| before == whole));
}

/// What the first reading of an HTTP reply decides stays decided, and a reply is printable.
pub(crate) fn http_reply(data: &[u8]) {
    let window = 1024;
    let mut decided: Option<http::Parsed> = None;
    for length in 0..=data.len().min(PREFIXES_MAX) {
        let prefix = data.get(..length).unwrap_or(data);
        let now = http::parse(prefix, window, Ending::Open);
        match &decided {
            Some(before) => assert_eq!(before, &now, "at {length}"),
            None if now == http::Parsed::Incomplete => {}
            None => decided = Some(now),
        }
    }
    let whole = http::parse(data, window, Ending::Ended);
    assert_ne!(whole, http::Parsed::Incomplete, "an end is an end");
    assert!(decided.is_none_or(|before| before == whole));
    if let http::Parsed::Http(reply) = whole {
        assert!((100..=599).contains(&reply.status));
        assert!(!reply.evidence().is_empty());
        let (product, version) = reply.product();
        assert!(version.is_none() || product.is_some());
    }
}

/// Whatever is said: what it proves is printable, is the same each time, and has a version of a
/// product alone. The first byte chooses what was asked.
pub(crate) fn service_reply(data: &[u8]) {
    let Some((choice, said)) = data.split_first() else {
        return;
    };
    let after = match choice % 4 {
        0 => QuestionId::Nothing,
        1 => QuestionId::Http,
        2 => QuestionId::Tls,
        _ => QuestionId::Of {
            card: u16::from(choice >> 2),
            number: u16::from(choice & 1),
        },
    };
    let found = services::recognise_at(after, said, 1_800_000_000);
    assert_eq!(found, services::recognise_at(after, said, 1_800_000_000));
    match found {
        Some(Recognition::One(known)) => {
            assert!(!known.protocol.is_empty() && known.confidence <= 100);
            assert!(known.version.is_none() || known.product.is_some());
            for text in [&known.product, &known.version, &known.os]
                .into_iter()
                .flatten()
            {
                super::assert_printable(text.as_str());
                assert!(!text.is_empty());
            }
            assert!(known.product.is_none() || known.rivals.is_empty());
        }
        Some(Recognition::Tie(names)) => assert!(names.len() > 1),
        None => {}
    }
}

/// A peer that says up to three things, one on each connection: the outcome does not depend on
/// how they are cut into pieces, and nothing exceeds its limit. The first five bytes choose
/// options and pieces; the rest is split at 0x1e; the first byte of each part says when the peer
/// speaks and how the connection ends.
pub(crate) fn conversation(data: &[u8]) {
    let Some((header, script)) = data.split_first_chunk::<5>() else {
        return;
    };
    let [_, _, _, first, second] = *header;
    let talks: Vec<Talk<'_>> = script
        .split(|byte| *byte == 0x1e)
        .take(CONNECTIONS_MAX)
        .map(Talk::new)
        .collect();
    let pieces = [usize::from(first), usize::from(second)];
    let (whole, all_sent) = drive(options(*header), &talks, &[usize::MAX]);
    let (cut, sent) = drive(options(*header), &talks, &pieces);
    assert_eq!(whole, cut, "the result depends on the pieces {pieces:?}");
    assert_eq!(all_sent, sent);
    check_outcome(&whole);
}

/// Inputs in any order, also against the contract.
pub(crate) fn inputs(data: &[u8]) {
    let Some((header, mut rest)) = data.split_first_chunk::<5>() else {
        return;
    };
    let options = options(*header);
    let never = options.sends == Sends::Never;
    let mut look = Look::new(options);
    let (mut sent, mut connections) = (0, 1);
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        let input = match kind % 10 {
            8 => Input::SecureFailed(Text::from("no")),
            9 => Input::Secured(tls_1_3()),
            0 => Input::Closed,
            1 => Input::Reset,
            2 => Input::ConnectFailed,
            3 => Input::TimedOut,
            4 | 5 => Input::Connected,
            _ => {
                let length = usize::from(kind >> 3).min(rest.len());
                let (bytes, after) = rest.split_at(length);
                rest = after;
                Input::Bytes(bytes)
            }
        };
        match look.step(input) {
            Step::Send { bytes, .. } => sent += bytes.len(),
            Step::Reconnect => connections += 1,
            Step::Wait(wait) => assert!(wait <= CONVERSATION_MAX),
            Step::Done | Step::Secure { .. } => {}
        }
    }
    assert!(sent <= SENT_MAX && connections <= CONNECTIONS_MAX);
    assert!(!never || sent == 0);
    check_outcome(&look.finish());
}

fn options(header: [u8; 5]) -> LookOptions {
    let [flags, high, low, ..] = header;
    LookOptions {
        port: u16::from_be_bytes([high, low]),
        rtt: (flags & 1 != 0).then(|| Duration::from_millis(u64::from(flags) * 10)),
        sends: if flags & 6 == 6 {
            Sends::Never
        } else {
            Sends::Allowed
        },
        host: match flags >> 6 {
            0 => None,
            1 => Some("a.example".to_owned()),
            2 => Some("b\r\nX: y".to_owned()),
            _ => Some(format!("{}example.", "a.".repeat(120))),
        },
        address: if flags & 8 == 0 {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        },
        seed: u64::from(flags),
        unix_s: 1_800_000_000,
        keeps: if flags & 16 == 0 {
            Keeps::Evidence
        } else {
            Keeps::Replies
        },
    }
}

/// What a peer does on one connection.
struct Talk<'a> {
    says: &'a [u8],
    /// Whether it speaks by itself, or once it is asked.
    first: bool,
    then: Input<'static>,
    /// Whether a handshake comes about; inside it, it says the same.
    has_tls: bool,
}

impl<'a> Talk<'a> {
    fn new(part: &'a [u8]) -> Self {
        let (choice, says) = part.split_first().map_or((0, part), |(c, says)| (*c, says));
        Self {
            says,
            first: choice & 1 == 0,
            has_tls: choice & 8 == 0,
            then: match choice >> 1 & 3 {
                0 => Input::TimedOut,
                1 => Input::Closed,
                2 => Input::Reset,
                _ if choice & 0x80 != 0 => Input::ConnectFailed,
                _ => Input::TimedOut,
            },
        }
    }
}

/// Drives a look as its contract says, with pieces of the given lengths in turn. The last talk
/// serves all later connections.
fn drive(options: LookOptions, talks: &[Talk<'_>], pieces: &[usize]) -> (Outcome, Vec<Vec<u8>>) {
    let never = options.sends == Sends::Never;
    let mut look = Look::new(options);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut connections = 0;
    let mut steps = 0;
    let mut pieces = pieces.iter().copied().cycle();
    let mut left: &[u8] = &[];
    let mut step = Step::Reconnect;
    let mut talk = talks.first();
    loop {
        steps += 1;
        assert!(steps <= STEPS_MAX + 1, "the look does not end");
        let speaks = match step {
            Step::Done => break,
            Step::Reconnect => {
                talk = talks.get(connections).or_else(|| talks.last());
                connections += 1;
                left = talk.filter(|talk| talk.first).map_or(&[], |talk| talk.says);
                step = look.step(match talk {
                    Some(Talk {
                        then: Input::ConnectFailed,
                        ..
                    }) => Input::ConnectFailed,
                    _ => Input::Connected,
                });
                continue;
            }
            Step::Secure { .. } => {
                let secured = talk.is_some_and(|talk| talk.has_tls);
                left = talk.filter(|talk| talk.first).map_or(&[], |talk| talk.says);
                step = look.step(if secured {
                    Input::Secured(tls_1_3())
                } else {
                    Input::SecureFailed(Text::from("no"))
                });
                continue;
            }
            Step::Send { bytes, .. } => {
                sent.push(bytes);
                if let Some(talk) = talk.filter(|talk| !talk.first) {
                    left = talk.says;
                }
                true
            }
            Step::Wait(_) => talk.is_none_or(|talk| talk.first) || !left.is_empty(),
        };
        let length = pieces.next().unwrap_or(1).clamp(1, left.len().max(1));
        step = match left.split_at_checked(length) {
            Some((piece, rest)) => {
                left = rest;
                look.step(Input::Bytes(piece))
            }
            None if speaks => look.step(talk.map_or(Input::TimedOut, |talk| talk.then.clone())),
            None => look.step(Input::TimedOut),
        };
    }
    assert!(connections <= CONNECTIONS_MAX);
    assert!(sent.iter().map(Vec::len).sum::<usize>() <= SENT_MAX);
    assert!(!never || sent.is_empty());
    (look.finish(), sent)
}

fn tls_1_3() -> Secured {
    Secured {
        version: "TLS 1.3".to_owned(),
        certificate: b"\x06\x03\x55\x04\x03\x0c\x03lab".to_vec(),
    }
}

/// Something is shown, or it is said why not; and nothing is claimed without evidence.
fn check_outcome(outcome: &Outcome) {
    for incomplete in &outcome.incomplete {
        super::assert_printable(incomplete.why.as_str());
    }
    match &outcome.service {
        None => assert!(!outcome.incomplete.is_empty()),
        Some(service) => {
            assert!(
                service
                    .evidence
                    .as_ref()
                    .is_some_and(|text| !text.is_empty())
            );
            assert!(service.confidence <= 100);
            assert_eq!(service.name.is_some(), service.label.is_some());
            assert!(service.version.is_none() || service.product.is_some());
            assert!(
                service
                    .product
                    .as_ref()
                    .is_none_or(|text| !Text::is_empty(text))
            );
        }
    }
}
