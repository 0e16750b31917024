//! The checkup of this machine as a table, in sentences, or as JSON.

use crate::columns::{Cell, Column, Grid};
use crate::options::{Colour, Layout, Options};
use crate::style::{Indent, Ink, Sheet};
use crate::words;
use portolan_model::{Check, Checkup, Verdict};
use std::io::{self, Write};

/// Writes `checkup` for people: a table followed by what it means, or sentences.
pub fn write_checkup(checkup: &Checkup, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    match options.layout {
        Layout::Accessible => {
            let plain = Options {
                width: usize::MAX,
                colour: Colour::Never,
                ..*options
            };
            write_sentences(checkup, &mut Sheet::new(&plain, out))
        }
        Layout::Columns => write_columns(checkup, &mut Sheet::new(options, out)),
    }
}

/// Writes `checkup` as one JSON document and a line feed.
pub fn write_checkup_json(checkup: &Checkup, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, checkup)?;
    out.write_all(b"\n")
}

fn write_columns(checkup: &Checkup, sheet: &mut Sheet<'_>) -> io::Result<()> {
    let rows: Vec<Vec<Cell>> = checkup.checks.iter().map(row).collect();
    let columns = [("CHECK", 5), ("VERDICT", 7), ("FOUND", 12)].map(|(header, least)| Column {
        header,
        least,
        most: usize::MAX,
    });
    let Some(grid) = Grid::fitted(&columns, &rows, 0, sheet.width()) else {
        return write_sentences(checkup, sheet);
    };
    grid.write_header(sheet)?;
    for (row, check) in rows.iter().zip(&checkup.checks) {
        let found = words::printable(check.found.as_str());
        let whole = grid.shows_whole(FOUND_COLUMN, &found);
        grid.write_row(row, sheet)?;
        if !whole {
            sheet.prose(DETAIL, Ink::Plain, &found)?;
        }
        // What is in order needs no explanation.
        if check.verdict != Verdict::Ok {
            sheet.prose(
                DETAIL,
                Ink::Faint,
                &words::printable(check.meaning.as_str()),
            )?;
            write_fix(check, sheet)?;
        }
    }
    sheet.prose(Indent::NONE, Ink::Strong, &conclusion(checkup))
}

fn row(check: &Check) -> Vec<Cell> {
    let ink = match check.verdict {
        Verdict::Ok => Ink::Open,
        Verdict::Note | Verdict::Unknown => Ink::Plain,
        Verdict::Problem | Verdict::Fatal => Ink::Notable,
    };
    [
        (words::printable(&check.name), Ink::Strong),
        (check.verdict.as_str().to_owned(), ink),
        (words::printable(check.found.as_str()), Ink::Plain),
    ]
    .map(|(text, ink)| Cell { text, ink })
    .into()
}

/// A command stands on a line of its own, uncut, to be copied.
fn write_fix(check: &Check, sheet: &mut Sheet<'_>) -> io::Result<()> {
    match &check.fix {
        Some(fix) => sheet.line(&[
            (Ink::Plain, "    "),
            (Ink::Strong, &words::printable(fix.as_str())),
        ]),
        None => Ok(()),
    }
}

fn write_sentences(checkup: &Checkup, sheet: &mut Sheet<'_>) -> io::Result<()> {
    for check in &checkup.checks {
        let text = format!(
            "{}, {}: {}. {}",
            check.name,
            check.verdict.as_str(),
            check.found,
            check.meaning
        );
        sheet.prose(Indent::NONE, Ink::Plain, &words::printable(&text))?;
        if let Some(fix) = &check.fix {
            let text = words::printable(&format!("Mend it with: {fix}"));
            sheet.prose(Indent::NONE, Ink::Plain, &text)?;
        }
    }
    sheet.prose(Indent::NONE, Ink::Plain, &conclusion(checkup))
}

fn conclusion(checkup: &Checkup) -> String {
    let count = |verdict| {
        let found = checkup.checks.iter().filter(|it| it.verdict == verdict);
        found.count()
    };
    let (problems, notes) = (count(Verdict::Problem), count(Verdict::Note));
    let unknown = count(Verdict::Unknown);
    if !checkup.can_scan {
        return "No scan is possible here until what is marked fatal is mended.".to_owned();
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        "Scanning works here: {problems} problem{}, {notes} note{}, {unknown} not found out.",
        plural(problems),
        plural(notes)
    )
}

const FOUND_COLUMN: usize = 2;
const DETAIL: Indent = Indent { first: 4, rest: 4 };

#[cfg(test)]
mod tests {
    use super::*;

    fn checkup() -> Checkup {
        let check = |name: &str, verdict, found: &str, fix: Option<&str>| Check {
            name: name.to_owned(),
            verdict,
            found: found.into(),
            meaning: "It matters for scanning in this way.".into(),
            fix: fix.map(Into::into),
        };
        Checkup::new(
            "0.1.0",
            vec![
                check("open files", Verdict::Ok, "1048576", None),
                check(
                    "firewall",
                    Verdict::Unknown,
                    "only root may look",
                    Some("sudo portolan doctor"),
                ),
                check(
                    "clock",
                    Verdict::Problem,
                    "1970-01-01, which is before this program was installed on this machine",
                    None,
                ),
            ],
        )
    }

    fn check(options: Options, expected: &str) {
        let mut out = Vec::new();
        write_checkup(&checkup(), &options, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn the_table_explains_what_is_not_in_order_and_cuts_nothing() {
        check(
            Options {
                width: 60,
                ..Options::default()
            },
            "\
CHECK       VERDICT  FOUND
open files  ok       1048576
firewall    unknown  only root may look
    It matters for scanning in this way.
    sudo portolan doctor
clock       problem  1970-01-01, which is before this progr…
    1970-01-01, which is before this program was installed
    on this machine
    It matters for scanning in this way.
Scanning works here: 1 problem, 0 notes, 1 not found out.
",
        );
    }

    #[test]
    fn sentences_say_the_same() {
        check(
            Options {
                layout: Layout::Accessible,
                colour: Colour::Always,
                ..Options::default()
            },
            "\
open files, ok: 1048576. It matters for scanning in this way.
firewall, unknown: only root may look. It matters for scanning in this way.
Mend it with: sudo portolan doctor
clock, problem: 1970-01-01, which is before this program was installed on this machine. It matters for scanning in this way.
Scanning works here: 1 problem, 0 notes, 1 not found out.
",
        );
    }

    #[test]
    fn json_names_its_schema_and_reads_back() {
        let mut out = Vec::new();
        write_checkup_json(&checkup(), &mut out).unwrap();
        let back: Checkup = serde_json::from_slice(&out).unwrap();
        assert_eq!(back, checkup());
        assert_eq!(back.schema, "portolan.doctor/1");
    }
}
