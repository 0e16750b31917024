//! Where files of the program's own are kept.

use etcetera::BaseStrategy as _;
use std::path::PathBuf;

/// The folder of checkpoints and history: `$XDG_STATE_HOME/portolan`; `None` when the user has no
/// home.
pub(crate) fn state() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    Some(base.state_dir()?.join("portolan"))
}
