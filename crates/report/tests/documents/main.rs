//! Whole documents in every format: against committed files, at every width, and with hostile
//! content. `UPDATE_EXPECTED=1` writes the committed files anew; read the difference before you
//! commit it.

#![cfg(test)]

mod arbitrary;
mod sample;

use portolan_model::{Document, Event, SCHEMA_EVENT, State};
use portolan_report::{Colour, Detail, Format, Layout, Only, Options, write_document, write_event};
use proptest::prelude::*;
use quick_xml::XmlVersion;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use unicode_width::UnicodeWidthStr as _;

const PLAIN: Options = Options {
    width: 80,
    colour: Colour::Never,
    layout: Layout::Columns,
    only: Only::All,
    detail: Detail::Normal,
};
const VERBOSE: Options = Options {
    detail: Detail::Verbose,
    ..PLAIN
};
const OPEN: Options = Options {
    only: Only::Open,
    ..PLAIN
};
const ACCESSIBLE: Options = Options {
    layout: Layout::Accessible,
    colour: Colour::Always,
    ..PLAIN
};

fn written(document: &Document, format: Format, options: &Options) -> String {
    let mut bytes = Vec::new();
    write_document(document, format, options, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Compares with a committed file, or writes it when asked to.
macro_rules! check_expected {
    ($name:literal, $document:expr, $format:expr, $options:expr) => {{
        let text = written(&$document, $format, &$options);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expected/", $name);
            std::fs::write(path, &text).unwrap();
        } else {
            let expected = include_str!(concat!("../expected/", $name));
            assert_eq!(text, expected, "{} differs", $name);
        }
    }};
}

#[test]
fn every_format_writes_what_is_committed() {
    let rich = sample::rich();
    check_expected!("document.json", rich, Format::Json, PLAIN);
    check_expected!("events.jsonl", rich, Format::Jsonl, PLAIN);
    check_expected!("nmap.xml", rich, Format::Xml, PLAIN);
    check_expected!("ports.csv", rich, Format::Csv, PLAIN);
    check_expected!("ports.list", rich, Format::List, PLAIN);
    check_expected!("table.txt", rich, Format::Table, PLAIN);
}

#[test]
fn every_view_of_the_table_is_what_is_committed() {
    let (rich, width, colour) = (sample::rich(), 40, Colour::Always);
    let narrow = Options { width, ..PLAIN };
    check_expected!("table-narrow.txt", rich, Format::Table, narrow);
    let coloured = Options { colour, ..PLAIN };
    check_expected!("table-colour.txt", rich, Format::Table, coloured);
    check_expected!("table-open.txt", rich, Format::Table, OPEN);
    check_expected!("table-verbose.txt", rich, Format::Table, VERBOSE);
    check_expected!("table-accessible.txt", rich, Format::Table, ACCESSIBLE);
    check_expected!("table-empty.txt", sample::empty(), Format::Table, PLAIN);
    check_expected!("table-partial.txt", sample::partial(), Format::Table, PLAIN);
}

#[test]
fn only_open_hides_in_every_format_and_keeps_the_counts() {
    let rich = sample::rich();
    let open: Document = serde_json::from_str(&written(&rich, Format::Json, &OPEN)).unwrap();
    assert_eq!(open.hosts.len(), 2);
    for host in &open.hosts {
        assert!(host.ports.iter().all(|port| port.state == State::Open));
        let whole = rich.hosts.iter().find(|it| it.ip == host.ip).unwrap();
        let listed = |state| whole.ports.iter().filter(|it| it.state == state).count();
        let count = |state| u32::try_from(listed(state)).unwrap();
        let (shown, before) = (&host.other_ports, &whole.other_ports);
        assert_eq!(shown.closed, before.closed + count(State::Closed));
        assert_eq!(shown.filtered, before.filtered + count(State::Filtered));
        assert_eq!(
            shown.open_filtered,
            before.open_filtered + count(State::OpenFiltered)
        );
        assert_eq!(
            shown.not_tested,
            before.not_tested + count(State::NotTested)
        );
    }
    assert_eq!(open.stats, rich.stats);
    for format in [Format::Csv, Format::Jsonl, Format::Table, Format::Xml] {
        let text = written(&rich, format, &OPEN);
        for hidden in [
            "portid=\"8080\"",
            ",8080,",
            "\"port\":8080,",
            "8080/tcp",
            "192.0.2.9\"",
            "192.0.2.9 ",
        ] {
            assert!(!text.contains(hidden), "{format} shows {hidden}");
        }
    }
}

#[test]
fn an_event_is_one_line_with_its_schema_first() {
    let check = |event: &Event, options: &Options, expected: &str| {
        let mut bytes = Vec::new();
        write_event(event, options, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    };
    let text = "slow\ndown".into();
    let line = "{\"schema\":\"portolan.event/1\",\"type\":\"notice\",\"text\":\"slow\\\\ndown\"}\n";
    check(&Event::Notice { text }, &OPEN, line);
    let host = sample::rich().hosts.swap_remove(1);
    check(&Event::Host { host }, &OPEN, "");
    let port = sample::port(1, portolan_model::Reason::Rst);
    let (ip, names) = ("192.0.2.1".parse().unwrap(), Vec::new());
    check(&Event::Port { ip, names, port }, &OPEN, "");
}

#[test]
fn a_list_is_sorted_and_has_brackets_where_they_are_needed() {
    let mut document = sample::rich();
    for host in &mut document.hosts {
        host.ports.reverse();
    }
    let lines = written(&document, Format::List, &PLAIN);
    let addresses = lines
        .lines()
        .map(|line| line.strip_suffix("/udp").unwrap_or(line))
        .map(|line| line.parse::<SocketAddr>().unwrap());
    assert!(addresses.is_sorted());
    assert!(lines.contains("\n192.0.2.7:53/udp\n"));
    assert!(lines.starts_with("192.0.2.7:21\n192.0.2.7:22\n"));
    assert!(lines.ends_with("[2001:db8::7]:6\n[2001:db8::7]:7\n"));
}

/// Takes some bytes and then has no reader.
struct BrokenPipe {
    room: usize,
}

impl Write for BrokenPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_is_an_error_of_its_kind() {
    let rich = sample::rich();
    for format in Format::ALL {
        for options in [PLAIN, ACCESSIBLE] {
            let whole = written(&rich, format, &options).len();
            for room in (0..whole).step_by(61) {
                let result = write_document(&rich, format, &options, &mut BrokenPipe { room });
                assert_eq!(
                    result.unwrap_err().kind(),
                    ErrorKind::BrokenPipe,
                    "{format}"
                );
            }
        }
    }
    let text = "x".into();
    let result = write_event(&Event::Notice { text }, &PLAIN, &mut BrokenPipe { room: 5 });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn check_fits(document: &Document, width: usize, detail: Detail) {
    let options = Options {
        width,
        detail,
        ..PLAIN
    };
    for line in written(document, Format::Table, &options).lines() {
        assert!(line.width() <= width, "wider than {width}: {line:?}");
        assert!(!line.ends_with(' '), "blanks at the end: {line:?}");
    }
}

#[test]
fn every_line_fits_every_width() {
    for width in 40..=200 {
        for document in [sample::rich(), sample::partial(), sample::empty()] {
            check_fits(&document, width, Detail::Normal);
            check_fits(&document, width, Detail::Verbose);
        }
    }
}

/// Takes SGR sequences out.
fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (codes, rest) = part.split_once('m').unwrap();
        assert!(
            codes.chars().all(|c| c.is_ascii_digit() || c == ';'),
            "{codes}"
        );
        plain.push_str(rest);
    }
    plain
}

fn check_text(text: &str) {
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "in {text:?}");
}

