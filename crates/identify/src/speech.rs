//! What a peer said on one connection: a line, something binary, telnet, HTTP or TLS. A decision
//! depends on the bytes and never on how they were cut into pieces: once a beginning decides,
//! what follows changes nothing.

use crate::greeting::{self, Named};
use crate::http::{self, Ending};
use crate::tls::{self, Proof};
use portolan_model::Text;

/// Whether something was sent on the connection before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The peer speaks by itself.
    Nothing,
    /// It may be answering.
    Something,
}

/// Whether a line has its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// The peer stopped, or the line is too long.
    Cut,
    /// It has.
    Whole,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// An HTTP reply.
    Http(http::Reply),
    /// The grammar of one protocol.
    Named(Named, Text),
    /// TLS.
    Tls(tls::Reply),
    /// Something that proves no protocol.
    Unproven(Text),
}

/// What `bytes` are; `None` while more are needed. With [`Ending::Ended`] and at least one byte
/// there is always an answer. `limit` is how many bytes are read at most.
pub(crate) fn understand(
    bytes: &[u8],
    limit: usize,
    asked: Asked,
    ending: Ending,
) -> Option<Speech> {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    let ending = if bytes.len() >= limit {
        Ending::Ended
    } else {
        ending
    };
    match tls::parse(bytes) {
        tls::Parsed::Tls(reply) => return Some(Speech::Tls(reply)),
        tls::Parsed::Incomplete { .. } if ending == Ending::Open => return None,
        tls::Parsed::Incomplete {
            proof: Proof::Shown,
        } => return Some(Speech::Tls(tls::Reply::Record)),
        tls::Parsed::Incomplete {
            proof: Proof::NotYet,
        }
        | tls::Parsed::NotTls => {}
    }
    match bytes {
        [IAC, WILL..=DONT, _, ..] => {
            let shown = bytes.get(..3).unwrap_or_default();
            return Some(Speech::Named(TELNET, Text::from_bytes(shown)));
        }
        [IAC] | [IAC, WILL..=DONT] if ending == Ending::Open => return None,
        _ => {}
    }
    match http::parse(bytes, limit, ending) {
        http::Parsed::Http(reply) => return Some(Speech::Http(reply)),
        http::Parsed::Incomplete => return None,
        http::Parsed::NotHttp => {}
    }
    line_or_binary(bytes, asked, ending)
}

fn line_or_binary(bytes: &[u8], asked: Asked, ending: Ending) -> Option<Speech> {
    // Some servers send empty lines first.
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let text = start.and_then(|at| bytes.get(at..)).unwrap_or_default();
    let stop = text
        .iter()
        .take(LINE_MAX)
        .position(|byte| *byte == b'\n' || is_binary(*byte));
    let (line, end) = match stop.and_then(|at| text.split_at_checked(at)) {
        Some((line, [b'\n', ..])) => (line, LineEnd::Whole),
        Some(_) => return binary(bytes, ending),
        None if text.len() >= LINE_MAX => (text.get(..LINE_MAX).unwrap_or_default(), LineEnd::Cut),
        None if ending == Ending::Open => return None,
        // Nothing but blanks: they are all there is to show.
        None if text.is_empty() => return binary(bytes, ending),
        None => (text, LineEnd::Cut),
    };
    let line = line.trim_ascii_end();
    let evidence = Text::from_bytes(line);
    Some(match greeting::name(line, asked, end) {
        Some(named) => Speech::Named(named, evidence),
        None => Speech::Unproven(evidence),
    })
}

fn binary(bytes: &[u8], ending: Ending) -> Option<Speech> {
    match bytes.get(..BINARY_SHOWN) {
        Some(shown) => Some(Speech::Unproven(Text::from_bytes(shown))),
        None if ending == Ending::Ended => Some(Speech::Unproven(Text::from_bytes(bytes))),
        None => None,
    }
}

/// Control characters that no text protocol sends in a line; tab, the line and page ends, and
/// escape (terminal colours in banners) are text.
const fn is_binary(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, 0x07..=0x0d | 0x1b)
}

/// RFC 854: interpret as command, then WILL, WON'T, DO or DON'T, then the option.
const IAC: u8 = 0xff;
const WILL: u8 = 0xfb;
const DONT: u8 = 0xfe;
const TELNET: Named = Named {
    name: "telnet",
    product: None,
    version: None,
    confidence: 90,
};

/// A line that is longer counts as cut here.
const LINE_MAX: usize = 1024;
/// How much of something binary is kept as evidence.
const BINARY_SHOWN: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], expected: &str) {
        let found = match understand(bytes, 2000, Asked::Nothing, Ending::Ended) {
            Some(Speech::Http(reply)) => format!("http {}", reply.evidence()),
            Some(Speech::Named(named, evidence)) => format!("{} {evidence}", named.name),
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
        check(&[b'a'; 2000], &format!("? {}…", "a".repeat(511)));
        check("gr\u{fc}n\n".as_bytes(), "? grün");
    }

    #[test]
    fn binary_is_shown_and_not_cut_at_line_ends() {
        check(b"J\0\0\0\n8.0.32\0", "? J\\x00\\x00\\x00\\n8.0.32\\x00");
        check(b"\0", "? \\x00");
        check(&[1; 2000], &format!("? {}", "\\x01".repeat(96)));
    }

    #[test]
    fn telnet_negotiates() {
        check(b"\xff\xfd\x18\xff\xfd\x20login: ", "telnet \\xff\\xfd\\x18");
        check(b"\xff\xfd", "? \\xff\\xfd");
        check(b"\xff\xff\x18\r\n", "? \\xff\\xff\\x18\\r\\n");
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
                let now = understand(&bytes[..length], 150, Asked::Nothing, Ending::Open);
                if decided.is_some() {
                    prop_assert_eq!(&decided, &now);
                } else {
                    decided = now;
                }
            }
            prop_assert!(understand(&bytes, 150, Asked::Nothing, Ending::Ended).is_some());
        }
    }
}
