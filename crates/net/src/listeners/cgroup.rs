//! From a control group to the systemd unit or the container it belongs to. A pure function over
//! the text of `/proc/PID/cgroup` (cgroups(7)); neither systemd nor a container runtime is asked.

/// Where a process comes from, as its control groups name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The systemd unit: `ssh.service`; for a unit of a user's manager with that manager before
    /// it: `user@1000.service/app.service`.
    pub unit: Option<String>,
    /// The container as `runtime:id`.
    pub container: Option<String>,
}

/// Reads `/proc/PID/cgroup`: version 1 (one line a hierarchy), version 2 (one line that starts
/// with `0::`), or both. What no rule here knows yields nothing. At most 64 lines are
/// read.
pub fn origin(cgroup: &str) -> Origin {
    let mut found = Origin::default();
    let mut named_by_systemd = false;
    for line in cgroup.lines().take(LINES_MAX) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        if found.container.is_none() {
            found.container = container(path);
        }
        // In version 1 systemd keeps its own hierarchy, which says more than the others.
        let is_systemd = controllers == "name=systemd";
        if (found.unit.is_none() || (is_systemd && !named_by_systemd))
            && let Some(unit) = unit(path)
        {
            found.unit = Some(unit);
            named_by_systemd = is_systemd;
        }
    }
    found
}

/// The innermost manager's unit: the first service or scope below the last manager.
fn unit(path: &str) -> Option<String> {
    let mut manager: Option<&str> = None;
    for segment in path.split('/').map(unescaped) {
        if !is_unit(segment) || is_container_scope(segment) {
            continue;
        }
        match manager {
            // `user@1000.service` runs the manager of user 1000, whose own process is in
            // `init.scope` below it.
            Some(manager) if segment == "init.scope" => return Some(manager.to_owned()),
            Some(manager) => return Some(format!("{manager}/{segment}")),
            None if segment.starts_with("user@") && has_suffix(segment, ".service") => {
                manager = Some(segment);
            }
            None => return Some(segment.to_owned()),
        }
    }
    manager.map(str::to_owned)
}

fn is_unit(segment: &str) -> bool {
    [".service", ".scope", ".socket", ".mount"]
        .iter()
        .any(|suffix| has_suffix(segment, suffix))
}

fn has_suffix(segment: &str, suffix: &str) -> bool {
    segment.len() > suffix.len() && segment.ends_with(suffix)
}

/// systemd puts `_` before a name that the kernel would take for a file of its own.
fn unescaped(segment: &str) -> &str {
    segment.strip_prefix('_').unwrap_or(segment)
}

/// The innermost container of a path.
fn container(path: &str) -> Option<String> {
    let mut found = None;
    let mut before = "";
    let segments = || path.split('/').map(unescaped);
    for segment in segments() {
        let here = scope_container(segment)
            .or_else(|| triple_container(segment))
            .or_else(|| plain_container(segments(), segment))
            .or_else(|| machine_container(before, segment));
        if here.is_some() {
            found = here;
        }
        before = segment;
    }
    found
}

fn is_container_scope(segment: &str) -> bool {
    has_suffix(segment, ".scope") && scope_container(segment).is_some()
}

/// `docker-ID.scope`, and `libpod-ID` as podman writes it without systemd.
fn scope_container(segment: &str) -> Option<String> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    SCOPES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_id(id).then(|| format!("{runtime}:{id}"))
    })
}

/// `kubepods-pod1.slice:cri-containerd:ID`: a runtime told to use systemd on a host without it.
fn triple_container(segment: &str) -> Option<String> {
    let mut parts = segment.rsplitn(3, ':');
    let (id, runtime) = (parts.next()?, parts.next()?);
    let runtime = match runtime {
        "cri-containerd" => "containerd",
        "crio" => "cri-o",
        "libpod" => "podman",
        other => other,
    };
    (parts.next().is_some() && is_id(id) && !runtime.is_empty()).then(|| format!("{runtime}:{id}"))
}

