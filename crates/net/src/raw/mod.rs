//! What no safe interface gives. The only place of the workspace with unsafe code, each piece with
//! its reason.

pub mod bare;
mod block;
pub(crate) mod packet;
pub mod ring;
pub mod start;
pub mod transmit;
pub mod xdp;
