//! What a run touches and in which order: target specs, lists of them, ports, scope, order.
//!
//! Pure: no file is opened and no name resolved here. A name stays a name until the network edge
//! has resolved it.

mod expiry;
mod input;
mod nmap_xml;
mod octets;
mod order;
mod permutation;
mod ports;
mod run_json;
mod scope;
mod spec;

pub use expiry::ExpiryError;
pub use input::{
    INPUT_BYTES_MAX, INPUT_NAMES_MAX, InputError, InputProblem, Place, read_boundaries,
    read_targets,
};
pub use order::{Order, OrderError, PROBES_MAX, Slot, WINDOW_HOSTS_MAX, WINDOW_PROBES_MAX, Window};
pub use ports::{
    NamedPorts, PORTS_BYTES_MAX, PortNames, PortSelection, PortsError, PortsProblem, parse_ports,
};
pub use scope::{
    OutsideScope, Reserved, SCOPE_BYTES_MAX, ScopeError, ScopeProblem, ScopedTargets, apply_scope,
    authorized_scope, default_scope, parse_scope, summary,
};
pub use spec::{
    IPV6_PREFIX_MIN, NameFault, PATTERN_RANGES_MAX, SPEC_BYTES_MAX, Spec, SpecError, SpecProblem,
};
