//! What a server's first bytes say about TLS: an alert, a `ServerHello`, or nothing of the kind.
//! Reads the first handshake message only; certificates are not here.

use super::{
    CONTENT_ALERT, CONTENT_CHANGE_CIPHER_SPEC, CONTENT_HANDSHAKE, EXTENSION_ALPN,
    EXTENSION_SUPPORTED_VERSIONS, HANDSHAKE_SERVER_HELLO,
};
use std::fmt;

/// What the bytes so far are. Once it is [`Parsed::NotTls`] or [`Parsed::Tls`], further bytes
/// change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not TLS.
    NotTls,
    /// A beginning of TLS that is not whole.
    Incomplete {
        /// Whether what is there already shows TLS: a valid record header and the start of a
        /// `ServerHello` in it.
        proof: Proof,
    },
    /// TLS.
    Tls(Reply),
}

/// Whether an unfinished reply shows TLS already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Too little to say.
    NotYet,
    /// A valid record header with the start of a `ServerHello`.
    Shown,
}

/// A reply that shows TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An alert record (RFC 8446 §6).
    Alert {
        /// The raw description.
        description: u8,
    },
    /// A `ServerHello`, or a `HelloRetryRequest`, which has the same shape (RFC 8446 §4.1.3).
    Hello(ServerHello),
    /// A TLS record whose content was cut short or could not be read.
    Record,
}

/// What a `ServerHello` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// Version that the server chose, as on the wire (`0x0304` for TLS 1.3).
    pub version: u16,
    /// Cipher suite that the server chose, as on the wire.
    pub cipher: u16,
    /// Application protocol that the server chose in the open (RFC 7301); in TLS 1.3 it is
    /// encrypted and never stands here.
    pub alpn: Option<Vec<u8>>,
    /// Whether it asks for another hello.
    pub kind: HelloKind,
}

/// Which of the two messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloKind {
    /// `HelloRetryRequest` (RFC 8446 §4.1.4).
    Retry,
    /// `ServerHello`.
    Server,
}

/// Reads what a server sent first. Content types 20 to 22 can show TLS; application data cannot
/// come before a handshake (RFC 8446 §5), so type 23 shows nothing.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut handshake = Vec::new();
    let mut rest = Cursor(bytes);
    loop {
        let started = !handshake.is_empty();
        let (content, length) = match record_header(rest.0) {
            Header::Invalid if started => return Parsed::Tls(Reply::Record),
            Header::Invalid => return Parsed::NotTls,
            Header::Short if started => {
                return Parsed::Incomplete {
                    proof: Proof::Shown,
                };
            }
            Header::Short => {
                return Parsed::Incomplete {
                    proof: Proof::NotYet,
                };
            }
            Header::Whole { content, length } => (content, length),
        };
        let after = rest.0.get(RECORD_HEADER_LEN..).unwrap_or_default();
        let body = after.get(..length).unwrap_or(after);
        match content {
            CONTENT_HANDSHAKE => handshake.extend_from_slice(body),
            // Another record inside an unfinished handshake message (RFC 8446 §5.1 forbids it).
            _ if started => return Parsed::Tls(Reply::Record),
            CONTENT_ALERT => return alert(body),
            _ => return change_cipher_spec(body),
        }
        match server_hello(&handshake) {
            Some(Message::Hello(hello)) => return Parsed::Tls(Reply::Hello(hello)),
            Some(Message::Malformed) => return Parsed::Tls(Reply::Record),
            Some(Message::Other) => return Parsed::NotTls,
            None => {}
        }
        match after.get(length..) {
            Some(next) => rest = Cursor(next),
            None if handshake.is_empty() => {
                return Parsed::Incomplete {
                    proof: Proof::NotYet,
                };
            }
            None => {
                return Parsed::Incomplete {
                    proof: Proof::Shown,
                };
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert { description } => match alert_name(*description) {
                Some(name) => write!(f, "TLS alert: {name}"),
                None => write!(f, "TLS alert {description}"),
            },
            Self::Hello(hello) => match hello.version {
                0x0300 => f.write_str("SSL 3.0"),
                0x0301 => f.write_str("TLS 1.0"),
                0x0302 => f.write_str("TLS 1.1"),
                0x0303 => f.write_str("TLS 1.2"),
                0x0304 => f.write_str("TLS 1.3"),
                version => write!(f, "TLS version 0x{version:04x}"),
            },
            Self::Record => f.write_str("TLS record"),
        }
    }
}

enum Header {
    Invalid,
    Short,
    Whole { content: u8, length: usize },
}

