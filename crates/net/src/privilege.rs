//! What this process may do and how much of it: user, capabilities, open files, and the kernel's
//! settings that bound a scan. The only change made here is to this process's own soft limit.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ops::RangeInclusive;
use std::path::Path;

/// A right of capabilities(7) that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Load programs for frames: needed with [`Capability::NetAdmin`] to attach one.
    Bpf,
    /// Write every file: needed to write results into folders of other users.
    DacOverride,
    /// Read every file: needed with [`Capability::SysPtrace`] to see the sockets of other users.
    DacReadSearch,
    /// Listen on privileged ports.
    NetBindService,
    /// Read and change the firewall.
    NetAdmin,
    /// Raw and packet sockets.
    NetRaw,
    /// Look into processes of other users.
    SysPtrace,
}

/// The rights of this process. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privilege {
    /// Effective user id; 0 is root, perhaps only of a user namespace.
    pub uid: u32,
    /// Effective capabilities as the bit mask of `proc_pid_status(5)`.
    pub capabilities: Option<u64>,
    /// Whether `no_new_privs` keeps capabilities of programs from taking effect.
    pub no_new_privileges: Option<bool>,
    /// Whether a seccomp filter is in force.
    pub seccomp: Option<bool>,
}

impl Privilege {
    /// The rights of this process now.
    pub fn now() -> Self {
        let status = procfs::process::Process::myself().and_then(|it| it.status());
        let status = status.ok();
        let status = status.as_ref();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            capabilities: status.map(|it| it.capeff),
            no_new_privileges: status.and_then(|it| it.nonewprivs).map(|it| it != 0),
            seccomp: status.and_then(|it| it.seccomp).map(|it| it != 0),
        }
    }

    /// Effective user id 0.
    pub const fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether `capability` is in force; `None` when the capabilities are not known.
    pub fn holds(&self, capability: Capability) -> Option<bool> {
        self.capabilities.map(|mask| mask & capability.mask() != 0)
    }
}

impl Capability {
    const fn bit(self) -> u8 {
        match self {
            Self::Bpf => 39,
            Self::DacOverride => 1,
            Self::DacReadSearch => 2,
            Self::NetBindService => 10,
            Self::NetAdmin => 12,
            Self::NetRaw => 13,
            Self::SysPtrace => 19,
        }
    }

    /// Its bit in the masks of `proc_pid_status(5)`.
    pub const fn mask(self) -> u64 {
        1_u64 << self.bit()
    }

    /// The name as `setcap(8)` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "cap_bpf",
            Self::DacOverride => "cap_dac_override",
            Self::DacReadSearch => "cap_dac_read_search",
            Self::NetBindService => "cap_net_bind_service",
            Self::NetAdmin => "cap_net_admin",
            Self::NetRaw => "cap_net_raw",
            Self::SysPtrace => "cap_sys_ptrace",
        }
    }
}

/// Why this process may not use packet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPackets {
    /// The process holds the capability, and the kernel refuses all the same.
    #[error(
        "the kernel refuses packet sockets ({}): a sandbox or container blocks them, or they need \
         a network namespace of one's own; run outside of it",
        .0.desc()
    )]
    Blocked(nix::errno::Errno),
    /// `CAP_NET_RAW` is not in force.
    #[error(
        "packet sockets need the right {}, which this process does not hold; run as root, or give \
         it to the program with `sudo setcap {}+ep <program>`",
        Capability::NetRaw.name(),
        Capability::NetRaw.name()
    )]
    NoCapability,
    /// The kernel was built without them.
    #[error("this kernel has no packet sockets; load them with `sudo modprobe af_packet`")]
    NotSupported,
}

/// Whether this process may send and receive whole packets, found out by opening a socket that
/// receives nothing.
///
/// # Errors
/// Why not.
pub fn may_use_packets() -> Result<(), NoPackets> {
    match crate::raw::packet::open(portolan_wire::LinkType::Ethernet) {
        Ok(_) => Ok(()),
        Err(errno) => Err(no_packets(errno, &Privilege::now())),
    }
}

fn no_packets(errno: nix::errno::Errno, privilege: &Privilege) -> NoPackets {
    match errno {
        nix::errno::Errno::EAFNOSUPPORT => NoPackets::NotSupported,
        nix::errno::Errno::EPERM if privilege.holds(Capability::NetRaw) != Some(true) => {
            NoPackets::NoCapability
        }
        errno => NoPackets::Blocked(errno),
    }
}

/// The limit of open files of this process (`RLIMIT_NOFILE`, getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit {
    /// Soft limit before anything was changed.
    pub before: u64,
    /// Soft limit now.
    pub now: u64,
    /// Hard limit, up to which the soft one may be raised without privilege.
    pub hard: u64,
}

/// Why the limit of open files could not be read or raised.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// `getrlimit(2)` failed.
    #[error("the limit of open files cannot be read ({0}); check it with `ulimit -n`")]
    Read(nix::errno::Errno),
    /// `setrlimit(2)` failed.
    #[error("the limit of open files stays at {now} ({why}); raise it with `ulimit -n {hard}`")]
    Raise {
        /// Soft limit in force.
        now: u64,
        /// Hard limit.
        hard: u64,
        /// What the kernel said.
        why: nix::errno::Errno,
    },
}

