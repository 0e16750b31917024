//! The one way in for a finished run: which module writes which format.

use crate::format::Format;
use crate::options::{Layout, Options};
use crate::{accessible, csv, json, jsonl, list, nmap_xml, table};
use portolan_model::Document;
use std::io::{self, BufWriter, Write};

/// Writes `document` to `out` and flushes it. No second copy of the document is made.
///
/// # Errors
/// Those of `out`, a broken pipe included; what was written before stands.
pub fn write_document(
    document: &Document,
    format: Format,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
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
