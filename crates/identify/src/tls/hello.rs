//! One `ClientHello` as a present-day client sends it: TLS 1.3 and 1.2 (RFC 8446 §4.1.2).

use super::{
    CONTENT_HANDSHAKE, EXTENSION_SUPPORTED_VERSIONS, HANDSHAKE_CLIENT_HELLO, TLS_1_2, TLS_1_3,
};

/// What varies between two hellos.
#[derive(Clone, Copy, Debug)]
pub struct HelloOptions<'a> {
    /// DNS name for `server_name` (RFC 6066 §3); the extension is left out when there is none or
    /// when it is longer than a DNS name can be (253 bytes).
    pub server_name: Option<&'a str>,
    /// The newest version that is offered.
    pub newest: Newest,
    /// Source of the random fields: the same seed gives the same bytes.
    pub seed: u64,
}

/// The newest version that a hello offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// TLS 1.2 (RFC 5246), for servers that fall silent on what came after it.
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// A whole `ClientHello` in one record, at most 600 bytes. The X25519 key share is 32 arbitrary
/// bytes, which is a valid public value (RFC 7748 §5), and no one knows its private key: the
/// handshake cannot be completed and is not meant to be.
pub fn client_hello(options: HelloOptions<'_>) -> Vec<u8> {
    let mut random = Random(options.seed);
    let mut body = Vec::with_capacity(512);
    // RFC 8446 §4.1.2: legacy_version is TLS 1.2, the versions stand in an extension.
    put_u16(&mut body, TLS_1_2);
    body.extend(random.bytes_32());
    // A session id of 32 bytes: compatibility mode (RFC 8446 appendix D.4).
    body.push(32);
    body.extend(random.bytes_32());
    put_block_u16(&mut body, |block| {
        let old = options.newest == Newest::Tls12;
        let skipped = if old { SUITES_OF_TLS_1_3 } else { 0 };
        for suite in CIPHER_SUITES.into_iter().skip(skipped) {
            put_u16(block, suite);
        }
    });
    // legacy_compression_methods: one entry, null.
    body.extend([1, 0]);
    put_block_u16(&mut body, |block| {
        put_extensions(block, options, &mut random);
    });

    let mut handshake = vec![HANDSHAKE_CLIENT_HELLO, 0];
    put_block_u16(&mut handshake, |block| block.extend(body));
    let mut record = vec![CONTENT_HANDSHAKE];
    // RFC 8446 §5.1: the first record may say 0x0301, which old servers want.
    put_u16(&mut record, 0x0301);
    put_block_u16(&mut record, |block| block.extend(handshake));
    record
}

fn put_extensions(out: &mut Vec<u8>, options: HelloOptions<'_>, random: &mut Random) {
    let name = options.server_name.filter(|name| name.len() <= NAME_MAX);
    if let Some(name) = name {
        put_extension(out, EXTENSION_SERVER_NAME, |data| {
            put_block_u16(data, |list| {
                list.push(0); // host_name
                put_block_u16(list, |entry| entry.extend(name.as_bytes()));
            });
        });
    }
    put_extension(out, EXTENSION_EXTENDED_MASTER_SECRET, |_| ());
    put_extension(out, EXTENSION_RENEGOTIATION_INFO, |data| data.push(0));
    put_extension(out, EXTENSION_SUPPORTED_GROUPS, |data| {
        put_list_u16(data, &GROUPS);
    });
    // ec_point_formats: one entry, uncompressed (RFC 8422 §5.1.2).
    put_extension(out, EXTENSION_EC_POINT_FORMATS, |data| data.extend([1, 0]));
    put_extension(out, EXTENSION_SIGNATURE_ALGORITHMS, |data| {
        put_list_u16(data, &SIGNATURE_ALGORITHMS);
    });
    if options.newest == Newest::Tls12 {
        return;
    }
    put_extension(out, EXTENSION_KEY_SHARE, |data| {
        put_block_u16(data, |shares| {
            put_u16(shares, GROUP_X25519);
            put_block_u16(shares, |key| key.extend(random.bytes_32()));
        });
    });
    // psk_key_exchange_modes: one entry, psk_dhe_ke (RFC 8446 §4.2.9).
    put_extension(out, EXTENSION_PSK_MODES, |data| data.extend([1, 1]));
    put_extension(out, EXTENSION_SUPPORTED_VERSIONS, |data| {
        data.push(4);
        put_u16(data, TLS_1_3);
        put_u16(data, TLS_1_2);
    });
}

fn put_extension(out: &mut Vec<u8>, number: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    put_u16(out, number);
    put_block_u16(out, fill);
}

fn put_list_u16(out: &mut Vec<u8>, values: &[u16]) {
    put_block_u16(out, |block| {
        for value in values {
            put_u16(block, *value);
        }
    });
}

