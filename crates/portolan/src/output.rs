//! Where results go besides stdout: checked before anything is sent, and written so that a
//! failure destroys nothing.

use anyhow::{Context as _, bail};
use portolan_model::{Document, Hosts};
use portolan_report::{Colour, Format, Options, write_document};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// One `-o FILE`.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    format: Format,
    file: File,
    /// The file beside the target that is written and renamed; `None`: the target is no regular
    /// file (a device, a pipe) and is written itself.
    beside: Option<PathBuf>,
}

/// Opens every `-o`. `taken` is a file that the program writes besides; no output may be the same
/// file as another or as that one, since the later would replace the earlier.
pub(crate) fn open_all(paths: &[PathBuf], taken: Option<&Path>) -> anyhow::Result<Vec<Output>> {
    if let Some(path) = taken
        && let Some(output) = paths.iter().find(|output| place(output) == place(path))
    {
        bail!(
            "the output {} is also the checkpoint, which would be replaced; name another file",
            output.display()
        );
    }
    let mut places = BTreeSet::new();
    if let Some(twice) = paths.iter().find(|path| !places.insert(place(path))) {
        bail!(
            "the output {} is named twice, and one result would replace the other; name another \
             file for one of them, or leave one out",
            twice.display()
        );
    }
    paths.iter().map(|path| Output::open(path)).collect()
}

/// Where a result lands: the entry of the folder that is made or replaced, whichever way leads
/// there. A folder that cannot be found is left as it is written.
fn place(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    folder.join(path.file_name().unwrap_or_default())
}

/// Makes a file that nobody can have foreseen beside `path`. An entry that is there already, a
/// link included, is never opened.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let unforeseen = getrandom::u64().map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{unforeseen:016x}.new"));
    let beside = path.with_file_name(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)?;
    Ok((beside, file))
}

impl Output {
    /// Opens `path` for a result in the format of its extension.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let Some(format) = extension.and_then(Format::from_extension) else {
            bail!(
                "the format of the output {} is not known: its name should end in .json, .jsonl, \
                 .csv, .xml, .list or .txt",
                path.display()
            );
        };
        Self::open_as(path, format).with_context(|| {
            format!(
                "the output {} cannot be written; choose another place",
                path.display()
            )
        })
    }

    fn open_as(path: &Path, format: Format) -> anyhow::Result<Self> {
        let special = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        if special {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok(Self {
                path: path.to_owned(),
                format,
                file,
                beside: None,
            });
        }
        if path.exists() {
            // A file that may not be written is not to be replaced either.
            OpenOptions::new().append(true).open(path)?;
        }
        let (beside, file) = create_beside(path)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            file,
            beside: Some(beside),
        })
    }

    /// Writes the result. On failure what was there before is still there.
    pub(crate) fn write(
        self,
        document: &Document<impl Hosts>,
        options: &Options,
    ) -> anyhow::Result<()> {
        let path = self.path.clone();
        let options = Options {
            colour: Colour::Never,
            ..*options
        };
        self.try_write(document, &options)
            .with_context(|| format!("the output {} was not written", path.display()))
    }

    fn try_write(
        mut self,
        document: &Document<impl Hosts>,
        options: &Options,
    ) -> anyhow::Result<()> {
        let mut out = BufWriter::new(&self.file);
        write_document(document, self.format, options, &mut out)?;
        out.flush()?;
        drop(out);
        if let Some(beside) = &self.beside {
            self.file.sync_all()?;
            fs::rename(beside, &self.path)?;
            self.beside = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // A result that was not finished is of no use; the checkpoint has what was found.
            let _ = fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_is_the_same_whichever_way_it_is_named() {
        let same = |one: &str, other: &str| place(Path::new(one)) == place(Path::new(other));
        assert!(same("a.json", "./a.json"));
        assert!(same("/a.json", "/../a.json"));
        assert!(!same("a.json", "b.json"));
        assert!(!same("a.json", "/a.json"));
        assert!(same("/missing-folder/a.json", "/missing-folder/a.json"));
    }
}
