//! Hosts out of nmap's XML report, and of tools that write the same elements.
//!
//! Read as a stream: of each `host` element its `status`, `address` and `port` elements count, and
//! nothing else is looked at. Entities of a document type are never expanded.

use crate::input::{Fault, Found, InputProblem, line_at};
use portolan_model::Text;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deepest nesting; nmap's own reports reach 7 (`nmaprun host hostscript script table table elem`)
/// and scripts may nest tables a little further.
pub(crate) const DEPTH_MAX: usize = 64;

/// Adds every host of the report that is up or has ports.
pub(crate) fn read(text: &str, found: &mut Found) -> Result<(), Fault> {
    let mut report = Report::default();
    let mut reader = Reader::from_str(text);
    loop {
        let begin = offset(reader.buffer_position());
        let event = reader.read_event().map_err(|error| {
            let at = offset(reader.error_position());
            Fault::on(line_at(text.as_bytes(), at), damaged(&error))
        })?;
        let result = match &event {
            Event::Start(element) => report.opens(element),
            Event::Empty(element) => {
                let opened = report.opens(element);
                opened.and_then(|()| report.closes(found))
            }
            Event::End(_) => report.closes(found),
            Event::DocType(declaration) if declaration.contains('[') => Err(InputProblem::Dtd),
            Event::Eof => break,
            _ => Ok(()),
        };
        result.map_err(|problem| Fault::on(line_at(text.as_bytes(), begin), problem))?;
    }
    if !report.path.is_empty() || !report.seen {
        let end = line_at(text.as_bytes(), text.len());
        let cut = Text::from("it ends in the middle");
        let problem = InputProblem::Damaged {
            format: FORMAT,
            detail: cut,
        };
        return Err(Fault::on(end, problem));
    }
    if found.is_empty() {
        return Err(Fault::whole(InputProblem::NoHost { format: FORMAT }));
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    /// Which of the elements that matter are open, outermost first.
    path: Vec<Element>,
    /// Whether the root element was there.
    seen: bool,
    addresses: Vec<String>,
    is_up: bool,
    has_ports: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Run,
    Host,
    Ports,
    Other,
}

impl Report {
    fn opens(&mut self, element: &BytesStart<'_>) -> Result<(), InputProblem> {
        if self.path.len() >= DEPTH_MAX {
            return Err(InputProblem::TooDeep(DEPTH_MAX));
        }
        let name = element.name();
        let name: &str = name.as_ref();
        let opened = match (self.path.as_slice(), name) {
            ([], "nmaprun") => Element::Run,
            ([], _) => {
                return Err(InputProblem::Unknown {
                    format: "XML",
                    expected: "a report of nmap",
                });
            }
            ([Element::Run], "host") => {
                self.addresses.clear();
                self.is_up = false;
                self.has_ports = false;
                Element::Host
            }
            ([Element::Run, Element::Host], "status") => {
                self.is_up = attribute(element, "state")?.as_deref() == Some("up");
                Element::Other
            }
            ([Element::Run, Element::Host], "address") => {
                let kind = attribute(element, "addrtype")?;
                // The document type of nmap makes ipv4 the default.
                if matches!(kind.as_deref(), None | Some("ipv4" | "ipv6")) {
                    self.addresses.extend(attribute(element, "addr")?);
                }
                Element::Other
            }
            ([Element::Run, Element::Host], "ports") => Element::Ports,
            ([Element::Run, Element::Host, Element::Ports], "port") => {
                self.has_ports = true;
                Element::Other
            }
            _ => Element::Other,
        };
        self.seen = true;
        self.path.push(opened);
        Ok(())
    }

    fn closes(&mut self, found: &mut Found) -> Result<(), InputProblem> {
        let is_host = self.path.pop() == Some(Element::Host);
        if is_host && (self.is_up || self.has_ports) {
            for address in self.addresses.drain(..) {
                found.add_address(&address)?;
            }
        }
        Ok(())
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, InputProblem> {
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| damaged(&error))?;
        if AsRef::<str>::as_ref(&attribute.key) == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            return Ok(Some(value.map_err(|error| damaged(&error))?.into_owned()));
        }
    }
    Ok(None)
}

fn damaged(error: &dyn std::fmt::Display) -> InputProblem {
    InputProblem::Damaged {
        format: FORMAT,
        detail: Text::from(error.to_string()),
    }
}

fn offset(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

const FORMAT: &str = "nmap XML";
