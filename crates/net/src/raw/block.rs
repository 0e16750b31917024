//! One block of a `TPACKET_V3` ring, read from its bytes: which frames the kernel has put there.
//!
//! What is not here: whose turn it is to use a block (see [`super::ring`]).

use std::time::Duration;

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// The frame, as far as the filter lets it through. On links without a header it begins with the
    /// IP header.
    pub bytes: &'a [u8],
    /// Bytes of the frame on the wire; more than `bytes` when it was cut.
    pub length: usize,
    /// The tag control information of the VLAN tag that the kernel has taken out of the bytes (IEEE
    /// 802.1Q: priority, eligibility, and in the low twelve bits the identifier).
    pub vlan: Option<u16>,
    /// When the kernel received it, since 1970-01-01 UTC by the clock of this machine.
    pub at: Duration,
}

/// The place of the next frame in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    at: usize,
    left: u32,
}

impl Cursor {
    /// The first frame of `block`.
    pub(super) fn first(block: &[u8]) -> Self {
        Self {
            at: offset_at(block, BLOCK_FIRST).unwrap_or(0),
            left: u32_at(block, BLOCK_COUNT).unwrap_or(0),
        }
    }

    /// The frame here, and moves to the next. `None` at the end of the block, and where the block is
    /// not as the kernel makes it.
    pub(super) fn next<'a>(&mut self, block: &'a [u8]) -> Option<Frame<'a>> {
        // Where it is not as it should be, the block ends.
        let left = std::mem::take(&mut self.left).checked_sub(1)?;
        let header = block.get(self.at..)?;
        let frame = Frame::read(header)?;
        let step = offset_at(header, FRAME_NEXT)?;
        self.at = self.at.checked_add(step)?;
        self.left = left;
        Some(frame)
    }

    /// Whether there is no further frame.
    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0
    }
}

/// A frame and which way it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) captured: Captured<'a>,
    /// This machine has sent it.
    pub(super) outgoing: bool,
}

