//! Targets out of a file or a pipe, whatever its format: a plain list, nmap's XML, or what
//! Portolan itself wrote (`json` and `jsonl`).
//!
//! The bytes are read elsewhere. Addresses are merged as they come, so a long list takes no more
//! memory than the ranges it stands for.

use crate::spec::{Purpose, Spec, SpecError};
use crate::{nmap_xml, run_json};
use portolan_model::{AddressSet, Text};
use std::collections::BTreeSet;

/// Largest input, in bytes.
pub const INPUT_BYTES_MAX: usize = 64 << 20;
/// Most different host names of one input.
pub const INPUT_NAMES_MAX: usize = 1 << 20;

/// An input that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{place}: {problem}")]
pub struct InputError {
    /// Where the bytes came from, as the caller named it.
    pub origin: Text,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub problem: InputProblem,
}

/// A place in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The input as a whole.
    Whole,
    /// A line, counted from 1.
    Line(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Line(line) => write!(f, ", line {line}"),
        }
    }
}

/// What is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// Bytes that are no text.
    #[error("this is no text but binary data; give a list of targets, nmap XML or Portolan JSON")]
    Binary,
    /// An address in an XML or JSON document that is none.
    #[error("\"{0}\" is not an address; the file was damaged or changed after it was written")]
    BadAddress(Text),
    /// Not well formed.
    #[error("{format} that cannot be read: {detail}; write the file again, or give a plain list")]
    Damaged {
        /// Which format it is in.
        format: &'static str,
        /// What the reader said.
        detail: Text,
    },
    /// An XML file that declares a DTD of its own.
    #[error(
        "the XML brings a document type of its own, which nmap never writes and which can be made to \
         swell; remove the part in square brackets after DOCTYPE"
    )]
    Dtd,
    /// No target.
    #[error("there is no target in it; write one a line, as in 10.0.0.0/24")]
    Empty,
    /// Well formed, but it lists no host to go on with.
    #[error("this {format} lists no host that answered; give a plain list to probe others")]
    NoHost {
        /// Which format it is in.
        format: &'static str,
    },
    /// A spec in a plain list.
    #[error(transparent)]
    Spec(SpecError),
    /// Too many bytes.
    #[error("it is larger than {} MiB; split it, or write networks and ranges", INPUT_BYTES_MAX >> 20)]
    TooLarge,
    /// Too many names.
    #[error("it holds more than {INPUT_NAMES_MAX} host names; split it")]
    TooManyNames,
    /// Elements inside elements without end.
    #[error(
        "its elements are nested more than {0} deep, which nmap never writes; write the file again"
    )]
    TooDeep(usize),
    /// JSON or XML, but of somebody else.
    #[error("this is {format}, but not {expected}; give a plain list of targets")]
    Unknown {
        /// The outer format.
        format: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// A second text encoding.
    #[error("the text is UTF-16; save it as UTF-8, as with iconv -f UTF-16 -t UTF-8")]
    Utf16,
}

/// Reads the targets in `bytes`; `origin` names them in messages (`hosts.txt`, `standard input`).
/// The result holds at most one [`Spec::Addresses`], which comes first.
pub fn read_targets(bytes: &[u8], origin: &str) -> Result<Vec<Spec>, InputError> {
    read(bytes, origin, Purpose::Target)
}

/// Reads what limits a run, such as a list of exclusions: the same formats as [`read_targets`],
/// and IPv6 networks of any size. An empty list is an error here too: who names a list of
/// exclusions and gives none has most likely named the wrong file.
pub fn read_boundaries(bytes: &[u8], origin: &str) -> Result<Vec<Spec>, InputError> {
    read(bytes, origin, Purpose::Boundary)
}

fn read(bytes: &[u8], origin: &str, purpose: Purpose) -> Result<Vec<Spec>, InputError> {
    let mut found = Found::default();
    let read = text_of(bytes).and_then(|text| read_text(text, purpose, &mut found));
    let specs = read.and_then(|()| {
        let specs = found.into_specs();
        if specs.is_empty() {
            return Err(Fault::whole(InputProblem::Empty));
        }
        Ok(specs)
    });
    specs.map_err(|fault| InputError {
        origin: Text::from(origin),
        place: fault.place,
        problem: fault.problem,
    })
}

