//! Ports as a user writes them: numbers, ranges, service names, the first N of the ordered list,
//! and `T:` and `U:` for the transport.
//!
//! Which names and which list there are is the caller's to say, as a [`PortNames`].

use portolan_model::{PortSet, Text, Transport};
use std::collections::BTreeMap;

/// Longest text, in bytes.
pub const PORTS_BYTES_MAX: usize = 64 << 10;

/// What names and `topN` stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortNames {
    /// Ports of each service name, in lower case.
    pub services: BTreeMap<String, NamedPorts>,
    /// TCP ports, the most worthwhile first.
    pub top_tcp: Vec<u16>,
    /// UDP ports, the most worthwhile first.
    pub top_udp: Vec<u16>,
}

/// The ports of one service name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPorts {
    /// Over TCP.
    pub tcp: PortSet,
    /// Over UDP.
    pub udp: PortSet,
}

/// Ports to probe, by transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSelection {
    /// What stands under `T:`, and what stands under neither.
    pub tcp: PortSet,
    /// What stands under `U:`, and names that only UDP has.
    pub udp: PortSet,
    /// What the parts under neither `T:` nor `U:` mean for UDP: the same numbers, the UDP ports of
    /// the names, the first N of the UDP list. A caller that probes UDP by default adds it to
    /// `udp`; it is empty when every part has a transport.
    pub unprefixed: PortSet,
}

/// Ports that were not understood, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ports \"{given}\": {problem}")]
pub struct PortsError {
    /// The part that is wrong, made printable.
    pub given: Text,
    /// What is wrong with it.
    pub problem: PortsProblem,
}

/// What is wrong with ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortsProblem {
    /// Nothing, or nothing between two commas.
    #[error("a part is empty; write ports with one comma between them, as in 22,80,8000-8100")]
    Empty,
    /// A name without a port of the transport.
    #[error("{name} has no {transport} port; write {right}")]
    NotOnTransport {
        /// The name.
        name: Text,
        /// The transport asked for.
        transport: Transport,
        /// The right form.
        right: String,
    },
    /// A range with more than two ends.
    #[error("this is no range; write two ports and a hyphen, as in 8000-8100")]
    BadRange,
    /// A range whose end lies before its beginning.
    #[error("the range ends before it begins; write {right}")]
    Reversed {
        /// The right form.
        right: String,
    },
    /// `top` with a number that the list does not have.
    #[error("the list has {most} {transport} ports; write top1 to top{most}, or - for all ports")]
    TopOutOfRange {
        /// How many there are.
        most: usize,
        /// Of which list.
        transport: Transport,
    },
    /// Above 65535.
    #[error("{0} is not a port, the highest is 65535; write a port from 0 to 65535, as in 8080")]
    TooHigh(Text),
    /// Longer than any list of all ports needs.
    #[error("the text is longer than {PORTS_BYTES_MAX} bytes; write ranges, as in 8000-8100")]
    TooLong,
    /// A letter before the colon that is no transport.
    #[error("only T: (TCP) and U: (UDP) stand before ports, as in T:80,443,U:53")]
    UnknownTransport,
    /// A name that is on no list.
    #[error("no service has this name{}; write a port number, as in 8080", suggested(.nearest.as_deref()))]
    UnknownName {
        /// The name on the list that is most like it.
        nearest: Option<String>,
    },
    /// `80/tcp`.
    #[error("the transport stands before the port; write {right}")]
    TransportBehind {
        /// The right form.
        right: String,
    },
}

fn suggested(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// Reads a list of ports. Parts are separated by commas; `T:` and `U:` hold for their own part and
/// all that follow. Port 0 is taken only where it is written out, `-` alone is 1 to 65535, and a
/// range may lack either end.
pub fn parse_ports(text: &str, names: &PortNames) -> Result<PortSelection, PortsError> {
    if text.len() > PORTS_BYTES_MAX {
        return Err(PortsError {
            given: Text::from("…"),
            problem: PortsProblem::TooLong,
        });
    }
    let mut under = Under::Neither;
    let mut chosen = Chosen::default();
    for part in text.split(',') {
        let part = part.trim();
        transport_and_item(part, under)
            .and_then(|(now, item)| {
                under = now;
                chosen.add(item, now, names)
            })
            .map_err(|problem| PortsError {
                given: Text::from(if part.is_empty() { text } else { part }),
                problem,
            })?;
    }
    Ok(PortSelection {
        tcp: PortSet::union_of(chosen.tcp),
        udp: PortSet::union_of(chosen.udp),
        unprefixed: PortSet::union_of(chosen.unprefixed),
    })
}

/// Which transport the parts stand under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Neither,
    Only(Transport),
}

