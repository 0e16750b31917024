//! Host names to addresses, through the system's resolver and so by its rules (hosts file, search
//! domains, name service switch).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver does not know it, or cannot be reached.
    #[error("host name \"{name}\" was not resolved: {source}")]
    Unknown {
        /// The name.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver knows the name, but no address for it.
    #[error("host name \"{name}\" has no address")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// The resolver did not answer in time.
    #[error("host name \"{name}\" was not resolved within {RESOLVE_S} seconds")]
    TimedOut {
        /// The name.
        name: String,
    },
}

/// Longest wait for the system's resolver, in seconds: two servers at its default of two tries of
/// five seconds.
const RESOLVE_S: u64 = 20;
/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// Every address of `name`, in the resolver's order of families, without duplicates; at most 64.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let looked_up = tokio::net::lookup_host((name, 0));
    let answer = tokio::time::timeout(Duration::from_secs(RESOLVE_S), looked_up)
        .await
        .map_err(|_| ResolveError::TimedOut {
            name: name.to_owned(),
        })?
        .map_err(|source| ResolveError::Unknown {
            name: name.to_owned(),
            source,
        })?;
    let addresses: BTreeSet<IpAddr> = answer
        .map(|address| address.ip().to_canonical())
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() {
        return Err(ResolveError::NoAddress {
            name: name.to_owned(),
        });
    }
    Ok(addresses.into_iter().collect())
}

/// Whether this machine has a route to `address`. Nothing is sent: a UDP socket only looks the
/// route up when it is connected (udp(7)).
pub fn has_route(address: IpAddr) -> bool {
    let own = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind(SocketAddr::new(own, 0))
        .and_then(|socket| socket.connect(SocketAddr::new(address, 9)))
        .is_ok()
}
