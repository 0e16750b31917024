//! One file of fingerprints: its XML, element by element, with the line of everything that is
//! wrong in it.
//!
//! Read as a stream. Entities of a document type are never expanded; elements and attributes that
//! mean nothing here are passed over.

use super::pattern::Pattern;
use super::{CERTAINTY_USUAL, Database, Example, Examples, Fingerprint, FingerprintError, Param};
use portolan_model::Text;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 16;
/// Most parameters of one fingerprint.
const PARAMS_MAX: usize = 64;
/// Longest name of a kind in bytes.
const KIND_BYTES_MAX: usize = 64;
/// Longest text of one example, or of a description, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Reads the file called `name`.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    examples: Examples,
) -> Result<Database, FingerprintError> {
    let fault = |line, problem: &str| FingerprintError::new(name, line, problem);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let problem = "it is not UTF-8 here: save the file as UTF-8";
        fault(newlines(good).saturating_add(1), problem)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines {
        text,
        at: 0,
        line: 1,
    };
    let mut reading = Reading::new(name, examples);
    let mut reader = Reader::from_str(text);
    loop {
        let begin = reader.buffer_position();
        let event = reader.read_event().map_err(|error| {
            let line = lines.line_of(reader.error_position());
            fault(line, &damaged(&error))
        })?;
        let line = lines.line_of(begin);
        let read = match &event {
            Event::Start(element) => reading.opens(element, line),
            Event::Empty(element) => reading.opens(element, line).and_then(|()| reading.closes()),
            Event::End(_) => reading.closes(),
            Event::Text(text) => reading.says(&text.xml_content(XmlVersion::Implicit1_0)),
            Event::CData(text) => reading.says(&text.xml_content(XmlVersion::Implicit1_0)),
            Event::GeneralRef(name) => entity(name).and_then(|text| reading.says(&text)),
            Event::DocType(declaration) if declaration.contains('[') => {
                Err("it declares entities, which are not expanded: write them out".to_owned())
            }
            Event::Eof => break,
            _ => Ok(()),
        };
        read.map_err(|problem| fault(line, &problem))?;
    }
    match (reading.seen, reading.path.is_empty()) {
        (true, true) => Ok(reading.database),
        (true, false) => {
            let problem = "it ends in the middle: close every element";
            Err(fault(lines.line_of(u64::MAX), problem))
        }
        (false, _) => Err(fault(1, NO_ROOT)),
    }
}

const NO_ROOT: &str =
    "it has no <fingerprints> element: take the file out of the folder, or write one";

/// Counts lines up to a place, which only moves on.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn line_of(&mut self, position: u64) -> usize {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let position = position.min(self.text.len());
        let passed = self.text.as_bytes().get(self.at..position);
        if let Some(passed) = passed {
            self.line = self.line.saturating_add(newlines(passed));
            self.at = position;
        }
        self.line
    }
}

fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Description,
    Example,
    Fingerprint,
    Fingerprints,
    Other,
}

struct Reading {
    database: Database,
    examples: Examples,
    /// The elements that are open, outermost first.
    path: Vec<Element>,
    /// Whether the root element was there.
    seen: bool,
    fingerprint: Option<Fingerprint>,
    example: Option<Example>,
    /// Whether the text of the example is base64.
    is_base64: bool,
    /// What stands in the description or example so far.
    text: String,
}

impl Reading {
    fn new(name: &str, examples: Examples) -> Self {
        let file = name.rsplit('/').next().unwrap_or(name);
        Self {
            database: Database {
                file: name.to_owned(),
                kind: file.strip_suffix(".xml").unwrap_or(file).to_owned(),
                protocol: None,
                rank: RANK_LAST,
                fingerprints: Vec::new(),
            },
            examples,
            path: Vec::new(),
            seen: false,
            fingerprint: None,
            example: None,
            is_base64: false,
            text: String::new(),
        }
    }

    fn opens(&mut self, element: &BytesStart<'_>, line: usize) -> Result<(), String> {
        if self.path.len() >= DEPTH_MAX {
            return Err(format!(
                "elements stand more than {DEPTH_MAX} deep: no file of fingerprints does"
            ));
        }
        let name = element.name();
        let name: &str = name.as_ref();
        let opened = match (self.path.as_slice(), name) {
            ([], "fingerprints") if !self.seen => {
                self.root(element)?;
                Element::Fingerprints
            }
            ([], _) => return Err(NO_ROOT.to_owned()),
            ([Element::Fingerprints], "fingerprint") => {
                self.fingerprint = Some(fingerprint(element, line)?);
                Element::Fingerprint
            }
            ([Element::Fingerprints, Element::Fingerprint], "description") => Element::Description,
            ([Element::Fingerprints, Element::Fingerprint], "example") => {
                if self.examples == Examples::Kept {
                    self.opens_example(element, line)?;
                }
                Element::Example
            }
            ([Element::Fingerprints, Element::Fingerprint], "param") => {
                self.param(element)?;
                Element::Other
            }
            _ => Element::Other,
        };
        self.text.clear();
        self.seen = true;
        self.path.push(opened);
        Ok(())
    }

