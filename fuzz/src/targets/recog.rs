//! Fingerprints of the user: files that say anything, and texts of strangers.

use portolan_catalog::recog::conversation::{KINDS, said};
use portolan_catalog::recog::{Examples, Fingerprints, Match};
use std::sync::LazyLock;

/// Reads a file: it is refused with a place and a printable sentence, or its examples are tried and
/// its patterns asked, which answers something printable.
pub(crate) fn file(data: &[u8]) {
    let read = |examples| Fingerprints::read([("a.xml", data)], examples);
    let fingerprints = match read(Examples::Kept) {
        Ok(fingerprints) => fingerprints,
        Err(error) => {
            super::assert_printable(&error.to_string());
            assert!(error.line >= 1 && !error.problem.is_empty());
            return;
        }
    };
    // Only examples can be wrong that are passed over.
    let dropped = read(Examples::Dropped).map(|read| read.len());
    assert_eq!(dropped, Ok(fingerprints.len()));
    let checked = fingerprints.check(|_, path| Ok(path.as_bytes().to_vec()));
    for failure in checked.failures {
        super::assert_printable(&failure.to_string());
    }
    for kind in fingerprints.unused_kinds() {
        super::assert_printable(kind);
    }
    for kind in ["a", "ssh.banner", "http_header.server"] {
        for text in [data, b"", b"Acme_1.2 x"] {
            assert_match(fingerprints.find(kind, text));
        }
    }
}

/// The first byte chooses a protocol, the rest was received: every text in it is of a known kind
/// and not longer than what was received, and what fingerprints say of it is printable.
pub(crate) fn text(data: &[u8]) {
    let Some((choice, received)) = data.split_first() else {
        return;
    };
    let number = usize::from(*choice) % PROTOCOLS.len();
    let protocol = PROTOCOLS.get(number).copied().unwrap_or_default();
    for said in said(protocol, received) {
        assert!(KINDS.iter().any(|kind| kind.name == said.kind));
        assert!(!said.text.is_empty() && said.text.len() <= received.len());
        assert_match(OWN.find(said.kind, &said.text));
        assert_match(OWN.find("a", &said.text));
    }
    assert_match(OWN.find("a", received));
}

fn assert_match(found: Option<Match>) {
    let Some(found) = found else { return };
    assert!(found.certainty <= 100 && found.line >= 1);
    let said = [
        found.vendor,
        found.product,
        found.version,
        found.os_product,
        found.os_version,
        found.device,
    ];
    for said in said.iter().flatten() {
        super::assert_printable(said.as_str());
    }
}

const PROTOCOLS: &[&str] = &[
    "", "ftp", "http", "imap", "mysql", "nntp", "pop3", "rtsp", "sip", "smtp", "ssh", "telnet",
];

/// Patterns that a text can make work for.
static OWN: LazyLock<Fingerprints> = LazyLock::new(|| {
    let file = r#"<fingerprints matches="a">
        <fingerprint pattern="^(a+)+b$"><param pos="1" name="service.version"/></fingerprint>
        <fingerprint pattern="(?:.*x){9}(.*)" flags="REG_DOT_NEWLINE">
            <param pos="1" name="service.product"/>
            <param pos="0" name="os.product" value="{service.product}{service.product}"/>
        </fingerprint>
        <fingerprint pattern="(\w{1,99}[\d.]{1,99}){1,3}$" flags="REG_ICASE">
            <param pos="1" name="hw.product"/>
        </fingerprint></fingerprints>"#;
    let ssh = r#"<fingerprints matches="ssh.banner">
        <fingerprint pattern="^(\S+)_([\d.]+)?(.*)$">
            <param pos="1" name="service.product"/><param pos="2" name="service.version"/>
            <param pos="3" name="os.version"/>
        </fingerprint></fingerprints>"#;
    let files = [("a.xml", file.as_bytes()), ("ssh.xml", ssh.as_bytes())];
    Fingerprints::read(files, Examples::Kept).unwrap_or_default()
});
