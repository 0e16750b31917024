//! Ten services as their specifications have them, as far as a client gets that does not log in.
//! Products and host names are made up, so that nothing but the protocol can give them away.
//!
//! What is not here: when the bytes are sent (`serve`).

use super::script::Words;

/// A service that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// RFC 959.
    Ftp,
    /// RFC 9112.
    Http,
    /// RFC 9051.
    Imap,
    /// The text protocol of memcached (`doc/protocol.txt` of its sources).
    Memcached,
    /// The client/server protocol of `MySQL`, protocol version 10.
    Mysql,
    /// RFC 1939.
    Pop3,
    /// RESP 2 and inline commands, as the documentation of Redis has them.
    Redis,
    /// RFC 5321.
    Smtp,
    /// RFC 4253.
    Ssh,
    /// RFC 6143.
    Vnc,
}

/// What a service says to what it has heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// How many of the bytes it has dealt with.
    pub(super) consumed: usize,
    pub(super) bytes: Vec<u8>,
    /// Whether it closes then.
    pub(super) closes: bool,
}

/// A service in a conversation.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    service: Service,
    words: Words,
    answers: usize,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Ftp,
        Self::Http,
        Self::Imap,
        Self::Memcached,
        Self::Mysql,
        Self::Pop3,
        Self::Redis,
        Self::Smtp,
        Self::Ssh,
        Self::Vnc,
    ];

    /// Name of the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ftp => "ftp",
            Self::Http => "http",
            Self::Imap => "imap",
            Self::Memcached => "memcached",
            Self::Mysql => "mysql",
            Self::Pop3 => "pop3",
            Self::Redis => "redis",
            Self::Smtp => "smtp",
            Self::Ssh => "ssh",
            Self::Vnc => "vnc",
        }
    }

    /// What it says before it is asked; empty where it waits.
    pub(super) fn greeting(self, words: &mut Words) -> Vec<u8> {
        let host = words.host();
        let text = match self {
            Self::Http | Self::Memcached | Self::Redis => return Vec::new(),
            Self::Ftp => format!("220 {host} FTP server ready.\r\n"),
            Self::Imap => format!("* OK [CAPABILITY IMAP4rev1] {host} ready\r\n"),
            Self::Mysql => return mysql_greeting(words),
            Self::Pop3 => format!("+OK {host} ready\r\n"),
            Self::Smtp => format!("220 {host} ESMTP ready\r\n"),
            Self::Ssh => "SSH-2.0-Laboratory_1.2\r\n".to_owned(),
            Self::Vnc => "RFB 003.008\n".to_owned(),
        };
        text.into_bytes()
    }
}

impl Speaker {
    pub(super) const fn new(service: Service, words: Words) -> Self {
        Self {
            service,
            words,
            answers: 0,
        }
    }

    /// What it says to `heard`; `None` while it waits for more.
    pub(super) fn answer(&mut self, heard: &[u8]) -> Option<Answer> {
        let answer = match self.service {
            Service::Http => http(heard),
            Service::Mysql => mysql(heard),
            Service::Vnc => vnc(heard, self.answers, &mut self.words),
            Service::Ftp
            | Service::Imap
            | Service::Memcached
            | Service::Pop3
            | Service::Redis
            | Service::Smtp
            | Service::Ssh => self.line(heard),
        }?;
        self.answers = self.answers.saturating_add(1);
        Some(answer)
    }

    /// The answer to one line.
    fn line(&mut self, heard: &[u8]) -> Option<Answer> {
        let end = heard.iter().position(|byte| *byte == b'\n')?;
        let line = heard.get(..end).unwrap_or_default().trim_ascii_end();
        let line = String::from_utf8_lossy(line);
        let (text, closes) = match self.service {
            Service::Ftp => ftp(&line),
            Service::Imap => imap(&line),
            Service::Memcached => memcached(&line),
            Service::Pop3 => pop3(&line),
            Service::Redis => redis(&line),
            Service::Smtp => smtp(&line, &self.words.host()),
            _ if self.answers > 0 => (String::new(), true),
            _ if line.starts_with("SSH-2.0-") => {
                return Some(Answer {
                    consumed: end.saturating_add(1),
                    bytes: key_exchange(&mut self.words),
                    closes: false,
                });
            }
            _ => ("Invalid SSH identification string.\r\n".to_owned(), true),
        };
        Some(Answer {
            consumed: end.saturating_add(1),
            bytes: text.into_bytes(),
            closes,
        })
    }
}

