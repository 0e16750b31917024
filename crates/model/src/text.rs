//! Text that came from a peer, made safe to show.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Printable text: holds no control character, no line break, no terminal escape, and no
/// character that changes the direction of writing. Everything a peer says passes through here
/// before it becomes part of an event, so no front end can forget to escape it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text(String);

impl Text {
    /// Longest text kept, in characters; the rest is replaced by `…`.
    pub const CHARS_MAX: usize = 512;

    /// Makes `bytes` printable. Valid UTF-8 stays as it is; other bytes and control characters
    /// are written as `\xNN`, `\r`, `\n`, `\t`; format and bidirectional controls, noncharacters,
    /// and combining marks that are piled up or stand on nothing as `\u{NNNN}`.
    /// A backslash of the peer is doubled, so the result can be read back without doubt.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut printable = Printable::default();
        // Four bytes a character is the most UTF-8 needs: what lies beyond is cut anyway.
        let kept = bytes
            .get(..Self::CHARS_MAX.saturating_mul(4))
            .unwrap_or(bytes);
        printable.cut = kept.len() < bytes.len();
        for chunk in kept.utf8_chunks() {
            for character in chunk.valid().chars() {
                printable.push_peer(character);
            }
            for byte in chunk.invalid() {
                printable.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Self(printable.finish())
    }

    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Text {
    /// Takes text of our own or of a document. Characters that [`Text`] excludes are escaped;
    /// backslashes are left as they are, so reading a document back changes nothing.
    fn from(text: String) -> Self {
        let plain = |character| is_printable(character) && !is_mark(character);
        if text.len() <= Self::CHARS_MAX && text.chars().all(plain) {
            return Self(text);
        }
        let mut printable = Printable::default();
        for character in text.chars() {
            if plain(character) {
                printable.push(character);
            } else {
                printable.push_peer(character);
            }
        }
        Self(printable.finish())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Combining marks on one character; the writing of no language piles up more.
const MARKS_MAX: usize = 4;

#[derive(Default)]
struct Printable {
    text: String,
    chars: usize,
    cut: bool,
    /// How many more combining marks the last character takes: none at the beginning, where they
    /// would change what stands before the text, and none on an escape.
    marks_left: usize,
}

impl Printable {
    fn push(&mut self, character: char) {
        if self.chars < Text::CHARS_MAX {
            self.text.push(character);
            self.chars = self.chars.saturating_add(1);
            self.marks_left = MARKS_MAX;
        } else {
            self.cut = true;
        }
    }

    /// A mark joins the character before it.
    fn push_mark(&mut self, mark: char) {
        let left = self.marks_left.saturating_sub(1);
        self.push(mark);
        self.marks_left = left;
    }

    /// Escapes are pushed whole or not at all.
    fn push_str(&mut self, escape: &str) {
        self.marks_left = 0;
        if self.chars.saturating_add(escape.len()) <= Text::CHARS_MAX {
            self.text.push_str(escape);
            self.chars = self.chars.saturating_add(escape.len());
        } else {
            self.chars = Text::CHARS_MAX;
            self.cut = true;
        }
    }

    fn push_peer(&mut self, character: char) {
        match character {
            '\\' => self.push_str("\\\\"),
            '\n' => self.push_str("\\n"),
            '\r' => self.push_str("\\r"),
            '\t' => self.push_str("\\t"),
            c if is_mark(c) && self.marks_left > 0 => self.push_mark(c),
            c if is_printable(c) && !is_mark(c) => self.push(c),
            c if c.is_ascii() => self.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => self.push_str(&format!("\\u{{{:04x}}}", u32::from(c))),
        }
    }

    fn finish(mut self) -> String {
        if self.cut {
            if self.text.chars().count() >= Text::CHARS_MAX {
                self.text.pop();
            }
            self.text.push('…');
        }
        self.text
    }
}

/// Neither a control character nor one that hides, reorders or joins its neighbours: Unicode
/// categories Cc, Zl, Zp, the members of Cf that a terminal or a browser acts on, what is shown as
/// nothing at all, and the noncharacters (Unicode 16, §23.7), which no text holds.
fn is_printable(character: char) -> bool {
    let noncharacter =
        u32::from(character) & 0xfffe == 0xfffe || matches!(character, '\u{fdd0}'..='\u{fdef}');
    !character.is_control()
        && !noncharacter
        && !matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e01ef}'
        )
}

/// A mark that is drawn onto the character before it: the blocks of combining marks, and the marks
/// of the scripts that pile them up.
fn is_mark(character: char) -> bool {
    matches!(
        character,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{591}'..='\u{5bd}'
            | '\u{610}'..='\u{61a}'
            | '\u{64b}'..='\u{65f}'
            | '\u{6d6}'..='\u{6dc}'
            | '\u{e31}'
            | '\u{e34}'..='\u{e3a}'
            | '\u{e47}'..='\u{e4e}'
            | '\u{eb1}'
            | '\u{eb4}'..='\u{ebc}'
            | '\u{ec8}'..='\u{ece}'
            | '\u{f71}'..='\u{f84}'
            | '\u{f8d}'..='\u{fbc}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{302a}'..='\u{302f}'
            | '\u{3099}'..='\u{309a}'
            | '\u{a66f}'..='\u{a672}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(Text::from_bytes(bytes).as_str(), expected);
    }

    #[test]
    fn what_a_peer_says_is_shown_without_being_obeyed() {
        check(b"220 ready\r\n", "220 ready\\r\\n");
        check(b"\x1b[2J\x07", "\\x1b[2J\\x07");
        check(b"\xff\xfb\x01", "\\xff\\xfb\\x01");
        check("gr\u{fc}n".as_bytes(), "grün");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check("\u{9b}31m".as_bytes(), "\\u{009b}31m");
        check(b"\\x41", "\\\\x41");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let text = Text::from_bytes(&[b'a'; 10_000]);
        assert_eq!(text.as_str().chars().count(), Text::CHARS_MAX);
        assert!(text.as_str().ends_with('…'));
        let text = Text::from_bytes(&[0; 10_000]);
        assert!(text.as_str().chars().count() <= Text::CHARS_MAX);
        assert!(text.as_str().ends_with('…'));
    }

    #[test]
    fn reading_back_changes_nothing() {
        let text = Text::from_bytes(b"a\\b\x1b\xffc");
        assert_eq!(Text::from(String::from(text.clone())), text);
        let long = Text::from_bytes(&[b'a'; 10_000]);
        assert_eq!(Text::from(String::from(long.clone())), long);
    }

    #[test]
    fn noncharacters_and_what_is_shown_as_nothing_are_written_out() {
        check("a\u{fffe}b".as_bytes(), "a\\u{fffe}b");
        check("\u{ffff}".as_bytes(), "\\u{ffff}");
        check("\u{fdd0}\u{10ffff}".as_bytes(), "\\u{fdd0}\\u{10ffff}");
        check("a\u{200d}b\u{3164}".as_bytes(), "a\\u{200d}b\\u{3164}");
        check("a\u{e0100}".as_bytes(), "a\\u{e0100}");
        // Their neighbours are characters like any other.
        check("\u{fffd}\u{fdcf}".as_bytes(), "\u{fffd}\u{fdcf}");
    }

    #[test]
    fn marks_are_kept_on_a_character_and_written_out_when_piled_up() {
        check("e\u{301}te\u{301}".as_bytes(), "e\u{301}te\u{301}");
        let four = "a\u{301}\u{302}\u{303}\u{304}";
        check(four.as_bytes(), four);
        check(
            format!("{four}\u{305}\u{306}b\u{301}").as_bytes(),
            &format!("{four}\\u{{0305}}\\u{{0306}}b\u{301}"),
        );
    }

    #[test]
    fn a_mark_on_nothing_is_written_out() {
        check("\u{301}a".as_bytes(), "\\u{0301}a");
        check("\n\u{301}".as_bytes(), "\\n\\u{0301}");
        assert_eq!(Text::from("\u{301}a").as_str(), "\\u{0301}a");
    }

    #[test]
    fn reading_marks_back_changes_nothing() {
        let piled = format!("\u{301}a{}\n\u{301}\u{fffe}", "\u{301}".repeat(300));
        let text = Text::from_bytes(piled.as_bytes());
        assert!(text.as_str().chars().count() <= Text::CHARS_MAX);
        assert_eq!(Text::from(String::from(text.clone())), text);
    }
}
