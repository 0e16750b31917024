//! What a run may touch.

use crate::{AddressSet, Endpoint, PortSet, Text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// What may be touched, and on whose word. Denied wins over allowed. The check is made when the
/// plan is built and again at the last moment before a packet leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Addresses that may be probed.
    pub allowed: AddressSet,
    /// Addresses that are never probed, whatever is allowed.
    pub denied: AddressSet,
    /// Ports that may be probed; `None`: every port.
    pub ports: Option<PortSet>,
    /// Ceiling on probes a second in total.
    pub rate: Option<u64>,
    /// Ceiling on probes a second to one host.
    pub host_rate: Option<u64>,
    /// Who owns the networks.
    pub owner: Option<Text>,
    /// Whom to reach when something goes wrong.
    pub contact: Option<Text>,
    /// Why the run is authorised.
    pub reason: Option<Text>,
    /// End of the authorisation, in seconds since 1970-01-01 UTC.
    pub expires_unix_s: Option<i64>,
}

/// Why an endpoint is outside the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An exclusion names it.
    Denied,
    /// Nothing allows the address.
    NotAllowed,
    /// The address is allowed, the port is not.
    PortNotAllowed,
}

impl Scope {
    /// A scope that allows `allowed` and nothing else, on every port and without end.
    pub const fn of(allowed: AddressSet) -> Self {
        Self {
            allowed,
            denied: AddressSet::new(),
            ports: None,
            rate: None,
            host_rate: None,
            owner: None,
            contact: None,
            reason: None,
            expires_unix_s: None,
        }
    }

    /// Whether a packet may leave for `endpoint`.
    pub fn check(&self, endpoint: Endpoint) -> Result<(), Refusal> {
        self.check_address(endpoint.address)?;
        if self
            .ports
            .as_ref()
            .is_some_and(|ports| !ports.contains(endpoint.port))
        {
            Err(Refusal::PortNotAllowed)
        } else {
            Ok(())
        }
    }

    /// Whether a packet without ports may leave for `address`.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.denied.contains(address) {
            Err(Refusal::Denied)
        } else if !self.allowed.contains(address) {
            Err(Refusal::NotAllowed)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "an exclusion names it",
            Self::NotAllowed => "no scope allows it",
            Self::PortNotAllowed => "the scope does not allow this port",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_wins_over_allowed() {
        let network = |text: &str, prefix| AddressSet::network(text.parse().unwrap(), prefix);
        let mut scope = Scope::of(network("192.0.2.0", 24).unwrap());
        scope.denied = network("192.0.2.128", 25).unwrap();
        scope.ports = Some(PortSet::range(1, 1023));
        let check =
            |address: &str, port| scope.check(Endpoint::tcp(address.parse().unwrap(), port));
        assert_eq!(check("192.0.2.1", 80), Ok(()));
        assert_eq!(check("192.0.2.129", 80), Err(Refusal::Denied));
        assert_eq!(check("192.0.3.1", 80), Err(Refusal::NotAllowed));
        assert_eq!(check("192.0.2.1", 8080), Err(Refusal::PortNotAllowed));
        assert_eq!(check("::ffff:192.0.2.1", 80), Ok(()));
        let check = |address: &str| scope.check_address(address.parse().unwrap());
        assert_eq!(check("192.0.2.1"), Ok(()));
        assert_eq!(check("192.0.2.129"), Err(Refusal::Denied));
        assert_eq!(check("192.0.3.1"), Err(Refusal::NotAllowed));
    }
}