/// The first word, and the rest.
fn split(line: &str) -> (String, &str) {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    (first.to_ascii_uppercase(), rest)
}

fn ftp(line: &str) -> (String, bool) {
    let (verb, _) = split(line);
    let reply = match verb.as_str() {
        "FEAT" => "211-Features:\r\n UTF8\r\n211 End",
        "NOOP" => "200 NOOP ok.",
        "QUIT" => return ("221 Goodbye.\r\n".to_owned(), true),
        "SYST" | "PWD" | "LIST" => "530 Please login with USER and PASS.",
        "USER" => "331 Please specify the password.",
        "AUTH" | "HELP" => "502 Command not implemented.",
        _ => "500 Unknown command.",
    };
    (format!("{reply}\r\n"), false)
}

fn smtp(line: &str, host: &str) -> (String, bool) {
    let (verb, _) = split(line);
    let reply = match verb.as_str() {
        "EHLO" => format!("250-{host}\r\n250-SIZE 10240000\r\n250 8BITMIME"),
        "HELO" => format!("250 {host}"),
        "HELP" => "214 2.0.0 See RFC 5321".to_owned(),
        "NOOP" | "RSET" => "250 2.0.0 Ok".to_owned(),
        "QUIT" => return ("221 2.0.0 Bye\r\n".to_owned(), true),
        _ => "500 5.5.1 Command unrecognized".to_owned(),
    };
    (format!("{reply}\r\n"), false)
}

fn imap(line: &str) -> (String, bool) {
    let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (verb, _) = split(rest);
    match verb.as_str() {
        _ if tag.is_empty() => ("* BAD Invalid tag\r\n".to_owned(), false),
        "CAPABILITY" => (
            format!("* CAPABILITY IMAP4rev1\r\n{tag} OK Done\r\n"),
            false,
        ),
        "LOGOUT" => (format!("* BYE Logging out\r\n{tag} OK Done\r\n"), true),
        "NOOP" => (format!("{tag} OK Done\r\n"), false),
        _ => (format!("{tag} BAD Unknown command\r\n"), false),
    }
}

fn pop3(line: &str) -> (String, bool) {
    let (verb, _) = split(line);
    match verb.as_str() {
        "CAPA" => ("+OK\r\nUSER\r\nUIDL\r\n.\r\n".to_owned(), false),
        "QUIT" => ("+OK Bye\r\n".to_owned(), true),
        "USER" => ("+OK\r\n".to_owned(), false),
        _ => ("-ERR Unknown command\r\n".to_owned(), false),
    }
}

/// Commands are in lower case; another word is none.
fn memcached(line: &str) -> (String, bool) {
    match line.split(' ').next().unwrap_or_default() {
        "get" | "gets" => ("END\r\n".to_owned(), false),
        "quit" => (String::new(), true),
        "stats" => (
            "STAT pid 1\r\nSTAT version 1.6.18\r\nEND\r\n".to_owned(),
            false,
        ),
        "version" => ("VERSION 1.6.18\r\n".to_owned(), false),
        _ => ("ERROR\r\n".to_owned(), false),
    }
}

/// The words of an array (`*1`, `$4`) are lines of their own; the sizes need no answer.
fn redis(line: &str) -> (String, bool) {
    let (verb, rest) = split(line);
    match verb.as_str() {
        "" => (String::new(), false),
        size if size.starts_with(['*', '$']) => (String::new(), false),
        "GET" | "INFO" if rest.contains(' ') => (
            format!(
                "-ERR wrong number of arguments for '{}' command\r\n",
                verb.to_ascii_lowercase()
            ),
            false,
        ),
        "INFO" => {
            let text = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
            (format!("${}\r\n{text}\r\n", text.len()), false)
        }
        "PING" => ("+PONG\r\n".to_owned(), false),
        "QUIT" => ("+OK\r\n".to_owned(), true),
        // What a browser is made to send is refused without a word.
        "HOST:" | "POST" => (String::new(), true),
        _ => {
            let word = line.split(' ').next().unwrap_or_default();
            (
                format!("-ERR unknown command '{word}', with args beginning with: \r\n"),
                false,
            )
        }
    }
}

