//! Looks over the user's fingerprints: whether every example in them holds.

use crate::exit;
use crate::fingerprints;
use portolan_catalog::recog::Examples;
use portolan_model::{Check, Verdict};
use std::path::Path;

/// Failures that are told one by one.
const TOLD_MAX: usize = 50;

/// What there is to say of the files in `folder`, and the exit code.
///
/// # Errors
/// When they cannot be read; the sentence names file and line.
pub(super) fn checks(folder: &Path) -> anyhow::Result<(Vec<Check>, u8)> {
    let read = fingerprints::read(folder, Examples::Kept)?;
    let checked = read.fingerprints.check(fingerprints::example);
    let mut checks = vec![check(
        "fingerprints",
        Verdict::Ok,
        format!("{} in {} files", read.fingerprints.len(), read.files),
        "Scans with `--fingerprints` read all of them.",
    )];
    if let Some(unused) = read.unused() {
        checks.push(check(
            "kinds",
            Verdict::Note,
            unused,
            "They do no harm. The other files are used.",
        ));
    }
    let failed = checked.failures.len();
    let (held, all) = (checked.held, checked.held.saturating_add(failed));
    checks.push(check(
        "examples",
        if failed == 0 {
            Verdict::Ok
        } else {
            Verdict::Problem
        },
        format!("{held} of {all} hold"),
        "An example that does not hold shows a pattern that says something else than was meant.",
    ));
    for failure in checked.failures.iter().take(TOLD_MAX) {
        checks.push(check(
            "example",
            Verdict::Problem,
            failure.to_string(),
            "Scans use the fingerprint as it stands.",
        ));
    }
    let code = if failed == 0 {
        exit::DONE
    } else {
        exit::FINDINGS
    };
    Ok((checks, code))
}

fn check(name: &str, verdict: Verdict, found: impl Into<String>, meaning: &str) -> Check {
    Check {
        name: name.to_owned(),
        verdict,
        found: found.into().into(),
        meaning: meaning.into(),
        fix: None,
    }
}
