//! Fingerprints: patterns over what a server says, and the product and version that a match proves.
//!
//! What is not here: which fingerprint wins where several match (`matcher`).

use crate::services::QuestionId;
use portolan_model::Text;
use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};
use serde::Deserialize;
use toml::Spanned;

/// The part of what was said that a pattern is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The body of an HTTP reply.
    Body,
    /// Status line and fields of an HTTP reply.
    Head,
    /// All of it.
    #[default]
    Reply,
    /// The value of `Server` in an HTTP reply.
    Server,
}

/// A pattern, and what a match of it proves.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint {
    /// The answers that it is about; none: whatever was asked.
    pub(crate) after: Vec<QuestionId>,
    pub(crate) part: Part,
    pub(crate) source: String,
    pub(crate) pattern: Regex,
    product: Option<String>,
    version: Option<String>,
    os: Option<String>,
    pub(crate) confidence: u8,
    pub(crate) is_final: bool,
    /// Its group `seconds` has to be the time: seconds since 1900, the first byte first (RFC 868).
    tells_time: bool,
    /// Bytes that every match holds: the more, the more specific.
    pub(crate) weight: usize,
    /// Line of the card.
    pub(crate) line: usize,
    pub(crate) examples: Vec<Example>,
    pub(crate) counters: Vec<Vec<u8>>,
}

/// What a server said, and what it proves.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) said: Vec<u8>,
    pub(crate) product: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) os: Option<String>,
}

/// What one match proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) product: Option<Text>,
    pub(crate) version: Option<Text>,
    pub(crate) os: Option<Text>,
    /// The bytes that matched.
    pub(crate) shown: Vec<u8>,
}

/// As it stands on a card.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pattern: Spanned<String>,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default, rename = "in")]
    part: Part,
    product: Option<String>,
    version: Option<String>,
    os: Option<String>,
    confidence: Option<u8>,
    #[serde(rename = "final")]
    is_final: Option<bool>,
    #[serde(default)]
    example: Vec<ExampleEntry>,
    #[serde(default)]
    not: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExampleEntry {
    said: String,
    product: Option<String>,
    version: Option<String>,
    os: Option<String>,
}

/// The group that has to be the time.
const SECONDS: &str = "seconds";
/// From the year 1900 to 1970 (RFC 868).
const SECONDS_TO_1970: u64 = 2_208_988_800;
/// How wrong a clock may be that is taken for one.
const CLOCK_ERROR_MAX_S: u64 = 86_400;
/// Confidence where a card names none: a grammar or a name that no other protocol has.
const CONFIDENCE: u8 = 95;
/// Longest compiled pattern of a card.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

impl Fingerprint {
    /// Reads one from a card whose text is `text`; `question` finds the question of a name.
    pub(crate) fn parse(
        entry: Entry,
        text: &str,
        question: impl Fn(&str) -> Option<QuestionId>,
    ) -> Result<Self, String> {
        let start = entry.pattern.span().start;
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let at = |problem: String| format!("line {line}: {problem}");
        let source = entry.pattern.into_inner();
        let pattern = compile(&source).map_err(&at)?;
        let after = entry.after.iter().map(|name| {
            question(name).ok_or_else(|| at(format!("there is no question {name:?} to be after")))
        });
        let after = after.collect::<Result<Vec<_>, _>>()?;
        let has = |group: &str| pattern.capture_names().flatten().any(|name| name == group);
        let given = |written: Option<String>, group: &str| {
            written.or_else(|| has(group).then(|| format!("{{{group}}}")))
        };
        let version = given(entry.version, "version");
        let is_final = entry.is_final.unwrap_or_else(|| version.is_some());
        let example = |entry: ExampleEntry| {
            Ok(Example {
                said: unescape(&entry.said)?,
                product: entry.product,
                version: entry.version,
                os: entry.os,
            })
        };
        let examples: Result<Vec<Example>, String> =
            entry.example.into_iter().map(example).collect();
        let counters: Result<Vec<Vec<u8>>, String> =
            entry.not.iter().map(|said| unescape(said)).collect();
        Ok(Self {
            after,
            part: entry.part,
            product: given(entry.product, "product"),
            os: given(entry.os, "os"),
            version,
            confidence: entry.confidence.unwrap_or(CONFIDENCE),
            is_final,
            tells_time: has(SECONDS),
            weight: weight(&source).map_err(&at)?,
            source,
            pattern,
            line,
            examples: examples.map_err(&at)?,
            counters: counters.map_err(&at)?,
        })
    }

