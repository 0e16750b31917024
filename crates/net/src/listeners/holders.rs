//! From socket inodes to the processes that hold them, over `/proc` (proc(5)). Processes come and
//! go while this looks; what vanished is left out without a word.

use super::cgroup;
use portolan_model::{Process, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The processes found.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By socket inode, oldest process first, so that a server stands before its workers. At most
    /// [`HOLDERS_MAX`] for one socket.
    pub(super) by_inode: BTreeMap<u64, Vec<Process>>,
    /// Processes whose files may not be listed.
    pub(super) unreadable: usize,
    /// Whether a limit ended the search.
    pub(super) cut: bool,
}

/// Looks for the holders of the sockets `wanted`, for at most [`SEARCH_TIME_MAX`].
pub(super) fn find(wanted: &BTreeSet<u64>) -> Holders {
    let mut found = Holders::default();
    if wanted.is_empty() {
        return found;
    }
    let started = Instant::now();
    let mut names = super::Names::default();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        // Without /proc nothing is readable: count it as one, so that the reason shows.
        found.unreadable = 1;
        return found;
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for (seen, pid) in pids.enumerate() {
        if seen >= PROCESSES_MAX || started.elapsed() > SEARCH_TIME_MAX {
            found.cut = true;
            break;
        }
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let held = match sockets_of(&folder, wanted) {
            Ok(held) => held,
            Err(error) => {
                let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
                // A kernel thread holds no file, and its command line is empty for everybody.
                if denied && !read_up_to(&folder.join("cmdline")).is_empty() {
                    found.unreadable = found.unreadable.saturating_add(1);
                }
                continue;
            }
        };
        if held.is_empty() {
            continue;
        }
        let Some(process) = describe(&folder, pid, &mut names) else {
            continue;
        };
        for inode in held {
            let holders = found.by_inode.entry(inode).or_default();
            if holders.len() < HOLDERS_MAX {
                holders.push(process.clone());
            } else {
                found.cut = true;
            }
        }
    }
    for holders in found.by_inode.values_mut() {
        holders.sort_by_key(|it| (it.started_unix_s, it.pid));
    }
    found
}

/// The wanted sockets among the open files of a process. An entry that vanishes is skipped.
fn sockets_of(folder: &Path, wanted: &BTreeSet<u64>) -> std::io::Result<BTreeSet<u64>> {
    let mut held = BTreeSet::new();
    for entry in std::fs::read_dir(folder.join("fd"))?.take(FILES_MAX) {
        let Ok(target) = entry.and_then(|entry| std::fs::read_link(entry.path())) else {
            continue;
        };
        if let Some(inode) = target.to_str().and_then(socket_inode)
            && wanted.contains(&inode)
        {
            held.insert(inode);
        }
    }
    Ok(held)
}

/// `socket:[4711]` to 4711.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// `None` when the process is gone.
fn describe(folder: &Path, pid: u32, names: &mut super::Names) -> Option<Process> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    let comm = read_up_to(&folder.join("comm"));
    let name = match comm.strip_suffix(b"\n").unwrap_or(&comm) {
        [] => Text::from_bytes(stat.comm.as_bytes()),
        comm => Text::from_bytes(comm),
    };
    let origin = cgroup::origin(&String::from_utf8_lossy(&read_up_to(
        &folder.join("cgroup"),
    )));
    Some(Process {
        pid,
        name,
        executable: std::fs::read_link(folder.join("exe"))
            .ok()
            .map(|path| Text::from_bytes(path.as_os_str().as_encoded_bytes())),
        user: process
            .uid()
            .map_or_else(|_| Text::from("unknown"), |uid| names.user(uid)),
        unit: origin.unit.map(Text::from),
        container: origin.container.map(Text::from),
        started_unix_s: started_unix_s(stat.starttime),
    })
}

/// Boot time plus the ticks between boot and start (`proc_pid_stat(5)`, field 22).
fn started_unix_s(ticks: u64) -> Option<i64> {
    let after_boot = ticks.checked_div(procfs::ticks_per_second())?;
    let boot = procfs::boot_time_secs().ok()?;
    i64::try_from(boot.checked_add(after_boot)?).ok()
}

/// The first [`TEXT_BYTES_MAX`] bytes of a small file; empty when it cannot be read.
fn read_up_to(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    bytes
}

/// Most processes looked at.
const PROCESSES_MAX: usize = 262_144;
/// Most open files looked at in one process.
const FILES_MAX: usize = 1_048_576;
/// Most processes named for one socket.
const HOLDERS_MAX: usize = 256;
/// Longest search.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(10);
const TEXT_BYTES_MAX: u64 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expected: Option<u64>) {
        assert_eq!(socket_inode(target), expected, "{target}");
    }

    #[test]
    fn only_sockets_are_taken_from_the_open_files() {
        check("socket:[4711]", Some(4711));
        check("socket:[18446744073709551615]", Some(u64::MAX));
        for other in [
            "",
            "socket:[]",
            "socket:[-1]",
            "socket:[1",
            "pipe:[1]",
            "/tmp/socket:[1]",
        ] {
            check(other, None);
        }
    }
}
