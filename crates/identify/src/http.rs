//! The HTTP/1.1 request of a first look, and what a reply to it shows: the status line and the
//! `Server` field, and where it ends. Nothing else of the reply is interpreted.

use portolan_model::Text;
use std::net::IpAddr;

/// What the bytes so far are. Once it is [`Parsed::NotHttp`] or [`Parsed::Http`], further bytes
/// change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not an HTTP/1 reply.
    NotHttp,
    /// A beginning of one.
    Incomplete,
    /// A reply.
    Http(Reply),
}

/// What a reply shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code, 100 to 599.
    pub status: u16,
    /// Status line without its line end.
    pub line: Vec<u8>,
    /// Value of the first `Server` field (RFC 9110 §10.2.4).
    pub server: Option<Vec<u8>>,
    /// Whether it says that the port wants HTTPS.
    pub wants: Wants,
    /// Bytes from the start of the reply to where it was read.
    pub length: usize,
}

/// What a server that refuses a request says of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing about TLS.
    Nothing,
    /// The request should have come over TLS.
    Tls,
}

/// Whether more bytes may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// More may come.
    Open,
    /// The peer closed, fell silent, or enough was read.
    Ended,
}

impl Reply {
    /// The status line, with the `Server` value behind it when there is one.
    pub fn evidence(&self) -> Text {
        let mut bytes = self.line.clone();
        if let Some(server) = &self.server {
            bytes.extend(" · ".as_bytes());
            bytes.extend(server);
        }
        Text::from_bytes(&bytes)
    }

    /// Product and version as the first product token of `Server` writes them
    /// (`nginx/1.22.1`, RFC 9110 §10.1.5).
    pub fn product(&self) -> (Option<Text>, Option<Text>) {
        let server = self.server.as_deref().unwrap_or_default();
        let first = server.split(|byte| matches!(byte, b' ' | b'\t')).next();
        let mut parts = first.unwrap_or_default().splitn(2, |byte| *byte == b'/');
        let mut token = || {
            let part = parts.next().filter(|part| !part.is_empty());
            part.filter(|part| part.iter().all(|byte| is_token(*byte)))
                .map(Text::from_bytes)
        };
        match (token(), token()) {
            (Some(product), version) => (Some(product), version),
            (None, _) => (None, None),
        }
    }
}

/// `GET` of `path` with the fields a server needs to answer. `host` is what stands in `Host`, see
/// [`host_field`].
pub fn request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Portolan/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
}

/// The value of `Host` (RFC 9110 §7.2): `name` when it is a DNS name, else the address, IPv6 in
/// brackets; the port unless it is 80.
pub fn host_field(name: Option<&str>, address: IpAddr, port: u16) -> String {
    let host = match (name.and_then(dns_name), address) {
        (Some(name), _) => name.to_owned(),
        (None, IpAddr::V4(v4)) => v4.to_string(),
        (None, IpAddr::V6(v6)) => format!("[{v6}]"),
    };
    match port {
        80 => host,
        port => format!("{host}:{port}"),
    }
}

/// `name` without a dot at its end, when it is a DNS name and not an address: 1 to 253 letters,
/// digits, hyphens, underscores and dots, so that nothing in it can become part of the protocol.
pub fn dns_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels_fit = name.split('.').all(|label| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    });
    // A last label of digits is an address, whatever form it has.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = !last.bytes().all(|byte| byte.is_ascii_digit());
    (name.len() <= 253 && labels_fit && is_name).then_some(name)
}

