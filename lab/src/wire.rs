//! Two namespaces joined by a veth pair: the scanner's side and the target's, with what nftables
//! can do to packets on the way in and out of the target.

use crate::{LabError, Namespace};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Addresses of the two ends, from ranges that no network uses: 198.18.0.0/15 (RFC 2544) and
/// `2001:db8::/32` (RFC 3849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireAddresses {
    /// Of the scanner.
    pub scanner: Ipv4Addr,
    /// Of the target.
    pub target: Ipv4Addr,
    /// Of the scanner.
    pub scanner_v6: Ipv6Addr,
    /// Of the target.
    pub target_v6: Ipv6Addr,
}

/// The pair. Dropping it removes both sides.
#[derive(Debug)]
pub struct Wire {
    /// Where the scan runs.
    pub scanner: Namespace,
    /// Where the ports are.
    pub target: Namespace,
}

impl Wire {
    /// Addresses of every pair: they are apart from each other, so all may have the same.
    pub const ADDRESSES: WireAddresses = WireAddresses {
        scanner: Ipv4Addr::new(198, 18, 0, 1),
        target: Ipv4Addr::new(198, 18, 0, 2),
        scanner_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        target_v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
    };

    /// Hardware address of the target's end.
    pub const TARGET_MAC: &str = "02-00-00-00-00-02";

    /// Makes two namespaces and joins them.
    pub fn create() -> Result<Self, LabError> {
        let wire = Self {
            scanner: Namespace::create("scanner")?,
            target: Namespace::create("target")?,
        };
        let addresses = Self::ADDRESSES;
        join(
            &wire.scanner,
            &wire.target,
            &LinkEnds {
                v4: [addresses.scanner, addresses.target],
                v6: [addresses.scanner_v6, addresses.target_v6],
                name: "lab0",
            },
        )?;
        let mac = Self::TARGET_MAC.replace('-', ":");
        wire.target.ip(&["link", "set", "lab0", "address", &mac])?;
        // The first packets of a new link may be lost while the kernel brings it up, and that
        // would be measured as loss.
        wire.scanner.enter(|| {
            await_answer(IpAddr::V4(addresses.target))?;
            await_answer(IpAddr::V6(addresses.target_v6))
        })??;
        Ok(wire)
    }

    /// Joins the two by a further pair, called `lab1`, and tells the addresses of the target on it.
    pub fn join_again(&self) -> Result<(Ipv4Addr, Ipv6Addr), LabError> {
        join(&self.scanner, &self.target, &FURTHER)?;
        let ([_, v4], [_, v6]) = (FURTHER.v4, FURTHER.v6);
        self.scanner.enter(|| {
            await_answer(IpAddr::V4(v4))?;
            await_answer(IpAddr::V6(v6))
        })??;
        Ok((v4, v6))
    }

    /// Joins the two by a further pair, called `lab2`, whose ends have so many queues each, and tells
    /// the address of the target on it.
    pub fn join_by_queues(&self, queues: u32) -> Result<Ipv4Addr, LabError> {
        let queues = queues.to_string();
        let queues = ["numtxqueues", &queues, "numrxqueues", &queues];
        let peer = ["peer", "name", "lab2", "netns", self.target.name()];
        let link = ["link", "add", "lab2"];
        let words = [&link[..], &queues, &["type", "veth"], &peer, &queues].concat();
        self.scanner.ip(&words)?;
        let ends = QUEUED.v4.into_iter().zip(QUEUED.v6);
        for (side, (v4, v6)) in [&self.scanner, &self.target].into_iter().zip(ends) {
            bring_up(side, QUEUED.name, v4, v6)?;
        }
        self.scanner
            .enter(|| await_answer(IpAddr::V4(QUEUED.v4[1])))??;
        Ok(QUEUED.v4[1])
    }

