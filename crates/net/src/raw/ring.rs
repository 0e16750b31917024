//! Receiving frames from one interface into memory that the kernel shares (`TPACKET_V3` of
//! `packet(7)`).
//!
//! What is not here: reading the frames (`portolan-wire`), and what they mean for a scan.

use super::block::{BLOCK_STATUS, Cursor};
use super::packet;
use super::xdp::Receiver;
use crate::filter::Filter;
use crate::link::Link;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use portolan_model::Text;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use super::block::Captured;

/// Why nothing can be received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The interface has link headers that are not spoken here.
    #[error(
        "{name} frames packets in a way that is not supported; use another interface, or scan \
         without raw packets"
    )]
    Framing {
        /// The interface.
        name: Text,
    },
    /// A call failed.
    #[error("frames of {name} cannot be received: {action} failed ({})", .errno.desc())]
    Kernel {
        /// The interface.
        name: Text,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// What became of the frames that the filter let through, since the ring was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Frames in all, those that were dropped included.
    pub received: u64,
    /// Frames that found no room in the ring.
    pub dropped: u64,
    /// How often the ring was full.
    pub frozen: u64,
}

/// A socket with its ring.
#[derive(Debug)]
pub struct Ring {
    socket: OwnedFd,
    map: Mapping,
    /// The block that comes next, and where in it, once it was begun.
    block: usize,
    cursor: Option<Cursor>,
    counted: Drops,
    /// Where frames are taken that do not get as far as the packet socket.
    receiver: Option<Receiver>,
}

impl Ring {
    /// Bytes of a ring where nothing speaks for another size.
    pub const BYTES: usize = 16 << 20;

    /// Begins to receive what `filter` lets through on `link`, and nothing that arrived before or
    /// that this machine sends there. A copy that comes back on the loopback interface counts as
    /// received.
    ///
    /// The ring has `bytes` rounded up to whole blocks; when the kernel has no room for that, half,
    /// and so on ([`Ring::bytes`] tells).
    ///
    /// # Errors
    /// When the kernel refuses, or frames of the interface are not understood.
    pub fn open(link: &Link, filter: &Filter, bytes: usize) -> Result<Self, RingError> {
        let failed = |action| {
            move |errno| RingError::Kernel {
                name: link.name.clone(),
                action,
                errno,
            }
        };
        let link_type = link.kind.link_type().ok_or_else(|| RingError::Framing {
            name: link.name.clone(),
        })?;
        // The socket receives nothing until it is bound, when the filter is in place.
        let socket = packet::open(link_type).map_err(failed("opening a packet socket"))?;
        packet::set_number(&socket, libc::PACKET_VERSION, TPACKET_V3)
            .map_err(failed("choosing the form of the ring"))?;
        // Linux 4.20 and later; before it, what was sent is left out one by one.
        let _ = packet::set_number(&socket, libc::PACKET_IGNORE_OUTGOING, 1);
        let shape = reserve(&socket, bytes).map_err(failed("making a receive ring"))?;
        let map = Mapping::new(&socket, shape).map_err(failed("mapping the receive ring"))?;
        packet::attach(&socket, filter).map_err(failed("attaching the filter"))?;
        packet::bind(&socket, link.index, ETH_P_ALL).map_err(failed("binding the socket"))?;
        Ok(Self {
            socket,
            map,
            block: 0,
            cursor: None,
            counted: Drops::default(),
            receiver: None,
        })
    }

    /// Gives out what `receiver` takes as well, which does not get as far as the packet socket.
    pub fn receive_by(&mut self, receiver: Option<Receiver>) {
        self.receiver = receiver;
    }

    /// Bytes of the ring.
    pub const fn bytes(&self) -> usize {
        self.map.shape.blocks * self.map.shape.block_bytes
    }

