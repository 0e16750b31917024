//! As much of TLS as a first look needs: one `ClientHello` to send, and a bounded reading of what
//! comes back. No key is agreed on and no handshake is ever completed, so there is no
//! cryptography here.

mod hello;
mod reply;

pub use hello::{HelloOptions, Newest, client_hello};
#[cfg(test)]
pub(crate) use reply::tests as samples;
pub use reply::{HelloKind, Parsed, Proof, Reply, ServerHello, parse};

/// Record and handshake numbers of RFC 8446 §5.1 and §4.
const CONTENT_CHANGE_CIPHER_SPEC: u8 = 20;
const CONTENT_ALERT: u8 = 21;
const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const HANDSHAKE_SERVER_HELLO: u8 = 2;

/// Extension numbers that both sides use (RFC 8446 §4.2, RFC 7301 §3.1).
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
