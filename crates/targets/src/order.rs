//! The pseudo-random order of a run: a bijection between positions and (address, port) that keeps
//! no list of what was or will be probed.
//!
//! Hosts are shuffled over the whole run and cut into windows, so every window is a sample of all
//! networks. A window is walked in rounds: a round asks every host of the window once, in an order
//! of the round's own, and each host meets the ports in an order of its own. Any prefix of a window
//! therefore loads its hosts evenly, to one probe.
//!
//! Not here: how fast, how often and whether a probe is sent. That is the scan engine's.

use crate::permutation::{Permutation, derived};
use portolan_model::{AddressSet, Addresses, PortSet, Shard};
use std::net::IpAddr;
use std::sync::Arc;

/// Most probes of one window, unless a single host needs more.
pub const WINDOW_PROBES_MAX: u64 = 1 << 22;
/// Most hosts of one window.
pub const WINDOW_HOSTS_MAX: u32 = 1 << 16;
/// Most probes of one order, all shards together.
pub const PROBES_MAX: u64 = 1 << 62;

/// The order of all probes of a run, cut into windows. The same addresses, ports, seed and shard
/// give the same order on every machine.
#[derive(Clone, Debug)]
pub struct Order {
    plan: Arc<OrderPlan>,
    seed: u64,
    shard: Stride,
    hosts: u64,
    hosts_per_window: u32,
}

/// One stretch of an order: some hosts with all their ports. Cloning copies a few words.
#[derive(Clone, Debug)]
pub struct Window {
    plan: Arc<OrderPlan>,
    seed: u64,
    key: u64,
    host_order: Permutation,
    first_host: u64,
    hosts: u32,
    stride: Stride,
}

/// One probe of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Ordinal of the host in its window, for [`Window::address`].
    pub host: u32,
    /// Port.
    pub port: u16,
}

/// Why there is no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The shard is not one of 1 to count.
    #[error(
        "shard {index}/{count} does not exist: shards are counted from 1, as in 1/4, 2/4, 3/4, 4/4"
    )]
    BadShard {
        /// The index as given.
        index: u32,
        /// The count as given.
        count: u32,
    },
    /// No address is left.
    #[error("there is no address to probe: every target is excluded, or none was given")]
    NoAddress,
    /// No port is left.
    #[error("there is no port to probe: name at least one, as in --ports 80,443")]
    NoPort,
    /// More probes than an order can count.
    #[error(
        "{addresses} addresses with {ports} ports each are more than 2^62 probes, which no run can \
         send: name smaller networks, as in 2001:db8::/120"
    )]
    TooMany {
        /// Number of addresses.
        addresses: u128,
        /// Number of ports.
        ports: u32,
    },
}

impl Order {
    /// The order of every port in `ports` at every address in `addresses`, as far as it belongs to
    /// `shard`.
    pub fn new(
        addresses: &AddressSet,
        ports: &PortSet,
        seed: u64,
        shard: Shard,
    ) -> Result<Self, OrderError> {
        Self::within(addresses, ports, seed, shard, Limits::RUN)
    }

    /// The same, in windows that fit `ports_most` ports of each address: orders of one run over
    /// the same addresses then have the same hosts in each window, whichever ports they are for.
    pub fn beside(
        addresses: &AddressSet,
        ports: &PortSet,
        ports_most: u32,
        seed: u64,
        shard: Shard,
    ) -> Result<Self, OrderError> {
        let most = u64::from(ports_most.max(1));
        let probes = Limits::RUN.probes / most * u64::from(ports.len().max(1));
        let limits = Limits {
            probes,
            ..Limits::RUN
        };
        Self::within(addresses, ports, seed, shard, limits)
    }

    fn within(
        addresses: &AddressSet,
        ports: &PortSet,
        seed: u64,
        shard: Shard,
        limits: Limits,
    ) -> Result<Self, OrderError> {
        let addresses = addresses.addresses();
        if addresses.is_empty() {
            return Err(OrderError::NoAddress);
        }
        if ports.is_empty() {
            return Err(OrderError::NoPort);
        }
        let too_many = OrderError::TooMany {
            addresses: addresses.len(),
            ports: ports.len(),
        };
        let probes = addresses.len().saturating_mul(u128::from(ports.len()));
        let hosts = u64::try_from(addresses.len()).map_err(|_| too_many)?;
        if probes > u128::from(PROBES_MAX) {
            return Err(too_many);
        }
        let shard = Stride::WHOLE.part(shard).ok_or(OrderError::BadShard {
            index: shard.index,
            count: shard.count,
        })?;
        let fitting = limits.probes / u64::from(ports.len());
        let hosts_per_window = u32::try_from(fitting)
            .unwrap_or(u32::MAX)
            .clamp(1, limits.hosts.max(1));
        let plan = OrderPlan {
            addresses,
            address_order: Permutation::of(hosts),
            port_order: Permutation::of(u64::from(ports.len())),
            ports: ports.iter().collect(),
        };
        Ok(Self {
            plan: Arc::new(plan),
            seed,
            shard,
            hosts,
            hosts_per_window,
        })
    }

