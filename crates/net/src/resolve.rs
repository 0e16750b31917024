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
    /// More addresses than a name is believed to have. Taking some of them would leave out others
    /// that an exclusion may be about.
    #[error("host name \"{name}\" has {count} addresses, more than {ADDRESSES_MAX}")]
    TooMany {
        /// The name.
        name: String,
        /// How many the resolver gave.
        count: usize,
    },
}

/// Longest wait for the system's resolver, in seconds: two servers at its default of two tries of
/// five seconds.
const RESOLVE_S: u64 = 20;
/// Addresses that one name may have. An answer of DNS has at most 64 KiB (RFC 1035 §4.2.2), which
/// is room for 4,095 records of 16 bytes.
const ADDRESSES_MAX: usize = 4_096;

/// Every address of `name`, in the order of addresses and without duplicates. None is left out: a
/// name with more than 4,096 is an error.
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
    every_address(name, answer.map(|address| address.ip()))
}

fn every_address(
    name: &str,
    answer: impl Iterator<Item = IpAddr>,
) -> Result<Vec<IpAddr>, ResolveError> {
    let addresses: BTreeSet<IpAddr> = answer.map(|address| address.to_canonical()).collect();
    let name = || name.to_owned();
    match addresses.len() {
        0 => Err(ResolveError::NoAddress { name: name() }),
        count if count > ADDRESSES_MAX => Err(ResolveError::TooMany {
            name: name(),
            count,
        }),
        _ => Ok(addresses.into_iter().collect()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(count: u32) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|at| IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + at)))
    }

    #[test]
    fn no_address_of_a_name_is_left_out() {
        let check = |count: u32| {
            let addresses = every_address("many.test", answer(count)).unwrap();
            assert_eq!(addresses, answer(count).collect::<Vec<_>>());
        };
        check(1);
        check(65);
        check(4_096);
    }

    #[test]
    fn too_many_addresses_are_an_error_that_says_how_many() {
        let error = every_address("many.test", answer(4_097)).unwrap_err();
        assert!(matches!(error, ResolveError::TooMany { count: 4_097, .. }));
        assert!(error.to_string().contains("4097 addresses"), "{error}");
    }

    #[test]
    fn duplicates_and_mapped_addresses_count_once() {
        let mapped: IpAddr = "::ffff:198.18.0.0".parse().unwrap();
        let twice = answer(2).chain(answer(2)).chain([mapped]);
        assert_eq!(every_address("two.test", twice).unwrap().len(), 2);
        assert!(matches!(
            every_address("none.test", answer(0)),
            Err(ResolveError::NoAddress { .. })
        ));
    }
}
