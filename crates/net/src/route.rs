//! Which way packets to an address leave: interface, source address and gateway, as the kernel
//! decides (`RTM_GETROUTE` of `rtnetlink(7)`), rules and several tables included.
//!
//! What is not here: the hardware address of the next hop (see [`crate::neighbours`]).

use crate::connect::Source;
use crate::link::{self, Link, LinkError};
use crate::netlink::{AF_INET, AF_INET6, Message, Netlink, NetlinkError, Question};
use crate::netlink::{address, attributes, family, u32_at};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where packets leave; what is `None` is the kernel's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Address of this machine.
    pub address: Option<IpAddr>,
    /// Index of the interface.
    pub interface: Option<u32>,
}

impl Origin {
    /// The same choice as `source`, its port left out.
    ///
    /// # Errors
    /// When there is no interface of that name.
    pub fn of(source: &Source) -> Result<Self, RouteError> {
        let index = |name: &String| {
            nix::net::if_::if_nametoindex(name.as_str())
                .map_err(|_| RouteError::NoInterface { name: name.clone() })
        };
        Ok(Self {
            address: source.address,
            interface: source.interface.as_ref().map(index).transpose()?,
        })
    }
}

/// What a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// The nearest of several hosts.
    Anycast,
    /// Every host of a segment.
    Broadcast,
    /// This machine itself.
    Local,
    /// A group of hosts.
    Multicast,
    /// One host, on the segment or behind the gateway.
    Unicast,
}

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface that packets leave by; of the loopback interface for this machine's
    /// own addresses, whichever interface has them.
    pub interface: u32,
    /// Address that packets carry as their source.
    pub source: IpAddr,
    /// Next hop; `None`: the address itself is on the segment. May be an IPv6 address for an IPv4
    /// route (RFC 8950).
    pub gateway: Option<IpAddr>,
    /// What it leads to.
    pub kind: RouteKind,
    /// First address of the range around the one asked for in which no route and no rule begins or
    /// ends: all of it goes the same way. Of several equal ways the kernel may choose another one
    /// for another address.
    pub first: IpAddr,
    /// Last address of that range. When the tables could not be listed, the range is the one
    /// address.
    pub last: IpAddr,
}

/// Why there is no way to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A route of type `blackhole`.
    #[error("a route of this machine discards packets to {0}: see `ip route get {0}`")]
    Blackhole(IpAddr),
    /// Source and destination are of different families.
    #[error("{address} cannot be reached from {source_address}: one is IPv4, the other IPv6")]
    Families {
        /// Destination.
        address: IpAddr,
        /// The source that was asked for.
        source_address: IpAddr,
    },
    /// No interface of that name.
    #[error("there is no interface {name}; list them with `ip link`")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// The kernel did not tell.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// No table has a route.
    #[error("this machine has no route to {0}: see `ip route get {0}`")]
    NoRoute(IpAddr),
    /// The route is there, and no address to send from.
    #[error("this machine has no address to reach {0} from; add one to the interface, or name one")]
    NoSource(IpAddr),
    /// The source is not an address of this machine.
    #[error("{source_address} is not an address of this machine; list them with `ip address`")]
    NotOwn {
        /// The source that was asked for.
        source_address: IpAddr,
    },
    /// A route of type `prohibit`.
    #[error("a route of this machine prohibits {0}: see `ip route get {0}`")]
    Prohibited(IpAddr),
    /// A route of type `unreachable`.
    #[error("a route of this machine makes {0} unreachable: see `ip route get {0}`")]
    Unreachable(IpAddr),
}

/// Asks the kernel for routes and interfaces over one open socket.
#[derive(Debug)]
pub struct Routes {
    netlink: Netlink,
    v4: Cells,
    v6: Cells,
    /// The source that was last found to be this machine's.
    own: Option<IpAddr>,
}