    /// Gives `each` up to `frames_max` frames that have arrived, the oldest first; how many. Does
    /// not wait: poll the ring for reading. The kernel hands frames over after a millisecond or
    /// two, or when they fill a block.
    pub fn drain(&mut self, frames_max: usize, mut each: impl FnMut(Captured<'_>)) -> usize {
        let mut given = match &mut self.receiver {
            Some(receiver) => receiver.drain(frames_max, &mut each),
            None => 0,
        };
        for _ in 0..frames_max.saturating_sub(given) {
            let Some(block) = self.map.ready(self.block) else {
                break;
            };
            let cursor = self.cursor.get_or_insert_with(|| Cursor::first(block));
            if let Some(frame) = cursor.next(block)
                && !frame.outgoing
            {
                each(frame.captured);
                given += 1;
            }
            if cursor.is_at_end() {
                self.cursor = None;
                self.map.release(self.block);
                self.block = (self.block + 1) % self.map.shape.blocks;
            }
        }
        given
    }

    /// What was received and dropped since the ring was opened.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn dropped(&mut self) -> io::Result<Drops> {
        let now = packet::statistics(&self.socket)?;
        let counted = &mut self.counted;
        for (total, more) in [
            (&mut counted.received, now.tp_packets),
            (&mut counted.dropped, now.tp_drops),
            (&mut counted.frozen, now.tp_freeze_q_cnt),
        ] {
            *total = total.saturating_add(more.into());
        }
        let mut all = *counted;
        if let Some(receiver) = &self.receiver {
            let (received, dropped) = receiver.counted()?;
            all.received = all.received.saturating_add(received);
            all.dropped = all.dropped.saturating_add(dropped);
        }
        Ok(all)
    }

    /// What to poll for reading.
    fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let further = self.receiver.iter().flat_map(Receiver::sockets);
        std::iter::once(self.socket.as_fd()).chain(further)
    }

    /// Takes the error that the kernel has noted, as `ENETDOWN` when the interface went down.
    /// Polling reports an error until it is taken.
    ///
    /// # Errors
    /// The one that was noted.
    pub fn take_error(&mut self) -> io::Result<()> {
        match getsockopt(&self.socket, sockopt::SocketError)? {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Waits until one of `rings` has something, or one of their interfaces went down, at most
/// `patience`.
///
/// # Errors
/// Those of poll(2); a signal ends the wait without one.
pub fn wait<'a>(rings: impl Iterator<Item = &'a Ring>, patience: Duration) -> io::Result<()> {
    let sockets = rings.flat_map(Ring::sockets);
    let mut polled: Vec<_> = sockets
        .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
        .collect();
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match rustix::event::poll(&mut polled, Some(&patience)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How a ring is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    blocks: usize,
    block_bytes: usize,
}

impl Shape {
    /// A ring of at least `bytes`, where that is not out of all proportion.
    fn of(bytes: usize) -> Self {
        let block_bytes = bytes
            .div_ceil(BLOCKS_MIN)
            .next_power_of_two()
            .clamp(block_bytes_min(), BLOCK_BYTES_MAX);
        Self {
            blocks: bytes.div_ceil(block_bytes).clamp(BLOCKS_MIN, BLOCKS_MAX),
            block_bytes,
        }
    }

    /// The next smaller ring; `None` when this is the smallest.
    fn smaller(self) -> Option<Self> {
        if self.blocks > BLOCKS_MIN {
            let blocks = (self.blocks / 2).max(BLOCKS_MIN);
            Some(Self { blocks, ..self })
        } else if self.block_bytes > block_bytes_min() {
            let block_bytes = self.block_bytes / 2;
            Some(Self {
                block_bytes,
                ..self
            })
        } else {
            None
        }
    }

    fn request(self) -> Option<libc::tpacket_req3> {
        let number = |value: usize| u32::try_from(value).ok();
        Some(libc::tpacket_req3 {
            tp_block_size: number(self.block_bytes)?,
            tp_block_nr: number(self.blocks)?,
            tp_frame_size: number(FRAME_BYTES)?,
            tp_frame_nr: number(self.blocks * (self.block_bytes / FRAME_BYTES))?,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        })
    }
}

/// Has the kernel make a ring of `bytes`, or of as much as there is room for.
fn reserve(socket: &OwnedFd, bytes: usize) -> Result<Shape, Errno> {
    let mut shape = Shape::of(bytes);
    loop {
        let request = shape.request().ok_or(Errno::EINVAL)?;
        let made = packet::set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request);
        match (made, shape.smaller()) {
            (Ok(()), _) => return Ok(shape),
            (Err(Errno::ENOMEM), Some(smaller)) => shape = smaller,
            (Err(errno), _) => return Err(errno),
        }
    }
}

/// The ring's memory. Each block is in turn the kernel's and ours, as its status says.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    shape: Shape,
}

