//! Networks of one machine, for tests and benchmarks: namespaces joined by veth pairs, a responder
//! with many listening ports, repliers that say something on them, the impairments that nftables can
//! make, and a crowd of played hosts with any other fault. Needs root. Nothing that ships uses this crate, and nothing here touches a
//! network outside the namespaces it made.

pub mod crowd;
mod daemons;
mod namespace;
mod prefix_responder;
pub mod repliers;
mod responder;
mod routed;
mod seed;
pub mod site;
mod tunnel;
mod wire;

pub use daemons::{Daemon, DaemonService, Daemons, Origin};
pub use namespace::{LabError, Namespace, available, sweep};
pub use prefix_responder::PrefixResponder;
pub use responder::Responder;
pub use routed::{Routed, RoutedAddresses};
pub use seed::{Seed, random_ports};
pub use tunnel::{Tunnel, TunnelAddresses};
pub use wire::{Over, Wire, WireAddresses};
