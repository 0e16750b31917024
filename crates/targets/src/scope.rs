//! What a run may touch: the scope file, the scope that needs no file, and what of the targets
//! lies outside.
//!
//! No clock here: whether a scope has expired is for the caller to say, who knows the time.

use crate::expiry::{Expiry, ExpiryError};
use crate::ports::{PortNames, PortsError, parse_ports};
use crate::spec::{Spec, SpecError};
use portolan_model::{AddressSet, PortSet, Scope, Text};
use serde::Deserialize;
use toml::Spanned;

/// Largest scope file, in bytes.
pub const SCOPE_BYTES_MAX: usize = 1 << 20;

/// Networks with a meaning of their own, as the special-purpose registries list them (RFC 6890).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Nothing that the internet routes: loopback, private, link-local, shared, benchmarking,
    /// documentation. May be probed without a scope file.
    pub local: AddressSet,
    /// Not the address of any one host: never probed.
    pub never: AddressSet,
}

/// Targets by what the scope says of them. The three have nothing in common, and together are the
/// targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedTargets {
    /// May be probed.
    pub inside: AddressSet,
    /// An exclusion or a denied network names them.
    pub denied: AddressSet,
    /// Nothing allows them.
    pub outside: AddressSet,
}

/// Targets that no scope allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown} may not be probed: no scope allows {it}; name the networks that you may probe in a \
     scope file (--scope FILE), or say who allowed it (--i-am-authorized \"reason\")",
    shown = summary(.outside, SHOWN_RANGES),
    it = if .outside.len() == 1 { "it" } else { "them" }
)]
pub struct OutsideScope {
    /// The targets.
    pub outside: AddressSet,
}

/// A scope file that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}: {problem}", line_text(*.line))]
pub struct ScopeError {
    /// Where the text came from, as the caller named it.
    pub origin: Text,
    /// The line, counted from 1; `None` when the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: ScopeProblem,
}

/// What is wrong with a scope file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeProblem {
    /// An entry of `allow` or `deny`.
    #[error(transparent)]
    Address(SpecError),
    /// The end of the authorisation.
    #[error(transparent)]
    Expiry(ExpiryError),
    /// No TOML, an unknown key, or a value of the wrong kind.
    #[error(
        "{0}; the keys are owner, contact, reason, expires, allow, deny, ports, rate, host_rate"
    )]
    File(Text),
    /// A host name where an address is needed.
    #[error(
        "\"{0}\" is a name, and what a name stands for can change after the scope was agreed; write \
         its address"
    )]
    Name(Text),
    /// Nothing is allowed.
    #[error(
        "it allows nothing; name the networks that may be probed, as in allow = [\"10.0.0.0/24\"]"
    )]
    NothingAllowed,
    /// The ports.
    #[error(transparent)]
    Ports(PortsError),
    /// More bytes than a scope needs.
    #[error("it is larger than {} MiB; write networks and ranges", SCOPE_BYTES_MAX >> 20)]
    TooLarge,
    /// A rate of nothing.
    #[error("{0} = 0 allows no probe; write probes a second, as in {0} = 1000, or leave it out")]
    ZeroRate(&'static str),
}

/// The keys of a scope file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    owner: Option<String>,
    contact: Option<String>,
    reason: Option<String>,
    expires: Option<Spanned<Expiry>>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    ports: Option<Spanned<String>>,
    rate: Option<Spanned<u64>>,
    host_rate: Option<Spanned<u64>>,
}

/// Reads a scope file (TOML). `origin` names it in messages. What is [`Reserved::never`] is denied
/// whatever the file allows. Ports under `T:` and `U:` are joined: a scope allows port numbers.
pub fn parse_scope(
    text: &str,
    origin: &str,
    reserved: &Reserved,
    names: &PortNames,
) -> Result<Scope, ScopeError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    read(text, reserved, names).map_err(|fault| ScopeError {
        origin: Text::from(origin),
        line: fault
            .at
            .map(|at| crate::input::line_at(text.as_bytes(), at)),
        problem: fault.problem,
    })
}

