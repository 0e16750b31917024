//! What each thing seen of this machine means for scanning. Pure: the looking is done before.

use super::{Facts, StateFolder};
use portolan_model::{Check, Verdict};
use portolan_net::machine::{Clock, Firewall};
use portolan_net::privilege::{Capability, FileLimit, NoPackets, Privilege};
use std::net::IpAddr;

impl Facts {
    /// Every check, in the order in which it is read.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![
            self.privileges(),
            self.raw_packets(),
            self.xdp_sockets(),
            self.sandbox(),
            self.open_files(),
            self.memory(),
            self.interfaces(),
            route("IPv4 route", self.routes.v4),
            route("IPv6 route", self.routes.v6),
            self.names(),
            self.ephemeral_ports(),
            self.firewall(),
            self.tracking(),
            self.clock(),
            self.container(),
            self.socket_list(),
            self.state_folder(),
        ]
    }

    fn privileges(&self) -> Check {
        if self.privilege.is_root() {
            return ok("privileges", "root", "Nothing here needs more.");
        }
        let found = format!("user id {}", self.privilege.uid);
        let meaning = "TCP scans work without root. `portolan local` does not see \
                       the processes of other users, and the firewall cannot be looked at.";
        check("privileges", Verdict::Note, found, meaning).mended("sudo portolan doctor")
    }

    fn raw_packets(&self) -> Check {
        match self.packets {
            Ok(()) => ok(
                "raw packets",
                "allowed",
                "Scans send SYNs of their own, and look for hosts first. Rules in the OUTPUT chain \
                 of this machine do not apply to them; with `--engine connect` they do.",
            ),
            Err(NoPackets::NoCapability) => check(
                "raw packets",
                Verdict::Note,
                "not allowed to this user",
                "Scans connect as every program does, to every address. SYNs of their own, which \
                 are faster, and looking for hosts first need this right.",
            )
            .mended("sudo setcap cap_net_raw+ep \"$(command -v portolan)\""),
            Err(why) => check(
                "raw packets",
                Verdict::Note,
                "not possible",
                format!(
                    "Scans connect as every program does, and send no SYNs of their own: {why}."
                ),
            ),
        }
    }

    fn xdp_sockets(&self) -> Check {
        const NAME: &str = "XDP sockets";
        let Some(frames) = &self.frames else {
            let meaning = "Whether raw packets can leave by them shows in a scan.";
            return check(
                NAME,
                Verdict::Unknown,
                "the interfaces cannot be seen",
                meaning,
            );
        };
        let why_not: Vec<String> = frames
            .iter()
            .filter_map(|it| it.sends.as_ref().err().map(ToString::to_string))
            .collect();
        let good: Vec<&str> = frames
            .iter()
            .filter(|it| it.sends.is_ok())
            .map(|it| it.name.as_str())
            .collect();
        if good.is_empty() {
            let why = if why_not.is_empty() {
                "no interface but loopback is up".to_owned()
            } else {
                why_not.join("; ")
            };
            let meaning = format!("Raw packets leave by packet sockets, which cost more: {why}.");
            return check(NAME, Verdict::Note, "nowhere", meaning);
        }
        let elsewhere = if why_not.is_empty() {
            String::new()
        } else {
            format!(" Elsewhere packet sockets do: {}.", why_not.join("; "))
        };
        let rights = [Capability::Bpf, Capability::NetAdmin].into_iter();
        let missing = rights.filter(|it| self.privilege.holds(*it) != Some(true));
        let missing: Vec<&str> = missing.map(Capability::name).collect();
        let lacks = !missing.is_empty();
        let receives = if missing.is_empty() {
            "`--io xdp` receives by them as well.".to_owned()
        } else {
            format!(
                "To receive by them as well (`--io xdp`) this process lacks {}.",
                missing.join(" and ")
            )
        };
        let meaning = format!("Raw packets leave by them at less cost.{elsewhere} {receives}");
        let found = ok(NAME, good.join(", "), meaning);
        if lacks {
            found.mended(
                "sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep \
                 \"$(command -v portolan)\"",
            )
        } else {
            found
        }
    }

    fn sandbox(&self) -> Check {
        let Privilege {
            seccomp,
            no_new_privileges,
            ..
        } = self.privilege;
        match (seccomp, no_new_privileges) {
            (Some(true), _) => check(
                "sandbox",
                Verdict::Note,
                "a seccomp filter is in force",
                "A system call may be refused in the middle of a scan; ports lost in this way are \
                 reported as not tested, never as closed.",
            ),
            (_, Some(true)) => check(
                "sandbox",
                Verdict::Note,
                "no_new_privs is set",
                "sudo and file capabilities have no effect in this shell.",
            ),
            (Some(false), Some(false)) => ok("sandbox", "none", "System calls are not filtered."),
            _ => check(
                "sandbox",
                Verdict::Unknown,
                "/proc/self/status does not say",
                "System calls may be filtered.",
            ),
        }
    }

    fn open_files(&self) -> Check {
        let Some(FileLimit { now, hard, .. }) = self.files else {
            return check(
                "open files",
                Verdict::Unknown,
                "the limit cannot be read",
                "Every connection that waits for an answer takes one open file.",
            )
            .mended("ulimit -n");
        };
        let (verdict, fix) = match hard {
            0..FILES_MIN => (Verdict::Fatal, true),
            FILES_MIN..1_024 => (Verdict::Problem, true),
            1_024..FILES_GOOD => (Verdict::Note, true),
            _ => (Verdict::Ok, false),
        };
        let found = format!("{} now, up to {}", limit(now), limit(hard));
        let meaning = format!(
            "A scan raises the limit by itself, so at most about {} connections wait at a time; \
             with a timeout of one second that is as many silent ports a second.",
            limit(hard)
        );
        let found = check("open files", verdict, found, meaning);
        if fix {
            found.mended("sudo prlimit --pid $$ --nofile=65536:65536")
        } else {
            found
        }
    }

    fn memory(&self) -> Check {
        let Some(bytes) = self.kernel.memory_available_bytes else {
            let meaning = "A large scan takes up to 150 MiB.";
            return check(
                "memory",
                Verdict::Unknown,
                "/proc/meminfo does not say",
                meaning,
            );
        };
        let mebibytes = bytes >> 20;
        let found = format!("{mebibytes} MiB available");
        if mebibytes < 256 {
            let meaning = "A large scan takes up to 150 MiB and may be ended for want of memory; \
                           scan fewer ports or hosts at a time.";
            check("memory", Verdict::Note, found, meaning)
        } else {
            ok("memory", found, "Enough for the largest scan.")
        }
    }

    fn interfaces(&self) -> Check {
        let Some(attached) = &self.attached else {
            let meaning = "Which networks are attached is not known: name them in a scope file.";
            return check(
                "interfaces",
                Verdict::Unknown,
                "the kernel does not list them",
                meaning,
            )
            .mended("ip address");
        };
        let up = || attached.interfaces.iter().filter(|it| it.up);
        let named: Vec<String> = up()
            .filter(|it| !it.loopback && !it.addresses.is_empty())
            .map(|it| {
                format!(
                    "{} {}",
                    it.name,
                    joined(it.addresses.iter().map(|it| it.address))
                )
            })
            .collect();
        let loopback = up().any(|it| it.loopback && !it.addresses.is_empty());
        match (named.is_empty(), loopback) {
            (true, false) => check(
                "interfaces",
                Verdict::Fatal,
                "none is up with an address",
                "Nothing can be reached, not even this machine itself.",
            )
            .mended("sudo ip link set lo up"),
            (true, true) => check(
                "interfaces",
                Verdict::Note,
                "loopback only",
                "Only this machine itself can be scanned.",
            )
            .mended("ip link"),
            (false, false) => check(
                "interfaces",
                Verdict::Problem,
                format!("{}; loopback is down", named.join("; ")),
                "This machine cannot be scanned through localhost.",
            )
            .mended("sudo ip link set lo up"),
            (false, true) => ok(
                "interfaces",
                named.join("; "),
                "The networks of these interfaces need no scope file.",
            ),
        }
    }

    fn names(&self) -> Check {
        match &self.name_servers {
            Some(servers) if !servers.is_empty() => ok(
                "name resolution",
                joined(servers.iter().copied()),
                "Host names can be given as targets, as far as these servers answer.",
            ),
            _ => check(
                "name resolution",
                Verdict::Note,
                "no name server in /etc/resolv.conf",
                "Only addresses, and names in /etc/hosts, can be given as targets.",
            )
            .mended("cat /etc/resolv.conf"),
        }
    }

    fn ephemeral_ports(&self) -> Check {
        let Some(ports) = &self.kernel.ephemeral_ports else {
            return check(
                "source ports",
                Verdict::Unknown,
                "ip_local_port_range cannot be read",
                "They bound the connections to one port of one host at a time.",
            );
        };
        let found = format!("{} to {} ({})", ports.start(), ports.end(), ports.len());
        let meaning = "As many connections to one port of one host are possible at a time; \
                       different targets do not compete.";
        if ports.len() < 4_096 {
            check("source ports", Verdict::Note, found, meaning)
                .mended("sudo sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"")
        } else {
            ok("source ports", found, meaning)
        }
    }

    fn firewall(&self) -> Check {
        match self.firewall {
            Firewall::DropsOutput => check(
                "local firewall",
                Verdict::Problem,
                "an output chain drops what no rule accepts",
                "Probes may never leave this machine, and ports then look filtered that are not.",
            )
            .mended("sudo nft list ruleset"),
            Firewall::Open => ok(
                "local firewall",
                "no rule on output",
                "Probes leave this machine.",
            ),
            Firewall::OutputRules { rules } => check(
                "local firewall",
                Verdict::Note,
                format!("lines of rules on output: {rules}"),
                "Some probes may never leave this machine; read the rules when ports look filtered \
                 that should not be.",
            )
            .mended("sudo nft list ruleset"),
            Firewall::NeedsPrivilege => check(
                "local firewall",
                Verdict::Unknown,
                "only root may look",
                "If it drops what leaves, ports look filtered that are not.",
            )
            .mended("sudo portolan doctor"),
            Firewall::Unknown => check(
                "local firewall",
                Verdict::Unknown,
                "nft is not installed or does not answer",
                "If something drops what leaves, ports look filtered that are not.",
            )
            .mended("sudo nft list ruleset"),
        }
    }

    fn tracking(&self) -> Check {
        let Some(tracking) = self.kernel.tracking else {
            return ok(
                "connection tracking",
                "not loaded, or not visible here",
                "No table of connections fills up in this network namespace.",
            );
        };
        let room = tracking.max.saturating_sub(tracking.used);
        let found = format!("{} of {} entries used", tracking.used, tracking.max);
        let wanted = self.files.map_or(FILES_GOOD, |it| it.hard.min(FILES_GOOD));
        if room >= wanted {
            return ok(
                "connection tracking",
                found,
                "The table holds what a scan adds.",
            );
        }
        let verdict = if room < 1_024 {
            Verdict::Problem
        } else {
            Verdict::Note
        };
        let meaning = format!(
            "When the table is full, packets are dropped and ports look filtered that are not. \
             There is room for {room} more connections."
        );
        check("connection tracking", verdict, found, meaning)
            .mended("sudo sysctl -w net.netfilter.nf_conntrack_max=262144")
    }

    fn clock(&self) -> Check {
        let Clock {
            now_unix_s,
            installed_unix_s,
            synchronised,
        } = self.clock;
        let now = jiff::Timestamp::from_second(now_unix_s)
            .map_or_else(|_| format!("second {now_unix_s}"), |it| it.to_string());
        // One day allows for archives and images that carry a local time.
        let early = installed_unix_s.is_some_and(|it| now_unix_s < it.saturating_sub(86_400));
        if early || now_unix_s < 0 {
            return check(
                "clock",
                Verdict::Problem,
                format!("{now}, before this program was written to disk"),
                "Reports carry wrong times, certificates are judged wrongly, and a scope's expiry \
                 is not noticed.",
            )
            .mended("sudo timedatectl set-ntp true");
        }
        match synchronised {
            Some(true) => ok(
                "clock",
                format!("{now}, synchronised"),
                "Times can be trusted.",
            ),
            Some(false) => check(
                "clock",
                Verdict::Note,
                format!("{now}, not synchronised"),
                "Times in reports of different machines may not agree.",
            )
            .mended("sudo timedatectl set-ntp true"),
            None => check(
                "clock",
                Verdict::Unknown,
                format!("{now}, synchronisation unknown"),
                "Times in reports of different machines may not agree.",
            )
            .mended("timedatectl"),
        }
    }

    fn container(&self) -> Check {
        match &self.container {
            Some(runtime) => check(
                "container",
                Verdict::Note,
                runtime.clone(),
                "Interfaces, neighbours and listening sockets are those of the container, not of \
                 its host, unless it runs with the host's network.",
            ),
            None => ok(
                "container",
                "none noticed",
                "Interfaces and sockets are those of this machine.",
            ),
        }
    }

    fn socket_list(&self) -> Check {
        match &self.sockets_refused {
            None => ok(
                "socket list",
                "the kernel answers",
                "`portolan local` works, and scans of this machine name the processes.",
            ),
            Some(why) => check(
                "socket list",
                Verdict::Problem,
                why.clone(),
                "`portolan local` does not work here; scans do.",
            )
            .mended("sudo modprobe -a tcp_diag udp_diag"),
        }
    }

    fn state_folder(&self) -> Check {
        match &self.state {
            StateFolder::Writable(path) => ok(
                "state folder",
                path.display().to_string(),
                "Checkpoints and history can be kept.",
            ),
            StateFolder::NotWritable(path) => check(
                "state folder",
                Verdict::Problem,
                format!("{} cannot be written", path.display()),
                "No checkpoint is kept, so an interrupted scan starts from the beginning.",
            )
            .mended("export XDG_STATE_HOME=/path/that/can/be/written"),
            StateFolder::NoHome => check(
                "state folder",
                Verdict::Problem,
                "neither XDG_STATE_HOME nor HOME is set",
                "No checkpoint is kept, so an interrupted scan starts from the beginning.",
            )
            .mended("export XDG_STATE_HOME=/path/that/can/be/written"),
        }
    }
}

