//! What is written about the sockets of an invented machine.

use super::*;
use crate::columns;
use portolan_model::Process;
use std::net::IpAddr;

fn process(pid: u32, name: &str, unit: Option<&str>) -> Process {
    Process {
        pid,
        name: name.into(),
        executable: Some(format!("/usr/sbin/{name}").into()),
        user: "root".into(),
        unit: unit.map(Into::into),
        container: None,
        started_unix_s: Some(1_767_225_600),
    }
}

fn listener(address: &str, port: u16, reach: Reach, processes: Vec<Process>) -> Listener {
    let address: IpAddr = address.parse().unwrap();
    Listener {
        transport: Transport::Tcp,
        address,
        port,
        interface: None,
        one_family: Some(address.is_ipv4()),
        reach,
        inode: u64::from(port) + u64::from(address.is_ipv6()) * 100_000,
        uid: 0,
        user: "root".into(),
        processes,
        queue: 0,
        backlog: Some(511),
    }
}

fn machine() -> Vec<Listener> {
    let nginx = vec![
        process(712, "nginx", Some("nginx.service")),
        process(713, "nginx", Some("nginx.service")),
        process(714, "nginx", Some("nginx.service")),
    ];
    let mut contained = process(99, "redis-server", None);
    contained.container = Some(format!("docker:{}", "3f1c".repeat(16)).into());
    let mut mdns = listener("0.0.0.0", 5353, Reach::Segment, Vec::new());
    mdns.transport = Transport::Udp;
    mdns.backlog = None;
    mdns.interface = Some("eth0".into());
    vec![
        listener("0.0.0.0", 80, Reach::Anywhere, nginx),
        mdns,
        listener("127.0.0.1", 6379, Reach::Loopback, vec![contained]),
        listener(
            "::",
            8080,
            Reach::Anywhere,
            vec![process(
                4711,
                "python3",
                Some("user@1000.service/notes.service"),
            )],
        ),
    ]
}

