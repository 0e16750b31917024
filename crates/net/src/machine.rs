//! What else of this machine bears on a scan: routes, name resolution, clock, firewall, container.
//! Only read; nothing is sent, and what cannot be found out stays unknown.

use crate::privilege::{Capability, Privilege};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

/// Whether there is a route to everywhere, by family. `None`: the table could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultRoutes {
    /// IPv4.
    pub v4: Option<bool>,
    /// IPv6.
    pub v6: Option<bool>,
}

/// Reads the kernel's routing tables.
pub fn default_routes() -> DefaultRoutes {
    DefaultRoutes {
        v4: read("/proc/net/route").map(|it| has_default_v4(&it)),
        v6: read("/proc/net/ipv6_route").map(|it| has_default_v6(&it)),
    }
}

/// `/proc/net/route`: interface, destination, gateway, flags, …, mask, in hexadecimal.
fn has_default_v4(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or_default();
        at(1) == "00000000" && at(7) == "00000000" && is_usable(at(3))
    })
}

/// `/proc/net/ipv6_route`: destination, prefix length, …, flags, interface, in hexadecimal.
fn has_default_v6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |index: usize| fields.get(index).copied().unwrap_or_default();
        at(0) == "0".repeat(32) && at(1) == "00" && is_usable(at(8)) && at(9) != "lo"
    })
}

/// Up (`RTF_UP`) and not there to refuse (`RTF_REJECT`).
fn is_usable(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|it| it & 1 != 0 && it & 0x200 == 0)
}

/// The name servers in `/etc/resolv.conf` (resolv.conf(5)); `None` when there is no such file.
pub fn name_servers() -> Option<Vec<IpAddr>> {
    read("/etc/resolv.conf").map(|it| servers_in(&it))
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let server = (words.next()? == "nameserver").then(|| words.next())??;
            // A link-local server carries its interface: fe80::1%eth0.
            server.split('%').next()?.parse().ok()
        })
        .take(SERVERS_MAX)
        .collect()
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Now, in seconds since 1970-01-01 UTC; negative before.
    pub now_unix_s: i64,
    /// When this program was written to disk, a time that cannot lie in the future.
    pub installed_unix_s: Option<i64>,
    /// Whether the clock is disciplined by a time server, as `timedatectl` says; `None` when it
    /// is not there or does not answer.
    pub synchronised: Option<bool>,
}

/// Reads the clock.
pub fn clock() -> Clock {
    let installed = std::env::current_exe()
        .and_then(std::fs::metadata)
        .and_then(|it| it.modified())
        .ok();
    Clock {
        now_unix_s: unix_s(SystemTime::now()),
        installed_unix_s: installed.map(unix_s),
        synchronised: synchronised(),
    }
}

fn unix_s(time: SystemTime) -> i64 {
    let seconds = |it: Duration| i64::try_from(it.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => seconds(before.duration()).saturating_neg(),
    }
}

fn synchronised() -> Option<bool> {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    match output_of("timedatectl", &arguments)?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What the local firewall does with what this machine sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// An output chain drops what no rule accepts.
    DropsOutput,
    /// No output chain has a rule or drops by policy.
    Open,
    /// Output chains have rules; what they do is not judged.
    OutputRules {
        /// How many lines of rules.
        rules: usize,
    },
    /// Only `CAP_NET_ADMIN` may look.
    NeedsPrivilege,
    /// `nft` is not installed or does not answer.
    Unknown,
}

/// Asks `nft list ruleset`, which only reads. Rules of the older iptables interface are seen when
/// they are kept in nftables, as current distributions do.
pub fn firewall(privilege: &Privilege) -> Firewall {
    if privilege.holds(Capability::NetAdmin) == Some(false) {
        return Firewall::NeedsPrivilege;
    }
    output_of("nft", &["list", "ruleset"]).map_or(Firewall::Unknown, |it| output_chains(&it))
}

fn output_chains(ruleset: &str) -> Firewall {
    let (mut rules, mut in_output) = (0_usize, false);
    for line in ruleset.lines().map(str::trim) {
        if line.starts_with("chain ") || line == "}" {
            in_output = false;
        } else if line.contains(" hook output ") {
            in_output = true;
            if line.contains("policy drop") {
                return Firewall::DropsOutput;
            }
        } else if in_output && !line.is_empty() && !line.starts_with("comment ") {
            rules = rules.saturating_add(1);
        }
    }
    if rules == 0 {
        Firewall::Open
    } else {
        Firewall::OutputRules { rules }
    }
}

