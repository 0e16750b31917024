//! Which ports of the hosts of a window are decided: one bit each.

use foldhash::fast::FixedState;
use portolan_model::{Endpoint, PortSet};
use std::collections::HashMap;
use std::net::IpAddr;

/// The hosts and ports of a window, and what is decided.
#[derive(Debug)]
pub(crate) struct Ledger {
    addresses: Vec<IpAddr>,
    hosts: HashMap<IpAddr, u32, FixedState>,
    /// By port number: its place among the ports that are asked, counted from 1; 0: it is not.
    places: Vec<u32>,
    ports: u32,
    decided: Vec<u64>,
}

/// One port of one host, as the ledger counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pair {
    pub(crate) host: u32,
    pub(crate) port: u16,
}

impl Ledger {
    /// A ledger with nothing decided. Hosts are numbered in the order of `addresses`.
    pub(crate) fn new(addresses: Vec<IpAddr>, ports: &PortSet, keyed: FixedState) -> Self {
        let mut places = vec![0; 1 << 16];
        for (place, port) in (1..).zip(ports.iter()) {
            if let Some(it) = places.get_mut(usize::from(port)) {
                *it = place;
            }
        }
        let pairs = addresses.len().saturating_mul(width(ports.len()));
        let mut hosts = HashMap::with_capacity_and_hasher(addresses.len(), keyed);
        hosts.extend(addresses.iter().copied().zip(0..));
        Self {
            hosts,
            decided: vec![0; pairs.div_ceil(64)],
            addresses,
            places,
            ports: ports.len(),
        }
    }

    /// The address of a host.
    pub(crate) fn address(&self, host: u32) -> Option<IpAddr> {
        self.addresses.get(width(host)).copied()
    }

    /// Where a probe to `pair` goes; `None` for a host that is none of the window.
    pub(crate) fn endpoint(&self, pair: Pair) -> Option<Endpoint> {
        let address = self.addresses.get(width(pair.host))?;
        Some(Endpoint::tcp(*address, pair.port))
    }

    /// The pair that `endpoint` is; `None` for one that is not asked.
    pub(crate) fn pair(&self, endpoint: Endpoint) -> Option<Pair> {
        let pair = Pair {
            host: *self.hosts.get(&endpoint.address)?,
            port: endpoint.port,
        };
        self.index(pair).map(|_| pair)
    }

    /// Whether `pair` is decided; one that is not asked counts as decided.
    pub(crate) fn is_decided(&self, pair: Pair) -> bool {
        let bit = self.index(pair).and_then(|index| {
            let word = self.decided.get(index / 64)?;
            Some(word >> (index % 64) & 1 == 1)
        });
        bit.unwrap_or(true)
    }

    /// Notes that `pair` is decided.
    pub(crate) fn decide(&mut self, pair: Pair) {
        if let Some(index) = self.index(pair)
            && let Some(word) = self.decided.get_mut(index / 64)
        {
            *word |= 1 << (index % 64);
        }
    }

    fn index(&self, pair: Pair) -> Option<usize> {
        let place = self.places.get(usize::from(pair.port))?.checked_sub(1)?;
        let index = width(pair.host).checked_mul(width(self.ports))?;
        index.checked_add(width(place))
    }
}

fn width(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decided_one_by_one() {
        let addresses: Vec<IpAddr> = ["192.0.2.1", "192.0.2.9", "2001:db8::1"]
            .map(|it| it.parse().unwrap())
            .to_vec();
        let ports = PortSet::union_of([PortSet::range(20, 90), PortSet::range(65_535, 65_535)]);
        let mut ledger = Ledger::new(addresses.clone(), &ports, FixedState::with_seed(7));
        let mut decided = Vec::new();
        for (host, address) in (0..).zip(&addresses) {
            for port in [20, 63, 64, 90, 65_535] {
                let endpoint = Endpoint::tcp(*address, port);
                let pair = ledger.pair(endpoint).unwrap();
                assert_eq!(pair, Pair { host, port });
                assert_eq!(ledger.endpoint(pair), Some(endpoint));
                assert!(!ledger.is_decided(pair));
                ledger.decide(pair);
                decided.push(pair);
                assert!(decided.iter().all(|it| ledger.is_decided(*it)));
            }
        }
        let open = |host, port| !ledger.is_decided(Pair { host, port });
        let left = (0..3).flat_map(|host| ports.iter().map(move |port| (host, port)));
        let left = left.filter(|(host, port)| open(*host, *port)).count();
        assert_eq!(left, 3 * (72 - 5));
    }

    #[test]
    fn a_probe_takes_no_more_than_two_bits() {
        let addresses: Vec<IpAddr> = (0..64_u32)
            .map(|host| IpAddr::V4((0xc612_0700 | host).into()))
            .collect();
        let ports = PortSet::range(0, u16::MAX);
        let ledger = Ledger::new(addresses, &ports, FixedState::with_seed(7));
        let tables = ledger.addresses.capacity() * size_of::<IpAddr>()
            + ledger.hosts.capacity() * size_of::<(IpAddr, u32)>()
            + ledger.places.capacity() * size_of::<u32>();
        let bits = 8 * (tables + ledger.decided.capacity() * size_of::<u64>());
        assert!(bits <= 2 * 64 * 65_536, "{bits}");
    }

    #[test]
    fn what_is_not_asked_is_no_pair() {
        let address = "192.0.2.1".parse().unwrap();
        let ports = PortSet::range(80, 80);
        let mut ledger = Ledger::new(vec![address], &ports, FixedState::with_seed(7));
        let endpoint = |ip: &str, port| Endpoint::tcp(ip.parse().unwrap(), port);
        assert_eq!(ledger.pair(endpoint("192.0.2.2", 80)), None);
        assert_eq!(ledger.pair(endpoint("192.0.2.1", 81)), None);
        for pair in [Pair { host: 0, port: 81 }, Pair { host: 1, port: 80 }] {
            ledger.decide(pair);
            assert!(ledger.is_decided(pair));
        }
        assert!(!ledger.is_decided(Pair { host: 0, port: 80 }));
        assert_eq!(ledger.endpoint(Pair { host: 1, port: 80 }), None);
    }
}
