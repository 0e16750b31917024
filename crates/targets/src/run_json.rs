//! Hosts out of what Portolan wrote: the document of `--format json` and the events of
//! `--format jsonl`.
//!
//! Only the addresses are read, so a document of a later version that adds keys is read as well.

use crate::input::{Fault, Found, InputProblem, line_at};
use portolan_model::{SCHEMA_EVENT, SCHEMA_RUN, Text};
use serde::Deserialize;

/// Adds every host of the document or of the events.
pub(crate) fn read(text: &str, found: &mut Found) -> Result<(), Fault> {
    let mut records = serde_json::Deserializer::from_str(text).into_iter::<Record>();
    loop {
        let begin = records.byte_offset();
        let Some(record) = records.next() else { break };
        let record = record.map_err(|error| Fault::on(error.line().max(1), damaged(&error)))?;
        record.add_to(found).map_err(|problem| {
            // A record begins after the spaces that follow the one before.
            let rest = text.get(begin..).unwrap_or_default();
            let spaces = rest.len().saturating_sub(rest.trim_start().len());
            let line = line_at(text.as_bytes(), begin.saturating_add(spaces));
            Fault::on(line, problem)
        })?;
    }
    if found.is_empty() {
        return Err(Fault::whole(InputProblem::NoHost { format: FORMAT }));
    }
    Ok(())
}

/// A document or an event, as far as it names hosts.
#[derive(Deserialize)]
struct Record {
    schema: Option<String>,
    ip: Option<String>,
    host: Option<Host>,
    hosts: Option<Vec<Host>>,
}

#[derive(Deserialize)]
struct Host {
    ip: String,
}

impl Record {
    fn add_to(self, found: &mut Found) -> Result<(), InputProblem> {
        let addresses: Vec<String> = match self.schema.as_deref() {
            Some(SCHEMA_RUN) => {
                let hosts = self.hosts.unwrap_or_default();
                hosts.into_iter().map(|host| host.ip).collect()
            }
            Some(SCHEMA_EVENT) => {
                let host = self.host.map(|host| host.ip);
                self.ip.into_iter().chain(host).collect()
            }
            _ => {
                return Err(InputProblem::Unknown {
                    format: "JSON",
                    expected: "a document or events of Portolan",
                });
            }
        };
        addresses
            .iter()
            .try_for_each(|address| found.add_address(address))
    }
}

fn damaged(error: &serde_json::Error) -> InputProblem {
    InputProblem::Damaged {
        format: FORMAT,
        detail: Text::from(error.to_string()),
    }
}

const FORMAT: &str = "Portolan JSON";
