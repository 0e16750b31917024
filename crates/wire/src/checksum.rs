//! The Internet checksum (RFC 1071): whole, in pieces, with pseudo headers, and its incremental
//! update (RFC 1624). Where a checksum stands in a header is the matter of that header's module.

use crate::{Addresses, Protocol};
use std::net::IpAddr;

/// A sum under way. Pieces may come in any order, but each except the last must have an even
/// number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a field of 16 bits.
    #[must_use]
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        let [high, low] = word.to_be_bytes();
        self.long(u32::from_be_bytes([0, 0, high, low]))
    }

    /// Adds a field of 32 bits.
    #[must_use]
    #[inline]
    pub const fn long(self, long: u32) -> Self {
        let [a, b, c, d] = long.to_be_bytes();
        // A sum holds 2^32 fields before it could wrap: more than any packet has.
        Self(
            self.0
                .wrapping_add(u64::from_be_bytes([0, 0, 0, 0, a, b, c, d])),
        )
    }

    /// Adds bytes; an odd last byte counts as if a zero followed it (RFC 1071 §1).
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let sum = longs
            .iter()
            .fold(self, |sum, long| sum.long(u32::from_be_bytes(*long)));
        match *rest {
            [a, b, c] => sum.long(u32::from_be_bytes([a, b, c, 0])),
            [a, b] => sum.word(u16::from_be_bytes([a, b])),
            [a] => sum.word(u16::from_be_bytes([a, 0])),
            _ => sum,
        }
    }

    /// Adds an address.
    #[must_use]
    #[inline]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.long(address.to_bits()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// Adds the pseudo header of the family of `addresses`: RFC 9293 §3.1 and RFC 768 for IPv4,
    /// RFC 8200 §8.1 for IPv6. `length` is in bytes, without the pseudo header.
    #[must_use]
    pub fn pseudo_header(self, addresses: Addresses, protocol: Protocol, length: u32) -> Self {
        self.address(addresses.source)
            .address(addresses.destination)
            .word(u16::from(protocol.0))
            .long(length)
    }

    /// The checksum: the complement of the sum. It is 0 for bytes that hold a right checksum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        // At most 0xffff + 0x1_ffff here, so that two more carries are the last.
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let [.., high, low] = sum.to_be_bytes();
        !u16::from_be_bytes([high, low])
    }
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).checksum()
}

/// One field of 16 bits that changes under a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Value that the checksum was made with.
    pub from: u16,
    /// Value that it is to hold for.
    pub to: u16,
}

/// The checksum after a change, without the other bytes: equation 3 of RFC 1624 §3.
pub const fn update(checksum: u16, change: Change) -> u16 {
    Sum::new()
        .word(!checksum)
        .word(!change.from)
        .word(change.to)
        .checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], expected: u16) {
        assert_eq!(checksum(bytes), expected, "{bytes:02x?}");
    }

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        check(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], !0xddf2);
    }

    #[test]
    fn the_edges_of_one_s_complement_are_kept() {
        check(&[], 0xffff);
        check(&[0, 0], 0xffff);
        check(&[0xff, 0xff], 0);
        check(&[0xff; 64], 0);
        check(&[0xff], 0x00ff);
        check(&[1, 2, 3], !0x0402);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4_gives_zero() {
        let change = Change {
            from: 0x5555,
            to: 0x3285,
        };
        assert_eq!(update(0xdd2f, change), 0);
    }

    #[test]
    fn the_greatest_sum_folds_to_sixteen_bits() {
        // u64::MAX is a multiple of 0xffff.
        assert_eq!(Sum(u64::MAX).checksum(), 0);
        assert_eq!(Sum(u64::from(u32::MAX) << 32 | 1).checksum(), !1);
        // Needs every carry: 0x1_0000_ffff, 0x1_ffff, 0x1_0000, 1.
        assert_eq!(Sum(0xffff_ffff_0001_0000).checksum(), !1);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_whole_checksum(
            mut bytes in prop::collection::vec(any::<u8>(), 2..200),
            at in any::<prop::sample::Index>(),
            to: u16,
        ) {
            let at = at.index(bytes.len() / 2) * 2;
            let before = checksum(&bytes);
            let from = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&to.to_be_bytes());
            let updated = update(before, Change { from, to });
            // Bytes that are all zero have 0xffff, which no update reaches: both mean zero.
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            prop_assert_eq!(updated, checksum(&bytes));
        }

        #[test]
        fn pieces_of_even_length_sum_as_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let (first, second) = bytes.split_at(at.index(bytes.len() / 2 + 1) * 2);
            let sum = Sum::new().bytes(second).bytes(first);
            prop_assert_eq!(sum.checksum(), checksum(&bytes));
        }

        #[test]
        fn words_sum_as_one_by_one(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut sum: u32 = 0;
            for pair in bytes.chunks(2) {
                sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
                sum = (sum & 0xffff) + (sum >> 16);
            }
            prop_assert_eq!(u32::from(!checksum(&bytes)), sum);
        }
    }
}
