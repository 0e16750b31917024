//! What speaks on an open port. Here stands the first look: a short conversation that shows what a
//! server says by itself, and what it answers to the questions of the catalogue, to HTTP and to
//! TLS. Bytes in, bytes and a [`Service`](portolan_model::Service) out; no socket, clock or random
//! source, no knowledge of a single protocol but HTTP and TLS, and no conclusion from a port
//! number.

mod hearing;
pub mod http;
mod look;
pub mod tls;
mod trail;

pub use look::{
    CONNECT_WAIT, CONNECTION_READ_MAX, CONNECTIONS_MAX, CONVERSATION_MAX, HANDSHAKE_WAIT, Input,
    Keeps, Look, LookOptions, Outcome, READ_MAX, REPLIES_MAX, SENT_MAX, STEPS_MAX, Said, Secured,
    Sends, Step,
};