fn transport_and_item(part: &str, before: Under) -> Result<(Under, &str), PortsProblem> {
    let (under, item) = match part.split_once(':') {
        None => (before, part),
        Some(("T" | "t", item)) => (Under::Only(Transport::Tcp), item),
        Some(("U" | "u", item)) => (Under::Only(Transport::Udp), item),
        Some(_) => return Err(PortsProblem::UnknownTransport),
    };
    let item = item.trim();
    if item.is_empty() {
        return Err(PortsProblem::Empty);
    }
    if let Some((port, transport)) = item.split_once('/') {
        let letter = transport.chars().next().unwrap_or('T').to_ascii_uppercase();
        return Err(match letter {
            'T' | 'U' => PortsProblem::TransportBehind {
                right: format!("{letter}:{}", Text::from(port)),
            },
            _ => PortsProblem::UnknownTransport,
        });
    }
    Ok((under, item))
}

#[derive(Default)]
struct Chosen {
    tcp: Vec<PortSet>,
    udp: Vec<PortSet>,
    unprefixed: Vec<PortSet>,
}

impl Chosen {
    fn add(&mut self, item: &str, under: Under, names: &PortNames) -> Result<(), PortsProblem> {
        let lower = item.to_ascii_lowercase();
        if item
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            let ports = numbers(item)?;
            return self.push(
                NamedPorts {
                    tcp: ports.clone(),
                    udp: ports,
                },
                under,
                item,
            );
        }
        if let Some(count) = lower.strip_prefix("top")
            && !count.is_empty()
            && count.bytes().all(|byte| byte.is_ascii_digit())
        {
            let ports = top(count, under, names)?;
            return self.push(ports, under, item);
        }
        match names.services.get(&lower) {
            Some(ports) => self.push(ports.clone(), under, item),
            None => Err(PortsProblem::UnknownName {
                nearest: nearest(&lower, names),
            }),
        }
    }

    fn push(&mut self, ports: NamedPorts, under: Under, item: &str) -> Result<(), PortsProblem> {
        let missing = |transport, letter| PortsProblem::NotOnTransport {
            name: Text::from(item),
            transport,
            right: format!("{letter}:{}", Text::from(item)),
        };
        match under {
            Under::Only(Transport::Tcp) if ports.tcp.is_empty() => {
                return Err(missing(Transport::Tcp, 'U'));
            }
            Under::Only(Transport::Udp) if ports.udp.is_empty() => {
                return Err(missing(Transport::Udp, 'T'));
            }
            Under::Only(Transport::Tcp) => self.tcp.push(ports.tcp),
            Under::Only(Transport::Udp) => self.udp.push(ports.udp),
            // Who names a service that only UDP has asks for UDP.
            Under::Neither if ports.tcp.is_empty() => self.udp.push(ports.udp),
            Under::Neither => {
                self.tcp.push(ports.tcp);
                self.unprefixed.push(ports.udp);
            }
        }
        Ok(())
    }
}

/// `80`, `8000-8100`, `-1024`, `60000-`, `-`.
fn numbers(item: &str) -> Result<PortSet, PortsProblem> {
    let Some((first, last)) = item.split_once('-') else {
        let port = number(item)?;
        return Ok(PortSet::range(port, port));
    };
    if last.contains('-') {
        return Err(PortsProblem::BadRange);
    }
    let first = if first.is_empty() { 1 } else { number(first)? };
    let last = if last.is_empty() {
        u16::MAX
    } else {
        number(last)?
    };
    if first > last {
        let right = format!("{last}-{first}");
        return Err(PortsProblem::Reversed { right });
    }
    Ok(PortSet::range(first, last))
}

fn number(digits: &str) -> Result<u16, PortsProblem> {
    digits
        .parse()
        .map_err(|_| PortsProblem::TooHigh(Text::from(digits)))
}

