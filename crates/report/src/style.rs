//! Colour, and lines on their way out. Which words are written is decided elsewhere.

use crate::columns;
use crate::options::{Colour, Options};
use anstyle::{AnsiColor, Style};
use std::io::{self, Write};

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Text as it is.
    Plain,
    /// What a reader looks for first: addresses, totals.
    Strong,
    /// What frames the rest: column headings, our own words beside a peer's.
    Faint,
    /// An open port.
    Open,
    /// Something that deserves a second look: filtered ports, a partial result.
    Notable,
}

impl Ink {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Open => AnsiColor::Green.on_default().bold(),
            Self::Notable => AnsiColor::Yellow.on_default(),
        }
    }
}

/// Where lines go, how wide they may be and whether they are coloured.
pub(crate) struct Sheet<'a> {
    out: &'a mut dyn Write,
    colour: Colour,
    width: usize,
}

impl<'a> Sheet<'a> {
    /// A sheet as `options` say.
    pub(crate) fn new(options: &Options, out: &'a mut dyn Write) -> Self {
        Self {
            out,
            colour: options.colour,
            width: options.width.max(Options::WIDTH_MIN),
        }
    }

    /// Columns of a line.
    pub(crate) const fn width(&self) -> usize {
        self.width
    }

    /// One line of spans, without blanks at its end. The caller has made them fit.
    pub(crate) fn line(&mut self, spans: &[(Ink, &str)]) -> io::Result<()> {
        let last = spans
            .iter()
            .rposition(|(_, text)| !text.trim_end().is_empty());
        for (at, (ink, text)) in spans.iter().enumerate() {
            let text = match last {
                Some(last) if at < last => text,
                Some(last) if at == last => text.trim_end(),
                _ => break,
            };
            let style = ink.style();
            match self.colour {
                Colour::Always if style != Style::new() && !text.trim().is_empty() => {
                    write!(self.out, "{}{text}{}", style.render(), style.render_reset())?;
                }
                Colour::Always | Colour::Never => self.out.write_all(text.as_bytes())?,
            }
        }
        self.out.write_all(b"\n")
    }

    /// Running text, wrapped between words.
    pub(crate) fn prose(&mut self, indent: Indent, ink: Ink, text: &str) -> io::Result<()> {
        let room = self.width.saturating_sub(indent.first.max(indent.rest));
        for (at, line) in columns::wrap(text, room).iter().enumerate() {
            let blanks = if at == 0 { indent.first } else { indent.rest };
            self.line(&[(Ink::Plain, &" ".repeat(blanks)), (ink, line)])?;
        }
        Ok(())
    }
}

/// Blanks before the first and before the following lines of a paragraph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indent {
    /// Before the first line.
    pub(crate) first: usize,
    /// Before every other line.
    pub(crate) rest: usize,
}

impl Indent {
    /// No blanks.
    pub(crate) const NONE: Self = Self { first: 0, rest: 0 };
}