fn route(name: &str, present: Option<bool>) -> Check {
    match present {
        Some(true) => ok(
            name,
            "a default route",
            "Targets beyond the attached networks are tried.",
        ),
        Some(false) => check(
            name,
            Verdict::Note,
            "no default route",
            "Only attached networks and those with a route of their own can be reached.",
        )
        .mended(if name.starts_with("IPv6") {
            "ip -6 route"
        } else {
            "ip route"
        }),
        None => check(
            name,
            Verdict::Unknown,
            "the routing table cannot be read",
            "Targets beyond the attached networks may have no route.",
        ),
    }
}

fn ok(name: &str, found: impl Into<String>, meaning: impl Into<String>) -> Check {
    check(name, Verdict::Ok, found, meaning)
}

fn check(
    name: &str,
    verdict: Verdict,
    found: impl Into<String>,
    meaning: impl Into<String>,
) -> Check {
    Check {
        name: name.to_owned(),
        verdict,
        found: found.into().into(),
        meaning: meaning.into().into(),
        fix: None,
    }
}

fn limit(files: u64) -> String {
    if files == u64::MAX {
        "unlimited".to_owned()
    } else {
        files.to_string()
    }
}

/// At most four, then how many more.
fn joined(addresses: impl Iterator<Item = IpAddr>) -> String {
    let all: Vec<String> = addresses.map(|it| it.to_string()).collect();
    match all.split_at_checked(4) {
        Some((shown, rest)) if !rest.is_empty() => {
            format!("{} and {} more", shown.join(", "), rest.len())
        }
        _ => all.join(", "),
    }
}

/// Fewer open files than this leave no room for a connection beside what is open anyway.
const FILES_MIN: u64 = 32;
/// From this limit on, other things bound a scan first.
const FILES_GOOD: u64 = 16_384;
