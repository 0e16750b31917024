//! Frames against a second implementation: what is built is read by it, what it builds is read
//! here; then cut, damaged and lying frames. No network, clock or file.

#![cfg(test)]

mod built;
mod destination;
mod hostile;
mod icmp;
mod neighbours;
mod oracle;
mod parsed;
mod sample;
