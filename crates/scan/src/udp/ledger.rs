//! Two bits for every (host, port) of a window: whether a probe left for it, and whether it is
//! decided.

use portolan_model::Endpoint;
use std::collections::HashMap;
use std::net::IpAddr;

/// One port of one host of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pair {
    /// Number of the host.
    pub(super) host: u32,
    /// Number of the port among those of the window.
    pub(super) port: u32,
}

#[derive(Debug)]
pub(super) struct Ledger {
    addresses: Vec<IpAddr>,
    hosts: HashMap<IpAddr, u32>,
    /// In ascending order.
    ports: Vec<u16>,
    sent: Bits,
    decided: Bits,
}

#[derive(Debug)]
struct Bits(Vec<u64>);

impl Ledger {
    /// A ledger for every one of `ports`, which are in ascending order, at every address.
    pub(super) fn new(addresses: Vec<IpAddr>, ports: Vec<u16>) -> Self {
        let bits = addresses.len().saturating_mul(ports.len());
        Self {
            hosts: (0..).zip(&addresses).map(|(at, ip)| (*ip, at)).collect(),
            addresses,
            ports,
            sent: Bits::of(bits),
            decided: Bits::of(bits),
        }
    }

    pub(super) fn pair(&self, endpoint: Endpoint) -> Option<Pair> {
        Some(Pair {
            host: self.host(endpoint.address)?,
            port: self.port(endpoint.port)?,
        })
    }

    pub(super) fn host(&self, address: IpAddr) -> Option<u32> {
        self.hosts.get(&address).copied()
    }

    /// The number of a port.
    pub(super) fn port(&self, port: u16) -> Option<u32> {
        let at = self.ports.binary_search(&port).ok()?;
        u32::try_from(at).ok()
    }

    pub(super) fn endpoint(&self, pair: Pair) -> Option<Endpoint> {
        let address = self.addresses.get(index(pair.host))?;
        let port = self.ports.get(index(pair.port))?;
        Some(Endpoint::udp(*address, *port))
    }

    pub(super) fn has_left(&self, pair: Pair) -> bool {
        self.sent.has(self.bit(pair))
    }

    pub(super) fn is_decided(&self, pair: Pair) -> bool {
        self.decided.has(self.bit(pair))
    }

    /// A probe left for it; `false`: one had before.
    pub(super) fn leave(&mut self, pair: Pair) -> bool {
        let bit = self.bit(pair);
        self.sent.set(bit)
    }

    /// `false`: it was decided before.
    pub(super) fn decide(&mut self, pair: Pair) -> bool {
        let bit = self.bit(pair);
        self.decided.set(bit)
    }

    fn bit(&self, pair: Pair) -> usize {
        let row = index(pair.host).saturating_mul(self.ports.len());
        row.saturating_add(index(pair.port))
    }
}

impl Bits {
    fn of(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn has(&self, bit: usize) -> bool {
        let word = self.0.get(bit / 64).copied().unwrap_or(0);
        word & (1 << (bit % 64)) != 0
    }

    /// `false`: it was set before.
    fn set(&mut self, bit: usize) -> bool {
        let mask = 1_u64 << (bit % 64);
        let Some(word) = self.0.get_mut(bit / 64) else {
            return false;
        };
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }
}

pub(super) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_every_host_has_its_own_bits() {
        let addresses: Vec<IpAddr> = (1..=3).map(|it| IpAddr::from([192, 0, 2, it])).collect();
        let mut ledger = Ledger::new(addresses.clone(), vec![53, 123, 65_535]);
        for (host, address) in (0..).zip(addresses) {
            for (port, number) in [(0, 53), (1, 123), (2, 65_535)] {
                let pair = Pair { host, port };
                let endpoint = Endpoint::udp(address, number);
                assert_eq!(ledger.pair(endpoint), Some(pair));
                assert_eq!(ledger.endpoint(pair), Some(endpoint));
                assert!(!ledger.is_decided(pair) && !ledger.has_left(pair));
                assert!(ledger.leave(pair) && ledger.decide(pair));
                assert!(!ledger.leave(pair) && !ledger.decide(pair));
                assert!(ledger.is_decided(pair) && ledger.has_left(pair));
            }
        }
        let elsewhere = Endpoint::udp(IpAddr::from([192, 0, 2, 9]), 53);
        assert_eq!(ledger.pair(elsewhere), None);
    }
}
