//! One conversation over one TCP connection, each step with its own deadline and byte cap.
//!
//! What is not here: what is said, and what the answer means.

use crate::connect::Source;
use crate::never_send::gets_no_bytes;
use portolan_model::{Endpoint, Refusal, Scope};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Why a conversation did not begin or a message did not go out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The scope does not allow the endpoint; nothing was sent.
    #[error("{endpoint} is outside the scope: {refusal}")]
    OutsideScope {
        /// Where the conversation would have gone.
        endpoint: Endpoint,
        /// Why it may not.
        refusal: Refusal,
    },
    /// The port is one of those that get no bytes; nothing was sent.
    #[error("{endpoint} gets no bytes")]
    NeverSend {
        /// Where the bytes would have gone.
        endpoint: Endpoint,
    },
    /// The connection was not made, or broke.
    #[error("{endpoint}: {source}")]
    Broken {
        /// The peer.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// The time was over.
    #[error("{endpoint}: no answer in time")]
    TimedOut {
        /// The peer.
        endpoint: Endpoint,
    },
}

/// What came from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; never 0.
    Bytes(usize),
    /// The peer has ended the conversation.
    Closed,
    /// The peer, or a device on the way, has reset it.
    Reset,
    /// Nothing within the wait.
    TimedOut,
}

/// Makes connections that stay inside a scope.
#[derive(Clone, Debug)]
pub struct Dialer {
    scope: Arc<Scope>,
    source: Source,
}

/// An open connection. It ends by a reset when it is dropped, so that nothing lingers on either
/// side.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    endpoint: Endpoint,
}

impl Dialer {
    /// A dialer for `scope`, sending from `source`.
    pub fn new(scope: Arc<Scope>, source: Source) -> Self {
        Self { scope, source }
    }

    /// Connects to `endpoint` within `patience`. The scope is checked right before.
    pub async fn connect(
        &self,
        endpoint: Endpoint,
        patience: Duration,
    ) -> Result<Connection, DialError> {
        self.check(endpoint)?;
        let broken = |source| DialError::Broken { endpoint, source };
        let peer = endpoint.socket_address();
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(broken)?;
        if let Some(address) = self.source.address {
            socket.bind(SocketAddr::new(address, 0)).map_err(broken)?;
        }
        if let Some(interface) = &self.source.interface {
            socket
                .bind_device(Some(interface.as_bytes()))
                .map_err(broken)?;
        }
        socket.set_zero_linger().map_err(broken)?;
        match timeout(patience, socket.connect(peer)).await {
            Ok(Ok(stream)) => Ok(Connection { stream, endpoint }),
            Ok(Err(source)) => Err(broken(source)),
            Err(_) => Err(DialError::TimedOut { endpoint }),
        }
    }

    /// Goes on with a connection that another part of the run opened.
    pub fn adopt(&self, descriptor: OwnedFd, endpoint: Endpoint) -> Result<Connection, DialError> {
        self.check(endpoint)?;
        let stream = TcpStream::from_std(std::net::TcpStream::from(descriptor))
            .map_err(|source| DialError::Broken { endpoint, source })?;
        Ok(Connection { stream, endpoint })
    }

    fn check(&self, endpoint: Endpoint) -> Result<(), DialError> {
        self.scope
            .check(endpoint)
            .map_err(|refusal| DialError::OutsideScope { endpoint, refusal })
    }
}

impl Connection {
    /// Sends all of `bytes` within `patience`.
    pub async fn send(&mut self, bytes: &[u8], patience: Duration) -> Result<(), DialError> {
        let endpoint = self.endpoint;
        if gets_no_bytes(endpoint.port) {
            return Err(DialError::NeverSend { endpoint });
        }
        match timeout(patience, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(DialError::Broken { endpoint, source }),
            Err(_) => Err(DialError::TimedOut { endpoint }),
        }
    }

    /// Waits at most `patience` for bytes and puts as many as fit into `buffer`.
    pub async fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Received {
        match timeout(patience, self.stream.read(buffer)).await {
            Ok(Ok(0)) => Received::Closed,
            Ok(Ok(length)) => Received::Bytes(length),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Received::Closed,
            Ok(Err(_)) => Received::Reset,
            Err(_) => Received::TimedOut,
        }
    }
}
