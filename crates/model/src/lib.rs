//! The nouns of Portolan as plain data: what is asked, what was found, and what a run tells the
//! world. No socket, clock, file or thread; the few functions here keep the invariants of the
//! types (sorted ranges, printable text, a scope that can be asked) and nothing else.

mod address_set;
mod checkup;
mod conflict;
mod document;
mod endpoint;
mod event;
mod listener;
mod moment;
mod plan;
mod port;
mod port_set;
mod preview;
mod scope;
mod service;
mod text;

pub use address_set::{AddressSet, Addresses};
pub use checkup::{Check, Checkup, Verdict};
pub use conflict::{Bid, Conflict, ConflictKind, Forecast, Sharing};
pub use document::{
    Document, Estimate, HostLabel, HostReport, HostState, Hosts, Incomplete, OtherPorts, PortGroup,
    PortReport, Run, SCHEMA_EVENT, SCHEMA_RUN, Stats, Unanswered,
};
pub use endpoint::{Endpoint, Transport};
pub use event::{Event, Progress};
pub use listener::{Listener, Process, Reach};
pub use moment::Moment;
pub use plan::{Depth, Discovery, EngineChoice, IoChoice, Pace, Plan, Shard, Target};
pub use port::{Reason, State, Unreachable};
pub use port_set::PortSet;
pub use preview::Preview;
pub use scope::{Refusal, Scope};
pub use service::{OsHint, Service, Tunnel};
pub use text::Text;
