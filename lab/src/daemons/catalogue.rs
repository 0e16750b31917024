//! The daemons: where each comes from, and the least configuration with which it answers.
//!
//! What is not here: how they are started (`daemons`).

use super::{Daemon, DaemonService, Daemons, Origin};

impl Daemons {
    /// A few that every machine of a test can have.
    pub const FEW: [Daemon; 6] = [DNSMASQ, SNMPD, TFTPD, MEMCACHED, RPCBIND, NTPSEC];

    /// A dozen that one host can have at once.
    pub const DOZEN: [Daemon; 12] = [
        DNSMASQ, SNMPD, TFTPD, MEMCACHED, RPCBIND, NTPSEC, XINETD, COTURN, KAMAILIO, LIBCOAP,
        SAMBA, XL2TPD,
    ];

    /// Those that need a host of their own.
    pub const FURTHER: [Daemon; 27] = [
        DNSMASQ_V6,
        AVAHI,
        OPENSSL,
        LIBCOAP_DTLS,
        OPENVPN,
        MUMBLE,
        KRB5,
        STRONGSWAN,
        MINIUPNPD,
        RIPD,
        RIPNGD,
        SQUID,
        XDM,
        WSDD2,
        SAMBA_AD,
        TRANSMISSION,
        GANESHA,
        OSMO_GGSN,
        KNXD,
        IPMI_SIM,
        NGTCP2,
        AIOQUIC,
        OPENARENA,
        CPPPO,
        BACPYPES,
        LIFX,
        RAKNET,
    ];
}

const fn service(port: u16, name: &'static str) -> DaemonService {
    DaemonService {
        port,
        name,
        is_v6_only: false,
    }
}

const fn service_v6(port: u16, name: &'static str) -> DaemonService {
    DaemonService {
        port,
        name,
        is_v6_only: true,
    }
}

/// What most of them are like.
const PLAIN: Daemon = Daemon {
    name: "",
    package: "",
    origin: Origin::Debian,
    program: "",
    services: &[],
    before: "",
    arguments: "",
    files: &[],
};
/// A key and a certificate for it, in the folder of a daemon.
const CERTIFICATE: &str = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem \
                           -days 2 -subj /CN=lab -addext basicConstraints=CA:FALSE";
/// What every routing daemon of FRR asks for the interfaces.
const ZEBRA: &str = "mkdir /run/frr; chmod 777 . /run/frr; /usr/lib/frr/zebra -f {folder}/zebra.conf \
                     -i {folder}/zebra.pid -z {folder}/api --vty_socket {folder} & sleep 1";

