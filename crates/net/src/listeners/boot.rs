//! Whether systemd starts a unit at boot, told from its links. Only looks at files; systemd is not
//! asked.

use std::path::Path;

/// Whether a unit comes back after a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A target wants or requires it.
    Enabled,
    /// No link was found; another unit, a timer or a socket may still start it.
    NotEnabled,
    /// Not a unit of the system's manager, or its folders may not be read.
    Unknown,
}

/// Looks for a link to `unit` (`nginx.service`) in the `*.wants` and `*.requires` folders of the
/// system's units. At most 4,096 folders are read in each place.
pub fn starts_at_boot(unit: &str) -> Boot {
    // Anything else is no file name of a unit, and must not lead out of the folders.
    if unit.contains('/') || !unit.contains('.') {
        return Boot::Unknown;
    }
    let mut read = false;
    for place in PLACES {
        match wanted_in(Path::new(place), unit) {
            Some(true) => return Boot::Enabled,
            Some(false) => read = true,
            None => {}
        }
    }
    if read {
        Boot::NotEnabled
    } else {
        Boot::Unknown
    }
}

fn wanted_in(place: &Path, unit: &str) -> Option<bool> {
    let folders = std::fs::read_dir(place).ok()?;
    let wanted = folders.take(FOLDERS_MAX).flatten().any(|folder| {
        let path = folder.path();
        let pulls = path
            .extension()
            .is_some_and(|it| it == "wants" || it == "requires");
        pulls && std::fs::symlink_metadata(path.join(unit)).is_ok()
    });
    Some(wanted)
}

/// Most entries read of one place.
const FOLDERS_MAX: usize = 4_096;

const PLACES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/lib/systemd/system",
];
