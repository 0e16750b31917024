//! What the sockets of one port do to each other: whether a second server could bind it, and
//! whether those that share it belong together. The rules are Linux's (bind(2), ip(7), ipv6(7),
//! socket(7)). Nothing is bound here to find out, and no advice is given here.

use crate::{Listener, Process, Text, Transport};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a server asks for when it binds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bid {
    /// Transport.
    pub transport: Transport,
    /// Local address; unspecified means every address of its family.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// `false` for an IPv6 socket that takes IPv4 as well; `true` for every other.
    pub one_family: bool,
    /// Bound to one interface (`SO_BINDTODEVICE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Text>,
}

impl Bid {
    /// A bid on every address: `0.0.0.0`.
    pub const fn every_v4(transport: Transport, port: u16) -> Self {
        Self::on(transport, IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
    }

    /// A bid on every IPv6 address and, by the same socket, every IPv4 address: `[::]`.
    pub const fn both_families(transport: Transport, port: u16) -> Self {
        let mut bid = Self::on(transport, IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        bid.one_family = false;
        bid
    }

    /// A bid on one address; `::` with `IPV6_V6ONLY`.
    pub const fn on(transport: Transport, address: IpAddr, port: u16) -> Self {
        Self {
            transport,
            address,
            port,
            one_family: true,
            interface: None,
        }
    }

    /// What `listener` was given. Where the kernel did not say whether an IPv6 socket takes IPv4,
    /// it counts as taking it, so that a conflict is not overlooked.
    pub fn of(listener: &Listener) -> Self {
        Self {
            transport: listener.transport,
            address: listener.address,
            port: listener.port,
            one_family: listener.address.is_ipv4() || listener.one_family.unwrap_or(false),
            interface: listener.interface.clone(),
        }
    }

    /// Whether the two cannot both be had without port sharing: same transport and port,
    /// addresses that have something in common, and no two different interfaces.
    pub fn overlaps(&self, other: &Self) -> bool {
        let apart = matches!((&self.interface, &other.interface), (Some(a), Some(b)) if a != b);
        self.transport == other.transport
            && self.port == other.port
            && !apart
            && self.addresses_meet(other)
    }

    fn addresses_meet(&self, other: &Self) -> bool {
        match (self.address.to_canonical(), other.address.to_canonical()) {
            (a @ IpAddr::V4(_), b @ IpAddr::V4(_)) | (a @ IpAddr::V6(_), b @ IpAddr::V6(_)) => {
                a == b || a.is_unspecified() || b.is_unspecified()
            }
            // ipv6(7): a socket on `::` without IPV6_V6ONLY takes the port of IPv4 as well.
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !self.one_family,
            (IpAddr::V4(_), IpAddr::V6(own)) => own.is_unspecified() && !other.one_family,
        }
    }
}

impl fmt::Display for Bid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddr::new(self.address, self.port))?;
        if let Some(interface) = &self.interface {
            write!(f, " on {interface}")?;
        }
        match self.address {
            IpAddr::V6(v6) if v6.is_unspecified() && self.one_family => f.write_str(" IPv6 only"),
            IpAddr::V6(v6) if v6.is_unspecified() => f.write_str(" + IPv4"),
            _ => Ok(()),
        }
    }
}

/// Whether a second server may join the holders by setting `SO_REUSEPORT` (socket(7)): every
/// socket must have it set and belong to the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "sharing")]
pub enum Sharing {
    /// The holders belong to different users, so nobody can match them all.
    Impossible,
    /// Nobody is in the way.
    NotNeeded,
    /// The kernel does not tell whether the holders set the option.
    Possible {
        /// User id that a second server would need.
        uid: u32,
    },
    /// The holders share the port among themselves, so they have set it.
    Shown {
        /// User id that a second server would need.
        uid: u32,
    },
}

/// What a bid would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// What is asked for.
    pub bid: Bid,
    /// Inodes of the sockets in the way. Empty: the bid succeeds, permission given. Else it fails
    /// with "Address already in use" (`EADDRINUSE`); `SO_REUSEADDR` does not change that for TCP,
    /// because a socket that listens is in the way.
    pub blocked_by: Vec<u64>,
    /// Whether sharing would help.
    #[serde(flatten)]
    pub sharing: Sharing,
}

