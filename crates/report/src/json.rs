//! The run as one document, `portolan.run/1`. Its shape is that of `Document` in the model.

use crate::document::Shown;
use crate::only;
use crate::options::{Only, Options};
use portolan_model::{Run, Stats, Unanswered};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// Writes `document` with line breaks and indentation.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let object = Object {
        schema: document.schema,
        version: document.version,
        run: document.run,
        hosts: Array {
            document,
            only: options.only,
        },
        unanswered: document.unanswered,
        stats: document.stats,
    };
    serde_json::to_writer_pretty(&mut *out, &object)?;
    out.write_all(b"\n")
}

/// The document, field by field, so that hosts can be left out.
#[derive(Serialize)]
struct Object<'a> {
    schema: &'a str,
    version: &'a str,
    run: &'a Run,
    hosts: Array<'a>,
    unanswered: &'a Unanswered,
    stats: &'a Stats,
}

struct Array<'a> {
    document: &'a Shown<'a>,
    only: Only,
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(only::hosts(self.document, self.only))
    }
}