fn read_text(text: &str, purpose: Purpose, found: &mut Found) -> Result<(), Fault> {
    let start = text.trim_start();
    if start.starts_with('<') {
        nmap_xml::read(text, found)
    } else if start.starts_with('{') {
        run_json::read(text, found)
    } else {
        list(text, purpose, found)
    }
}

fn list(text: &str, purpose: Purpose, found: &mut Found) -> Result<(), Fault> {
    for (at, line) in text.split('\n').enumerate() {
        let line_number = at.saturating_add(1);
        let targets = line.split('#').next().unwrap_or_default();
        for target in targets.split_ascii_whitespace() {
            Spec::parse_for(target, purpose)
                .map_err(InputProblem::Spec)
                .and_then(|spec| found.add(spec))
                .map_err(|problem| Fault::on(line_number, problem))?;
        }
    }
    Ok(())
}

/// The bytes as text without its byte order mark.
fn text_of(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(Fault::whole(InputProblem::TooLarge));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || half_zeros(bytes) {
        return Err(Fault::whole(InputProblem::Utf16));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let odd = |byte: &u8| byte.is_ascii_control() && !b"\t\n\r\x0c".contains(byte);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = line_at(bytes, error.valid_up_to());
            return Err(Fault::on(line, InputProblem::Binary));
        }
    };
    match bytes.iter().position(odd) {
        Some(at) => Err(Fault::on(line_at(bytes, at), InputProblem::Binary)),
        None => Ok(text),
    }
}

/// Whether every other of the first bytes is zero: ASCII in UTF-16 without its mark.
fn half_zeros(bytes: &[u8]) -> bool {
    let pairs = || bytes.chunks_exact(2).take(UTF16_PAIRS_SEEN);
    let all = |zero: usize, other: usize| {
        pairs().all(|pair| pair.get(zero) == Some(&0) && pair.get(other) != Some(&0))
    };
    bytes.len() >= 2 && (all(0, 1) || all(1, 0))
}

const UTF16_PAIRS_SEEN: usize = 64;

/// Number, from 1, of the line that holds the byte at `offset`.
pub(crate) fn line_at(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.get(..offset).unwrap_or(bytes);
    before.split(|byte| *byte == b'\n').count()
}

/// A problem and its place, before the origin is added.
#[derive(Debug)]
pub(crate) struct Fault {
    place: Place,
    problem: InputProblem,
}

impl Fault {
    pub(crate) const fn whole(problem: InputProblem) -> Self {
        Self {
            place: Place::Whole,
            problem,
        }
    }

    pub(crate) const fn on(line: usize, problem: InputProblem) -> Self {
        Self {
            place: Place::Line(line),
            problem,
        }
    }
}

/// The targets read so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    merged: AddressSet,
    fresh: Vec<AddressSet>,
    /// What is to be resolved or asked for.
    names: Vec<Spec>,
    seen: BTreeSet<String>,
}

impl Found {
    pub(crate) fn add(&mut self, spec: Spec) -> Result<(), InputProblem> {
        match spec {
            Spec::Addresses(set) => self.add_addresses(set),
            Spec::AllNodes(_) | Spec::Name(_) => {
                let key = match &spec {
                    Spec::Name(name) => name.to_ascii_lowercase(),
                    // No name has this letter.
                    Spec::AllNodes(interface) => format!("%{interface}"),
                    Spec::Addresses(_) => String::new(),
                };
                if self.seen.insert(key) {
                    self.names.push(spec);
                }
                if self.names.len() > INPUT_NAMES_MAX {
                    return Err(InputProblem::TooManyNames);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn add_address(&mut self, text: &str) -> Result<(), InputProblem> {
        match text.trim().parse() {
            Ok(address) => {
                self.add_addresses(AddressSet::from_iter([address]));
                Ok(())
            }
            Err(_) => Err(InputProblem::BadAddress(Text::from(text))),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.names.is_empty() && self.merged.is_empty()
    }

    fn add_addresses(&mut self, set: AddressSet) {
        self.fresh.push(set);
        if self.fresh.len() >= FRESH_MAX {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.merged.extend_from(&AddressSet::union_of(fresh));
    }

    fn into_specs(mut self) -> Vec<Spec> {
        self.merge();
        let addresses = Some(self.merged).filter(|set| !set.is_empty());
        addresses
            .map(Spec::Addresses)
            .into_iter()
            .chain(self.names)
            .collect()
    }
}

/// Sets kept apart before they are merged: a merge costs as much as everything merged so far.
const FRESH_MAX: usize = 1 << 17;

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
