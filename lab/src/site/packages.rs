//! Debian packages of the site: which are missing, how they are installed without being started,
//! how those that others conflict with are unpacked, and which version each has.
//!
//! What is not here: which packages a daemon needs (`recipe`).

use super::recipe::Recipe;
use crate::LabError;
use crate::namespace::run;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every daemon of the site needs.
const FOUNDATION: [&str; 4] = ["busybox", "iproute2", "openssl", "util-linux"];
/// What Debian's packages ask whether a service may be started (`invoke-rc.d(8)`).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// It may not.
const DENY: &str = "#!/bin/sh\nexit 101\n";

/// Packages of `recipes` that are not installed.
pub fn missing(recipes: &[Recipe]) -> Result<Vec<String>, LabError> {
    let of_recipes = recipes.iter().flat_map(|recipe| recipe.packages.clone());
    let foundation = FOUNDATION.iter().map(|name| (*name).to_owned());
    let wanted: BTreeSet<String> = of_recipes.chain(foundation).collect();
    let installed = installed()?;
    let absent = wanted.into_iter().filter(|it| !installed.contains_key(it));
    Ok(absent.collect())
}

/// Installs packages; nothing that is in them is started.
pub fn install(packages: &[String]) -> Result<(), LabError> {
    run(apt_get().arg("update"), None)?;
    let policy = Policy::deny()?;
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
    let installed = run(command.args(packages), None).map(|_| ());
    drop(policy);
    installed
}

/// Unpacks a package below `folder` unless it lies there, and says where.
pub(crate) fn unpack(folder: &Path, package: &str) -> Result<PathBuf, LabError> {
    let own = folder.join(package);
    let files = own.join("files");
    if files.is_dir() {
        return Ok(files);
    }
    fs::create_dir_all(&own).map_err(LabError::file(&own))?;
    let mut download = apt_get();
    // The folder may be closed to the user that downloads otherwise.
    download.args(["-o", "APT::Sandbox::User=root", "download", package]);
    run(download.current_dir(&own), None)?;
    let archive = archive(&own)?;
    let half = own.join("half");
    // What an interrupted run left.
    let _ = fs::remove_dir_all(&half);
    run(Command::new("dpkg").arg("-x").args([&archive, &half]), None)?;
    fs::rename(&half, &files).map_err(LabError::file(&files))?;
    Ok(files)
}

/// The version of an unpacked package.
pub(crate) fn unpacked_version(folder: &Path, package: &str) -> Result<String, LabError> {
    let archive = archive(&folder.join(package))?;
    let mut command = Command::new("dpkg-deb");
    let output = run(command.arg("-f").arg(archive).arg("Version"), None)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Every installed package and its version.
pub(crate) fn installed() -> Result<BTreeMap<String, String>, LabError> {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f=${db:Status-Status} ${Package} ${Version}\n"]);
    let output = run(&mut command, None)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packages = text.lines().filter_map(|line| {
        let (name, version) = line.strip_prefix("installed ")?.split_once(' ')?;
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(packages.collect())
}

/// The part of a package's version that whoever makes the program gave it: without the epoch, the
/// revision of Debian, and what Debian's people add to tell how they repacked it.
pub fn upstream(version: &str) -> &str {
    let behind_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (upstream, _) = behind_epoch.rsplit_once('-').unwrap_or((behind_epoch, ""));
    let end = upstream.find(['+', '~']).unwrap_or(upstream.len());
    upstream.get(..end).unwrap_or(upstream)
}

/// The archive that lies in a folder.
fn archive(folder: &Path) -> Result<PathBuf, LabError> {
    let entries = fs::read_dir(folder).map_err(LabError::file(folder))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found = paths.find(|path| path.extension().is_some_and(|it| it == "deb"));
    found.ok_or_else(|| LabError::File {
        path: folder.to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=600"]);
    command.args(["-o", "Dpkg::Options::=--force-confold"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The answer that no service may be started, as long as this lives. An answer that somebody else
/// gave is left as it is.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn deny() -> Result<Self, LabError> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(Self { is_ours: false });
        }
        fs::write(path, DENY).map_err(LabError::file(path))?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, executable).map_err(LabError::file(path))?;
        Ok(Self { is_ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, expected: &str) {
        assert_eq!(upstream(version), expected);
    }

    #[test]
    fn the_upstream_part_is_what_the_program_says() {
        check("1:2.3.19.1+dfsg1-2.1+deb12u7", "2.3.19.1");
        check("1:9.2p1-2+deb12u10", "9.2p1");
        check("3:5.68-2+deb12u1", "5.68");
        check("6.8.0p2-4+b4", "6.8.0p2");
        check("1.6.7~rc0-1+b13", "1.6.7");
        check("2:1.12.13+real-28+deb12u1", "1.12.13");
        check("15+248", "15");
    }
}
