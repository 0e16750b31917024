//! How wide text is on a terminal, and rows of cells that fit a width. What stands in the cells,
//! and in which colour, is the caller's business.

use crate::style::{Ink, Sheet};
use std::borrow::Cow;
use std::io;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Blanks between two columns.
const GAP: usize = 2;
/// Marks on one letter that are kept; more would paint over the lines above and below.
const MARKS_MAX: usize = 2;

/// One cell of a row.
pub(crate) struct Cell {
    /// What it says, without control characters.
    pub(crate) text: String,
    /// What it is.
    pub(crate) ink: Ink,
}

/// A column and how far it may be squeezed.
pub(crate) struct Column {
    /// The word above it.
    pub(crate) header: &'static str,
    /// Narrowest width in columns of the terminal; a column whose cells are narrower is not
    /// widened.
    pub(crate) least: usize,
    /// Widest width.
    pub(crate) most: usize,
}

/// Columns with widths that fit a line together.
pub(crate) struct Grid {
    indent: usize,
    headers: Vec<&'static str>,
    widths: Vec<usize>,
}

impl Grid {
    /// Widths for `rows` so that a line of `indent` blanks and all columns fits `width`. `None`
    /// when not even the narrowest columns fit.
    pub(crate) fn fitted(
        columns: &[Column],
        rows: &[Vec<Cell>],
        indent: usize,
        width: usize,
    ) -> Option<Self> {
        let mut widths: Vec<usize> = columns.iter().map(|c| width_of(c.header)).collect();
        for row in rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width_of(&cell.text));
            }
        }
        for (widest, column) in widths.iter_mut().zip(columns) {
            *widest = (*widest).min(column.most);
        }
        let gaps = GAP.saturating_mul(columns.len().saturating_sub(1));
        let room = width.checked_sub(indent)?.checked_sub(gaps)?;
        while widths.iter().sum::<usize>() > room {
            let slack = |(width, column): (&usize, &Column)| width.saturating_sub(column.least);
            let (at, slack) = widths
                .iter()
                .zip(columns)
                .map(slack)
                .enumerate()
                .max_by_key(|(_, slack)| *slack)?;
            if slack == 0 {
                return None;
            }
            *widths.get_mut(at)? -= 1;
        }
        Some(Self {
            indent,
            headers: columns.iter().map(|column| column.header).collect(),
            widths,
        })
    }

    /// Whether `text` stands uncut in the column at `at`.
    pub(crate) fn shows_whole(&self, at: usize, text: &str) -> bool {
        self.widths
            .get(at)
            .is_some_and(|room| width_of(text) <= *room)
    }

    /// The line of headings.
    pub(crate) fn write_header(&self, sheet: &mut Sheet<'_>) -> io::Result<()> {
        let cells: Vec<Cell> = self
            .headers
            .iter()
            .map(|header| Cell {
                text: (*header).to_owned(),
                ink: Ink::Faint,
            })
            .collect();
        self.write_row(&cells, sheet)
    }

    /// One row; cells that are too long are cut. No blanks at the end of the line.
    pub(crate) fn write_row(&self, cells: &[Cell], sheet: &mut Sheet<'_>) -> io::Result<()> {
        let mut spans = Vec::with_capacity(cells.len().saturating_mul(2));
        let mut blanks = self.indent;
        for (cell, room) in cells.iter().zip(&self.widths) {
            let text = cut(&cell.text, *room);
            let used = width_of(&text);
            if !text.is_empty() {
                spans.push((Ink::Plain, Cow::Owned(" ".repeat(blanks))));
                spans.push((cell.ink, text));
                blanks = 0;
            }
            blanks = blanks
                .saturating_add(room.saturating_sub(used))
                .saturating_add(GAP);
        }
        let spans: Vec<(Ink, &str)> = spans.iter().map(|(ink, text)| (*ink, &**text)).collect();
        sheet.line(&spans)
    }
}

/// Columns that `text` takes on a terminal.
pub(crate) fn width_of(text: &str) -> usize {
    text.width()
}

