//! Networks with a meaning of their own: which of them may be probed without a scope file, and
//! which are never probed.

use portolan_model::AddressSet;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::LazyLock;

/// A reserved network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedNetwork {
    /// Its addresses.
    pub addresses: AddressSet,
    /// The network as its source writes it (`10.0.0.0/8`).
    pub range: String,
    /// What it is for.
    pub name: String,
    /// What that means for probes.
    pub usage: Usage,
    /// The RFC and section that reserves it.
    pub source: String,
}

/// What a reserved network means for probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// The internet does not route it: no scope file is needed.
    Local,
    /// It is not the address of any one host: never probed.
    Never,
}

/// A reserved network that cannot be read. The file is part of the program; a test reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReservedError {
    /// The file is no TOML, or lacks a key.
    #[error("reserved.toml: {0}")]
    File(String),
    /// A range is no network.
    #[error("reserved.toml: {0:?} is no network")]
    Range(String),
}

/// All reserved networks.
pub fn networks() -> &'static [ReservedNetwork] {
    &NETWORKS
}

/// The addresses of all reserved networks of one usage.
pub fn addresses(usage: Usage) -> AddressSet {
    let of_usage = networks().iter().filter(|network| network.usage == usage);
    AddressSet::union_of(of_usage.map(|network| network.addresses.clone()))
}

/// The reserved network that holds `address`.
pub fn network_of(address: IpAddr) -> Option<&'static ReservedNetwork> {
    let holds = |network: &&ReservedNetwork| network.addresses.contains(address);
    networks()
        .iter()
        .filter(holds)
        .min_by_key(|network| network.addresses.len())
}

/// Empty when the file cannot be read, which the tests rule out for the file that is embedded.
static NETWORKS: LazyLock<Vec<ReservedNetwork>> =
    LazyLock::new(|| read(RESERVED).unwrap_or_default());

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    network: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    range: String,
    name: String,
    #[serde(rename = "use")]
    usage: Usage,
    source: String,
}

fn read(text: &str) -> Result<Vec<ReservedNetwork>, ReservedError> {
    let file: File =
        toml::from_str(text).map_err(|error| ReservedError::File(error.to_string()))?;
    let network = |entry: Entry| {
        let addresses = parsed(&entry.range);
        Ok(ReservedNetwork {
            addresses: addresses.ok_or_else(|| ReservedError::Range(entry.range.clone()))?,
            range: entry.range,
            name: entry.name,
            usage: entry.usage,
            source: entry.source,
        })
    };
    file.network.into_iter().map(network).collect()
}

/// A network without host bits.
fn parsed(range: &str) -> Option<AddressSet> {
    let (address, prefix) = range.split_once('/')?;
    let address = address.parse().ok()?;
    let network = AddressSet::network(address, prefix.parse().ok()?)?;
    (network.first() == Some(address)).then_some(network)
}

const RESERVED: &str = include_str!("../../../data/scope/reserved.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_read_and_names_its_sources() {
        let networks = read(RESERVED).unwrap_or_else(|error| panic!("{error}"));
        assert!(networks.len() > 20);
        for network in networks {
            assert!(network.source.starts_with("RFC "), "{}", network.range);
            assert!(!network.name.is_empty());
        }
    }

    #[test]
    fn local_and_never_have_nothing_in_common() {
        let (local, never) = (addresses(Usage::Local), addresses(Usage::Never));
        assert!(local.intersection(&never).is_empty());
        assert!(!local.is_empty() && !never.is_empty());
    }

    #[test]
    fn addresses_have_the_usage_that_their_rfc_gives() {
        let check = |address: &str, expected| {
            let network = network_of(address.parse().unwrap());
            let found = network.map(|network| (network.usage, network.name.as_str()));
            assert_eq!(found, expected, "{address}");
        };
        check("127.0.0.1", Some((Usage::Local, "loopback")));
        check("::1", Some((Usage::Local, "loopback")));
        check("::ffff:127.0.0.1", Some((Usage::Local, "loopback")));
        check("172.31.255.255", Some((Usage::Local, "private")));
        check("172.32.0.0", None);
        check("192.168.1.1", Some((Usage::Local, "private")));
        check(
            "100.127.255.255",
            Some((Usage::Local, "shared by carriers")),
        );
        check("100.128.0.0", None);
        check("198.19.255.255", Some((Usage::Local, "benchmarking")));
        check("203.0.113.7", Some((Usage::Local, "documentation")));
        check("2001:db8::1", Some((Usage::Local, "documentation")));
        check("fd12::1", Some((Usage::Local, "unique local")));
        check("fe80::1", Some((Usage::Local, "link-local")));
        check("0.0.0.0", Some((Usage::Never, "this network")));
        check("::", Some((Usage::Never, "unspecified")));
        check("239.255.255.250", Some((Usage::Never, "multicast")));
        check("ff02::1", Some((Usage::Never, "multicast")));
        check("250.0.0.1", Some((Usage::Never, "reserved")));
        check("255.255.255.255", Some((Usage::Never, "limited broadcast")));
        check("8.8.8.8", None);
        check("2606:4700::1", None);
    }

    #[test]
    fn damaged_files_are_refused() {
        let entry = "[[network]]\nrange = \"@\"\nname = \"n\"\nuse = \"local\"\nsource = \"RFC 1\"";
        for range in [
            "10.0.0.1/8",
            "10.0.0.0",
            "10.0.0.0/33",
            "x/8",
            "2001:db8::/129",
        ] {
            let error = read(&entry.replace('@', range)).unwrap_err();
            assert!(
                matches!(error, ReservedError::Range(_) | ReservedError::File(_)),
                "{range}"
            );
        }
        assert!(matches!(read("network = 1"), Err(ReservedError::File(_))));
        assert!(matches!(
            read(&entry.replace("local", "often")),
            Err(ReservedError::File(_))
        ));
    }
}
