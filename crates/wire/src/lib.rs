//! Packets to bytes and bytes to packets: what a scan sends and what comes back, read by the
//! standards.
//!
//! Nothing here holds a socket, a clock or state, and nothing allocates: what is built is written
//! into the caller's buffer, what is parsed borrows from the frame. What an answer means for a
//! port is decided in `portolan-scan`; how bytes reach an interface is the matter of
//! `portolan-net`.
//!
//! | to do | use |
//! |---|---|
//! | many SYNs from one address | [`SynTemplate::new`] once, [`SynTemplate::write`] for each |
//! | another probe | `write` of [`tcp::AckProbe`], [`udp::UdpProbe`], [`icmp::EchoRequest`], [`icmp::TimestampRequest`], [`arp::ArpRequest`], [`ndp::NeighbourSolicitation`] |
//! | read a received frame | [`parse`] |
//! | ask whom a frame to be sent is for | [`destination()`] |

pub mod checksum;
mod fields;

pub mod ethernet;
pub mod ip;
pub mod ipv4;
pub mod ipv6;

pub mod arp;
pub mod icmp;
pub mod ndp;
pub mod tcp;
pub mod udp;

pub mod envelope;
pub mod template;

pub mod packet;

pub mod destination;

pub use destination::{Carried, Destination, destination};
pub use envelope::{BuildError, Envelope};
pub use ethernet::{Framing, LinkType, Mac};
pub use ip::{Addresses, Protocol};
pub use packet::{Malformed, Other, Packet, parse};
pub use template::{Syn, SynTemplate};