const DNSMASQ: Daemon = Daemon {
    name: "dnsmasq",
    package: "dnsmasq-base",
    program: "dnsmasq",
    services: &[service(53, "dns"), service(67, "dhcp")],
    arguments: "--keep-in-foreground --conf-file={folder}/empty --no-hosts --no-resolv --user=root \
                --pid-file= --dhcp-leasefile={folder}/leases --interface=lab0 --bind-interfaces \
                --dhcp-range=198.18.0.1,198.18.0.3,255.255.255.252",
    files: &[("empty", "")],
    ..PLAIN
};
const SNMPD: Daemon = Daemon {
    name: "Net-SNMP",
    package: "snmpd",
    program: "snmpd",
    services: &[service(161, "snmp")],
    arguments: "-f -Lo -C -c {folder}/empty --persistentDir={folder} udp:161",
    files: &[("empty", "")],
    ..PLAIN
};
const TFTPD: Daemon = Daemon {
    name: "tftpd-hpa",
    package: "tftpd-hpa",
    program: "in.tftpd",
    services: &[service(69, "tftp")],
    arguments: "--foreground --address :69 --secure {folder}",
    ..PLAIN
};
const MEMCACHED: Daemon = Daemon {
    name: "memcached",
    package: "memcached",
    program: "memcached",
    services: &[service(11_211, "memcached")],
    arguments: "-u root -U 11211 -p 11211",
    ..PLAIN
};
const RPCBIND: Daemon = Daemon {
    name: "rpcbind",
    package: "rpcbind",
    program: "rpcbind",
    services: &[service(111, "sunrpc")],
    arguments: "-f -w",
    ..PLAIN
};
const NTPSEC: Daemon = Daemon {
    name: "ntpsec",
    package: "ntpsec",
    program: "ntpd",
    services: &[service(123, "ntp")],
    arguments: "-n -c {folder}/ntp.conf",
    files: &[(
        "ntp.conf",
        "restrict default nomodify nopeer noquery\nserver 127.127.1.0\n",
    )],
    ..PLAIN
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
    files: &[(
        "xinetd.conf",
        "defaults\n{\n cps = 1000 1\n}\nservice echo\n{\n type = INTERNAL\n id = echo-dgram\n socket_type = dgram\n protocol = udp\n user = root\n wait = yes\n disable = no\n}\n\
         service daytime\n{\n type = INTERNAL\n id = daytime-dgram\n socket_type = dgram\n protocol = udp\n user = root\n wait = yes\n disable = no\n}\n\
         service chargen\n{\n type = INTERNAL\n id = chargen-dgram\n socket_type = dgram\n protocol = udp\n user = root\n wait = yes\n disable = no\n}\n\
         service time\n{\n type = INTERNAL\n id = time-dgram\n socket_type = dgram\n protocol = udp\n user = root\n wait = yes\n disable = no\n}\n",
    )],
    ..PLAIN
};
const COTURN: Daemon = Daemon {
    name: "coturn",
    package: "coturn",
    program: "turnserver",
    services: &[service(3_478, "stun")],
    arguments: "-n --log-file=stdout --realm=lab --listening-ip=198.18.0.2 --no-tls --no-cli \
                --pidfile={folder}/pid --db={folder}/db",
    ..PLAIN
};
const KAMAILIO: Daemon = Daemon {
    name: "Kamailio",
    package: "kamailio",
    program: "kamailio",
    services: &[service(5_060, "sip")],
    arguments: "-DD -E -f {folder}/kamailio.cfg -w {folder} -Y {folder} -P {folder}/pid -m 32 -M 4",
    files: &[(
        "kamailio.cfg",
        "listen=udp:198.18.0.2:5060\nchildren=1\nloadmodule \"sl.so\"\n\
         request_route { sl_send_reply(\"200\",\"OK\"); }\n",
    )],
    ..PLAIN
};
const LIBCOAP: Daemon = Daemon {
    name: "libcoap",
    package: "libcoap3-bin",
    program: "coap-server-notls",
    services: &[service(5_683, "coap")],
    arguments: "-A 198.18.0.2 -p 5683",
    ..PLAIN
};
const SAMBA: Daemon = Daemon {
    name: "Samba",
    package: "samba",
    program: "nmbd",
    services: &[service(137, "netbios-ns")],
    arguments: "--foreground --no-process-group -s {folder}/smb.conf --debug-stdout",
    files: &[(
        "smb.conf",
        "[global]\n netbios name = FILES\n private dir = {folder}\n lock directory = {folder}\n\
         state directory = {folder}\n cache directory = {folder}\n pid directory = {folder}\n\
         ncalrpc dir = {folder}\n log file = {folder}/log\n",
    )],
    ..PLAIN
};
const XL2TPD: Daemon = Daemon {
    name: "xl2tpd",
    package: "xl2tpd",
    program: "xl2tpd",
    services: &[service(1_701, "l2tp")],
    arguments: "-D -c {folder}/xl2tpd.conf -p {folder}/pid -C {folder}/control",
    files: &[(
        "xl2tpd.conf",
        "[global]\nport = 1701\n[lns default]\nip range = 198.18.9.2-198.18.9.9\n\
         local ip = 198.18.9.1\n",
    )],
    ..PLAIN
};
const DNSMASQ_V6: Daemon = Daemon {
    name: "dnsmasq",
    package: "dnsmasq-base",
    program: "dnsmasq",
    services: &[service_v6(547, "dhcpv6")],
    arguments: "--keep-in-foreground --conf-file={folder}/empty --port=0 --user=root --pid-file= \
                --dhcp-leasefile={folder}/leases --interface=lab0 --dhcp-range=2001:db8::,static,64 \
                --dhcp-option=option6:dns-server,[2001:db8::2]",
    files: &[("empty", "")],
    ..PLAIN
};
const AVAHI: Daemon = Daemon {
    name: "Avahi",
    package: "avahi-daemon",
    program: "avahi-daemon",
    services: &[service(5_353, "mdns")],
    before: "mkdir /run/avahi-daemon",
    arguments: "-f {folder}/avahi.conf --no-drop-root --no-chroot",
    files: &[(
        "avahi.conf",
        "[server]\nhost-name=nas\nenable-dbus=no\nallow-interfaces=lab0\nuse-ipv6=no\n\
         [publish]\npublish-workstation=yes\n",
    )],
    ..PLAIN
};
const OPENSSL: Daemon = Daemon {
    name: "OpenSSL s_server",
    package: "openssl",
    program: "openssl",
    services: &[service(4_433, "dtls")],
    before: CERTIFICATE,
    arguments: "s_server -dtls -accept 4433 -cert cert.pem -key key.pem -quiet -4",
    ..PLAIN
};
const LIBCOAP_DTLS: Daemon = Daemon {
    name: "libcoap with DTLS",
    package: "libcoap3-bin",
    program: "coap-server-openssl",
    services: &[service(5_684, "coaps")],
    arguments: "-A 198.18.0.2 -p 5683 -k secret -h lab",
    ..PLAIN
};
const OPENVPN: Daemon = Daemon {
    name: "OpenVPN",
    package: "openvpn",
    program: "openvpn",
    services: &[service(1_194, "openvpn")],
    before: CERTIFICATE,
    arguments: "--dev tun --server 198.18.9.0 255.255.255.0 --ca cert.pem --cert cert.pem \
                --key key.pem --dh none --port 1194 --proto udp",
    ..PLAIN
};
const MUMBLE: Daemon = Daemon {
    name: "Mumble",
    package: "mumble-server",
    program: "murmurd",
    services: &[service(64_738, "mumble")],
    before: "chmod 777 .",
    arguments: "-fg -ini {folder}/mumble.ini",
    files: &[(
        "mumble.ini",
        "database={folder}/db.sqlite\nport=64738\nlogfile=\npidfile={folder}/pid\nbonjour=false\n",
    )],
    ..PLAIN
};
const KRB5: Daemon = Daemon {
    name: "MIT krb5kdc",
    package: "krb5-kdc",
    program: "krb5kdc",
    services: &[service(88, "kerberos")],
    before: "export KRB5_CONFIG={folder}/krb5.conf KRB5_KDC_PROFILE={folder}/kdc.conf; \
             kdb5_util create -s -P lab",
    arguments: "-n",
    files: &[
        (
            "krb5.conf",
            "[libdefaults]\n default_realm = LAB.TEST\n[realms]\n LAB.TEST = {\n  kdc = 198.18.0.2\n }\n",
        ),
        (
            "kdc.conf",
            "[kdcdefaults]\n kdc_ports = 88\n[realms]\n LAB.TEST = {\n  \
             database_name = {folder}/principal\n  key_stash_file = {folder}/stash\n  \
             acl_file = {folder}/acl\n }\n",
        ),
    ],
    ..PLAIN
};
const STRONGSWAN: Daemon = Daemon {
    name: "strongSwan",
    package: "strongswan-starter",
    program: "/usr/lib/ipsec/starter",
    services: &[service(500, "ike"), service(4_500, "ike-nat-t")],
    arguments: "--nofork --conf {folder}/ipsec.conf",
    files: &[(
        "ipsec.conf",
        "config setup\nconn lab\n left=198.18.0.2\n right=%any\n keyexchange=ike\n \
         ike=aes128-sha256-modp2048,3des-sha1-modp1024!\n leftauth=pubkey\n auto=add\n",
    )],
    ..PLAIN
};
const MINIUPNPD: Daemon = Daemon {
    name: "MiniUPnPd",
    package: "miniupnpd",
    program: "miniupnpd",
    services: &[service(1_900, "ssdp"), service(5_351, "nat-pmp")],
    arguments: "-d -f {folder}/miniupnpd.conf -P {folder}/pid",
    files: &[(
        "miniupnpd.conf",
        "ext_ifname=lab0\nlistening_ip=lab0\nenable_natpmp=yes\nenable_upnp=yes\n\
         uuid=00000000-0000-4000-8000-000000000001\nlease_file={folder}/leases\n",
    )],
    ..PLAIN
};
const RIPD: Daemon = Daemon {
    name: "FRR ripd",
    package: "frr",
    program: "/usr/lib/frr/ripd",
    services: &[service(520, "rip")],
    before: ZEBRA,
    arguments: "-f {folder}/rip.conf -i {folder}/pid -z {folder}/api --vty_socket {folder} --log stdout",
    files: &[
        ("zebra.conf", "hostname lab\n"),
        ("rip.conf", "router rip\n network lab0\n version 2\n"),
    ],
    ..PLAIN
};
const RIPNGD: Daemon = Daemon {
    name: "FRR ripngd",
    package: "frr",
    program: "/usr/lib/frr/ripngd",
    services: &[service_v6(521, "ripng")],
    before: ZEBRA,
    arguments: "-f {folder}/rip.conf -i {folder}/pid -z {folder}/api --vty_socket {folder} --log stdout",
    files: &[
        ("zebra.conf", "hostname lab\n"),
        ("rip.conf", "router ripng\n network lab0\n"),
    ],
    ..PLAIN
};
const SQUID: Daemon = Daemon {
    name: "Squid",
    package: "squid",
    program: "squid",
    services: &[service(3_130, "icp")],
    before: "chmod 777 .",
    arguments: "-N -f {folder}/squid.conf",
    files: &[(
        "squid.conf",
        "http_port 3128\nicp_port 3130\nicp_access allow all\nhttp_access deny all\n\
         pid_filename none\naccess_log none\ncache_log stdio:{folder}/log\n\
         coredump_dir {folder}\nvisible_hostname lab\npinger_enable off\n\
         memory_cache_shared off\n",
    )],
    ..PLAIN
};
const XDM: Daemon = Daemon {
    name: "xdm",
    package: "xdm",
    program: "xdm",
    services: &[service(177, "xdmcp")],
    arguments: "-nodaemon -config {folder}/xdm-config",
    files: &[
        (
            "xdm-config",
            "DisplayManager.servers: /dev/null\nDisplayManager.accessFile: {folder}/access\n\
             DisplayManager.pidFile: {folder}/pid\nDisplayManager.errorLogFile: {folder}/log\n\
             DisplayManager.authDir: {folder}\nDisplayManager.requestPort: 177\n",
        ),
        ("access", "*\n"),
    ],
    ..PLAIN
};
const WSDD2: Daemon = Daemon {
    name: "wsdd2",
    package: "wsdd2",
    program: "wsdd2",
    services: &[service(3_702, "ws-discovery")],
    arguments: "-4 -w -i lab0 -H files -N FILES -G WORKGROUP",
    ..PLAIN
};
const SAMBA_AD: Daemon = Daemon {
    name: "Samba AD",
    package: "samba-ad-dc",
    program: "samba",
    services: &[service(389, "cldap")],
    before: "samba-tool domain provision --realm=LAB.TEST --domain=LAB --server-role=dc \
             --adminpass=Portolan-1x --host-ip=198.18.0.2 --targetdir={folder}/ad",
    arguments: "-F -s {folder}/ad/etc/smb.conf --debug-stdout",
    ..PLAIN
};
const TRANSMISSION: Daemon = Daemon {
    name: "Transmission",
    package: "transmission-daemon",
    program: "transmission-daemon",
    services: &[service(51_413, "bittorrent-dht")],
    arguments: "-f -g {folder} -P 51413 --dht",
    ..PLAIN
};
const GANESHA: Daemon = Daemon {
    name: "NFS-Ganesha",
    package: "nfs-ganesha-vfs",
    program: "ganesha.nfsd",
    services: &[service(2_049, "nfs"), service(20_048, "mountd")],
    before: "mkdir /run/ganesha; rpcbind -w",
    arguments: "-F -L /dev/stdout -f {folder}/ganesha.conf -p {folder}/pid -N EVENT",
    files: &[(
        "ganesha.conf",
        "NFS_CORE_PARAM { NFS_Protocols = 3; MNT_Port = 20048; Enable_NLM = false; \
         Enable_RQUOTA = false; Enable_UDP = true; }\n\
         EXPORT { Export_Id = 1; Path = {folder}; Pseudo = /x; Protocols = 3; \
         Transports = UDP, TCP; Access_Type = RO; FSAL { Name = VFS; } }\n",
    )],
    ..PLAIN
};
const OSMO_GGSN: Daemon = Daemon {
    name: "OsmoGGSN",
    package: "osmo-ggsn",
    program: "osmo-ggsn",
    services: &[service(2_123, "gtp-c"), service(2_152, "gtp-u")],
    arguments: "-c {folder}/ggsn.cfg",
    files: &[(
        "ggsn.cfg",
        "ggsn ggsn0\n gtp state-dir {folder}\n gtp bind-ip 198.18.0.2\n apn internet\n  \
         gtpu-mode tun\n  tun-device tun4\n  type-support v4\n  \
         ip prefix dynamic 198.18.8.0/24\n  ip dns 0 198.18.0.2\n  ip dns 1 198.18.0.2\n  \
         ip ifconfig 198.18.8.0/24\n  no shutdown\n default-apn internet\n no shutdown ggsn\n",
    )],
    ..PLAIN
};
const KNXD: Daemon = Daemon {
    name: "knxd",
    package: "knxd",
    program: "knxd",
    services: &[service(3_671, "knx")],
    before: "ip route add 224.0.0.0/4 dev lab0",
    arguments: "{folder}/knxd.ini",
    files: &[(
        "knxd.ini",
        "[main]\naddr=1.1.1\nclient-addrs=1.1.2:4\nconnections=server,bus\n[server]\n\
         server=ets_router\ndiscover=true\ntunnel=tunnel\n[tunnel]\n[bus]\ndriver=dummy\n",
    )],
    ..PLAIN
};
const IPMI_SIM: Daemon = Daemon {
    name: "OpenIPMI ipmi_sim",
    package: "openipmi",
    program: "ipmi_sim",
    services: &[service(623, "rmcp")],
    arguments: "-n -c {folder}/lan.conf -f {folder}/controller -s {folder}",
    files: &[
        (
            "lan.conf",
            "name \"lab\"\nset_working_mc 0x20\nstartlan 1\n addr 0.0.0.0 623\n \
             guid a123456789abcdefa123456789abcdef\nendlan\n",
        ),
        (
            "controller",
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
             mc_enable 0x20\n",
        ),
    ],
    ..PLAIN
};
const NGTCP2: Daemon = Daemon {
    name: "ngtcp2",
    package: "ngtcp2-server",
    program: "gtlsserver",
    services: &[service(443, "quic")],
    before: CERTIFICATE,
    arguments: "-q 198.18.0.2 443 key.pem cert.pem",
    ..PLAIN
};
const AIOQUIC: Daemon = Daemon {
    name: "aioquic",
    package: "aioquic",
    origin: Origin::Pypi,
    program: "python3",
    services: &[service(853, "quic")],
    before: CERTIFICATE,
    arguments: "{folder}/server.py",
    files: &[(
        "server.py",
        "import asyncio\nfrom aioquic.asyncio import serve\n\
         from aioquic.quic.configuration import QuicConfiguration\n\
         settings = QuicConfiguration(is_client=False, alpn_protocols=['doq'])\n\
         settings.load_cert_chain('cert.pem', 'key.pem')\n\
         async def run():\n    await serve('198.18.0.2', 853, configuration=settings)\n    \
         await asyncio.Future()\nasyncio.run(run())\n",
    )],
};
const OPENARENA: Daemon = Daemon {
    name: "OpenArena (ioquake3)",
    package: "openarena-server",
    program: "/usr/lib/ioquake3/ioq3ded",
    services: &[service(27_960, "quake3")],
    before: "export HOME={folder}",
    arguments: "+set com_basegame baseoa +set fs_basepath /usr/lib/openarena-server +set sv_pure 0 \
                +set dedicated 1 +set com_hunkmegs 128 +map oa_dm1",
    ..PLAIN
};
const CPPPO: Daemon = Daemon {
    name: "cpppo",
    package: "cpppo",
    origin: Origin::Pypi,
    program: "enip_server",
    services: &[service(44_818, "ethernet-ip")],
    arguments: "--address 198.18.0.2:44818 --udp --no-print TAG=INT[1]",
    ..PLAIN
};
const BACPYPES: Daemon = Daemon {
    name: "BACpypes3",
    package: "bacpypes3",
    origin: Origin::Pypi,
    program: "python3",
    services: &[service(47_808, "bacnet")],
    // It ends with its standard input.
    before: "mkfifo input; exec <>input",
    arguments: "-m bacpypes3 --address 198.18.0.2/30 --instance 999 --name lab",
    ..PLAIN
};
const LIFX: Daemon = Daemon {
    name: "LIFX emulator",
    package: "lifx-emulator",
    origin: Origin::Pypi,
    program: "lifx-emulator",
    services: &[service(56_700, "lifx")],
    arguments: "--bind 198.18.0.2 --color 1",
    ..PLAIN
};
const RAKNET: Daemon = Daemon {
    name: "JSPrismarine RakNet",
    package: "jsp-raknet",
    origin: Origin::Npm,
    program: "node",
    services: &[service(19_132, "minecraft-bedrock")],
    arguments: "{folder}/server.js",
    files: &[(
        "server.js",
        "const { Server } = require('jsp-raknet');\n\
         const name = { toString: () => 'MCPE;lab;1;1;0;1;1;lab;Survival;' };\n\
         new Server('0.0.0.0', 19132, name).listen();\n",
    )],
    ..PLAIN
};
