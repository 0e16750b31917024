//! What speaks on an open port. Here stands the first look: one short conversation that shows
//! what a server says by itself, or that it speaks HTTP or TLS. Bytes in, bytes and a
//! [`Service`](portolan_model::Service) out; no socket, clock or random source, and no conclusion
//! from a port number.

mod greeting;
pub mod http;
mod look;
mod speech;
pub mod tls;
mod trail;

pub use look::{
    CONNECT_WAIT, CONNECTION_READ_MAX, CONNECTIONS_MAX, CONVERSATION_MAX, Input, Look, LookOptions,
    Outcome, READ_MAX, SENT_MAX, STEPS_MAX, Sends, Step,
};
