//! The user's folder of fingerprints: its files, within limits. What stands in them is read by
//! `portolan-catalog`.

use anyhow::{Context as _, bail};
use portolan_catalog::recog::{Examples, Fingerprints};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 4_096;
/// Largest file, and largest text of an example.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// All files together.
const FOLDER_BYTES_MAX: u64 = 128 << 20;
/// Unused kinds that are named.
const KINDS_SHOWN_MAX: usize = 6;

/// A folder that was read.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) fingerprints: Fingerprints,
    /// How many files there are.
    pub(crate) files: usize,
}

/// Reads every `*.xml` of a folder, in the order of their names; folders in it are not entered.
///
/// # Errors
/// When the folder or a file cannot be read, or is no file of fingerprints; the sentence names file
/// and line.
pub(crate) fn read(folder: &Path, examples: Examples) -> anyhow::Result<Folder> {
    let mut paths = files(folder)?;
    if paths.is_empty() {
        bail!(
            "the folder of fingerprints {} has no file that ends in .xml; check the path",
            folder.display()
        );
    }
    paths.sort();
    let mut read = Vec::new();
    let mut left = FOLDER_BYTES_MAX;
    for path in paths {
        let bytes = content(&path, left.min(FILE_BYTES_MAX))?;
        left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        read.push((path.display().to_string(), bytes));
    }
    let files = read
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let fingerprints = Fingerprints::read(files, examples)?;
    Ok(Folder {
        fingerprints,
        files: read.len(),
    })
}

impl Folder {
    /// Says which kinds of texts no scan has; `None`: all are used.
    pub(crate) fn unused(&self) -> Option<String> {
        let kinds: Vec<&str> = self.fingerprints.unused_kinds().collect();
        let shown = kinds.get(..KINDS_SHOWN_MAX).unwrap_or(&kinds).join(", ");
        let more = kinds.len().saturating_sub(KINDS_SHOWN_MAX);
        let others = if more > 0 {
            format!(" and {more} others")
        } else {
            String::new()
        };
        (!kinds.is_empty()).then(|| {
            format!("fingerprints for {shown}{others} are not used: no scan receives such texts")
        })
    }
}

/// The text of an example that stands in a file of its own: in a folder that is called as `file`
/// without its ending, or beside it.
///
/// # Errors
/// The sentence that says what is wrong with it.
pub(crate) fn example(file: &str, named: &str) -> Result<Vec<u8>, String> {
    let (file, named) = (Path::new(file), Path::new(named));
    if !named
        .components()
        .all(|it| matches!(it, Component::Normal(_)))
    {
        return Err(format!(
            "_filename={} leads out of the folder: write a path that stays in it",
            named.display()
        ));
    }
    let beside = file.with_file_name(named);
    let below = file.with_extension("").join(named);
    let path = if below.exists() { below } else { beside };
    content(&path, FILE_BYTES_MAX).map_err(|error| format!("{error:#}"))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| {
        format!(
            "the folder of fingerprints {} cannot be read; check the path",
            folder.display()
        )
    })?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("{} cannot be read", folder.display()))?
            .path();
        let is_xml = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("xml"));
        if is_xml && !path.is_dir() {
            if paths.len() >= FILES_MAX {
                bail!(
                    "{} has more than {FILES_MAX} files; put those that are wanted in a folder",
                    folder.display()
                );
            }
            paths.push(path);
        }
    }
    Ok(paths)
}

fn content(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let kind = path.metadata().map(|it| it.is_file());
    // A pipe would be waited for.
    if matches!(kind, Ok(false)) {
        bail!("{shown} is no file; take it out of the folder");
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            let mut file = file.take(most.saturating_add(1));
            file.read_to_end(&mut bytes)
        })
        .with_context(|| format!("{shown} cannot be read; check the file"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        bail!(
            "{shown} is too large: a file has {} MiB at most, and all together {} MiB",
            FILE_BYTES_MAX >> 20,
            FOLDER_BYTES_MAX >> 20
        );
    }
    Ok(bytes)
}
