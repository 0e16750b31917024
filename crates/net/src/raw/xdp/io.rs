//! How frames pass between this process and an interface: which ways there are, which is taken, and
//! why not a better one.
//!
//! What is not here: the ways themselves (see [`super::socket`], [`crate::raw::ring`] and
//! [`crate::raw::transmit`]).

use super::program::Taken;
use super::socket::{self, Halves, SocketError};
use crate::filter::Wanted;
use crate::link::{Link, LinkKind};
use portolan_model::Text;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// The way that is known to be the better one, without changing anything on an interface.
    #[default]
    Auto,
    /// Packet sockets.
    Packet,
    /// Sockets for frames, both to send and to receive.
    Xdp,
}

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

/// Opens the way that was asked for, for answers that are `wanted`.
///
/// # Errors
/// Why packet sockets have to do.
pub fn open(link: &Link, wanted: &Wanted<'_>, io: Io) -> Result<Halves, WhyNot> {
    if io == Io::Packet {
        return Err(WhyNot::Asked);
    }
    suits(link)?;
    let opened = if io == Io::Xdp {
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
