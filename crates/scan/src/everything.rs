//! Hosts that say open for whatever port they are asked: no machine has as many services, so of
//! their other ports nothing is learnt. What is not here: which ports are asked all the same.

/// A host that says open for so many ports, and for more than this part of those it was asked, says
/// so for all.
const OPEN_MIN: u32 = 100;
const OPEN_SHARE: u32 = 4;
/// Fewer ports may have been picked because they are open.
const PORTS_MIN: u32 = 512;

/// Whether a host that was asked `asked` of `ports` ports, and said open for `open`, says so for
/// all.
pub(crate) const fn is_said(open: u32, asked: u32, ports: u32) -> bool {
    ports >= PORTS_MIN && open >= OPEN_MIN && open > asked / OPEN_SHARE
}

/// What a host said of the ports it was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    asked: u32,
    open: u32,
    is_alike: bool,
}

impl Said {
    /// A port is asked for the first time.
    pub(crate) const fn asked(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// One of its `ports` ports is open.
    pub(crate) const fn open(&mut self, ports: u32) {
        self.open = self.open.saturating_add(1);
        self.is_alike |= is_said(self.open, self.asked, ports);
    }

    /// Whether it says open for whatever port it is asked.
    pub(crate) const fn is_alike(self) -> bool {
        self.is_alike
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_open_ports_among_many_asked_are_too_many() {
        assert!(is_said(100, 100, 65_535));
        assert!(is_said(101, 400, 512));
        assert!(!is_said(100, 400, 512));
        assert!(!is_said(150, 600, 600));
        assert!(!is_said(99, 99, 65_535));
        assert!(!is_said(200, 1_000, 65_535));
        assert!(!is_said(300, 300, 511));
    }
}
