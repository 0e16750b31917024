//! A run on disk: enough to go on after an interruption or a crash as if there had been none.
//!
//! The file is one head line (`portolan-checkpoint/1`, length and SHA-256 of the rest) and one
//! JSON document. It is written beside its place and renamed over it, so that a crash leaves the
//! one before.

use crate::contradiction::find_contradiction;
use crate::ended::EndedHosts;
use crate::host_record::{HostRecord, SavedHost};
use portolan_model::{Plan, Reason, Run, Unanswered};
use portolan_scan::Figures;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What a run has found so far and what is left to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(crate) plan: Plan,
    pub(crate) run: Run,
    /// Windows of the order that are done.
    pub(crate) windows_ended: u64,
    /// Hosts of those windows that answered.
    pub(crate) ended: EndedHosts,
    /// Addresses of those windows that did not.
    pub(crate) unanswered: Unanswered,
    /// Ports of all those hosts that were not tested.
    pub(crate) not_tested: Vec<(Reason, u64)>,
    /// Hosts that are under way.
    pub(crate) hosts: Vec<SavedHost>,
    pub(crate) counts: SavedCounts,
}

/// What a [`Checkpoint`] is written from, without a copy of it.
#[derive(Serialize)]
pub(crate) struct Snapshot<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) run: &'a Run,
    pub(crate) windows_ended: u64,
    pub(crate) ended: &'a EndedHosts,
    pub(crate) unanswered: Unanswered,
    pub(crate) not_tested: Vec<(Reason, u64)>,
    pub(crate) hosts: UnderWay<'a>,
    pub(crate) counts: SavedCounts,
}

/// Hosts under way, each saved when it is written.
pub(crate) struct UnderWay<'a>(pub(crate) &'a HashMap<IpAddr, HostRecord>);

/// Counts of the parts of a run before this one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedCounts {
    pub(crate) probes: u64,
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    pub(crate) open: u64,
    pub(crate) silent: u64,
    pub(crate) silent_probes_min: u8,
    #[serde(default)]
    pub(crate) missed_millionths: Option<u64>,
    pub(crate) duration_s: f64,
}

impl SavedCounts {
    /// As the engine counts.
    pub(crate) fn figures(self) -> Figures {
        Figures {
            probes: self.probes,
            decided: 0,
            loss: portolan_scan::Loss {
                answered: self.answered,
                lost: self.lost,
                open: self.open,
                silent: self.silent,
                silent_probes_min: self.silent_probes_min,
                missed_millionths: self.missed_millionths,
            },
        }
    }
}

/// Why a checkpoint was not written or cannot be gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("the checkpoint {path} cannot be read: {source}; mend that, or name another file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no checkpoint, or not whole.
    #[error(
        "the checkpoint {path} is damaged ({why}) and nothing can be gone on from; start the scan \
         again without --resume"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        why: String,
    },
    /// What is there is something else.
    #[error(
        "{path} is no checkpoint, and would be overwritten; name another file with --checkpoint"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is more to keep than can be read back.
    #[error(
        "the checkpoint {path} would have {bytes} bytes, and no more than {BYTES_MAX} are read back; \
         scan fewer addresses at once, or in parts with --shard"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it would need.
        bytes: u64,
    },
    /// The file cannot be written.
    #[error("the checkpoint {path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

const HEAD: &str = "portolan-checkpoint/1";
/// No checkpoint is larger; a file that is, is not read.
const BYTES_MAX: u64 = 2 << 30;

