//! Fields at fixed places of headers of fixed length: a place outside of the header does not
//! compile. What the fields mean is said where they are read.

/// `N` bytes that follow the first `AT`.
#[inline]
pub(crate) fn bytes<const AT: usize, const N: usize, const L: usize>(header: &[u8; L]) -> [u8; N] {
    const { assert!(AT + N <= L, "the field is inside of the header") };
    let mut field = [0; N];
    let places = header.iter().skip(AT);
    for (to, from) in field.iter_mut().zip(places) {
        *to = *from;
    }
    field
}

/// The 16 bits that follow the first `AT` bytes.
#[inline]
pub(crate) fn word<const AT: usize, const L: usize>(header: &[u8; L]) -> u16 {
    u16::from_be_bytes(bytes::<AT, 2, L>(header))
}

/// The 32 bits that follow the first `AT` bytes.
#[inline]
pub(crate) fn long<const AT: usize, const L: usize>(header: &[u8; L]) -> u32 {
    u32::from_be_bytes(bytes::<AT, 4, L>(header))
}