/// One request. What is no HTTP is refused as soon as its first line ends, or its first byte is no
/// character.
fn http(heard: &[u8]) -> Option<Answer> {
    let whole = heard.windows(4).any(|it| it == b"\r\n\r\n");
    let first = heard.split(|byte| *byte == b'\n').next()?;
    let has_line = first.len() < heard.len();
    let is_text = heard.first().is_some_and(u8::is_ascii_uppercase);
    let is_http = first.windows(8).any(|it| it.starts_with(b" HTTP/1."));
    let status = match (is_text, has_line, is_http, whole) {
        (true, true, true, true) => "200 OK",
        (true, true, true, false) | (true, false, ..) => return None,
        _ => "400 Bad Request",
    };
    let body = format!("<html><title>{status}</title></html>\n");
    let text = format!(
        "HTTP/1.1 {status}\r\nServer: Laboratory/1.2\r\nContent-Type: text/html\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Some(Answer {
        consumed: heard.len(),
        bytes: text.into_bytes(),
        closes: true,
    })
}

/// `HandshakeV10` of the protocol's documentation: without TLS.
fn mysql_greeting(words: &mut Words) -> Vec<u8> {
    const CAPABILITIES: [u8; 2] = [0xff, 0xf7];
    const CAPABILITIES_HIGH: [u8; 2] = [0xff, 0xdf];
    let mut payload = vec![10];
    payload.extend(b"8.0.36\0");
    payload.extend(&words.bytes(4));
    // Salt: no NUL in it.
    payload.extend(words.letters(8).as_bytes());
    payload.push(0);
    payload.extend(CAPABILITIES);
    // Character set, then the status flags.
    payload.extend([0xff, 0x02, 0x00]);
    payload.extend(CAPABILITIES_HIGH);
    payload.push(21);
    payload.extend([0; 10]);
    payload.extend(words.letters(12).as_bytes());
    payload.push(0);
    payload.extend(b"caching_sha2_password\0");
    mysql_packet(0, &payload)
}

fn mysql_packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    let mut packet = length.get(..3).unwrap_or_default().to_vec();
    packet.push(sequence);
    packet.extend(payload);
    packet
}

