//! Which host a daemon has, and which ports, in each of the three layouts.
//!
//! What is not here: what the hosts are (`network`).

use super::recipe::Recipe;
use crate::Seed;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Which ports the daemons have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Any from 20,000 to 60,000.
    High,
    /// Those of the lab, exchanged among the daemons of each host.
    Shuffled,
    /// Those that their services usually have.
    Standard,
}

/// A daemon and where it runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The daemon.
    pub recipe: Recipe,
    /// Its host, counted from 0.
    pub host: usize,
    /// Its ports, in the order of its endpoints.
    pub ports: Vec<u16>,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Shuffled, Self::High];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Shuffled => "shuffled",
            Self::Standard => "standard",
        }
    }
}

impl Place {
    /// Gives every daemon a host on which its ports are free, as few hosts as that takes, and the
    /// ports of the layout. The same seed gives the same ports.
    pub fn all(recipes: Vec<Recipe>, layout: Layout, seed: u64) -> Vec<Self> {
        let mut hosts: Vec<BTreeSet<u16>> = Vec::new();
        let mut places = Vec::new();
        for recipe in recipes {
            let own = recipe.endpoints.iter().map(|endpoint| endpoint.port);
            let ports: Vec<u16> = own.collect();
            let taken: BTreeSet<u16> = ports.iter().chain(&recipe.also).copied().collect();
            let free = hosts.iter().position(|host| host.is_disjoint(&taken));
            let host = free.unwrap_or(hosts.len());
            match hosts.get_mut(host) {
                Some(of_host) => of_host.extend(&taken),
                None => hosts.push(taken),
            }
            places.push(Self {
                recipe,
                host,
                ports,
            });
        }
        let mut seed = Seed::new(seed);
        for host in 0..hosts.len() {
            let mut of_host: Vec<&mut Self> =
                places.iter_mut().filter(|it| it.host == host).collect();
            match layout {
                Layout::High => move_high(&mut of_host, &mut seed),
                Layout::Shuffled => shuffle(&mut of_host, &mut seed),
                Layout::Standard => {}
            }
        }
        places
    }

    /// Address of its host.
    pub fn address(&self) -> Ipv4Addr {
        address_of_host(self.host)
    }

    /// The ports that the layout may change, and the last that each may be.
    fn movable(&mut self) -> impl Iterator<Item = (&mut u16, u16)> {
        let endpoints = self.recipe.endpoints.iter();
        let ports = self.ports.iter_mut().zip(endpoints);
        // A port that gets no byte would say nothing of whoever moved there.
        let moves = |(port, endpoint): &(&mut u16, &super::recipe::EndpointRecipe)| {
            !endpoint.fixed && !portolan_net::never_send::gets_no_bytes(**port)
        };
        ports
            .filter(moves)
            .map(|(port, endpoint)| (port, endpoint.port_max.unwrap_or(u16::MAX)))
    }
}

/// Address of a host, counted from 0.
pub(crate) fn address_of_host(host: usize) -> Ipv4Addr {
    let last = u8::try_from(host.saturating_add(FIRST_HOST)).unwrap_or(u8::MAX);
    Ipv4Addr::new(198, 18, 0, last)
}

/// Last part of the address of the first host.
const FIRST_HOST: usize = 11;
/// The ports of the high layout.
const HIGH: std::ops::Range<u16> = 20_000..60_000;

fn move_high(places: &mut [&mut Place], seed: &mut Seed) {
    let also = places.iter().flat_map(|it| it.recipe.also.clone());
    let mut taken: BTreeSet<u16> = also.collect();
    for (port, port_max) in places.iter_mut().flat_map(|it| it.movable()) {
        // A host has a few dozen of 40,000, so this ends soon.
        loop {
            let end = HIGH.end.min(port_max);
            let offset = seed.below(u64::from(end.saturating_sub(HIGH.start)));
            let high = HIGH.start + u16::try_from(offset).unwrap_or(0);
            if taken.insert(high) {
                *port = high;
                break;
            }
        }
    }
}

