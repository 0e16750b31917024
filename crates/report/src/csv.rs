//! One row a listed port, for spreadsheets. Ports that are only counted have no row.

use crate::document::Shown;
use crate::only;
use crate::options::Options;
use portolan_model::{HostReport, PortReport, Text, Tunnel};
use std::io::{self, Write};

/// The first row.
const HEADER: [&str; 17] = [
    "ip",
    "names",
    "transport",
    "port",
    "state",
    "reason",
    "probes",
    "service",
    "label",
    "tls",
    "product",
    "version",
    "evidence",
    "process",
    "pid",
    "user",
    "unit",
];

/// Writes the heading and a row for every listed port (RFC 4180, with a line feed after a row).
pub(crate) fn write(
    document: &Shown<'_>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows = ::csv::Writer::from_writer(out);
    rows.write_record(HEADER)?;
    for host in only::hosts(document, options.only) {
        for port in &host.ports {
            rows.write_record(row(&host, port))?;
        }
    }
    rows.flush()
}

fn row(host: &HostReport, port: &PortReport) -> [String; 17] {
    let names: Vec<&str> = host.names.iter().map(Text::as_str).collect();
    let service = port.service.as_ref();
    let process = port.process.as_ref();
    let tls = match service.and_then(|service| service.tls) {
        Some(Tunnel::Implicit) => "implicit",
        Some(Tunnel::StartTls) => "starttls",
        None => "",
    };
    let own = |value: Option<&str>| value.map(|value| cell(&Text::from(value)));
    let peer = |value: Option<&Text>| value.map(cell);
    [
        host.ip.to_string(),
        cell(&Text::from(names.join(" "))),
        port.transport.to_string(),
        port.port.to_string(),
        port.state.to_string(),
        String::from(port.reason),
        port.probes.to_string(),
        own(service.and_then(|it| it.name.as_deref())).unwrap_or_default(),
        own(service.and_then(|it| it.label.as_deref())).unwrap_or_default(),
        tls.to_owned(),
        peer(service.and_then(|it| it.product.as_ref())).unwrap_or_default(),
        peer(service.and_then(|it| it.version.as_ref())).unwrap_or_default(),
        peer(service.and_then(|it| it.evidence.as_ref())).unwrap_or_default(),
        peer(process.map(|it| &it.name)).unwrap_or_default(),
        process.map(|it| it.pid.to_string()).unwrap_or_default(),
        peer(process.map(|it| &it.user)).unwrap_or_default(),
        peer(process.and_then(|it| it.unit.as_ref())).unwrap_or_default(),
    ]
}

/// Text as a cell. A spreadsheet runs what begins like a formula, and names and evidence come
/// from strangers: such a cell begins with an apostrophe instead. The wide forms (U+FF0B and so
/// on) are taken for the narrow ones by some spreadsheets.
fn cell(text: &Text) -> String {
    let text = text.as_str();
    let formula = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];
    if text.trim_start().starts_with(formula) || text.starts_with(formula) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_never_begins_like_a_formula() {
        let check = |text: &str, expected: &str| assert_eq!(cell(&Text::from(text)), expected);
        check("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@SUM(A1)", "'@SUM(A1)");
        check(" =1", "' =1");
        check("＝1", "'＝1");
        check("220 a=b", "220 a=b");
        check("", "");
    }
}
