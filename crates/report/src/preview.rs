//! A dry run in words and as a document.

use crate::{Layout, Options};
use portolan_model::Preview;
use serde::Serialize;
use std::io::{self, Write};

/// Name and version of the document's shape.
const SCHEMA: &str = "portolan.preview/1";

/// Writes `preview` for people.
pub fn write_preview(preview: &Preview, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let lines = lines(preview);
    match options.layout {
        Layout::Columns => {
            let width = lines
                .iter()
                .map(|(label, _)| label.len())
                .max()
                .unwrap_or(0);
            writeln!(out, "Dry run: nothing was sent.\n")?;
            for (label, value) in &lines {
                writeln!(out, "  {label:width$}  {value}")?;
            }
        }
        Layout::Accessible => {
            writeln!(out, "Dry run. Nothing was sent.")?;
            for (label, value) in &lines {
                let label = if label.is_empty() { "Then" } else { label };
                writeln!(out, "{label}: {value}.")?;
            }
        }
    }
    Ok(())
}

/// Writes `preview` as one JSON document.
pub fn write_preview_json(preview: &Preview, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Tagged<'a> {
        schema: &'static str,
        #[serde(flatten)]
        preview: &'a Preview,
    }
    serde_json::to_writer_pretty(
        &mut *out,
        &Tagged {
            schema: SCHEMA,
            preview,
        },
    )?;
    writeln!(out)
}

fn lines(preview: &Preview) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("Addresses", grouped(preview.addresses)),
        ("Ports of each", ports(preview)),
        ("Probes", grouped(preview.probes)),
        (
            "Packets",
            format!(
                "{}, or {} when nothing answers",
                grouped(preview.packets_min),
                grouped(preview.packets_max)
            ),
        ),
        (
            "Time",
            format!(
                "about {}, or {} when nothing answers",
                time(preview.seconds_min),
                time(preview.seconds_max)
            ),
        ),
    ];
    if let Some(hardest) = preview.hardest {
        let probes = grouped(preview.hardest_probes);
        let who = if preview.addresses > 1 {
            "every address alike, as "
        } else {
            ""
        };
        lines.push(("Hit hardest", format!("{who}{hardest}: {probes} probes")));
    }
    for (at, endpoint) in preview.first.iter().enumerate() {
        lines.push((if at == 0 { "First probes" } else { "" }, endpoint.clone()));
    }
    lines.push(("Seed", preview.seed.to_string()));
    lines
}

/// How many ports of each transport.
fn ports(preview: &Preview) -> String {
    let of = |count: u32, transport: &str| format!("{} {transport}", grouped(u64::from(count)));
    match (preview.ports, preview.udp_ports) {
        (tcp, 0) => grouped(u64::from(tcp)),
        (0, udp) => of(udp, "UDP"),
        (tcp, udp) => format!("{}, {}", of(tcp, "TCP"), of(udp, "UDP")),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn time(seconds: u64) -> String {
    match seconds {
        0 | 1 => "a second".to_owned(),
        2..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", grouped(seconds / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_099_478_073_600), "1,099,478,073,600");
        assert_eq!(time(0), "a second");
        assert_eq!(time(100), "100 seconds");
        assert_eq!(time(300), "5 minutes");
        assert_eq!(time(400_000_000), "4,629 days");
    }
}