/// A block with its length before it. Every block here is far below 64 KiB.
fn put_block_u16(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut block = Vec::new();
    fill(&mut block);
    put_u16(out, u16::try_from(block.len()).unwrap_or(u16::MAX));
    out.extend(block);
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

/// `SplitMix64`: spreads a seed over as many bytes as a hello needs. Not for secrets.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes_32(&mut self) -> impl Iterator<Item = u8> + use<> {
        let words = [self.next(), self.next(), self.next(), self.next()];
        words.into_iter().flat_map(u64::to_be_bytes)
    }
}

/// Longest DNS name in text form (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// RFC 8446 §B.4, then what TLS 1.2 servers of the last fifteen years take (RFC 5289, RFC 7905,
/// RFC 5246 §A.5).
const CIPHER_SUITES: [u16; 17] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a,
    0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
];

/// How many of them are for TLS 1.3 alone.
const SUITES_OF_TLS_1_3: usize = 3;

const GROUP_X25519: u16 = 0x001d;
/// x25519, secp256r1, secp384r1, secp521r1 (RFC 8446 §4.2.7).
const GROUPS: [u16; 4] = [GROUP_X25519, 0x0017, 0x0018, 0x0019];

/// RFC 8446 §4.2.3: ECDSA, `EdDSA`, RSA-PSS, RSA PKCS #1, and SHA-1 for old certificates.
const SIGNATURE_ALGORITHMS: [u16; 12] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
];

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_SUPPORTED_GROUPS: u16 = 10;
const EXTENSION_EC_POINT_FORMATS: u16 = 11;
const EXTENSION_SIGNATURE_ALGORITHMS: u16 = 13;
const EXTENSION_EXTENDED_MASTER_SECRET: u16 = 23;
const EXTENSION_PSK_MODES: u16 = 45;
const EXTENSION_KEY_SHARE: u16 = 51;
const EXTENSION_RENEGOTIATION_INFO: u16 = 0xff01;

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a block with a length of two bytes off the front.
    fn block(bytes: &[u8]) -> (&[u8], &[u8]) {
        let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        bytes[2..].split_at(length)
    }

    /// The extensions of a hello by number, read as RFC 8446 §4.1.2 lays them out.
    fn extensions(hello: &[u8]) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(hello[..3], [22, 3, 1]);
        let (handshake, after) = block(&hello[3..]);
        assert!(after.is_empty());
        assert_eq!(handshake[..2], [1, 0]);
        let (body, after) = block(&handshake[2..]);
        assert!(after.is_empty());
        assert_eq!(body[..2], [3, 3]);
        assert_eq!(body[34], 32);
        let (suites, after) = block(&body[67..]);
        assert_eq!(suites.len() % 2, 0);
        assert_eq!(after[..2], [1, 0]);
        let (mut rest, after) = block(&after[2..]);
        assert!(after.is_empty());
        let mut found = Vec::new();
        while !rest.is_empty() {
            let number = u16::from_be_bytes([rest[0], rest[1]]);
            let (data, after) = block(&rest[2..]);
            found.push((number, data.to_vec()));
            rest = after;
        }
        found
    }

    fn hello(server_name: Option<&str>, newest: Newest) -> Vec<u8> {
        client_hello(HelloOptions {
            server_name,
            newest,
            seed: 7,
        })
    }

    #[test]
    fn a_hello_reads_back_as_the_rfc_lays_it_out() {
        let found = extensions(&hello(Some("a.example"), Newest::Tls13));
        let of = |number| {
            let mut with = found.iter().filter(|(n, _)| *n == number);
            let data = with.next().map(|(_, data)| data.as_slice());
            assert!(with.next().is_none(), "extension {number} stands twice");
            data
        };
        assert_eq!(of(0), Some(&b"\x00\x0c\x00\x00\x09a.example"[..]));
        assert_eq!(of(43), Some(&[4, 3, 4, 3, 3][..]));
        assert_eq!(of(16), None);
        let share = of(51).unwrap();
        assert_eq!(share[..6], [0, 36, 0, 29, 0, 32]);
        assert_eq!(share.len(), 38);
    }

    #[test]
    fn no_name_is_sent_where_there_is_none_and_nothing_newer_than_asked_for() {
        for (number, _) in extensions(&hello(None, Newest::Tls12)) {
            assert!(![0, 43, 45, 51].contains(&number));
        }
    }

    #[test]
    fn the_longest_name_stays_inside_the_limit() {
        let longest = "a".repeat(253);
        assert!(hello(Some(&longest), Newest::Tls13).len() <= 600);
        let longer = "a".repeat(254);
        assert_eq!(
            hello(Some(&longer), Newest::Tls13),
            hello(None, Newest::Tls13),
            "a name that cannot be one is not sent"
        );
    }

    #[test]
    fn the_seed_decides_the_random_bytes() {
        let of = |seed| {
            client_hello(HelloOptions {
                server_name: None,
                newest: Newest::Tls13,
                seed,
            })
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
