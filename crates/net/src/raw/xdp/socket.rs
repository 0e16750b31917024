//! Opening sockets for frames (`AF_XDP`) on an interface: one that sends, and where answers are
//! taken from the kernel one for each receive queue, with the program that leads there.
//!
//! What is not here: whether that is wise (see [`super::io`]).

use super::area::{FRAME_BYTES, Frames};
use super::bpf::{BpfError, Place, Program, SocketMap};
use super::program::{Taken, program};
use super::receiver::{Queue, Receiver};
use super::ring::{Consumer, Layout, Producer};
use super::sender::Sender;
use crate::filter::Wanted;
use crate::link::Link;
use crate::raw::packet;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt as options};
use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
    XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::ffi::c_int;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// Why there are no such sockets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The program that leads frames there is refused.
    #[error(transparent)]
    Program(#[from] BpfError),
    /// A call failed.
    #[error("{action} failed ({})", .errno.desc())]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The interface has more receive queues than are listened to.
    #[error("the interface has more than {} receive queues", QUEUES_MAX)]
    Queues,
    /// The program would be too long.
    #[error("the program for so many addresses is too long")]
    TooLong,
}

/// How frames pass between the interface and the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The kernel copies each frame.
    Copied,
    /// The interface reads and writes the memory of the sockets.
    Shared,
}

/// Sockets of one interface.
#[derive(Debug)]
pub struct Halves {
    /// Sends.
    pub sender: Sender,
    /// Receives, where that was asked for.
    pub receiver: Option<Receiver>,
    /// How frames pass.
    pub passage: Passage,
}

/// Opens a socket that sends by the first queue of `link`. Nothing is changed on the interface.
///
/// # Errors
/// When the kernel refuses, as where somebody else has the queue.
pub fn open_sender(link: &Link) -> Result<Halves, SocketError> {
    let mut parts = Frames::cut(&[SEND_FRAMES]).map_err(failed("making room for frames"))?;
    let frames = parts.pop().ok_or(SocketError::TooLong)?;
    let new = New::with_memory(&frames)?;
    let transmit = new.transmit()?;
    // Of frames that arrive nothing is asked; the ring has to be there.
    let (completed, _empty) = new.pool_rings(SEND_FRAMES, RING_LEAST)?;
    // Without a program on it the driver has no reason to prepare its queue for sharing.
    let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP | SocketAddrXdpFlags::XDP_COPY;
    let address = SocketAddrXdp::new(flags, link.index, FIRST_QUEUE);
    bind_patiently(|| bind(&new.socket, &address)).map_err(refused("binding the socket"))?;
    Ok(Halves {
        sender: Sender::new(new.socket, transmit, completed, frames),
        receiver: None,
        passage: Passage::Copied,
    })
}

/// Opens a socket that sends and sockets that receive what is `taken` of what is `wanted`, and
/// attaches the program that leads frames there to `link`: to its driver, and where that has no
/// place for it, behind the driver.
///
/// # Errors
/// When the kernel refuses, or another program is there already.
pub fn open_both(link: &Link, wanted: &Wanted<'_>, taken: Taken) -> Result<Halves, SocketError> {
    let queues = link.receive_queues.max(1);
    if queues > QUEUES_MAX {
        return Err(SocketError::Queues);
    }
    let map = SocketMap::create(queues)?;
    let code = program(wanted, taken, map.number()).map_err(|_| SocketError::TooLong)?;
    let loaded = Program::load("portolan", &code)?;
    // Drivers may begin to share memory with sockets only once a program is there.
    let attached = match loaded.attach(link.index, Place::Driver) {
        Err(BpfError::Kernel { errno, .. }) if errno != Errno::EBUSY => {
            loaded.attach(link.index, Place::Generic)?
        }
        other => other?,
    };
    let counts: Vec<u32> = std::iter::once(SEND_FRAMES).chain(shares(queues)).collect();
    let mut parts = Frames::cut(&counts)
        .map_err(failed("making room for frames"))?
        .into_iter();
    let frames = parts.next().ok_or(SocketError::TooLong)?;
    let mut first: Option<(Queue, Consumer<u64>)> = None;
    let mut others = Vec::new();
    for (number, part) in (FIRST_QUEUE..).zip(parts) {
        let opened = match &first {
            None => Queue::open_first(link, part),
            Some((owner, _)) => Queue::open_next(link, number, part, owner),
        };
        let (queue, completed) = match opened {
            Ok(opened) => opened,
            // There are fewer in use than there could be.
            Err(SocketError::Kernel {
                errno: Errno::EINVAL,
                ..
            }) if first.is_some() => break,
            Err(error) => return Err(error),
        };
        map.insert(number, &queue.socket)?;
        match first {
            None => first = Some((queue, completed)),
            Some(_) => others.push(queue),
        }
    }
    let (owner, completed) = first.ok_or(SocketError::Queues)?;
    let new = New::bare()?;
    let transmit = new.transmit()?;
    bind(&new.socket, &shared_with(link, FIRST_QUEUE, &owner))
        .map_err(refused("binding the socket that sends"))?;
    let passage = if owner.zero_copy {
        Passage::Shared
    } else {
        Passage::Copied
    };
    others.insert(0, owner);
    Ok(Halves {
        sender: Sender::new(new.socket, transmit, completed, frames),
        receiver: Some(Receiver::new(others, attached)),
        passage,
    })
}