/// RFC 8446 §5.1: type, version, length. Every byte is judged as soon as it is there.
fn record_header(bytes: &[u8]) -> Header {
    let mut cursor = Cursor(bytes);
    let Some(content) = cursor.u8() else {
        return Header::Short;
    };
    let longest = match content {
        CONTENT_CHANGE_CIPHER_SPEC => 1,
        // In the clear, one record holds one alert.
        CONTENT_ALERT => 2,
        CONTENT_HANDSHAKE => RECORD_LENGTH_MAX,
        _ => return Header::Invalid,
    };
    match (cursor.u8(), cursor.u8()) {
        (None, _) | (Some(3), None) => return Header::Short,
        (Some(3), Some(0..=4)) => {}
        _ => return Header::Invalid,
    }
    match cursor.u16().map(usize::from) {
        None => Header::Short,
        Some(length) if length == longest => Header::Whole { content, length },
        // RFC 8446 §5.1: no empty handshake fragments.
        Some(length @ 1..=RECORD_LENGTH_MAX) if content == CONTENT_HANDSHAKE => {
            Header::Whole { content, length }
        }
        Some(_) => Header::Invalid,
    }
}

fn alert(body: &[u8]) -> Parsed {
    match *body {
        [] | [1 | 2] => Parsed::Incomplete {
            proof: Proof::NotYet,
        },
        [1 | 2, description, ..] => Parsed::Tls(Reply::Alert { description }),
        _ => Parsed::NotTls,
    }
}

fn change_cipher_spec(body: &[u8]) -> Parsed {
    match *body {
        [] => Parsed::Incomplete {
            proof: Proof::NotYet,
        },
        [1, ..] => Parsed::Tls(Reply::Record),
        _ => Parsed::NotTls,
    }
}

enum Message {
    Hello(ServerHello),
    Malformed,
    Other,
}

/// `None` while the message is not whole.
fn server_hello(handshake: &[u8]) -> Option<Message> {
    let mut cursor = Cursor(handshake);
    if cursor.u8()? != HANDSHAKE_SERVER_HELLO {
        return Some(Message::Other);
    }
    let (high, low) = (cursor.u8()?, cursor.u16()?);
    // A ServerHello of 64 KiB or more cannot be: its extensions are its only long field, and
    // their length has two bytes.
    if high != 0 {
        return Some(Message::Other);
    }
    let body = cursor.take(usize::from(low))?;
    Some(read_hello(body).map_or(Message::Malformed, Message::Hello))
}

fn read_hello(body: &[u8]) -> Option<ServerHello> {
    let mut cursor = Cursor(body);
    let mut version = cursor.u16()?;
    if version >> 8 != 3 {
        return None;
    }
    let random = cursor.take(32)?;
    let session_length = usize::from(cursor.u8()?);
    if session_length > 32 {
        return None;
    }
    cursor.take(session_length)?;
    let cipher = cursor.u16()?;
    // RFC 8446 §4.1.3: no compression; RFC 3749 had one method more, which nobody offers here.
    if cursor.u8()? != 0 {
        return None;
    }
    let mut alpn = None;
    if !cursor.0.is_empty() {
        let length = usize::from(cursor.u16()?);
        let mut extensions = Cursor(cursor.take(length)?);
        while !extensions.0.is_empty() {
            let number = extensions.u16()?;
            let length = usize::from(extensions.u16()?);
            let mut data = Cursor(extensions.take(length)?);
            match number {
                EXTENSION_SUPPORTED_VERSIONS => version = data.u16()?,
                EXTENSION_ALPN => {
                    // RFC 7301 §3.1: a list with exactly one name.
                    data.u16()?;
                    let length = usize::from(data.u8()?);
                    alpn = Some(data.take(length)?.to_vec());
                }
                _ => {}
            }
        }
    }
    let kind = if random == RETRY_RANDOM {
        HelloKind::Retry
    } else {
        HelloKind::Server
    };
    Some(ServerHello {
        version,
        cipher,
        alpn,
        kind,
    })
}

/// Names of RFC 8446 §6 and, for the older ones, RFC 5246 §7.2.
const fn alert_name(description: u8) -> Option<&'static str> {
    Some(match description {
        0 => "close notify",
        10 => "unexpected message",
        20 => "bad record MAC",
        21 => "decryption failed",
        22 => "record overflow",
        30 => "decompression failure",
        40 => "handshake failure",
        41 => "no certificate",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "certificate revoked",
        45 => "certificate expired",
        46 => "certificate unknown",
        47 => "illegal parameter",
        48 => "unknown CA",
        49 => "access denied",
        50 => "decode error",
        51 => "decrypt error",
        60 => "export restriction",
        70 => "protocol version",
        71 => "insufficient security",
        80 => "internal error",
        86 => "inappropriate fallback",
        90 => "user canceled",
        100 => "no renegotiation",
        109 => "missing extension",
        110 => "unsupported extension",
        112 => "unrecognized name",
        113 => "bad certificate status response",
        115 => "unknown PSK identity",
        116 => "certificate required",
        120 => "no application protocol",
        _ => return None,
    })
}

/// Reads from the front and never beyond the end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }
}

