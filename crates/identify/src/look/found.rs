//! What the replies of a look showed, and the service they prove together.

use crate::http::{self, Wants};
use crate::tls;
use crate::trail::Question;
use portolan_model::{Service, Text, Tunnel};

/// What the replies of one look showed.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last HTTP reply.
    pub(super) http: Option<http::Reply>,
    /// A protocol that its own grammar proves.
    pub(super) named: Option<Service>,
    /// The last TLS reply.
    pub(super) tls: Option<tls::Reply>,
    /// The first thing said that proves no protocol.
    pub(super) unproven: Option<Text>,
}

impl Found {
    /// Whether nothing more needs to be asked.
    pub(super) fn is_final(&self, asked: &[Question]) -> bool {
        // Whoever spoke by itself is not asked.
        let spoke_first = self.unproven.is_some() && asked == [Question::Listen];
        self.named.is_some() || spoke_first
    }

    /// Whether the TLS reply itself names HTTP (RFC 7301 §3.2).
    pub(super) fn alpn_is_http(&self) -> bool {
        match &self.tls {
            Some(tls::Reply::Hello(hello)) => {
                matches!(hello.alpn.as_deref(), Some(b"h2" | b"http/1.1"))
            }
            _ => false,
        }
    }

    /// The service that all of it together shows.
    pub(super) fn service(self) -> Option<Service> {
        let alpn_is_http = self.alpn_is_http();
        let Self {
            http,
            named,
            tls,
            unproven,
        } = self;
        match (named, tls, http) {
            (Some(named), ..) => Some(named),
            (None, Some(tls), http) => {
                // HTTP is shown to be inside by the server's own word, or, less surely, by its
                // answering HTTP in clear on a port that speaks TLS.
                let confidence = match &http {
                    _ if alpn_is_http => PROVEN,
                    Some(reply) if reply.wants == Wants::Tls => TOLD,
                    Some(_) => BOTH,
                    None => PROVEN,
                };
                let name = (alpn_is_http || http.is_some()).then_some("http");
                let (product, version) = http.as_ref().map_or((None, None), http::Reply::product);
                let evidence = match &http {
                    Some(reply) => format!("{tls} · {}", reply.evidence()),
                    None => tls.to_string(),
                };
                Some(Service {
                    name: name.map(str::to_owned),
                    label: name.map(|name| label(name, Some(Tunnel::Implicit)).to_owned()),
                    tls: Some(Tunnel::Implicit),
                    product,
                    version,
                    confidence,
                    evidence: Some(Text::from(evidence)),
                })
            }
            (None, None, Some(reply)) => {
                let (product, version) = reply.product();
                Some(Service {
                    name: Some("http".to_owned()),
                    label: Some(label("http", None).to_owned()),
                    tls: None,
                    product,
                    version,
                    confidence: PROVEN,
                    evidence: Some(reply.evidence()),
                })
            }
            (None, None, None) => unproven.map(|evidence| Service {
                name: None,
                label: None,
                tls: None,
                product: None,
                version: None,
                confidence: 0,
                evidence: Some(evidence),
            }),
        }
    }
}

/// What people call a protocol, alone or inside TLS.
pub(super) fn label(name: &'static str, tls: Option<Tunnel>) -> &'static str {
    match (name, tls) {
        ("http", Some(Tunnel::Implicit)) => "https",
        ("imap", Some(Tunnel::Implicit)) => "imaps",
        ("pop3", Some(Tunnel::Implicit)) => "pop3s",
        (name, _) => name,
    }
}

/// Confidence in a protocol whose own grammar was seen.
const PROVEN: u8 = 95;
/// Confidence in HTTP inside TLS when the server says so in clear.
const TOLD: u8 = 90;
/// Confidence in HTTP inside TLS when the port answers both.
const BOTH: u8 = 75;
