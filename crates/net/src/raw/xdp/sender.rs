//! Sending frames by a socket for frames (`AF_XDP`): they are copied to memory that the kernel
//! shares, and one call sends many.
//!
//! What is not here: what may be sent (see [`crate::raw::transmit`]).

use super::area::{FRAME_BYTES, Frames};
use super::ring::{Consumer, Descriptor, Producer};
use nix::errno::Errno;
use rustix::net::{SendFlags, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The sending half of a socket.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    transmit: Producer<Descriptor>,
    completed: Consumer<u64>,
    frames: Frames,
    /// Frames that are not under way; the last that came back is the first to go out, because the
    /// processor still has it at hand.
    free: Vec<u64>,
    /// By number of the frame: whether it is under way.
    under_way: Box<[bool]>,
}

impl Sender {
    /// Bytes of the longest frame.
    pub(crate) const LENGTH_MAX: usize = FRAME_BYTES;

    pub(super) fn new(
        socket: OwnedFd,
        transmit: Producer<Descriptor>,
        completed: Consumer<u64>,
        frames: Frames,
    ) -> Self {
        let free: Vec<u64> = frames.addresses().collect();
        Self {
            under_way: vec![false; free.len()].into_boxed_slice(),
            socket,
            transmit,
            completed,
            frames,
            free,
        }
    }

    /// Hands up to as many frames over as there is room for, which takes a few milliseconds at most
    /// where the interface has none; how many, at least one. They leave in their order, at the latest
    /// when more are handed over.
    ///
    /// # Errors
    /// `EAGAIN` when there is no room, or why the interface takes no frame. Nothing was handed over
    /// then.
    pub(crate) fn send_many<'a>(
        &mut self,
        mut frames: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, Errno> {
        self.take_back();
        if self.transmit.waiting() > 0 {
            self.call()?;
            self.take_back();
        }
        let mut room = self.transmit.room();
        let mut count = 0;
        while room > 0
            && let Some(address) = self.free.pop()
        {
            let Some(bytes) = frames.next() else {
                self.free.push(address);
                break;
            };
            if !self.fill(count, address, bytes) {
                self.free.push(address);
                if count == 0 {
                    return Err(Errno::EMSGSIZE);
                }
                break;
            }
            count += 1;
            room -= 1;
        }
        if count == 0 {
            return if frames.next().is_none() {
                Ok(0)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        self.transmit.hand_over(count);
        // They are the kernel's now. What keeps it from sending them is told the next time.
        let _ = self.call();
        usize::try_from(count).map_err(|_| Errno::EOVERFLOW)
    }

    /// Copies `frames` to memory, in turn until it is full.
    pub(crate) fn prepare<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]> + Clone) {
        for (address, bytes) in self.free.iter().zip(frames.cycle()) {
            self.frames.put(*address, bytes);
        }
    }

    /// Hands over what was prepared, in frames of `length`, as far as there is room; how many.
    pub(crate) fn send_prepared(&mut self, length: usize) -> Result<usize, Errno> {
        let length = u32::try_from(length).map_err(|_| Errno::EMSGSIZE)?;
        let back = self.completed.filled();
        for ahead in 0..back {
            self.free.push(self.completed.entry(ahead));
        }
        self.completed.give_back(back);
        let room = self.transmit.room().min(PREPARED);
        let mut count = 0;
        while count < room
            && let Some(address) = self.free.pop()
        {
            let descriptor = Descriptor {
                address,
                length,
                options: 0,
            };
            self.transmit.fill(count, descriptor);
            count += 1;
        }
        self.transmit.hand_over(count);
        self.call()?;
        usize::try_from(count).map_err(|_| Errno::EOVERFLOW)
    }

    /// Fills the entry that is `ahead` with a frame.
    fn fill(&mut self, ahead: u32, address: u64, bytes: &[u8]) -> bool {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return false;
        };
        if !self.frames.put(address, bytes) {
            return false;
        }
        let descriptor = Descriptor {
            address,
            length,
            options: 0,
        };
        self.transmit.fill(ahead, descriptor);
        self.mark(address, true);
        true
    }

    /// Takes back the frames that have left.
    fn take_back(&mut self) {
        let count = self.completed.filled();
        for ahead in 0..count {
            let address = self.completed.entry(ahead);
            // Each frame comes back once; whatever else stood there is no frame to be sent.
            if self.mark(address, false) {
                self.free.push(address);
            }
        }
        self.completed.give_back(count);
    }

    /// Notes whether a frame is under way; whether it was.
    fn mark(&mut self, address: u64, under_way: bool) -> bool {
        let number = self.frames.number(address);
        let number = number.and_then(|it| usize::try_from(it).ok());
        let mark = number.and_then(|it| self.under_way.get_mut(it));
        mark.is_some_and(|mark| std::mem::replace(mark, under_way))
    }

    /// Has the kernel send what waits. Where the interface has no room for all of it, a little is
    /// waited for: what stays would leave only with later frames.
    fn call(&self) -> Result<(), Errno> {
        for number in 0..CALLS_MAX {
            if !self.transmit.must_be_called() {
                return Ok(());
            }
            match send(self.socket.as_fd(), &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // One call sends a few dozen at most, and fewer where there is no room.
                Err(
                    rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::BUSY,
                ) => {
                    if number >= CALLS_AT_ONCE {
                        std::thread::sleep(PAUSE);
                    }
                }
                Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
            }
        }
        Ok(())
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Prepared frames that are handed over at once.
const PREPARED: u32 = 256;
/// Calls without a pause: each sends 32 frames or more while there is room, so that these are enough for
/// a full ring.
const CALLS_AT_ONCE: u32 = 16;
/// All calls.
const CALLS_MAX: u32 = 32;
const PAUSE: Duration = Duration::from_micros(100);
