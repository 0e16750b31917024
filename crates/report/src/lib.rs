//! Values of a run to bytes: one module a format. Pure: what is written where, and how wide the
//! terminal is, comes as an argument; whether colour is used is decided only here.
//!
//! [`write_document`] writes a finished run, [`write_event`] a run that is under way. The formats
//! and their promises are described in `docs/output.md`.

mod document;
mod format;
mod options;
mod preview;

mod accessible;
mod csv;
mod json;
mod jsonl;
mod list;
mod nmap_xml;
mod table;

mod doctor;
mod local;

mod columns;
mod footer;
mod only;
mod style;
mod words;

pub use doctor::{write_checkup, write_checkup_json};
pub use document::write_document;
pub use format::Format;
pub use jsonl::write_event;
pub use local::{Local, PortView, Remedy, Surroundings, Unit, write_local, write_local_json};
pub use options::{Colour, Detail, Layout, Only, Options};
pub use preview::{write_preview, write_preview_json};
