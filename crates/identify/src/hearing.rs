//! What a peer said on one connection: TLS, HTTP, something that the catalogue knows, or something
//! that proves nothing. A decision depends on the bytes and never on how they were cut into
//! pieces: once a beginning decides, what follows changes nothing.

use crate::http::{self, Ending};
use crate::tls::{self, Proof};
use portolan_catalog::matcher::{Known, Recognition};
use portolan_catalog::services::{self, QuestionId};
use portolan_model::Text;

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// An HTTP reply, and what its fields and body prove.
    Http(http::Reply, Option<Box<Known>>),
    /// A service that the catalogue knows, and the line that is worth showing.
    Known(Box<Known>, Text),
    /// It fits several services equally well.
    Tie(Vec<String>, Text),
    /// TLS.
    Tls(tls::Reply),
    /// Something that proves no protocol.
    Unproven(Text),
}

/// What came before, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After {
    /// What was asked.
    pub(crate) question: QuestionId,
    /// Seconds since 1970.
    pub(crate) unix_s: u64,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) speech: Speech,
    /// How many bytes decided it; what is behind them was not looked at.
    pub(crate) decided_by: usize,
}

/// What `bytes`, said after `after`, are; `None` while more are needed. With [`Ending::Ended`] and
/// at least one byte there is always an answer. `limit` is how many bytes are read at most; `judged`
/// is how many were seen to be no decision before, 0 at first.
pub(crate) fn understand(
    bytes: &[u8],
    limit: usize,
    after: After,
    ending: Ending,
    judged: &mut usize,
) -> Option<Heard> {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    let ending = if bytes.len() >= limit {
        Ending::Ended
    } else {
        ending
    };
    let all = |speech| {
        Some(Heard {
            speech,
            decided_by: bytes.len(),
        })
    };
    match tls::parse(bytes) {
        tls::Parsed::Tls(reply) => return all(Speech::Tls(reply)),
        tls::Parsed::Incomplete { .. } if ending == Ending::Open => return None,
        tls::Parsed::Incomplete {
            proof: Proof::Shown,
        } => return all(Speech::Tls(tls::Reply::Record)),
        tls::Parsed::Incomplete {
            proof: Proof::NotYet,
        }
        | tls::Parsed::NotTls => {}
    }
    match http::parse(bytes, limit, ending) {
        http::Parsed::Http(reply) => {
            let whole = bytes.get(..reply.length).unwrap_or(bytes);
            let known = match services::recognise(after.question, whole) {
                // Some refuse HTTP in its own words.
                Some(Recognition::One(known)) if known.protocol != HTTP => {
                    return all(Speech::Known(Box::new(known), reply.evidence()));
                }
                Some(Recognition::One(known)) => Some(Box::new(known)),
                _ => None,
            };
            return all(Speech::Http(reply, known));
        }
        http::Parsed::Incomplete => return None,
        http::Parsed::NotHttp => {}
    }
    by_lines(bytes, after.question, judged)
        .or_else(|| (ending == Ending::Ended).then(|| whole(bytes, after)))
}

/// The first line that with those before it proves all that there is to prove.
fn by_lines(bytes: &[u8], after: QuestionId, judged: &mut usize) -> Option<Heard> {
    let seen = std::mem::replace(judged, bytes.len());
    let ends = bytes.iter().enumerate();
    let ends = ends.filter(|(_, byte)| **byte == b'\n').take(LINES_MAX);
    ends.skip_while(|(at, _)| *at < seen).find_map(|(at, _)| {
        let decided_by = at.saturating_add(1);
        let said = bytes.get(..decided_by)?;
        match services::recognise(after, said) {
            Some(Recognition::One(known)) if known.is_final => Some(Heard {
                speech: Speech::Known(Box::new(known), evidence(said)),
                decided_by,
            }),
            _ => None,
        }
    })
}

fn whole(bytes: &[u8], after: After) -> Heard {
    let shown = evidence(bytes);
    let speech = match services::recognise_at(after.question, bytes, after.unix_s) {
        Some(Recognition::One(known)) => Speech::Known(Box::new(known), shown),
        Some(Recognition::Tie(names)) => Speech::Tie(names, shown),
        None => Speech::Unproven(shown),
    };
    Heard {
        speech,
        decided_by: bytes.len(),
    }
}

