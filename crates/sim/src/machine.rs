//! The machine that scans: descriptors, and what it refuses without sending a packet.

use crate::{Dice, Share};
use portolan_scan::DialId;
use std::collections::BTreeSet;

/// Descriptors of the scanning machine. As in a real driver, the socket of an attempt that was
/// refused or given up stays open for the next attempt of the same id.
#[derive(Clone, Debug)]
pub struct Machine {
    descriptors: u32,
    refused: Share,
    open: BTreeSet<DialId>,
}

impl Machine {
    /// A machine that never runs out of anything.
    pub const fn boundless() -> Self {
        Self::with_descriptors(u32::MAX)
    }

    /// A machine with so many descriptors for sockets.
    pub const fn with_descriptors(descriptors: u32) -> Self {
        Self {
            descriptors,
            refused: Share::NONE,
            open: BTreeSet::new(),
        }
    }

    /// The same machine, which has no buffer or port for `share` of the attempts.
    #[must_use]
    pub fn refusing(self, share: Share) -> Self {
        Self {
            refused: share,
            ..self
        }
    }

    /// Whether an attempt of this id has room; it then holds a descriptor.
    pub(crate) fn begin(&mut self, id: DialId, dice: &mut Dice) -> bool {
        if dice.happens(self.refused) {
            self.open.remove(&id);
            return false;
        }
        if self.descriptors == u32::MAX || self.open.contains(&id) {
            return true;
        }
        let has_room = u32::try_from(self.open.len()).unwrap_or(u32::MAX) < self.descriptors;
        if has_room {
            self.open.insert(id);
        }
        has_room
    }

    /// The socket of this id is closed.
    pub(crate) fn close(&mut self, id: DialId) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_socket_serves_its_own_id_only() {
        let mut dice = Dice::new(0);
        let mut machine = Machine::with_descriptors(2);
        let mut begin = |machine: &mut Machine, id| machine.begin(DialId::new(id), &mut dice);
        assert!(begin(&mut machine, 0));
        assert!(begin(&mut machine, 1));
        assert!(!begin(&mut machine, 2));
        assert!(begin(&mut machine, 1));
        machine.close(DialId::new(0));
        assert!(begin(&mut machine, 2));
    }
}
