//! What was found at an endpoint beside the truth: verdicts, and their sums.
//!
//! What is not here: how it was found (`check`, `nmap`).

use anyhow::Result;
use portolan_lab::site::{Disclosure, Part, Tls, TrueEndpoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a scan says of an endpoint.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Found {
    pub(super) service: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) product: Option<String>,
    pub(super) version: Option<String>,
    pub(super) evidence: Option<String>,
}

/// What a scan says, by address and port.
pub(super) type FoundAt = BTreeMap<(String, u16), Found>;

/// How near a found value is to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It is the truth; so is nothing where the server tells nothing.
    Exact,
    /// It is the beginning of the truth, or the truth is its beginning.
    Prefix,
    /// Nothing was said where something could be learned.
    Unknown,
    /// It is not the truth.
    Wrong,
}

/// What was found, and the verdicts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sheet {
    found: Found,
    service: Verdict,
    product: Verdict,
    version: Verdict,
    tls: Verdict,
    /// Whether there was a product, and a version, to be learned.
    discloses: Disclosure,
}

impl Found {
    /// The service of a port in a document of ours.
    pub(super) fn read(service: &serde_json::Value) -> Result<Self> {
        #[derive(Deserialize)]
        struct Service {
            name: Option<String>,
            tls: Option<Tls>,
            product: Option<String>,
            version: Option<String>,
            evidence: Option<String>,
        }
        let service: Service = serde_json::from_value(service.clone())?;
        Ok(Self {
            service: service.name,
            tls: service.tls,
            product: service.product,
            version: service.version,
            evidence: service.evidence,
        })
    }
}

impl Sheet {
    /// Compares what we found.
    pub(super) fn of(truth: &TrueEndpoint, found: &Found) -> Self {
        let product = |said: &str| {
            let same = |it: &String| it.eq_ignore_ascii_case(said);
            truth.product.iter().any(same)
        };
        Self::compare(truth, found, product)
    }

    /// Compares what nmap found, whose products have words behind and before them.
    pub(super) fn of_nmap(truth: &TrueEndpoint, found: &Found) -> Self {
        let product = |said: &str| {
            let said = said.to_lowercase();
            let same = |it: &String| said.contains(&it.to_lowercase());
            truth.product.iter().any(same)
        };
        Self::compare(truth, found, product)
    }

    fn compare(truth: &TrueEndpoint, found: &Found, is_product: impl Fn(&str) -> bool) -> Self {
        let service = match &found.service {
            // Not one byte may be sent to it, or it answers none: that nothing is said is right.
            None if truth.gets_no_bytes || truth.silent => Verdict::Exact,
            None => Verdict::Unknown,
            Some(name) if *name == truth.service || truth.also_speaks.contains(name) => {
                Verdict::Exact
            }
            Some(_) => Verdict::Wrong,
        };
        let has_nothing = truth.gets_no_bytes || truth.discloses == Disclosure::Nothing;
        let named = found.product.as_deref().unwrap_or_default();
        let is_named = |part: &&Part| part.product.eq_ignore_ascii_case(named);
        let part = truth.parts.iter().find(is_named);
        let product = match &found.product {
            None if has_nothing => Verdict::Exact,
            None => Verdict::Unknown,
            Some(product) if part.is_some() || is_product(product) => Verdict::Exact,
            Some(_) => Verdict::Wrong,
        };
        let has_no_version = truth.gets_no_bytes || truth.discloses != Disclosure::Version;
        let version = match &found.version {
            // The version is the part's, or none.
            said if part.is_some_and(|part| part.version == *said) => Verdict::Exact,
            None if has_no_version => Verdict::Exact,
            None => Verdict::Unknown,
            Some(version) => version_verdict(version, &truth.version),
        };
        let tls = match (truth.tls, found.tls) {
            (truth, found) if truth == found => Verdict::Exact,
            (Some(_), None) => Verdict::Unknown,
            _ => Verdict::Wrong,
        };
        Self {
            found: found.clone(),
            service,
            product,
            version,
            tls,
            discloses: if truth.gets_no_bytes {
                Disclosure::Nothing
            } else {
                truth.discloses
            },
        }
    }

