//! The sequence numbers of probes. An answer has to acknowledge the number that was sent to its
//! port, which only who saw the probe can know (RFC 6528 has the idea for the other direction).

use portolan_model::Endpoint;
use siphasher::sip::SipHasher13;
use std::net::IpAddr;

/// Makes and checks sequence numbers.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    keyed: SipHasher13,
}

impl Cookies {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self {
            keyed: SipHasher13::new_with_key(&key),
        }
    }

    /// The sequence number of a probe from `source_port` to `endpoint`.
    pub(crate) fn sequence(&self, endpoint: Endpoint, source_port: u16) -> u32 {
        let ports = u32::from(endpoint.port) << 16 | u32::from(source_port);
        // The two lengths keep the families apart.
        let hash = match endpoint.address {
            IpAddr::V4(v4) => {
                let input = u64::from(v4.to_bits()) << 32 | u64::from(ports);
                self.keyed.hash(&input.to_le_bytes())
            }
            IpAddr::V6(v6) => {
                let mut input = [0; 20];
                let (address, rest) = input.split_at_mut(16);
                address.copy_from_slice(&v6.octets());
                rest.copy_from_slice(&ports.to_le_bytes());
                self.keyed.hash(&input)
            }
        };
        let [a, b, c, d, ..] = hash.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_part_of_a_probe_and_the_key_change_its_number() {
        let number = |key: u8, address: &str, port, source_port| {
            let endpoint = Endpoint::tcp(address.parse().unwrap(), port);
            Cookies::new([key; 16]).sequence(endpoint, source_port)
        };
        let numbers = [
            number(1, "192.0.2.1", 80, 61_000),
            number(2, "192.0.2.1", 80, 61_000),
            number(1, "192.0.2.2", 80, 61_000),
            number(1, "192.0.2.1", 81, 61_000),
            number(1, "192.0.2.1", 80, 61_001),
            number(1, "2001:db8::1", 80, 61_000),
            number(1, "2001:db8::2", 80, 61_000),
        ];
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        assert_eq!(numbers[0], number(1, "192.0.2.1", 80, 61_000));
    }
}