    /// The addresses of all shards, as first and last ones of ranges.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        self.plan.addresses.ranges()
    }

    /// Probes of this shard, over all windows.
    pub fn total(&self) -> u64 {
        let full_hosts = u64::from(self.hosts_per_window);
        let full = self.hosts / full_hosts;
        let rest = self.hosts % full_hosts;
        let ports = self.plan.port_count();
        let in_full = self.shard.count_of(full_hosts.saturating_mul(ports));
        let in_rest = self.shard.count_of(rest.saturating_mul(ports));
        full.saturating_mul(in_full).saturating_add(in_rest)
    }

    /// Number of windows. Every shard has the same windows and its own probes in each.
    pub fn windows(&self) -> u64 {
        self.hosts.div_ceil(u64::from(self.hosts_per_window))
    }

    /// The window `index`, counted from 0; `None` at or beyond [`Order::windows`].
    pub fn window(&self, index: u64) -> Option<Window> {
        let first_host = index.checked_mul(u64::from(self.hosts_per_window))?;
        let left = self.hosts.checked_sub(first_host)?;
        let hosts = u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(self.hosts_per_window);
        (hosts > 0).then(|| Window {
            plan: Arc::clone(&self.plan),
            seed: self.seed,
            // Part 0 of the seed orders the hosts of the run.
            key: derived(self.seed, index.wrapping_add(1)),
            host_order: Permutation::of(u64::from(hosts)),
            first_host,
            hosts,
            stride: self.shard,
        })
    }
}

impl Window {
    /// Number of hosts, whether or not this shard and part asks them anything.
    pub const fn hosts(&self) -> u32 {
        self.hosts
    }

    /// The address of a host of the window; `None` at or beyond [`Window::hosts`].
    pub fn address(&self, host: u32) -> Option<IpAddr> {
        if host >= self.hosts {
            return None;
        }
        let ordinal = self.first_host.checked_add(u64::from(host))?;
        let key = derived(self.seed, 0);
        let at = self.plan.address_order.apply(key, ordinal);
        self.plan.addresses.nth(u128::from(at))
    }

    /// Probes of this window that belong to the shard and part.
    pub fn len(&self) -> u64 {
        self.stride.count_of(self.whole())
    }

    /// Whether no probe of this window belongs to the shard and part.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The probe at `position`; `None` at or beyond [`Window::len`]. Takes the same time wherever
    /// `position` is.
    pub fn slot(&self, position: u64) -> Option<Slot> {
        let position = self.stride.position(position)?;
        if position >= self.whole() {
            return None;
        }
        let hosts = u64::from(self.hosts);
        let round = position.checked_div(hosts)?;
        let turn = position.checked_rem(hosts)?;
        let round_key = derived(self.key, round.wrapping_shl(1));
        let host = self.host_order.apply(round_key, turn);
        let host_key = derived(self.key, host.wrapping_shl(1) | 1);
        let port = self.plan.port_order.apply(host_key, round);
        Some(Slot {
            host: u32::try_from(host).ok()?,
            port: *self.plan.ports.get(usize::try_from(port).ok()?)?,
        })
    }

    /// One of several disjoint parts that together are this window; every part keeps the hosts
    /// and their ordinals. A part that does not exist (index 0, or beyond its count) is empty.
    #[must_use]
    pub fn split(&self, part: Shard) -> Self {
        Self {
            stride: self.stride.part(part).unwrap_or(Stride::NOTHING),
            ..self.clone()
        }
    }

    /// Probes of this window in all shards together.
    fn whole(&self) -> u64 {
        u64::from(self.hosts).saturating_mul(self.plan.port_count())
    }
}

/// What all windows share.
#[derive(Debug)]
struct OrderPlan {
    addresses: Addresses,
    address_order: Permutation,
    port_order: Permutation,
    ports: Vec<u16>,
}

impl OrderPlan {
    fn port_count(&self) -> u64 {
        u64::try_from(self.ports.len()).unwrap_or(u64::MAX)
    }
}

