//! The edge to the network and to this machine's own sockets.

pub mod connect;
pub mod dial;
pub mod interface;
pub mod listeners;
pub mod machine;
pub mod neighbours;
pub mod never_send;
pub mod privilege;
pub mod raw;
pub mod resolve;
mod turns;
