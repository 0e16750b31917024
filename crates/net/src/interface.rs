//! The interfaces of this machine, their addresses and the networks attached to them. Nothing is
//! configured here, and no route is read.

use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use portolan_model::{AddressSet, Text};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Why the interfaces could not be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// `getifaddrs(3)` failed.
    #[error(
        "the kernel does not list the interfaces of this machine ({0}); name the targets' \
         networks in a scope file instead of relying on the attached ones"
    )]
    List(nix::errno::Errno),
}

/// What this machine is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Every address of the networks of the interfaces that are up, loopback included.
    pub networks: AddressSet,
    /// This machine's own addresses, on whichever interface.
    pub own: AddressSet,
    /// The interfaces by name, those without an address included.
    pub interfaces: Vec<Interface>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, as `eth0`.
    pub name: Text,
    /// Administratively up.
    pub up: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Its addresses in the order of the kernel.
    pub addresses: Vec<Assigned>,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address of this machine.
    pub address: IpAddr,
    /// Leading bits of the network, 0 to 32 or 128.
    pub prefix: u8,
    /// The address at the other end of a point-to-point link.
    pub peer: Option<IpAddr>,
}

impl Attached {
    /// The network and broadcast addresses of the attached IPv4 networks (RFC 919 §7, RFC 922):
    /// no host has them. Networks of one or two addresses have none (RFC 3021).
    pub fn no_hosts(&self) -> AddressSet {
        let assigned = self.interfaces.iter().flat_map(|it| &it.addresses);
        let ends = assigned.filter_map(|it| {
            if !it.address.is_ipv4() || it.prefix > 30 || it.peer.is_some() {
                return None;
            }
            let (first, last) = AddressSet::network(it.address, it.prefix)?
                .ranges()
                .next()?;
            Some([first, last])
        });
        let ends: AddressSet = ends.flatten().collect();
        ends.without(&self.own)
    }
}

/// The interfaces of this network namespace.
///
/// # Errors
/// When the kernel does not list them.
pub fn attached() -> Result<Attached, InterfaceError> {
    let entries = nix::ifaddrs::getifaddrs().map_err(InterfaceError::List)?;
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in entries {
        let interface = interfaces
            .entry(entry.interface_name.clone())
            .or_insert_with(|| Interface {
                name: Text::from_bytes(entry.interface_name.as_bytes()),
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
                loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                addresses: Vec::new(),
            });
        interface.addresses.extend(assigned(&entry));
    }
    Ok(Attached::of(interfaces.into_values().collect()))
}

/// Whether the interface `name` is a loopback interface; `false` when there is none of this name.
pub fn is_loopback(name: &str) -> bool {
    nix::ifaddrs::getifaddrs().is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.interface_name == name && entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
    })
}

impl Attached {
    /// The sets that follow from `interfaces`. Addresses of an interface that is down are still
    /// this machine's own, but nothing is reached through it.
    fn of(interfaces: Vec<Interface>) -> Self {
        let all = || interfaces.iter().flat_map(|it| &it.addresses);
        let own = all().map(|it| it.address).collect();
        let networks = interfaces
            .iter()
            .filter(|it| it.up)
            .flat_map(|it| &it.addresses)
            .flat_map(|it| {
                let peer = it.peer.and_then(|peer| AddressSet::range(peer, peer));
                [AddressSet::network(it.address, it.prefix), peer]
            })
            .flatten();
        Self {
            networks: AddressSet::union_of(networks),
            own,
            interfaces,
        }
    }
}

fn assigned(entry: &InterfaceAddress) -> Option<Assigned> {
    let address = ip(entry.address.as_ref()?)?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix = entry
        .netmask
        .as_ref()
        .and_then(ip)
        .map_or(full, leading_ones);
    let point_to_point = entry.flags.contains(InterfaceFlags::IFF_POINTOPOINT);
    Some(Assigned {
        address,
        prefix,
        peer: entry
            .destination
            .as_ref()
            .filter(|_| point_to_point)
            .and_then(ip)
            .filter(|peer| *peer != address),
    })
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

fn leading_ones(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(v4) => v4.to_bits().leading_ones(),
        IpAddr::V6(v6) => v6.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, up: bool, addresses: &[(&str, u8)]) -> Interface {
        Interface {
            name: name.into(),
            up,
            loopback: name == "lo",
            addresses: addresses
                .iter()
                .map(|(address, prefix)| Assigned {
                    address: address.parse().unwrap(),
                    prefix: *prefix,
                    peer: None,
                })
                .collect(),
        }
    }

    fn check(interfaces: Vec<Interface>, networks: &str, own: &str) {
        let attached = Attached::of(interfaces);
        assert_eq!(attached.networks.to_string(), networks);
        assert_eq!(attached.own.to_string(), own);
    }

    #[test]
    fn networks_are_those_of_interfaces_that_are_up() {
        check(Vec::new(), "", "");
        check(
            vec![
                interface("lo", true, &[("127.0.0.1", 8), ("::1", 128)]),
                interface("eth0", true, &[("192.0.2.7", 24)]),
                interface("eth1", false, &[("198.51.100.7", 24)]),
                interface("eth2", true, &[]),
            ],
            "127.0.0.0-127.255.255.255, 192.0.2.0-192.0.2.255, ::1",
            "127.0.0.1, 192.0.2.7, 198.51.100.7, ::1",
        );
    }

    #[test]
    fn the_other_end_of_a_link_is_attached_and_not_own() {
        let mut tunnel = interface("tun0", true, &[("192.0.2.1", 32)]);
        tunnel.addresses[0].peer = Some("198.51.100.1".parse().unwrap());
        check(vec![tunnel], "192.0.2.1, 198.51.100.1", "192.0.2.1");
    }

    #[test]
    fn masks_become_prefix_lengths() {
        for (mask, prefix) in [
            ("255.255.255.0", 24),
            ("0.0.0.0", 0),
            ("255.255.255.255", 32),
        ] {
            assert_eq!(leading_ones(mask.parse().unwrap()), prefix);
        }
        assert_eq!(leading_ones("ffff:ffff:ffff:ffff::".parse().unwrap()), 64);
        assert_eq!(
            leading_ones("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap()),
            128
        );
    }
}