fn top(count: &str, under: Under, names: &PortNames) -> Result<NamedPorts, PortsProblem> {
    let first = |list: &[u16], transport| {
        let asked = count.parse().unwrap_or(usize::MAX);
        let ports = list.get(..asked).filter(|ports| !ports.is_empty());
        let ports = ports.map(|ports| ports.iter().copied().collect::<PortSet>());
        ports.ok_or(PortsProblem::TopOutOfRange {
            most: list.len(),
            transport,
        })
    };
    let tcp = || first(&names.top_tcp, Transport::Tcp);
    Ok(match under {
        Under::Only(Transport::Udp) => NamedPorts {
            tcp: PortSet::default(),
            udp: first(&names.top_udp, Transport::Udp)?,
        },
        Under::Only(Transport::Tcp) => NamedPorts {
            tcp: tcp()?,
            udp: PortSet::default(),
        },
        // The UDP list is the shorter one: all of it, when more is asked for.
        Under::Neither => NamedPorts {
            tcp: tcp()?,
            udp: first(&names.top_udp, Transport::Udp)
                .unwrap_or_else(|_| names.top_udp.iter().copied().collect()),
        },
    })
}

/// The name that needs the fewest edits, if they are few for its length.
fn nearest(name: &str, names: &PortNames) -> Option<String> {
    let most = (name.len() / 3).clamp(1, 3);
    let close = |candidate: &&String| candidate.len().abs_diff(name.len()) <= most;
    let rated = names.services.keys().filter(close);
    rated
        .map(|candidate| (edits(name.as_bytes(), candidate.as_bytes()), candidate))
        .min()
        .filter(|(edits, _)| *edits <= most)
        .map(|(_, candidate)| candidate.clone())
}

