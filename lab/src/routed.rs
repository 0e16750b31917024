//! Three namespaces in a row: the scanner's, a router's and the target's, so that what a router
//! does with packets on their way is a kernel's own doing. What two namespaces joined directly can
//! show is in `wire`.

use crate::wire::{LinkEnds, await_answer, join};
use crate::{LabError, Namespace};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of the target and of networks that lie in no namespace, from ranges that no network
/// uses: 198.18.0.0/15 (RFC 2544) and `2001:db8::/32` (RFC 3849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedAddresses {
    /// Of the target.
    pub target: Ipv4Addr,
    /// Of the target.
    pub target_v6: Ipv6Addr,
    /// An address to which [`Routed::make_loop`] has packets go round.
    pub lost: Ipv4Addr,
    /// The same of IPv6.
    pub lost_v6: Ipv6Addr,
}

/// The row. Dropping it removes all three.
#[derive(Debug)]
pub struct Routed {
    /// Where the scan runs.
    pub scanner: Namespace,
    /// What lies between.
    pub router: Namespace,
    /// Where the ports are.
    pub target: Namespace,
}

/// The link between the scanner and the router.
const NEAR: LinkEnds = LinkEnds {
    v4: [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)],
    v6: [
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
    ],
    name: "near0",
};

/// The link between the router and the target.
const FAR: LinkEnds = LinkEnds {
    v4: [Ipv4Addr::new(198, 18, 1, 1), Ipv4Addr::new(198, 18, 1, 2)],
    v6: [
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2),
    ],
    name: "far0",
};

impl Routed {
    /// Addresses of every row: they are apart from each other, so all may have the same.
    pub const ADDRESSES: RoutedAddresses = RoutedAddresses {
        target: FAR.v4[1],
        target_v6: FAR.v6[1],
        lost: Ipv4Addr::new(198, 18, 8, 7),
        lost_v6: Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 7),
    };

    /// Makes the three and waits until the target can be reached.
    pub fn create() -> Result<Self, LabError> {
        let routed = Self {
            scanner: Namespace::create("scanner")?,
            router: Namespace::create("router")?,
            target: Namespace::create("target")?,
        };
        for side in [&routed.router, &routed.target] {
            // A target that is a router too can send packets back; nobody else asks it to.
            side.set("net/ipv4/ip_forward", "1")?;
            side.set("net/ipv6/conf/all/forwarding", "1")?;
            // Packets that go round come from where their sender is not.
            side.set("net/ipv4/conf/all/rp_filter", "0")?;
            side.set("net/ipv4/conf/default/rp_filter", "0")?;
        }
        join(&routed.scanner, &routed.router, &NEAR)?;
        join(&routed.router, &routed.target, &FAR)?;
        for (side, via, via_v6) in [
            (&routed.scanner, NEAR.v4[1], NEAR.v6[1]),
            (&routed.target, FAR.v4[0], FAR.v6[0]),
        ] {
            side.ip(&["route", "add", "default", "via", &via.to_string()])?;
            side.ip(&["-6", "route", "add", "default", "via", &via_v6.to_string()])?;
        }
        routed.scanner.enter(|| {
            await_answer(IpAddr::V4(Self::ADDRESSES.target))?;
            await_answer(IpAddr::V6(Self::ADDRESSES.target_v6))
        })??;
        Ok(routed)
    }

    /// Lets the router and the target each take the other for the way to the `lost` addresses, so
    /// that packets go round until their time to live is over.
    pub fn make_loop(&self) -> Result<(), LabError> {
        let (lost, lost_v6) = (Self::ADDRESSES.lost, Self::ADDRESSES.lost_v6);
        let via = FAR.v4[1].to_string();
        self.router
            .ip(&["route", "add", &lost.to_string(), "via", &via])?;
        let via = FAR.v6[1].to_string();
        self.router
            .ip(&["-6", "route", "add", &lost_v6.to_string(), "via", &via])
    }

    /// Lets packets that ask the target for `port` end at the router: they arrive there with a
    /// time to live of 1.
    pub fn end_at_router(&self, port: u16) -> Result<(), LabError> {
        self.router.rules(&format!(
            "table inet ending {{
               chain prerouting {{
                 type filter hook prerouting priority -150;
                 meta nfproto ipv4 tcp dport {port} ip ttl set 1
                 meta nfproto ipv6 tcp dport {port} ip6 hoplimit set 1
               }}
             }}"
        ))
    }
}