impl Forecast {
    /// What `bid` would get next to `listeners`.
    pub fn of(bid: Bid, listeners: &[Listener]) -> Self {
        let blocking: Vec<&Listener> = listeners
            .iter()
            .filter(|it| bid.overlaps(&Bid::of(it)))
            .collect();
        let sharing = match blocking.split_first() {
            None => Sharing::NotNeeded,
            Some((first, rest)) if rest.iter().any(|it| it.uid != first.uid) => Sharing::Impossible,
            Some((first, _))
                if bid.transport == Transport::Tcp && all_share(&blocking, listeners) =>
            {
                Sharing::Shown { uid: first.uid }
            }
            Some((first, _)) => Sharing::Possible { uid: first.uid },
        };
        Self {
            bid,
            blocked_by: blocking.iter().map(|it| it.inode).collect(),
            sharing,
        }
    }

    /// Whether the bid succeeds without sharing.
    pub const fn is_free(&self) -> bool {
        self.blocked_by.is_empty()
    }
}

/// Two TCP sockets that listen on overlapping addresses prove that both set `SO_REUSEPORT`.
fn all_share(blocking: &[&Listener], listeners: &[Listener]) -> bool {
    blocking.iter().all(|one| {
        let bid = Bid::of(one);
        listeners
            .iter()
            .any(|other| other.inode != one.inode && bid.overlaps(&Bid::of(other)))
    })
}

/// How several sockets of one port stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictKind {
    /// Different programs hold overlapping sockets: a client reaches one of them, and cannot
    /// choose which.
    DifferentPrograms,
    /// Different programs, each on addresses of its own: the address decides who answers.
    SplitByAddress,
    /// Overlapping sockets whose holders are hidden.
    Undetermined,
    /// One service with several sockets, so that its workers share the load.
    Workers,
}

/// Several sockets of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Transport.
    pub transport: Transport,
    /// Port.
    pub port: u16,
    /// How they stand to each other.
    pub kind: ConflictKind,
    /// Inodes of the sockets.
    pub inodes: Vec<u64>,
    /// The same in a sentence.
    pub message: String,
}

impl Conflict {
    /// Everything to be said about the sockets that share a port, in order of ports. Listeners
    /// alone on their port, and one service on several addresses, yield nothing.
    pub fn among(listeners: &[Listener]) -> Vec<Self> {
        let mut sorted: Vec<&Listener> = listeners.iter().collect();
        sorted.sort_by_key(|it| (it.port, it.transport, it.address, it.inode));
        sorted
            .chunk_by(|a, b| (a.port, a.transport) == (b.port, b.transport))
            .filter(|group| group.len() > 1)
            .flat_map(of_port)
            .collect()
    }

    /// Whether somebody should look at it.
    pub const fn is_warning(&self) -> bool {
        matches!(self.kind, ConflictKind::DifferentPrograms)
    }
}

/// `group` is not empty and holds the sockets of one port and transport.
fn of_port(group: &[&Listener]) -> Vec<Conflict> {
    let clusters = clusters(group);
    let mut found: Vec<Conflict> = clusters
        .iter()
        .filter(|cluster| cluster.len() > 1)
        .filter_map(|cluster| conflict(overlap_kind(cluster), cluster))
        .collect();
    let mut heads: Vec<&Listener> = clusters
        .iter()
        .filter_map(|cluster| cluster.first().copied())
        .collect();
    heads.retain(|it| !it.processes.is_empty());
    let differ = heads
        .split_first()
        .is_some_and(|(first, rest)| rest.iter().any(|it| !same_service(first, it)));
    if differ {
        found.extend(conflict(ConflictKind::SplitByAddress, &heads));
    }
    found
}

