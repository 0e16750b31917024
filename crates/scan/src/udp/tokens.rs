//! The numbers in questions that a reply must repeat. Who did not see the question cannot know them.

use portolan_model::Endpoint;
use siphasher::sip::SipHasher24;
use std::hash::Hasher as _;
use std::net::IpAddr;

/// Makes the numbers; nothing is kept of them.
#[derive(Clone, Debug)]
pub struct UdpTokens {
    keyed: SipHasher24,
}

impl UdpTokens {
    /// Numbers from a key that nobody else knows.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            keyed: SipHasher24::new_with_key(&key),
        }
    }

    /// The number in what is sent to `endpoint` from source `source`.
    pub fn of(&self, endpoint: Endpoint, source: u8) -> [u8; 16] {
        let mut number = [0; 16];
        for (half, part) in (0_u8..).zip(number.chunks_mut(8)) {
            let mut hasher = self.keyed;
            match endpoint.address {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
            hasher.write_u16(endpoint.port);
            hasher.write(&[source, half]);
            part.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_differ_by_everything_that_they_are_made_of() {
        let endpoint = |ip: &str, port| Endpoint::udp(ip.parse().unwrap(), port);
        let mut seen = HashSet::new();
        for key in [[0; 16], [1; 16]] {
            let tokens = UdpTokens::new(key);
            for source in 0..8 {
                for at in [
                    endpoint("192.0.2.1", 53),
                    endpoint("192.0.2.1", 54),
                    endpoint("192.0.2.2", 53),
                    endpoint("2001:db8::1", 53),
                ] {
                    let number = tokens.of(at, source);
                    assert_eq!(number, tokens.of(at, source));
                    let halves = number.split_at(8);
                    assert!(seen.insert(halves.0.to_vec()) && seen.insert(halves.1.to_vec()));
                }
            }
        }
    }
}
