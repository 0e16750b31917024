//! The programs that are compared: how each is called for the same question, and what it says it
//! found.

use super::measure::Subject;
use crate::run::{find, succeed};
use anyhow::{Context as _, Result};
use portolan_lab::Wire;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Soft limit of open files that a shell of Debian starts with: what Portolan has to make do with.
const OPEN_FILES_STOCK: u64 = 1024;

/// Files that `RustScan` needs beside its sockets.
const OPEN_FILES_SPARE: u64 = 2_000;

/// A program with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// `nmap -sT -T5`.
    Nmap,
    /// `masscan` at 100,000 packets a second, with retries or without.
    Masscan { retries: u8 },
    /// `nmap -sS -T4`.
    NmapSyn,
    /// This project's program without privilege, with nothing else set.
    Portolan,
    /// This project's program with raw packets, with nothing else set.
    PortolanSyn,
    /// `rustscan` with a batch size and tries.
    RustScan { batch: u32, tries: u8 },
}

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) portolan: PathBuf,
    pub(super) nmap: PathBuf,
    pub(super) rustscan: PathBuf,
    /// Where it is installed.
    pub(super) masscan: Option<PathBuf>,
}

impl Programs {
    /// Finds the peers; installs `rustscan` from the registry below the target folder when it is
    /// not there.
    pub(super) fn find(root: &Path, portolan: PathBuf) -> Result<Self> {
        let nmap = find("nmap").context("nmap is missing: apt-get install nmap")?;
        let peers = crate::run::target(root).join("peers");
        let own = peers.join("bin").join("rustscan");
        let rustscan = if let Some(installed) = find("rustscan") {
            installed
        } else {
            if !own.is_file() {
                println!("installing rustscan below {}", peers.display());
                succeed(
                    Command::new(crate::run::cargo())
                        .args(["install", "rustscan", "--locked", "--root"])
                        .arg(&peers),
                )?;
            }
            own
        };
        Ok(Self {
            portolan,
            nmap,
            rustscan,
            masscan: find("masscan"),
        })
    }

    /// First line that each says about its version.
    pub(super) fn versions(&self) -> Result<Vec<String>> {
        [&self.portolan, &self.nmap, &self.rustscan]
            .into_iter()
            .chain(&self.masscan)
            .map(|program| {
                // One of them ends with an error although it answers.
                let output = Command::new(program).arg("--version").output()?;
                let text = String::from_utf8_lossy(&output.stdout);
                let line = text.lines().find(|line| !line.trim().is_empty());
                Ok(line.unwrap_or_default().to_owned())
            })
            .collect()
    }
}

impl Peer {
    /// A name for tables and files.
    pub(super) fn name(self) -> String {
        match self {
            Self::Nmap => "nmap -sT -T5".to_owned(),
            Self::NmapSyn => "nmap -sS -T4".to_owned(),
            Self::Masscan { retries: 0 } => "masscan --rate 100000".to_owned(),
            Self::Masscan { retries } => format!("masscan --rate 100000 --retries {retries}"),
            Self::Portolan => "portolan".to_owned(),
            Self::PortolanSyn => "portolan --engine syn".to_owned(),
            Self::RustScan { batch, tries } => format!("rustscan -b {batch} --tries {tries}"),
        }
    }

    /// Soft limit of open files it starts with.
    pub(super) fn open_files(self) -> u64 {
        match self {
            Self::Nmap
            | Self::NmapSyn
            | Self::Masscan { .. }
            | Self::Portolan
            | Self::PortolanSyn => OPEN_FILES_STOCK,
            Self::RustScan { batch, .. } => u64::from(batch) + OPEN_FILES_SPARE,
        }
    }

