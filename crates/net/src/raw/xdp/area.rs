//! Memory that is shared with the kernel: the rings of a socket, and the frames that their entries
//! name. Each part of the frames has one owner here, so that no two write to one frame.
//!
//! What is not here: whose turn it is (see [`super::ring`]).

use nix::errno::Errno;
use nix::libc;
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of one frame: the least that the kernel takes, and a power of two.
pub(super) const FRAME_BYTES: usize = 2_048;

/// Mapped memory.
#[derive(Debug)]
pub(super) struct Area {
    start: NonNull<c_void>,
    bytes: usize,
}

#[expect(unsafe_code, reason = "a pointer to shared memory")]
// SAFETY: the mapping belongs to the process, not to a thread, and is unmapped once, by whoever
// drops it last. What is reached through it is ordered by the rings.
unsafe impl Send for Area {}

#[expect(unsafe_code, reason = "a pointer to shared memory")]
// SAFETY: `&Area` gives only the place and the length; who reads and writes there sees to it that
// nobody else does.
unsafe impl Sync for Area {}

impl Area {
    /// A part of what the kernel shares by `file`, from `offset` on.
    pub(super) fn of_file(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Self, Errno> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(bytes, flags, file.as_raw_fd(), offset)
    }

    /// New memory, filled with zeros.
    pub(super) fn new(bytes: usize) -> Result<Self, Errno> {
        Self::map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn map(bytes: usize, flags: i32, file: i32, offset: libc::off_t) -> Result<Self, Errno> {
        #[expect(unsafe_code, reason = "no safe interface maps memory")]
        // SAFETY: the kernel chooses the place, so that no other memory is replaced. Failure is
        // checked below.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                file,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start).ok_or(Errno::ENOMEM)?;
        Ok(Self { start, bytes })
    }

    /// Bytes of it.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of `count` values of type `T` at `offset`, when they lie within and are aligned.
    pub(super) fn place<T>(&self, offset: usize, count: usize) -> Option<NonNull<T>> {
        let end = size_of::<T>().checked_mul(count)?.checked_add(offset)?;
        if end > self.bytes {
            return None;
        }
        #[expect(unsafe_code, reason = "a place in shared memory")]
        // SAFETY: the offset is at most the length of the mapping, as checked above.
        let place = unsafe { self.start.byte_add(offset) }.cast::<T>();
        place.is_aligned().then_some(place)
    }

    /// Where it begins, as the kernel is told.
    pub(super) fn address(&self) -> u64 {
        u64::try_from(self.start.as_ptr().expose_provenance()).unwrap_or(0)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "no safe interface maps memory")]
        // SAFETY: this is what was mapped, and nothing borrows from it any more. The kernel holds
        // on to the pages that it uses by itself.
        unsafe {
            libc::munmap(self.start.as_ptr(), self.bytes);
        }
    }
}

/// Frames that one owner writes to or reads from, when it is its turn.
#[derive(Debug)]
pub(super) struct Frames {
    area: Arc<Area>,
    /// Their numbers in the whole area.
    numbers: Range<u32>,
}

impl Frames {
    /// New memory, cut into parts with as many frames each.
    pub(super) fn cut(counts: &[u32]) -> Result<Vec<Self>, Errno> {
        let all: u32 = counts.iter().sum();
        let bytes = usize::try_from(all).map_err(|_| Errno::ENOMEM)? * FRAME_BYTES;
        let area = Arc::new(Area::new(bytes)?);
        let mut first = 0;
        let parts = counts.iter().map(|count| {
            let numbers = first..first + count;
            first = numbers.end;
            Self {
                area: Arc::clone(&area),
                numbers,
            }
        });
        Ok(parts.collect())
    }

    /// The whole memory that they are part of.
    pub(super) fn area(&self) -> &Area {
        &self.area
    }