/// Every `step`-th position from `first` on. Sums and products saturate: a number that leaves 64
/// bits lies beyond every window either way.
#[derive(Clone, Copy, Debug)]
struct Stride {
    first: u64,
    step: u64,
}

impl Stride {
    const WHOLE: Self = Self { first: 0, step: 1 };
    const NOTHING: Self = Self {
        first: u64::MAX,
        step: u64::MAX,
    };

    /// Part `shard` of these positions; `None` when there is no such part.
    fn part(self, shard: Shard) -> Option<Self> {
        let index = shard.index.checked_sub(1)?;
        (index < shard.count).then(|| Self {
            first: self
                .first
                .saturating_add(self.step.saturating_mul(u64::from(index))),
            step: self.step.saturating_mul(u64::from(shard.count)),
        })
    }

    /// How many of the positions lie in `0..len`.
    const fn count_of(self, len: u64) -> u64 {
        len.saturating_sub(self.first).div_ceil(self.step)
    }

    fn position(self, at: u64) -> Option<u64> {
        self.first.checked_add(self.step.checked_mul(at)?)
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    probes: u64,
    hosts: u32,
}

impl Limits {
    const RUN: Self = Self {
        probes: WINDOW_PROBES_MAX,
        hosts: WINDOW_HOSTS_MAX,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;

    const SMALL: Limits = Limits {
        probes: 60,
        hosts: 7,
    };

    fn hosts(count: u32) -> AddressSet {
        let first = Ipv4Addr::new(10, 0, 0, 0);
        let last = Ipv4Addr::from_bits(first.to_bits() + count - 1);
        AddressSet::range(first.into(), last.into()).unwrap()
    }

    fn shard(index: u32, count: u32) -> Shard {
        Shard { index, count }
    }

    fn small(addresses: &AddressSet, ports: &PortSet, seed: u64, shard: Shard) -> Order {
        Order::within(addresses, ports, seed, shard, SMALL).unwrap()
    }

    fn slots(window: &Window) -> Vec<(IpAddr, u16)> {
        assert_eq!(window.slot(window.len()), None);
        assert_eq!(window.slot(u64::MAX), None);
        (0..window.len())
            .map(|position| {
                let slot = window.slot(position).unwrap();
                (window.address(slot.host).unwrap(), slot.port)
            })
            .collect()
    }

    fn probes(order: &Order) -> Vec<(IpAddr, u16)> {
        assert!(order.window(order.windows()).is_none());
        assert!(order.window(u64::MAX).is_none());
        let windows = (0..order.windows()).map(|index| order.window(index).unwrap());
        let all: Vec<_> = windows.flat_map(|window| slots(&window)).collect();
        assert_eq!(u64::try_from(all.len()).unwrap(), order.total());
        all
    }

    fn every(addresses: &AddressSet, ports: &PortSet) -> BTreeSet<(IpAddr, u16)> {
        let of = |address| ports.iter().map(move |port| (address, port));
        addresses.iter().flat_map(of).collect()
    }

    /// The parts together are `whole`, and none of it comes twice.
    fn check_parts(parts: &[Vec<(IpAddr, u16)>], whole: &BTreeSet<(IpAddr, u16)>) {
        let count: usize = parts.iter().map(Vec::len).sum();
        assert_eq!(count, whole.len(), "something comes twice or not at all");
        let union: BTreeSet<_> = parts.iter().flatten().copied().collect();
        assert_eq!(&union, whole);
    }

    #[test]
    fn sizes_that_are_odd_for_a_feistel_are_complete() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 64, 97, 128] {
            for ports in [1, 2, 3, 59, 60, 61, 64, 127] {
                let (addresses, ports) = (hosts(count), PortSet::range(1, ports));
                let order = small(&addresses, &ports, 11, Shard::WHOLE);
                check_parts(&[probes(&order)], &every(&addresses, &ports));
            }
        }
    }

    #[test]
    fn windows_keep_their_limits() {
        let check = |count, ports, windows, largest| {
            let order =
                Order::new(&hosts(count), &PortSet::range(1, ports), 1, Shard::WHOLE).unwrap();
            assert_eq!(order.windows(), windows);
            assert_eq!(order.window(0).unwrap().hosts(), largest);
            let last = order.window(windows - 1).unwrap();
            assert!(last.hosts() > 0 && last.hosts() <= largest);
            assert_eq!(order.total(), u64::from(count) * u64::from(ports));
        };
        check(1, 65_535, 1, 1);
        check(1 << 24, 65_535, 1 << 18, 64);
        check(1 << 24, 1, 1 << 8, 1 << 16);
        check((1 << 24) - 1, 1_000, (1 << 24_u64) / 4_194 + 1, 4_194);
    }

