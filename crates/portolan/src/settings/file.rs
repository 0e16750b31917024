//! Settings files: where they are looked for, and what stands in them, line by line.

use super::Source;
use super::resolve::{Given, shown, wrong};
use super::table::{Entry, Kind, Section, Table, refusal};
use etcetera::BaseStrategy as _;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place where settings are looked for.
#[derive(Clone, Debug)]
pub(crate) struct SettingsFile {
    /// As it is shown to the user.
    pub(crate) path: String,
    /// What paths in it are relative to.
    pub(crate) folder: PathBuf,
    /// `None` when there is no such file.
    pub(crate) text: Option<String>,
}

/// Name of the file in either folder.
const NAME: &str = "portolan.toml";
/// Largest settings file.
const BYTES_MAX: u64 = 1 << 20;

/// Looks for the files; the first wins.
///
/// # Errors
/// When one is there and cannot be read.
pub(super) fn find() -> Result<Vec<SettingsFile>, String> {
    let mut files = vec![read(format!("./{NAME}"), PathBuf::new())?];
    // A user without a home has no folder of settings.
    if let Ok(base) = etcetera::choose_base_strategy() {
        let folder = base.config_dir().join("portolan");
        files.push(read(folder.join(NAME).display().to_string(), folder)?);
    }
    Ok(files)
}

fn read(path: String, folder: PathBuf) -> Result<SettingsFile, String> {
    let text = match read_text(&folder.join(NAME)) {
        Ok(text) => text,
        Err(why) => return Err(format!("the settings file {path} {why}")),
    };
    Ok(SettingsFile { path, folder, text })
}

fn read_text(path: &Path) -> Result<Option<String>, String> {
    let unreadable = |error: std::io::Error| {
        format!("cannot be read ({error}): make it readable, or take it away")
    };
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    // A pipe or a device could keep the program waiting.
    if !about.is_file() {
        return Err("is not a file: put a file there, or take it away".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(format!(
            "is larger than {} MiB: it cannot be meant for settings",
            BYTES_MAX >> 20
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let before = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes().iter().take(before);
            let line = 1 + bytes.filter(|byte| **byte == b'\n').count();
            Err(format!("is not UTF-8 in line {line}: save it as UTF-8"))
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound)
}

/// What a file sets.
///
/// # Errors
/// A sentence with file and line: the file is no TOML, or has a key that cannot be set there, or
/// a value of the wrong kind.
pub(super) fn values(
    table: &Table,
    file: &SettingsFile,
    strength: usize,
) -> Result<Vec<Given>, String> {
    let Some(text) = &file.text else {
        return Ok(Vec::new());
    };
    let reader = Reader {
        table,
        file,
        text,
        strength,
    };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        reader.sentence(&at, &format!("this is not TOML: {}", shown(&message)))
    })?;
    let mut given = BTreeMap::new();
    reader.section(document.get_ref(), Section::Every, &mut given)?;
    Ok(given.into_values().collect())
}

/// Reads one file.
struct Reader<'a> {
    table: &'a Table,
    file: &'a SettingsFile,
    text: &'a str,
    strength: usize,
}

impl Reader<'_> {
    fn section(
        &self,
        keys: &DeTable<'_>,
        section: Section,
        given: &mut BTreeMap<String, Given>,
    ) -> Result<(), String> {
        // In the order of the file, so that the first fault is the one that is told.
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let name = key.get_ref().replace('_', "-");
            match value.get_ref() {
                DeValue::Table(keys) if section == Section::Every && name == "scan" => {
                    self.section(keys, Section::Scan, given)?;
                }
                _ => {
                    let entry = self.entry(section, &name, key.span())?;
                    let value = self.value(entry, key.span(), value)?;
                    if let Some(before) = given.get(&value.id) {
                        let again = format!(
                            "{name} is set a second time; the first is {}: keep one of them",
                            before.source
                        );
                        return Err(self.sentence(&key.span(), &again));
                    }
                    given.insert(value.id.clone(), value);
                }
            }
        }
        Ok(())
    }

    /// The option that is meant. Options of `scan` may also stand above `[scan]`: as long as no
    /// other command has settings, nothing else can be meant.
    fn entry(&self, section: Section, name: &str, at: Range<usize>) -> Result<&Entry, String> {
        let found = self.table.find(section, name);
        if let Some(entry) = found.or_else(|| match section {
            Section::Every => self.table.find(Section::Scan, name),
            Section::Scan => None,
        }) {
            return Ok(entry);
        }
        let key = shown(name);
        let why = if self.table.find(Section::Every, name).is_some() {
            format!("{key} is a setting of every command: move it above [scan]")
        } else if let Some(why) = refusal(name) {
            format!("{key} cannot be set in a file; {why}")
        } else if section == Section::Every && name == "scan" {
            "scan is a table: write [scan], and its settings below".to_owned()
        } else {
            let nearest = self.table.nearest(name);
            let nearest = nearest.map(|entry| format!("did you mean {}? ", entry.name));
            format!(
                "there is no setting {key}; {}The names are those of the long options of \
                 portolan scan --help",
                nearest.unwrap_or_default()
            )
        };
        Err(self.sentence(&at, &why))
    }

    fn value(
        &self,
        entry: &Entry,
        key: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Given, String> {
        let source = Source::File {
            path: self.file.path.clone(),
            line: self.line(&key),
        };
        let written = self.text.get(value.span()).unwrap_or_default();
        let written = shown(written);
        let values = texts(entry.kind, value.get_ref())
            .map_err(|what_is_right| wrong(&source, &entry.name, &written, what_is_right))?;
        let values = values.into_iter().map(|value| {
            if entry.is_path() && !value.is_empty() {
                self.file.folder.join(value).into_os_string()
            } else {
                OsString::from(value)
            }
        });
        Ok(Given {
            id: entry.id().to_owned(),
            section: entry.section,
            name: entry.name.clone(),
            kind: entry.kind,
            values: values.collect(),
            source,
            written,
            strength: self.strength,
        })
    }

    fn sentence(&self, at: &Range<usize>, what: &str) -> String {
        format!("{}, line {}: {what}", self.file.path, self.line(at))
    }

    /// From 1.
    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.bytes().take(at.start);
        1 + before.filter(|byte| *byte == b'\n').count()
    }
}

/// The value as it would stand on the command line.
fn texts(kind: Kind, value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match (kind, value) {
        (Kind::Switch, DeValue::Boolean(truth)) => Ok(vec![truth.to_string()]),
        (Kind::Switch, _) => Err("write true or false"),
        (Kind::Many, DeValue::Array(values)) => values
            .iter()
            .map(|value| text(value.get_ref()).ok_or("write a list of strings"))
            .collect(),
        (Kind::Many, _) => {
            let text = text(value).ok_or("write a list of strings")?;
            Ok(vec![text])
        }
        (Kind::One, _) => {
            let text = text(value).ok_or("write one string or number")?;
            Ok(vec![text])
        }
    }
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Float(float) => Some(float.as_str().to_owned()),
        DeValue::Integer(integer) => {
            // TOML also writes numbers as 0x1f; the command line does not.
            let decimal = i64::from_str_radix(integer.as_str(), integer.radix());
            Some(decimal.map_or_else(|_| integer.to_string(), |number| number.to_string()))
        }
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Array(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
