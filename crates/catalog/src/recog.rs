//! Fingerprints of the user: files in the XML format of recog, read, and asked what a text shows.
//!
//! A file is for one kind of text (`ssh.banner`), and its first pattern that matches wins; of the
//! files for one kind, those that claim more (`preference`, `priority`) are asked first. No file is
//! opened here: names and bytes come in. What kind of text a service has said is in
//! [`conversation`].

use portolan_model::Text;
use regex::bytes::{Captures, Regex};
use std::collections::BTreeMap;

pub mod conversation;
mod dialect;
mod file;
mod pattern;

use pattern::{Kept, Pattern};

/// Bytes of a text that are looked at; the rest is left out.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Most fingerprints of all files together.
pub const FINGERPRINTS_MAX: usize = 100_000;
/// Certainty of a fingerprint that names none, 0 to 100.
pub const CERTAINTY_USUAL: u8 = 85;
/// Longest value in bytes that is believed to be a name or a version.
const VALUE_BYTES_MAX: usize = 256;

/// The fingerprints of all files.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// By kind of text, the first to be asked first.
    databases: BTreeMap<String, Vec<Database>>,
    kept: Kept,
}

/// Whether the examples in the files are kept for [`Fingerprints::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examples {
    /// Passed over: a scan needs none.
    Dropped,
    /// Kept.
    Kept,
}

/// What a fingerprint says of a text that it matches. What it does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Who makes the product (`service.vendor`).
    pub vendor: Option<Text>,
    /// The product (`service.product`).
    pub product: Option<Text>,
    /// Its version (`service.version`).
    pub version: Option<Text>,
    /// The system it runs on (`os.product`). A hint: banners are easily moved.
    pub os_product: Option<Text>,
    /// The version of that system (`os.version`).
    pub os_version: Option<Text>,
    /// What the machine is (`hw.product`, or `hw.device`).
    pub device: Option<Text>,
    /// How sure the fingerprint is, 0 to 100.
    pub certainty: u8,
    /// The description of the fingerprint.
    pub description: Text,
    /// Name of its file.
    pub file: String,
    /// Line of the file, counted from 1.
    pub line: usize,
}

/// A file that cannot be read, or an example that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {problem}")]
pub struct FingerprintError {
    /// Name of the file.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// What became of the examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many hold.
    pub held: usize,
    /// Those that do not.
    pub failures: Vec<FingerprintError>,
}

/// One file.
#[derive(Debug)]
struct Database {
    file: String,
    kind: String,
    protocol: Option<String>,
    /// A lower one is asked first.
    rank: u32,
    fingerprints: Vec<Fingerprint>,
}

#[derive(Debug)]
struct Fingerprint {
    line: usize,
    pattern: Pattern,
    /// 0 to 100.
    certainty: u8,
    description: Text,
    params: Vec<Param>,
    examples: Vec<Example>,
}

#[derive(Debug)]
struct Param {
    name: String,
    /// The group that captures it; 0: none, it is the value.
    group: usize,
    /// With a group: what it is when the group has no part in the match.
    value: Option<String>,
}

#[derive(Debug)]
struct Example {
    line: usize,
    text: Vec<u8>,
    /// The file that has the text instead.
    file: Option<String>,
    /// What must be found in it.
    expected: Vec<(String, String)>,
}

impl FingerprintError {
    /// What it quotes of the file is made printable.
    fn new(file: &str, line: usize, problem: &str) -> Self {
        let printable = |text: &str| Text::from(text).as_str().to_owned();
        Self {
            file: printable(file),
            line,
            problem: printable(problem),
        }
    }
}

