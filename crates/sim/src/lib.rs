//! A simulated internet in virtual time: hosts, paths that lose, delay and reorder, policers,
//! silent filters, absent neighbours, and a scanning machine with limits. Everything follows from
//! a seed; the same seed and the same dials give the same replies.
//!
//! Not here: sockets, clocks, threads, and what to think of a reply (the engine's). A development
//! crate: the product does not contain it.

mod drive;
mod fault;
mod host;
mod machine;
mod network;
mod seed;

pub use drive::{Bounds, Outcome, Stuck, drive};
pub use fault::{Path, Policer, Share};
pub use host::{Host, PortAnswer, Presence};
pub use machine::Machine;
pub use network::Network;
pub use seed::Dice;
