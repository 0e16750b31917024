//! What each kind of replier says and does, as a list of acts. Who carries them out is `serve`.

use super::service::{Answer, Service, Speaker};
use super::{Kind, Replier};
use crate::Seed;
use std::time::Duration;

/// One thing that a replier does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Answers whatever comes, for as long as the peer stays.
    Answer(Manner),
    Close,
    HalfClose,
    /// Waits until so many bytes have come since the beginning.
    Hear(usize),
    /// Takes what comes and says nothing, for as long as the peer stays.
    Linger,
    Pause(Duration),
    /// Says these bytes again and again; without a pause as fast as they are taken.
    Repeat {
        bytes: Vec<u8>,
        every: Duration,
    },
    Reset,
    Say(Vec<u8>),
}

/// How a replier answers.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    Echo,
    Fixed(Vec<u8>),
    Reversed,
    Speaks(Speaker),
}

impl Manner {
    /// What is said to `heard`; `None` while more is waited for.
    pub(super) fn answer(&mut self, heard: &[u8]) -> Option<Answer> {
        if heard.is_empty() {
            return None;
        }
        let bytes = match self {
            Self::Echo => heard.to_vec(),
            Self::Fixed(bytes) => bytes.clone(),
            Self::Reversed => heard.iter().rev().copied().collect(),
            Self::Speaks(speaker) => return speaker.answer(heard),
        };
        Some(Answer {
            consumed: heard.len(),
            bytes,
            closes: false,
        })
    }
}

/// Random words and bytes.
#[derive(Clone, Debug)]
pub(super) struct Words(Seed);

impl Words {
    pub(super) const fn new(seed: u64) -> Self {
        Self(Seed::new(seed))
    }

    /// From `least` to `most`.
    fn between(&mut self, least: usize, most: usize) -> usize {
        let span = u64::try_from(most.saturating_sub(least))
            .unwrap_or(0)
            .saturating_add(1);
        least.saturating_add(usize::try_from(self.0.below(span)).unwrap_or(0))
    }

