//! Which kinds of text a service has said: the banner behind its code, the fields of a reply.
//!
//! The bytes are a stranger's. What is cut short gives what is whole; nothing is guessed.

use std::borrow::Cow;

/// A kind of text that a conversation can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// As the files name it.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
}

/// Every kind that [`said`] finds.
pub const KINDS: &[Kind] = &[
    kind("ftp.banner", "the greeting of FTP, without its code"),
    kind("html_title", "the title of a page"),
    kind("http_header.cookie", "the Set-Cookie fields of HTTP"),
    kind("http_header.server", "the Server field of HTTP"),
    kind("http_header.wwwauth", "the WWW-Authenticate fields of HTTP"),
    kind(
        "http_header.x-powered-by",
        "the X-Powered-By fields of HTTP",
    ),
    kind("imap4.banner", "the greeting of IMAP, behind * OK"),
    kind("mysql.banners", "the version in the greeting of MySQL"),
    kind("mysql.error", "the message of an error of MySQL"),
    kind("nntp.banner", "the greeting of NNTP, without its code"),
    kind("pop3.banner", "the greeting of POP3, behind +OK"),
    kind("rtsp_header.server", "the Server field of RTSP"),
    kind("sip_header.server", "the Server field of SIP"),
    kind("sip_header.user_agent", "the User-Agent field of SIP"),
    kind("smtp.banner", "the greeting of SMTP, without its code"),
    kind("ssh.banner", "the software in the greeting of SSH"),
    kind("telnet.banner", "the text of Telnet, without its commands"),
];

const fn kind(name: &'static str, what: &'static str) -> Kind {
    Kind { name, what }
}

/// A text of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The text.
    pub text: Cow<'a, [u8]>,
}

/// Bytes of what was received that are looked at.
const RECEIVED_BYTES_MAX: usize = 64 * 1024;
/// Lines of a head that are looked at.
const LINES_MAX: usize = 128;
/// Most texts of one reply.
const SAID_MAX: usize = 16;
/// Longest title in bytes.
const TITLE_BYTES_MAX: usize = 1024;

/// The texts in what a service sent in one exchange. `service` is the protocol by its name in
/// Portolan; where the bytes say theirs, they are believed. The likelier form of a text is first.
pub fn said<'a>(service: &str, received: &'a [u8]) -> Vec<Said<'a>> {
    let received = received.get(..RECEIVED_BYTES_MAX).unwrap_or(received);
    let mut said = Vec::new();
    match service {
        _ if received.starts_with(b"HTTP/1.") => http(received, &mut said),
        _ if received.starts_with(b"RTSP/1.") || received.starts_with(b"RTSP/2.") => {
            fields(received, &[("server", "rtsp_header.server")], &mut said);
        }
        _ if received.starts_with(b"SIP/2.0 ") => fields(received, SIP_FIELDS, &mut said),
        "ftp" => greeting("ftp.banner", received, &mut said),
        "imap" => behind(
            "imap4.banner",
            &[b"* OK ", b"* PREAUTH "],
            received,
            &mut said,
        ),
        "mysql" => mysql(received, &mut said),
        "nntp" => greeting("nntp.banner", received, &mut said),
        "pop3" => behind("pop3.banner", &[b"+OK "], received, &mut said),
        "smtp" => greeting("smtp.banner", received, &mut said),
        "ssh" => ssh(received, &mut said),
        "telnet" => telnet(received, &mut said),
        _ => {}
    }
    said.truncate(SAID_MAX);
    said
}

const HTTP_FIELDS: &[(&str, &str)] = &[
    ("server", "http_header.server"),
    ("set-cookie", "http_header.cookie"),
    ("www-authenticate", "http_header.wwwauth"),
    ("x-powered-by", "http_header.x-powered-by"),
];

const SIP_FIELDS: &[(&str, &str)] = &[
    ("server", "sip_header.server"),
    ("user-agent", "sip_header.user_agent"),
];

/// Adds a text; an empty one says nothing.
fn add<'a>(said: &mut Vec<Said<'a>>, kind: &'static str, text: impl Into<Cow<'a, [u8]>>) {
    let text = text.into();
    if !text.is_empty() {
        said.push(Said { kind, text });
    }
}

/// The lines, without their ends; no more than [`LINES_MAX`].
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').take(LINES_MAX);
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The line that names the software (RFC 4253 §4.2); others may stand before it.
fn ssh<'a>(received: &'a [u8], said: &mut Vec<Said<'a>>) {
    let line = lines(received).find_map(|line| line.strip_prefix(b"SSH-"));
    let Some(line) = line else { return };
    if let Some(at) = line.iter().position(|byte| *byte == b'-') {
        let software = line.get(at.saturating_add(1)..).unwrap_or_default();
        add(said, "ssh.banner", software);
    }
}