const RECORD_HEADER_LEN: usize = 5;
/// RFC 8446 §5.1: a record in the clear holds at most 2^14 bytes.
const RECORD_LENGTH_MAX: usize = 1 << 14;

/// SHA-256 of the text `HelloRetryRequest` (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The parts of a `ServerHello` that the tests vary.
    pub(crate) struct Sample<'a> {
        pub(crate) random: [u8; 32],
        pub(crate) extensions: &'a [u8],
    }

    /// One `ServerHello` in one record, laid out as RFC 8446 §4.1.3 says.
    pub(crate) fn record(sample: &Sample<'_>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend(sample.random);
        body.push(0);
        body.extend([0x13, 0x01, 0]);
        body.extend(
            u16::try_from(sample.extensions.len())
                .unwrap()
                .to_be_bytes(),
        );
        body.extend(sample.extensions);
        let mut message = vec![2, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 3];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    pub(crate) fn tls_1_3() -> Vec<u8> {
        record(&Sample {
            random: [9; 32],
            extensions: &[0, 43, 0, 2, 3, 4],
        })
    }

    fn check(bytes: &[u8], expected: Option<&str>) {
        let found = match parse(bytes) {
            Parsed::Tls(reply) => Some(reply.to_string()),
            Parsed::NotTls => None,
            Parsed::Incomplete { proof } => Some(format!("{proof:?}")),
        };
        assert_eq!(found.as_deref(), expected, "{bytes:02x?}");
    }

    #[test]
    fn the_version_comes_from_where_each_version_writes_it() {
        check(&tls_1_3(), Some("TLS 1.3"));
        let old = record(&Sample {
            random: [9; 32],
            extensions: b"\x00\x10\x00\x0b\x00\x09\x08http/1.1",
        });
        check(&old, Some("TLS 1.2"));
        let Parsed::Tls(Reply::Hello(hello)) = parse(&old) else {
            panic!("not a hello");
        };
        assert_eq!(hello.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(hello.cipher, 0x1301);
        assert_eq!(hello.kind, HelloKind::Server);
    }

    #[test]
    fn a_retry_request_is_told_from_a_hello() {
        let bytes = record(&Sample {
            random: RETRY_RANDOM,
            extensions: &[0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 23],
        });
        check(&bytes, Some("TLS 1.3"));
        let Parsed::Tls(Reply::Hello(hello)) = parse(&bytes) else {
            panic!("not a hello");
        };
        assert_eq!(hello.kind, HelloKind::Retry);
    }

    #[test]
    fn alerts_are_named() {
        check(
            &[21, 3, 3, 0, 2, 2, 40],
            Some("TLS alert: handshake failure"),
        );
        check(
            &[21, 3, 1, 0, 2, 1, 112],
            Some("TLS alert: unrecognized name"),
        );
        check(&[21, 3, 3, 0, 2, 2, 250], Some("TLS alert 250"));
    }

    #[test]
    fn what_only_resembles_tls_is_not_tls() {
        for bytes in [
            &b"\x16\x03\x01\x00\x05\x01"[..], // a ClientHello: an echo of ours
            b"\x16\x03\x03\xff\xff",          // a length no record may have
            b"\x16\x03\x03\x00\x00",
            b"\x16\x03\x05",
            b"\x16\x02",
            b"\x17\x03\x03\x00\x10",
            b"\x15\x03\x03\x00\x03",
            b"\x15\x03\x03\x00\x02\x07",
            b"\x14\x03\x03\x00\x01\x02",
            b"\x18",
            b"HTTP",
        ] {
            check(bytes, None);
        }
    }

    #[test]
    fn a_hello_in_many_records_is_put_together() {
        let whole = tls_1_3();
        let mut split = Vec::new();
        for byte in &whole[5..] {
            split.extend([22, 3, 3, 0, 1, *byte]);
        }
        check(&split, Some("TLS 1.3"));
        split.truncate(60);
        check(&split, Some("Shown"));
        split.extend([21, 3, 3, 0, 2, 2, 40]);
        check(&split, Some("TLS record"));
    }

    #[test]
    fn every_truncation_is_unfinished_and_none_is_something_else() {
        let whole = tls_1_3();
        for length in 0..whole.len() {
            let expected = if length > 5 { "Shown" } else { "NotYet" };
            check(&whole[..length], Some(expected));
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_decision(
            start in prop::sample::select(vec![
                vec![], vec![22, 3, 3, 0, 4, 2, 0], vec![21, 3, 3, 0, 2], tls_1_3()
            ]),
            cut in 0_usize..80,
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = start;
            bytes.truncate(cut);
            bytes.extend(noise);
            let mut decided: Option<Parsed> = None;
            for length in 0..=bytes.len() {
                let now = parse(&bytes[..length]);
                if let Some(before) = &decided {
                    prop_assert_eq!(before, &now);
                } else if !matches!(now, Parsed::Incomplete { .. }) {
                    decided = Some(now);
                }
            }
        }
    }
}