    /// Whether everything is known and nothing is wrong; TLS that a command leads to need not be
    /// known.
    pub(super) fn is_right(&self) -> bool {
        let known = [self.service, self.product, self.version];
        let is_known = |it: &Verdict| matches!(it, Verdict::Exact | Verdict::Prefix);
        known.iter().all(is_known) && self.tls != Verdict::Wrong
    }

    /// Whether nothing could be better.
    pub(super) fn is_full(&self) -> bool {
        let all = [self.service, self.product, self.version, self.tls];
        all.iter().all(|it| *it == Verdict::Exact)
    }

    /// What is not as it is in truth, in words.
    pub(super) fn deviations(&self, truth: &TrueEndpoint) -> Vec<String> {
        let said = |it: &Option<String>| it.clone().unwrap_or_else(|| "nothing".to_owned());
        let product = truth.product.first().cloned().unwrap_or_default();
        let tls = |tls: Option<Tls>| match tls {
            None => "none".to_owned(),
            Some(Tls::Implicit) => "implicit".to_owned(),
            Some(Tls::Starttls) => "starttls".to_owned(),
        };
        let all = [
            (
                "service",
                self.service,
                said(&self.found.service),
                truth.service.clone(),
            ),
            ("product", self.product, said(&self.found.product), product),
            (
                "version",
                self.version,
                said(&self.found.version),
                truth.version.clone(),
            ),
            ("tls", self.tls, tls(self.found.tls), tls(truth.tls)),
        ];
        let deviating = all
            .iter()
            .filter(|(_, verdict, ..)| *verdict != Verdict::Exact);
        let mut words: Vec<String> = deviating
            .map(|(what, verdict, found, truth)| {
                format!("{what} {}: {found} for {truth}", verdict.name())
            })
            .collect();
        if let (false, Some(evidence)) = (words.is_empty(), &self.found.evidence) {
            words.push(format!("evidence {evidence:?}"));
        }
        words
    }
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

fn version_verdict(found: &str, truth: &str) -> Verdict {
    let begins = |long: &str, short: &str| {
        let rest = long.strip_prefix(short).filter(|_| !short.is_empty());
        rest.is_some_and(|rest| rest.starts_with(|next: char| !next.is_ascii_digit()))
    };
    if found == truth {
        Verdict::Exact
    } else if begins(truth, found) || begins(found, truth) {
        Verdict::Prefix
    } else {
        Verdict::Wrong
    }
}

/// Sums of verdicts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Tally {
    service: Count,
    /// Of endpoints whose product can be learned, and of those where one was said.
    product: Count,
    /// Of endpoints whose version can be learned, and of those where one was said.
    version: Count,
    tls: Count,
}

/// One sum.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Count {
    exact: usize,
    prefix: usize,
    unknown: usize,
    wrong: usize,
}

impl Tally {
    /// Sums up.
    pub(super) fn of<'a>(sheets: impl Iterator<Item = &'a Sheet>) -> Self {
        let mut tally = Self::default();
        for sheet in sheets {
            tally.service.add(sheet.service);
            tally.tls.add(sheet.tls);
            if sheet.discloses != Disclosure::Nothing || sheet.found.product.is_some() {
                tally.product.add(sheet.product);
            }
            if sheet.discloses == Disclosure::Version || sheet.found.version.is_some() {
                tally.version.add(sheet.version);
            }
        }
        tally
    }
}

impl Count {
    const fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Exact => self.exact += 1,
            Verdict::Prefix => self.prefix += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::Wrong => self.wrong += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "service {}; product {}; version {}; TLS {}",
            self.service, self.product, self.version, self.tls
        )
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} exact, {} prefix, {} unknown, {} wrong",
            self.exact, self.prefix, self.unknown, self.wrong
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &str, truth: &str, expected: Verdict) {
        assert_eq!(
            version_verdict(found, truth),
            expected,
            "{found} for {truth}"
        );
    }

    #[test]
    fn a_version_is_a_prefix_at_a_boundary_only() {
        check("2.4.71", "2.4.71", Verdict::Exact);
        check("2.4", "2.4.2", Verdict::Prefix);
        check("9.2p1 Debian-2", "9.2p1", Verdict::Prefix);
        check("9.2", "9.2p1", Verdict::Prefix);
        check("2.4", "2.41", Verdict::Wrong);
        check("1.0", "2.0", Verdict::Wrong);
        check("", "2.0", Verdict::Wrong);
    }
}