fn shown(local: &Local, options: &Options) -> String {
    let mut out = Vec::new();
    write_local(local, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn check(local: &Local, options: &Options, expected: &str) {
    let found = shown(local, options);
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}

const ACCESSIBLE: Options = Options {
    width: 80,
    colour: Colour::Always,
    layout: Layout::Accessible,
    only: crate::Only::All,
    detail: crate::Detail::Normal,
};

#[test]
fn the_table_fits_eighty_columns() {
    let note = "1 socket is hidden: see it with sudo portolan local".to_owned();
    let local = Local::new("0.1.0", machine(), vec![note]);
    check(
        &local,
        &Options::default(),
        "\
PORT      ADDRESS       REACH     PROCESS            USER  UNIT/CONTAINER
80/tcp    0.0.0.0       anywhere  nginx (712) +2     root  nginx.service
5353/udp  0.0.0.0%eth0  segment   hidden             root
6379/tcp  127.0.0.1     loopback  redis-server (99)  root  docker:3f1c3f1c3f1c
8080/tcp  :: + IPv4     anywhere  python3 (4711)     root  notes.service
4 sockets: 2 reachable from anywhere, 1 from the segment, 1 from this machine
only (a firewall may allow less).
1 socket is hidden: see it with sudo portolan local
",
    );
    for width in [40, 60, 80, 200] {
        let options = Options {
            width,
            ..Options::default()
        };
        for line in shown(&local, &options).lines() {
            assert!(columns::width_of(line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn sentences_say_what_the_table_says() {
    check(
        &Local::new("0.1.0", machine(), Vec::new()),
        &ACCESSIBLE,
        "\
TCP port 80 on 0.0.0.0, every IPv4 address, reach anywhere. Held by nginx, process 712, user root, unit nginx.service, and 2 more processes.
UDP port 5353 on 0.0.0.0, every IPv4 address, interface eth0 only, reach segment. Its process is hidden; user root.
TCP port 6379 on 127.0.0.1, reach loopback. Held by redis-server, process 99, user root, container docker:3f1c3f1c3f1c.
TCP port 8080 on ::, every IPv6 and IPv4 address, reach anywhere. Held by python3, process 4711, user root, unit notes.service.
4 sockets: 2 reachable from anywhere, 1 from the segment, 1 from this machine only (a firewall may allow less).
",
    );
}

#[test]
fn nothing_is_said_in_colour_alone() {
    let local = Local::new("0.1.0", machine(), Vec::new());
    let coloured = shown(
        &local,
        &Options {
            colour: Colour::Always,
            ..Options::default()
        },
    );
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, shown(&local, &Options::default()));
}

#[test]
fn workers_of_one_process_are_one_row_and_strangers_are_a_warning() {
    let mut held = machine();
    let mut twin = held[0].clone();
    twin.inode = 9_000;
    held.insert(1, twin);
    let found = shown(
        &Local::new("0.1.0", held.clone(), Vec::new()),
        &Options::default(),
    );
    assert!(found.contains("80/tcp    0.0.0.0 ×2 "), "{found}");
    assert!(!found.contains("Warning"), "{found}");
    held[1].processes = vec![process(800, "apache2", Some("apache2.service"))];
    let local = Local::new("0.1.0", held, Vec::new());
    let found = shown(&local, &Options::default());
    let warning = "\
Warning: two different programs answer on tcp port 80: nginx (pid 712) and
  apache2 (pid 800); a connection reaches either of them.
";
    assert!(found.ends_with(warning), "{found}");
    assert_eq!(local.conflicts.len(), 1);
}

fn surroundings() -> Surroundings {
    Surroundings {
        now_unix_s: 1_767_225_600 + 3 * 86_400 + 5,
        own: vec!["192.0.2.7".parse().unwrap()],
        unprivileged_port_start: Some(1024),
        ephemeral_ports: Some(32_768..=60_999),
        connections: Some(0),
        bound: Some(0),
        units: vec![Unit {
            name: "nginx.service".to_owned(),
            starts_at_boot: Some(true),
        }],
    }
}

#[test]
fn a_held_port_is_explained_with_what_a_second_server_gets() {
    let local = Local::new("0.1.0", machine(), Vec::new()).of_port(80, &surroundings());
    check(
        &local,
        &Options::default(),
        "\
TCP port 80 on 0.0.0.0, every IPv4 address, reach anywhere
  held by: nginx (712), nginx (713), nginx (714)
  executable: /usr/sbin/nginx
  user: root
  since: 2026-01-01T00:00:00Z, for 3 days
  unit: nginx.service, starts at boot
  waiting: 0 of at most 511 connections
A second server that asks for TCP port 80 gets:
  0.0.0.0:80         Address already in use (EADDRINUSE): nginx (712)
  [::]:80 + IPv4     Address already in use (EADDRINUSE): nginx (712)
  [::]:80 IPv6 only  success
  127.0.0.1:80       Address already in use (EADDRINUSE): nginx (712)
  [::1]:80           success
  192.0.2.7:80       Address already in use (EADDRINUSE): nginx (712)
  SO_REUSEADDR does not help while the holder listens. SO_REUSEPORT helps
      only when the holder has set it too, which the kernel does not tell, and
      both run as user id 0.
UDP port 80 is free.
A server needs root or CAP_NET_BIND_SERVICE for this port; without them it gets
\"Permission denied\" (EACCES). A unit grants it with
AmbientCapabilities=CAP_NET_BIND_SERVICE.
What can be done when another server wants the port:
  - Stop nginx.service until it is started again.
      sudo systemctl stop nginx.service
  - Stop nginx.service and keep it from starting at boot.
      sudo systemctl disable --now nginx.service
  - Let the second server listen on another port, such as 8081, which is free
    now.
  - Give each server an address of its own: then both must name it, because a
    server on every address (0.0.0.0 or ::) leaves none for another.
  - Put one behind the other: let the second server listen on 127.0.0.1:8081
    and let nginx pass requests on to it (reverse proxy), or the other way
    round.
",
    );
}

#[test]
fn a_free_port_is_called_free_with_what_may_still_stand_in_the_way() {
    let around = Surroundings {
        connections: Some(2),
        bound: Some(1),
        ..surroundings()
    };
    let local = Local::new("0.1.0", machine(), Vec::new()).of_port(40_000, &around);
    let found = shown(&local, &Options::default()).replace('\n', " ");
    assert!(found.starts_with("Port 40000 is free: nothing listens on it."));
    for part in [
        "ip_local_reserved_ports=40000",
        "2 TCP connections have local port 40000",
        "1 TCP socket is bound to port 40000 without listening",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert!(!found.contains("EACCES"), "{found}");
    assert!(!found.contains("What can be done"), "{found}");
    let unknown = Local::new("0.1.0", Vec::new(), Vec::new()).of_port(80, &Surroundings::default());
    check(
        &unknown,
        &Options::default(),
        "Port 80 is free: nothing listens on it.\n",
    );
}

#[test]
fn the_command_fits_what_holds_the_port() {
    let check = |holder: Option<Process>, expected: Option<&str>| {
        let held = listener("::", 80, Reach::Anywhere, holder.into_iter().collect());
        let local = Local::new("0.1.0", vec![held], Vec::new()).of_port(80, &surroundings());
        let first = local.port.unwrap().remedies.remove(0);
        assert_eq!(first.command.as_deref(), expected, "{}", first.what);
    };
    let in_container = |container: &str| {
        let mut one = process(7, "web", None);
        one.container = Some(container.into());
        Some(one)
    };
    check(None, Some("sudo portolan local 80"));
    check(Some(process(7, "web", None)), Some("sudo kill 7"));
    check(
        Some(process(7, "web", Some("session-2.scope"))),
        Some("sudo kill 7"),
    );
    check(
        Some(process(7, "web", Some("user@1000.service/web.service"))),
        Some("sudo systemctl --user --machine=1000@ stop web.service"),
    );
    check(
        Some(process(1, "systemd", Some("init.scope"))),
        Some("systemctl list-sockets --show-types"),
    );
    check(
        Some(process(7, "docker-proxy", Some("docker.service"))),
        Some("docker ps --filter publish=80"),
    );
    check(
        in_container(&format!("docker:{}", "ab".repeat(32))),
        Some("docker stop abababababab"),
    );
    check(
        in_container("podman:0123456789ab"),
        Some("podman stop 0123456789ab"),
    );
    check(in_container("lxc:web"), Some("sudo lxc-stop --name web"));
    check(in_container("unheard:web"), None);
}

#[test]
fn no_name_of_a_stranger_becomes_part_of_a_command() {
    for name in [
        "a;reboot.service",
        "$(reboot).service",
        "-x.service",
        "a b.service",
    ] {
        let held = listener(
            "::",
            80,
            Reach::Anywhere,
            vec![process(7, "web", Some(name))],
        );
        let local = Local::new("0.1.0", vec![held], Vec::new()).of_port(80, &surroundings());
        let first = local.port.unwrap().remedies.remove(0);
        assert_eq!(first.command.as_deref(), Some("sudo kill 7"));
    }
    let mut one = process(7, "web", None);
    one.container = Some("lxc:a;reboot".into());
    let held = listener("::", 80, Reach::Anywhere, vec![one]);
    let local = Local::new("0.1.0", vec![held], Vec::new()).of_port(80, &surroundings());
    assert_eq!(local.port.unwrap().remedies[0].command, None);
}

#[test]
fn json_names_its_schema_and_reads_back() {
    for local in [
        Local::new("0.1.0", machine(), vec!["a note".to_owned()]),
        Local::new("0.1.0", machine(), Vec::new()).of_port(80, &surroundings()),
    ] {
        let mut out = Vec::new();
        write_local_json(&local, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["schema"], "portolan.local/1");
        assert!(value["listeners"].is_array());
        assert!(value["conflicts"].is_array());
        assert!(value["hidden"].is_u64());
        let back: Local = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, local);
    }
}

#[test]
fn sockets_of_one_holder_are_told_once() {
    let web = || vec![process(712, "nginx", Some("nginx.service"))];
    let mut held = vec![
        listener("0.0.0.0", 80, Reach::Anywhere, web()),
        listener("0.0.0.0", 80, Reach::Anywhere, web()),
        listener("::", 80, Reach::Anywhere, web()),
    ];
    held[1].inode = 7;
    held[2].one_family = Some(true);
    let local = Local::new("0.1.0", held, Vec::new()).of_port(80, &surroundings());
    let found = shown(&local, &Options::default());
    let expected = "\
TCP port 80 on 0.0.0.0, every IPv4 address, reach anywhere, 2 sockets
TCP port 80 on ::, every IPv6 address, reach anywhere
  held by: nginx (712)
  executable: /usr/sbin/nginx
  user: root
  since: 2026-01-01T00:00:00Z, for 3 days
  unit: nginx.service, starts at boot
  waiting: 0 of at most 1533 connections
2 sockets of one service share tcp port 80 (SO_REUSEPORT): nginx (pid 712).
";
    assert!(found.starts_with(expected), "{found}");
}