impl Routes {
    /// Opens the socket and reads where routes and rules begin and end.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut netlink = Netlink::open()?;
        Ok(Self {
            v4: Cells::read(&mut netlink, AF_INET),
            v6: Cells::read(&mut netlink, AF_INET6),
            own: None,
            netlink,
        })
    }

    /// The way to `address` from `origin`. A link-local address needs the interface of the origin.
    ///
    /// # Errors
    /// When there is none, or the kernel does not tell.
    pub fn route_to(&mut self, address: IpAddr, origin: &Origin) -> Result<Route, RouteError> {
        let address = address.to_canonical();
        let origin = &Origin {
            address: origin.address.map(|it| it.to_canonical()),
            ..*origin
        };
        if let Some(source_address) = origin.address {
            if source_address.is_ipv4() != address.is_ipv4() {
                return Err(RouteError::Families {
                    address,
                    source_address,
                });
            }
            self.require_own(source_address, origin)?;
        }
        self.ask(address, origin)
    }

    /// The last address of the range around `address` that [`Route::last`] tells of, whether there is
    /// a way to it or none.
    pub fn range_end(&self, address: IpAddr) -> IpAddr {
        let cells = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        cells.around(address).1
    }

    /// The interface `index`.
    ///
    /// # Errors
    /// When there is none, or the kernel does not tell.
    pub fn link(&mut self, index: u32) -> Result<Link, LinkError> {
        link::link(&mut self.netlink, index)
    }

    /// The kernel answers a foreign IPv4 source with an error of several meanings, and takes a
    /// foreign IPv6 source.
    fn require_own(&mut self, source: IpAddr, origin: &Origin) -> Result<(), RouteError> {
        if self.own == Some(source) {
            return Ok(());
        }
        // Tables of their own for an interface (vrf) hold its addresses.
        let by_interface = Origin {
            address: None,
            interface: origin.interface,
        };
        for origin in [Origin::default(), by_interface] {
            match self.ask(source, &origin) {
                Ok(route) if route.kind == RouteKind::Local => {
                    self.own = Some(source);
                    return Ok(());
                }
                Err(RouteError::Netlink(
                    error @ (NetlinkError::Refused(_) | NetlinkError::Broken { .. }),
                )) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Err(RouteError::NotOwn {
            source_address: source,
        })
    }

    fn ask(&mut self, address: IpAddr, origin: &Origin) -> Result<Route, RouteError> {
        let mut header = [0; HEADER_BYTES];
        header[0] = family(address);
        header[1] = bits(address);
        let mut question = Question::one(RTM_GETROUTE, &header).address(RTA_DST, address);
        if let Some(source) = origin.address {
            question = question.address(RTA_SRC, source);
        }
        if let Some(interface) = origin.interface {
            question = question.attribute(RTA_OIF, &interface.to_ne_bytes());
        }
        let mut found = None;
        self.netlink
            .ask(question, |message| found = found.or_else(|| read(message)))
            .map_err(|error| refusal(error, address))?;
        let found: Found = found
            .filter(|it| !it.leads_nowhere())
            .ok_or(RouteError::NoRoute(address))?;
        let cells = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        let (first, last) = cells.around(address);
        Ok(Route {
            interface: match found.kind {
                RouteKind::Local => LOOPBACK_INDEX,
                _ => found.interface,
            },
            source: found
                .source
                .or(origin.address)
                .ok_or(RouteError::NoSource(address))?,
            gateway: found.gateway,
            kind: found.kind,
            first,
            last,
        })
    }
}

/// What the kernel means by the error that it answers.
fn refusal(error: NetlinkError, address: IpAddr) -> RouteError {
    match error {
        NetlinkError::Answered(Errno::ENETUNREACH) => RouteError::NoRoute(address),
        NetlinkError::Answered(Errno::EHOSTUNREACH) => RouteError::Unreachable(address),
        NetlinkError::Answered(Errno::EACCES) => RouteError::Prohibited(address),
        NetlinkError::Answered(Errno::EINVAL) => RouteError::Blackhole(address),
        error => error.into(),
    }
}

/// An answer before it is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    interface: u32,
    source: Option<IpAddr>,
    gateway: Option<IpAddr>,
    kind: RouteKind,
}

impl Found {
    /// Another machine is not reached by the loopback interface. The kernel names such a way where
    /// the interface was chosen by the caller, or by a route that is meant to discard.
    fn leads_nowhere(self) -> bool {
        self.interface == LOOPBACK_INDEX && self.kind == RouteKind::Unicast
    }
}