    fn root(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        if let Some(kind) = attribute(element, "matches")?.filter(|it| !it.is_empty()) {
            let is_word = kind.bytes().all(|it| it.is_ascii_graphic());
            if !is_word || kind.len() > KIND_BYTES_MAX {
                return Err(format!(
                    "matches={kind:?} is no kind of text: write one such as ssh.banner"
                ));
            }
            self.database.kind = kind;
        }
        let protocol = attribute(element, "protocol")?;
        self.database.protocol = protocol.map(|it| it.to_lowercase());
        if let Some(preference) = attribute(element, "preference")? {
            self.database.rank = RANK_LAST.saturating_sub(fraction("preference", &preference)?);
        } else if let Some(priority) = attribute(element, "priority")? {
            let priority: u16 = priority.trim().parse().map_err(|_| {
                format!("priority={priority:?} is no number: write 1 (first) to 100")
            })?;
            self.database.rank = u32::from(priority).saturating_mul(RANKS_A_PRIORITY);
        }
        Ok(())
    }

    fn opens_example(&mut self, element: &BytesStart<'_>, line: usize) -> Result<(), String> {
        let mut example = Example {
            line,
            text: Vec::new(),
            file: None,
            expected: Vec::new(),
        };
        self.is_base64 = false;
        for (name, value) in attributes(element)? {
            match name.as_str() {
                "_filename" => example.file = Some(value),
                "_encoding" if value == "base64" => self.is_base64 = true,
                "_encoding" => {
                    return Err(format!(
                        "_encoding={value:?} is not known: write base64, or leave it out"
                    ));
                }
                _ => example.expected.push((name, value)),
            }
        }
        self.example = Some(example);
        Ok(())
    }

    fn param(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = needed(element, "name")?;
        let pos = needed(element, "pos")?;
        let value = attribute(element, "value")?.filter(|it| !it.is_empty());
        let Some(fingerprint) = &mut self.fingerprint else {
            return Ok(());
        };
        let group: usize = pos
            .trim()
            .parse()
            .map_err(|_| format!("pos={pos:?} is no number: write 0, or the number of a group"))?;
        let groups = fingerprint.pattern.groups();
        if group > groups {
            return Err(format!(
                "pos=\"{group}\" of {name} is beyond the groups of the pattern, of which there \
                 are {groups}: write one of them, or 0 and a value"
            ));
        }
        if group == 0 && value.is_none() {
            return Err(format!(
                "{name} has pos=\"0\" and no value: write value=\"…\""
            ));
        }
        if fingerprint.params.len() >= PARAMS_MAX {
            return Err(format!(
                "a fingerprint has more than {PARAMS_MAX} parameters"
            ));
        }
        fingerprint.params.push(Param { name, group, value });
        Ok(())
    }