/// Groups of sockets connected by overlap.
fn clusters<'a>(group: &[&'a Listener]) -> Vec<Vec<&'a Listener>> {
    let mut clusters: Vec<(Vec<Bid>, Vec<&'a Listener>)> = Vec::new();
    for listener in group.iter().copied() {
        let bid = Bid::of(listener);
        // Workers ask for the same; each distinct bid is compared once.
        let meets = |bids: &[Bid]| bids.iter().any(|it| it.overlaps(&bid));
        let (touching, apart): (Vec<_>, Vec<_>) =
            clusters.into_iter().partition(|(bids, _)| meets(bids));
        clusters = apart;
        let (mut bids, mut members) = (Vec::new(), Vec::new());
        for (other_bids, others) in touching {
            bids.extend(other_bids);
            members.extend(others);
        }
        if !bids.contains(&bid) {
            bids.push(bid);
        }
        members.push(listener);
        clusters.push((bids, members));
    }
    clusters.into_iter().map(|(_, members)| members).collect()
}

fn overlap_kind(cluster: &[&Listener]) -> ConflictKind {
    let (seen, hidden): (Vec<&Listener>, Vec<&Listener>) = cluster
        .iter()
        .copied()
        .partition(|it| !it.processes.is_empty());
    let differ = seen
        .split_first()
        .is_some_and(|(first, rest)| rest.iter().any(|it| !same_service(first, it)));
    if differ {
        ConflictKind::DifferentPrograms
    } else if hidden.is_empty() {
        ConflictKind::Workers
    } else {
        ConflictKind::Undetermined
    }
}

/// Whether two sockets belong to one service: held by the same process, run in the same container
/// or by the same unit, or else the same executable run by the same user.
fn same_service(a: &Listener, b: &Listener) -> bool {
    let shared = a
        .processes
        .iter()
        .any(|one| b.processes.iter().any(|other| other.pid == one.pid));
    let (Some(a), Some(b)) = (a.server(), b.server()) else {
        return shared;
    };
    let same_container = a.container.is_some() && a.container == b.container;
    // A scope (a login session) holds whatever was started in it; a service is one thing.
    let same_unit = a.container == b.container
        && a.unit == b.unit
        && a.unit
            .as_ref()
            .is_some_and(|it| it.as_str().ends_with(".service"));
    let same_program = a.container == b.container
        && a.unit == b.unit
        && a.user == b.user
        && a.name == b.name
        && a.executable == b.executable;
    shared || same_container || same_unit || same_program
}

fn conflict(kind: ConflictKind, members: &[&Listener]) -> Option<Conflict> {
    let first = members.first()?;
    let (transport, port) = (first.transport, first.port);
    let message = match kind {
        ConflictKind::DifferentPrograms => format!(
            "{} different programs answer on {transport} port {port}: {}; {}",
            counted(programs(members).len()),
            listed(&programs(members)),
            match transport {
                Transport::Tcp => "a connection reaches either of them",
                Transport::Udp =>
                    "a datagram reaches one of them, or all when it is sent to a group",
            }
        ),
        ConflictKind::SplitByAddress => {
            let places: Vec<String> = members
                .iter()
                .map(|it| format!("{} on {}", it.holder(), Bid::of(it)))
                .collect();
            format!(
                "the address decides which program answers on {transport} port {port}: {}",
                listed(&places)
            )
        }
        ConflictKind::Undetermined => format!(
            "{} sockets share {transport} port {port}; whether they belong to one program cannot \
             be told without seeing the processes that hold them",
            members.len()
        ),
        ConflictKind::Workers => format!(
            "{} sockets of one service share {transport} port {port} (SO_REUSEPORT): {}",
            members.len(),
            listed(&programs(members))
        ),
    };
    Some(Conflict {
        transport,
        port,
        kind,
        inodes: members.iter().map(|it| it.inode).collect(),
        message,
    })
}

