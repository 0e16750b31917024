//! Opens the interfaces that a whole scan needs before it begins: what is open needs no right any
//! more.
//!
//! What is not here: the ways to the hosts of a window (the parent module).

use super::{Hop, ROUTES_MAX, Ways};
use portolan_net::filter::Filter;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

/// Whether anything is left to open later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Every interface that leads to a target is open.
    All,
    /// There are more ways than are looked at ahead; interfaces open when a way shows them.
    Some,
}

/// Steps from one stretch of addresses that go the same way to the next.
const STEPS_MAX: u32 = 1 << 20;

impl Ways {
    /// Opens every interface that leads to any address of `ranges`, which are first and last ones.
    ///
    /// # Errors
    /// When an interface cannot be opened.
    pub(crate) fn open_ahead(
        &mut self,
        ranges: impl Iterator<Item = (IpAddr, IpAddr)>,
    ) -> io::Result<Opened> {
        let Some(hops) = self.hops(ranges) else {
            return Ok(Opened::Some);
        };
        self.open_lines(&hops)?;
        self.is_all_open = true;
        Ok(Opened::All)
    }

    /// Every first hop, neighbours left out; `None`: they are too many, or there is one with more
    /// sources than a filter holds.
    fn hops(&mut self, ranges: impl Iterator<Item = (IpAddr, IpAddr)>) -> Option<BTreeSet<Hop>> {
        let mut hops = BTreeSet::new();
        let mut sources: BTreeMap<u32, BTreeSet<IpAddr>> = BTreeMap::new();
        let (mut steps, mut nowhere) = (0_u32, 0_usize);
        for (first, last) in ranges {
            let mut next = Some(first);
            while let Some(address) = next {
                steps = steps.checked_add(1).filter(|it| *it <= STEPS_MAX)?;
                let mut end = self.routes.range_end(address);
                if let Ok(hop) = self.hop(address) {
                    // To its own addresses a machine speaks from each of them.
                    if hop.source == address {
                        end = address;
                    }
                    let of_interface = sources.entry(hop.interface).or_default();
                    of_interface.insert(hop.source);
                    if of_interface.len() > Filter::ADDRESSES_MAX {
                        return None;
                    }
                    hops.insert(Hop {
                        neighbour: hop.neighbour.filter(|_| hop.is_gateway),
                        ..hop
                    });
                } else {
                    nowhere += 1;
                }
                // What is forgotten would be asked for anew, and answered otherwise perhaps.
                if self.known.len().saturating_add(nowhere) >= ROUTES_MAX {
                    return None;
                }
                next = after(end).filter(|it| *it <= last);
            }
        }
        Some(hops)
    }
}

/// The address behind `address`; `None`: it is the last of its family.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => it.to_bits().checked_add(1).map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(it) => it.to_bits().checked_add(1).map(|it| IpAddr::V6(it.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_each_other_to_the_end_of_their_family() {
        let check = |address: &str, expected: Option<&str>| {
            let expected = expected.map(|it| it.parse().unwrap());
            assert_eq!(after(address.parse().unwrap()), expected);
        };
        check("198.18.0.255", Some("198.18.1.0"));
        check("2001:db8::ffff", Some("2001:db8::1:0"));
        check("255.255.255.255", None);
        check("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None);
    }
}
