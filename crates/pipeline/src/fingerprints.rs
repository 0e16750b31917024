//! What the user's fingerprints add to a service: the product and version that they see in what
//! the service said.
//!
//! They add and never take away: what the bytes prove by themselves stays. What they hint of the
//! system below is not told.

use portolan_catalog::recog::conversation::said;
use portolan_catalog::recog::{Fingerprints, Match};
use portolan_model::Service;

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
///   has been read.
///
/// The name of the protocol stays: a service without one has nothing that could be matched, but
/// for replies that name theirs.
pub fn refine(service: &mut Service, conversation: &[Exchange<'_>], fingerprints: &Fingerprints) {
    let Some(name) = service.name.clone() else {
        return;
    };
    let Some(found) = surest(&name, conversation, fingerprints) else {
        return;
    };
    let Match {
        product: Some(product),
        version,
        certainty,
        ..
    } = found
    else {
        return;
    };
    let is_same = |known: &str| known.eq_ignore_ascii_case(product.as_str());
    match &service.product {
        Some(known) if is_same(known.as_str()) => {}
        Some(_) if service.version.is_some() || certainty <= service.confidence => return,
        _ => service.product = Some(product),
    }
    if service.version.is_none() {
        service.version = version;
    }
}

/// The match with a product that is surest; of equals the first in the order of the conversation.
fn surest(name: &str, conversation: &[Exchange<'_>], fingerprints: &Fingerprints) -> Option<Match> {
    let texts = conversation
        .iter()
        .take(EXCHANGES_MAX)
        .flat_map(|exchange| {
            let protocol = exchange.protocol.unwrap_or(name);
            said(protocol, exchange.received)
        });
    let found = texts.filter_map(|said| fingerprints.find(said.kind, &said.text));
    let mut surest: Option<Match> = None;
    for found in found.filter(|found| found.product.is_some()) {
        let is_surer = surest
            .as_ref()
            .is_none_or(|known| known.certainty < found.certainty);
        if is_surer {
            surest = Some(found);
        }
    }
    surest
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_catalog::recog::Examples;
    use portolan_model::Text;

    const FILE: &str = r#"<fingerprints matches="http_header.server">
      <fingerprint pattern="^Acme/([\d.]+)" certainty="0.9">
        <param pos="0" name="service.product" value="Acme"/><param pos="1" name="service.version"/>
      </fingerprint>
      <fingerprint pattern="^hint" certainty="1.0">
        <param pos="0" name="os.product" value="Fruit"/>
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
            &["HTTP/1.1 200 OK\r\nServer: hint\r\n\r\n"],
            ("", ""),
        );
        check(
            ("", "", 95),
            &["", "HTTP/1.1 200 OK\r\nServer: other\r\n\r\n"],
            ("", ""),
        );
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