/// `text` in at most `room` columns; what does not fit is replaced by `…`.
pub(crate) fn cut(text: &str, room: usize) -> Cow<'_, str> {
    if width_of(text) <= room {
        return Cow::Borrowed(text);
    }
    let Some(room) = room.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let (mut used, mut end) = (0_usize, 0);
    for (at, character) in text.char_indices() {
        used = used.saturating_add(cost(character));
        if used > room {
            break;
        }
        end = at.saturating_add(character.len_utf8());
    }
    let kept = text.get(..end).unwrap_or_default();
    Cow::Owned(format!("{}…", kept.trim_end()))
}

/// `text` in lines of at most `room` columns, broken between words where words are short enough.
/// No text gives no line.
pub(crate) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0_usize;
    for word in text.split_inclusive(' ') {
        let bare: usize = word.trim_end().chars().map(cost).sum();
        if used > 0 && used.saturating_add(bare) > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let next = used.saturating_add(cost(character));
            if next > room && character != ' ' && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used = used.saturating_add(cost(character));
        }
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// `text` without piles of marks: more than two characters in a row that take no column of their
/// own are dropped, because they would paint over other lines.
pub(crate) fn without_piles(text: &str) -> Cow<'_, str> {
    let thinned = || {
        let mut marks = 0_usize;
        text.chars().filter(move |character| {
            marks = match cost(*character) {
                0 => marks.saturating_add(1),
                _ => 0,
            };
            marks <= MARKS_MAX
        })
    };
    if thinned().count() == text.chars().count() {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(thinned().collect())
    }
}

/// Columns that a character adds at most. A variation selector (Unicode Standard Annex 11, §5)
/// can make the character before it one wider.
fn cost(character: char) -> usize {
    if character == '\u{fe0f}' {
        1
    } else {
        character.width().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_cut(text: &str, room: usize, expected: &str) {
        assert_eq!(cut(text, room), expected, "{text:?} in {room}");
    }

    fn check_wrap(text: &str, room: usize, expected: &[&str]) {
        assert_eq!(wrap(text, room), expected, "{text:?} in {room}");
    }

    #[test]
    fn what_does_not_fit_is_cut_with_a_mark() {
        check_cut("abcdef", 6, "abcdef");
        check_cut("abcdef", 5, "abcd…");
        check_cut("ab  cd", 5, "ab…");
        check_cut("日本語", 5, "日本…");
        check_cut("日本語", 4, "日…");
        check_cut("abc", 0, "");
        check_cut("", 0, "");
    }

    #[test]
    fn text_wraps_between_words_and_only_breaks_long_ones() {
        check_wrap("one two three", 8, &["one two", "three"]);
        check_wrap("a bcdefghij k", 4, &["a", "bcde", "fghi", "j k"]);
        check_wrap("a  b", 10, &["a  b"]);
        check_wrap("日本語", 4, &["日本", "語"]);
        check_wrap("", 4, &[]);
    }

    #[test]
    fn piles_of_marks_are_thinned() {
        assert_eq!(without_piles("e\u{301}\u{302}"), "e\u{301}\u{302}");
        let pile = format!("e{}x", "\u{301}".repeat(100));
        assert_eq!(without_piles(&pile), "e\u{301}\u{301}x");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_its_room(text in "\\PC{0,60}", room in 2_usize..60) {
            prop_assert!(width_of(&cut(&text, room)) <= room);
            for line in wrap(&text, room) {
                prop_assert!(width_of(&line) <= room, "{:?}", line);
            }
        }

        #[test]
        fn wrapping_loses_nothing_but_blanks(text in "\\PC{0,60}", room in 2_usize..60) {
            let without_blanks = |text: &str| -> String {
                text.chars().filter(|c| !c.is_whitespace()).collect()
            };
            let wrapped = wrap(&text, room).concat();
            prop_assert_eq!(without_blanks(&wrapped), without_blanks(&text));
        }
    }
}
