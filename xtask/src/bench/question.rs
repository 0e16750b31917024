//! What all programs of a comparison are asked, and what the truth is. How each is asked is in
//! `peer`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// A question to every program.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// One address or network, as every program takes it.
    pub(super) targets: String,
    pub(super) ports: Asked,
    /// Format in which Portolan answers.
    pub(super) format: &'static str,
    /// Further words for Portolan alone, separated by spaces.
    pub(super) own_words: &'static str,
    /// Every open port there is.
    pub(super) open: BTreeSet<SocketAddr>,
    /// When a program is killed, in seconds.
    pub(super) timeout_s: u64,
}

/// Which ports of each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// 1 to 65,535.
    All,
    /// This one.
    One(u16),
}

impl Question {
    /// All ports of one host, of which `open` are.
    pub(super) fn of_host(address: IpAddr, open: &[u16], timeout_s: u64) -> Self {
        Self {
            targets: address.to_string(),
            ports: Asked::All,
            format: "list",
            own_words: "",
            open: open
                .iter()
                .map(|port| SocketAddr::new(address, *port))
                .collect(),
            timeout_s,
        }
    }

    /// Whether it is about IPv6.
    pub(super) fn is_v6(&self) -> bool {
        self.targets.contains(':')
    }
}

impl Asked {
    /// As nmap and Portolan take them.
    pub(super) fn words(self) -> String {
        let mut words = String::from("-p");
        let _ = match self {
            Self::All => write!(words, "1-65535"),
            Self::One(port) => write!(words, "{port}"),
        };
        words
    }
}