    fn says(&mut self, text: &str) -> Result<(), String> {
        let counts = matches!(
            self.path.last(),
            Some(Element::Description | Element::Example)
        );
        if !counts {
            return Ok(());
        }
        if self.text.len().saturating_add(text.len()) > TEXT_BYTES_MAX {
            return Err(format!("a text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn closes(&mut self) -> Result<(), String> {
        let closed = self.path.pop();
        let fingerprint = self.fingerprint.as_mut();
        match (closed, fingerprint) {
            (Some(Element::Description), Some(fingerprint)) => {
                let words: Vec<&str> = self.text.split_whitespace().collect();
                fingerprint.description = Text::from(words.join(" "));
            }
            (Some(Element::Example), Some(fingerprint)) => {
                if let Some(mut example) = self.example.take() {
                    example.text = if self.is_base64 {
                        base64(&self.text)?
                    } else {
                        std::mem::take(&mut self.text).into_bytes()
                    };
                    fingerprint.examples.push(example);
                }
            }
            (Some(Element::Fingerprint), _) => {
                self.database.fingerprints.extend(self.fingerprint.take());
            }
            _ => {}
        }
        Ok(())
    }
}

fn fingerprint(element: &BytesStart<'_>, line: usize) -> Result<Fingerprint, String> {
    let pattern = needed(element, "pattern")?;
    let flags = attribute(element, "flags")?.unwrap_or_default();
    let certainty = match attribute(element, "certainty")? {
        Some(certainty) => fraction("certainty", &certainty)? / 10,
        None => u32::from(CERTAINTY_USUAL),
    };
    Ok(Fingerprint {
        line,
        pattern: Pattern::read(&pattern, &flags)?,
        certainty: u8::try_from(certainty).unwrap_or(CERTAINTY_USUAL),
        description: Text::default(),
        params: Vec::new(),
        examples: Vec::new(),
    })
}

/// Place of a database that says nothing of its own: the last.
const RANK_LAST: u32 = 1_000;
/// A priority counts from 1, the first, to 100.
const RANKS_A_PRIORITY: u32 = 10;

/// A number from 0 to 1, in thousandths.
fn fraction(name: &str, text: &str) -> Result<u32, String> {
    let wrong = || format!("{name}={text:?} is no number from 0 to 1: write one such as 0.85");
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || text.is_empty() {
        return Err(wrong());
    }
    let digits: String = part.chars().chain("000".chars()).take(3).collect();
    let whole: u32 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let part: u32 = digits.parse().map_err(|_| wrong())?;
    let thousandths = whole.saturating_mul(1_000).saturating_add(part);
    Some(thousandths)
        .filter(|it| *it <= 1_000)
        .ok_or_else(wrong)
}

fn needed(element: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let value = attribute(element, name)?.filter(|it| !it.is_empty());
    value.ok_or_else(|| {
        let element = element.name();
        let element: &str = element.as_ref();
        format!("<{element}> has no {name}: write {name}=\"…\"")
    })
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = attributes(element)?
        .into_iter()
        .find(|(key, _)| key == name);
    Ok(found.map(|(_, value)| value))
}

fn attributes(element: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    let all = element.attributes().map(|attribute| {
        let attribute = attribute.map_err(|error| damaged(&error))?;
        let key: &str = attribute.key.as_ref();
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|error| damaged(&error))?;
        Ok((key.to_owned(), value.into_owned()))
    });
    all.collect()
}

fn entity(name: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(letter) = name.resolve_char_ref().map_err(|error| damaged(&error))? {
        return Ok(letter.to_string());
    }
    let name: &str = name;
    let known = quick_xml::escape::resolve_predefined_entity(name);
    known
        .map(str::to_owned)
        .ok_or_else(|| format!("&{name}; is not known: write the letter itself"))
}

fn damaged(error: &dyn std::fmt::Display) -> String {
    format!("it is no well-formed XML here: {error}")
}

/// RFC 4648 §4, with white space between the letters.
fn base64(text: &str) -> Result<Vec<u8>, String> {
    let wrong =
        || "the example is no base64: write its bytes so, or leave _encoding out".to_owned();
    let letters = text.bytes().filter(|it| !it.is_ascii_whitespace());
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits, mut padding, mut count) = (0_u32, 0_u32, 0_usize, 0_usize);
    for letter in letters {
        count = count.saturating_add(1);
        let value = match letter {
            b'A'..=b'Z' => letter.wrapping_sub(b'A'),
            b'a'..=b'z' => letter.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => letter.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding = padding.saturating_add(1);
                continue;
            }
            _ => return Err(wrong()),
        };
        if padding > 0 {
            return Err(wrong());
        }
        held = (held << 6 | u32::from(value)) & 0xff_ffff;
        bits = bits.saturating_add(6);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            let byte = held.checked_shr(bits).unwrap_or_default() & 0xff;
            bytes.push(u8::try_from(byte).unwrap_or_default());
        }
    }
    if padding > 2 || bits >= 6 || (padding > 0 && count % 4 != 0) {
        return Err(wrong());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_or_refused() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(base64(text).ok().as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("AA==", Some(&[0]));
        check("AAE=", Some(&[0, 1]));
        check("AAH/", Some(&[0, 1, 255]));
        check("QWNt\n ZQ", Some(b"Acme"));
        for wrong in ["A", "AA=A", "AA===", "A-==", "AA="] {
            check(wrong, None);
        }
    }

    #[test]
    fn fractions_are_read_or_refused() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000),
            ("0.9", 900),
            (".85", 850),
            (" 1.0", 1_000),
            ("0.1239", 123),
        ] {
            assert_eq!(fraction("a", text), Ok(expected), "{text}");
        }
        for wrong in ["", "1.1", "-1", "a", "0,9", "99999999999"] {
            assert!(fraction("a", wrong).is_err(), "{wrong}");
        }
    }
}
