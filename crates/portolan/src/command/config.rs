//! `portolan config show`: every setting, as a settings file would say it, and where it comes from.

use crate::settings::{Kind, Section, Setting, Settings, Source};
use portolan_report::Layout;
use std::fmt::Write as _;
use std::io::Write;

/// Whether it is said where each setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No.
    Hidden,
    /// Yes.
    Shown,
}

/// Widest line; only a path or a value that is longer by itself passes it.
const WIDTH: usize = 80;
/// Column in which origins stand, unless a setting reaches beyond.
const ORIGIN_COLUMN: usize = 34;

/// Prints the settings and answers the exit code. In columns the output is itself a settings file.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn show(
    settings: &Settings,
    origin: Origin,
    layout: Layout,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let text = match layout {
        Layout::Accessible => sentences(settings, origin),
        Layout::Columns => file(settings, origin),
    };
    out.write_all(text.as_bytes())?;
    Ok(crate::exit::DONE)
}

fn file(settings: &Settings, origin: Origin) -> String {
    let mut text = String::new();
    text.push_str("# Flag > environment > settings files, the first wins > default.\n");
    for file in &settings.files {
        let found = if file.text.is_some() {
            "read"
        } else {
            "no such file"
        };
        line(&mut text, &format!("# {}: {found}", printable(&file.path)));
    }
    text.push('\n');
    let of = |section| {
        let all = settings.list.iter();
        all.filter(move |setting: &&Setting| setting.section == section)
    };
    for setting in of(Section::Every) {
        assignment(&mut text, setting, origin);
    }
    text.push_str("\n[scan]\n");
    for setting in of(Section::Scan) {
        assignment(&mut text, setting, origin);
    }
    text
}

fn assignment(text: &mut String, setting: &Setting, origin: Origin) {
    let name = &setting.name;
    let assignment = match (setting.kind, setting.values.first()) {
        (Kind::Switch, value) => format!("{name} = {}", value.map_or("false", String::as_str)),
        (Kind::One, Some(value)) => format!("{name} = {}", literal(value)),
        (Kind::Many, Some(_)) => {
            let values: Vec<String> = setting.values.iter().map(|it| literal(it)).collect();
            format!("{name} = [{}]", values.join(", "))
        }
        (Kind::Many, None) if setting.source != Source::Default => format!("{name} = []"),
        (Kind::Many | Kind::One, None) => format!("# {name}: {}", unset(setting)),
    };
    if origin == Origin::Hidden {
        return line(text, &assignment);
    }
    let origin = printable(&setting.source.to_string());
    let padded = format!("{assignment:<ORIGIN_COLUMN$}  # {origin}");
    if padded.chars().count() <= WIDTH {
        line(text, &padded);
    } else {
        line(text, &format!("# {origin}:"));
        line(text, &assignment);
    }
}

fn sentences(settings: &Settings, origin: Origin) -> String {
    let mut text = String::new();
    for file in &settings.files {
        let found = if file.text.is_some() {
            "was read"
        } else {
            "does not exist"
        };
        line(
            &mut text,
            &format!("Settings file {} {found}.", printable(&file.path)),
        );
    }
    for setting in &settings.list {
        let name = match setting.section {
            Section::Every => setting.name.clone(),
            Section::Scan => format!("scan {}", setting.name),
        };
        let value = match (setting.kind, setting.values.as_slice()) {
            (Kind::Switch, values) => match values.first().map(String::as_str) {
                Some("true") => "on".to_owned(),
                _ => "off".to_owned(),
            },
            (_, []) if setting.source != Source::Default => "nothing".to_owned(),
            (_, []) => unset(setting),
            (_, values) => printable(&values.join(", ")),
        };
        let from = match (origin, &setting.source) {
            (Origin::Hidden, _) => String::new(),
            (Origin::Shown, Source::Default) if setting.values.is_empty() => String::new(),
            (Origin::Shown, Source::Default) => ", by default".to_owned(),
            (Origin::Shown, source) => format!(", from {}", printable(&source.to_string())),
        };
        line(&mut text, &format!("{name} is {value}{from}."));
    }
    text
}

fn unset(setting: &Setting) -> String {
    setting
        .unset
        .clone()
        .unwrap_or_else(|| "not set".to_owned())
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// A value as TOML writes it, on one line.
fn literal(value: &str) -> String {
    // A number that is written as TOML would write it back.
    if value
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == value)
    {
        return value.to_owned();
    }
    let mut literal = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(literal, "\\u{:04X}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// Without control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    let replaced = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    replaced.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_toml() {
        let check = |value: &str, expected: &str| assert_eq!(literal(value), expected);
        check("auto", "\"auto\"");
        check("80", "80");
        check("-5", "-5");
        check("007", "\"007\"");
        check("+5", "\"+5\"");
        check("", "\"\"");
        check(
            "a \"b\" \\ \n\u{1b}[0m",
            "\"a \\\"b\\\" \\\\ \\u000A\\u001B[0m\"",
        );
    }
}
