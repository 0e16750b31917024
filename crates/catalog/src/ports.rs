//! Port numbers: the ordered lists, and the names that stand for ports.
//!
//! Used to read what a user writes and as a hint beside a number. What listens on a port is shown
//! by its bytes alone, never by these tables.

use crate::table::{TableError, rows};
use portolan_model::{PortSet, Transport};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One line of an ordered list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPort {
    /// Port.
    pub port: u16,
    /// Name of what usually stands there; `None` when no name is settled.
    pub name: Option<&'static str>,
    /// Class of what usually stands there, one of [`classes`].
    pub class: &'static str,
    /// How usual it is.
    pub tier: Tier,
}

/// How usual a port is for what stands there; the first key of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Where a widely used service of its class listens unless somebody changed it.
    Default,
    /// Other products' own ports, and the alternates that people choose first.
    Usual,
    /// Old assigned ports that are still met, and the first ports of the dynamic ranges.
    Further,
    /// Everything else that is worth a look when there is time.
    Seldom,
}

/// A class of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Name.
    pub name: &'static str,
    /// What it holds, and why.
    pub meaning: &'static str,
}

/// A name that a user may write for ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Name, in lower case.
    pub name: &'static str,
    /// Its TCP ports.
    pub tcp: PortSet,
    /// Its UDP ports.
    pub udp: PortSet,
}

/// TCP ports, the most worthwhile first; how the order is made stands in `data/ports/README.md`.
pub fn tcp() -> &'static [ListedPort] {
    &TABLES.tcp
}

/// UDP ports that known services use, the most worthwhile first.
pub fn udp() -> &'static [ListedPort] {
    &TABLES.udp
}

/// Classes, by rank.
pub fn classes() -> &'static [Class] {
    &TABLES.classes
}

/// Names that stand for ports, in order of the alphabet.
pub fn service_names() -> &'static [ServiceName] {
    &TABLES.names
}

/// The line of a port in the list of its transport.
pub fn listed(transport: Transport, port: u16) -> Option<&'static ListedPort> {
    let list = match transport {
        Transport::Tcp => tcp(),
        Transport::Udp => udp(),
    };
    list.iter().find(|listed| listed.port == port)
}

/// What usually stands on a port: a hint for people, no evidence. Time: logarithmic.
pub fn usual_name(transport: Transport, port: u16) -> Option<&'static str> {
    TABLES
        .usual_names
        .get(&PortKey { transport, port })
        .copied()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PortKey {
    transport: Transport,
    port: u16,
}

#[derive(Default)]
struct Tables {
    tcp: Vec<ListedPort>,
    udp: Vec<ListedPort>,
    classes: Vec<Class>,
    names: Vec<ServiceName>,
    usual_names: BTreeMap<PortKey, &'static str>,
}

/// Empty when a file cannot be read, which the tests rule out for the files that are embedded.
static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables::read().unwrap_or_default());

impl Tables {
    fn read() -> Result<Self, TableError> {
        let classes = rows("classes.tsv", CLASSES, |[name, meaning]| {
            Ok(Class { name, meaning })
        })?;
        let tcp = list("tcp.tsv", TCP)?;
        let udp = list("udp.tsv", UDP)?;
        let names = rows("names.tsv", NAMES, |[name, tcp, udp]| {
            Ok(ServiceName {
                name,
                tcp: port_set(tcp)?,
                udp: port_set(udp)?,
            })
        })?;
        let mut usual_names = BTreeMap::new();
        for (transport, list) in [(Transport::Tcp, &tcp), (Transport::Udp, &udp)] {
            for listed in list {
                let port = listed.port;
                usual_names.extend(listed.name.map(|name| (PortKey { transport, port }, name)));
            }
        }
        for service in &names {
            for (transport, set) in [
                (Transport::Tcp, &service.tcp),
                (Transport::Udp, &service.udp),
            ] {
                for port in set.iter() {
                    let key = PortKey { transport, port };
                    usual_names.entry(key).or_insert(service.name);
                }
            }
        }
        Ok(Self {
            tcp,
            udp,
            classes,
            names,
            usual_names,
        })
    }
}

fn list(file: &'static str, text: &'static str) -> Result<Vec<ListedPort>, TableError> {
    rows(file, text, |[port, name, class, tier]| {
        Ok(ListedPort {
            port: number(port)?,
            name: Some(name).filter(|name| *name != "-"),
            class,
            tier: match tier {
                "default" => Tier::Default,
                "usual" => Tier::Usual,
                "further" => Tier::Further,
                "seldom" => Tier::Seldom,
                _ => return Err(format!("{tier:?} is no tier")),
            },
        })
    })
}

fn port_set(text: &str) -> Result<PortSet, String> {
    if text == "-" {
        return Ok(PortSet::default());
    }
    text.split(',').map(number).collect()
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is no port"))
}