#[expect(unsafe_code, reason = "a pointer to shared memory")]
// SAFETY: the mapping belongs to the process, not to a thread, and this value is its only owner.
// What is reached through it is reached by `&self` or `&mut self`.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(socket: &OwnedFd, shape: Shape) -> Result<Self, Errno> {
        let length = shape.blocks * shape.block_bytes;
        #[expect(unsafe_code, reason = "no safe interface maps a ring")]
        // SAFETY: the kernel chooses the place, so that no other memory is replaced. Failure is
        // checked below.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start).ok_or(Errno::ENOMEM)?;
        Ok(Self { start, shape })
    }

    /// Block `index`, when it is our turn.
    fn ready(&self, index: usize) -> Option<&[u8]> {
        if self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: `place` is the start of a block that lies within the mapping, which lives as long
        // as `self`. The status says that it is ours, and the load above orders what the kernel has
        // written before it; the kernel writes there again only after `release`, which takes
        // `&mut self`, so that no slice is left.
        let block = unsafe {
            std::slice::from_raw_parts(self.place(index).cast::<u8>(), self.shape.block_bytes)
        };
        Some(block)
    }

    /// Gives block `index` back to the kernel.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "no slice of the block may be left when the kernel writes there"
    )]
    fn release(&mut self, index: usize) {
        self.status(index)
            .store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place is within a block and so within the mapping, which lives as long as
        // `self`. Blocks begin at multiples of their size, a power of two of at least a page, so it
        // is aligned. The kernel and this program write to it only by whole words.
        unsafe {
            AtomicU32::from_ptr(self.place(index).byte_add(BLOCK_STATUS).cast::<u32>())
        }
    }

    /// The start of a block; of the first when there are not so many.
    fn place(&self, index: usize) -> *mut c_void {
        let offset = index % self.shape.blocks * self.shape.block_bytes;
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the offset is below the length of the mapping, because the block's number is below
        // the number of blocks.
        unsafe {
            self.start.as_ptr().byte_add(offset)
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let length = self.shape.blocks * self.shape.block_bytes;
        #[expect(unsafe_code, reason = "no safe interface maps a ring")]
        // SAFETY: this is what was mapped, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr(), length);
        }
    }
}

/// A block is made of whole pages; two of one page each hold some sixty answers.
fn block_bytes_min() -> usize {
    rustix::param::page_size().clamp(FRAME_BYTES, BLOCK_BYTES_MAX)
}

/// `TPACKET_V3`.
const TPACKET_V3: c_int = 2;
/// Every protocol.
const ETH_P_ALL: u16 = 3;
/// After so long the kernel hands over a block that is not full.
const RETIRE_MS: u32 = 1;
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// With one block there would be no room while it is read.
const BLOCKS_MIN: usize = 2;
/// 1 GiB.
const BLOCKS_MAX: usize = 1 << 10;
/// Only their number is checked; frames take what they need.
const FRAME_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: usize, blocks: usize, block_bytes: usize) {
        let shape = Shape::of(bytes);
        assert_eq!(
            shape,
            Shape {
                blocks,
                block_bytes
            }
        );
        let request = shape.request().unwrap();
        assert_eq!(
            usize::try_from(request.tp_frame_nr).unwrap() * FRAME_BYTES,
            blocks * block_bytes
        );
    }

    #[test]
    fn a_ring_has_whole_blocks() {
        check(Ring::BYTES, 16, 1 << 20);
        check(Ring::BYTES + 1, 17, 1 << 20);
        check(1 << 20, 2, 512 << 10);
        check(128 << 10, 2, 64 << 10);
        check(200_000, 2, 128 << 10);
        check(0, 2, block_bytes_min());
        check(usize::MAX / 4, 1 << 10, 1 << 20);
    }

    #[test]
    fn a_ring_without_room_shrinks_to_the_smallest_and_no_further() {
        let mut shape = Shape::of(Ring::BYTES);
        let mut sizes = Vec::new();
        while let Some(smaller) = shape.smaller() {
            assert!(smaller.blocks * smaller.block_bytes < shape.blocks * shape.block_bytes);
            sizes.push(smaller.blocks * smaller.block_bytes);
            shape = smaller;
        }
        assert_eq!(sizes.first(), Some(&(8 << 20)));
        assert_eq!(sizes.last(), Some(&(2 * block_bytes_min())));
    }
}