/// Reads a reply. Looks at the first `window` bytes only; reaching them ends the reading.
pub fn parse(bytes: &[u8], window: usize, ending: Ending) -> Parsed {
    let seen = bytes.get(..window).unwrap_or(bytes);
    let ending = if bytes.len() >= window {
        Ending::Ended
    } else {
        ending
    };
    let compared = seen.len().min(PREFIX.len());
    if seen.get(..compared) != PREFIX.get(..compared) {
        return Parsed::NotHttp;
    }
    let mut lines = Lines(seen);
    let line = match (lines.next(), ending) {
        (Some(line), _) => line,
        (None, Ending::Open) => return Parsed::Incomplete,
        (None, Ending::Ended) => lines.0,
    };
    let Some(status) = status(line) else {
        return Parsed::NotHttp;
    };
    let mut server = None;
    let mut head = Ending::Open;
    let mut body_end = BodyEnd::Close;
    for field in lines.by_ref() {
        if field.is_empty() {
            head = Ending::Ended;
            break;
        }
        if server.is_none() {
            server = value(field, b"server:").filter(|value| !value.is_empty());
        }
        body_end = body_end.after(field);
    }
    let body = lines.0;
    let wants = if head == Ending::Ended && status == 400 && mentions_tls(body) {
        Wants::Tls
    } else {
        Wants::Nothing
    };
    let end = if has_no_body(status) {
        Some(0)
    } else {
        body_end.of(body)
    };
    let end = end.filter(|_| head == Ending::Ended);
    if end.is_none() && ending == Ending::Open {
        return Parsed::Incomplete;
    }
    let before = seen.len().saturating_sub(body.len());
    Parsed::Http(Reply {
        status,
        line: line.to_vec(),
        server: server.map(<[u8]>::to_vec),
        wants,
        length: end.map_or(seen.len(), |end| before.saturating_add(end)),
    })
}

/// What ends the body of a reply (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyEnd {
    Chunked,
    Close,
    Length(usize),
}

impl BodyEnd {
    /// Chunks have precedence over a length.
    fn after(self, field: &[u8]) -> Self {
        let has = |name: &[u8]| value(field, name);
        if let Some(coding) = has(b"transfer-encoding:") {
            return if coding.to_ascii_lowercase().ends_with(b"chunked") {
                Self::Chunked
            } else {
                self
            };
        }
        let length = has(b"content-length:").and_then(|it| std::str::from_utf8(it).ok());
        match length.and_then(|it| it.parse().ok()) {
            Some(length) if self == Self::Close => Self::Length(length),
            _ => self,
        }
    }

    /// Where the body ends, when it does.
    fn of(self, body: &[u8]) -> Option<usize> {
        match self {
            Self::Chunked => {
                let last = body
                    .windows(LAST_CHUNK.len())
                    .position(|it| it == LAST_CHUNK);
                let alone = LAST_CHUNK.get(2..).unwrap_or_default();
                match last {
                    _ if body.starts_with(alone) => Some(alone.len()),
                    Some(at) => Some(at.saturating_add(LAST_CHUNK.len())),
                    None => None,
                }
            }
            Self::Close => None,
            Self::Length(length) => (body.len() >= length).then_some(length),
        }
    }
}

/// RFC 9110 §6.4.1.
const fn has_no_body(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// RFC 9112 §4: `HTTP/1.x`, space, three digits, then a space or the end. A digit that is not a
/// status class (RFC 9110 §15) is not HTTP.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(PREFIX)?;
    let (b'0'..=b'9', rest) = rest.split_first()? else {
        return None;
    };
    let rest = rest.strip_prefix(b" ")?;
    let (code, rest) = rest.split_at_checked(3)?;
    if !matches!(rest.first(), None | Some(b' ')) || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (100..=599).contains(&code).then_some(code)
}

/// The value of a field whose name, colon included, is `name` in small letters.
fn value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = field.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

fn mentions_tls(body: &[u8]) -> bool {
    TLS_MENTIONS.iter().any(|mention| {
        body.windows(mention.len())
            .any(|part| part.eq_ignore_ascii_case(mention.as_bytes()))
    })
}

/// Lines that are whole, without LF or CR LF; what is left over stays in the field.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

