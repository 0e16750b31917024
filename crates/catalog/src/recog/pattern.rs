//! One pattern of a fingerprint: what its writers mean by it, checked when it is read and compiled
//! when a text first needs it.
//!
//! The patterns are written for engines that go back over a text; here they run in linear time.
//! What that cannot express (look-around, back-references, atomic groups) is refused, not ignored.

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of groups.
const NEST_MAX: u32 = 64;
/// Most states, about, that a pattern may come to when its repetitions are written out.
const WEIGHT_MAX: usize = 20_000;
/// Memory of one compiled pattern; what [`WEIGHT_MAX`] lets through stays below.
const COMPILED_BYTES_MAX: usize = 64 << 20;
/// Memory that a compiled pattern takes to remember what it saw, for each of its two directions.
const CACHE_BYTES_MAX: usize = 128 << 10;
/// Most patterns that stay compiled: texts of strangers decide which are.
const KEPT_MAX: usize = 512;
/// Shortest word that is worth looking for before a pattern is tried.
const WORD_BYTES_MIN: usize = 2;

/// A pattern that can be tried.
#[derive(Debug)]
pub(super) struct Pattern {
    text: Box<str>,
    flags: Flags,
    /// Characters, where the pattern has some that are no ASCII in a class; else bytes.
    of_characters: bool,
    groups: usize,
    /// What every text that matches has somewhere, in small letters.
    word: Box<[u8]>,
    compiled: OnceLock<Option<Regex>>,
}

/// How many patterns stay compiled.
#[derive(Debug, Default)]
pub(super) struct Kept(AtomicUsize);

impl Kept {
    fn takes_one(&self) -> bool {
        self.0.load(Ordering::Relaxed) < KEPT_MAX
            && self.0.fetch_add(1, Ordering::Relaxed) < KEPT_MAX
    }
}

/// A text that patterns are tried on.
#[derive(Debug)]
pub(super) struct Text<'t> {
    bytes: &'t [u8],
    /// The same in small letters.
    lower: Vec<u8>,
}

impl<'t> Text<'t> {
    pub(super) fn of(bytes: &'t [u8]) -> Self {
        Self {
            bytes,
            lower: bytes.to_ascii_lowercase(),
        }
    }
}

/// What the flags of a fingerprint change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    any_case: bool,
    dot_is_newline: bool,
}

impl Pattern {
    /// Reads a pattern and the flags beside it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(pattern: &str, flags: &str) -> Result<Self, String> {
        let flags = Flags::read(flags)?;
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "the pattern is longer than {PATTERN_BYTES_MAX} bytes: split it"
            ));
        }
        let text = super::dialect::translate(pattern)?;
        let (hir, of_characters) = match parse(&text, flags, false) {
            Ok(hir) => (hir, false),
            // Some say only of characters what they mean.
            Err(_) => (parse(&text, flags, true)?, true),
        };
        if weight(&hir) > WEIGHT_MAX {
            return Err(format!(
                "the pattern is too large: its repetitions come to more than {WEIGHT_MAX} steps; \
                 lower the counts between braces"
            ));
        }
        Ok(Self {
            text: text.into(),
            flags,
            of_characters,
            groups: hir.properties().explicit_captures_len(),
            word: Word::of(&hir).into(),
            compiled: OnceLock::new(),
        })
    }

    /// Groups that capture.
    pub(super) const fn groups(&self) -> usize {
        self.groups
    }

    /// Matches `text`. What is compiled for it is kept, as long as `kept` has room.
    pub(super) fn captures<'t>(&self, text: &Text<'t>, kept: &Kept) -> Option<Captures<'t>> {
        if !self.may_match(text) {
            return None;
        }
        if let Some(compiled) = self.compiled.get() {
            return compiled.as_ref()?.captures(text.bytes);
        }
        if kept.takes_one() {
            let compiled = self.compiled.get_or_init(|| self.compile());
            return compiled.as_ref()?.captures(text.bytes);
        }
        self.compile()?.captures(text.bytes)
    }

    /// Whether `text` has what every match has; most patterns end here.
    pub(super) fn may_match(&self, text: &Text<'_>) -> bool {
        memchr::memmem::find(&text.lower, &self.word).is_some()
    }

    /// `None`: too large, which nothing is that was read.
    pub(super) fn compile(&self) -> Option<Regex> {
        let built = RegexBuilder::new(&self.text)
            .unicode(self.of_characters)
            .multi_line(true)
            .case_insensitive(self.flags.any_case)
            .dot_matches_new_line(self.flags.dot_is_newline)
            .nest_limit(NEST_MAX)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .build();
        built.ok()
    }
}

impl Flags {
    fn read(text: &str) -> Result<Self, String> {
        let mut flags = Self::default();
        for flag in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            match flag {
                "REG_ICASE" => flags.any_case = true,
                // The three say one thing: `^` and `$` stand at lines whatever the flags.
                "REG_DOT_NEWLINE" | "REG_LINE_ANY_CRLF" | "REG_MULTILINE" => {
                    flags.dot_is_newline = true;
                }
                _ => {
                    return Err(format!(
                        "{flag:?} is no flag: write REG_ICASE, REG_DOT_NEWLINE, REG_MULTILINE or \
                         REG_LINE_ANY_CRLF, with commas between them"
                    ));
                }
            }
        }
        Ok(flags)
    }
}

fn parse(text: &str, flags: Flags, of_characters: bool) -> Result<Hir, String> {
    let mut parser = ParserBuilder::new()
        .unicode(of_characters)
        .utf8(false)
        .multi_line(true)
        .case_insensitive(flags.any_case)
        .dot_matches_new_line(flags.dot_is_newline)
        .nest_limit(NEST_MAX)
        .build();
    parser.parse(text).map_err(|error| {
        let why = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        };
        format!("the pattern cannot be read: {why}")
    })
}