fn shuffle(places: &mut [&mut Place], seed: &mut Seed) {
    let movable = places.iter_mut().flat_map(|it| it.movable());
    let mut ports: Vec<(&mut u16, u16)> = movable.collect();
    let mut values: Vec<u16> = ports.iter().map(|(port, _)| **port).collect();
    // Fisher and Yates.
    for last in (1..values.len()).rev() {
        let bound = u64::try_from(last + 1).unwrap_or(1);
        values.swap(last, usize::try_from(seed.below(bound)).unwrap_or(0));
    }
    // Who got more than it takes changes with the first who takes more and has less.
    let maxima: Vec<u16> = ports.iter().map(|(_, port_max)| *port_max).collect();
    let fits = |value: Option<&u16>, at: usize| value <= maxima.get(at);
    for at in 0..values.len() {
        if !fits(values.get(at), at) {
            let takes =
                |other: &usize| fits(values.get(*other), at) && fits(values.get(at), *other);
            if let Some(other) = (0..values.len()).find(takes) {
                values.swap(at, other);
            }
        }
    }
    for ((port, _), value) in ports.iter_mut().zip(values) {
        **port = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(name: &str, ports: &[u16]) -> Recipe {
        let endpoints = ports.iter().map(|port| {
            format!("[[endpoint]]\nkey = \"{port}\"\nport = {port}\nservice = \"http\"\ndiscloses = \"nothing\"\nwhy = \"\"\n")
        });
        let endpoints: String = endpoints.collect();
        let text = format!("product = [\"it\"]\npackages = [\"it\"]\nstart = \"\"\n{endpoints}");
        let mut recipe: Recipe = toml::from_str(&text).expect("a recipe");
        name.clone_into(&mut recipe.name);
        recipe
    }

    fn check(layout: Layout) -> Vec<Place> {
        let recipes = vec![
            recipe("one", &[80, 443]),
            recipe("two", &[80, 25]),
            recipe("three", &[143, 993]),
            recipe("four", &[110, 995]),
        ];
        let places = Place::all(recipes, layout, 7);
        let hosts: Vec<usize> = places.iter().map(|it| it.host).collect();
        assert_eq!(hosts, [0, 1, 0, 0]);
        for host in 0..2 {
            let of_host = places.iter().filter(|it| it.host == host);
            let ports: Vec<u16> = of_host.flat_map(|it| it.ports.clone()).collect();
            let distinct: BTreeSet<u16> = ports.iter().copied().collect();
            assert_eq!(distinct.len(), ports.len(), "{layout:?}");
        }
        places
    }

    #[test]
    fn a_taken_port_leads_to_another_host() {
        let places = check(Layout::Standard);
        assert_eq!(places[1].ports, [80, 25]);
    }

    #[test]
    fn shuffled_ports_are_those_of_the_host() {
        let places = check(Layout::Shuffled);
        let of_host = places.iter().filter(|it| it.host == 0);
        let ports: BTreeSet<u16> = of_host.flat_map(|it| it.ports.clone()).collect();
        assert_eq!(ports, [80, 443, 143, 993, 110, 995].into());
        assert_ne!(places[0].ports, [80, 443]);
    }

    #[test]
    fn no_port_is_more_than_its_daemon_takes() {
        for seed in 0..50 {
            let mut small = recipe("small", &[80]);
            small.endpoints[0].port_max = Some(100);
            let recipes = vec![small, recipe("large", &[50_000, 60_000])];
            let places = Place::all(recipes, Layout::Shuffled, seed);
            assert_eq!(places[0].ports, [80], "{seed}");
        }
        let mut small = recipe("small", &[80]);
        small.endpoints[0].port_max = Some(20_001);
        let places = Place::all(vec![small], Layout::High, 1);
        assert_eq!(places[0].ports, [20_000]);
    }

    #[test]
    fn high_ports_are_high_and_the_seeds() {
        let places = check(Layout::High);
        let mut ports = places.iter().flat_map(|it| it.ports.clone());
        assert!(ports.all(|port| HIGH.contains(&port)));
        let again = check(Layout::High);
        assert_eq!(places[3].ports, again[3].ports);
    }
}
