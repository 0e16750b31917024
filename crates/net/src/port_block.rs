//! Source ports for raw probes, held so that no program of this machine gets one meanwhile. What
//! comes back to them meets no listener: the kernel ends a half-open connection by itself.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, socket};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Ports next to each other, the first a multiple of their number.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    _held: Vec<OwnedFd>,
}

/// Why no ports could be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortBlockError {
    /// The block that was asked for is in use.
    #[error(
        "the source ports {first} to {last} cannot be held ({}); name other ones, or none, or \
         scan with --engine connect",
        .errno.desc()
    )]
    InUse {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// What the kernel said.
        errno: Errno,
    },
    /// Every block has a port that is in use.
    #[error(
        "no {length} source ports next to each other are free ({}); end programs that hold \
         them, or scan with --engine connect",
        .errno.desc()
    )]
    NoneFree {
        /// How many are needed.
        length: u16,
        /// What the kernel said of the last.
        errno: Errno,
    },
}

/// Ports from here on are used by programs that ask for none in particular less often.
const LOWEST: u16 = 20_480;
/// What Linux hands out to connections, unless it is told otherwise.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

impl PortBlock {
    /// Holds the `length` ports from `first` on, with one open file each, `files_max` at most: the
    /// rest is left to nobody's taking them.
    ///
    /// # Errors
    /// When one of them is in use.
    pub fn hold(first: u16, length: u16, files_max: u16) -> Result<Self, PortBlockError> {
        let ports = ports(first, length.min(files_max.max(1)));
        let held = ports.map(hold).collect::<Result<_, _>>();
        Ok(Self {
            first,
            _held: held.map_err(|errno| PortBlockError::InUse {
                first,
                last: first.saturating_add(length.saturating_sub(1)),
                errno,
            })?,
        })
    }

    /// Holds `length` ports that are free; `random` says where the search begins. Ports outside
    /// `ephemeral`, which the kernel hands out to connections, come first.
    ///
    /// # Errors
    /// When no block is free.
    pub fn find(
        length: u16,
        files_max: u16,
        ephemeral: Option<RangeInclusive<u16>>,
        random: u64,
    ) -> Result<Self, PortBlockError> {
        let mut last = Errno::EADDRINUSE;
        for first in candidates(length, &ephemeral.unwrap_or(EPHEMERAL), random) {
            match Self::hold(first, length, files_max) {
                Err(PortBlockError::InUse { errno, .. }) if errno == Errno::EADDRINUSE => {
                    last = errno;
                }
                other => return other,
            }
        }
        Err(PortBlockError::NoneFree {
            length,
            errno: last,
        })
    }

    /// The first of them.
    pub const fn first(&self) -> u16 {
        self.first
    }
}

fn ports(first: u16, length: u16) -> impl Iterator<Item = u16> {
    (0..length).map(move |offset| first.saturating_add(offset))
}

/// First ports of the blocks to try, each once.
fn candidates(length: u16, ephemeral: &RangeInclusive<u16>, random: u64) -> Vec<u16> {
    let blocks = LOWEST.div_ceil(length)..=(u16::MAX / length);
    let all = blocks.map(|block| block.saturating_mul(length));
    let overlaps = |first: &u16| {
        let last = first.saturating_add(length.saturating_sub(1));
        *first <= *ephemeral.end() && last >= *ephemeral.start()
    };
    let (mut inside, mut outside): (Vec<u16>, Vec<u16>) = all
        .filter(|first| first.checked_add(length.saturating_sub(1)).is_some())
        .partition(overlaps);
    for part in [&mut outside, &mut inside] {
        let count = u64::try_from(part.len()).unwrap_or(1).max(1);
        part.rotate_left(usize::try_from(random % count).unwrap_or(0));
    }
    outside.append(&mut inside);
    outside
}

/// A socket that has `port` on every address of both families and hears nothing.
fn hold(port: u16) -> Result<OwnedFd, Errno> {
    let open = |family| socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    match open(AddressFamily::Inet6) {
        Ok(socket) => {
            let address = SockaddrIn6::from(std::net::SocketAddrV6::new(
                Ipv6Addr::UNSPECIFIED,
                port,
                0,
                0,
            ));
            // A socket of one family leaves the other to others.
            let both = nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::Ipv6V6Only,
                &false,
            );
            both.and_then(|()| bind(socket.as_raw_fd(), &address))
                .map(|()| socket)
        }
        // A machine without IPv6.
        Err(Errno::EAFNOSUPPORT) => {
            let socket = open(AddressFamily::Inet)?;
            let address =
                SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
            bind(socket.as_raw_fd(), &address).map(|()| socket)
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_outside_the_ephemeral_ports_come_first_and_each_once() {
        for random in [0, 1, 7, u64::MAX] {
            let blocks = candidates(256, &EPHEMERAL, random);
            assert!(blocks.iter().all(|first| first % 256 == 0));
            let outside = blocks
                .iter()
                .take_while(|first| **first > 60_999 || **first + 255 < 32_768)
                .count();
            assert_eq!(outside, 17 + 48, "{blocks:?}");
            let mut distinct = blocks.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), blocks.len());
            assert_eq!(blocks.len(), 256 - 80);
        }
    }

    #[test]
    fn another_start_is_another_block() {
        let first = |random| candidates(256, &EPHEMERAL, random)[0];
        assert_ne!(first(0), first(1));
        assert_eq!(first(0), first(65));
    }
}