const PREFIX: &[u8] = b"HTTP/1.";
/// The end of a body in chunks without trailer fields (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// What servers write when a request in clear reaches a port for HTTPS: Nginx, Apache httpd, Go's
/// net/http, Tomcat.
const TLS_MENTIONS: [&str; 4] = [
    "sent to https port",
    "ssl-enabled server port",
    "to an https server",
    "host and port requires tls",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: usize = 2048;

    fn check(bytes: &[u8], evidence: &str, product: &str, version: &str) {
        let Parsed::Http(reply) = parse(bytes, WINDOW, Ending::Ended) else {
            panic!("not HTTP: {bytes:?}");
        };
        let text = |text: Option<Text>| text.map(String::from).unwrap_or_default();
        let (found_product, found_version) = reply.product();
        assert_eq!(reply.evidence().as_str(), evidence);
        assert_eq!(text(found_product), product);
        assert_eq!(text(found_version), version);
    }

    #[test]
    fn status_line_and_server_are_the_evidence() {
        check(
            b"HTTP/1.1 200 OK\r\nDate: now\r\nserver:  nginx/1.22.1 \r\n\r\n",
            "HTTP/1.1 200 OK · nginx/1.22.1",
            "nginx",
            "1.22.1",
        );
        check(b"HTTP/1.0 404\n\n", "HTTP/1.0 404", "", "");
        check(
            b"HTTP/1.1 200 OK\r\nServer: Apache/2.4.57 (Debian)\r\n\r\n",
            "HTTP/1.1 200 OK · Apache/2.4.57 (Debian)",
            "Apache",
            "2.4.57",
        );
        check(
            b"HTTP/1.1 200 OK\r\nServer: cloud\r\n\r\n",
            "HTTP/1.1 200 OK · cloud",
            "cloud",
            "",
        );
        check(
            b"HTTP/1.1 200 OK\r\nServer: <b>/1\r\n\r\n",
            "HTTP/1.1 200 OK · <b>/1",
            "",
            "",
        );
        check(
            b"HTTP/1.1 200 OK\r\nServer: cut/1",
            "HTTP/1.1 200 OK",
            "",
            "",
        );
    }

    #[test]
    fn a_server_field_in_the_body_is_not_a_field() {
        check(
            b"HTTP/1.1 200 OK\r\n\r\nServer: body/1\r\n",
            "HTTP/1.1 200 OK",
            "",
            "",
        );
    }

    #[test]
    fn what_only_resembles_a_reply_is_none() {
        for bytes in [
            &b"HTTP/2.0 200 OK\r\n"[..],
            b"HTTP/1.1 20 OK\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 999 OK\r\n",
            b"HTTP/1.1  200 OK\r\n",
            b"HTTP/1.x 200 OK\r\n",
            b"HTTP/1.1\r\n",
            b"ICY 200 OK\r\n",
        ] {
            assert_eq!(parse(bytes, WINDOW, Ending::Ended), Parsed::NotHttp);
        }
    }

    #[test]
    fn a_refusal_that_asks_for_tls_is_recognised() {
        let of = |body: &str| {
            let bytes = format!("HTTP/1.1 400 Bad Request\r\n\r\n{body}");
            match parse(bytes.as_bytes(), WINDOW, Ending::Ended) {
                Parsed::Http(reply) => reply.wants,
                other => panic!("{other:?}"),
            }
        };
        let nginx = "<center>The plain HTTP request was sent to HTTPS port</center>";
        assert_eq!(of(nginx), Wants::Tls);
        let go = "Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(of(go), Wants::Tls);
        assert_eq!(of("see https://www.example.org/"), Wants::Nothing);
    }

    #[test]
    fn only_a_name_becomes_a_host_field() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(host_field(Some("a.example."), v4, 80), "a.example");
        assert_eq!(host_field(Some("a.example"), v4, 8080), "a.example:8080");
        assert_eq!(host_field(None, v6, 443), "[2001:db8::1]:443");
        for not_a_name in [
            "x\r\nEvil: 1",
            "",
            "a..b",
            "192.0.2.9",
            "0x7f.1",
            "ü",
            "a b",
        ] {
            assert_eq!(host_field(Some(not_a_name), v4, 80), "192.0.2.1");
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_decision(
            cut in 0_usize..120,
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes =
                b"HTTP/1.1 400 Bad Request\r\nServer: x/1\r\n\r\n sent to https port".to_vec();
            bytes.truncate(cut);
            bytes.extend(noise);
            let mut decided: Option<Parsed> = None;
            for length in 0..=bytes.len() {
                let now = parse(&bytes[..length], 150, Ending::Open);
                if let Some(before) = &decided {
                    prop_assert_eq!(before, &now);
                } else if now != Parsed::Incomplete {
                    decided = Some(now);
                }
            }
        }
    }
}