fn read(text: &str, reserved: &Reserved, names: &PortNames) -> Result<Scope, Fault> {
    if text.len() > SCOPE_BYTES_MAX {
        return Err(Fault::whole(ScopeProblem::TooLarge));
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', " ").replace('`', "\"");
        let at = error.span().map(|span| span.start);
        let problem = ScopeProblem::File(Text::from(message));
        Fault { at, problem }
    })?;
    let allowed = networks(&file.allow)?;
    if allowed.is_empty() {
        return Err(Fault::whole(ScopeProblem::NothingAllowed));
    }
    let mut denied = networks(&file.deny)?;
    denied.extend_from(&reserved.never);
    let expires = file.expires.map(|expires| {
        let at = expires.span().start;
        let time = expires.into_inner().unix_s();
        time.map_err(|error| Fault::at(at, ScopeProblem::Expiry(error)))
    });
    let ports = file.ports.map(|ports| {
        let at = ports.span().start;
        parse_ports(ports.get_ref(), names)
            .map(|chosen| PortSet::union_of([chosen.tcp, chosen.udp, chosen.unprefixed]))
            .map_err(|error| Fault::at(at, ScopeProblem::Ports(error)))
    });
    Ok(Scope {
        allowed,
        denied,
        ports: ports.transpose()?,
        rate: rate("rate", file.rate.as_ref())?,
        host_rate: rate("host_rate", file.host_rate.as_ref())?,
        owner: file.owner.map(Text::from),
        contact: file.contact.map(Text::from),
        reason: file.reason.map(Text::from),
        expires_unix_s: expires.transpose()?,
    })
}

/// A problem and the byte where it stands; `None`: in the file as a whole.
struct Fault {
    at: Option<usize>,
    problem: ScopeProblem,
}

impl Fault {
    const fn whole(problem: ScopeProblem) -> Self {
        Self { at: None, problem }
    }

    const fn at(at: usize, problem: ScopeProblem) -> Self {
        Self {
            at: Some(at),
            problem,
        }
    }
}

fn networks(specs: &[Spanned<String>]) -> Result<AddressSet, Fault> {
    let mut sets = Vec::with_capacity(specs.len());
    for spec in specs {
        let at = spec.span().start;
        match Spec::parse_boundary(spec.get_ref()) {
            Ok(Spec::Addresses(set)) => sets.push(set),
            Ok(Spec::AllNodes(name) | Spec::Name(name)) => {
                return Err(Fault::at(at, ScopeProblem::Name(Text::from(name))));
            }
            Err(error) => return Err(Fault::at(at, ScopeProblem::Address(error))),
        }
    }
    Ok(AddressSet::union_of(sets))
}

fn rate(key: &'static str, rate: Option<&Spanned<u64>>) -> Result<Option<u64>, Fault> {
    match rate {
        Some(zero) if *zero.get_ref() == 0 => {
            Err(Fault::at(zero.span().start, ScopeProblem::ZeroRate(key)))
        }
        rate => Ok(rate.map(|rate| *rate.get_ref())),
    }
}

fn line_text(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

/// The scope of a run without a scope file: what the internet does not route, and the networks
/// that this machine is `attached` to.
pub fn default_scope(attached: &AddressSet, reserved: &Reserved) -> Scope {
    let mut allowed = reserved.local.clone();
    allowed.extend_from(attached);
    let mut scope = Scope::of(allowed);
    scope.denied = reserved.never.clone();
    scope
}

/// The scope of a run whose user says to be authorised, and why: everything that is the address of
/// a host.
pub fn authorized_scope(reason: &str, reserved: &Reserved) -> Scope {
    let mut scope = Scope::of(AddressSet::everything());
    scope.denied = reserved.never.clone();
    scope.reason = Some(Text::from(reason));
    scope
}

/// Sorts `targets` by what `scope` says of them. Denied wins over allowed.
pub fn apply_scope(scope: &Scope, targets: &AddressSet) -> ScopedTargets {
    let denied = targets.intersection(&scope.denied);
    let rest = targets.without(&denied);
    let outside = rest.without(&scope.allowed);
    ScopedTargets {
        inside: rest.without(&outside),
        denied,
        outside,
    }
}

impl ScopedTargets {
    /// The targets inside, or why the run may not begin: a target outside is an error, since
    /// leaving it out in silence would look like a clean result.
    pub fn inside_only(self) -> Result<AddressSet, OutsideScope> {
        if self.outside.is_empty() {
            Ok(self.inside)
        } else {
            let outside = self.outside;
            Err(OutsideScope { outside })
        }
    }
}

/// The first `count` ranges of a set in words, and how many there are besides.
pub fn summary(set: &AddressSet, count: usize) -> String {
    let shown = set.ranges().take(count).map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    let text = shown.collect::<Vec<_>>().join(", ");
    match set.ranges().count().saturating_sub(count) {
        0 => text,
        1 => format!("{text} and 1 more range"),
        rest => format!("{text} and {rest} more ranges"),
    }
}

const SHOWN_RANGES: usize = 3;

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