    /// Joins the two by a further pair, with an interface of `kind` over the scanner's end of it, and
    /// tells the addresses of the target on it; `None`: this kernel has no such interfaces.
    pub fn join_over(&self, kind: Over) -> Result<Option<(Ipv4Addr, Ipv6Addr)>, LabError> {
        let (name, over) = (STACKED.name, OVER);
        let peer = ["peer", "name", name, "netns", self.target.name()];
        let add = ["link", "add", name, "type", "veth"];
        self.scanner.ip(&[&add[..], &peer].concat())?;
        for side in [&self.scanner, &self.target] {
            side.ip(&["link", "set", name, "up"])?;
        }
        let above = ["link", "add", "link", name, "name", over, "type"];
        let at_target = match kind {
            Over::Bridge => {
                self.scanner.ip(&["link", "add", over, "type", "bridge"])?;
                self.scanner.ip(&["link", "set", name, "master", over])?;
                name
            }
            Over::Macvlan => {
                self.scanner.ip(&[&above[..], &["macvlan"]].concat())?;
                name
            }
            Over::Vlan => {
                let tagged = [&above[..], &["vlan", "id", "10"]].concat();
                if self.scanner.ip(&tagged).is_err() {
                    return Ok(None);
                }
                self.target.ip(&tagged)?;
                over
            }
        };
        bring_up(&self.scanner, over, STACKED.v4[0], STACKED.v6[0])?;
        bring_up(&self.target, at_target, STACKED.v4[1], STACKED.v6[1])?;
        self.scanner.enter(|| {
            await_answer(IpAddr::V4(STACKED.v4[1]))?;
            await_answer(IpAddr::V6(STACKED.v6[1]))
        })??;
        Ok(Some((STACKED.v4[1], STACKED.v6[1])))
    }

    /// Makes packets from the scanner wait a few milliseconds, as on a real network. Without that
    /// an answer comes while the packet is still being sent, and the kernel treats it otherwise.
    pub fn delay(&self) -> Result<(), LabError> {
        // A bucket of one packet that fills at 400 kbit/s: a packet of 60 bytes waits 1.2 ms.
        self.scanner.tc(&[
            "qdisc", "replace", "dev", "lab0", "root", "tbf", "rate", "400kbit", "burst", "100",
            "latency", "5s",
        ])
    }

    /// Lets the target answer for the whole of `network` and sends the scanner's packets there.
    pub fn route(&self, network: &str) -> Result<(), LabError> {
        let via = Self::ADDRESSES.target.to_string();
        self.scanner.ip(&["route", "add", network, "via", &via])?;
        self.target
            .ip(&["route", "add", "local", network, "dev", "lo"])
    }

    /// Sends the scanner's packets for [`crate::PrefixResponder::NETWORK`] to the target, but for
    /// those that the two share.
    pub fn route_all(&self) -> Result<(), LabError> {
        let via = Self::ADDRESSES.target.to_string();
        let network = crate::PrefixResponder::NETWORK;
        self.scanner.ip(&["route", "add", network, "via", &via])
    }

    /// Loses `percent` of the packets on the way in and the same on the way out, at random.
    pub fn lose(&self, percent: u8) -> Result<(), LabError> {
        self.target.rules(&format!(
            "table inet loss {{
               chain input {{
                 type filter hook input priority 0;
                 ip protocol tcp numgen random mod 100 < {percent} drop
                 ip6 nexthdr tcp numgen random mod 100 < {percent} drop
               }}
               chain output {{
                 type filter hook output priority 0;
                 ip protocol tcp numgen random mod 100 < {percent} drop
                 ip6 nexthdr tcp numgen random mod 100 < {percent} drop
               }}
             }}"
        ))
    }

    /// Lets no more than `rate` packets a second of the scanner's through, whatever they are.
    pub fn police(&self, rate: u32) -> Result<(), LabError> {
        let burst = rate / 100;
        self.target.rules(&format!(
            "table inet police {{
               chain input {{
                 type filter hook input priority 0;
                 meta l4proto tcp limit rate over {rate}/second burst {burst} packets drop
               }}
             }}"
        ))
    }

    /// Drops what asks for a port that is not in `open`, without a word.
    pub fn silence_except(&self, open: &[u16]) -> Result<(), LabError> {
        self.target.rules(&format!(
            "table inet silence {{
               set open {{ type inet_service; elements = {{ {} }} }}
               chain input {{
                 type filter hook input priority 0;
                 meta l4proto tcp tcp dport != @open drop
               }}
             }}",
            list(open)
        ))
    }

    /// Drops what asks for `ports`, without a word.
    pub fn silence(&self, ports: &[u16]) -> Result<(), LabError> {
        self.refuse_with(ports, "drop")
    }

    /// Answers what asks for `ports` with an nftables verdict, such as
    /// `reject with icmpx type admin-prohibited`.
    pub fn refuse_with(&self, ports: &[u16], verdict: &str) -> Result<(), LabError> {
        self.target.rules(&format!(
            "table inet refusal {{
               chain input {{
                 type filter hook input priority 0;
                 meta l4proto tcp tcp dport {{ {} }} {verdict}
               }}
             }}",
            list(ports)
        ))
    }
}