/// A reply of lines with a code (RFC 959 §4.2, RFC 5321 §4.2.1, RFC 3977 §3.1), without the codes;
/// then as it came, for patterns that begin with the code.
fn greeting<'a>(kind: &'static str, received: &'a [u8], said: &mut Vec<Said<'a>>) {
    let whole = received.trim_ascii();
    let Some(code) = whole
        .get(..3)
        .filter(|it| it.iter().all(u8::is_ascii_digit))
    else {
        return;
    };
    let text: Vec<&[u8]> = lines(whole)
        .map(|line| {
            let behind = line.strip_prefix(code);
            let text =
                behind.and_then(|it| it.strip_prefix(b" ").or_else(|| it.strip_prefix(b"-")));
            text.unwrap_or(line)
        })
        .collect();
    add(said, kind, text.join(&b"\n"[..]).trim_ascii().to_vec());
    add(said, kind, whole);
}

/// The first line, behind one of `signs`; then with it.
fn behind<'a>(kind: &'static str, signs: &[&[u8]], received: &'a [u8], said: &mut Vec<Said<'a>>) {
    let line = lines(received).next().unwrap_or_default();
    let text = signs.iter().find_map(|sign| line.strip_prefix(*sign));
    if let Some(text) = text {
        add(said, kind, text.trim_ascii());
        add(said, kind, line.trim_ascii());
    }
}

/// The first packet of a server: a greeting of protocol 10 with the version up to a zero byte, or
/// an error with a number and a message.
fn mysql<'a>(received: &'a [u8], said: &mut Vec<Said<'a>>) {
    // Three bytes of length, one of sequence, then the packet.
    let [low, middle, high, _, packet @ ..] = received else {
        return;
    };
    let length = u32::from_le_bytes([*low, *middle, *high, 0]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let packet = packet.get(..length).unwrap_or(packet);
    match packet {
        [10, rest @ ..] => {
            let mut version = rest.split(|byte| *byte == 0);
            if rest.contains(&0) {
                add(said, "mysql.banners", version.next().unwrap_or_default());
            }
        }
        [0xff, _, _, message @ ..] => {
            // Newer servers put a state of five letters before it, behind a sign.
            let behind = message.starts_with(b"#").then(|| message.get(6..));
            add(said, "mysql.error", behind.flatten().unwrap_or(message));
        }
        _ => {}
    }
}

/// What is left without commands (RFC 854): three bytes for an option, more for what is
/// negotiated about it.
fn telnet<'a>(received: &'a [u8], said: &mut Vec<Said<'a>>) {
    const COMMAND: u8 = 255;
    let mut text = Vec::new();
    let mut rest = received;
    loop {
        rest = match rest {
            [COMMAND, COMMAND, behind @ ..] => {
                text.push(COMMAND);
                behind
            }
            [COMMAND, 250, behind @ ..] => {
                let end = behind.windows(2).position(|it| it == [COMMAND, 240]);
                let Some(end) = end else { break };
                behind.get(end.saturating_add(2)..).unwrap_or_default()
            }
            [COMMAND, 251..=254, _, behind @ ..] | [COMMAND, 240..=249, behind @ ..] => behind,
            [byte, behind @ ..] if *byte != COMMAND => {
                if *byte != 0 {
                    text.push(*byte);
                }
                behind
            }
            _ => break,
        };
    }
    add(said, "telnet.banner", text.trim_ascii().to_vec());
}

fn http<'a>(received: &'a [u8], said: &mut Vec<Said<'a>>) {
    fields(received, HTTP_FIELDS, said);
    if let Some(title) = title(body(received)) {
        add(said, "html_title", title);
    }
}

