//! The one table of flags: parser, help, environment, settings files, completions and man page
//! all come from it.

use crate::command::doctor::DoctorArgs;
use crate::command::local::LocalArgs;
use crate::values::{Duration, Rate, ShardArg, Timeout};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use portolan_model::{Discovery, IoChoice};
use portolan_report::Format;
use std::net::IpAddr;
use std::path::PathBuf;

/// Charts the open ports of a network: what is open, what speaks there, whose it is
#[derive(Debug, Parser)]
#[command(name = "portolan", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How it is shown
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find open ports and name what speaks there
    Scan(Box<ScanArgs>),
    /// Show what listens on this machine, who holds it, and who is in whose way
    Local(LocalArgs),
    /// Tell what will and will not work here, and the command that mends it
    Doctor(DoctorArgs),
    /// Show the settings of `scan` and where each comes from
    Config(ConfigArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Say only results
    #[arg(
        short,
        long,
        global = true,
        env = "PORTOLAN_QUIET",
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
    pub(crate) quiet: bool,
    /// Say more: the engine and why, ways out, reasons, probes, whole banners
    #[arg(
        short,
        long,
        global = true,
        env = "PORTOLAN_VERBOSE",
        help_heading = "Output"
    )]
    pub(crate) verbose: bool,
    /// When to colour; NO_COLOR is honoured
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        env = "PORTOLAN_COLOR",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub(crate) color: When,
    /// Sentences instead of columns, for screen readers
    #[arg(
        long,
        global = true,
        env = "PORTOLAN_ACCESSIBLE",
        help_heading = "Output"
    )]
    pub(crate) accessible: bool,
}

/// Arguments of `scan`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScanArgs {
    /// What to scan
    #[arg(
        help = "Addresses, networks, ranges (10.0.0.1-20, 10.0.0-3.1-254), host names, or \
                ff02::1%IFACE for the IPv6 neighbours on IFACE; - reads stdin",
        value_name = "TARGETS",
        value_hint = ValueHint::Hostname,
        help_heading = "Targets"
    )]
    pub(crate) targets: Vec<String>,
    /// Read targets from a list, nmap XML or Portolan JSON
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath,
          help_heading = "Targets")]
    pub(crate) input: Vec<PathBuf>,
    /// Never touch these; wins over every target
    #[arg(
        short = 'x',
        long,
        value_name = "SPEC",
        env = "PORTOLAN_EXCLUDE",
        value_delimiter = ' ',
        help_heading = "Targets"
    )]
    pub(crate) exclude: Vec<String>,
    /// Read exclusions from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          env = "PORTOLAN_EXCLUDE_FILE", help_heading = "Targets")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// What may be touched, on whose word (TOML); needed for anything the internet routes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "PORTOLAN_SCOPE",
          help_heading = "Targets")]
    pub(crate) scope: Option<PathBuf>,
    /// Who allowed this scan; stands in for a scope file
    #[arg(
        long,
        value_name = "REASON",
        conflicts_with = "scope",
        help_heading = "Targets"
    )]
    pub(crate) i_am_authorized: Option<String>,
    /// 80,443,8000-8100, - for all, top100, service names, T:…,U:… [default: top1000 and known UDP
    /// services]
    #[arg(
        short,
        long,
        value_name = "SPEC",
        env = "PORTOLAN_PORTS",
        allow_hyphen_values = true,
        help_heading = "Targets"
    )]
    pub(crate) ports: Option<String>,

    /// Probe TCP ports only; with --udp, both
    #[arg(long, help_heading = "Probing")]
    pub(crate) tcp: bool,
    /// Probe UDP ports only; with --tcp, both
    #[arg(long, help_heading = "Probing")]
    pub(crate) udp: bool,
    /// How TCP is probed
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "PORTOLAN_ENGINE",
        help_heading = "Probing"
    )]
    pub(crate) engine: Engine,
    /// How raw packets pass between the program and an interface
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "PORTOLAN_IO",
        help_heading = "Probing"
    )]
    pub(crate) io: Io,
    /// Look for hosts first, by raw packets, and ask the ports of those that answer: auto does so
    /// where packets may be sent, for more than 16 addresses and 4 ports; never asks every port of
    /// every address
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "PORTOLAN_DISCOVERY",
        value_name = "WHEN",
        help_heading = "Probing"
    )]
    pub(crate) discovery: DiscoveryArg,
    /// Probes a second in total
    #[arg(
        long,
        value_name = "auto|PPS",
        default_value = "auto",
        env = "PORTOLAN_RATE",
        help_heading = "Probing"
    )]
    pub(crate) rate: Rate,
    /// Probes a second to one host
    #[arg(
        long,
        value_name = "auto|PPS",
        default_value = "auto",
        env = "PORTOLAN_HOST_RATE",
        help_heading = "Probing"
    )]
    pub(crate) host_rate: Rate,
    /// Further probes to a silent port [default: as many as the measured loss asks for]
    #[arg(long, value_name = "N", env = "PORTOLAN_RETRIES",
          value_parser = clap::value_parser!(u8).range(0..=20), help_heading = "Probing")]
    pub(crate) retries: Option<u8>,
    /// Wait for one probe, in milliseconds
    #[arg(
        long,
        value_name = "auto|MS",
        default_value = "auto",
        env = "PORTOLAN_TIMEOUT",
        help_heading = "Probing"
    )]
    pub(crate) timeout: Timeout,
    /// Longest scan, as 90s, 10m or 1h30m; what was found by then is shown
    #[arg(
        long,
        value_name = "DURATION",
        env = "PORTOLAN_MAX_TIME",
        help_heading = "Probing"
    )]
    pub(crate) max_time: Option<Duration>,
    /// How far to go: identify and inspect both name what speaks on each open port
    #[arg(
        long,
        value_enum,
        default_value = "inspect",
        env = "PORTOLAN_DEPTH",
        help_heading = "Probing"
    )]
    pub(crate) depth: DepthArg,
    /// Send to these TCP ports, too, where services that print or move whatever they are sent
    /// would get nothing: 9100, 515, 502 and the like; as for --ports
    #[arg(
        long,
        value_name = "SPEC",
        env = "PORTOLAN_ASK_ANYWAY",
        help_heading = "Probing"
    )]
    pub(crate) ask_anyway: Option<String>,
    /// Name products by the fingerprints in this folder as well: *.xml, in the format of recog
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath,
          env = "PORTOLAN_FINGERPRINTS", help_heading = "Probing")]
    pub(crate) fingerprints: Option<PathBuf>,
    /// Send on this interface
    #[arg(
        long,
        value_name = "IFACE",
        env = "PORTOLAN_INTERFACE",
        help_heading = "Probing"
    )]
    pub(crate) interface: Option<String>,
    /// Send from this address
    #[arg(
        long,
        value_name = "IP",
        env = "PORTOLAN_SOURCE_IP",
        help_heading = "Probing"
    )]
    pub(crate) source_ip: Option<IpAddr>,
    /// Send from this port
    #[arg(long, value_name = "PORT", env = "PORTOLAN_SOURCE_PORT",
          value_parser = clap::value_parser!(u16).range(1..), help_heading = "Probing")]
    pub(crate) source_port: Option<u16>,
    /// Memory for received packets of each interface, for raw packets alone [default: 16777216]
    #[arg(long, value_name = "BYTES", env = "PORTOLAN_RECEIVE_BUFFER",
          value_parser = clap::value_parser!(u32).range(1..=1 << 30), help_heading = "Probing")]
    pub(crate) receive_buffer: Option<u32>,
    /// Seed of the probe order: the same seed gives the same order [default: random]
    #[arg(long, value_name = "N", help_heading = "Probing")]
    pub(crate) seed: Option<u64>,
    /// Probe only part K of N disjoint parts; needs --seed
    #[arg(
        long,
        value_name = "K/N",
        default_value = "1/1",
        help_heading = "Probing"
    )]
    pub(crate) shard: ShardArg,

    /// Go on from a checkpoint after ^C or a crash
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["targets", "input", "exclude", "exclude_file", "scope",
                                "i_am_authorized", "ports", "seed", "shard"],
          help_heading = "Run")]
    pub(crate) resume: Option<PathBuf>,
    /// Keep the checkpoint here [default: in the state folder]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "PORTOLAN_CHECKPOINT",
          help_heading = "Run")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Print what would be probed, and send nothing
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    pub(crate) dry_run: bool,

    /// Format on stdout [default: table on a terminal, else jsonl]
    #[arg(long, value_name = "FORMAT", env = "PORTOLAN_FORMAT", value_parser = format_parser(),
          help_heading = "Output")]
    pub(crate) format: Option<Format>,
    /// Write the result here as well, in the format of the extension; may be repeated
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath,
          action = ArgAction::Append, help_heading = "Output")]
    pub(crate) output: Vec<PathBuf>,
    /// Show only open ports; nothing is kept less
    #[arg(
        long,
        value_enum,
        value_name = "STATE",
        env = "PORTOLAN_ONLY",
        help_heading = "Output"
    )]
    pub(crate) only: Option<OnlyArg>,
    /// Progress on stderr
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        env = "PORTOLAN_PROGRESS",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub(crate) progress: Progress,
}

