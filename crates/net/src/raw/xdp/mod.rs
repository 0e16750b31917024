//! Small programs that the kernel runs on every frame of an interface before anything else does
//! (XDP), made, loaded and attached without a compiler or a C library.
//!
//! What is not here: the sockets that packets are received and sent by.

pub mod assembler;
pub mod bpf;
