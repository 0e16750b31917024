//! What the replies of a look showed, and the service they prove together.

use super::plan::HTTP;
use crate::http::{self, Wants};
use crate::tls;
use portolan_catalog::matcher::{Known, Recognition};
use portolan_catalog::services::{self, QuestionId};
use portolan_model::{Incomplete, OsHint, Service, Text, Tunnel};

/// What the replies of one look showed.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last HTTP reply to a request for `/`.
    pub(super) http: Option<http::Reply>,
    /// A service that the catalogue knows, and what shows it.
    pub(super) known: Option<(Known, Text)>,
    /// An HTTP reply to something else than a request, and what it proves.
    pub(super) in_passing: Option<(http::Reply, Option<Known>)>,
    /// An HTTP reply in clear, before TLS was shown.
    pub(super) in_clear: Option<http::Reply>,
    /// The server that refused a request in clear, in case that TLS is not what it wants.
    pub(super) refused: Option<(Known, Text)>,
    /// The last TLS reply in clear.
    pub(super) tls: Option<tls::Reply>,
    /// A handshake inside which the conversation went on.
    pub(super) secured: Option<Secured>,
    /// The first thing said that proves no protocol.
    pub(super) unproven: Option<Text>,
    /// Why something is not known.
    pub(super) incomplete: Vec<Incomplete>,
}

/// A finished TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// The version as people write it (`TLS 1.3`).
    pub version: String,
    /// The server's certificate (DER), as it came; empty where there is none.
    pub certificate: Vec<u8>,
}

impl Found {
    /// Adds what a further reply of the same service proves; another protocol's proof is not one
    /// of this service.
    pub(super) fn add(&mut self, known: Known, shown: Text) {
        let Some((have, evidence)) = &mut self.known else {
            self.known = Some((known, shown));
            return;
        };
        if have.protocol != known.protocol {
            return;
        }
        let is_better = match (&have.product, &known.product) {
            (None, Some(_)) => true,
            (Some(have_product), Some(product)) => {
                // The application behind a server, or the version of the same product.
                let own = services::card(known.card).is_some_and(|it| it.tcp.speaks.is_some());
                let was = services::card(have.card).is_some_and(|it| it.tcp.speaks.is_some());
                own && !was || have_product == product && have.version.is_none()
            }
            (_, None) => false,
        };
        if is_better {
            have.card = known.card;
            have.product = known.product;
            have.version = known.version;
            let merged = format!("{evidence} · {shown}");
            *evidence = Text::from(merged);
        }
        have.os = have.os.take().or(known.os);
    }

    /// Says which products fit equally well where none is named for it.
    pub(super) fn tell_rivals(&mut self) {
        let rivals = match &self.known {
            Some((known, _)) if known.product.is_none() && !known.rivals.is_empty() => {
                known.rivals.join(", ")
            }
            _ => return,
        };
        let why = format!("what it says fits equally well: {rivals}");
        self.miss("service.product", Text::from(why));
    }

    /// Remembers why something is not known, once for each fact.
    pub(super) fn miss(&mut self, fact: &str, why: Text) {
        if self.incomplete.iter().all(|it| it.fact != fact) {
            self.incomplete.push(Incomplete {
                fact: fact.to_owned(),
                why,
            });
        }
    }

    /// Takes what was shown in passing where nothing better came.
    pub(super) fn fall_back(&mut self) {
        if self.known.is_some() || self.http.is_some() {
            return;
        }
        let certificate = self.secured.as_ref().map(|it| it.certificate.as_slice());
        let of_it = certificate.and_then(|it| services::recognise(QuestionId::Tls, it));
        if let Some(Recognition::One(known)) = of_it {
            let shown = Text::from_bytes(&known.shown);
            self.known = Some((known, Text::from(format!("certificate: {shown}"))));
            return;
        }
        if self.tls.is_none() {
            self.known = self.refused.take();
        }
        if let Some((reply, known)) = self.in_passing.take() {
            let evidence = reply.evidence();
            let known = known.map(|known| (known, evidence));
            self.known = self.known.take().or(known);
            self.http = Some(reply);
        }
    }

