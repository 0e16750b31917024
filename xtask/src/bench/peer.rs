//! The programs that are compared: how each is called for the same question, and what it says it
//! found.

use super::measure::Subject;
use super::question::{Asked, Question};
use crate::run::{find, succeed};
use anyhow::{Context as _, Result};
use portolan_lab::Wire;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Soft limit of open files that a shell of Debian starts with: what Portolan has to make do with.
const OPEN_FILES_STOCK: u64 = 1024;

/// Files that `RustScan` needs beside its sockets.
const OPEN_FILES_SPARE: u64 = 2_000;

/// A program with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// `masscan` at so many packets a second, with retries or without.
    Masscan { rate: u32, retries: u8 },
    /// `nmap -sT -T5`.
    Nmap,
    /// `nmap -sS -T4`.
    NmapSyn,
    /// This project's program without privilege, with nothing else set.
    Portolan,
    /// This project's program with raw packets, with nothing else set.
    PortolanSyn,
    /// `rustscan` with a batch size and tries.
    RustScan { batch: u32, tries: u8 },
    /// `zmap` at so many packets a second, with a cool-down of one second.
    Zmap { rate: u32 },
}

/// Where the programs are, as far as they are installed.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) portolan: PathBuf,
    pub(super) masscan: Option<PathBuf>,
    pub(super) nmap: Option<PathBuf>,
    pub(super) rustscan: Option<PathBuf>,
    pub(super) zmap: Option<PathBuf>,
}

impl Programs {
    /// Finds the peers that are installed.
    pub(super) fn find(portolan: PathBuf) -> Self {
        Self {
            portolan,
            masscan: find("masscan"),
            nmap: find("nmap"),
            rustscan: find("rustscan"),
            zmap: find("zmap"),
        }
    }

    /// With `rustscan`, which is installed from the registry below the target folder when it is
    /// not there; fails without `nmap`.
    pub(super) fn with_rustscan(mut self, root: &Path) -> Result<Self> {
        self.nmap
            .as_ref()
            .context("nmap is missing: apt-get install nmap")?;
        if self.rustscan.is_none() {
            let peers = crate::run::target(root).join("peers");
            let own = peers.join("bin").join("rustscan");
            if !own.is_file() {
                println!("installing rustscan below {}", peers.display());
                succeed(
                    Command::new(crate::run::cargo())
                        .args(["install", "rustscan", "--locked", "--root"])
                        .arg(&peers),
                )?;
            }
            self.rustscan = Some(own);
        }
        Ok(self)
    }

    /// First line that each says about its version.
    pub(super) fn versions(&self) -> Result<Vec<String>> {
        let peers = [&self.nmap, &self.rustscan, &self.masscan, &self.zmap];
        std::iter::once(&self.portolan)
            .chain(peers.into_iter().flatten())
            .map(|program| {
                // One of them ends with an error although it answers.
                let output = Command::new(program).arg("--version").output()?;
                let text = String::from_utf8_lossy(&output.stdout);
                let line = text.lines().find(|line| !line.trim().is_empty());
                Ok(line.unwrap_or_default().to_owned())
            })
            .collect()
    }

    /// Where `peer` is.
    pub(super) fn path(&self, peer: Peer) -> Option<&PathBuf> {
        match peer {
            Peer::Masscan { .. } => self.masscan.as_ref(),
            Peer::Nmap | Peer::NmapSyn => self.nmap.as_ref(),
            Peer::Portolan | Peer::PortolanSyn => Some(&self.portolan),
            Peer::RustScan { .. } => self.rustscan.as_ref(),
            Peer::Zmap { .. } => self.zmap.as_ref(),
        }
    }
}

impl Peer {
    /// A name for tables and files.
    pub(super) fn name(self) -> String {
        match self {
            Self::Masscan { rate, retries: 0 } => format!("masscan --rate {rate}"),
            Self::Masscan { rate, retries } => format!("masscan --rate {rate} --retries {retries}"),
            Self::Nmap => "nmap -sT -T5".to_owned(),
            Self::NmapSyn => "nmap -sS -T4".to_owned(),
            Self::Portolan => "portolan".to_owned(),
            Self::PortolanSyn => "portolan --engine syn".to_owned(),
            Self::RustScan { batch, tries } => format!("rustscan -b {batch} --tries {tries}"),
            Self::Zmap { rate } => format!("zmap --rate {rate}"),
        }
    }

    /// Soft limit of open files it starts with.
    pub(super) fn open_files(self) -> u64 {
        match self {
            Self::RustScan { batch, .. } => u64::from(batch) + OPEN_FILES_SPARE,
            Self::Masscan { .. }
            | Self::Nmap
            | Self::NmapSyn
            | Self::Portolan
            | Self::PortolanSyn
            | Self::Zmap { .. } => OPEN_FILES_STOCK,
        }
    }

    /// The command that asks `question`; `None` when the program is not installed.
    pub(super) fn subject(self, programs: &Programs, question: &Question) -> Option<Subject> {
        let program = programs.path(self)?.to_string_lossy().into_owned();
        let arguments = self.arguments(question);
        let words = arguments.split_whitespace().map(ToOwned::to_owned);
        Some(Subject {
            command: std::iter::once(program).chain(words).collect(),
            open_files: self.open_files(),
            timeout_s: question.timeout_s,
        })
    }