impl Checkpoint {
    /// The plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The run, as far as it went.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Whether a checkpoint may be written to `path`: nothing is there, or a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::Foreign`] when something else is there, [`CheckpointError::Read`] when
    /// this machine does not let it be told.
    pub fn may_replace(path: &Path) -> Result<(), CheckpointError> {
        let foreign = || CheckpointError::Foreign {
            path: path.to_owned(),
        };
        let unread = |source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        };
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            // What is missing is made when the checkpoint is written.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unread(error)),
        };
        if !there.is_file() {
            return Err(foreign());
        }
        let mut head = [0; HEAD.len()];
        match File::open(path).and_then(|mut file| file.read_exact(&mut head)) {
            Ok(()) if head == *HEAD.as_bytes() => Ok(()),
            Err(source) if source.kind() != ErrorKind::UnexpectedEof => Err(unread(source)),
            _ => Err(foreign()),
        }
    }

    /// Takes the checkpoint at `path` away, if it is one.
    pub fn remove(path: &Path) {
        if Self::may_replace(path).is_ok() {
            // A file that was never written is no loss.
            let _ = fs::remove_file(path);
        }
    }

    /// Reads the checkpoint at `path`.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let read = |source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(read)?;
        Self::parse(&bytes).map_err(|why| CheckpointError::Damaged {
            path: path.to_owned(),
            why,
        })
    }

    /// Reads a checkpoint from its bytes and checks that one run can have left it; the error says
    /// how it is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().take(256).position(|byte| *byte == b'\n');
        let (head, body) = end
            .and_then(|end| bytes.split_at_checked(end.saturating_add(1)))
            .ok_or("it has no head line")?;
        let head = str::from_utf8(head).map_err(|_| "its head line is no text")?;
        let mut words = head.split_whitespace();
        if words.next() != Some(HEAD) {
            return Err("it does not begin as a checkpoint does".to_owned());
        }
        let length = words.next().and_then(|word| word.parse::<usize>().ok());
        if length != Some(body.len()) {
            return Err("its end is missing".to_owned());
        }
        if words.next() != Some(sha256(body).as_str()) {
            return Err("its checksum does not fit".to_owned());
        }
        let checkpoint = Self::parse_content(body)?;
        checkpoint.validate()?;
        Ok(checkpoint)
    }

    /// Whether one run can have left this. What is on disk decides what is probed when the run is
    /// resumed, so nothing of it is taken on trust; the error says what does not fit.
    pub fn validate(&self) -> Result<(), String> {
        find_contradiction(self).map_or(Ok(()), |what| {
            Err(format!("its content contradicts itself: {what}"))
        })
    }

    /// Reads the content of a checkpoint, without the head line that guards it and without
    /// [`Checkpoint::validate`].
    pub fn parse_content(content: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(content).map_err(|error| format!("its content is wrong: {error}"))
    }

    /// The content that [`Checkpoint::parse_content`] reads.
    pub fn content(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::from)
    }
}

impl Snapshot<'_> {
    /// Writes the checkpoint to `path`, in place of one that is there.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        self.write_within(path, BYTES_MAX)
    }

    fn write_within(&self, path: &Path, bytes_max: u64) -> Result<(), CheckpointError> {
        Checkpoint::may_replace(path)?;
        let failed = |source| CheckpointError::Write {
            path: path.to_owned(),
            source,
        };
        // The head line comes first and needs the sum of all: the content is made twice, which
        // takes less than to hold it.
        let mut sum = Sum::default();
        self.content_to(&mut sum).map_err(failed)?;
        let head = format!(
            "{HEAD} {} {}\n",
            sum.bytes,
            hexadecimal(sum.hash.finalize())
        );
        let bytes = u64::try_from(head.len()).map_or(u64::MAX, |it| it.saturating_add(sum.bytes));
        if bytes > bytes_max {
            let path = path.to_owned();
            return Err(CheckpointError::TooLarge { path, bytes });
        }
        self.try_write(path, &head).map_err(failed)
    }

    fn content_to(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(out, self).map_err(io::Error::from)
    }

    fn try_write(&self, path: &Path, head: &str) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = path.with_extension("new");
        let written = File::create(&beside).and_then(|file| {
            let mut out = BufWriter::new(file);
            out.write_all(head.as_bytes())?;
            self.content_to(&mut out)?;
            out.flush()?;
            out.get_ref().sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&beside, path)) {
            // What could not be written whole is of no use to anybody.
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        Ok(())
    }
}

impl Serialize for UnderWay<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(ip, host)| host.save(*ip)))
    }
}

/// Length and hash of what is written to it.
#[derive(Default)]
struct Sum {
    hash: Sha256,
    bytes: u64,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SHA-256 of `bytes` in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    let bytes = hash.as_ref().iter();
    bytes.fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::tests::{collector, plan, run_of};

    #[test]
    fn a_checkpoint_that_could_not_be_read_back_is_not_written() {
        let plan = plan("192.0.2.1", "80");
        let collector = collector(&plan);
        let run = run_of(&plan);
        let saved = collector.save(&run, SavedCounts::default());
        let path = Path::new("/nonexistent/checkpoint");
        let said = saved.write_within(path, 100).unwrap_err().to_string();
        assert!(said.contains("would have"), "{said}");
        assert!(said.contains("--shard"), "{said}");
    }
}