impl<'a> Frame<'a> {
    fn read(header: &'a [u8]) -> Option<Self> {
        let start = usize::from(u16_at(header, FRAME_LINK)?);
        let kept = offset_at(header, FRAME_KEPT)?;
        let status = u32_at(header, FRAME_STATUS)?;
        let seconds = Duration::from_secs(u32_at(header, FRAME_SECONDS)?.into());
        let rest = Duration::from_nanos(u32_at(header, FRAME_NANOSECONDS)?.into());
        Some(Self {
            captured: Captured {
                bytes: header.get(start..start.checked_add(kept)?)?,
                length: offset_at(header, FRAME_LENGTH)?,
                vlan: (status & STATUS_VLAN_VALID != 0)
                    .then(|| u16_at(header, FRAME_VLAN))
                    .flatten(),
                at: seconds.saturating_add(rest),
            },
            outgoing: *header.get(FRAME_WAY)? == WAY_OUTGOING,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|it| u16::from_ne_bytes(*it))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|it| u32::from_ne_bytes(*it))
}

fn offset_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

// Places in `struct tpacket_block_desc`.

/// Whose turn it is.
pub(super) const BLOCK_STATUS: usize = 8;
/// How many frames there are.
const BLOCK_COUNT: usize = 12;
/// Where the first is.
const BLOCK_FIRST: usize = 16;

// Places in `struct tpacket3_hdr`.

/// Distance to the next frame.
const FRAME_NEXT: usize = 0;
const FRAME_SECONDS: usize = 4;
const FRAME_NANOSECONDS: usize = 8;
/// Bytes that are there.
const FRAME_KEPT: usize = 12;
/// Bytes on the wire.
const FRAME_LENGTH: usize = 16;
const FRAME_STATUS: usize = 20;
/// Distance to the link header, or to the IP header where there is none.
const FRAME_LINK: usize = 24;
/// 16 of the 32 bits are used; their place depends on the order of bytes.
const FRAME_VLAN: usize = if cfg!(target_endian = "little") {
    32
} else {
    34
};
/// `sll_pkttype` of the `struct sockaddr_ll` that follows the 48 bytes of the header.
const FRAME_WAY: usize = 48 + 10;

/// `TP_STATUS_VLAN_VALID`.
const STATUS_VLAN_VALID: u32 = 1 << 4;
/// `PACKET_OUTGOING`.
const WAY_OUTGOING: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A block as the kernel makes it.
    fn block(frames: &[(&[u8], u32, Option<u16>, u8)]) -> Vec<u8> {
        let mut block = vec![0; 48];
        block[BLOCK_COUNT..][..4]
            .copy_from_slice(&u32::try_from(frames.len()).unwrap().to_ne_bytes());
        block[BLOCK_FIRST..][..4].copy_from_slice(&48_u32.to_ne_bytes());
        for (bytes, length, vlan, way) in frames {
            let at = block.len();
            let step = (82 + bytes.len()).next_multiple_of(8);
            block.resize(at + step, 0);
            let header = &mut block[at..];
            let mut put = |place: usize, value: u32| {
                header[place..][..4].copy_from_slice(&value.to_ne_bytes());
            };
            put(FRAME_NEXT, u32::try_from(step).unwrap());
            put(FRAME_SECONDS, 1_700_000_000);
            put(FRAME_NANOSECONDS, 5);
            put(FRAME_KEPT, u32::try_from(bytes.len()).unwrap());
            put(FRAME_LENGTH, *length);
            put(FRAME_STATUS, vlan.map_or(1, |_| 1 | STATUS_VLAN_VALID));
            put(32, vlan.unwrap_or(0xffff).into());
            header[FRAME_LINK..][..2].copy_from_slice(&82_u16.to_ne_bytes());
            header[FRAME_WAY] = *way;
            header[82..][..bytes.len()].copy_from_slice(bytes);
        }
        block
    }

    fn frames(block: &[u8]) -> Vec<Frame<'_>> {
        let mut cursor = Cursor::first(block);
        let frames = std::iter::from_fn(|| cursor.next(block)).collect();
        assert!(cursor.is_at_end());
        frames
    }

    #[test]
    fn frames_are_read_in_their_order() {
        let block = block(&[
            (b"one", 3, None, 0),
            (b"second", 1_500, Some(42), 0),
            (b"", 0, None, WAY_OUTGOING),
        ]);
        let at = Duration::new(1_700_000_000, 5);
        let expected = |bytes, length, vlan, outgoing| Frame {
            captured: Captured {
                bytes,
                length,
                vlan,
                at,
            },
            outgoing,
        };
        assert_eq!(
            frames(&block),
            [
                expected(&b"one"[..], 3, None, false),
                expected(&b"second"[..], 1_500, Some(42), false),
                expected(&b""[..], 0, None, true),
            ]
        );
        assert!(frames(&[]).is_empty());
    }

    #[test]
    fn a_block_that_is_cut_has_fewer_frames_and_never_panics() {
        let whole = block(&[(b"one", 3, None, 0), (b"second", 6, None, 0)]);
        for length in 0..whole.len() {
            assert!(frames(&whole[..length]).len() <= 2, "{length}");
        }
        assert_eq!(frames(&whole).len(), 2);
    }

    #[test]
    fn numbers_that_lie_end_the_block() {
        for place in [BLOCK_FIRST, 48 + FRAME_NEXT, 48 + FRAME_KEPT] {
            let mut lying = block(&[(b"one", 3, None, 0), (b"second", 6, None, 0)]);
            lying[place..][..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            assert!(frames(&lying).len() <= 1, "{place}");
        }
        let mut many = block(&[(b"one", 3, None, 0)]);
        many[BLOCK_COUNT..][..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(frames(&many).len(), 1);
    }
}
