//! Sets of port numbers as sorted ranges.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A set of port numbers. Invariant: ranges are sorted, disjoint and not adjacent. In documents
/// it is a text: `"22,80,8000-8100"`, the empty text for the empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// The ports from `first` to `last`, both inside; empty when `first` is greater.
    pub fn range(first: u16, last: u16) -> Self {
        Self {
            ranges: if first <= last {
                vec![(first, last)]
            } else {
                Vec::new()
            },
        }
    }

    /// Whether no port is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of ports, 0 to 65,536.
    pub fn len(&self) -> u32 {
        self.ranges
            .iter()
            .map(|(first, last)| u32::from(*last) - u32::from(*first) + 1)
            .sum()
    }

    /// Whether `port` is in it.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= port);
        after
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|(_, l)| port <= *l)
    }

    /// Every port in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// First and last port of every range, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.ranges.iter().copied()
    }

    /// The union of many sets.
    pub fn union_of(sets: impl IntoIterator<Item = Self>) -> Self {
        let mut ranges: Vec<(u16, u16)> = sets.into_iter().flat_map(|set| set.ranges).collect();
        ranges.sort_unstable();
        Self {
            ranges: merged(ranges),
        }
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter().filter(|port| !other.contains(*port)).collect()
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut ranges: Vec<(u16, u16)> = ports.into_iter().map(|port| (port, port)).collect();
        ranges.sort_unstable();
        Self {
            ranges: merged(ranges),
        }
    }
}

fn merged(sorted: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for (first, last) in sorted {
        match ranges.last_mut() {
            Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
            _ => ranges.push((first, last)),
        }
    }
    ranges
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl From<PortSet> for String {
    fn from(set: PortSet) -> Self {
        set.to_string()
    }
}

impl TryFrom<String> for PortSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut sets = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) if first <= last => sets.push(Self::range(first, last)),
                _ => return Err(format!("{part:?} is not a port or a range of ports")),
            }
        }
        Ok(Self::union_of(sets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_port_set_is_a_set(ports in prop::collection::btree_set(any::<u16>(), 0..300)) {
            let set: PortSet = ports.iter().copied().collect();
            prop_assert_eq!(&set.iter().collect::<BTreeSet<_>>(), &ports);
            prop_assert_eq!(set.len() as usize, ports.len());
            let read_back = PortSet::try_from(set.to_string());
            prop_assert_eq!(read_back.as_ref(), Ok(&set));
            for port in 0..=u16::MAX {
                prop_assert_eq!(set.contains(port), ports.contains(&port));
            }
        }
    }

    #[test]
    fn all_ports_are_one_range() {
        let all = PortSet::range(0, u16::MAX);
        assert_eq!(all.len(), 65_536);
        assert_eq!(all.iter().collect::<PortSet>(), all);
        assert_eq!(all.to_string(), "0-65535");
    }
}
