//! How a result is shown. Nothing here changes what was found.

/// How a result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Columns of the terminal; less than [`Options::WIDTH_MIN`] counts as that. Only the column
    /// layout of the table uses it.
    pub width: usize,
    /// Whether the table may be coloured.
    pub colour: Colour,
    /// How the table is laid out.
    pub layout: Layout,
    /// Which ports and hosts are shown, in every format.
    pub only: Only,
    /// How much the table says.
    pub detail: Detail,
}

impl Options {
    /// The narrowest table.
    pub const WIDTH_MIN: usize = 40;
}

impl Default for Options {
    /// 80 columns without colour, everything that was found.
    fn default() -> Self {
        Self {
            width: 80,
            colour: Colour::Never,
            layout: Layout::Columns,
            only: Only::All,
            detail: Detail::Normal,
        }
    }
}

/// Whether the table may be coloured. Colour never carries a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// With SGR sequences (ECMA-48 §8.3.117).
    Always,
    /// Plain text.
    Never,
}

/// How the table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Sentences, one thing a line, for screen readers: no columns, no colour, no wrapping.
    Accessible,
    /// Columns.
    Columns,
}

/// Which ports and hosts are shown. Counts stay: a port that is hidden is still counted among
/// the other ports of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// Every listed port and every host that answered.
    All,
    /// Open ports, and hosts that have one.
    Open,
}

/// How much the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One line a port.
    Normal,
    /// Also reasons, probes, whole evidence, processes, and which ports are in each count.
    Verbose,
}