    /// The command that asks for all ports of `address`.
    pub(super) fn subject(self, programs: &Programs, address: &str, timeout_s: u64) -> Subject {
        let missing = PathBuf::from("missing");
        let (program, arguments) = match self {
            Self::Nmap => {
                let arguments = format!("-sT -T5 -n -Pn -p- -oG - {address}");
                (&programs.nmap, arguments)
            }
            Self::NmapSyn => {
                let arguments = format!("-sS -T4 -n -Pn -p- -oG - {address}");
                (&programs.nmap, arguments)
            }
            Self::Masscan { retries } => {
                // It asks nobody for the hardware address of the next hop but a router.
                let arguments = format!(
                    "{address} -p0-65535 --rate 100000 --retries {retries} --wait 2 -oL - \
                     --adapter lab0 --adapter-ip {} --router-mac {}",
                    Wire::ADDRESSES.scanner,
                    Wire::TARGET_MAC,
                );
                (programs.masscan.as_ref().unwrap_or(&missing), arguments)
            }
            Self::Portolan => (&programs.portolan, own_arguments(address, "connect")),
            Self::PortolanSyn => (&programs.portolan, own_arguments(address, "syn")),
            Self::RustScan { batch, tries } => {
                let arguments = format!(
                    "-a {address} -r 1-65535 -b {batch} --tries {tries} --scan-order random \
                     --no-config --no-banner -g --accessible"
                );
                (&programs.rustscan, arguments)
            }
        };
        let mut command = vec![program.to_string_lossy().into_owned()];
        command.extend(arguments.split_whitespace().map(ToOwned::to_owned));
        Subject {
            command,
            open_files: self.open_files(),
            timeout_s,
        }
    }

    /// Ports that its output calls open.
    pub(super) fn open_ports(self, stdout: &str) -> BTreeSet<u16> {
        match self {
            Self::Nmap | Self::NmapSyn => nmap_ports(stdout),
            Self::Masscan { .. } => stdout.lines().filter_map(masscan_port).collect(),
            Self::Portolan | Self::PortolanSyn => stdout.lines().filter_map(last_number).collect(),
            Self::RustScan { .. } => rustscan_ports(stdout),
        }
    }
}

fn own_arguments(address: &str, engine: &str) -> String {
    format!("scan {address} -p - --engine {engine} --depth ports --format list --progress never")
}

/// `open tcp 22 198.18.0.2 1700000000`
fn masscan_port(line: &str) -> Option<u16> {
    let mut words = line.strip_prefix("open tcp ")?.split_whitespace();
    words.next()?.parse().ok()
}

/// `Host: 198.18.0.2 ()  Ports: 22/open/tcp//ssh///, 80/open/tcp//http///  Ignored State: …`
fn nmap_ports(stdout: &str) -> BTreeSet<u16> {
    stdout
        .lines()
        .filter_map(|line| line.split_once("Ports: "))
        .flat_map(|(_, ports)| ports.split(", "))
        .filter_map(|port| port.split_once("/open/tcp")?.0.trim().parse().ok())
        .collect()
}

/// `198.18.0.2 -> [22,80]`
fn rustscan_ports(stdout: &str) -> BTreeSet<u16> {
    stdout
        .lines()
        .filter_map(|line| line.split_once("-> [")?.1.split_once(']'))
        .flat_map(|(ports, _)| ports.split(','))
        .filter_map(|port| port.trim().parse().ok())
        .collect()
}

/// `198.18.0.2:22`
fn last_number(line: &str) -> Option<u16> {
    line.rsplit_once(':')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_ports(peer: Peer, stdout: &str, expected: &[u16]) {
        let found: Vec<u16> = peer.open_ports(stdout).into_iter().collect();
        assert_eq!(found, expected, "{stdout}");
    }

    #[test]
    fn outputs_are_read() {
        check_ports(
            Peer::Nmap,
            "# Nmap\nHost: 198.18.0.2 ()\tStatus: Up\nHost: 198.18.0.2 ()\t\
             Ports: 22/open/tcp//ssh///, 80/open/tcp//http///, 81/filtered/tcp//x///\tIgnored\n",
            &[22, 80],
        );
        check_ports(Peer::Nmap, "", &[]);
        let rustscan = Peer::RustScan { batch: 1, tries: 1 };
        check_ports(rustscan, "198.18.0.2 -> [80,22]\n", &[22, 80]);
        check_ports(rustscan, "", &[]);
        check_ports(
            Peer::Portolan,
            "198.18.0.2:22\n[2001:db8::1]:80\n",
            &[22, 80],
        );
        check_ports(Peer::Portolan, "nothing open\n", &[]);
        let masscan = Peer::Masscan { retries: 0 };
        let lines = "#masscan\nopen tcp 22 198.18.0.2 1700000000\n# end\n";
        check_ports(masscan, lines, &[22]);
    }
}
