//! Names for the first line of a server, where the line alone proves the protocol. A grammar
//! that several protocols share names nothing.

use crate::speech::{Asked, LineEnd};
use portolan_model::Text;

/// What a line proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) product: Option<Text>,
    pub(crate) version: Option<Text>,
    pub(crate) confidence: u8,
}

/// The protocol that `line` (without its line end) proves; `None` when it proves none. After a
/// question of ours a late greeting looks like an answer, so the short grammars then count only
/// when the line says more than the grammar asks.
pub(crate) fn name(line: &[u8], asked: Asked, end: LineEnd) -> Option<Named> {
    let plain = |name, confidence| Named {
        name,
        product: None,
        version: None,
        confidence,
    };
    if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
        return Some(ssh(line, end));
    }
    if is_rfb(line) {
        return Some(plain("vnc", GRAMMAR));
    }
    // RFC 1939 §3 and §4: the status indicator, then the end or a space.
    if line == b"+OK" && end == LineEnd::Whole || line.starts_with(b"+OK ") {
        return (asked == Asked::Nothing || has_word(line, "POP3")).then(|| plain("pop3", SHORT));
    }
    // RFC 9051 §7.1: an untagged status response is the only greeting.
    if [&b"* OK "[..], b"* PREAUTH ", b"* BYE "]
        .iter()
        .any(|start| line.starts_with(start))
    {
        let says_imap = has_word(line, "IMAP4rev1") || has_word(line, "IMAP4rev2");
        return (asked == Asked::Nothing || says_imap).then(|| plain("imap", SHORT));
    }
    if line.starts_with(b"220 ") || line.starts_with(b"220-") {
        return ready(line).map(|name| plain(name, WORD));
    }
    None
}

/// RFC 4253 §4.2: `SSH-protoversion-softwareversion SP comments`. The software version names
/// product and version the way its maker writes them; the usual form is `product_version`.
fn ssh(line: &[u8], end: LineEnd) -> Named {
    let mut parts = line.splitn(3, |byte| *byte == b'-').skip(2);
    let software = parts.next().unwrap_or_default();
    let mut words = software.splitn(2, |byte| *byte == b' ');
    let software = words.next().unwrap_or_default();
    // A line that was cut inside the software version would give half a version.
    let whole = end == LineEnd::Whole || words.next().is_some();
    let (product, version) = if whole && software.iter().all(u8::is_ascii_graphic) {
        split_product(software)
    } else {
        (None, None)
    };
    Named {
        name: "ssh",
        product,
        version,
        confidence: GRAMMAR,
    }
}

/// Splits at the last `_` or `/` before a digit.
fn split_product(software: &[u8]) -> (Option<Text>, Option<Text>) {
    let separator = software
        .windows(2)
        .rposition(|pair| matches!(pair, [b'_' | b'/', after] if after.is_ascii_digit()));
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| Text::from_bytes(bytes));
    let Some((product, version)) = separator.and_then(|at| software.split_at_checked(at)) else {
        return (text(software), None);
    };
    match text(product) {
        Some(product) => (Some(product), text(version.get(1..).unwrap_or_default())),
        None => (text(software), None),
    }
}

/// RFC 6143 §7.1.1: `RFB ddd.ddd`, of major version 3.
fn is_rfb(line: &[u8]) -> bool {
    line.strip_prefix(b"RFB 003.")
        .is_some_and(|minor| minor.len() == 3 && minor.iter().all(u8::is_ascii_digit))
}

/// "220" greets for SMTP (RFC 5321 §4.2), FTP (RFC 959 §5.4) and others. A line that names
/// exactly one of the two as a word proves that one.
fn ready(line: &[u8]) -> Option<&'static str> {
    let is_smtp = has_word(line, "SMTP") || has_word(line, "ESMTP");
    let is_ftp = words(line)
        .any(|word| word.eq_ignore_ascii_case(b"FTP") || ends_with_ignoring_case(word, b"FTPD"));
    match (is_smtp, is_ftp) {
        (true, false) => Some("smtp"),
        (false, true) => Some("ftp"),
        _ => None,
    }
}