/// The values of the fields that are wanted (RFC 9112 §5), by small name and kind. The last line
/// counts only when it is whole: half a version is a wrong one.
fn fields<'a>(received: &'a [u8], wanted: &[(&str, &'static str)], said: &mut Vec<Said<'a>>) {
    let whole = received
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap_or(0);
    let whole = received.get(..whole).unwrap_or_default();
    for line in lines(whole).skip(1).take_while(|line| !line.is_empty()) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(at);
        let found = wanted
            .iter()
            .find(|(wanted, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        if let Some((_, kind)) = found
            && said.len() < SAID_MAX.saturating_sub(1)
        {
            let value = value.strip_prefix(b":").unwrap_or(value);
            add(said, kind, value.trim_ascii());
        }
    }
}

/// What stands behind the first empty line.
fn body(received: &[u8]) -> &[u8] {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|end| {
        let at = memchr::memmem::find(received, end)?;
        Some(at.saturating_add(end.len()))
    });
    let end = ends.into_iter().flatten().min();
    end.and_then(|end| received.get(end..)).unwrap_or_default()
}

/// The text of the first `title` element that is whole.
fn title(body: &[u8]) -> Option<&[u8]> {
    let lower = body.to_ascii_lowercase();
    let opens = memchr::memmem::find(&lower, b"<title")?;
    let begin = memchr::memchr(b'>', lower.get(opens..)?)?
        .checked_add(opens)?
        .checked_add(1)?;
    let length = memchr::memmem::find(lower.get(begin..)?, b"</title")?;
    let title = body.get(begin..begin.checked_add(length)?)?.trim_ascii();
    (title.len() <= TITLE_BYTES_MAX).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: &str, received: &[u8], expected: &[(&str, &str)]) {
        let found = said(service, received);
        let found: Vec<(&str, String)> = found
            .iter()
            .map(|it| (it.kind, String::from_utf8_lossy(&it.text).into_owned()))
            .collect();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(kind, it)| (*kind, it.as_str()))
            .collect();
        assert_eq!(found, expected, "{service}");
        for (kind, _) in found {
            assert!(KINDS.iter().any(|it| it.name == kind), "{kind}");
        }
    }

    #[test]
    fn a_greeting_has_its_text_behind_the_sign() {
        check(
            "ssh",
            b"SSH-2.0-Acme_1.2 x\r\n\0\0",
            &[("ssh.banner", "Acme_1.2 x")],
        );
        check("ssh", b"wait\r\nSSH-1.99-A-b\n", &[("ssh.banner", "A-b")]);
        check("ssh", b"SSH-2.0", &[]);
        check(
            "ftp",
            b"220-one\r\n two\r\n220 three\r\n",
            &[
                ("ftp.banner", "one\n two\nthree"),
                ("ftp.banner", "220-one\r\n two\r\n220 three"),
            ],
        );
        check(
            "smtp",
            b"220 mx ESMTP\r\n",
            &[("smtp.banner", "mx ESMTP"), ("smtp.banner", "220 mx ESMTP")],
        );
        check("smtp", b"no code", &[]);
        check(
            "nntp",
            b"200 news\r\n",
            &[("nntp.banner", "news"), ("nntp.banner", "200 news")],
        );
        check(
            "pop3",
            b"+OK ready <1@a>\r\n",
            &[
                ("pop3.banner", "ready <1@a>"),
                ("pop3.banner", "+OK ready <1@a>"),
            ],
        );
        check(
            "imap",
            b"* PREAUTH hello\r\n",
            &[
                ("imap4.banner", "hello"),
                ("imap4.banner", "* PREAUTH hello"),
            ],
        );
        check("imap", b"* BYE\r\n", &[]);
    }

    #[test]
    fn telnet_has_its_text_between_the_commands() {
        check(
            "telnet",
            b"\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0\xff\xf1\r\nbox login: ",
            &[("telnet.banner", "box login:")],
        );
        check("telnet", b"\xff\xfb\x01\xff", &[]);
        check(
            "telnet",
            b"a\xff\xfa\x18 never ends",
            &[("telnet.banner", "a")],
        );
    }

    #[test]
    fn mysql_says_a_version_or_an_error() {
        check(
            "mysql",
            b"\x0b\0\0\0\x0a8.0.1-x\0\x01\x02",
            &[("mysql.banners", "8.0.1-x")],
        );
        check("mysql", b"\x0b\0\0\0\x0a8.0.1", &[]);
        check(
            "mysql",
            b"\x0f\0\0\0\xff\x6a\x04#HY000no way",
            &[("mysql.error", "no way")],
        );
        check(
            "mysql",
            b"\x07\0\0\x01\xff\x6a\x04nope",
            &[("mysql.error", "nope")],
        );
        check("mysql", b"\x07\0", &[]);
    }

    #[test]
    fn a_reply_of_http_has_fields_and_a_title() {
        check(
            "http",
            b"HTTP/1.1 401 No\r\nserver:  Acme/1.0 \r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
              Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Powered-By: Z\r\nOther: 1\r\n\r\n\
              Server: no\r\n<TITLE lang=a>\n Front \n</title><title>2</title>",
            &[
                ("http_header.server", "Acme/1.0"),
                ("http_header.wwwauth", "Basic realm=\"x\""),
                ("http_header.cookie", "a=1"),
                ("http_header.cookie", "b=2"),
                ("http_header.x-powered-by", "Z"),
                ("html_title", "Front"),
            ],
        );
        check(
            "",
            b"HTTP/1.0 200 OK\nServer: a\n\n",
            &[("http_header.server", "a")],
        );
        check("http", b"HTTP/1.1 200 OK\r\nServer: Acme/1.", &[]);
        check("http", b"HTTP/1.1 200 OK\r\n\r\n<title>cut", &[]);
        check("http", b"HTTP/1.1 200 OK\r\n:\r\nno colon\r\n", &[]);
        check(
            "sip",
            b"SIP/2.0 200 OK\r\nServer: a\r\nUser-Agent: b\r\n\r\n",
            &[("sip_header.server", "a"), ("sip_header.user_agent", "b")],
        );
        check(
            "rtsp",
            b"RTSP/1.0 200 OK\r\nServer: a\r\n\r\n",
            &[("rtsp_header.server", "a")],
        );
    }

    #[test]
    fn an_endless_head_is_bounded() {
        let mut reply = b"HTTP/1.1 200 OK\r\n".to_vec();
        for _ in 0..1_000 {
            reply.extend(b"Set-Cookie: a=1\r\n");
        }
        reply.extend(b"\r\n<title>t</title>");
        let found = said("http", &reply);
        assert_eq!(found.len(), SAID_MAX);
        assert_eq!(found.last().map(|it| it.kind), Some("html_title"));
    }
}