fn read(message: Message<'_>) -> Option<Found> {
    if message.kind != RTM_NEWROUTE {
        return None;
    }
    let kind = match *message.payload.get(7)? {
        1 => RouteKind::Unicast,
        2 => RouteKind::Local,
        3 => RouteKind::Broadcast,
        4 => RouteKind::Anycast,
        5 => RouteKind::Multicast,
        _ => return None,
    };
    let mut found = Found {
        interface: 0,
        source: None,
        gateway: None,
        kind,
    };
    for (attribute, value) in attributes(message.payload, HEADER_BYTES) {
        match attribute {
            RTA_OIF => found.interface = u32_at(value, 0)?,
            RTA_GATEWAY => found.gateway = address(value),
            // Two bytes of family before the address.
            RTA_VIA => found.gateway = address(value.get(2..)?),
            RTA_PREFSRC => found.source = address(value),
            _ => {}
        }
    }
    (found.interface != 0).then_some(found)
}

/// Where the routes and rules of one family begin and end: between two such addresses, all are
/// treated alike.
#[derive(Debug, Default)]
struct Cells {
    /// In ascending order; `None` when they are not known.
    starts: Option<Vec<u128>>,
}

impl Cells {
    fn read(netlink: &mut Netlink, family: u8) -> Self {
        for _ in 0..READS_MAX {
            match Self::read_once(netlink, family) {
                Err(NetlinkError::Changed) => {}
                Ok(cells) => return cells,
                Err(_) => break,
            }
        }
        Self::default()
    }