/// The first line that is not blank; of what is binary, its beginning.
pub(crate) fn evidence(bytes: &[u8]) -> Text {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let text = start.and_then(|at| bytes.get(at..)).unwrap_or_default();
    let stop = text
        .iter()
        .take(LINE_MAX)
        .position(|byte| *byte == b'\n' || is_binary(*byte));
    let line = match stop.and_then(|at| text.split_at_checked(at)) {
        Some((line, [b'\n', ..])) => line,
        None if !text.is_empty() => text.get(..LINE_MAX).unwrap_or(text),
        // Binary, or nothing but blanks.
        _ => return Text::from_bytes(bytes.get(..BINARY_SHOWN).unwrap_or(bytes)),
    };
    Text::from_bytes(line.trim_ascii_end())
}

/// Control characters that no text protocol sends in a line; tab, the line and page ends, and
/// escape (terminal colours in banners) are text.
const fn is_binary(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, 0x07..=0x0d | 0x1b)
}

/// The protocol whose replies are read to their end.
const HTTP: &str = "http";
/// Lines after which it is looked whether they are enough.
const LINES_MAX: usize = 16;
/// Longest line that is shown, in bytes; the longest allowed in common line protocols is 512
/// (RFC 5321 §4.5.3.1.5, RFC 2812 §2.3).
const LINE_MAX: usize = 512;
/// Bytes of something binary that are shown.
const BINARY_SHOWN: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: After = After {
        question: QuestionId::Nothing,
        unix_s: 1_800_000_000,
    };

    fn check(bytes: &[u8], expected: &str) {
        let heard = understand(bytes, 2000, FIRST, Ending::Ended, &mut 0);
        let found = match heard.map(|heard| heard.speech) {
            Some(Speech::Http(reply, _)) => format!("http {}", reply.evidence()),
            Some(Speech::Known(known, evidence)) => format!("{} {evidence}", known.protocol),
            Some(Speech::Tie(names, _)) => format!("tie {names:?}"),
            Some(Speech::Tls(reply)) => format!("tls {reply}"),
            Some(Speech::Unproven(evidence)) => format!("? {evidence}"),
            None => "nothing".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_line_is_what_was_said() {
        check(b"220-one\r\n220 two\r\n", "? 220-one");
        check(b"\r\n\n  hello \r\nagain", "? hello");
        check(b"no end", "? no end");
        check(b"\r\n", "? \\r\\n");
        check(b" \r\n", "?  \\r\\n");
        check(b" \n\0", "?  \\n\\x00");
        check(&[b'a'; 2000], &format!("? {}", "a".repeat(512)));
        check("gr\u{fc}n\n".as_bytes(), "? grün");
    }

    #[test]
    fn binary_is_shown_and_not_cut_at_line_ends() {
        check(b"Z\0\0\0\n8.0.32\0", "? Z\\x00\\x00\\x00\\n8.0.32\\x00");
        check(b"\0", "? \\x00");
        check(b"\xee\xf4\x50\x80", "time \\xee\\xf4P\\x80");
        check(b"\xee\xf0\x50\x80", "? \\xee\\xf0P\\x80");
        check(&[1; 2000], &format!("? {}", "\\x01".repeat(96)));
    }

    #[test]
    fn what_is_cut_short_proves_no_more_than_it_holds() {
        check(&tls::samples::tls_1_3(), "tls TLS 1.3");
        check(&tls::samples::tls_1_3()[..20], "tls TLS record");
        check(&tls::samples::tls_1_3()[..5], "? \\x16\\x03\\x03\\x002");
        check(b"HTTP/1.1 200 OK", "http HTTP/1.1 200 OK");
        check(b"HTTP/1.", "? HTTP/1.");
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_decision(
            start in prop::sample::select(vec![
                &b""[..], b"\xff", b"\x16\x03", b"HTTP/1.1 ", b"\r\n", b"220 ", b"SSH-2.0-",
            ]),
            noise in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\n'), Just(b'a')], 1..200
            ),
        ) {
            let mut bytes = start.to_vec();
            bytes.extend(noise);
            let mut decided: Option<Speech> = None;
            for length in 1..=bytes.len() {
                let now = understand(&bytes[..length], 150, FIRST, Ending::Open, &mut 0);
                if decided.is_some() {
                    prop_assert_eq!(decided.as_ref(), now.as_ref().map(|heard| &heard.speech));
                } else {
                    decided = now.map(|heard| heard.speech);
                }
            }
            let ended = understand(&bytes, 150, FIRST, Ending::Ended, &mut 0);
            prop_assert!(ended.is_some());
        }
    }
}
