//! Sets of addresses as sorted ranges: the same few bytes for one host and for a /8.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of IPv4 and IPv6 addresses. Invariant: the ranges of a family are sorted, disjoint and
/// not adjacent. IPv4-mapped IPv6 addresses are kept as IPv4 (RFC 4291 §2.5.5.2).
///
/// In documents it is a list of texts: `"192.0.2.7"`, `"10.0.0.0-10.0.0.255"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct AddressSet {
    v4: Vec<Span>,
    v6: Vec<Span>,
}

/// First and last address of a range, both inside, as numbers of their family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Span {
    first: u128,
    last: u128,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl AddressSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }

    /// The set of all addresses from `first` to `last`. `None` when the two are of different
    /// families or in the wrong order.
    pub fn range(first: IpAddr, last: IpAddr) -> Option<Self> {
        let ((family, first), (last_family, last)) = (number(first), number(last));
        if family != last_family || first > last {
            return None;
        }
        let spans = vec![Span { first, last }];
        Some(match family {
            Family::V4 => Self {
                v4: spans,
                v6: Vec::new(),
            },
            Family::V6 => Self {
                v4: Vec::new(),
                v6: spans,
            },
        })
    }

    /// The network of `address` with `prefix` leading bits; host bits of `address` are ignored.
    /// `None` when the prefix is longer than the address.
    pub fn network(address: IpAddr, prefix: u8) -> Option<Self> {
        // A prefix on an IPv4-mapped address counts from the start of the IPv6 address.
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => (v4, prefix.checked_sub(96)?),
            (address, _) => (address, prefix),
        };
        let (family, value) = number(address);
        let width: u8 = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let host_bits = u32::from(width.checked_sub(prefix)?);
        let mask = if host_bits == 128 {
            u128::MAX
        } else {
            (1_u128 << host_bits).wrapping_sub(1)
        };
        Self::range(
            address_of(family, value & !mask),
            address_of(family, value | mask),
        )
    }

    /// All IPv4 and IPv6 addresses.
    pub fn everything() -> Self {
        let v4 = vec![Span {
            first: 0,
            last: u128::from(u32::MAX),
        }];
        Self {
            v4,
            v6: vec![Span {
                first: 0,
                last: u128::MAX,
            }],
        }
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Number of addresses; stops counting at `u128::MAX`.
    pub fn len(&self) -> u128 {
        self.v4
            .iter()
            .chain(&self.v6)
            .fold(0_u128, |sum, span| sum.saturating_add(span.len()))
    }

    /// Whether `address` is in it. Time: logarithmic in the number of ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (family, value) = number(address);
        let spans = self.spans(family);
        let after = spans.partition_point(|span| span.first <= value);
        after
            .checked_sub(1)
            .and_then(|at| spans.get(at))
            .is_some_and(|span| value <= span.last)
    }

    /// Adds one address.
    pub fn insert(&mut self, address: IpAddr) {
        if let Some(one) = Self::range(address, address) {
            self.extend_from(&one);
        }
    }

    /// Adds every address of `other`.
    pub fn extend_from(&mut self, other: &Self) {
        self.v4 = normalised(self.v4.iter().chain(&other.v4).copied().collect());
        self.v6 = normalised(self.v6.iter().chain(&other.v6).copied().collect());
    }

    /// The union of many sets, in one sort.
    pub fn union_of(sets: impl IntoIterator<Item = Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend(set.v4);
            v6.extend(set.v6);
        }
        Self {
            v4: normalised(v4),
            v6: normalised(v6),
        }
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            v4: difference(&self.v4, &other.v4),
            v6: difference(&self.v6, &other.v6),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// The lowest address, IPv4 before IPv6.
    pub fn first(&self) -> Option<IpAddr> {
        self.ranges().next().map(|(first, _)| first)
    }

    /// The ranges in order, IPv4 before IPv6, as first and last address.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        let of = |family: Family| {
            move |span: &Span| {
                (
                    address_of(family, span.first),
                    address_of(family, span.last),
                )
            }
        };
        self.v4
            .iter()
            .map(of(Family::V4))
            .chain(self.v6.iter().map(of(Family::V6)))
    }

    /// Every address in order. For sets that are known to be small.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let of = |family: Family| {
            move |span: &Span| (span.first..=span.last).map(move |v| address_of(family, v))
        };
        self.v4
            .iter()
            .flat_map(of(Family::V4))
            .chain(self.v6.iter().flat_map(of(Family::V6)))
    }

    /// An index over the set, to reach the n-th address without walking.
    pub fn addresses(&self) -> Addresses {
        let mut starts = Vec::with_capacity(self.v4.len().saturating_add(self.v6.len()));
        let mut start = 0_u128;
        for (family, spans) in [(Family::V4, &self.v4), (Family::V6, &self.v6)] {
            for span in spans {
                starts.push((start, family, *span));
                start = start.saturating_add(span.len());
            }
        }
        Addresses { starts, len: start }
    }

    fn spans(&self, family: Family) -> &[Span] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl FromIterator<IpAddr> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self::union_of(
            addresses
                .into_iter()
                .filter_map(|address| Self::range(address, address)),
        )
    }
}

impl From<AddressSet> for Vec<String> {
    fn from(set: AddressSet) -> Self {
        set.ranges()
            .map(|(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}-{last}")
                }
            })
            .collect()
    }
}

