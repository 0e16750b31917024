//! Giving up what a process may do once it has done it: from then on a fault of this program is worth
//! less to whoever finds one.
//!
//! What is not here: what a process holds (see [`crate::privilege`]), and when nothing more is needed
//! of it (the callers know).

use crate::privilege::Capability;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::io;

/// Rights are numbered below this (capabilities(7) keeps them in 64 bits).
const NUMBERS: u32 = 64;

/// Gives up every capability of the calling thread but those of `kept` that it holds, for good, and
/// with them the way to new ones by starting another program (`PR_SET_NO_NEW_PRIVS`, prctl(2)).
/// What is kept stays permitted and in force, and passes to no other program.
///
/// Rights belong to a thread. Others keep theirs, and those that this one starts begin with what is
/// left to it.
///
/// # Errors
/// When the kernel refuses, as in a sandbox that forbids these calls.
pub fn keep_only(kept: &[Capability]) -> io::Result<()> {
    let kept = kept.iter().fold(CapabilitySet::empty(), |set, it| {
        set | CapabilitySet::from_bits_retain(it.mask())
    });
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        leave_bounding_set(kept);
    }
    // Kernels before Linux 4.3 have no such set.
    let _ = clear_ambient_capability_set();
    set_no_new_privs(true)?;
    set_capabilities(None, reduced(held, kept))?;
    Ok(())
}

/// What is left of `held` when only `kept` is kept.
fn reduced(held: CapabilitySets, kept: CapabilitySet) -> CapabilitySets {
    let permitted = held.permitted & kept;
    CapabilitySets {
        effective: held.effective & permitted,
        permitted,
        inheritable: CapabilitySet::empty(),
    }
}

/// Takes all but `kept` out of the set that bounds what another program can get. What cannot be taken
/// out is of no use either: no program gets new rights.
fn leave_bounding_set(kept: CapabilitySet) {
    for number in 0..NUMBERS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The first that the kernel does not know is beyond the last.
        let Ok(is_in) = capability_is_in_bounding_set(one) else {
            break;
        };
        if is_in && !kept.contains(one) {
            let _ = remove_capability_from_bounding_set(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: CapabilitySet = CapabilitySet::NET_RAW;
    const ADMIN: CapabilitySet = CapabilitySet::NET_ADMIN;

    fn check(permitted: CapabilitySet, effective: CapabilitySet, kept: CapabilitySet) {
        let held = CapabilitySets {
            effective,
            permitted,
            inheritable: RAW | ADMIN,
        };
        let left = reduced(held, kept);
        // Nothing is won, nothing passes on, and nothing is left beside what is kept.
        assert!(held.permitted.contains(left.permitted));
        assert!(left.permitted.contains(left.effective));
        assert_eq!(left.permitted, permitted & kept);
        assert_eq!(left.effective, effective & kept);
        assert!(left.inheritable.is_empty());
    }

    #[test]
    fn what_is_left_is_what_was_held_and_is_kept() {
        let none = CapabilitySet::empty();
        for permitted in [none, RAW, ADMIN, RAW | ADMIN, !none] {
            for effective in [none, permitted, permitted & RAW] {
                for kept in [none, RAW, RAW | ADMIN] {
                    check(permitted, effective, kept);
                }
            }
        }
    }
}
