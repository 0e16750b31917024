//! What a crowd has heard: every SYN with its time and ports as long as there is room, and counts
//! beyond that. Nothing here answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// SYNs that are kept one by one.
const SYNS_MAX: usize = 1 << 21;

/// Addresses for which frames are counted.
const ADDRESSES_MAX: usize = 1 << 18;

/// One SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    /// Since the crowd began to play.
    pub at: Duration,
    /// Whom it was for.
    pub address: IpAddr,
    /// Port that was asked.
    pub port: u16,
    /// Port that asked.
    pub source_port: u16,
}

/// What was counted for one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Frames of every kind that were for it, wherever they were sent.
    pub frames: u64,
    /// SYNs among them.
    pub syns: u64,
    /// Questions for its hardware address among them.
    pub questions: u64,
}

/// Everything that was heard.
#[derive(Clone, Debug, Default)]
pub struct Record {
    kept: Vec<Syn>,
    counts_only: bool,
    syns: u64,
    by_address: HashMap<IpAddr, Heard>,
    overflown: bool,
}

impl Record {
    /// SYNs in all.
    pub const fn syns(&self) -> u64 {
        self.syns
    }

    /// Every SYN in the order of arrival; `None` when there were more than are kept.
    pub fn kept(&self) -> Option<&[Syn]> {
        let all = u64::try_from(self.kept.len()).is_ok_and(|kept| kept == self.syns);
        all.then_some(&self.kept)
    }

    /// What was for `address`, whether a host has it or not; `None` when there were too many
    /// addresses to count.
    pub fn heard(&self, address: IpAddr) -> Option<Heard> {
        let heard = self.by_address.get(&address).copied();
        heard.or_else(|| (!self.overflown).then(Heard::default))
    }

    /// Addresses for which there was anything.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.by_address.keys().copied().collect()
    }

    /// How often each pair of address and port was asked; `None` when that is not known.
    pub fn pairs(&self) -> Option<BTreeMap<(IpAddr, u16), u32>> {
        let mut pairs = BTreeMap::new();
        for syn in self.kept()? {
            *pairs.entry((syn.address, syn.port)).or_insert(0) += 1;
        }
        Some(pairs)
    }

    /// The first SYN that came less than `apart` after one for the same pair from the same source
    /// port.
    pub fn repeated_within(&self, apart: Duration) -> Option<Syn> {
        let mut last: HashMap<(IpAddr, u16, u16), Duration> = HashMap::new();
        self.kept.iter().copied().find(|syn| {
            let tuple = (syn.address, syn.port, syn.source_port);
            last.insert(tuple, syn.at)
                .is_some_and(|before| syn.at.saturating_sub(before) < apart)
        })
    }

    pub(super) fn note_syn(&mut self, syn: Syn) {
        self.syns += 1;
        if !self.counts_only && self.kept.len() < SYNS_MAX {
            self.kept.push(syn);
        }
        self.note(syn.address, |heard| heard.syns += 1);
    }

    pub(super) fn note(&mut self, address: IpAddr, note: impl FnOnce(&mut Heard)) {
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.overflown = true;
            return;
        }
        let heard = self.by_address.entry(address).or_default();
        heard.frames += 1;
        note(heard);
    }

    pub(super) fn count_only(&mut self) {
        self.counts_only = true;
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            counts_only: self.counts_only,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 64, 9));

    fn syn(at_ms: u64, port: u16, source_port: u16) -> Syn {
        Syn {
            at: Duration::from_millis(at_ms),
            address: ADDRESS,
            port,
            source_port,
        }
    }

    fn check_repeated(syns: &[Syn], expected: Option<Syn>) {
        let mut record = Record::default();
        for syn in syns {
            record.note_syn(*syn);
        }
        assert_eq!(record.repeated_within(Duration::from_millis(500)), expected);
    }

    #[test]
    fn a_pair_that_is_asked_again_too_soon_from_the_same_port_shows() {
        check_repeated(&[], None);
        check_repeated(&[syn(0, 80, 1), syn(500, 80, 1)], None);
        check_repeated(&[syn(0, 80, 1), syn(1, 80, 2), syn(2, 81, 1)], None);
        let again = syn(499, 80, 1);
        check_repeated(&[syn(0, 80, 1), again], Some(again));
    }

    #[test]
    fn what_was_heard_is_counted_by_address_and_pair() {
        let mut record = Record::default();
        record.note_syn(syn(0, 80, 1));
        record.note_syn(syn(1, 80, 2));
        record.note(ADDRESS, |heard| heard.questions += 1);
        let heard = record.heard(ADDRESS).unwrap();
        assert_eq!((heard.frames, heard.syns, heard.questions), (3, 2, 1));
        let other = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(record.heard(other), Some(Heard::default()));
        let pairs: Vec<_> = record.pairs().unwrap().into_iter().collect();
        assert_eq!(pairs, [((ADDRESS, 80), 2)]);
        record.count_only();
        record.note_syn(syn(2, 80, 3));
        assert_eq!((record.syns(), record.kept()), (3, None));
    }
}