/// Insertions, deletions and replacements that turn one text into the other.
fn edits(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = (0..=to.len()).collect();
    for (row, left) in from.iter().enumerate() {
        let mut now = Vec::with_capacity(before.len());
        let mut last = row.saturating_add(1);
        now.push(last);
        for (pair, right) in before.windows(2).zip(to) {
            if let [diagonal, above] = *pair {
                let replaced = diagonal.saturating_add(usize::from(left != right));
                last = replaced.min(above.min(last).saturating_add(1));
                now.push(last);
            }
        }
        before = now;
    }
    before.last().copied().unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> PortNames {
        let set = |ports: &[u16]| ports.iter().copied().collect::<PortSet>();
        let of = |name: &str, tcp: &[u16], udp: &[u16]| {
            let ports = NamedPorts {
                tcp: set(tcp),
                udp: set(udp),
            };
            (name.to_owned(), ports)
        };
        PortNames {
            services: BTreeMap::from([
                of("domain", &[53], &[53]),
                of("ftp-data", &[20], &[]),
                of("http", &[80, 8080], &[]),
                of("pop3", &[110], &[]),
                of("ssh", &[22], &[]),
                of("tftp", &[], &[69]),
            ]),
            top_tcp: vec![80, 443, 21, 23, 22],
            top_udp: vec![53, 67],
        }
    }

    /// `expected`: `T… U… ?…` without what is empty, or the end of the message.
    fn check(text: &str, expected: &str) {
        let found = match parse_ports(text, &names()) {
            Ok(found) => {
                let sets = [("T", found.tcp), ("U", found.udp), ("?", found.unprefixed)];
                let shown = sets.iter().filter(|(_, set)| !set.is_empty());
                shown
                    .map(|(name, set)| format!("{name}{set}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn numbers_and_ranges() {
        check("80", "T80 ?80");
        check("80,443,8000-8100", "T80,443,8000-8100 ?80,443,8000-8100");
        check(" 80 , 443 ", "T80,443 ?80,443");
        check("443,80,80,70-90", "T70-90,443 ?70-90,443");
        check("-", "T1-65535 ?1-65535");
        check("-1024", "T1-1024 ?1-1024");
        check("60000-", "T60000-65535 ?60000-65535");
        check("1-65535", "T1-65535 ?1-65535");
        check("0", "T0 ?0");
        check("0-", "T0-65535 ?0-65535");
        check("0080", "T80 ?80");
        check("7-7", "T7 ?7");
    }

    #[test]
    fn transports_hold_until_the_next() {
        check("T:80", "T80");
        check("U:53", "U53");
        check("80,U:53,67,T:22,23", "T22-23,80 U53,67 ?80");
        check("t:80,u:53", "T80 U53");
        check("T: 80", "T80");
        check("U:-", "U1-65535");
        check("T:-,U:53", "T1-65535 U53");
    }

    #[test]
    fn names_stand_for_their_ports() {
        check("http,ssh", "T22,80,8080");
        check("HTTP", "T80,8080");
        check("ftp-data", "T20");
        check("pop3", "T110");
        check("domain", "T53 ?53");
        check("U:domain", "U53");
        check("tftp", "U69");
        check("U:tftp", "U69");
        check(
            "T:tftp",
            "ports \"T:tftp\": tftp has no tcp port; write U:tftp",
        );
        check("U:ssh", "ports \"U:ssh\": ssh has no udp port; write T:ssh");
    }

    #[test]
    fn the_first_of_the_list() {
        check("top1", "T80 ?53");
        check("top3", "T21,80,443 ?53,67");
        check("TOP5", "T21-23,80,443 ?53,67");
        check("T:top2", "T80,443");
        check("U:top2", "U53,67");
        check("top2,9999", "T80,443,9999 ?53,67,9999");
        let sentence = "the list has 5 tcp ports; write top1 to top5, or - for all ports";
        check("top6", &format!("ports \"top6\": {sentence}"));
        check("top0", &format!("ports \"top0\": {sentence}"));
        check(
            "top99999999999999999999",
            &format!("ports \"top99999999999999999999\": {sentence}"),
        );
        check(
            "U:top3",
            "ports \"U:top3\": the list has 2 udp ports; write top1 to top2, or - for all ports",
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_right_form() {
        let high = |given: &str, port: &str| {
            format!(
                "ports \"{given}\": {port} is not a port, the highest is 65535; write a port from 0 to 65535, as in 8080"
            )
        };
        check("70000", &high("70000", "70000"));
        check("80,1-65536", &high("1-65536", "65536"));
        check("999999999999", &high("999999999999", "999999999999"));
    }

    #[test]
    fn near_misses_are_answered_with_the_right_form() {
        let empty =
            "a part is empty; write ports with one comma between them, as in 22,80,8000-8100";
        for given in ["", " ", ",80", "80,,443", "80,"] {
            check(given, &format!("ports \"{given}\": {empty}"));
        }
        check("T:", &format!("ports \"T:\": {empty}"));
        check(
            "100-10",
            "ports \"100-10\": the range ends before it begins; write 10-100",
        );
        check(
            "-0",
            "ports \"-0\": the range ends before it begins; write 0-1",
        );
        check(
            "1-2-3",
            "ports \"1-2-3\": this is no range; write two ports and a hyphen, as in 8000-8100",
        );
        check(
            "--",
            "ports \"--\": this is no range; write two ports and a hyphen, as in 8000-8100",
        );
        check(
            "S:80",
            "ports \"S:80\": only T: (TCP) and U: (UDP) stand before ports, as in T:80,443,U:53",
        );
        check(
            "80/tcp",
            "ports \"80/tcp\": the transport stands before the port; write T:80",
        );
        check(
            "53/udp",
            "ports \"53/udp\": the transport stands before the port; write U:53",
        );
        check(
            "htpt",
            "ports \"htpt\": no service has this name; write a port number, as in 8080",
        );
        check(
            "htttp",
            "ports \"htttp\": no service has this name (did you mean http?); write a port number, as in 8080",
        );
        check(
            "pop",
            "ports \"pop\": no service has this name (did you mean pop3?); write a port number, as in 8080",
        );
        check(
            "top",
            "ports \"top\": no service has this name; write a port number, as in 8080",
        );
        check(
            "zzzzzz",
            "ports \"zzzzzz\": no service has this name; write a port number, as in 8080",
        );
        check(
            "+80",
            "ports \"+80\": no service has this name; write a port number, as in 8080",
        );
        check(
            "80 443",
            "ports \"80 443\": no service has this name; write a port number, as in 8080",
        );
        assert!(parse_ports(&"1,".repeat(PORTS_BYTES_MAX), &names()).is_err());
    }

    proptest! {
        #[test]
        fn what_a_set_prints_is_read_back(ports in prop::collection::btree_set(any::<u16>(), 1..50)) {
            let set: PortSet = ports.into_iter().collect();
            let found = parse_ports(&format!("T:{set}"), &names()).unwrap();
            prop_assert_eq!(found.tcp, set);
            prop_assert!(found.udp.is_empty() && found.unprefixed.is_empty());
        }

        #[test]
        fn noise_never_panics(text in "\\PC{0,30}", near in "[0-9TUtopahs:,-]{0,20}") {
            for text in [text, near] {
                if let Ok(found) = parse_ports(&text, &names()) {
                    prop_assert!(!found.tcp.is_empty() || !found.udp.is_empty());
                }
            }
        }

        #[test]
        fn edits_are_a_distance(a in "[ab]{0,8}", b in "[ab]{0,8}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            prop_assert_eq!(edits(a, b), edits(b, a));
            prop_assert_eq!(edits(a, b) == 0, a == b);
            prop_assert!(edits(a, b) >= a.len().abs_diff(b.len()));
            prop_assert!(edits(a, b) <= a.len().max(b.len()));
        }
    }
}
