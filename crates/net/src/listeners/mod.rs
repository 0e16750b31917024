//! The listening sockets of this machine and who holds them: the kernel's list over netlink
//! (`diag`), joined to processes through `/proc` (`holders`), and those to units and containers
//! (`cgroup`). What a socket means for a second server is decided in the model, not here.

mod boot;
mod cgroup;
mod diag;
mod holders;
mod reach;

pub use boot::{Boot, starts_at_boot};
pub use cgroup::{Origin, origin};
pub use diag::{Connections, DiagError, List, connections};

use diag::Socket;
use portolan_model::{Listener, Text, Transport};
use std::collections::{BTreeMap, BTreeSet};

/// What this machine listens on, as far as it may be seen.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    /// TCP sockets that listen and UDP sockets that are bound and unconnected, by port, transport
    /// and address. At most [`Listening::SOCKETS_MAX`] of each family and transport.
    pub listeners: Vec<Listener>,
    /// Sockets of [`Listening::listeners`] without a process that may be seen.
    pub hidden: usize,
    /// Processes whose open files may not be read; zero means that every visible process was
    /// looked at, and a hidden socket belongs to the kernel or to a process outside of what this
    /// process can see (another PID namespace).
    pub unreadable: usize,
    /// Parts of the list that the kernel refused, with the reason.
    pub refused: Vec<DiagError>,
    /// Whether a limit cut the list of sockets or the search for processes short.
    pub cut: bool,
}

impl Listening {
    /// Most sockets taken of each of the four lists (two families, two transports).
    pub const SOCKETS_MAX: usize = 262_144;
}

/// Every listening TCP socket and every bound, unconnected UDP socket of this network namespace.
///
/// # Errors
/// When the kernel refuses all of the lists; when it refuses only some, these stand in
/// [`Listening::refused`].
pub fn listening() -> Result<Listening, DiagError> {
    let (mut sockets, mut refused, mut cut) = (Vec::new(), Vec::new(), false);
    let mut answered = false;
    for request in diag::Request::LISTENING {
        match diag::dump(request) {
            Ok(dump) => {
                answered = true;
                cut |= dump.cut;
                sockets.extend(dump.sockets);
            }
            Err(error) => refused.push(error),
        }
    }
    if !answered && let Some(error) = refused.pop() {
        return Err(error);
    }
    let wanted: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let found = holders::find(&wanted);
    let mut names = Names::default();
    let mut listeners: Vec<Listener> = sockets
        .iter()
        .map(|socket| listener(socket, &found, &mut names))
        .collect();
    listeners.sort_by_key(|it| (it.port, it.transport, it.address, it.inode));
    Ok(Listening {
        hidden: listeners
            .iter()
            .filter(|it| it.processes.is_empty())
            .count(),
        listeners,
        unreadable: found.unreadable,
        refused,
        cut: cut || found.cut,
    })
}

fn listener(socket: &Socket, found: &holders::Holders, names: &mut Names) -> Listener {
    let interface = names.interface(socket.interface);
    let address = socket.address.to_canonical();
    // An IPv6 socket bound to an IPv4-mapped address takes IPv4 and nothing else.
    let one_family = if address.is_ipv4() {
        Some(true)
    } else {
        socket.one_family
    };
    let (backlog, queue) = match socket.transport {
        Transport::Tcp => (Some(socket.send_queue), socket.receive_queue),
        Transport::Udp => (None, socket.receive_queue),
    };
    Listener {
        transport: socket.transport,
        address,
        port: socket.port,
        reach: reach::reach(address, interface.as_ref()),
        interface: interface.map(|it| it.name),
        one_family,
        inode: socket.inode,
        uid: socket.uid,
        user: names.user(socket.uid),
        processes: found
            .by_inode
            .get(&socket.inode)
            .cloned()
            .unwrap_or_default(),
        queue,
        backlog,
    }
}

/// An interface a socket is bound to.
#[derive(Clone, Debug)]
struct BoundInterface {
    name: Text,
    loopback: bool,
}

/// Numbers to names, each asked once.
#[derive(Default)]
struct Names {
    users: BTreeMap<u32, Text>,
    interfaces: BTreeMap<u32, BoundInterface>,
}

impl Names {
    fn user(&mut self, uid: u32) -> Text {
        self.users
            .entry(uid)
            .or_insert_with(|| user_name(uid))
            .clone()
    }

    /// `None` for 0, which stands for every interface. An interface that went away keeps its
    /// number as its name, so that the binding is not lost.
    fn interface(&mut self, index: u32) -> Option<BoundInterface> {
        let ask = || {
            let name = nix::net::if_::if_indextoname(index).map_or_else(
                |_| format!("if{index}").into(),
                |it| Text::from_bytes(it.to_bytes()),
            );
            let loopback = name.as_str() == "lo" || crate::interface::is_loopback(name.as_str());
            BoundInterface { name, loopback }
        };
        (index != 0).then(|| self.interfaces.entry(index).or_insert_with(ask).clone())
    }
}

/// The name of a user, else the number.
pub(crate) fn user_name(uid: u32) -> Text {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name.into(),
        Ok(None) | Err(_) => uid.to_string().into(),
    }
}
