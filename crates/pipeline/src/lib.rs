//! Drives the stages of a run over the network edge and tells the world in events.
//!
//! What is not here: how anything is shown or kept (`portolan-report`, the binary).

mod checkpoint;
mod collector;
mod contradiction;
mod discovery;
mod ended;
mod engine_choice;
mod fingerprints;
mod host_record;
mod limits;
mod look;
mod looks;
mod orders;
mod outcome;
mod outcomes;
mod own;
mod prepare;
mod preview;
mod progress;
mod raw_sweep;
mod rights;
mod run;
mod segment;
mod silent;
mod start;
mod stop;
mod sweep;
mod udp_sweep;
mod ways;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use ended::FoundHosts;
pub use engine_choice::engine_reason;
pub use fingerprints::{Exchange, refine};
pub use prepare::{
    Authority, PrepareError, Prepared, Source, Transports, Wish, current_engine, current_scope,
    prepare,
};
pub use preview::preview;
pub use run::{Ended, Finished, Kept, RunError, RunRequest, run};
pub use segment::SegmentError;