    #[test]
    fn what_cannot_be_ordered_is_refused() {
        let check = |addresses: &AddressSet, ports: &PortSet, shard, expected: &str| {
            let error = Order::new(addresses, ports, 0, shard).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        };
        let (one, port) = (hosts(1), PortSet::range(80, 80));
        check(
            &AddressSet::new(),
            &port,
            Shard::WHOLE,
            "there is no address",
        );
        check(&one, &PortSet::default(), Shard::WHOLE, "there is no port");
        check(&one, &port, shard(0, 4), "shard 0/4 does not exist");
        check(&one, &port, shard(5, 4), "shard 5/4 does not exist");
        check(&one, &port, shard(1, 0), "shard 1/0 does not exist");
        let huge = AddressSet::network("2001:db8::".parse().unwrap(), 64).unwrap();
        check(&huge, &port, Shard::WHOLE, "18446744073709551616 addresses");
        check(&AddressSet::everything(), &port, Shard::WHOLE, "3402");
        let most = AddressSet::network("2001:db8::".parse().unwrap(), 66).unwrap();
        let order = Order::new(&most, &port, 0, Shard::WHOLE).unwrap();
        assert_eq!(order.total(), PROBES_MAX);
        let last = order.window(order.windows() - 1).unwrap();
        assert!(most.contains(last.address(last.hosts() - 1).unwrap()));
        check(
            &most,
            &PortSet::range(1, 2),
            Shard::WHOLE,
            "4611686018427387904",
        );
    }

    #[test]
    fn same_seed_same_order_another_seed_another() {
        let (addresses, ports) = (hosts(50), PortSet::range(1, 20));
        let order = |seed| probes(&small(&addresses, &ports, seed, Shard::WHOLE));
        assert_eq!(order(1), order(1));
        let same_place = |a, b| {
            let pairs = order(a).into_iter().zip(order(b));
            pairs.filter(|(a, b)| a == b).count()
        };
        for (a, b) in [(0, 1), (1, 2), (1, 1 << 63), (u64::MAX, 0)] {
            assert!(same_place(a, b) < 20, "seeds {a} and {b}");
        }
    }

    #[test]
    fn the_order_of_a_seed_is_for_ever() {
        // Checkpoints and shards on other machines rely on it: a change here breaks both.
        let order = Order::new(&hosts(256), &PortSet::range(1, 1000), 42, Shard::WHOLE).unwrap();
        let first: Vec<_> = slots(&order.window(0).unwrap())
            .into_iter()
            .take(4)
            .collect();
        let text: Vec<String> = first
            .iter()
            .map(|(ip, port)| format!("{ip}:{port}"))
            .collect();
        assert_eq!(
            text,
            [
                "10.0.0.61:198",
                "10.0.0.246:136",
                "10.0.0.65:334",
                "10.0.0.86:430"
            ]
        );
    }

    #[test]
    fn any_prefix_loads_hosts_evenly() {
        for (count, seed) in [(2, 1), (37, 2), (256, 3), (1000, 4)] {
            let order = Order::new(&hosts(count), &PortSet::range(1, 100), seed, Shard::WHOLE);
            let window = order.unwrap().window(0).unwrap();
            let mut load = vec![0_u64; usize::try_from(count).unwrap()];
            let mut repeats = 0_u64;
            let mut before = None;
            for position in 0..window.len() {
                let host = window.slot(position).unwrap().host;
                load[usize::try_from(host).unwrap()] += 1;
                repeats += u64::from(before == Some(host));
                before = Some(host);
                if (position + 1) % 97 == 0 {
                    let even = position / u64::from(count);
                    assert!(load.iter().all(|probes| (even..=even + 1).contains(probes)));
                }
            }
            // Only where two rounds meet can a host be asked twice in a row.
            assert!(repeats <= 100 / u64::from(count) + 20, "{count}: {repeats}");
        }
    }

    #[test]
    fn a_shard_meets_all_hosts_evenly_too() {
        let order = Order::new(&hosts(256), &PortSet::range(1, 512), 5, shard(2, 4)).unwrap();
        let mut load = BTreeMap::new();
        for (address, _) in probes(&order) {
            *load.entry(address).or_insert(0_u32) += 1;
        }
        // 128 of 512 ports on the mean; the standard deviation is 9.8.
        assert_eq!(load.len(), 256);
        assert!(
            load.values().all(|probes| (80..=176).contains(probes)),
            "{load:?}"
        );
    }

