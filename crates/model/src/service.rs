//! What speaks on an open port, as far as it was shown.

use crate::Text;
use serde::{Deserialize, Serialize};

/// How the conversation is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tunnel {
    /// TLS from the first byte.
    Implicit,
    /// TLS after a command in clear.
    StartTls,
}

/// A service, with the bytes that show it. A port number is never evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Application protocol (`http`, `ssh`); `None` when the bytes do not prove one.
    pub name: Option<String>,
    /// What people read (`https`); `None` when there is no name.
    pub label: Option<String>,
    /// TLS or not; `None` when the conversation is in clear.
    pub tls: Option<Tunnel>,
    /// Product, when the bytes disclose it.
    pub product: Option<Text>,
    /// Version, when the bytes disclose it.
    pub version: Option<Text>,
    /// Operating system, where the server names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsHint>,
    /// How sure this is, 0 to 100.
    pub confidence: u8,
    /// The first line that shows it, made printable.
    pub evidence: Option<Text>,
}

/// An operating system that a service names. The service may have been moved, or say what it likes,
/// so it has a confidence of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsHint {
    /// Its name, as the service writes it.
    pub name: Text,
    /// How sure this is, 0 to 100.
    pub confidence: u8,
}