/// The limit of open files, unchanged.
///
/// # Errors
/// When the kernel does not tell.
pub fn file_limit() -> Result<FileLimit, LimitError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(LimitError::Read)?;
    Ok(FileLimit {
        before: soft,
        now: soft,
        hard,
    })
}

/// Raises the soft limit of open files to the hard one; for this process and its children only.
///
/// # Errors
/// When the limit cannot be read, or when the kernel refuses to raise it.
pub fn raise_file_limit() -> Result<FileLimit, LimitError> {
    let FileLimit { now, hard, .. } = file_limit()?;
    if now < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|why| LimitError::Raise {
            now,
            hard,
            why,
        })?;
    }
    Ok(FileLimit {
        before: now,
        now: now.max(hard),
        hard,
    })
}

/// Settings of the kernel that bound a scan. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Ports that outgoing connections are given (ip(7), `ip_local_port_range`).
    pub ephemeral_ports: Option<RangeInclusive<u16>>,
    /// Lowest port that needs no privilege (ip(7), `ip_unprivileged_port_start`).
    pub unprivileged_port_start: Option<u16>,
    /// `tcp_tw_reuse` (tcp(7)): 0 off, 1 on, 2 for loopback only.
    pub time_wait_reuse: Option<u32>,
    /// Longest accept queue a server may ask for (`somaxconn`).
    pub accept_queue_max: Option<u32>,
    /// Whether a new IPv6 socket leaves IPv4 out (`bindv6only`, ipv6(7)).
    pub ipv6_only_by_default: Option<bool>,
    /// Open files of the whole machine (`file-max`).
    pub files_max: Option<u64>,
    /// Connection tracking, when it is loaded.
    pub tracking: Option<Tracking>,
    /// Memory that can be used without swapping, bytes (`MemAvailable`, `proc_meminfo(5)`).
    pub memory_available_bytes: Option<u64>,
}

/// The table of tracked connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// Entries in use.
    pub used: u64,
    /// Most entries; a packet beyond is dropped.
    pub max: u64,
}

impl Kernel {
    /// Reads the settings.
    pub fn now() -> Self {
        let used = setting("net/netfilter/nf_conntrack_count");
        let max = setting("net/netfilter/nf_conntrack_max");
        Self {
            ephemeral_ports: text("net/ipv4/ip_local_port_range").and_then(|it| port_range(&it)),
            unprivileged_port_start: setting("net/ipv4/ip_unprivileged_port_start"),
            time_wait_reuse: setting("net/ipv4/tcp_tw_reuse"),
            accept_queue_max: setting("net/core/somaxconn"),
            ipv6_only_by_default: setting("net/ipv6/bindv6only").map(|it: u32| it != 0),
            files_max: setting("fs/file-max"),
            tracking: used.zip(max).map(|(used, max)| Tracking { used, max }),
            memory_available_bytes: memory_available(),
        }
    }
}

fn text(name: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    text(name)?.trim().parse().ok()
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse::<u16>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (first <= last).then_some(first..=last)
}

fn memory_available() -> Option<u64> {
    use procfs::Current;
    procfs::Meminfo::current().ok()?.mem_available
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mask: Option<u64>, capability: Capability, expected: Option<bool>) {
        let privilege = Privilege {
            capabilities: mask,
            ..Privilege::default()
        };
        assert_eq!(privilege.holds(capability), expected, "{mask:x?}");
    }

    #[test]
    fn a_refusal_of_packets_says_whether_a_right_is_missing() {
        use nix::errno::Errno;
        let check = |errno, capabilities, expected| {
            let privilege = Privilege {
                capabilities,
                ..Privilege::default()
            };
            assert_eq!(no_packets(errno, &privilege), expected);
        };
        check(Errno::EPERM, Some(0), NoPackets::NoCapability);
        check(Errno::EPERM, None, NoPackets::NoCapability);
        let blocked = NoPackets::Blocked(Errno::EPERM);
        check(Errno::EPERM, Some(1 << 13), blocked);
        check(Errno::EAFNOSUPPORT, Some(0), NoPackets::NotSupported);
        let blocked = NoPackets::Blocked(Errno::EACCES);
        check(Errno::EACCES, Some(0), blocked);
        let message = NoPackets::NoCapability.to_string();
        assert!(message.contains("setcap cap_net_raw+ep"), "{message}");
    }

    #[test]
    fn capabilities_are_bits_of_the_mask() {
        check(Some(0x2000), Capability::NetRaw, Some(true));
        check(Some(0x2000), Capability::NetAdmin, Some(false));
        check(Some(0x1000), Capability::NetAdmin, Some(true));
        check(Some(0x400), Capability::NetBindService, Some(true));
        check(Some(0x8_0000), Capability::SysPtrace, Some(true));
        check(Some(4), Capability::DacReadSearch, Some(true));
        check(Some(2), Capability::DacOverride, Some(true));
        check(Some(0), Capability::NetRaw, Some(false));
        check(None, Capability::NetRaw, None);
    }

    #[test]
    fn port_ranges_are_read_or_refused() {
        assert_eq!(port_range("32768\t60999\n"), Some(32768..=60999));
        for bad in ["", "1", "9 1", "1 70000", "a b"] {
            assert_eq!(port_range(bad), None, "{bad}");
        }
    }
}
