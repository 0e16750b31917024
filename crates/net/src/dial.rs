//! One conversation over one TCP connection, each step with its own deadline and byte cap.
//!
//! What is not here: what is said, and what the answer means.

use crate::connect::Source;
use crate::never_send::gets_no_bytes_over_tcp;
use crate::tls::{self, Handshake};
use crate::turns::Turns;
use nix::sys::socket::{setsockopt, sockopt};
use portolan_model::{Endpoint, Pace, PortSet, Refusal, Scope};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

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

/// Makes connections that stay inside a scope and keep to its rates. Clones share the rates.
#[derive(Clone, Debug)]
pub struct Dialer {
    scope: Arc<Scope>,
    source: Source,
    turns: Arc<Turns>,
    ask_anyway: Arc<PortSet>,
}

/// The right to make one connection now.
#[derive(Debug)]
pub struct Turn {
    endpoint: Endpoint,
}

/// An open connection. It ends by a reset when it is dropped, so that nothing lingers on either
/// side.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    endpoint: Endpoint,
    may_send: bool,
}

#[derive(Debug)]
enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// A dialer for `scope`, sending from `source`, no faster than the scope allows.
    pub fn new(scope: Arc<Scope>, source: Source) -> Self {
        let turns = Arc::new(Turns::new(scope.rate, scope.host_rate));
        Self {
            scope,
            source,
            turns,
            ask_anyway: Arc::default(),
        }
    }

    /// Bytes go to these ports, too, where they otherwise get none.
    #[must_use]
    pub fn asking_anyway(self, ports: PortSet) -> Self {
        let ask_anyway = Arc::new(ports);
        Self { ask_anyway, ..self }
    }

    /// Whether bytes may go to this port.
    pub fn may_send(&self, port: u16) -> bool {
        !gets_no_bytes_over_tcp(port) || self.ask_anyway.contains(port)
    }

    /// No faster than `pace` either; where the scope is stricter, the scope holds.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        let rate = least(pace.rate, self.scope.rate);
        let host_rate = least(pace.host_rate, self.scope.host_rate);
        let turns = Arc::new(Turns::new(rate, host_rate));
        Self { turns, ..self }
    }

    /// Waits until the rates allow one more connection to `endpoint`. An endpoint outside the scope
    /// costs no turn; a wait that is given up takes none.
    pub async fn turn(&self, endpoint: Endpoint) -> Result<Turn, DialError> {
        self.check(endpoint)?;
        self.turns.wait(endpoint.address).await;
        Ok(Turn { endpoint })
    }

    /// Connects within `patience`. The scope is checked once more, right before.
    pub async fn connect(&self, turn: Turn, patience: Duration) -> Result<Connection, DialError> {
        let Turn { endpoint } = turn;
        self.check(endpoint)?;
        let broken = |source| DialError::Broken { endpoint, source };
        let peer = endpoint.socket_address();
        let socket = self.open_socket(peer).map_err(broken)?;
        match timeout(patience, socket.connect(peer)).await {
            Ok(Ok(stream)) => Ok(Connection {
                stream: Stream::Clear(stream),
                may_send: self.may_send(endpoint.port),
                endpoint,
            }),
            Ok(Err(source)) => Err(broken(source)),
            Err(_) => Err(DialError::TimedOut { endpoint }),
        }
    }

    /// Goes on with a connection that another part of the run opened.
    pub fn adopt(&self, descriptor: OwnedFd, endpoint: Endpoint) -> Result<Connection, DialError> {
        self.check(endpoint)?;
        let stream = TcpStream::from_std(std::net::TcpStream::from(descriptor))
            .map_err(|source| DialError::Broken { endpoint, source })?;
        Ok(Connection {
            stream: Stream::Clear(stream),
            may_send: self.may_send(endpoint.port),
            endpoint,
        })
    }

    /// A socket that leaves from where the source says.
    fn open_socket(&self, peer: SocketAddr) -> io::Result<TcpSocket> {
        let (socket, unspecified) = match peer {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        socket.set_zero_linger()?;
        let Source {
            address,
            port,
            interface,
        } = &self.source;
        if let Some(interface) = interface {
            socket.bind_device(Some(interface.as_bytes()))?;
        }
        match (*address, *port) {
            (None, None) => {}
            (address, Some(port)) => {
                // Other connections of the run leave from the same port.
                socket.set_reuseaddr(true)?;
                socket.bind(SocketAddr::new(address.unwrap_or(unspecified), port))?;
            }
            (Some(address), None) => {
                // The port is chosen at connect, where the whole tuple is known (ip(7)).
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
                socket.bind(SocketAddr::new(address, 0))?;
            }
        }
        Ok(socket)
    }

    fn check(&self, endpoint: Endpoint) -> Result<(), DialError> {
        self.scope
            .check(endpoint)
            .map_err(|refusal| DialError::OutsideScope { endpoint, refusal })
    }
}

/// The stricter of two rates.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

impl Connection {
    /// Goes on inside TLS, with what the handshake showed. `name` is the DNS name for
    /// `server_name` (RFC 6066 §3). Certificates are not judged.
    pub async fn secure(
        self,
        name: Option<&str>,
        patience: Duration,
    ) -> Result<(Self, Handshake), DialError> {
        let endpoint = self.endpoint;
        if !self.may_send {
            return Err(DialError::NeverSend { endpoint });
        }
        let broken = |source| DialError::Broken { endpoint, source };
        let may_send = self.may_send;
        let Stream::Clear(stream) = self.stream else {
            return Err(broken(io::Error::other("TLS stands already")));
        };
        match timeout(patience, tls::handshake(stream, name, endpoint.address)).await {
            Ok(Ok(stream)) => {
                let shown = tls::shown(&stream);
                let secure = Self {
                    stream: Stream::Tls(Box::new(stream)),
                    endpoint,
                    may_send,
                };
                Ok((secure, shown))
            }
            Ok(Err(source)) => Err(broken(source)),
            Err(_) => Err(DialError::TimedOut { endpoint }),
        }
    }

    /// Sends all of `bytes` within `patience`.
    pub async fn send(&mut self, bytes: &[u8], patience: Duration) -> Result<(), DialError> {
        let endpoint = self.endpoint;
        if !self.may_send {
            return Err(DialError::NeverSend { endpoint });
        }
        let sent = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.write_all(bytes).await,
                Stream::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        match timeout(patience, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(DialError::Broken { endpoint, source }),
            Err(_) => Err(DialError::TimedOut { endpoint }),
        }
    }

    /// Waits at most `patience` for bytes and puts as many as fit into `buffer`.
    pub async fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> Received {
        let received = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.read(buffer).await,
                Stream::Tls(stream) => stream.read(buffer).await,
            }
        };
        match timeout(patience, received).await {
            Ok(Ok(0)) => Received::Closed,
            Ok(Ok(length)) => Received::Bytes(length),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => Received::Closed,
            Ok(Err(_)) => Received::Reset,
            Err(_) => Received::TimedOut,
        }
    }
}
