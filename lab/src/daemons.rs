//! Real daemons that speak UDP, inside a namespace: started from Debian's packages with the least
//! configuration, each with a folder and a `/run` of its own.

use crate::{LabError, Namespace};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A daemon and what it offers.
#[derive(Clone, Copy, Debug)]
pub struct Daemon {
    /// What people call it.
    pub name: &'static str,
    /// The Debian package it comes from.
    pub package: &'static str,
    /// The program.
    pub program: &'static str,
    /// What it offers over UDP.
    pub services: &'static [DaemonService],
    /// Its arguments, between blanks; `{folder}` is its own.
    arguments: &'static str,
    /// Name and content of a file in its folder.
    file: Option<(&'static str, &'static str)>,
}

/// A service over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DaemonService {
    /// Its port.
    pub port: u16,
    /// Name of the protocol.
    pub name: &'static str,
}

/// Daemons that run; dropping it ends them.
#[derive(Debug)]
pub struct Daemons {
    children: Vec<Child>,
    folder: PathBuf,
    services: Vec<DaemonService>,
}

const fn service(port: u16, name: &'static str) -> DaemonService {
    DaemonService { port, name }
}

const DNSMASQ: Daemon = Daemon {
    name: "dnsmasq",
    package: "dnsmasq-base",
    program: "dnsmasq",
    services: &[service(53, "dns"), service(67, "dhcp")],
    arguments: "--keep-in-foreground --conf-file={folder}/empty --no-hosts --no-resolv --user=root \
                --pid-file= --dhcp-leasefile={folder}/leases --interface=lab0 --bind-interfaces \
                --dhcp-range=198.18.0.1,198.18.0.3,255.255.255.252",
    file: Some(("empty", "")),
};
const SNMPD: Daemon = Daemon {
    name: "Net-SNMP",
    package: "snmpd",
    program: "snmpd",
    services: &[service(161, "snmp")],
    arguments: "-f -Lo -C -c {folder}/empty --persistentDir={folder} udp:161",
    file: Some(("empty", "")),
};
const TFTPD: Daemon = Daemon {
    name: "tftpd-hpa",
    package: "tftpd-hpa",
    program: "in.tftpd",
    services: &[service(69, "tftp")],
    arguments: "--foreground --address :69 --secure {folder}",
    file: None,
};
const MEMCACHED: Daemon = Daemon {
    name: "memcached",
    package: "memcached",
    program: "memcached",
    services: &[service(11_211, "memcached")],
    arguments: "-u root -U 11211 -p 11211",
    file: None,
};
const RPCBIND: Daemon = Daemon {
    name: "rpcbind",
    package: "rpcbind",
    program: "rpcbind",
    services: &[service(111, "sunrpc")],
    arguments: "-f -w",
    file: None,
};
const NTPSEC: Daemon = Daemon {
    name: "ntpsec",
    package: "ntpsec",
    program: "ntpd",
    services: &[service(123, "ntp")],
    arguments: "-n -c {folder}/ntp.conf",
    file: Some((
        "ntp.conf",
        "restrict default nomodify nopeer noquery\nserver 127.127.1.0\n",
    )),
};
const XINETD: Daemon = Daemon {
    name: "xinetd",
    package: "xinetd",
    program: "xinetd",
    services: &[
        service(7, "echo"),
        service(13, "daytime"),
        service(19, "chargen"),
        service(37, "time"),
    ],
    arguments: "-dontfork -f {folder}/xinetd.conf -pidfile {folder}/pid",
    // What it offers is written when it is started.
    file: Some(("xinetd.conf", "")),
};
const COTURN: Daemon = Daemon {
    name: "coturn",
    package: "coturn",
    program: "turnserver",
    services: &[service(3_478, "stun")],
    arguments: "-n --log-file=stdout --realm=lab --listening-ip=198.18.0.2 --no-tls --no-cli \
                --pidfile={folder}/pid --db={folder}/db",
    file: None,
};
const KAMAILIO: Daemon = Daemon {
    name: "Kamailio",
    package: "kamailio",
    program: "kamailio",
    services: &[service(5_060, "sip")],
    arguments: "-DD -E -f {folder}/kamailio.cfg -w {folder} -Y {folder} -P {folder}/pid -m 32 -M 4",
    file: Some((
        "kamailio.cfg",
        "listen=udp:198.18.0.2:5060\nchildren=1\nloadmodule \"sl.so\"\n\
         request_route { sl_send_reply(\"200\",\"OK\"); }\n",
    )),
};
const LIBCOAP: Daemon = Daemon {
    name: "libcoap",
    package: "libcoap3-bin",
    program: "coap-server-notls",
    services: &[service(5_683, "coap")],
    arguments: "-A 198.18.0.2 -p 5683",
    file: None,
};
const SAMBA: Daemon = Daemon {
    name: "Samba",
    package: "samba",
    program: "nmbd",
    services: &[service(137, "netbios-ns")],
    arguments: "--foreground --no-process-group -s {folder}/smb.conf --debug-stdout",
    file: Some((
        "smb.conf",
        "[global]\n netbios name = FILES\n private dir = {folder}\n lock directory = {folder}\n\
         state directory = {folder}\n cache directory = {folder}\n pid directory = {folder}\n\
         ncalrpc dir = {folder}\n log file = {folder}/log\n",
    )),
};
const XL2TPD: Daemon = Daemon {
    name: "xl2tpd",
    package: "xl2tpd",
    program: "xl2tpd",
    services: &[service(1_701, "l2tp")],
    arguments: "-D -c {folder}/xl2tpd.conf -p {folder}/pid -C {folder}/control",
    file: Some((
        "xl2tpd.conf",
        "[global]\nport = 1701\n[lns default]\nip range = 198.18.9.2-198.18.9.9\n\
         local ip = 198.18.9.1\n",
    )),
};