/// What says that this process runs in a container, in words.
pub fn container() -> Option<String> {
    // systemd and its like write the name of the manager (systemd.io, "The Container Interface").
    let manager = read("/run/systemd/container").map(|it| it.trim().to_owned());
    let by_cgroup = || {
        let cgroup = read("/proc/self/cgroup")?;
        let container = crate::listeners::origin(&cgroup).container?;
        container.split(':').next().map(str::to_owned)
    };
    // Marker files also stay in images that run elsewhere, so they are named as what they are.
    let by_marker = || {
        let (path, runtime) = MARKERS.iter().find(|(path, _)| Path::new(path).exists())?;
        Some(format!("perhaps {runtime}: {path} exists"))
    };
    manager
        .filter(|it| !it.is_empty())
        .or_else(by_cgroup)
        .or_else(by_marker)
}

/// A whole small file; `None` when it cannot be read.
fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|it| it.take(BYTES_MAX).read_to_end(&mut bytes))
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a command of the system prints; `None` when it is missing, fails, or does not end within
/// [`COMMAND_TIME_MAX`].
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        // Administrators' tools are not in everybody's path.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(BYTES_MAX).read_to_end(&mut bytes);
        // The receiver is gone when time was up.
        let _ = send.send(read.map(|_| bytes));
    });
    let answer = receive.recv_timeout(COMMAND_TIME_MAX);
    if answer.is_err() {
        // It may have ended by itself in the meantime.
        let _ = child.kill();
    }
    let ended = child.wait();
    // The reader ends with the pipe, which the child's end has closed.
    let _ = reader.join();
    let bytes = answer.ok()?.ok()?;
    ended
        .ok()?
        .success()
        .then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Most read of a file or a command.
const BYTES_MAX: u64 = 4 << 20;
/// Longest wait for a command.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(2);
const SERVERS_MAX: usize = 16;
const MARKERS: [(&str, &str); 2] = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_and_refusing_ones_are_not() {
        let check = |line: &str, expected: bool| {
            let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
            assert_eq!(
                has_default_v4(&format!("{head}{line}\n")),
                expected,
                "{line}"
            );
        };
        check(
            "eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0",
            true,
        );
        check(
            "eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0",
            false,
        );
        check(
            "*\t00000000\t00000000\t0201\t0\t0\t100\t00000000\t0\t0\t0",
            false,
        );
        check("", false);
        let check = |line: &str, expected: bool| {
            assert_eq!(has_default_v6(line), expected, "{line}");
        };
        let zero = "0".repeat(32);
        let gateway = "fe80000000000000000000000000fe01";
        let rest = "00000400 00000000 00000000";
        check(
            &format!("{zero} 00 {zero} 00 {gateway} {rest} 00000003 eth0"),
            true,
        );
        check(
            &format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo"),
            false,
        );
        check(
            &format!("{gateway} 40 {zero} 00 {zero} {rest} 00000001 eth0"),
            false,
        );
        check("", false);
    }

    #[test]
    fn name_servers_are_read_and_noise_is_skipped() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            "nameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n",
            &["192.0.2.1", "2001:db8::1"],
        );
        check("nameserver fe80::1%eth0\n", &["fe80::1"]);
        check(
            "# nameserver 192.0.2.1\nsearch example\nnameserver\nnameserver x\n",
            &[],
        );
        assert_eq!(
            servers_in(&"nameserver ::1\n".repeat(99)).len(),
            SERVERS_MAX
        );
    }

    #[test]
    fn the_firewall_is_judged_by_its_output_chains() {
        let table = |policy: &str, rules: &str| {
            format!(
                "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority \
                 filter; policy drop;\n\t\tiif \"lo\" accept\n\t}}\n\n\tchain output {{\n\t\ttype \
                 filter hook output priority filter; policy {policy};\n{rules}\t}}\n}}\n"
            )
        };
        let check = |ruleset: &str, expected: Firewall| {
            assert_eq!(output_chains(ruleset), expected, "{ruleset}");
        };
        check("", Firewall::Open);
        check(&table("accept", ""), Firewall::Open);
        check(&table("drop", ""), Firewall::DropsOutput);
        let rule = "\t\ttcp dport 25 reject\n";
        check(&table("accept", rule), Firewall::OutputRules { rules: 1 });
        check(&table("drop", rule), Firewall::DropsOutput);
        let whole = table("accept", rule);
        for length in 0..whole.len() {
            output_chains(&whole[..length]);
        }
    }
}
