//! Integration tests over the command line: the program is started as a user starts it, and only
//! what it prints, writes and returns is judged. Tests of single functions are in the crates.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails by panicking"
)]

mod cli;
mod config;
mod fingerprints;
mod hostile;
mod listeners;
mod local;
mod loopback;
mod netns;
mod program;
mod result;
mod resume;
mod xml_consumers;