fn check_xml(text: &str) {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut depth = 0_i32;
    loop {
        let start = match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(start) => {
                depth += 1;
                start
            }
            quick_xml::events::Event::Empty(start) => start,
            quick_xml::events::Event::End(_) => {
                depth -= 1;
                continue;
            }
            quick_xml::events::Event::Eof => break,
            _ => continue,
        };
        for attribute in start.attributes() {
            let value = attribute.unwrap().normalized_value(XmlVersion::Implicit1_0);
            check_text(&value.unwrap());
        }
    }
    assert_eq!(depth, 0);
    assert!(text.chars().all(|c| !matches!(c, '\u{fffe}' | '\u{ffff}')));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_content_never_leaves_its_line_or_its_column(
        document in arbitrary::document(),
        width in 40_usize..200,
    ) {
        check_fits(&document, width, Detail::Normal);
        check_fits(&document, width, Detail::Verbose);
        for options in [PLAIN, VERBOSE, OPEN, ACCESSIBLE] {
            for format in [Format::Csv, Format::List, Format::Table] {
                check_text(&written(&document, format, &options));
            }
        }
        let colour = Colour::Always;
        let coloured = written(&document, Format::Table, &Options { colour, ..VERBOSE });
        let plain = written(&document, Format::Table, &VERBOSE);
        prop_assert_eq!(without_colour(&coloured), plain);
    }

    #[test]
    fn json_reads_back_to_the_same_document(document in arbitrary::document()) {
        let text = written(&document, Format::Json, &PLAIN);
        prop_assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
    }

    #[test]
    fn xml_is_well_formed_whatever_peers_say(document in arbitrary::document()) {
        check_xml(&written(&document, Format::Xml, &PLAIN));
        check_xml(&written(&document, Format::Xml, &OPEN));
    }

    #[test]
    fn csv_has_a_row_a_listed_port_and_no_formula(document in arbitrary::document()) {
        let text = written(&document, Format::Csv, &PLAIN);
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let listed: usize = document.hosts.iter().map(|host| host.ports.len()).sum();
        let mut read = 0;
        for row in rows.records() {
            let row = row.unwrap();
            prop_assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])));
            read += 1;
        }
        prop_assert_eq!(read, listed);
    }

    #[test]
    fn events_of_a_document_hold_all_of_it(document in arbitrary::document()) {
        let text = written(&document, Format::Jsonl, &PLAIN);
        let head = format!("{{\"schema\":\"{SCHEMA_EVENT}\",\"type\":");
        let mut events = Vec::new();
        for line in text.lines() {
            prop_assert!(line.starts_with(&head));
            events.push(serde_json::from_str::<Event>(line).unwrap());
        }
        let is_start = matches!(events.first(), Some(Event::RunStarted { .. }));
        prop_assert!(is_start);
        let is_end = matches!(
            events.last(),
            Some(Event::RunFinished { run, stats, unanswered })
                if *run == document.run
                    && *stats == document.stats
                    && *unanswered == document.unanswered
        );
        prop_assert!(is_end);
        let hosts: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Host { host } => Some(host),
                _ => None,
            })
            .collect();
        prop_assert_eq!(hosts, document.hosts);
    }
}