    /// The service that all of it together shows.
    pub(super) fn service(&self, tunnel: Option<Tunnel>) -> Option<Service> {
        let tls = match (&self.secured, &self.tls) {
            (Some(secured), _) => Some(secured.version.clone()),
            (None, Some(reply)) => Some(reply.to_string()),
            (None, None) => None,
        };
        let shown = |evidence: String| match (&tls, tunnel) {
            (Some(tls), Some(Tunnel::Implicit)) => format!("{tls} · {evidence}"),
            _ => evidence,
        };
        if let Some((known, evidence)) = &self.known {
            let name = known.protocol.as_str();
            return Some(Service {
                name: Some(name.to_owned()),
                label: Some(label(name, tunnel)),
                tls: tunnel,
                product: known.product.clone(),
                version: known.version.clone(),
                os: known.os.clone().map(|name| OsHint {
                    name,
                    confidence: OS_CONFIDENCE,
                }),
                confidence: known.confidence.min(self.confidence_inside(tunnel)),
                evidence: Some(Text::from(shown(evidence.as_str().to_owned()))),
            });
        }
        if let Some(reply) = &self.http {
            return Some(self.http_service(reply, tunnel, &shown(reply.evidence().into())));
        }
        let evidence = match (&self.unproven, tunnel.and(tls.as_ref())) {
            (Some(text), Some(_)) => shown(text.as_str().to_owned()),
            (Some(text), None) => text.as_str().to_owned(),
            (None, Some(tls)) => tls.clone(),
            (None, None) => return None,
        };
        let confidence = if tunnel.is_some() { PROVEN } else { 0 };
        Some(Service {
            name: None,
            label: None,
            tls: tunnel,
            product: None,
            version: None,
            os: None,
            confidence,
            evidence: Some(Text::from(evidence)),
        })
    }

    /// How sure a protocol is inside TLS. Inside a finished handshake, or in clear, its own grammar
    /// was seen. Else HTTP is shown to be inside by the server's own word, or, less surely, by its
    /// answering HTTP in clear on a port that speaks TLS.
    fn confidence_inside(&self, tunnel: Option<Tunnel>) -> u8 {
        let wants = self.http.as_ref().map(|reply| reply.wants);
        match (tunnel, &self.secured, wants) {
            (Some(Tunnel::Implicit), None, Some(Wants::Tls)) => TOLD,
            (Some(Tunnel::Implicit), None, _) => BOTH,
            _ => PROVEN,
        }
    }

    fn http_service(&self, reply: &http::Reply, tunnel: Option<Tunnel>, shown: &str) -> Service {
        let (product, version) = reply.product();
        Service {
            name: Some(HTTP.to_owned()),
            label: Some(label(HTTP, tunnel)),
            tls: tunnel,
            product,
            version,
            os: None,
            confidence: self.confidence_inside(tunnel),
            evidence: Some(Text::from(shown)),
        }
    }
}

/// What people call a protocol, alone or inside TLS.
pub(super) fn label(name: &str, tls: Option<Tunnel>) -> String {
    let card = services::protocol(name);
    let inside = card.filter(|_| tls == Some(Tunnel::Implicit));
    let inside = inside.and_then(|card| card.tcp.tls_label.clone());
    let alone = card.map(|card| card.label.clone());
    inside.or(alone).unwrap_or_else(|| name.to_owned())
}

/// Confidence in a protocol whose own grammar was seen.
const PROVEN: u8 = 95;
/// Confidence in HTTP inside TLS when the server says so in clear.
const TOLD: u8 = 90;
/// Confidence in HTTP inside TLS when the port answers both.
const BOTH: u8 = 75;
/// Confidence in an operating system that a server's own words name: they may come from elsewhere.
const OS_CONFIDENCE: u8 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_fit_equally_well_are_told_where_none_is_named() {
        let check = |product: Option<Text>, rivals: &[&str], expected: Option<&str>| {
            let known = Known {
                card: 0,
                protocol: "ftp".to_owned(),
                product,
                version: None,
                os: None,
                confidence: 95,
                is_final: false,
                shown: Vec::new(),
                rivals: rivals.iter().map(|it| (*it).to_owned()).collect(),
            };
            let mut found = Found {
                known: Some((known, Text::from("220"))),
                ..Found::default()
            };
            found.tell_rivals();
            let told = found
                .incomplete
                .first()
                .map(|it| it.why.as_str().to_owned());
            assert_eq!(told.as_deref(), expected);
        };
        check(
            None,
            &["A", "B"],
            Some("what it says fits equally well: A, B"),
        );
        check(Some(Text::from("A")), &["A", "B"], None);
        check(None, &[], None);
    }
}
