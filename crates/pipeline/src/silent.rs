//! The addresses from which nothing came back, in little memory: most of a large run.

use portolan_model::AddressSet;
use roaring::RoaringBitmap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv6 addresses that wait to be joined to ranges.
const WAITING_MAX: usize = 1 << 16;

/// Addresses that are silent.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    v4: RoaringBitmap,
    v6: AddressSet,
    v6_waiting: Vec<Ipv6Addr>,
}

impl Silent {
    pub(crate) fn insert(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.v4.insert(v4.to_bits());
            }
            IpAddr::V6(v6) => {
                self.v6_waiting.push(v6);
                if self.v6_waiting.len() >= WAITING_MAX {
                    let waiting = std::mem::take(&mut self.v6_waiting);
                    let waiting: AddressSet = waiting.into_iter().map(IpAddr::V6).collect();
                    self.v6.extend_from(&waiting);
                }
            }
        }
    }

    /// All of them.
    pub(crate) fn addresses(&self) -> AddressSet {
        let mut bits = self.v4.iter().peekable();
        let ranges = std::iter::from_fn(|| {
            let first = bits.next()?;
            let mut last = first;
            while let Some(next) = bits.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            let ends = [first, last].map(|it| IpAddr::V4(Ipv4Addr::from_bits(it)));
            let [first, last] = ends;
            AddressSet::range(first, last)
        });
        let mut all = AddressSet::union_of(ranges);
        all.extend_from(&self.v6);
        let waiting = self.v6_waiting.iter().copied().map(IpAddr::V6);
        all.extend_from(&waiting.collect());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: impl IntoIterator<Item = IpAddr> + Clone) {
        let mut silent = Silent::default();
        for address in addresses.clone() {
            silent.insert(address);
        }
        assert_eq!(silent.addresses(), addresses.into_iter().collect());
    }

    #[test]
    fn what_went_in_is_in_it() {
        check([]);
        check(["0.0.0.0", "255.255.255.255", "255.255.255.254"].map(|it| it.parse().unwrap()));
        check(["192.0.2.9", "2001:db8::9", "192.0.2.7", "192.0.2.8"].map(|it| it.parse().unwrap()));
    }

    #[test]
    fn more_than_may_wait_are_kept_as_well() {
        let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
        let count = u128::try_from(WAITING_MAX).unwrap() * 2 + 7;
        check((0..count).map(|at| IpAddr::V6((first + at * 3 % count).into())));
    }
}
