//! What Portolan knows, as data: the files under `data/`, embedded, read once, and checked by the
//! tests of this crate; and what its user knows beside: fingerprints in files of their own.
//!
//! Nothing here looks at a network or decides anything; a port number in a list is never evidence
//! of what listens there.

mod fingerprint;
pub mod form;
pub mod matcher;
pub mod ports;
pub mod recog;
pub mod reserved;
pub mod services;
mod table;

pub use fingerprint::Part;
pub use table::TableError;
