//! The run as one document, `portolan.run/1`. Its shape is that of [`Document`].

use crate::only;
use crate::options::{Only, Options};
use portolan_model::{Document, Run, Stats, Unanswered};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// Writes `document` with line breaks and indentation.
pub(crate) fn write(document: &Document, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let shown = Shown {
        schema: &document.schema,
        version: &document.version,
        run: &document.run,
        hosts: Hosts {
            document,
            only: options.only,
        },
        unanswered: &document.unanswered,
        stats: &document.stats,
    };
    serde_json::to_writer_pretty(&mut *out, &shown)?;
    out.write_all(b"\n")
}

/// A [`Document`] by reference, field by field, so that hosts can be left out.
#[derive(Serialize)]
struct Shown<'a> {
    schema: &'a str,
    version: &'a str,
    run: &'a Run,
    hosts: Hosts<'a>,
    unanswered: &'a Unanswered,
    stats: &'a Stats,
}

struct Hosts<'a> {
    document: &'a Document,
    only: Only,
}

impl Serialize for Hosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(only::hosts(self.document, self.only))
    }
}
