//! What the user's fingerprints add to a service: the product and version that they see in what
//! the service said.
//!
//! They add and never take away: what the bytes prove by themselves stays.

use portolan_catalog::recog::conversation::said;
use portolan_catalog::recog::{Fingerprints, Match};
use portolan_model::{OsHint, Service, Text};

/// Exchanges of one conversation that are looked at.
const EXCHANGES_MAX: usize = 16;

/// What was received in one exchange of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The protocol that was spoken (`ssh`, `http`), where it is another than that of the service;
    /// `None`: that of the service.
    pub protocol: Option<&'a str>,
    /// The bytes, from the first that came; inside TLS, those inside.
    pub received: &'a [u8],
}

/// Adds to `service` what the surest of the fingerprints that match `conversation` says:
///
/// * the product and version of a service that has no product;
/// * the version of the same product that has none;
/// * another product, where the fingerprint is surer than [`Service::confidence`] and no version
///   has been read;
/// * a hint of the operating system, where the service gives none.
///
/// The name of the protocol stays, and a service without one stays as it is.
pub fn refine(service: &mut Service, conversation: &[Exchange<'_>], fingerprints: &Fingerprints) {
    let Some(name) = service.name.clone() else {
        return;
    };
    let found = matches(&name, conversation, fingerprints);
    if let Some(found) = surest(&found, |found| found.product.is_some()) {
        name_product(service, found);
    }
    if service.os.is_none() {
        let found = surest(&found, |found| found.os_product.is_some());
        service.os = found.and_then(os_hint);
    }
}

fn name_product(service: &mut Service, found: &Match) {
    let Some(product) = &found.product else {
        return;
    };
    match &service.product {
        Some(known) if known.as_str().eq_ignore_ascii_case(product.as_str()) => {}
        Some(_) if service.version.is_some() || found.certainty <= service.confidence => return,
        _ => service.product = Some(product.clone()),
    }
    if service.version.is_none() {
        service.version.clone_from(&found.version);
    }
}

/// The system with its version, where the fingerprint tells it.
fn os_hint(found: &Match) -> Option<OsHint> {
    let product = found.os_product.clone()?;
    let name = match &found.os_version {
        Some(version) => Text::from(format!("{product} {version}")),
        None => product,
    };
    Some(OsHint {
        name,
        confidence: found.certainty.min(HINT_CONFIDENCE_MAX),
    })
}

/// What is known of a system by what a service on it says is a hint, whoever says it.
const HINT_CONFIDENCE_MAX: u8 = 60;

/// One match for each text that has one, in the order of the conversation.
fn matches(name: &str, conversation: &[Exchange<'_>], fingerprints: &Fingerprints) -> Vec<Match> {
    let texts = conversation
        .iter()
        .take(EXCHANGES_MAX)
        .flat_map(|exchange| {
            let protocol = exchange.protocol.unwrap_or(name);
            said(protocol, exchange.received)
        });
    texts
        .filter_map(|said| fingerprints.find(said.kind, &said.text))
        .collect()
}

/// The surest of those that are `wanted`; of equals the first.
fn surest(found: &[Match], wanted: impl Fn(&Match) -> bool) -> Option<&Match> {
    let wanted = found.iter().filter(|found| wanted(found));
    wanted.rev().max_by_key(|found| found.certainty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_catalog::recog::Examples;

    const FILE: &str = r#"<fingerprints matches="http_header.server">
      <fingerprint pattern="^Acme/([\d.]+)" certainty="0.9">
        <param pos="0" name="service.product" value="Acme"/><param pos="1" name="service.version"/>
      </fingerprint>
      <fingerprint pattern="^hint" certainty="1.0">
        <param pos="0" name="os.product" value="Fruit"/>
        <param pos="0" name="os.version" value="7"/>
      </fingerprint>
      <fingerprint pattern="^Front" certainty="0.8">
        <param pos="0" name="service.product" value="Front"/>
      </fingerprint>
    </fingerprints>"#;
    const TITLES: &str = r#"<fingerprints matches="html_title">
      <fingerprint pattern="^Box (\d+)" certainty="1.0">
        <param pos="0" name="service.product" value="Box"/><param pos="1" name="service.version"/>
      </fingerprint></fingerprints>"#;

    /// A service with this product, version and confidence, after the fingerprints.
    fn check(before: (&str, &str, u8), replies: &[&str], expected: (&str, &str)) {
        let some = |text: &str| (!text.is_empty()).then(|| Text::from(text));
        let files = [("a.xml", FILE.as_bytes()), ("b.xml", TITLES.as_bytes())];
        let fingerprints = Fingerprints::read(files, Examples::Dropped).unwrap();
        let mut service = Service {
            name: Some("http".to_owned()),
            label: Some("http".to_owned()),
            tls: None,
            product: some(before.0),
            version: some(before.1),
            os: None,
            confidence: before.2,
            evidence: some("seen"),
        };
        let conversation: Vec<Exchange<'_>> = replies
            .iter()
            .map(|reply| Exchange {
                protocol: None,
                received: reply.as_bytes(),
            })
            .collect();
        let untouched = Service {
            product: some(expected.0),
            version: some(expected.1),
            ..service.clone()
        };
        refine(&mut service, &conversation, &fingerprints);
        assert_eq!(service, untouched, "{replies:?}");
    }

    const ACME: &str = "HTTP/1.1 200 OK\r\nServer: Acme/1.2\r\n\r\n";

    #[test]
    fn what_is_unknown_is_added() {
        check(("", "", 95), &[ACME], ("Acme", "1.2"));
        check(("acme", "", 95), &[ACME], ("acme", "1.2"));
        check(
            ("", "", 95),
            &["", "HTTP/1.1 200 OK\r\nServer: other\r\n\r\n"],
            ("", ""),
        );
    }

    #[test]
    fn a_system_is_hinted_at_where_nothing_else_does() {
        let check = |before: Option<OsHint>, expected: (&str, u8)| {
            let files = [("a.xml", FILE.as_bytes())];
            let fingerprints = Fingerprints::read(files, Examples::Dropped).unwrap();
            let mut service = Service {
                name: Some("http".to_owned()),
                label: None,
                tls: None,
                product: None,
                version: None,
                os: before,
                confidence: 95,
                evidence: None,
            };
            let exchange = Exchange {
                protocol: None,
                received: b"HTTP/1.1 200 OK\r\nServer: hint\r\n\r\n",
            };
            refine(&mut service, &[exchange], &fingerprints);
            let os = service.os.unwrap();
            assert_eq!((os.name.as_str(), os.confidence), expected);
            assert_eq!(service.product, None);
        };
        check(None, ("Fruit 7", HINT_CONFIDENCE_MAX));
        let known = OsHint {
            name: Text::from("Other"),
            confidence: 1,
        };
        check(Some(known), ("Other", 1));
    }

    #[test]
    fn what_the_bytes_prove_stays() {
        check(("Acme", "1.1", 10), &[ACME], ("Acme", "1.1"));
        check(("Other", "1.1", 10), &[ACME], ("Other", "1.1"));
        check(("", "1.1", 10), &[ACME], ("Acme", "1.1"));
        check(("Other", "", 90), &[ACME], ("Other", ""));
        check(("Other", "", 89), &[ACME], ("Acme", "1.2"));
    }

    #[test]
    fn the_surest_of_several_counts() {
        let titled = format!("{ACME}<title>Box 7</title>");
        check(("", "", 95), &[&titled], ("Box", "7"));
        let front = "HTTP/1.1 200 OK\r\nServer: Front\r\n\r\n";
        check(("", "", 95), &[front, ACME], ("Acme", "1.2"));
        check(("", "", 95), &[front], ("Front", ""));
    }

    #[test]
    fn a_service_without_a_name_stays_without() {
        let files = [("a.xml", FILE.as_bytes())];
        let fingerprints = Fingerprints::read(files, Examples::Dropped).unwrap();
        let mut service = Service {
            name: None,
            label: None,
            tls: None,
            product: None,
            version: None,
            os: None,
            confidence: 0,
            evidence: None,
        };
        let before = service.clone();
        let exchange = Exchange {
            protocol: Some("http"),
            received: ACME.as_bytes(),
        };
        refine(&mut service, &[exchange], &fingerprints);
        assert_eq!(service, before);
    }
}