/// How many frames each of the queues gets.
fn shares(queues: u32) -> impl Iterator<Item = u32> {
    let share = (RECEIVE_FRAMES / queues.next_power_of_two()).max(RECEIVE_FRAMES_LEAST);
    (0..queues).map(move |_| share)
}

impl Queue {
    /// The socket of the first queue, which lends its memory to the others.
    fn open_first(link: &Link, frames: Frames) -> Result<(Self, Consumer<u64>), SocketError> {
        let new = New::with_memory(&frames)?;
        Self::open(new, frames, |new| {
            let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
            let address = SocketAddrXdp::new(flags, link.index, FIRST_QUEUE);
            bind(&new.socket, &address)
        })
    }

    /// The socket of another queue.
    fn open_next(
        link: &Link,
        number: u32,
        frames: Frames,
        owner: &Self,
    ) -> Result<(Self, Consumer<u64>), SocketError> {
        Self::open(New::bare()?, frames, |new| {
            bind(&new.socket, &shared_with(link, number, owner))
        })
    }

    fn open(
        new: New,
        frames: Frames,
        bind: impl Fn(&New) -> rustix::io::Result<()>,
    ) -> Result<(Self, Consumer<u64>), SocketError> {
        let count = u32::try_from(frames.addresses().count()).unwrap_or(0);
        sockopt::set_xdp_rx_ring_size(&new.socket, count)
            .map_err(refused("making a ring of frames that arrive"))?;
        let (completed, empty) = new.pool_rings(SEND_FRAMES, count)?;
        let offsets = new.offsets()?;
        let arrived = Consumer::map(
            new.socket.as_fd(),
            Layout {
                entries: count,
                offset: XDP_PGOFF_RX_RING,
                parts: offsets.rx,
            },
        )
        .map_err(failed("mapping the ring of frames that arrive"))?;
        bind_patiently(|| bind(&new)).map_err(refused("binding the socket that receives"))?;
        let options = sockopt::xdp_options(&new.socket);
        let zero_copy = options.is_ok_and(|it| it.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        let mut queue = Self {
            socket: new.socket,
            arrived,
            empty,
            frames,
            zero_copy,
        };
        queue.provide();
        Ok((queue, completed))
    }
}

/// Tries again for a while where somebody has the queue: the kernel takes its time to clear up behind
/// a process that has ended.
fn bind_patiently(bind: impl Fn() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    for _ in 0..BUSY_TRIES {
        match bind() {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    bind()
}

/// A place on `queue` of the interface that shares the memory of `owner`.
fn shared_with<'a>(link: &Link, queue: u32, owner: &'a Queue) -> SocketAddrXdpWithSharedUmem<'a> {
    let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
    SocketAddrXdpWithSharedUmem {
        addr: SocketAddrXdp::new(flags, link.index, queue),
        shared_umem_fd: owner.socket.as_fd(),
    }
}

/// A socket that is not bound yet.
struct New {
    socket: OwnedFd,
}

impl New {
    fn bare() -> Result<Self, SocketError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)
            .map_err(refused("opening a socket for frames"))?;
        // The limit of the system holds where it may not be passed.
        if setsockopt(&socket, options::SndBufForce, &SEND_BYTES).is_err() {
            let _ = setsockopt(&socket, options::SndBuf, &SEND_BYTES);
        }
        Ok(Self { socket })
    }

    /// With the memory that `frames` are part of.
    fn with_memory(frames: &Frames) -> Result<Self, SocketError> {
        let new = Self::bare()?;
        let number = |bytes: usize| u64::try_from(bytes).unwrap_or(0);
        let memory = XdpUmemReg {
            addr: frames.area().address(),
            len: number(frames.area().bytes()),
            chunk_size: u32::try_from(FRAME_BYTES).unwrap_or(0),
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(&new.socket, memory)
            .map_err(refused("sharing memory with the kernel"))?;
        Ok(new)
    }

    fn offsets(&self) -> Result<rustix::net::xdp::XdpMmapOffsets, SocketError> {
        sockopt::xdp_mmap_offsets(&self.socket).map_err(refused("asking for the rings"))
    }

    fn transmit(&self) -> Result<Producer<super::ring::Descriptor>, SocketError> {
        sockopt::set_xdp_tx_ring_size(&self.socket, SEND_ENTRIES)
            .map_err(refused("making a ring of frames to send"))?;
        // Linux 6.17 and later; before it, a call sends 32 frames.
        let _ = packet::set(
            &self.socket,
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            &SEND_BUDGET,
        );
        let layout = Layout {
            entries: SEND_ENTRIES,
            offset: XDP_PGOFF_TX_RING,
            parts: self.offsets()?.tx,
        };
        Producer::map(self.socket.as_fd(), layout)
            .map_err(failed("mapping the ring of frames to send"))
    }

    /// The rings that belong to the memory at one queue: of frames that have left, and of empty ones.
    fn pool_rings(
        &self,
        completed: u32,
        empty: u32,
    ) -> Result<(Consumer<u64>, Producer<u64>), SocketError> {
        let making = "making the rings of the memory";
        sockopt::set_xdp_umem_fill_ring_size(&self.socket, empty).map_err(refused(making))?;
        sockopt::set_xdp_umem_completion_ring_size(&self.socket, completed)
            .map_err(refused(making))?;
        let offsets = self.offsets()?;
        let completed = Layout {
            entries: completed,
            offset: XDP_UMEM_PGOFF_COMPLETION_RING,
            parts: offsets.cr,
        };
        let empty = Layout {
            entries: empty,
            offset: XDP_UMEM_PGOFF_FILL_RING,
            parts: offsets.fr,
        };
        let file = self.socket.as_fd();
        let mapping = "mapping the rings of the memory";
        Ok((
            Consumer::map(file, completed).map_err(failed(mapping))?,
            Producer::map(file, empty).map_err(failed(mapping))?,
        ))
    }
}

