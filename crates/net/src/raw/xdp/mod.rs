//! Frames past most of the kernel (XDP): sockets that share memory with it (`AF_XDP`), and small
//! programs that it runs on every frame of an interface before anything else does, made, loaded and
//! attached without a compiler or a C library.
//!
//! What is not here: packet sockets, which work everywhere (see [`super::ring`] and
//! [`super::transmit`]) and which these sockets stand beside.

pub mod assembler;
pub mod bpf;
pub mod program;

mod area;
mod index;
mod ring;

mod receiver;
mod sender;
pub mod socket;

pub mod io;

pub use receiver::Receiver;
pub use sender::Sender;