/// States that a pattern comes to, about.
fn weight(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| parts.iter().map(weight).fold(0, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len().saturating_mul(4),
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(2),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            let times = usize::try_from(times).unwrap_or(usize::MAX);
            weight(&repetition.sub)
                .saturating_add(1)
                .saturating_mul(times)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// The longest run of letters that every match has.
#[derive(Default)]
struct Word {
    run: Vec<u8>,
    longest: Vec<u8>,
}

impl Word {
    /// Empty when there is none worth looking for.
    fn of(hir: &Hir) -> Vec<u8> {
        let mut word = Self::default();
        word.walk(hir);
        word.ends();
        if word.longest.len() < WORD_BYTES_MIN {
            word.longest.clear();
        }
        word.longest
    }

    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.run.extend(literal.0.to_ascii_lowercase()),
            HirKind::Class(class) => match one_letter(class) {
                Some(letter) => self.run.push(letter),
                None => self.ends(),
            },
            HirKind::Capture(capture) => self.walk(&capture.sub),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Repetition(repetition) => {
                self.ends();
                if repetition.min > 0 {
                    self.walk(&repetition.sub);
                    self.ends();
                }
            }
            HirKind::Alternation(_) => self.ends(),
        }
    }

    fn ends(&mut self) {
        if self.run.len() > self.longest.len() {
            self.longest.clone_from(&self.run);
        }
        self.run.clear();
    }
}

/// The letter that a class is, in small, when it is one letter in either case.
fn one_letter(class: &Class) -> Option<u8> {
    let letters: Vec<u8> = match class {
        Class::Bytes(class) => {
            let ranges = class.ranges().iter().take(3);
            let single = ranges.map(|it| (it.start() == it.end()).then_some(it.start()));
            single.collect::<Option<_>>()?
        }
        Class::Unicode(class) => {
            let ranges = class.ranges().iter().take(3);
            let single = ranges.map(|it| {
                let letter = (it.start() == it.end()).then_some(it.start())?;
                letter.is_ascii().then(|| u8::try_from(letter).ok())?
            });
            single.collect::<Option<_>>()?
        }
    };
    let (first, others) = letters.split_first()?;
    let letter = first.to_ascii_lowercase();
    others
        .iter()
        .all(|it| it.to_ascii_lowercase() == letter)
        .then_some(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(pattern: &str, flags: &str) -> String {
        let pattern = Pattern::read(pattern, flags).unwrap();
        String::from_utf8(pattern.word.to_vec()).unwrap()
    }

    #[test]
    fn every_text_that_matches_has_the_word() {
        assert_eq!(word(r"^Acme FTP (\d+)$", ""), "acme ftp ");
        assert_eq!(word(r"^Acme FTP (\d+)$", "REG_ICASE"), "acme ftp ");
        assert_eq!(word(r"^(?:a|b)+cde?f", ""), "cd");
        assert_eq!(word(r"(?:xyz)+a", ""), "xyz");
        assert_eq!(word(r"(?:xyz)*ab", ""), "ab");
        assert_eq!(word(r"^a\d", ""), "");
        assert_eq!(word(r"[é]kK", "REG_ICASE"), "");
    }

    #[test]
    fn a_word_in_either_case_does_not_hide_a_match() {
        let check = |pattern: &str, flags: &str, text: &[u8], expected: bool| {
            let pattern = Pattern::read(pattern, flags).unwrap();
            let kept = Kept::default();
            for _ in 0..2 {
                let found = pattern.captures(&Text::of(text), &kept).is_some();
                assert_eq!(found, expected, "{pattern:?}");
            }
            // Without room for what is compiled it is the same.
            let pattern = Pattern::read(&pattern.text, flags).unwrap();
            let full = Kept(AtomicUsize::new(KEPT_MAX));
            let found = pattern.captures(&Text::of(text), &full).is_some();
            assert_eq!(found, expected, "{pattern:?}");
            assert!(pattern.compiled.get().is_none());
        };
        check("^Acme$", "", b"Acme", true);
        check("^Acme$", "", b"acme", false);
        check("^Acme$", "REG_ICASE", b"aCME", true);
        check("^b$", "", b"a\nb\nc", true);
        check("a.c", "", b"a\nc", false);
        check("a.c", "REG_DOT_NEWLINE,REG_ICASE", b"A\nc", true);
        check("a.c", "", b"a\xffc", true);
        check("^a.c$", "", "a·c".as_bytes(), true);
        check("^a.c$", "", b"abbc", false);
        check("a[é]c", "", "aéc".as_bytes(), true);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |pattern: &str, flags: &str, expected: &str| {
            let problem = Pattern::read(pattern, flags).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check("a(", "", "unclosed group");
        check("[a", "", "unclosed character class");
        check("a", "REG_FOO", "no flag");
        check("(?:a{500}){500}", "", "too large");
        check("((a{9}){99}){9999}", "", "too large");
        check(&"a".repeat(PATTERN_BYTES_MAX + 1), "", "longer than");
        check(&"(".repeat(100), "", "cannot be read");
    }

    #[test]
    fn the_largest_that_is_read_compiles() {
        for pattern in [r"^(?:[^x]{1,99}){1,99}$", r"(?:\p{L}.{0,3}){7}é[é]"] {
            assert!(
                Pattern::read(pattern, "").unwrap().compile().is_some(),
                "{pattern}"
            );
        }
    }
}