const CLASSES: &str = include_str!("../../../data/ports/classes.tsv");
const NAMES: &str = include_str!("../../../data/ports/names.tsv");
const TCP: &str = include_str!("../../../data/ports/tcp.tsv");
const UDP: &str = include_str!("../../../data/ports/udp.tsv");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_embedded_files_are_read() {
        let tables = Tables::read().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(tables.tcp, tcp());
        assert_eq!(tables.udp, udp());
        assert!(!classes().is_empty() && !service_names().is_empty());
    }

    #[test]
    fn the_lists_are_long_enough_and_hold_no_port_twice() {
        for (list, least) in [(tcp(), 1000), (udp(), 100)] {
            assert!(list.len() >= least);
            let ports: BTreeSet<u16> = list.iter().map(|listed| listed.port).collect();
            assert_eq!(ports.len(), list.len());
            assert!(!ports.contains(&0));
        }
    }

    #[test]
    fn the_order_is_by_tier_and_then_by_class() {
        let rank = |class: &str| {
            let at = classes().iter().position(|known| known.name == class);
            at.unwrap_or_else(|| panic!("{class} is no class"))
        };
        for list in [tcp(), udp()] {
            let keys: Vec<_> = list.iter().map(|l| (l.tier, rank(l.class))).collect();
            assert!(keys.is_sorted());
        }
        let used: BTreeSet<&str> = tcp().iter().map(|listed| listed.class).collect();
        assert_eq!(used.len(), classes().len(), "a class without a port");
    }

    #[test]
    fn the_first_hundred_are_the_defaults_and_hold_the_seven_services() {
        let first: Vec<u16> = tcp().iter().take(100).map(|listed| listed.port).collect();
        for port in [
            20, 21, 23, 80, 110, 143, 443, 990, 992, 993, 995, 8080, 8443,
        ] {
            assert!(first.contains(&port), "{port}");
        }
        for port in [
            22, 25, 53, 135, 139, 389, 445, 3306, 3389, 5432, 5900, 6379, 9100, 27017,
        ] {
            assert!(first.contains(&port), "{port}");
        }
        let defaults = tcp().iter().filter(|listed| listed.tier == Tier::Default);
        assert_eq!(defaults.count(), 100);
        assert!(udp().iter().take(8).any(|listed| listed.port == 67));
    }

    #[test]
    fn the_first_thousand_hold_what_a_quick_look_must_not_miss() {
        let first: Vec<u16> = tcp().iter().take(1000).map(|listed| listed.port).collect();
        let known = [
            1, 7, 9, 13, 19, 37, 79, 113, 119, 427, 502, 512, 513, 514, 540, 1025, 1026, 1900,
            2181, 2323, 3000, 3268, 4369, 5000, 5222, 5555, 5672, 6000, 6667, 7547, 8000, 8008,
            8081, 8888, 9000, 9042, 9200, 9418, 10000, 11211, 12345, 20000, 25565, 32400, 32768,
            49152, 49157, 50000,
        ];
        let missing: Vec<u16> = known
            .into_iter()
            .filter(|port| !first.contains(port))
            .collect();
        assert_eq!(missing, []);
    }

    #[test]
    fn names_are_unique_and_can_be_written() {
        let names: Vec<&str> = service_names().iter().map(|service| service.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        for service in service_names() {
            let name = service.name;
            assert!(!service.tcp.is_empty() || !service.udp.is_empty(), "{name}");
            assert!(name.bytes().any(|byte| byte.is_ascii_lowercase()), "{name}");
            let usual =
                |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'+');
            assert!(name.bytes().all(usual), "{name}");
            let count = name.strip_prefix("top").unwrap_or("x");
            assert!(
                !count.bytes().all(|byte| byte.is_ascii_digit()),
                "{name} is a count"
            );
        }
        for listed in tcp().iter().chain(udp()) {
            let name = listed.name.unwrap_or("-");
            assert!(!name.is_empty() && !name.contains(' '), "{name}");
        }
    }

    #[test]
    fn names_people_write_mean_what_they_expect() {
        let check = |name: &str, tcp: &str, udp: &str| {
            let service = service_names().iter().find(|service| service.name == name);
            let service = service.unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(
                (service.tcp.to_string(), service.udp.to_string()),
                (tcp.into(), udp.into())
            );
        };
        check("ftp", "21", "");
        check("ssh", "22", "");
        check("telnet", "23", "");
        check("http", "80,8080", "");
        check("https", "443,8443", "443");
        check("imap", "143", "");
        check("imaps", "993", "");
        check("pop3", "110", "");
        check("pop3s", "995", "");
        check("dhcp", "", "67-68");
        check("domain", "53", "53");
        check("tftp", "", "69");
        check("mysql", "3306", "");
    }

    #[test]
    fn a_port_has_a_name_for_people() {
        let check = |transport, port, expected| assert_eq!(usual_name(transport, port), expected);
        check(Transport::Tcp, 80, Some("http"));
        check(Transport::Tcp, 22, Some("ssh"));
        check(Transport::Udp, 67, Some("bootps"));
        check(Transport::Udp, 53, Some("domain"));
        check(Transport::Tcp, 41_000, None);
        assert_eq!(
            listed(Transport::Tcp, 3306).map(|listed| listed.class),
            Some("database")
        );
        assert_eq!(listed(Transport::Tcp, 41_000), None);
    }

    #[test]
    fn damaged_tables_are_refused() {
        let check = |text, expected: &str| {
            assert_eq!(list("tcp.tsv", text).unwrap_err().to_string(), expected);
        };
        check("80\thttp\tweb", "tcp.tsv, line 1: 3 columns in place of 4");
        check(
            "70000\thttp\tweb\tusual",
            "tcp.tsv, line 1: \"70000\" is no port",
        );
        check(
            "80\thttp\tweb\toften",
            "tcp.tsv, line 1: \"often\" is no tier",
        );
        assert_eq!(port_set("1,2,x"), Err("\"x\" is no port".to_owned()));
    }
}
