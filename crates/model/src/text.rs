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
    /// are written as `\xNN`, `\r`, `\n`, `\t`; format and bidirectional controls as `\u{NNNN}`.
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
        if text.len() <= Self::CHARS_MAX && text.chars().all(is_printable) {
            return Self(text);
        }
        let mut printable = Printable::default();
        for character in text.chars() {
            if is_printable(character) {
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

#[derive(Default)]
struct Printable {
    text: String,
    chars: usize,
    cut: bool,
}

impl Printable {
    fn push(&mut self, character: char) {
        if self.chars < Text::CHARS_MAX {
            self.text.push(character);
            self.chars = self.chars.saturating_add(1);
        } else {
            self.cut = true;
        }
    }

    /// Escapes are pushed whole or not at all.
    fn push_str(&mut self, escape: &str) {
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
            c if is_printable(c) => self.push(c),
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
/// categories Cc, Zl, Zp, and the members of Cf that a terminal or a browser acts on.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
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
}
