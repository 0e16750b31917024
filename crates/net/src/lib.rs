//! The edge to the network and to this machine's own sockets.

pub mod connect;
pub mod datagram;
pub mod dial;
pub mod filter;
pub mod interface;
pub mod link;
pub mod listeners;
pub mod machine;
pub mod neighbours;
pub mod netlink;
pub mod never_send;
pub mod port_block;
pub mod privilege;
pub mod raw;
pub mod resolve;
pub mod rights;
pub mod route;
pub mod tls;
mod turns;