    /// What `part` proves, when it matches; said at `unix_s`, where that is known.
    pub(crate) fn prove(&self, part: &[u8], unix_s: Option<u64>) -> Option<Proven> {
        let captures = self.pattern.captures(part)?;
        if self.tells_time {
            let told = captures.name(SECONDS)?.as_bytes();
            let told = u32::from_be_bytes(told.try_into().ok()?);
            let told = u64::from(told).checked_sub(SECONDS_TO_1970)?;
            if told.abs_diff(unix_s?) > CLOCK_ERROR_MAX_S {
                return None;
            }
        }
        let fill = |template: &Option<String>| {
            let filled = fill(template.as_deref()?, &captures);
            let filled = filled.trim_ascii();
            (!filled.is_empty()).then(|| Text::from_bytes(filled))
        };
        Some(Proven {
            product: fill(&self.product),
            version: fill(&self.version),
            os: fill(&self.os),
            shown: captures
                .get(0)
                .map_or(&b""[..], |all| all.as_bytes())
                .to_vec(),
        })
    }
}

/// Compiles a pattern of a card: over bytes, `^` at the very start.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| error.to_string())
}

/// `template` with each `{group}` replaced by what the group caught.
fn fill(template: &str, captures: &Captures<'_>) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.extend_from_slice(before.as_bytes());
        let (group, after) = after.split_once('}').unwrap_or((after, ""));
        if let Some(caught) = captures.name(group) {
            filled.extend_from_slice(caught.as_bytes());
        }
        rest = after;
    }
    filled.extend_from_slice(rest.as_bytes());
    filled
}

/// Bytes that every match of a pattern holds.
fn weight(pattern: &str) -> Result<usize, String> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).build();
    let parsed = parser.parse(pattern).map_err(|error| error.to_string())?;
    Ok(literals(&parsed))
}

/// The parser bounds how deep a pattern is nested.
fn literals(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        // A letter of either case is worth a letter, any other choice nothing.
        HirKind::Class(class) => usize::from(class.maximum_len() == Some(1) && is_letter(hir)),
        HirKind::Repetition(repetition) => {
            let times = usize::try_from(repetition.min).unwrap_or(usize::MAX);
            literals(&repetition.sub).saturating_mul(times)
        }
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(literals).sum(),
        HirKind::Alternation(choices) => choices.iter().map(literals).min().unwrap_or(0),
    }
}

fn is_letter(hir: &Hir) -> bool {
    let HirKind::Class(regex_syntax::hir::Class::Bytes(class)) = hir.kind() else {
        return false;
    };
    let ranges = class.ranges();
    let count: usize = ranges
        .iter()
        .map(regex_syntax::hir::ClassBytesRange::len)
        .sum();
    count <= 2
}

/// Text of a card as bytes: `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for bytes.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let (byte, after) = match after {
            [b'r', after @ ..] => (b'\r', after),
            [b'n', after @ ..] => (b'\n', after),
            [b't', after @ ..] => (b'\t', after),
            [b'0', after @ ..] => (0, after),
            [b'\\', after @ ..] => (b'\\', after),
            [b'x', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high).zip(digit(low));
                let byte = byte.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                (
                    byte.ok_or("\\x stands before two hexadecimal digits")?,
                    after,
                )
            }
            _ => return Err("after \\ comes r, n, t, 0, \\ or xHH".to_owned()),
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_with_escapes_is_bytes() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(unescape(text).ok().as_deref(), expected, "{text}");
        };
        check(r"220 a\r\n", Some(b"220 a\r\n"));
        check(r"\x00\xfF\0\\\t", Some(b"\x00\xff\0\\\t"));
        check("ü", Some("ü".as_bytes()));
        check(r"\x0", None);
        check(r"\xg0", None);
        check(r"\q", None);
        check("\\", None);
    }

    #[test]
    fn the_weight_is_what_every_match_holds() {
        let check =
            |pattern: &str, expected| assert_eq!(weight(pattern), Ok(expected), "{pattern}");
        check("^220 ", 4);
        check("^(?i)ftp.*", 3);
        check("^(?:abc|de)[0-9]+x?", 2);
        check("a{3}", 3);
    }
}
