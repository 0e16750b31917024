//! How frames pass between this process and an interface: which ways there are, which is taken, and
//! why not a better one.
//!
//! What is not here: the ways themselves (see [`super::socket`], [`crate::raw::ring`] and
//! [`crate::raw::transmit`]).

use super::program::Taken;
use super::socket::{self, Halves, SocketError};
use crate::filter::Wanted;
use crate::link::{self, Link, LinkKind};
use crate::netlink::{Netlink, NetlinkError};
use portolan_model::{IoChoice, Text};
use portolan_wire::LinkType;

/// Why an interface is not used by sockets for frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNot {
    /// Packet sockets were asked for.
    #[error("packet sockets were asked for")]
    Asked,
    /// The interface has another one below it, or none.
    #[error("{name} is {what}, which has nothing to gain")]
    Kind {
        /// The interface.
        name: Text,
        /// What it is.
        what: Text,
    },
    /// Another program is at work there, and stays.
    #[error(
        "another program takes frames of {name} (see `ip link show {name}`), and is left alone"
    )]
    Occupied {
        /// The interface.
        name: Text,
    },
    /// The kernel does not go along.
    #[error("{name}: {source}")]
    Socket {
        /// The interface.
        name: Text,
        /// What stands against it.
        source: SocketError,
    },
}

/// What was found at one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The interface.
    pub name: Text,
    /// Whether frames would leave there by a socket for frames.
    pub sends: Result<(), WhyNot>,
}

/// Opens the way that was asked for, for answers that are `wanted`.
///
/// # Errors
/// Why packet sockets have to do.
pub fn open(link: &Link, wanted: &Wanted<'_>, io: IoChoice) -> Result<Halves, WhyNot> {
    if io == IoChoice::Packet {
        return Err(WhyNot::Asked);
    }
    suits(link)?;
    let opened = if io == IoChoice::Xdp {
        if link.has_program {
            return Err(WhyNot::Occupied {
                name: link.name.clone(),
            });
        }
        socket::open_both(link, wanted, Taken::Refusals)
    } else {
        socket::open_sender(link)
    };
    opened.map_err(|source| WhyNot::Socket {
        name: link.name.clone(),
        source,
    })
}

/// Whether frames would leave by each of these interfaces past packet sockets, found out by opening a
/// socket there that sends nothing; else why not. What vanishes meanwhile is left out.
///
/// # Errors
/// When the kernel does not tell of its interfaces.
pub fn try_on(indexes: &[u32]) -> Result<Vec<Tried>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let links = indexes
        .iter()
        .filter_map(|it| link::link(&mut netlink, *it).ok());
    let nothing = |link: &Link| Wanted {
        link_type: link.kind.link_type().unwrap_or(LinkType::Ethernet),
        addresses: &[],
        ports: 0..=0,
    };
    let tried = links.map(|link| {
        let opened = open(&link, &nothing(&link), IoChoice::Auto);
        Tried {
            name: link.name,
            sends: opened.map(drop),
        }
    });
    Ok(tried.collect())
}

/// Whether an interface is one that frames leave this machine by, or a veth.
///
/// # Errors
/// Why not.
pub fn suits(link: &Link) -> Result<(), WhyNot> {
    let kind = |what: &str| {
        Err(WhyNot::Kind {
            name: link.name.clone(),
            what: what.into(),
        })
    };
    match (link.kind, link.driver_kind.as_str()) {
        (LinkKind::Loopback, _) => kind("the loopback interface"),
        (LinkKind::Bare | LinkKind::Other(_), _) => kind("no Ethernet interface"),
        (LinkKind::Ethernet, "" | "veth") => Ok(()),
        (LinkKind::Ethernet, driver) => kind(&format!("a virtual interface ({driver})")),
    }
}