    fn read_once(netlink: &mut Netlink, family: u8) -> Result<Self, NetlinkError> {
        let mut starts = match family {
            AF_INET => prefix_ends(Ipv4Addr::UNSPECIFIED.into(), 32)
                .into_iter()
                .chain(prefix_ends(Ipv4Addr::new(224, 0, 0, 0).into(), 4))
                .chain(prefix_ends(Ipv4Addr::BROADCAST.into(), 32))
                .flatten()
                .collect(),
            _ => Vec::new(),
        };
        for list in [&ROUTES, &RULES] {
            let mut header = [0; HEADER_BYTES];
            header[0] = family;
            let question = Question::all(list.question, &header);
            let answer = netlink.ask(question, |message| {
                if starts.len() < STARTS_MAX {
                    starts.extend(list.prefix_ends(message).into_iter().flatten());
                }
            });
            match answer {
                // A kernel without policy routing.
                Err(NetlinkError::Answered(Errno::EOPNOTSUPP)) => {}
                answer => answer?,
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let known = starts.len() < STARTS_MAX;
        Ok(Self {
            starts: known.then_some(starts),
        })
    }

    /// First and last address that are treated like `address`.
    fn around(&self, address: IpAddr) -> (IpAddr, IpAddr) {
        let Some(starts) = &self.starts else {
            return (address, address);
        };
        let value = number(address);
        let next = starts.partition_point(|start| *start <= value);
        let first = next.checked_sub(1).and_then(|it| starts.get(it));
        let last = starts.get(next).map(|start| start.saturating_sub(1));
        let all = u128::MAX >> (128 - u32::from(bits(address)));
        (
            address_like(address, first.copied().unwrap_or(0)),
            address_like(address, last.unwrap_or(all)),
        )
    }
}

/// A list whose entries concern destinations by prefix.
struct List {
    question: u16,
    answer: u16,
    attribute: u16,
}

const ROUTES: List = List {
    question: RTM_GETROUTE,
    answer: RTM_NEWROUTE,
    attribute: RTA_DST,
};

const RULES: List = List {
    question: RTM_GETRULE,
    answer: RTM_NEWRULE,
    attribute: FRA_DST,
};

impl List {
    fn prefix_ends(&self, message: Message<'_>) -> [Option<u128>; 2] {
        let read = || {
            // Both headers begin with family and length of the destination's prefix, and are of
            // one size.
            let prefix = *message.payload.get(1)?;
            let mut attributes = attributes(message.payload, HEADER_BYTES);
            let value = attributes.find(|(kind, _)| *kind == self.attribute)?.1;
            Some(prefix_ends(address(value)?, prefix))
        };
        // Entries for every destination name none.
        let ends = (message.kind == self.answer).then(read).flatten();
        ends.unwrap_or_default()
    }
}

/// Where a prefix begins, and where what follows it begins.
fn prefix_ends(address: IpAddr, prefix: u8) -> [Option<u128>; 2] {
    let host_bits = u32::from(bits(address).saturating_sub(prefix));
    let size = 1_u128.checked_shl(host_bits);
    let mask = size.map_or(0, |size| !(size - 1));
    let first = number(address) & mask;
    [Some(first), size.and_then(|size| first.checked_add(size))]
}

/// Bits of an address.
const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of number `value` in the family of `like`.
fn address_like(like: IpAddr, value: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(value).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(value).into(),
    }
}

/// Prefixes are two each; beyond that many, every address is asked for.
const STARTS_MAX: usize = 1 << 20;
/// Attempts to list routes that change meanwhile.
const READS_MAX: usize = 4;
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// `struct rtmsg` and `struct fib_rule_hdr`.
const HEADER_BYTES: usize = 12;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_VIA: u16 = 18;
const FRA_DST: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::messages;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn header(family: u8, prefix: u8, kind: u8) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        (header[0], header[1], header[7]) = (family, prefix, kind);
        header
    }

    fn read_back(mut answer: Question) -> Option<Found> {
        messages(answer.finish(1)).find_map(read)
    }

    #[test]
    fn an_answer_names_interface_source_and_gateway() {
        let answer = |kind| {
            Question::one(RTM_NEWROUTE, &header(AF_INET, 32, kind))
                .address(RTA_DST, ip("198.51.100.7"))
                .attribute(RTA_OIF, &3_u32.to_ne_bytes())
                .address(RTA_PREFSRC, ip("192.0.2.2"))
        };
        let found = Found {
            interface: 3,
            source: Some(ip("192.0.2.2")),
            gateway: None,
            kind: RouteKind::Unicast,
        };
        assert_eq!(read_back(answer(1)), Some(found));
        let gateway = Some(ip("192.0.2.1"));
        let behind = answer(1).address(RTA_GATEWAY, ip("192.0.2.1"));
        assert_eq!(read_back(behind), Some(Found { gateway, ..found }));
        let mut via = AF_INET6_BYTES.to_vec();
        via.extend_from_slice(&"fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        let behind = answer(1).attribute(RTA_VIA, &via);
        let gateway = Some(ip("fe80::1"));
        assert_eq!(read_back(behind), Some(Found { gateway, ..found }));
        let kinds = [
            (2, RouteKind::Local),
            (3, RouteKind::Broadcast),
            (4, RouteKind::Anycast),
            (5, RouteKind::Multicast),
        ];
        for (number, kind) in kinds {
            assert_eq!(read_back(answer(number)), Some(Found { kind, ..found }));
        }
        for number in [0, 6, 7, 8, 255] {
            assert_eq!(read_back(answer(number)), None, "{number}");
        }
    }

    #[test]
    fn another_machine_is_not_reached_by_loopback() {
        let check = |interface, kind, expected| {
            let found = Found {
                interface,
                source: None,
                gateway: None,
                kind,
            };
            assert_eq!(found.leads_nowhere(), expected);
        };
        check(1, RouteKind::Unicast, true);
        check(1, RouteKind::Local, false);
        check(2, RouteKind::Unicast, false);
    }

    const AF_INET6_BYTES: [u8; 2] = [10, 0];

    #[test]
    fn a_cut_answer_never_panics() {
        let mut whole = Question::one(RTM_NEWROUTE, &header(AF_INET, 32, 1))
            .attribute(RTA_OIF, &3_u32.to_ne_bytes())
            .attribute(RTA_VIA, &[0; 18]);
        let bytes = whole.finish(1).to_vec();
        for length in 16..bytes.len() {
            let message = Message::for_test(RTM_NEWROUTE, &bytes[16..length]);
            assert!(read(message).is_none_or(|it| it.interface == 3), "{length}");
            let _ = ROUTES.prefix_ends(message);
        }
    }

    fn cells(prefixes: &[(&str, u8)]) -> Cells {
        let ends = prefixes
            .iter()
            .flat_map(|(address, prefix)| prefix_ends(ip(address), *prefix));
        let mut starts: Vec<u128> = ends.flatten().collect();
        starts.sort_unstable();
        Cells {
            starts: Some(starts),
        }
    }

    fn check(cells: &Cells, address: &str, first: &str, last: &str) {
        assert_eq!(cells.around(ip(address)), (ip(first), ip(last)));
    }

    #[test]
    fn a_more_specific_route_splits_the_range_around_it() {
        let table = cells(&[
            ("192.0.2.0", 24),
            ("192.0.2.7", 32),
            ("192.0.2.255", 32),
            ("10.0.0.0", 8),
            ("10.5.0.0", 16),
        ]);
        check(&table, "192.0.2.1", "192.0.2.0", "192.0.2.6");
        check(&table, "192.0.2.7", "192.0.2.7", "192.0.2.7");
        check(&table, "192.0.2.8", "192.0.2.8", "192.0.2.254");
        check(&table, "192.0.2.255", "192.0.2.255", "192.0.2.255");
        check(&table, "192.0.3.0", "192.0.3.0", "255.255.255.255");
        check(&table, "10.4.0.1", "10.0.0.0", "10.4.255.255");
        check(&table, "10.5.0.1", "10.5.0.0", "10.5.255.255");
        check(&table, "10.6.0.1", "10.6.0.0", "10.255.255.255");
        check(&table, "9.0.0.1", "0.0.0.0", "9.255.255.255");
    }

    #[test]
    fn ranges_of_ipv6_end_at_prefixes_too() {
        let table = cells(&[("2001:db8::", 32), ("2001:db8::1", 128), ("::", 0)]);
        check(&table, "2001:db8::1", "2001:db8::1", "2001:db8::1");
        check(
            &table,
            "2001:db8::2",
            "2001:db8::2",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        );
        check(
            &table,
            "ffff::",
            "2001:db9::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        );
    }

    #[test]
    fn without_a_list_every_address_stands_alone() {
        check(&Cells::default(), "192.0.2.1", "192.0.2.1", "192.0.2.1");
        check(&cells(&[]), "192.0.2.1", "0.0.0.0", "255.255.255.255");
    }

    #[test]
    fn lists_give_the_ends_of_their_prefixes() {
        let ends = |list: &List, mut message: Question| {
            let bytes = message.finish(1).to_vec();
            messages(&bytes)
                .map(|it| list.prefix_ends(it))
                .next()
                .unwrap()
        };
        let route =
            Question::one(RTM_NEWROUTE, &header(AF_INET, 24, 1)).address(RTA_DST, ip("192.0.2.0"));
        let expected = [Some(0xc000_0200), Some(0xc000_0300)];
        assert_eq!(ends(&ROUTES, route), expected);
        let everything = Question::one(RTM_NEWROUTE, &header(AF_INET, 0, 1));
        assert_eq!(ends(&ROUTES, everything), [None, None]);
        let rule =
            Question::one(RTM_NEWRULE, &header(AF_INET, 8, 1)).address(FRA_DST, ip("10.0.0.0"));
        let expected = [Some(0x0a00_0000), Some(0x0b00_0000)];
        assert_eq!(ends(&RULES, rule), expected);
    }

    #[test]
    fn errors_of_the_kernel_say_what_stands_in_the_way() {
        let address = ip("192.0.2.1");
        let check = |errno, expected| {
            assert_eq!(refusal(NetlinkError::Answered(errno), address), expected);
        };
        check(Errno::ENETUNREACH, RouteError::NoRoute(address));
        check(Errno::EHOSTUNREACH, RouteError::Unreachable(address));
        check(Errno::EACCES, RouteError::Prohibited(address));
        check(Errno::EINVAL, RouteError::Blackhole(address));
        check(
            Errno::EPERM,
            RouteError::Netlink(NetlinkError::Answered(Errno::EPERM)),
        );
    }
}
