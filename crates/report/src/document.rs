//! The one way in for a finished run: which module writes which format.

use crate::format::Format;
use crate::options::{Layout, Options};
use crate::{accessible, csv, json, jsonl, list, nmap_xml, table};
use portolan_model::{Document, Hosts, Run, Stats, Unanswered};
use std::io::{self, BufWriter, Write};

/// A [`Document`] by reference, whatever its hosts are kept in.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) schema: &'a str,
    pub(crate) version: &'a str,
    pub(crate) run: &'a Run,
    pub(crate) hosts: &'a dyn Hosts,
    pub(crate) unanswered: &'a Unanswered,
    pub(crate) stats: &'a Stats,
}

/// Writes `document` to `out` and flushes it. Hosts are taken one at a time, more than once where
/// a format counts them; none is kept.
///
/// # Errors
/// Those of `out`, a broken pipe included; what was written before stands.
pub fn write_document<H: Hosts>(
    document: &Document<H>,
    format: Format,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let document = &Shown {
        schema: &document.schema,
        version: &document.version,
        run: &document.run,
        hosts: &document.hosts,
        unanswered: &document.unanswered,
        stats: &document.stats,
    };
    let mut out = BufWriter::new(out);
    match (format, options.layout) {
        (Format::Csv, _) => csv::write(document, options, &mut out),
        (Format::Json, _) => json::write(document, options, &mut out),
        (Format::Jsonl, _) => jsonl::write(document, options, &mut out),
        (Format::List, _) => list::write(document, &mut out),
        (Format::Table, Layout::Accessible) => accessible::write(document, options, &mut out),
        (Format::Table, Layout::Columns) => table::write(document, options, &mut out),
        (Format::Xml, _) => nmap_xml::write(document, options, &mut out),
    }?;
    out.flush()
}