    fn one_of<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
        let at = self.between(0, from.len().saturating_sub(1));
        from.get(at).copied().unwrap_or(otherwise)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let next = |_| self.0.next().to_le_bytes();
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(next).collect();
        bytes.truncate(count);
        bytes
    }

    /// Characters from blank to tilde.
    fn printable(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.bytes(count).into_iter();
        bytes.map(|it| b' ' + it % 95).collect()
    }

    pub(super) fn letters(&mut self, count: usize) -> String {
        let bytes = self.bytes(count).into_iter();
        bytes.map(|it| char::from(b'a' + it % 26)).collect()
    }

    /// Words of random letters, as a line without its end.
    fn line(&mut self) -> String {
        let count = self.between(2, 8);
        let words = (0..count).map(|_| {
            let length = self.between(2, 9);
            self.letters(length)
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// A name of a host.
    pub(super) fn host(&mut self) -> String {
        format!("{}.example", self.letters(6))
    }
}

/// What a replier does on a connection; on every one the same.
pub(super) fn script(replier: &Replier) -> Vec<Act> {
    let mut words = Words::new(replier.seed);
    let words = &mut words;
    match replier.kind {
        Kind::Closes => vec![Act::Close],
        Kind::HalfCloses => vec![Act::HalfClose, Act::Linger],
        Kind::Resets => vec![Act::Reset],
        Kind::Silent => vec![Act::Linger],
        Kind::Endless | Kind::EndlessReply | Kind::LongLine | Kind::Tarpit => {
            endless(replier.kind, words)
        }
        Kind::AfterBytes
        | Kind::Echo
        | Kind::Fixed
        | Kind::Reversed
        | Kind::TlsAlert
        | Kind::TlsGarbage
        | Kind::TlsSilentClose => when_asked(replier.kind, words),
        Kind::FtpLate
        | Kind::HttpSplit
        | Kind::SmtpSplit
        | Kind::Speaks(_)
        | Kind::SshByByte
        | Kind::LateLine
        | Kind::SplitText => in_pieces(replier.kind, words),
        _ => {
            let bytes = once(replier.kind, words);
            let end = if replier.kind == Kind::Large {
                Act::Close
            } else {
                Act::Linger
            };
            vec![Act::Say(bytes), end]
        }
    }
}

/// What is said once, before anything is asked.
fn once(kind: Kind, words: &mut Words) -> Vec<u8> {
    match kind {
        Kind::BadHttp => words.one_of(&BAD_HTTP, "").as_bytes().to_vec(),
        Kind::Escapes => format!(
            "\x1b[2J\x1b[31m{}\x07\x1b]0;{}\x07\u{9b}31m\u{202e}\r\n",
            words.line(),
            words.line()
        )
        .into_bytes(),
        Kind::Large => words.bytes(LARGE),
        Kind::NearMiss => words.one_of(&NEAR_MISSES, &[]).to_vec(),
        Kind::Nuls => vec![0; words.between(1, 2_000)],
        Kind::OneByte => words.bytes(1),
        Kind::Prefix => words.one_of(&PREFIXES, &[]).to_vec(),
        Kind::RandomBytes => {
            let count = words.between(2, 4_000);
            words.bytes(count)
        }
        Kind::RandomLines => {
            let count = words.between(1, 20);
            let mut bytes = Vec::new();
            for _ in 0..count {
                let length = words.between(1, 100);
                bytes.extend(words.printable(length));
                bytes.extend(b"\r\n");
            }
            bytes
        }
        Kind::RandomText => {
            let count = words.between(2, 2_000);
            words.printable(count)
        }
        Kind::TwoProtocols => {
            let host = words.host();
            let rest = words.one_of(&BOTH, "");
            format!("220 {host} {rest}\r\n").into_bytes()
        }
        Kind::WordsInside => {
            let [before, after] = [words.line(), words.line()];
            let inside = words.one_of(&INSIDE, "");
            format!("{before} {inside} {after}\r\n").into_bytes()
        }
        _ => Vec::new(),
    }
}

fn endless(kind: Kind, words: &mut Words) -> Vec<Act> {
    let (bytes, every) = match kind {
        Kind::EndlessReply => (
            format!("220-{}\r\n", words.line()).into_bytes(),
            Duration::ZERO,
        ),
        Kind::LongLine => (words.letters(BLOCK).into_bytes(), Duration::ZERO),
        Kind::Tarpit => (words.printable(1), Duration::from_secs(1)),
        _ => (words.bytes(BLOCK), Duration::ZERO),
    };
    vec![Act::Repeat { bytes, every }]
}

fn when_asked(kind: Kind, words: &mut Words) -> Vec<Act> {
    match kind {
        Kind::AfterBytes => vec![
            Act::Hear(words.between(2, 100)),
            Act::Say(format!("{}\r\n", words.line()).into_bytes()),
            Act::Linger,
        ],
        Kind::Echo => vec![Act::Answer(Manner::Echo)],
        Kind::Reversed => vec![Act::Answer(Manner::Reversed)],
        Kind::TlsAlert => {
            // Handshake failure, protocol version, internal error, unrecognised name.
            let description = words.one_of(&[40, 70, 80, 112], 40);
            vec![
                Act::Hear(1),
                Act::Say(vec![21, 3, 3, 0, 2, 2, description]),
                Act::Close,
            ]
        }
        Kind::TlsGarbage => {
            let length = words.between(64, 1_024);
            let mut record = vec![22, 3, 3];
            record.extend(u16::try_from(length).unwrap_or(64).to_be_bytes());
            // No type of handshake message begins with this bit.
            record.push(0x80);
            record.extend(words.bytes(length.saturating_sub(1)));
            vec![Act::Hear(1), Act::Say(record), Act::Linger]
        }
        Kind::TlsSilentClose => vec![Act::Hear(1), Act::Close],
        _ => {
            // Half of them say what a server might say to the one question that is its own.
            let count = words.between(1, 200);
            let bytes = match words.between(0, 1) {
                0 => words.one_of(&PREFIXES, &[]).to_vec(),
                _ => words.printable(count),
            };
            vec![Act::Answer(Manner::Fixed(bytes))]
        }
    }
}

fn in_pieces(kind: Kind, words: &mut Words) -> Vec<Act> {
    let speaker =
        |service, words: &Words| Act::Answer(Manner::Speaks(Speaker::new(service, words.clone())));
    let mut acts = Vec::new();
    match kind {
        Kind::FtpLate => {
            let host = words.host();
            let first = format!("220-Welcome to {host}\r\n");
            acts.extend(pieces(first.as_bytes(), 7, GAP));
            acts.push(Act::Pause(LATE));
            acts.push(Act::Say(b"220 FTP server ready.\r\n".to_vec()));
            acts.push(speaker(Service::Ftp, words));
        }
        Kind::HttpSplit => {
            acts.push(Act::Hear(16));
            let reply = "HTTP/1.1 200 OK\r\nServer: Laboratory/1.2\r\nContent-Length: 2\r\n\
                         Connection: close\r\n\r\nok";
            acts.extend(pieces(reply.as_bytes(), 19, GAP));
            acts.push(Act::Close);
        }
        Kind::LateLine => {
            acts.push(Act::Say(format!("{}\r\n", words.line()).into_bytes()));
            acts.push(Act::Pause(LATE));
            acts.push(Act::Say(format!("{}\r\n", words.line()).into_bytes()));
            acts.push(Act::Linger);
        }
        Kind::SmtpSplit => {
            acts.extend(pieces(&Service::Smtp.greeting(words), 8, GAP));
            acts.push(speaker(Service::Smtp, words));
        }
        Kind::Speaks(service) => {
            acts.push(Act::Say(service.greeting(words)));
            acts.push(speaker(service, words));
        }
        Kind::SshByByte => {
            acts.extend(pieces(&Service::Ssh.greeting(words), 1, STEP));
            acts.push(speaker(Service::Ssh, words));
        }
        _ => {
            let line = format!("{}\r\n", words.line());
            acts.extend(pieces(line.as_bytes(), 6, GAP));
            acts.push(Act::Linger);
        }
    }
    acts
}

/// Says `bytes` so many at a time, with a pause after each.
fn pieces(bytes: &[u8], size: usize, gap: Duration) -> impl Iterator<Item = Act> {
    bytes
        .chunks(size)
        .flat_map(move |piece| [Act::Say(piece.to_vec()), Act::Pause(gap)])
}

/// Between the pieces of a line, and between its bytes.
const GAP: Duration = Duration::from_millis(50);
const STEP: Duration = Duration::from_millis(5);
/// Before a line that comes late.
const LATE: Duration = Duration::from_millis(300);

/// What is said at once without end.
const BLOCK: usize = 4 * 1_024;
/// Of [`Kind::Large`].
const LARGE: usize = 64 * 1_024;

/// Status lines that RFC 9112 §4 does not allow: digits that are none, or too many, or too few, of a
/// class that is none, another name, no blank, no version.
const BAD_HTTP: [&str; 8] = [
    "HTTP/1.1 2x0 OK\r\nServer: none\r\n\r\n",
    "HTTP/1.1 20000 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 999 Unknown\r\n\r\n",
    "HTTPS/1.1 200 OK\r\n\r\n",
    "HTTP/1.1200 OK\r\n\r\n",
    "HTTP 200 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
];

/// Beginnings of SSH, FTP and SMTP, POP3 and Redis, IMAP, HTTP, TLS, VNC, telnet, `PostgreSQL`, rsync,
/// `MySQL`, memcached, NNTP, AMQP, NATS, Zabbix, TPKT, RTSP, SIP, JDWP, ICA and CORBA, all of which are
/// beginnings of much else.
const PREFIXES: [&[u8]; 34] = [
    b"SS",
    b"SSH",
    b"22",
    b"220",
    b"+O",
    b"+",
    b"* ",
    b"-",
    b"HTTP",
    b"H",
    b"\x16\x03",
    b"\x16\x03\x03\x00\x7a",
    b"RFB",
    b"\xff",
    b"R",
    b"@RSY",
    b"J\0\0\0",
    b"VER",
    b"200",
    b"N",
    b"S",
    b"E",
    b"@RSYNCD",
    b"AMQP",
    b"INFO",
    b"ZBX",
    b"\x03\0",
    b"RTSP",
    b"SIP/2",
    b"JDWP",
    b"\x7f\x7f",
    b"GIOP",
    b"{",
    b"OK\r\n",
];

/// What breaks the grammar of the greeting that it looks like.
const NEAR_MISSES: [&[u8]; 16] = [
    b"SSH-2.0\r\n",
    b"@RSYNCD: thirty\n",
    b"+PONGO\r\n",
    b"VERSIONS 1.6.18\r\n",
    b"JDWP-Handshack",
    b"-Error: nothing of the kind\r\n",
    b"SSH_2.0-server\r\n",
    b"ssh-two-server\r\n",
    b"RFB 3.8\n",
    b"RFB abc.def\n",
    b"+OKAY ready\r\n",
    b"*OK ready\r\n",
    b"220server ready\r\n",
    b"22O FTP server ready\r\n",
    b"RSYNCD: thirty\n",
    b"\x05\0\0\0\x0aMySQL",
];

/// What follows `220` and a name, and is of two protocols.
const BOTH: [&str; 4] = [
    "FTP SMTP ready",
    "ESMTP and FTP server",
    "FTP server, ESMTP gateway",
    "SMTP/FTP",
];

/// Words of protocols, for the middle of a line.
const INSIDE: [&str; 8] = [
    "SSH-2.0-OpenSSH_9.2",
    "HTTP/1.1 200 OK",
    "FTP",
    "redis",
    "220 ESMTP Postfix",
    "+PONG",
    "RFB 003.008",
    "* OK IMAP4rev1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replier_says_the_same_every_time() {
        for kind in Kind::ADVERSE {
            let replier = Replier {
                port: 1,
                kind,
                seed: 7,
            };
            let [one, other] = [script(&replier), script(&replier)].map(|it| format!("{it:?}"));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn pieces_are_all_of_it() {
        let said: Vec<u8> = pieces(b"abcdefg", 3, GAP)
            .filter_map(|act| match act {
                Act::Say(bytes) => Some(bytes),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(said, b"abcdefg");
    }
}
