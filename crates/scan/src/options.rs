//! What the engine may do.

use std::time::Duration;

/// Limits and wishes; everything that is `None` adapts to what the network answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// Attempts that may be under way at once, over all hosts; at least 1.
    pub capacity: u32,
    /// Attempts to begin a second, in total.
    pub rate: Option<f64>,
    /// Attempts to begin a second to one host.
    pub host_rate: Option<f64>,
    /// When silence is believed.
    pub patience: Patience,
}

/// When silence is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// Further probes to a silent port; `None`: as many as the measured loss asks for.
    pub retries: Option<u8>,
    /// Wait for each probe; `None`: from the measured round-trip time.
    pub timeout: Option<Duration>,
}
