//! How the program was started, seen before the standard library begins.
//!
//! The standard library opens `/dev/null` in the place of a closed standard stream, so that no
//! other file is taken for it. After that nothing tells `>&-`, which loses a result unseen, from
//! `/dev/null`, which somebody asked for.

use nix::libc;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether standard output was closed when the program was started.
pub fn stdout_was_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    const STDOUT: c_int = 1;
    #[expect(
        unsafe_code,
        reason = "a descriptor that may be closed has no safe type"
    )]
    // SAFETY: F_GETFD takes no third argument and touches no memory; a number that is no open
    // descriptor gives EBADF (fcntl(2)). The C library is ready when initialisers run.
    let flags = unsafe { libc::fcntl(STDOUT, libc::F_GETFD) };
    STDOUT_CLOSED.store(flags == -1, Ordering::Relaxed);
}

#[expect(
    unsafe_code,
    reason = "only an initialiser runs before the standard library opens what is closed"
)]
#[used]
// SAFETY: the section is a list of pointers to functions that are called in turn before `main`.
// `look` is such a function: it lives as long as the program, takes no argument (those that are
// passed are ignored, as the C calling convention allows), does not unwind, and uses nothing of
// the standard library that has to be set up.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