fn has_word(line: &[u8], wanted: &str) -> bool {
    words(line).any(|word| word.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Runs of letters and digits. What holds a dot inside is a host name or a version and gives no
/// words: `ftp.example.org` greets for SMTP as well.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .map(|piece| {
            let is_word = u8::is_ascii_alphanumeric;
            let start = piece.iter().position(is_word).unwrap_or(piece.len());
            let end = piece
                .iter()
                .rposition(is_word)
                .map_or(start, |at| at.saturating_add(1));
            piece.get(start..end).unwrap_or_default()
        })
        .filter(|piece| !piece.contains(&b'.'))
        .flat_map(|piece| piece.split(|byte| !byte.is_ascii_alphanumeric()))
}

fn ends_with_ignoring_case(word: &[u8], end: &[u8]) -> bool {
    word.len()
        .checked_sub(end.len())
        .and_then(|at| word.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// A long fixed grammar that no other protocol has.
const GRAMMAR: u8 = 95;
/// A grammar of a few bytes that only one protocol greets with.
const SHORT: u8 = 90;
/// A shared grammar with the protocol's name in it.
const WORD: u8 = 85;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, &str, &str)>) {
        let found = name(line.as_bytes(), Asked::Nothing, LineEnd::Whole);
        let text = |text: &Option<Text>| text.clone().map(String::from).unwrap_or_default();
        let found = found.map(|named| (named.name, text(&named.product), text(&named.version)));
        let found = found.as_ref().map(|(n, p, v)| (*n, p.as_str(), v.as_str()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn ssh_says_what_software_it_is() {
        check(
            "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2",
            Some(("ssh", "OpenSSH", "9.2p1")),
        );
        check("SSH-1.99-Cisco_1.25", Some(("ssh", "Cisco", "1.25")));
        check(
            "SSH-2.0-OpenSSH_for_Windows_8.1",
            Some(("ssh", "OpenSSH_for_Windows", "8.1")),
        );
        check("SSH-2.0-mod_sftp/0.9.9", Some(("ssh", "mod_sftp", "0.9.9")));
        check("SSH-2.0-Go", Some(("ssh", "Go", "")));
        check("SSH-2.0-_9", Some(("ssh", "_9", "")));
        check("SSH-2.0-", Some(("ssh", "", "")));
        check("SSH-3.0-x", None);
        check(" SSH-2.0-x", None);
    }

    #[test]
    fn grammars_of_one_protocol_name_it() {
        check("RFB 003.008", Some(("vnc", "", "")));
        check("RFB 003.0088", None);
        check("+OK Dovecot ready.", Some(("pop3", "", "")));
        check("+OK", Some(("pop3", "", "")));
        check("+OKAY", None);
        check("* OK [CAPABILITY IMAP4rev1] ready", Some(("imap", "", "")));
        check("* PREAUTH x", Some(("imap", "", "")));
        check("* NO x", None);
    }

    #[test]
    fn a_shared_greeting_is_named_by_its_words_only() {
        check("220 mx.example.org ESMTP Postfix", Some(("smtp", "", "")));
        check("220 ftp.example.org ESMTP", Some(("smtp", "", "")));
        check("220 (vsFTPd 3.0.3)", Some(("ftp", "", "")));
        check("220 ProFTPD Server (x) [::1]", Some(("ftp", "", "")));
        check(
            "220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------",
            Some(("ftp", "", "")),
        );
        check("220 Microsoft FTP Service", Some(("ftp", "", "")));
        check("220 FTP server ready.", Some(("ftp", "", "")));
        check("220 ready", None);
        check("220 smtp.example.org", None);
        check("220 FTP and SMTP", None);
        check("220 sftponly", None);
        check("421 FTP busy", None);
    }

    #[test]
    fn an_answer_needs_more_than_a_short_grammar() {
        let after = |line: &str| name(line.as_bytes(), Asked::Something, LineEnd::Whole);
        assert_eq!(after("+OK"), None);
        assert_eq!(after("* OK hello"), None);
        assert_eq!(
            after("+OK POP3 ready").map(|named| named.name),
            Some("pop3")
        );
        assert!(after("* OK [CAPABILITY IMAP4rev1 ID] ready").is_some());
    }

    #[test]
    fn half_a_line_gives_no_version() {
        let cut = |line: &str| name(line.as_bytes(), Asked::Nothing, LineEnd::Cut).unwrap();
        assert_eq!(cut("SSH-2.0-OpenSSH_9.2").version, None);
        assert_eq!(
            cut("SSH-2.0-OpenSSH_9.2p1 Deb").version,
            Some(Text::from("9.2p1"))
        );
    }
}
