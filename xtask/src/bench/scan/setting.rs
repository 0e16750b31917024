//! The conditions of the comparison with raw packets: what each is, who takes part, how often, and
//! when a run is given up. The networks are made in `arena`, the goals are in `goals`.

use super::super::peer::Peer;
use clap::ValueEnum;
use serde::Serialize;

/// What is scanned, and what happens to packets on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Condition {
    /// Closed ports refuse.
    Clean,
    /// The same, and one packet in a hundred gets lost each way.
    Loss1,
    /// The same, and five in a hundred.
    Loss5,
    /// No more than 20,000 packets a second reach the target.
    Police20k,
    /// No more than 5,000.
    Police5k,
    /// Closed ports are silent.
    Dropped,
    /// Closed ports are silent, and one packet in a hundred gets lost each way.
    DroppedLoss1,
    /// Closed ports refuse, and there is next to no room for what is received.
    Ring,
    /// Closed ports refuse, over IPv6.
    V6,
    /// A bottleneck of 20 Mbit/s with a short queue, which a ping shares.
    Shaped,
    /// Every port accepts and says nothing.
    AnswersEverything,
    /// 65,536 hosts, one port of each, all open.
    Hosts,
    /// 256 hosts, all ports of each.
    Ports,
}

/// Who takes part in a condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Peers with the most runs of each: fewer than of Portolan where they take long.
    pub(super) peers: &'static [(Peer, usize)],
    /// Most runs of Portolan.
    pub(super) own_runs_max: usize,
    /// A run that takes longer is killed and counts as not finished.
    pub(super) timeout_s: u64,
    /// The same for Portolan.
    pub(super) own_timeout_s: u64,
    /// Who is left out, and why.
    pub(super) left_out: &'static str,
}

impl Condition {
    /// All, in the order in which they are measured.
    pub(super) const ALL: [Self; 13] = [
        Self::Clean,
        Self::Loss1,
        Self::Loss5,
        Self::Police20k,
        Self::Police5k,
        Self::Dropped,
        Self::DroppedLoss1,
        Self::Ring,
        Self::V6,
        Self::Shaped,
        Self::AnswersEverything,
        Self::Hosts,
        Self::Ports,
    ];

    /// Its setting.
    pub(super) const fn setting(self) -> Setting {
        let usual = Setting {
            peers: &[],
            own_runs_max: usize::MAX,
            timeout_s: 30,
            own_timeout_s: 40,
            left_out: "",
        };
        match self {
            Self::Clean
            | Self::Loss1
            | Self::Loss5
            | Self::Police20k
            | Self::Police5k
            | Self::Dropped
            | Self::DroppedLoss1 => self.with_masscan(usual),
            Self::V6 => Setting {
                peers: &[(Peer::NmapSyn, 3)],
                left_out: "masscan (not asked over IPv6), zmap (has no IPv6)",
                ..usual
            },
            Self::Ring | Self::Shaped => Setting {
                left_out: "all peers: the goal is not a comparison",
                ..usual
            },
            Self::AnswersEverything => Setting {
                left_out: "all peers: none has a word for it",
                ..usual
            },
            Self::Hosts => Setting {
                peers: &[(ZMAP, usize::MAX)],
                left_out: "nmap (takes minutes), masscan (compared in the next condition)",
                ..usual
            },
            Self::Ports => Setting {
                peers: &[(MASSCAN_FAST, usize::MAX), (MASSCAN_FASTEST, 1)],
                timeout_s: 75,
                own_timeout_s: 200,
                left_out: "nmap (takes many minutes), zmap (one port at a time)",
                ..usual
            },
        }
    }

    /// Where one host is asked over IPv4 and something is in the way.
    const fn with_masscan(self, usual: Setting) -> Setting {
        match self {
            Self::Clean => Setting {
                peers: &[
                    (Peer::NmapSyn, usize::MAX),
                    (MASSCAN, 3),
                    (MASSCAN_RETRIES, 1),
                    (RUSTSCAN, 3),
                ],
                left_out: "zmap (asks for one port at a time)",
                ..usual
            },
            Self::Loss1 => Setting {
                peers: &[(Peer::NmapSyn, usize::MAX), (MASSCAN, 2)],
                left_out: "masscan with retries (only in the clean condition)",
                ..usual
            },
            Self::Loss5 => Setting {
                peers: &[
                    (Peer::NmapSyn, usize::MAX),
                    (MASSCAN, 1),
                    (RUSTSCAN_TRIES, 1),
                ],
                timeout_s: 40,
                left_out: "masscan with retries (only in the clean condition)",
                ..usual
            },
            Self::Police20k => Setting {
                peers: &[(Peer::NmapSyn, 3), (MASSCAN, 1)],
                ..usual
            },
            Self::Police5k => Setting {
                peers: &[(Peer::NmapSyn, 1), (MASSCAN, 1)],
                timeout_s: 40,
                ..usual
            },
            Self::Dropped => Setting {
                peers: &[(MASSCAN, 2)],
                left_out: "nmap (takes over a minute)",
                ..usual
            },
            Self::DroppedLoss1 => Setting {
                peers: &[(MASSCAN, 2)],
                left_out: "nmap (takes over two minutes)",
                ..usual
            },
            _ => usual,
        }
    }
}

/// At the rate at which it lost nothing to its own speed here.
pub(super) const MASSCAN: Peer = Peer::Masscan {
    rate: 100_000,
    retries: 0,
};
const MASSCAN_RETRIES: Peer = Peer::Masscan {
    rate: 100_000,
    retries: 2,
};
/// By connections, at its best in `bench connect`.
const RUSTSCAN: Peer = Peer::RustScan {
    batch: 1_000,
    tries: 1,
};
const RUSTSCAN_TRIES: Peer = Peer::RustScan {
    batch: 10_000,
    tries: 3,
};
/// Faster it finds a smaller share here, and not more in a second.
pub(super) const MASSCAN_FAST: Peer = Peer::Masscan {
    rate: 300_000,
    retries: 0,
};
/// More than it receives the answers to.
pub(super) const MASSCAN_FASTEST: Peer = Peer::Masscan {
    rate: 600_000,
    retries: 0,
};
pub(super) const ZMAP: Peer = Peer::Zmap { rate: 200_000 };
