//! The four rings of a socket for frames: entries that one side fills and the other takes.
//!
//! What is not here: the counting (see [`super::index`]), and what the entries are for (see
//! [`super::sender`] and [`super::receiver`]).

use super::area::Area;
use super::index::Index;
use nix::errno::Errno;
use rustix::net::xdp::XdpRingOffset;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// An entry of the two rings that frames pass through (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) options: u32,
}

/// Where the kernel has put a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) entries: u32,
    pub(super) offset: u64,
    pub(super) parts: XdpRingOffset,
}

/// A ring that this side fills.
#[derive(Debug)]
pub(super) struct Producer<T>(Ring<T>);

/// A ring that this side takes from.
#[derive(Debug)]
pub(super) struct Consumer<T>(Ring<T>);

#[derive(Debug)]
struct Ring<T> {
    index: Index,
    producer: NonNull<u32>,
    consumer: NonNull<u32>,
    flags: NonNull<u32>,
    entries: NonNull<T>,
    /// What the places above lie in.
    _area: Area,
}

#[expect(unsafe_code, reason = "pointers to shared memory")]
// SAFETY: the places lie in the mapping that the value owns, which belongs to the process and not
// to a thread. They are reached by `&self` or `&mut self` only, and the entries by copies.
unsafe impl<T: Entry> Send for Ring<T> {}

/// Values that may be anything, of a size that divides the alignment of the ring.
pub(super) trait Entry: Copy {}
impl Entry for u64 {}
impl Entry for Descriptor {}

impl<T: Entry> Producer<T> {
    pub(super) fn map(file: BorrowedFd<'_>, layout: Layout) -> Result<Self, Errno> {
        Ring::map(file, layout).map(Self)
    }

    /// Entries that can be filled now.
    pub(super) fn room(&mut self) -> u32 {
        let taken = self.0.consumer().load(Ordering::Acquire);
        self.0.index.hear(taken);
        self.0.index.room()
    }

    /// Entries that were handed over and not taken, as far as the kernel tells.
    pub(super) fn waiting(&mut self) -> u32 {
        let taken = self.0.consumer().load(Ordering::Acquire);
        self.0.index.hear(taken);
        self.0.index.behind()
    }

    /// Fills the entry that is `ahead` of those that were handed over. There must be room for it.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "nobody else may fill the entry meanwhile"
    )]
    pub(super) fn fill(&mut self, ahead: u32, entry: T) {
        let place = self.0.entry(ahead);
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place is that of an entry in the mapping, aligned for it. Until it is handed
        // over the kernel does not read it, and it never writes there.
        unsafe {
            place.write(entry);
        }
    }

    /// Hands the next `count` entries, which were filled, over to the kernel.
    pub(super) fn hand_over(&mut self, count: u32) {
        let own = self.0.index.advance(count);
        self.0.producer().store(own, Ordering::Release);
    }

    /// Whether the kernel takes entries only when it is called (`XDP_RING_NEED_WAKEUP`).
    pub(super) fn must_be_called(&self) -> bool {
        self.0.flags().load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }
}

impl<T: Entry> Consumer<T> {
    pub(super) fn map(file: BorrowedFd<'_>, layout: Layout) -> Result<Self, Errno> {
        Ring::map(file, layout).map(Self)
    }

    /// Entries that can be taken now.
    pub(super) fn filled(&mut self) -> u32 {
        let filled = self.0.producer().load(Ordering::Acquire);
        self.0.index.hear(filled);
        self.0.index.filled()
    }

    /// The entry that is `ahead` of those that were given back. It must be filled.
    pub(super) fn entry(&self, ahead: u32) -> T {
        let place = self.0.entry(ahead);
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place is that of an entry in the mapping, aligned for it, and every pattern of
        // bits is a value of it. The kernel writes there only once it was given back.
        unsafe {
            place.read()
        }
    }

    /// Gives the next `count` entries back to the kernel.
    pub(super) fn give_back(&mut self, count: u32) {
        let own = self.0.index.advance(count);
        self.0.consumer().store(own, Ordering::Release);
    }
}

impl<T: Entry> Ring<T> {
    fn map(file: BorrowedFd<'_>, layout: Layout) -> Result<Self, Errno> {
        let index = Index::new(layout.entries).ok_or(Errno::EINVAL)?;
        let offset = |value: u64| usize::try_from(value).map_err(|_| Errno::EOVERFLOW);
        let entries = offset(layout.parts.desc)?;
        let count = offset(layout.entries.into())?;
        // Kernels before Linux 5.4 do not say when they want to be called.
        let flags = offset(layout.parts.flags.ok_or(Errno::EOPNOTSUPP)?)?;
        let (producer, consumer) = (
            offset(layout.parts.producer)?,
            offset(layout.parts.consumer)?,
        );
        let bytes = count
            .checked_mul(size_of::<T>())
            .and_then(|it| it.checked_add(entries))
            .ok_or(Errno::EOVERFLOW)?;
        let area = Area::of_file(file, layout.offset, bytes)?;
        let counter = |offset| area.place::<u32>(offset, 1).ok_or(Errno::EFAULT);
        Ok(Self {
            index,
            producer: counter(producer)?,
            consumer: counter(consumer)?,
            flags: counter(flags)?,
            entries: area.place(entries, count).ok_or(Errno::EFAULT)?,
            _area: area,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        self.word(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.word(self.consumer)
    }

    fn flags(&self) -> &AtomicU32 {
        self.word(self.flags)
    }

    /// One of the three places above.
    #[expect(
        clippy::unused_self,
        reason = "the word is borrowed from the mapping in it"
    )]
    fn word(&self, place: NonNull<u32>) -> &AtomicU32 {
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place lies in the mapping and is aligned, as seen when the ring was mapped,
        // and the mapping lives as long as `self`. Both sides write there only by whole words.
        unsafe {
            AtomicU32::from_ptr(place.as_ptr())
        }
    }

    fn entry(&self, ahead: u32) -> NonNull<T> {
        let number = usize::try_from(self.index.entry(ahead)).unwrap_or(0);
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: there are as many entries as the index counts, all in the mapping, and the number
        // that it gives is below that.
        unsafe {
            self.entries.add(number)
        }
    }
}

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;
