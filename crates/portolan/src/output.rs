//! Where results go besides stdout: checked before anything is sent, and written so that a
//! failure destroys nothing.

use anyhow::{Context as _, bail};
use portolan_model::Document;
use portolan_report::{Colour, Format, Options, write_document};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
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

impl Output {
    /// Opens `path` for a result in the format of its extension.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
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
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(name);
        let file = File::create(&beside)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            file,
            beside: Some(beside),
        })
    }

    /// Writes the result. On failure what was there before is still there.
    pub(crate) fn write(self, document: &Document, options: &Options) -> anyhow::Result<()> {
        let path = self.path.clone();
        let options = Options {
            colour: Colour::Never,
            ..*options
        };
        self.try_write(document, &options)
            .with_context(|| format!("the output {} was not written", path.display()))
    }

    fn try_write(mut self, document: &Document, options: &Options) -> anyhow::Result<()> {
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
