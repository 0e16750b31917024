//! Seeds and crashes: the files under `corpus/<target>/`.

use std::fs;
use std::io;
use std::path::PathBuf;

/// One committed input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// File name.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// The folder of a target's inputs.
pub fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", target]
        .iter()
        .collect()
}

/// All inputs of a target in the order of their names, which makes runs repeatable. Fails when
/// the folder or a file in it cannot be read.
pub fn read_seeds(target: &str) -> io::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder(target))? {
        let entry = entry?;
        seeds.push(Seed {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: fs::read(entry.path())?,
        });
    }
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(seeds)
}

/// Keeps an input that broke a target, so that it is run as a seed from then on. The name comes
/// from the content: the same input is kept once. Fails when the file cannot be written.
pub fn write_crash(target: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let path = folder(target).join(format!("crash-{:016x}", hash(bytes)));
    fs::create_dir_all(folder(target))?;
    fs::write(&path, bytes)?;
    Ok(path)
}

/// FNV-1a: names files, guards nothing.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