/// An error for whoever logs in, and another for what is not the next packet.
fn mysql(heard: &[u8]) -> Option<Answer> {
    let [low, middle, high, sequence, body @ ..] = heard else {
        return None;
    };
    let length = u32::from_le_bytes([*low, *middle, *high, 0]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut payload = vec![0xff];
    if *sequence != 1 {
        payload.extend(1156_u16.to_le_bytes());
        payload.extend(b"#08S01Got packets out of order");
    } else if body.len() < length.min(LOGIN_MAX) {
        return None;
    } else {
        payload.extend(1045_u16.to_le_bytes());
        payload.extend(b"#28000Access denied for user");
    }
    Some(Answer {
        consumed: heard.len(),
        bytes: mysql_packet(sequence.wrapping_add(1), &payload),
        closes: true,
    })
}

/// Version, then the security types (only authentication by a password), then the challenge.
fn vnc(heard: &[u8], answers: usize, words: &mut Words) -> Option<Answer> {
    let (consumed, bytes, closes) = match answers {
        0 if heard.len() < RFB_LEN => return None,
        0 if heard.starts_with(b"RFB 003.") => (RFB_LEN, vec![1, 2], false),
        1 => (1, words.bytes(16), heard.first() != Some(&2)),
        _ => (heard.len(), Vec::new(), true),
    };
    (!heard.is_empty()).then_some(Answer {
        consumed,
        bytes,
        closes,
    })
}

/// `SSH_MSG_KEXINIT` in a packet of its own (RFC 4253 §6 and §7.1).
fn key_exchange(words: &mut Words) -> Vec<u8> {
    const LISTS: [&str; 10] = [
        "curve25519-sha256,ecdh-sha2-nistp256",
        "ssh-ed25519,rsa-sha2-512",
        "aes128-ctr,aes256-ctr",
        "aes128-ctr,aes256-ctr",
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ];
    let mut payload = vec![20];
    payload.extend(words.bytes(16));
    for list in LISTS {
        payload.extend(u32::try_from(list.len()).unwrap_or(0).to_be_bytes());
        payload.extend(list.as_bytes());
    }
    // No guess follows, and four reserved bytes.
    payload.extend([0; 5]);
    // Length, padding length, payload and padding are a multiple of 8, with 4 bytes of padding or
    // more.
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let mut packet = u32::try_from(payload.len() + padding + 1)
        .unwrap_or(0)
        .to_be_bytes()
        .to_vec();
    packet.push(u8::try_from(padding).unwrap_or(4));
    packet.extend(payload);
    packet.extend(std::iter::repeat_n(0, padding));
    packet
}

/// Bytes of a protocol version (RFC 6143 §7.1.1).
const RFB_LEN: usize = 12;
/// The longest login that is waited for.
const LOGIN_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: Service, heard: &[u8], expected: Option<&str>) {
        let mut speaker = Speaker::new(service, Words::new(3));
        let answer = speaker.answer(heard);
        let text = answer.map(|it| String::from_utf8_lossy(&it.bytes).into_owned());
        match (&text, expected) {
            (Some(text), Some(expected)) => assert!(text.contains(expected), "{text:?}"),
            _ => assert_eq!(text.as_deref(), expected, "{service:?}"),
        }
    }

    #[test]
    fn a_service_answers_in_its_own_protocol() {
        check(Service::Ftp, b"GET / HTTP/1.1\r\n", Some("500 "));
        check(Service::Ftp, b"QUI", None);
        check(Service::Http, b"GET / HTTP/1.1\r\nHost: x\r\n", None);
        check(Service::Http, b"GET / HTTP/1.1\r\n\r\n", Some("1.1 200 OK"));
        check(Service::Http, b"\x16\x03\x01", Some("HTTP/1.1 400 "));
        check(Service::Http, b"EHLO there\r\n", Some("HTTP/1.1 400 "));
        check(Service::Imap, b"a CAPABILITY\r\n", Some("a OK Done"));
        check(Service::Memcached, b"version\r\n", Some("VERSION 1.6.18"));
        check(Service::Memcached, b"GET / HTTP/1.1\r\n", Some("ERROR"));
        check(Service::Mysql, b"GET / HTTP/1.1\r\n", Some("#08S01Got"));
        check(Service::Pop3, b"GET / HTTP/1.1\r\n", Some("-ERR "));
        check(Service::Redis, b"PING\r\n", Some("+PONG"));
        check(Service::Redis, b"GET / HTTP/1.1\r\n", Some("-ERR wrong"));
        check(Service::Smtp, b"EHLO there\r\n", Some("250-SIZE"));
        check(Service::Ssh, b"SSH-2.0-x\r\n", Some("curve25519-sha256"));
        check(Service::Ssh, b"GET / HTTP/1.1\r\n", Some("Invalid SSH"));
        check(Service::Vnc, b"RFB 003.008\n", Some("\u{1}\u{2}"));
        check(Service::Vnc, b"RFB", None);
    }

    #[test]
    fn packets_have_the_lengths_that_they_tell() {
        for seed in 0..9 {
            let greeting = Service::Mysql.greeting(&mut Words::new(seed));
            assert_eq!(greeting.len(), 4 + usize::from(greeting[0]));
            let packet = key_exchange(&mut Words::new(seed));
            let length = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            assert_eq!(packet.len(), 4 + usize::try_from(length).unwrap());
            assert_eq!(packet.len() % 8, 0);
            assert!(packet[4] >= 4);
        }
    }
}
