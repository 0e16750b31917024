//! Where a probe goes: address, transport and port.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A transport protocol with ports.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// RFC 9293.
    #[default]
    Tcp,
    /// RFC 768.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// IPv4 or IPv6 address; an IPv4-mapped IPv6 address never stands here (see [`Endpoint::new`]).
    pub address: IpAddr,
    /// Transport of the port.
    pub transport: Transport,
    /// Port number, 0 included.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint with its address in canonical form: `::ffff:192.0.2.1` becomes `192.0.2.1`
    /// (RFC 4291 §2.5.5.2), so that one host is never counted as two.
    pub fn new(address: IpAddr, transport: Transport, port: u16) -> Self {
        Self {
            address: address.to_canonical(),
            transport,
            port,
        }
    }

    /// A TCP endpoint.
    pub fn tcp(address: IpAddr, port: u16) -> Self {
        Self::new(address, Transport::Tcp, port)
    }

    /// A UDP endpoint.
    pub fn udp(address: IpAddr, port: u16) -> Self {
        Self::new(address, Transport::Udp, port)
    }

    /// As the standard library's socket address.
    pub const fn socket_address(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket_address(), self.transport)
    }
}
