//! The result of looking over this machine before a scan. What is looked at, and how it is judged,
//! is decided where it is read; here is only the shape.

use crate::Text;
use serde::{Deserialize, Serialize};

/// What a check means for scanning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing stands in the way.
    Ok,
    /// Could not be found out.
    Unknown,
    /// Works, with a limit worth knowing.
    Note,
    /// Something will not work, or results may be wrong.
    Problem,
    /// No scan is possible.
    Fatal,
}

impl Verdict {
    /// The word used in every format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Problem => "problem",
            Self::Fatal => "fatal",
        }
    }
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Short name: `open files`.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was seen.
    pub found: Text,
    /// What it means for scanning.
    pub meaning: Text,
    /// The command that mends it or shows more, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Text>,
}

impl Check {
    /// The same with the command that mends it, or that shows more.
    #[must_use]
    pub fn mended(self, command: &str) -> Self {
        Self {
            fix: Some(command.into()),
            ..self
        }
    }
}

/// Everything looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// Always [`Checkup::SCHEMA`].
    pub schema: String,
    /// Version of the program that looked.
    pub version: String,
    /// Whether a scan is possible at all.
    pub can_scan: bool,
    /// The checks in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Checkup {
    /// Name and version of the format.
    pub const SCHEMA: &str = "portolan.doctor/1";

    /// The checks made by `version` of the program.
    pub fn new(version: &str, checks: Vec<Check>) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            version: version.to_owned(),
            can_scan: checks.iter().all(|it| it.verdict != Verdict::Fatal),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fatal_check_forbids_scanning() {
        let check = |verdict| Check {
            name: "x".to_owned(),
            verdict,
            found: Text::default(),
            meaning: Text::default(),
            fix: None,
        };
        let all = [
            Verdict::Ok,
            Verdict::Unknown,
            Verdict::Note,
            Verdict::Problem,
        ];
        let checks: Vec<Check> = all.into_iter().map(check).collect();
        assert!(Checkup::new("0", checks.clone()).can_scan);
        let fatal = [checks, vec![check(Verdict::Fatal)]].concat();
        assert!(!Checkup::new("0", fatal).can_scan);
    }
}