    /// Where each frame is, as entries of rings name it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> + use<> {
        self.numbers
            .clone()
            .map(|number| u64::from(number) * FRAME_STEP)
    }

    /// Which of the frames an address lies in, counted from the first.
    pub(super) fn number(&self, address: u64) -> Option<u32> {
        let number = u32::try_from(address / FRAME_STEP).ok()?;
        self.numbers
            .contains(&number)
            .then(|| number - self.numbers.start)
    }

    /// Copies `bytes` to the frame at `address`, which must not be the kernel's; `false` when it
    /// has no room for them or is none of these.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "nobody else may read or write there meanwhile"
    )]
    pub(super) fn put(&mut self, address: u64, bytes: &[u8]) -> bool {
        let Some(place) = self.place(address, bytes.len()) else {
            return false;
        };
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place has room for so many bytes within one frame, and nobody else writes
        // there: these frames have one owner, who is borrowed mutably. The kernel only reads
        // frames of a sender; if it still did, it would read bytes that may be anything.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len());
        }
        true
    }

    /// What the kernel has put at `address`; `None` where it is none of these frames. The slice has
    /// to be gone before the frame is given back to the kernel.
    pub(super) fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        let place = self.place(address, length)?;
        #[expect(unsafe_code, reason = "the memory is shared with the kernel")]
        // SAFETY: the place has so many bytes within one frame. The kernel has handed the frame
        // over by an entry of a ring and writes there again only once it is given back, when the
        // slice is gone; nobody else writes to these frames.
        let bytes = unsafe { std::slice::from_raw_parts(place.as_ptr(), length) };
        Some(bytes)
    }

    /// The place of `length` bytes at `address`, when they lie within one of the frames.
    fn place(&self, address: u64, length: usize) -> Option<NonNull<u8>> {
        self.number(address)?;
        let offset = usize::try_from(address).ok()?;
        if (offset % FRAME_BYTES).checked_add(length)? > FRAME_BYTES {
            return None;
        }
        self.area.place(offset, length)
    }
}

/// [`FRAME_BYTES`], as addresses count.
const FRAME_STEP: u64 = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_no_frame() {
        let parts = Frames::cut(&[3, 0, 2]).unwrap();
        let addresses: Vec<Vec<u64>> = parts.iter().map(|it| it.addresses().collect()).collect();
        assert_eq!(
            addresses,
            [vec![0, 2_048, 4_096], vec![], vec![6_144, 8_192]]
        );
        assert_eq!(parts[0].area().bytes(), 5 * FRAME_BYTES);
        assert_eq!(parts[0].number(6_143), Some(2));
        assert_eq!(parts[0].number(6_144), None);
        assert_eq!(parts[2].number(6_144), Some(0));
        assert_eq!(parts[2].number(u64::MAX), None);
    }

    #[test]
    fn bytes_stay_within_their_frame() {
        let mut parts = Frames::cut(&[1, 2]).unwrap();
        let part = &mut parts[1];
        assert!(part.put(2_048, b"abc"));
        assert_eq!(part.bytes(2_048, 3), Some(&b"abc"[..]));
        assert!(part.put(4_096, &[7; FRAME_BYTES]));
        for (address, length) in [
            (0, 1),
            (2_048, FRAME_BYTES + 1),
            (4_095, 2),
            (6_144, 1),
            (u64::MAX, 1),
            (2_048, usize::MAX),
        ] {
            assert_eq!(part.bytes(address, length), None, "{address} {length}");
        }
        assert!(!part.put(4_095, b"ab"));
        assert!(!part.put(0, b"a"));
    }

    #[test]
    fn places_lie_within_and_are_aligned() {
        let area = Area::new(4_096).unwrap();
        assert!(area.place::<u64>(4_088, 1).is_some());
        assert!(area.place::<u64>(4_088, 2).is_none());
        assert!(area.place::<u64>(4, 1).is_none());
        assert!(area.place::<u8>(usize::MAX, 2).is_none());
    }
}
