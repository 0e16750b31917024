//! Where a crowd plays: a namespace for the scanner, joined to one that has no address and no voice
//! of its own. Neighbours of the scanner and hosts behind a router both fit in.

use crate::{LabError, Namespace};
use portolan_wire::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses of every segment, from ranges that no network uses: 198.18.0.0/15 (RFC 2544) and
/// `2001:db8::/32` (RFC 3849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentAddresses {
    /// Of the scanner, in a /18.
    pub scanner: Ipv4Addr,
    /// Of the scanner, in a /64.
    pub scanner_v6: Ipv6Addr,
    /// Of the router to 198.19.0.0/16, 203.0.113.0/24 and 192.0.2.0/24.
    pub router: Ipv4Addr,
    /// Of the router to `2001:db8:65::/48`.
    pub router_v6: Ipv6Addr,
}

/// The two namespaces. Dropping it removes them.
#[derive(Debug)]
pub struct Segment {
    /// Where the scan runs.
    pub scanner: Namespace,
    /// Where the crowd plays.
    pub beyond: Namespace,
}

impl Segment {
    /// The interface on both sides.
    pub const INTERFACE: &str = "lab0";

    /// Addresses of every segment: they are apart from each other, so all may have the same.
    pub const ADDRESSES: SegmentAddresses = SegmentAddresses {
        scanner: Ipv4Addr::new(198, 18, 64, 1),
        scanner_v6: Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 1),
        router: Ipv4Addr::new(198, 18, 64, 2),
        router_v6: Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, 2),
    };

    /// Hardware address of the router.
    pub const ROUTER_MAC: Mac = Mac([0x02, 0, 0, 0, 0xff, 0x02]);

    /// Makes the two and joins them.
    ///
    /// # Errors
    /// When a namespace or the link cannot be made.
    pub fn create() -> Result<Self, LabError> {
        let segment = Self {
            scanner: Namespace::create("scanner")?,
            beyond: Namespace::create("crowd")?,
        };
        let Self { scanner, beyond } = &segment;
        // Its kernel would say things of its own: it has no address and so nothing to say.
        beyond.set("net/ipv6/conf/all/disable_ipv6", "1")?;
        beyond.set("net/ipv6/conf/default/disable_ipv6", "1")?;
        let name = Self::INTERFACE;
        scanner.ip(&[
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            name,
            "netns",
            beyond.name(),
        ])?;
        beyond.ip(&["link", "set", name, "up"])?;
        segment.bring_up()?;
        Ok(segment)
    }

    /// Gives the scanner's end its addresses and routes, and brings it up; once more after it was
    /// down, which takes them away.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn bring_up(&self) -> Result<(), LabError> {
        let addresses = Self::ADDRESSES;
        let name = Self::INTERFACE;
        let scanner = &self.scanner;
        let ip = |words: &str| scanner.ip(&words.split(' ').collect::<Vec<_>>());
        ip(&format!("addr replace {}/18 dev {name}", addresses.scanner))?;
        ip(&format!("link set {name} up"))?;
        let v6 = addresses.scanner_v6;
        // Duplicate address detection would keep the address unusable for a second.
        ip(&format!("addr replace {v6}/64 dev {name} nodad"))?;
        for network in ROUTED {
            ip(&format!("route replace {network} via {}", addresses.router))?;
        }
        ip(&format!(
            "-6 route replace {ROUTED_V6} via {}",
            addresses.router_v6
        ))
    }
}

/// Networks behind the router.
const ROUTED: [&str; 3] = ["198.19.0.0/16", "203.0.113.0/24", "192.0.2.0/24"];
const ROUTED_V6: &str = "2001:db8:65::/48";