/// The holders, each once.
fn programs(members: &[&Listener]) -> Vec<String> {
    let mut names = Vec::new();
    for name in members.iter().map(|it| it.holder()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn counted(count: usize) -> String {
    match count {
        2 => "two".to_owned(),
        3 => "three".to_owned(),
        other => other.to_string(),
    }
}

/// `a, b and c`; beyond [`NAMED_MAX`] the rest is a number.
fn listed(names: &[String]) -> String {
    if let Some((named, rest)) = names.split_at_checked(NAMED_MAX)
        && !rest.is_empty()
    {
        return format!("{} and {} more", named.join(", "), rest.len());
    }
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

impl Listener {
    /// The process that serves: the oldest holder, but not the service manager when it merely
    /// opened the socket for another.
    pub fn server(&self) -> Option<&Process> {
        self.processes
            .iter()
            .find(|it| !it.is_service_manager())
            .or_else(|| self.processes.first())
    }

    /// The server in words: `nginx (pid 712)`.
    pub fn holder(&self) -> String {
        self.server().map_or_else(
            || format!("a hidden process of user {}", self.user),
            |it| format!("{} (pid {})", it.name, it.pid),
        )
    }
}

impl Process {
    /// Whether it is systemd as process 1, which holds sockets for the services it starts.
    pub fn is_service_manager(&self) -> bool {
        self.pid == 1 && self.name.as_str() == "systemd"
    }
}

/// Most programs named in one sentence.
const NAMED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reach;

    /// `0.0.0.0`, `::` (IPv6 only), `*` (both families), `0.0.0.0%eth0`.
    fn bid(text: &str) -> Bid {
        let (address, interface) = text.split_once('%').unwrap_or((text, ""));
        let mut bid = match address {
            "*" => Bid::both_families(Transport::Tcp, 80),
            other => Bid::on(Transport::Tcp, other.parse().unwrap(), 80),
        };
        bid.interface = (!interface.is_empty()).then(|| interface.into());
        bid
    }

    fn process(pid: u32, name: &str, unit: Option<&str>) -> Process {
        Process {
            pid,
            name: name.into(),
            executable: Some(format!("/usr/sbin/{name}").into()),
            user: "root".into(),
            unit: unit.map(Text::from),
            container: None,
            started_unix_s: None,
        }
    }

    fn listener(place: &str, inode: u64, holder: Option<Process>) -> Listener {
        let bid = bid(place);
        Listener {
            transport: bid.transport,
            address: bid.address,
            port: bid.port,
            interface: bid.interface,
            one_family: Some(bid.one_family),
            reach: Reach::Anywhere,
            inode,
            uid: 0,
            user: "root".into(),
            processes: holder.into_iter().collect(),
            queue: 0,
            backlog: Some(128),
        }
    }

    #[test]
    fn overlap_follows_the_kernel() {
        let check = |a: &str, b: &str, expected: bool| {
            assert_eq!(bid(a).overlaps(&bid(b)), expected, "{a} {b}");
            assert_eq!(bid(b).overlaps(&bid(a)), expected, "{b} {a}");
        };
        check("0.0.0.0", "0.0.0.0", true);
        check("0.0.0.0", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("::", "::", true);
        check("::", "::1", true);
        check("::1", "::1", true);
        check("::1", "fe80::1", false);
        check("*", "0.0.0.0", true);
        check("*", "127.0.0.1", true);
        check("*", "::1", true);
        check("*", "::", true);
        check("*", "*", true);
        check("::", "0.0.0.0", false);
        check("::", "127.0.0.1", false);
        check("::1", "127.0.0.1", false);
        check("::1", "0.0.0.0", false);
        check("::ffff:127.0.0.1", "127.0.0.1", true);
        check("::ffff:127.0.0.1", "*", true);
        check("::ffff:127.0.0.1", "::", false);
        check("0.0.0.0%eth0", "0.0.0.0%eth1", false);
        check("0.0.0.0%eth0", "0.0.0.0%eth0", true);
        check("0.0.0.0%eth0", "0.0.0.0", true);
    }

    #[test]
    fn other_ports_and_transports_never_overlap() {
        let (tcp, mut other) = (bid("*"), bid("*"));
        other.port = 81;
        assert!(!tcp.overlaps(&other));
        other.port = 80;
        other.transport = Transport::Udp;
        assert!(!tcp.overlaps(&other));
    }

    #[test]
    fn a_forecast_names_who_is_in_the_way_and_whether_sharing_helps() {
        let check = |place: &str, held: &[Listener], blocked: &[u64], sharing: Sharing| {
            let found = Forecast::of(bid(place), held);
            assert_eq!(found.blocked_by, blocked, "{place}");
            assert_eq!(found.sharing, sharing, "{place}");
            assert_eq!(found.is_free(), blocked.is_empty());
        };
        let nginx = [listener("0.0.0.0", 1, None), listener("::", 2, None)];
        check("0.0.0.0", &nginx, &[1], Sharing::Possible { uid: 0 });
        check("::", &nginx, &[2], Sharing::Possible { uid: 0 });
        check("*", &nginx, &[1, 2], Sharing::Possible { uid: 0 });
        check("0.0.0.0", &nginx[1..], &[], Sharing::NotNeeded);
        check("0.0.0.0", &[], &[], Sharing::NotNeeded);
        let mut workers = [listener("*", 1, None), listener("*", 2, None)];
        check("127.0.0.1", &workers, &[1, 2], Sharing::Shown { uid: 0 });
        workers[1].uid = 1000;
        check("127.0.0.1", &workers, &[1, 2], Sharing::Impossible);
    }

    #[test]
    fn sockets_on_one_port_are_told_apart() {
        let check = |held: &[Listener], expected: &[(ConflictKind, &[u64])]| {
            let found = Conflict::among(held);
            let kinds: Vec<_> = found
                .iter()
                .map(|it| (it.kind, it.inodes.as_slice()))
                .collect();
            assert_eq!(kinds, expected, "{found:?}");
            for one in &found {
                assert!(one.message.contains("tcp port 80"), "{}", one.message);
            }
        };
        let service = Some("web.service");
        let one = |place, inode| listener(place, inode, Some(process(7, "nginx", service)));
        let worker = |place, inode| listener(place, inode, Some(process(8, "worker", service)));
        let other = |place, inode| listener(place, inode, Some(process(9, "apache2", None)));
        let hidden = |place, inode| listener(place, inode, None);

        check(&[one("0.0.0.0", 1)], &[]);
        check(&[one("0.0.0.0", 1), one("::", 2)], &[]);
        check(
            &[one("0.0.0.0", 1), worker("0.0.0.0", 2)],
            &[(ConflictKind::Workers, &[1, 2])],
        );
        check(
            &[one("0.0.0.0", 1), other("127.0.0.1", 2)],
            &[(ConflictKind::DifferentPrograms, &[1, 2])],
        );
        check(
            &[one("0.0.0.0", 1), other("::", 2)],
            &[(ConflictKind::SplitByAddress, &[1, 2])],
        );
        check(
            &[one("0.0.0.0", 1), hidden("0.0.0.0", 2)],
            &[(ConflictKind::Undetermined, &[1, 2])],
        );
        check(&[hidden("0.0.0.0", 1), hidden("::", 2)], &[]);
        // The dual-stack socket joins what would otherwise be apart.
        check(
            &[one("0.0.0.0", 1), worker("::", 2), worker("*", 3)],
            &[(ConflictKind::Workers, &[1, 2, 3])],
        );
    }

    #[test]
    fn a_login_session_does_not_make_two_programs_one() {
        let scope = Some("session-3.scope");
        let held = [
            listener("*", 1, Some(process(7, "python3", scope))),
            listener("*", 2, Some(process(8, "node", scope))),
        ];
        let found = Conflict::among(&held);
        assert_eq!(found.len(), 1);
        assert!(found[0].is_warning());
        assert_eq!(
            found[0].message,
            "two different programs answer on tcp port 80: python3 (pid 7) and node (pid 8); a \
             connection reaches either of them"
        );
    }

    #[test]
    fn the_service_manager_is_named_only_when_it_is_alone() {
        let mut one = listener("*", 1, Some(process(1, "systemd", None)));
        assert_eq!(one.holder(), "systemd (pid 1)");
        one.processes.push(process(70, "cockpit-tls", None));
        assert_eq!(one.holder(), "cockpit-tls (pid 70)");
        // In a container process 1 is the server itself.
        one.processes[0].name = "nginx".into();
        assert_eq!(one.holder(), "nginx (pid 1)");
    }

    #[test]
    fn long_lists_end_in_a_number() {
        let names: Vec<String> = (0..9).map(|it| it.to_string()).collect();
        let check = |count: usize, expected: &str| assert_eq!(listed(&names[..count]), expected);
        check(0, "");
        check(1, "0");
        check(2, "0 and 1");
        check(4, "0, 1, 2 and 3");
        check(9, "0, 1, 2, 3 and 5 more");
    }
}
