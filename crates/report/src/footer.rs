//! What a run as a whole says: how much is open, who did not answer, how sure that is. The same
//! sentences stand below the columns and at the end of the accessible layout.

use crate::document::Shown;
use crate::only;
use crate::options::{Detail, Layout, Only, Options};
use crate::style::{Indent, Ink, Sheet};
use crate::words::{self, Noun};
use portolan_model::Unanswered;
use std::io;

/// Ranges of silent addresses that are named.
const RANGES_MAX: usize = 6;
/// The same when everything is asked for.
const RANGES_MAX_VERBOSE: usize = 64;
/// Reasons of silent addresses that are named.
const REASONS_MAX: usize = 3;

/// Writes the sentences, wrapped.
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    sheet: &mut Sheet<'_>,
) -> io::Result<()> {
    let indent = Indent::NONE;
    sheet.prose(indent, Ink::Strong, &found(document, options))?;
    if let Some(text) = silent(document.unanswered, options) {
        sheet.prose(indent, Ink::Plain, &text)?;
    }
    sheet.prose(indent, Ink::Plain, &figures(document))?;
    sheet.prose(indent, Ink::Plain, &certainty(document))?;
    if options.detail == Detail::Verbose {
        sheet.prose(indent, Ink::Faint, &identity(document))?;
    }
    if !document.run.complete {
        let text = "This result is partial: not every port was decided and looked at.";
        sheet.prose(indent, Ink::Notable, text)?;
    }
    for notice in &document.run.notices {
        let text = words::printable(notice.as_str());
        match options.layout {
            Layout::Accessible => sheet.prose(indent, Ink::Plain, &format!("Note: {text}"))?,
            Layout::Columns => {
                let hanging = Indent { first: 0, rest: 2 };
                sheet.prose(hanging, Ink::Notable, &format!("- {text}"))?;
            }
        }
    }
    Ok(())
}

fn found(document: &Shown<'_>, options: &Options) -> String {
    let (mut open, mut hosts, mut hidden) = (0_u64, 0_u64, 0_u64);
    for host in document.hosts.by_address() {
        let of_host = host.ports.iter().filter(|port| only::is_open(port)).count();
        if of_host == 0 {
            hidden = hidden.saturating_add(1);
        } else {
            hosts = hosts.saturating_add(1);
            open = open.saturating_add(u64::try_from(of_host).unwrap_or(u64::MAX));
        }
    }
    let mut text = if open == 0 {
        "No open port was found.".to_owned()
    } else {
        let open = words::counted(open, Noun::OpenPort);
        format!("{open} on {}.", words::counted(hosts, Noun::Host))
    };
    if options.only == Only::Open && hidden > 0 {
        let hidden = words::counted(hidden, Noun::Host);
        text = format!("{text} Not shown: {hidden} without an open port.");
    }
    text
}

/// Addresses from which nothing came back; `None` when there are none.
fn silent(unanswered: &Unanswered, options: &Options) -> Option<String> {
    let count = u64::try_from(unanswered.addresses.len()).unwrap_or(u64::MAX);
    if count == 0 {
        return None;
    }
    let ranges_max = match options.detail {
        Detail::Normal => RANGES_MAX,
        Detail::Verbose => RANGES_MAX_VERBOSE,
    };
    let count = words::counted(count, Noun::Address);
    let which = words::addresses(&unanswered.addresses, ranges_max);
    let reasons: Vec<String> = unanswered
        .reasons
        .iter()
        .take(REASONS_MAX)
        .map(|(reason, ports)| format!("{}: {reason}", words::counted(*ports, Noun::Port)))
        .collect();
    Some(if reasons.is_empty() {
        format!("{count} did not answer: {which}.")
    } else {
        format!("{count} did not answer: {which} ({}).", reasons.join("; "))
    })
}

fn figures(document: &Shown<'_>) -> String {
    let stats = document.stats;
    format!(
        "{} in {} ({} a second), {}.",
        words::counted(stats.probes, Noun::Probe),
        words::duration(stats.duration_s),
        words::figure(stats.pps),
        words::counted(stats.replies, Noun::Answer),
    )
}

fn certainty(document: &Shown<'_>) -> String {
    let estimate = &document.stats.estimate;
    let loss = match estimate.loss {
        Some(loss) => format!("Loss {}", words::per_cent(loss)),
        None => "Loss could not be estimated".to_owned(),
    };
    match estimate.missed {
        Some(missed) => format!(
            "{loss}, expected open ports missed: {}.",
            words::figure(missed)
        ),
        None => format!("{loss}."),
    }
}

/// What names the run, for who wants to repeat it.
fn identity(document: &Shown<'_>) -> String {
    let run = document.run;
    let finished = match &run.finished {
        Some(finished) => format!("finished {finished}"),
        None => "not finished when this was written".to_owned(),
    };
    words::printable(&format!(
        "Run {}, engine {}, seed {}, plan {}, started {}, {finished}.",
        run.id, run.engine, run.seed, run.plan_hash, run.started
    ))
}
