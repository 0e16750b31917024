//! Which format a result is written in. The writing itself is in the module of each format.

use std::fmt;

/// A format of a finished run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One row a listed port, for spreadsheets.
    Csv,
    /// One document, `portolan.run/1`.
    Json,
    /// The run as events, one a line, `portolan.event/1`.
    Jsonl,
    /// `address:port` of every open port, one a line.
    List,
    /// For people: columns, or sentences in the accessible layout.
    Table,
    /// nmap's XML schema, for the programs that read it.
    Xml,
}

impl Format {
    /// Every format, by name.
    pub const ALL: [Self; 6] = [
        Self::Csv,
        Self::Json,
        Self::Jsonl,
        Self::List,
        Self::Table,
        Self::Xml,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::List => "list",
            Self::Table => "table",
            Self::Xml => "xml",
        }
    }

    /// The format with this [`Format::name`]; `None` when there is none. Case matters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format that a file with this extension (without the dot, in any case) holds: `csv`,
    /// `json`, `jsonl` or `ndjson`, `list` or `lst`, `txt`, `xml`. `None` for every other one.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::Jsonl,
            "list" | "lst" => Self::List,
            "txt" => Self::Table,
            "xml" => Self::Xml,
            _ => return None,
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extension: &str, expected: Option<Format>) {
        assert_eq!(Format::from_extension(extension), expected, "{extension}");
    }

    #[test]
    fn every_name_leads_back_to_its_format() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(&format.to_string()), Some(format));
        }
        assert_eq!(Format::from_name("yaml"), None);
        assert_eq!(Format::from_name(""), None);
    }

    #[test]
    fn an_extension_names_a_format_in_any_case() {
        check("txt", Some(Format::Table));
        check("XML", Some(Format::Xml));
        check("json", Some(Format::Json));
        check("jsonl", Some(Format::Jsonl));
        check("ndjson", Some(Format::Jsonl));
        check("csv", Some(Format::Csv));
        check("list", Some(Format::List));
        check("lst", Some(Format::List));
        check("table", None);
        check("", None);
    }
}
