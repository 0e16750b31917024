//! What a host of a crowd is like, as plain data. What it answers because of that is in `respond`.

use portolan_wire::Mac;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// Frames for it must be sent here: its own hardware address, or that of the router before it.
    pub mac: Mac,
    /// Whether it answers who asks for its hardware address.
    pub neighbour: bool,
    /// TTL or hop limit of what it sends, on arrival.
    pub hop_limit: u8,
    /// Ports that answer SYN-ACK.
    pub open: Ports,
    /// Ports that are neither open nor closed: nothing comes back, whatever `closed` says.
    pub silent: Ports,
    /// What all other ports do.
    pub closed: Closed,
    /// Refusals (RST or ICMP) that it sends at most.
    pub refusals: Option<Policer>,
    /// What an open port does once it has answered.
    pub talk: Talk,
    /// Whether it ignores first SYNs.
    pub deaf: Option<Deaf>,
    /// Time from a packet to its answer.
    pub rtt: Duration,
    /// What packets to it meet.
    pub way: Way,
    /// What comes besides the answers.
    pub noise: Vec<Noisy>,
    /// Hardware addresses that it takes on later, in that order.
    pub moves: Vec<Move>,
    /// Whether it answers ICMP echo requests.
    pub echo: bool,
}

impl Host {
    /// A neighbour with a hardware address made from its address, without open ports, that refuses
    /// at once by RST and has no fault.
    pub fn at(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self {
            address,
            mac: own_mac(address),
            neighbour: true,
            hop_limit: 64,
            open: Ports::None,
            silent: Ports::None,
            closed: Closed::Reset,
            refusals: None,
            talk: Talk::Silent,
            deaf: None,
            rtt: Duration::ZERO,
            way: Way::default(),
            noise: Vec::new(),
            moves: Vec::new(),
            echo: true,
        }
    }

    /// The same behind a router with this hardware address.
    pub fn behind(router: Mac, address: impl Into<IpAddr>) -> Self {
        Self {
            mac: router,
            neighbour: false,
            hop_limit: 60,
            ..Self::at(address)
        }
    }

    /// With these open ports.
    #[must_use]
    pub fn open(mut self, ports: &[u16]) -> Self {
        self.open = Ports::these(ports);
        self
    }

    /// With what other ports do.
    #[must_use]
    pub const fn closed(mut self, closed: Closed) -> Self {
        self.closed = closed;
        self
    }

    /// With a round-trip time.
    #[must_use]
    pub const fn rtt(mut self, rtt: Duration) -> Self {
        self.rtt = rtt;
        self
    }

    /// With a way of its own.
    #[must_use]
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// With noise at some ports.
    #[must_use]
    pub fn noise(mut self, ports: Ports, noise: Noise) -> Self {
        self.noise.push(Noisy { ports, noise });
        self
    }
}

/// A set of ports.
#[derive(Clone, Debug)]
pub enum Ports {
    /// Every port.
    All,
    /// No port.
    None,
    /// One port of so many, as a hash of address and port decides.
    OneOf(u32),
    /// These ports, ascending; hosts may share them.
    These(Arc<[u16]>),
}

impl Ports {
    /// These ports, in any order.
    pub fn these(ports: &[u16]) -> Self {
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        Self::These(ports.into())
    }

    /// Whether `port` of the host at `address` is one of them.
    pub fn contain(&self, address: IpAddr, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::OneOf(count) => hash(address, u64::from(port))
                .checked_rem(u64::from(*count))
                .is_some_and(|rest| rest == 0),
            Self::These(ports) => ports.binary_search(&port).is_ok(),
        }
    }
}

/// What a closed port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// An ICMP error comes from the host.
    Icmp(Icmp),
    /// RST.
    Reset,
    /// Nothing.
    Silent,
}

/// Type and code of an ICMP message, in the family of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

impl Icmp {
    /// "Communication administratively prohibited" of IPv4 (RFC 1812 §5.2.7.1).
    pub const PROHIBITED: Self = Self { kind: 3, code: 13 };
    /// The same of IPv6 (RFC 4443 §3.1).
    pub const PROHIBITED_V6: Self = Self { kind: 1, code: 1 };
}

/// What an open port does after its SYN-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Ends the connection by RST as soon as it is made.
    Reset,
    /// Acknowledges what is said, and says nothing.
    Silent,
}

/// Which SYNs are the first ones, that get no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaf {
    /// The first to a port from an address, whatever port it comes from.
    Pair,
    /// The first of a connection's two addresses and ports.
    Tuple,
}

/// What packets meet on a way. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Packets of a thousand that are lost on the way in.
    pub loss_in_permille: u16,
    /// Packets of a thousand that are lost on the way back.
    pub loss_out_permille: u16,
    /// Packets that are let through at most.
    pub policer: Option<Policer>,
    /// Times of silence, in the order in which they begin.
    pub cuts: Vec<Cut>,
    /// Nothing passes now.
    pub silent: bool,
}

/// A token bucket: what is above it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policer {
    /// Packets a second.
    pub rate: u32,
    /// Packets at once.
    pub burst: u32,
}

/// A time of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// It begins when so many SYNs have come this way; the one that makes them complete is lost.
    pub after_syns: u64,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Cut {
    /// One that does not end.
    pub const fn for_good(after_syns: u64) -> Self {
        Self {
            after_syns,
            lasts: Duration::from_hours(24),
        }
    }
}

/// A change of hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// It happens when so many SYNs were sent to the host; the one that makes them complete finds
    /// nobody.
    pub after_syns: u64,
    /// The new address.
    pub mac: Mac,
}

/// Noise and where it is made.
#[derive(Clone, Debug)]
pub struct Noisy {
    /// Ports whose SYNs cause it.
    pub ports: Ports,
    /// What it is.
    pub noise: Noise,
}

/// What comes beside an answer, before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// The answer itself, so many times more.
    Copies(u32),
    /// A SYN-ACK as an open port sends it, cut short at every length inside of its headers.
    CutShort,
    /// ICMP messages of every type with codes 0 to 15, which quote the probe as it was.
    EveryIcmp,
    /// The same, quoting a probe with another sequence number.
    EveryIcmpForged,
    /// A SYN-ACK and a RST that acknowledge what was not sent.
    Forged,
}

/// A locally administered address made from an IP address.
fn own_mac(address: IpAddr) -> Mac {
    let [.., a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let family = if address.is_ipv4() { 0x04 } else { 0x06 };
    Mac([0x02, family, a, b, c, d])
}

/// A number that looks random, of an address and another number.
pub(super) fn hash(address: IpAddr, number: u64) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [low, high] = [bits, bits >> 64].map(|half| half & u128::from(u64::MAX));
    let [low, high] = [low, high].map(|half| u64::try_from(half).unwrap_or_default());
    [high, number].into_iter().fold(low, |state, next| {
        crate::Seed::new(state ^ next.rotate_left(32)).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_of_so_many_ports_is_about_that_many() {
        let address = IpAddr::V4(Ipv4Addr::new(198, 18, 64, 9));
        let ports = Ports::OneOf(100);
        let open = (1..=u16::MAX).filter(|port| ports.contain(address, *port));
        assert!((500..800).contains(&open.count()));
        assert!(!Ports::OneOf(0).contain(address, 1));
    }

    #[test]
    fn a_list_holds_what_was_put_in() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = Ports::these(&[80, 22]);
        let held: Vec<u16> = (0..=u16::MAX)
            .filter(|port| ports.contain(address, *port))
            .collect();
        assert_eq!(held, [22, 80]);
    }
}
