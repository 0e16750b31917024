//! Counts what arrives at a target before anything there can refuse it, as the kernel counts it.

use portolan_lab::Namespace;
use std::fmt::Write as _;

/// SYNs without ACK, as nftables tells them.
pub(super) const SYN: &str = "tcp flags & (syn|ack) == syn";

/// Counters on the interface `lab0` of a namespace; dropping it removes them.
pub(super) struct Watch<'a> {
    target: &'a Namespace,
}

/// What one counter counts: the frames for which an nftables expression holds.
pub(super) struct Watched<'a> {
    pub(super) name: &'static str,
    pub(super) rule: &'a str,
}

impl<'a> Watch<'a> {
    pub(super) fn start(target: &'a Namespace, watched: &[Watched<'_>]) -> Self {
        let mut counters = String::new();
        let mut rules = String::new();
        for Watched { name, rule } in watched {
            writeln!(counters, "counter {name} {{ }}").unwrap();
            writeln!(rules, "{rule} counter name {name}").unwrap();
        }
        let table = format!(
            "table netdev watch {{
               {counters}
               set asked {{ type ipv4_addr . inet_service; size 600000; flags dynamic; }}
               set asked_udp {{ type ipv4_addr . inet_service; size 600000; flags dynamic; }}
               set asked_v6 {{ type ipv6_addr . inet_service; size 600000; flags dynamic; }}
               chain arriving {{
                 type filter hook ingress device lab0 priority 0;
                 {rules}
                 {SYN} add @asked {{ ip daddr . tcp dport }}
                 {SYN} add @asked_v6 {{ ip6 daddr . tcp dport }}
                 add @asked_udp {{ ip daddr . udp dport }}
               }}
             }}"
        );
        target.rules(&table).unwrap();
        Self { target }
    }

    /// Frames that a counter has counted so far.
    pub(super) fn counted(&self, name: &str) -> u64 {
        let counted = self.target.counted(name).unwrap();
        counted.unwrap_or_else(|| panic!("there is no counter {name}"))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // The namespace may be gone, and the test may fail for another reason already.
        let _ = self.target.rules("delete table netdev watch");
    }
}