    fn arguments(self, question: &Question) -> String {
        let Question { targets, ports, .. } = question;
        let words = ports.words();
        let family = if question.is_v6() { "-6" } else { "" };
        // These two ask nobody for the hardware address of the next hop but a router.
        let (scanner, mac) = (Wire::ADDRESSES.scanner, Wire::TARGET_MAC);
        match self {
            Self::Masscan { rate, retries } => {
                format!(
                    "{targets} {words} --rate {rate} --retries {retries} --wait 2 -oL - \
                     --adapter lab0 --adapter-ip {scanner} --router-mac {mac}",
                )
            }
            Self::Nmap => format!("{family} -sT -T5 -n -Pn {words} -oG - {targets}"),
            Self::NmapSyn => format!("{family} -sS -T4 -n -Pn {words} -oG - {targets}"),
            Self::Portolan => own_arguments(question, "connect"),
            Self::PortolanSyn => own_arguments(question, "syn"),
            Self::RustScan { batch, tries } => {
                format!(
                    "-a {targets} -r 1-65535 -b {batch} --tries {tries} --scan-order random \
                     --no-config --no-banner -g --accessible"
                )
            }
            Self::Zmap { rate } => {
                let mac = mac.replace('-', ":");
                // Its list of what is never scanned has the networks of benchmarks.
                format!(
                    "{targets} {words} --rate {rate} --cooldown-time 1 -o - -q -v 0 \
                     --disable-syslog -b /dev/null -i lab0 -S {scanner} -G {mac}"
                )
            }
        }
    }

    /// What its output calls open.
    pub(super) fn found(self, question: &Question, stdout: &str) -> BTreeSet<SocketAddr> {
        let lines = stdout.lines();
        match self {
            Self::Masscan { .. } => lines.filter_map(masscan_port).collect(),
            Self::Nmap | Self::NmapSyn => lines.flat_map(nmap_ports).collect(),
            Self::Portolan | Self::PortolanSyn => {
                lines.filter_map(|line| line.trim().parse().ok()).collect()
            }
            Self::RustScan { .. } => lines.flat_map(rustscan_ports).collect(),
            Self::Zmap { .. } => match question.ports {
                Asked::All => BTreeSet::new(),
                Asked::One(port) => lines
                    .filter_map(|line| Some(SocketAddr::new(line.trim().parse().ok()?, port)))
                    .collect(),
            },
        }
    }
}

fn own_arguments(question: &Question, engine: &str) -> String {
    let Question {
        targets,
        ports,
        format,
        own_words,
        ..
    } = question;
    let ports = ports.words();
    format!(
        "scan {targets} {ports} --engine {engine} --depth ports --format {format} \
         --progress never {own_words}"
    )
}

/// `open tcp 22 198.18.0.2 1700000000`
fn masscan_port(line: &str) -> Option<SocketAddr> {
    let mut words = line.strip_prefix("open tcp ")?.split_whitespace();
    let port = words.next()?.parse().ok()?;
    Some(SocketAddr::new(words.next()?.parse().ok()?, port))
}

/// `Host: 198.18.0.2 ()  Ports: 22/open/tcp//ssh///, 80/open/tcp//http///  Ignored State: …`
fn nmap_ports(line: &str) -> Vec<SocketAddr> {
    let host = line.strip_prefix("Host: ");
    let host = host.and_then(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    let (Some(host), Some((_, ports))) = (host, line.split_once("Ports: ")) else {
        return Vec::new();
    };
    ports
        .split(", ")
        .filter_map(|port| port.split_once("/open/tcp")?.0.trim().parse().ok())
        .map(|port| SocketAddr::new(host, port))
        .collect()
}

/// `198.18.0.2 -> [22,80]`
fn rustscan_ports(line: &str) -> Vec<SocketAddr> {
    let Some((host, rest)) = line.split_once(" -> [") else {
        return Vec::new();
    };
    let (Ok(host), Some((ports, _))) = (host.trim().parse::<IpAddr>(), rest.split_once(']')) else {
        return Vec::new();
    };
    ports
        .split(',')
        .filter_map(|port| Some(SocketAddr::new(host, port.trim().parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_ports(peer: Peer, stdout: &str, expected: &[u16]) {
        let question = Question {
            ports: Asked::One(80),
            ..Question::of_host("198.18.0.2".parse().unwrap(), &[], 1)
        };
        let found = peer.found(&question, stdout);
        let host = |found: &SocketAddr| found.ip().to_string() == "198.18.0.2";
        assert!(found.iter().all(host), "{found:?}");
        let found: Vec<u16> = found.iter().map(SocketAddr::port).collect();
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
        let lines = "198.18.0.2:22\n198.18.0.2:80\n";
        check_ports(Peer::Portolan, lines, &[22, 80]);
        check_ports(Peer::Portolan, "nothing open\n", &[]);
        let masscan = Peer::Masscan {
            rate: 1,
            retries: 0,
        };
        let lines = "#masscan\nopen tcp 22 198.18.0.2 1700000000\n# end\n";
        check_ports(masscan, lines, &[22]);
        check_ports(Peer::Zmap { rate: 1 }, "198.18.0.2\n", &[80]);
    }

    #[test]
    fn a_program_that_is_not_installed_has_no_command() {
        let programs = Programs {
            portolan: "/bin/portolan".into(),
            masscan: None,
            nmap: None,
            rustscan: None,
            zmap: None,
        };
        let question = Question::of_host("2001:db8::2".parse().unwrap(), &[1], 9);
        assert!(Peer::NmapSyn.subject(&programs, &question).is_none());
        let own = Peer::PortolanSyn.subject(&programs, &question).unwrap();
        assert_eq!(own.timeout_s, 9);
        assert!(own.command.join(" ").starts_with(
            "/bin/portolan scan 2001:db8::2 -p1-65535 --engine syn --depth ports --format list"
        ));
    }
}
