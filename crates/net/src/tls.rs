//! TLS on the client's side, to hear what is inside it.
//!
//! Nothing is trusted for it: certificates and names are not judged here, because a certificate
//! that nobody should trust hides no service. What a certificate is worth is a finding, and not
//! here.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Takes every certificate and every signature.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// No session is resumed, no early data sent, and no application protocol offered: servers take
/// that for the oldest one they have.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let provider: CryptoProvider = ring::default_provider();
    let any = AnyCertificate(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
});

/// A handshake over `stream`. `name` is sent as server name (RFC 6066 §3); without one, none is:
/// an address never stands there.
pub(crate) async fn handshake(
    stream: TcpStream,
    name: Option<&str>,
    address: IpAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let config = match &*CONFIG {
        Ok(config) => Arc::clone(config),
        Err(error) => return Err(io::Error::other(error.clone())),
    };
    let named = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let name = named.unwrap_or_else(|| ServerName::from(address));
    TlsConnector::from(config).connect(name, stream).await
}

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The version as people write it.
    pub version: String,
    /// The server's own certificate (DER), when it has one of at most [`CERTIFICATE_MAX`] bytes;
    /// not judged.
    pub certificate: Vec<u8>,
}

/// Largest certificate that is kept, in bytes.
pub const CERTIFICATE_MAX: usize = 8 * 1024;

/// What the handshake of `stream` showed.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> Handshake {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "TLS".to_owned(),
    };
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.filter(|it| it.len() <= CERTIFICATE_MAX);
    Handshake {
        version,
        certificate: certificate.map(|it| it.to_vec()).unwrap_or_default(),
    }
}