/// An interface over another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A bridge with the other one as its port.
    Bridge,
    /// A further hardware address of the other one.
    Macvlan,
    /// A network of its own by a tag (IEEE 802.1Q).
    Vlan,
}

/// What it is called.
const OVER: &str = "lab4";

/// The two ends of a veth pair.
pub(crate) struct LinkEnds {
    pub(crate) v4: [Ipv4Addr; 2],
    pub(crate) v6: [Ipv6Addr; 2],
    /// What the interface is called on both sides.
    pub(crate) name: &'static str,
}

/// The pair of [`Wire::join_again`].
const FURTHER: LinkEnds = LinkEnds {
    v4: [Ipv4Addr::new(198, 18, 2, 1), Ipv4Addr::new(198, 18, 2, 2)],
    v6: [
        Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2),
    ],
    name: "lab1",
};

/// The pair of [`Wire::join_by_queues`].
const QUEUED: LinkEnds = LinkEnds {
    v4: [Ipv4Addr::new(198, 18, 3, 1), Ipv4Addr::new(198, 18, 3, 2)],
    v6: [
        Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2),
    ],
    name: "lab2",
};

/// The pair of [`Wire::join_over`].
const STACKED: LinkEnds = LinkEnds {
    v4: [Ipv4Addr::new(198, 18, 4, 1), Ipv4Addr::new(198, 18, 4, 2)],
    v6: [
        Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 2),
    ],
    name: "lab3",
};

/// Joins two namespaces by a veth pair whose ends share a /30 and a /64.
pub(crate) fn join(one: &Namespace, other: &Namespace, ends: &LinkEnds) -> Result<(), LabError> {
    let name = ends.name;
    one.ip(&[
        "link",
        "add",
        name,
        "type",
        "veth",
        "peer",
        "name",
        name,
        "netns",
        other.name(),
    ])?;
    let addresses = ends.v4.into_iter().zip(ends.v6);
    for (side, (v4, v6)) in [one, other].into_iter().zip(addresses) {
        bring_up(side, name, v4, v6)?;
    }
    Ok(())
}

/// Gives an interface its addresses, in a /30 and a /64, and brings it up.
pub(crate) fn bring_up(
    side: &Namespace,
    name: &str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
) -> Result<(), LabError> {
    side.ip(&["addr", "add", &format!("{v4}/30"), "dev", name])?;
    // Duplicate address detection would keep the address unusable for a second.
    side.ip(&["addr", "add", &format!("{v6}/64"), "dev", name, "nodad"])?;
    side.ip(&["link", "set", name, "up"])
}

/// Waits until something, a refusal included, comes back from an address.
pub(crate) fn await_answer(address: IpAddr) -> Result<(), LabError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match TcpStream::connect_timeout(&SocketAddr::new(address, CLOSED_PORT), ATTEMPT) {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => last = Some(error),
            Ok(_) | Err(_) => return Ok(()),
        }
    }
    Err(LabError::Silent {
        address,
        source: last.unwrap_or_else(|| ErrorKind::TimedOut.into()),
    })
}

/// A port on which nothing listens in a new namespace.
const CLOSED_PORT: u16 = 9;

/// How often and how long an answer is waited for.
const ATTEMPTS: u32 = 20;
const ATTEMPT: Duration = Duration::from_millis(500);

fn list(ports: &[u16]) -> String {
    let words: Vec<String> = ports.iter().map(u16::to_string).collect();
    words.join(", ")
}