/// Arguments of `config`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfigArgs {
    /// What to do with the settings
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// The commands of `config`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting
    Show {
        /// Also print where each comes from
        #[arg(long)]
        origin: bool,
    },
}

/// When to do something that depends on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Always
    Always,
    /// On a terminal
    Auto,
    /// Never
    Never,
}

/// When progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// On a terminal
    Auto,
    /// Never
    Never,
}

/// How TCP is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// syn where it may be used, else connect
    Auto,
    /// The system's connect: needs no privilege
    Connect,
    /// Raw packets: need root, or the capability for them
    Syn,
}

/// How raw packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    /// The best way that changes nothing on an interface
    Auto,
    /// Packet sockets alone
    Packet,
    /// XDP sockets to send and receive, and a program on the interface, which may restart it
    Xdp,
}

impl From<Io> for IoChoice {
    fn from(io: Io) -> Self {
        match io {
            Io::Auto => Self::Auto,
            Io::Packet => Self::Packet,
            Io::Xdp => Self::Xdp,
        }
    }
}

/// Whether hosts are looked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiscoveryArg {
    /// Always; takes raw packets
    Always,
    /// By raw packets, where more than 16 addresses and 4 ports are named
    Auto,
    /// Never: every port of every address is asked
    Never,
}

impl DiscoveryArg {
    /// What the user decided; `None`: nothing.
    pub(crate) const fn wished(self) -> Option<Discovery> {
        match self {
            Self::Always => Some(Discovery::Always),
            Self::Auto => None,
            Self::Never => Some(Discovery::Never),
        }
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DepthArg {
    /// States of ports only
    Ports,
    /// What speaks there
    Identify,
    /// The same in this version
    Inspect,
}

/// Which states are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnlyArg {
    /// Open ports
    Open,
}

fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Format::ALL.map(Format::name))
        .try_map(|name| Format::from_name(&name).ok_or("unknown format"))
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 findings or drift; 2 wrong usage or input, nothing was sent; 3 partial; \
4 system error; 130 interrupted.

Examples:
  portolan scan localhost
  portolan scan 10.0.0.0/24 -p top100 -o hosts.json -o hosts.xml
  portolan local 80";