/// Distinguishes the folders of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// How often and how far apart it is looked whether a port is there.
const LOOKS: u32 = 500;
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Daemons {
    /// A few that every machine of a test can have.
    pub const FEW: [Daemon; 6] = [DNSMASQ, SNMPD, TFTPD, MEMCACHED, RPCBIND, NTPSEC];

    /// All of them.
    pub const ALL: [Daemon; 12] = [
        DNSMASQ, SNMPD, TFTPD, MEMCACHED, RPCBIND, NTPSEC, XINETD, COTURN, KAMAILIO, LIBCOAP,
        SAMBA, XL2TPD,
    ];

    /// Starts `daemons` in `namespace`, which has the addresses of the target of a
    /// [`crate::Wire`]. They listen when this returns.
    pub fn start(namespace: &Namespace, daemons: &[Daemon]) -> Result<Self, LabError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portolan-lab-{}-{number}-daemons", std::process::id());
        let mut started = Self {
            children: Vec::new(),
            folder: std::env::temp_dir().join(name),
            services: Vec::new(),
        };
        for daemon in daemons {
            let folder = started.folder.join(daemon.program);
            let child = namespace.enter(|| begin(daemon, &folder))??;
            started.children.push(child);
            started.services.extend(daemon.services);
        }
        started.services.sort_unstable();
        for daemon in daemons {
            for service in daemon.services {
                started.await_port(namespace, daemon, service.port)?;
            }
        }
        Ok(started)
    }

    /// What they offer, by port.
    pub fn services(&self) -> &[DaemonService] {
        &self.services
    }

    fn await_port(
        &self,
        namespace: &Namespace,
        daemon: &Daemon,
        port: u16,
    ) -> Result<(), LabError> {
        for _ in 0..LOOKS {
            if namespace.enter(|| listens(port))? {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let log = fs::read_to_string(self.folder.join(daemon.program).join("said"));
        Err(LabError::Command {
            command: format!("{} (port {port})", daemon.program),
            stderr: log.unwrap_or_default(),
        })
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Each began a group of its own, with whatever it started.
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts one, inside the namespace of the calling thread.
fn begin(daemon: &Daemon, folder: &Path) -> Result<Child, LabError> {
    let own = folder.display().to_string();
    let start = |source| LabError::Start {
        command: daemon.program.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(start)?;
    if let Some((name, content)) = daemon.file {
        let content = match daemon.name {
            "xinetd" => xinetd(daemon.services),
            _ => content.replace("{folder}", &own),
        };
        fs::write(folder.join(name), content).map_err(start)?;
    }
    let said = fs::File::create(folder.join("said")).map_err(start)?;
    let mut command = Command::new("unshare");
    // Lock files and sockets in /run are for one daemon of a kind on the whole machine.
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs tmpfs /run && mkdir /run/samba && exec \"$0\" \"$@\"");
    command.arg(daemon.program);
    let arguments = daemon.arguments.replace("{folder}", &own);
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(start)?)
        .stderr(said)
        .process_group(0);
    command.spawn().map_err(start)
}

/// The configuration of xinetd for services that it has built in.
fn xinetd(services: &[DaemonService]) -> String {
    let entry = |service: &DaemonService| {
        let name = service.name;
        format!(
            "service {name}\n{{\n type = INTERNAL\n id = {name}-dgram\n socket_type = dgram\n \
             protocol = udp\n user = root\n wait = yes\n disable = no\n}}\n"
        )
    };
    let entries: String = services.iter().map(entry).collect();
    format!("defaults\n{{\n cps = 1000 1\n}}\n{entries}")
}

/// Whether a socket of the namespace of the calling thread is bound to a UDP port.
fn listens(port: u16) -> bool {
    let ending = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
        let table = table.unwrap_or_default();
        let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        table
            .lines()
            .filter_map(local)
            .any(|address| address.ends_with(&ending))
    })
}