/// A bare 64-digit id: `/docker/ID`, `/kubepods/burstable/podUID/ID`, `/default/ID`.
fn plain_container<'a>(segments: impl Iterator<Item = &'a str>, segment: &str) -> Option<String> {
    if !is_id(segment) || segment.len() != ID_CHARS {
        return None;
    }
    let runtime = segments
        .take_while(|it| *it != segment)
        .find_map(|it| match it {
            "docker" | "ecs" | "garden" => Some(it),
            "podman" | "libpod_parent" => Some("podman"),
            "default" | "moby" | "k8s.io" => Some("containerd"),
            _ if it.starts_with("kubepods") => Some("kubernetes"),
            _ => None,
        })
        .unwrap_or("container");
    Some(format!("{runtime}:{segment}"))
}

/// Containers that have a name of their own: LXC, Incus and `systemd-nspawn`.
fn machine_container(before: &str, segment: &str) -> Option<String> {
    let nspawn = segment
        .strip_prefix("systemd-nspawn@")
        .and_then(|it| it.strip_suffix(".service"));
    let (runtime, name) = if matches!(before, "lxc" | "lxc.payload" | "lxc.monitor") {
        ("lxc", segment)
    } else if let Some(name) = segment
        .strip_prefix("lxc.payload.")
        .or_else(|| segment.strip_prefix("lxc.monitor."))
    {
        ("lxc", name)
    } else {
        ("nspawn", nspawn?)
    };
    (!name.is_empty()).then(|| format!("{runtime}:{name}"))
}

/// Ids are hexadecimal; the shortest that runtimes write is 12 digits.
fn is_id(text: &str) -> bool {
    (12..=ID_CHARS).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit())
}