impl Fingerprints {
    /// Reads files, given by name and content. The names order those that are equal otherwise.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        examples: Examples,
    ) -> Result<Self, FingerprintError> {
        let mut fingerprints = Self::default();
        let mut count = 0_usize;
        for (name, bytes) in files {
            let database = file::read(name, bytes, examples)?;
            count = count.saturating_add(database.fingerprints.len());
            if count > FINGERPRINTS_MAX {
                let problem = format!(
                    "there are more than {FINGERPRINTS_MAX} fingerprints up to here: take files \
                     out of the folder"
                );
                return Err(FingerprintError::new(name, 1, &problem));
            }
            let kind = database.kind.clone();
            fingerprints
                .databases
                .entry(kind)
                .or_default()
                .push(database);
        }
        for databases in fingerprints.databases.values_mut() {
            databases.sort_by(|a, b| (a.rank, &a.file).cmp(&(b.rank, &b.file)));
        }
        Ok(fingerprints)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Kinds of text that files are for and that no conversation of a scan has.
    pub fn unused_kinds(&self) -> impl Iterator<Item = &str> {
        let kinds = self.databases.keys().map(String::as_str);
        kinds.filter(|kind| !conversation::KINDS.iter().any(|known| known.name == *kind))
    }

    /// What the first fingerprint for texts of this kind that matches `text` says. Of the text,
    /// [`TEXT_BYTES_MAX`] bytes are looked at.
    pub fn find(&self, kind: &str, text: &[u8]) -> Option<Match> {
        let databases = self.databases.get(kind)?;
        let text = pattern::Text::of(text.get(..TEXT_BYTES_MAX).unwrap_or(text));
        databases.iter().find_map(|database| {
            database.fingerprints.iter().find_map(|fingerprint| {
                let captures = fingerprint.pattern.captures(&text, &self.kept)?;
                Some(fingerprint.says(&database.file, &captures))
            })
        })
    }

    /// Tries the examples of every fingerprint, which must have been kept, on that fingerprint.
    /// `read_file` reads the text of one that stands in a file of its own: it gets the name of the
    /// file of fingerprints and the path that is named in it.
    pub fn check(
        &self,
        mut read_file: impl FnMut(&str, &str) -> Result<Vec<u8>, String>,
    ) -> Checked {
        let mut checked = Checked::default();
        for (database, fingerprint) in self.all() {
            let fault = |line, problem: &str| FingerprintError::new(&database.file, line, problem);
            // Not kept: all together they take much room.
            let Some(compiled) = fingerprint.pattern.compile() else {
                let problem = "the pattern is too large: make it smaller";
                checked.failures.push(fault(fingerprint.line, problem));
                continue;
            };
            let protocol = database.protocol.as_deref();
            for example in &fingerprint.examples {
                let text = match &example.file {
                    Some(path) => read_file(&database.file, path),
                    None => Ok(example.text.clone()),
                };
                let held =
                    text.and_then(|text| fingerprint.holds(&compiled, example, &text, protocol));
                match held {
                    Ok(()) => checked.held = checked.held.saturating_add(1),
                    Err(problem) => checked.failures.push(fault(example.line, &problem)),
                }
            }
        }
        checked
    }

    fn all(&self) -> impl Iterator<Item = (&Database, &Fingerprint)> {
        let databases = self.databases.values().flatten();
        databases.flat_map(|database| {
            let fingerprints = database.fingerprints.iter();
            fingerprints.map(move |fingerprint| (database, fingerprint))
        })
    }
}

impl Fingerprint {
    fn says(&self, file: &str, captures: &Captures<'_>) -> Match {
        let value = |name: &str| {
            let value = self.value(name, captures)?;
            let value = value.trim_ascii();
            (!value.is_empty() && value.len() <= VALUE_BYTES_MAX).then(|| Text::from_bytes(value))
        };
        Match {
            vendor: value("service.vendor"),
            product: value("service.product"),
            version: value("service.version"),
            os_product: value("os.product"),
            os_version: value("os.version"),
            device: value("hw.product").or_else(|| value("hw.device")),
            certainty: self.certainty,
            description: self.description.clone(),
            file: file.to_owned(),
            line: self.line,
        }
    }

    /// Whether `text` shows what the example says.
    fn holds(
        &self,
        compiled: &Regex,
        example: &Example,
        text: &[u8],
        protocol: Option<&str>,
    ) -> Result<(), String> {
        let may_match = self.pattern.may_match(&pattern::Text::of(text));
        let Some(captures) = compiled.captures(text).filter(|_| may_match) else {
            return Err("the pattern does not match this example: mend one of them".to_owned());
        };
        for (name, expected) in &example.expected {
            let mut found = self.value(name, &captures);
            if found.is_none() && name == "service.protocol" {
                found = protocol.map(|it| it.as_bytes().to_vec());
            }
            if found.as_deref() != Some(expected.as_bytes()) {
                let found = found.map_or_else(
                    || "not found".to_owned(),
                    |found| format!("{:?}", Text::from_bytes(&found).as_str()),
                );
                return Err(format!(
                    "{name} should be {expected:?} here, and is {found}"
                ));
            }
        }
        Ok(())
    }

    /// The value of a parameter; the last of the name counts.
    fn value(&self, name: &str, captures: &Captures<'_>) -> Option<Vec<u8>> {
        let param = self.param(name)?;
        match (&param.value, param.group) {
            (Some(value), 0) => self.filled(name, value, captures),
            _ => param.plain(captures).map(<[u8]>::to_vec),
        }
    }

    fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().rfind(|param| param.name == name)
    }

    /// `value` with the parameters that it names in braces. One that has no value leaves the whole
    /// without; but `-` stands for a version in a name of the CPE (NISTIR 7695 §5.3).
    fn filled(&self, name: &str, value: &str, captures: &Captures<'_>) -> Option<Vec<u8>> {
        let mut filled = Vec::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('{') {
            filled.extend(before.as_bytes());
            let named = after
                .split_once('}')
                .filter(|(named, _)| !named.is_empty() && !named.contains([' ', '{']));
            let Some((named, behind)) = named else {
                filled.push(b'{');
                rest = after;
                continue;
            };
            let found = self.param(named).and_then(|param| param.plain(captures));
            let is_version =
                named.ends_with("version") && matches!(name.rsplit('.').next(), Some("cpe23"));
            match found {
                Some(found) => filled.extend(found),
                None if is_version => filled.push(b'-'),
                None => return None,
            }
            rest = behind;
        }
        filled.extend(rest.as_bytes());
        Some(filled)
    }
}

impl Param {
    /// What was captured, or what is written, without looking into it.
    fn plain<'t>(&'t self, captures: &Captures<'t>) -> Option<&'t [u8]> {
        let written = self.value.as_deref().map(str::as_bytes);
        if self.group == 0 {
            return written;
        }
        let captured = captures.get(self.group).map(|group| group.as_bytes());
        captured.or(written)
    }
}

#[cfg(test)]
mod tests;