impl TryFrom<Vec<String>> for AddressSet {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let mut sets = Vec::with_capacity(texts.len());
        for text in texts {
            let (first, last) = text.split_once('-').unwrap_or((&text, &text));
            let range = first.parse().ok().zip(last.parse().ok());
            let set = range.and_then(|(first, last)| Self::range(first, last));
            sets.push(set.ok_or_else(|| format!("{text:?} is not an address or a range"))?);
        }
        Ok(Self::union_of(sets))
    }
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(", "))
    }
}

/// The addresses of a set by position, IPv4 before IPv6, each family in order.
#[derive(Clone, Debug)]
pub struct Addresses {
    starts: Vec<(u128, Family, Span)>,
    len: u128,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "V4",
            Self::V6 => "V6",
        })
    }
}

impl Addresses {
    /// Number of addresses.
    pub const fn len(&self) -> u128 {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ranges in order, IPv4 before IPv6, as first and last address.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        let of = |(_, family, span): &(u128, Family, Span)| {
            (
                address_of(*family, span.first),
                address_of(*family, span.last),
            )
        };
        self.starts.iter().map(of)
    }

    /// The address at `position`; `None` at or beyond [`Addresses::len`].
    pub fn nth(&self, position: u128) -> Option<IpAddr> {
        let after = self
            .starts
            .partition_point(|(start, ..)| *start <= position);
        let (start, family, span) = self.starts.get(after.checked_sub(1)?)?;
        let value = span.first.checked_add(position.checked_sub(*start)?)?;
        (value <= span.last).then(|| address_of(*family, value))
    }
}

impl Span {
    const fn len(self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }
}

fn number(address: IpAddr) -> (Family, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (Family::V4, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (Family::V6, v6.to_bits()),
    }
}

fn address_of(family: Family, value: u128) -> IpAddr {
    match (family, u32::try_from(value)) {
        (Family::V4, Ok(bits)) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        // An IPv4 value always fits 32 bits: every span is made from addresses of its family.
        (Family::V4, Err(_)) => IpAddr::V4(Ipv4Addr::BROADCAST),
        (Family::V6, _) => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

fn normalised(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(span.last);
            }
            _ => merged.push(span),
        }
    }
    merged
}

fn difference(from: &[Span], cut: &[Span]) -> Vec<Span> {
    let mut rest = Vec::with_capacity(from.len());
    let mut cuts = cut.iter().copied().peekable();
    for span in from {
        let mut first = Some(span.first);
        while let (Some(start), Some(next)) = (first, cuts.peek().copied()) {
            if next.last < start {
                cuts.next();
            } else if next.first > span.last {
                break;
            } else {
                if next.first > start {
                    rest.push(Span {
                        first: start,
                        last: next.first - 1,
                    });
                }
                first = next.last.checked_add(1).filter(|after| *after <= span.last);
                if first.is_some() {
                    cuts.next();
                }
            }
        }
        if let Some(first) = first {
            rest.push(Span {
                first,
                last: span.last,
            });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(ranges: &[(u8, u8)]) -> AddressSet {
        AddressSet::union_of(ranges.iter().filter_map(|(a, b)| {
            let of = |v: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, v));
            AddressSet::range(of(*a.min(b)), of(*a.max(b)))
        }))
    }

    fn members(set: &AddressSet) -> BTreeSet<IpAddr> {
        set.iter().collect()
    }

    proptest! {
        #[test]
        fn set_operations_agree_with_a_plain_set(
            a in prop::collection::vec((any::<u8>(), any::<u8>()), 0..8),
            b in prop::collection::vec((any::<u8>(), any::<u8>()), 0..8),
        ) {
            let (a, b) = (set(&a), set(&b));
            let (plain_a, plain_b) = (members(&a), members(&b));
            prop_assert_eq!(members(&a.without(&b)), &plain_a - &plain_b);
            prop_assert_eq!(members(&a.intersection(&b)), &plain_a & &plain_b);
            let both = AddressSet::union_of([a.clone(), b.clone()]);
            prop_assert_eq!(members(&both), &plain_a | &plain_b);
            let index = a.addresses();
            prop_assert_eq!(index.len(), plain_a.len() as u128);
            for (at, address) in plain_a.iter().enumerate() {
                prop_assert_eq!(index.nth(at as u128), Some(*address));
                prop_assert!(a.contains(*address));
                prop_assert_eq!(b.contains(*address), plain_b.contains(address));
            }
            prop_assert_eq!(index.nth(index.len()), None);
            prop_assert_eq!(AddressSet::try_from(Vec::from(a.clone())), Ok(a));
        }
    }

    #[test]
    fn the_ends_of_the_address_space_hold() {
        let all = AddressSet::everything();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(all.contains("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()));
        assert!(all.without(&all).is_empty());
        assert_eq!(all.len(), u128::MAX);
        let zero = AddressSet::network("::".parse().unwrap(), 0).unwrap();
        assert_eq!(all.without(&zero).len(), 1 << 32);
        assert!(AddressSet::network("10.0.0.0".parse().unwrap(), 33).is_none());
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_host() {
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert!(set(&[(1, 1)]).contains(mapped));
        assert_eq!(
            AddressSet::network(mapped, 128),
            AddressSet::range(mapped, mapped)
        );
        assert_eq!(AddressSet::network(mapped, 120).map(|s| s.len()), Some(256));
    }
}