    #[test]
    fn hosts_meet_the_ports_in_orders_of_their_own() {
        let order = Order::new(&hosts(4096), &PortSet::range(0, 255), 6, Shard::WHOLE).unwrap();
        let window = order.window(0).unwrap();
        let mut first_ports = vec![0_u32; 256];
        for position in 0..4096 {
            let slot = window.slot(position).unwrap();
            first_ports[usize::from(slot.port)] += 1;
        }
        // Chi-square with 255 degrees of freedom: mean 255, standard deviation 22.6.
        let chi: f64 = first_ports
            .iter()
            .map(|n| (f64::from(*n) - 16.0).powi(2) / 16.0)
            .sum();
        assert!((140.0..370.0).contains(&chi), "{chi}");
    }

    #[test]
    fn each_window_is_a_sample_of_all_networks() {
        let order = Order::new(&hosts(1 << 20), &PortSet::range(1, 1000), 8, Shard::WHOLE).unwrap();
        let window = order.window(3).unwrap();
        let mut networks = [0_u32; 16];
        for host in 0..window.hosts() {
            let IpAddr::V4(address) = window.address(host).unwrap() else {
                panic!("an IPv6 address from an IPv4 network")
            };
            networks[usize::from(address.octets()[1])] += 1;
        }
        // 4,194 hosts over 16 networks: 262 each, standard deviation 16.
        assert!(
            networks.iter().all(|n| (182..=342).contains(n)),
            "{networks:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn every_probe_comes_once_whatever_the_shape(
            starts in prop::collection::btree_map(any::<u16>(), 0_u32..9, 1..12),
            v6 in prop::collection::btree_set(any::<u64>(), 0..9),
            ports in prop::collection::btree_set(any::<u16>(), 1..90),
            seed: u64,
        ) {
            let v4 = starts.iter().filter_map(|(start, more)| {
                let first = u32::from(*start) << 8;
                AddressSet::range(
                    Ipv4Addr::from_bits(first).into(),
                    Ipv4Addr::from_bits(first + more).into(),
                )
            });
            let mut addresses = AddressSet::union_of(v4);
            addresses.extend_from(&v6.iter().map(|low| {
                IpAddr::V6(((0x2001_0db8_u128 << 96) | u128::from(*low)).into())
            }).collect());
            let ports: PortSet = ports.into_iter().collect();
            let order = small(&addresses, &ports, seed, Shard::WHOLE);
            check_parts(&[probes(&order)], &every(&addresses, &ports));
        }

        #[test]
        fn shards_and_parts_are_disjoint_and_complete(
            count in 1_u32..40, ports in 1_u16..40, seed: u64,
            shards in 1_u32..9, splits in 1_u32..6, again in 1_u32..4,
        ) {
            let (addresses, ports) = (hosts(count), PortSet::range(1, ports));
            let mut parts = Vec::new();
            for index in 1..=shards {
                let order = small(&addresses, &ports, seed, shard(index, shards));
                let whole = probes(&order);
                for at in 0..order.windows() {
                    let window = order.window(at).unwrap();
                    let mut of_window = Vec::new();
                    for (split, finer) in (1..=splits).flat_map(|s| (1..=again).map(move |f| (s, f))) {
                        let part = window.split(shard(split, splits)).split(shard(finer, again));
                        prop_assert_eq!(part.hosts(), window.hosts());
                        of_window.push(slots(&part));
                    }
                    check_parts(&of_window, &slots(&window).into_iter().collect());
                }
                parts.push(whole);
            }
            check_parts(&parts, &every(&addresses, &ports));
        }
    }

    #[test]
    fn parts_that_do_not_exist_or_overflow_are_empty() {
        let order = Order::new(&hosts(3), &PortSet::range(1, 3), 0, Shard::WHOLE).unwrap();
        let window = order.window(0).unwrap();
        for part in [shard(0, 2), shard(3, 2), shard(1, 0)] {
            assert!(window.split(part).is_empty());
            assert_eq!(window.split(part).slot(0), None);
        }
        let thin = shard(1, u32::MAX);
        let thinnest = window.split(thin).split(thin).split(thin);
        assert_eq!(slots(&thinnest), slots(&window)[..1]);
        let far = shard(u32::MAX, u32::MAX);
        assert!(window.split(far).split(far).split(far).is_empty());
        assert_eq!(window.address(3), None);
    }
}
