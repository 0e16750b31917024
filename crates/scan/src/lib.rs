//! Decides which probe goes when, and what its answer or silence means. Sans-io: probes go out
//! through [`Engine::poll_dial`], replies come in through [`Engine::handle_reply`], time is an
//! argument. No socket, clock, thread or randomness of its own, so that the same plan on the same
//! simulated network gives the same events.

mod dial;
mod discovery;
mod doubt;
mod engine;
mod everything;
mod flights;
mod host;
mod loss;
mod options;
mod pace;
mod room;
mod rtt;
mod syn;
mod udp;
mod usual;

pub use dial::{Dial, DialId, ProbeTarget, Reply, Verdict};
pub use discovery::{
    DiscoveryEngine, DiscoveryOptions, DiscoveryProbe, Experience, Found, HostVerdict, ProbeKind,
};
pub use engine::{Engine, Figures};
pub use loss::Loss;
pub use options::{EngineOptions, Patience};
pub use syn::{Path, SOURCE_PORTS, Strays, SynEngine, SynOptions, SynProbe};
pub use udp::{Ask, UDP_SOURCES, UdpEngine, UdpError, UdpOptions, UdpPort, UdpProbe, UdpTokens};