/// Most lines read of one file; version 1 has one line a controller.
pub(super) const LINES_MAX: usize = 64;
const ID_CHARS: usize = 64;
const SCOPES: [(&str, &str); 8] = [
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("crio-conmon-", "cri-o"),
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("libpod-conmon-", "podman"),
    ("nerdctl-", "containerd"),
    ("podman-", "podman"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c0b7e9a5d4c2e8f6a1b0c9d8e7f60123456789abcdef00112233445566778";

    fn check(cgroup: &str, unit: Option<&str>, container: Option<&str>) {
        let cgroup = cgroup.replace("ID", ID);
        let found = origin(&cgroup);
        assert_eq!(found.unit.as_deref(), unit, "unit of {cgroup}");
        let container = container.map(|it| it.replace("ID", ID));
        assert_eq!(found.container, container, "container of {cgroup}");
    }

    #[test]
    fn services_of_the_system_are_named() {
        check("0::/system.slice/ssh.service\n", Some("ssh.service"), None);
        check(
            "0::/system.slice/system-getty.slice/getty@tty1.service\n",
            Some("getty@tty1.service"),
            None,
        );
        check(
            "0::/system.slice/system-postgresql.slice/postgresql@17-main.service",
            Some("postgresql@17-main.service"),
            None,
        );
        check("0::/init.scope\n", Some("init.scope"), None);
        check(
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            Some("session-3.scope"),
            None,
        );
        check(
            "0::/system.slice/docker.service/supervisor (deleted)\n",
            Some("docker.service"),
            None,
        );
        check(
            "0::/system.slice/foo.service (deleted)\n",
            Some("foo.service"),
            None,
        );
        check("0::/system.slice/_cpu.service\n", Some("cpu.service"), None);
        check(
            "0::/system.slice/dbus-broker\\x2dlaunch.service",
            Some("dbus-broker\\x2dlaunch.service"),
            None,
        );
    }

    #[test]
    fn units_of_a_user_carry_their_manager() {
        let manager = "/user.slice/user-1000.slice/user@1000.service";
        check(
            &format!("0::{manager}/app.slice/foo.service\n"),
            Some("user@1000.service/foo.service"),
            None,
        );
        check(
            &format!("0::{manager}/app.slice/app-gnome-firefox-4711.scope\n"),
            Some("user@1000.service/app-gnome-firefox-4711.scope"),
            None,
        );
        check(
            &format!("0::{manager}/init.scope\n"),
            Some("user@1000.service"),
            None,
        );
        check(&format!("0::{manager}\n"), Some("user@1000.service"), None);
        check(
            &format!("0::{manager}/user.slice/libpod-ID.scope/container\n"),
            Some("user@1000.service"),
            Some("podman:ID"),
        );
    }

    #[test]
    fn version_one_is_read_from_the_hierarchy_of_systemd() {
        check(
            "12:pids:/user.slice/user-0.slice/session-1.scope\n\
             4:memory:/system.slice/cron.service\n\
             1:name=systemd:/system.slice/nginx.service\n\
             0::/system.slice/cron.service\n",
            Some("nginx.service"),
            None,
        );
        check(
            "9:name=systemd:/\n4:memory:/system.slice/nginx.service\n0::/\n",
            Some("nginx.service"),
            None,
        );
        check("9:name=systemd:/\n8:pids:/\n0::/\n", None, None);
    }

    #[test]
    fn containers_are_named_with_their_runtime() {
        check(
            "0::/system.slice/docker-ID.scope\n",
            None,
            Some("docker:ID"),
        );
        check("5:cpu,cpuacct:/docker/ID\n", None, Some("docker:ID"));
        check(
            "0::/machine.slice/libpod-ID.scope\n",
            None,
            Some("podman:ID"),
        );
        check(
            "0::/machine.slice/libpod-ID.scope/container\n",
            None,
            Some("podman:ID"),
        );
        check(
            "0::/machine.slice/libpod-conmon-ID.scope\n",
            None,
            Some("podman:ID"),
        );
        check("0::/libpod_parent/libpod-ID\n", None, Some("podman:ID"));
        check("0::/default/ID\n", None, Some("containerd:ID"));
        check(
            "0::/system.slice/nerdctl-ID.scope",
            None,
            Some("containerd:ID"),
        );
        check("0::/ecs/0123456789ab/ID\n", None, Some("ecs:ID"));
        check("0::/unheard/ID\n", None, Some("container:ID"));
        check("0::/lxc.payload.web/\n", None, Some("lxc:web"));
        check(
            "0::/lxc/web/init.scope\n",
            Some("init.scope"),
            Some("lxc:web"),
        );
        check(
            "0::/lxc.payload/db/system.slice/postgresql.service\n",
            Some("postgresql.service"),
            Some("lxc:db"),
        );
        check(
            "0::/machine.slice/systemd-nspawn@web.service/payload\n",
            Some("systemd-nspawn@web.service"),
            Some("nspawn:web"),
        );
    }

    #[test]
    fn pods_are_named_with_the_runtime_that_started_them() {
        let pod = "kubepods-burstable-pod2c48913c_b29f_11e7.slice";
        check(
            &format!("0::/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-ID.scope"),
            None,
            Some("containerd:ID"),
        );
        check(
            &format!("0::/kubepods.slice/kubepods-burstable.slice/{pod}/crio-ID.scope\n"),
            None,
            Some("cri-o:ID"),
        );
        check(
            &format!("0::/kubepods.slice/kubepods-burstable.slice/{pod}/docker-ID.scope\n"),
            None,
            Some("docker:ID"),
        );
        check(
            "11:memory:/kubepods/burstable/pod2c48913c-b29f-11e7/ID\n",
            None,
            Some("kubernetes:ID"),
        );
        check(
            &format!("0::/system.slice/containerd.service/{pod}:cri-containerd:ID\n"),
            Some("containerd.service"),
            Some("containerd:ID"),
        );
    }

    #[test]
    fn what_is_no_container_is_not_called_one() {
        check(
            "4:memory:/process_api/7dd9b4189e0f7a2a86b366d9e0\n",
            None,
            None,
        );
        check(
            "0::/system.slice/docker-registry.service\n",
            Some("docker-registry.service"),
            None,
        );
        check(
            "0::/system.slice/docker-cleanup.scope",
            Some("docker-cleanup.scope"),
            None,
        );
        check("0::/user.slice/default/notes\n", None, None);
        check("0::/lxc.payload.\n", None, None);
    }

    #[test]
    fn noise_and_truncation_never_panic_and_invent_nothing() {
        for text in [
            "",
            "\n\n",
            ":",
            "::",
            ":::::",
            "0::",
            "0::/.service",
            "x",
            "0:/a.service",
        ] {
            check(text, None, None);
        }
        let whole = format!("0::/user.slice/user@1000.service/a.slice/docker-{ID}.scope");
        for length in 0..whole.len() {
            let found = origin(&whole[..length]);
            if let Some(unit) = found.unit {
                assert_eq!(unit, "user@1000.service");
            }
        }
    }
}