fn failed(action: &'static str) -> impl Fn(Errno) -> SocketError {
    move |errno| SocketError::Kernel { action, errno }
}

fn refused(action: &'static str) -> impl Fn(rustix::io::Errno) -> SocketError {
    move |errno| SocketError::Kernel {
        action,
        errno: Errno::from_raw(errno.raw_os_error()),
    }
}

/// The queue that frames leave by.
const FIRST_QUEUE: u32 = 0;
/// Queues that are listened to, at most.
pub(super) const QUEUES_MAX: u32 = 64;
/// Frames that can be under way to the interface.
const SEND_FRAMES: u32 = 1_024;
/// Frames that can wait for the kernel.
const SEND_ENTRIES: u32 = 512;
/// Frames that one call may send.
const SEND_BUDGET: u32 = 256;
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// Frames that can have arrived and not been looked at, on all queues together.
const RECEIVE_FRAMES: u32 = 8_192;
const RECEIVE_FRAMES_LEAST: u32 = 1_024;
/// How often and how long a queue is waited for.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The smallest ring.
const RING_LEAST: u32 = 2;
/// What the kernel may hold of frames that the interface has not sent.
const SEND_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shared_out_by_powers_of_two() {
        let check = |queues, share| {
            let shares: Vec<u32> = shares(queues).collect();
            assert_eq!(shares.len(), usize::try_from(queues).unwrap());
            assert!(shares.iter().all(|it| *it == share), "{queues}");
        };
        check(1, 8_192);
        check(2, 4_096);
        check(3, 2_048);
        check(8, 1_024);
        check(64, 1_024);
    }
}
