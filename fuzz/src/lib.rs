//! Fuzz targets as plain functions: each takes any bytes and asserts what must hold for all of
//! them. Here are also the table of targets, their seeds and a deterministic mutator. Nothing
//! here needs a nightly toolchain or an instrumented build.

mod corpus;
mod mutate;
mod table;
mod targets;

pub use corpus::{Seed, folder, read_seeds, write_crash};
pub use mutate::{INPUT_MAX, Mutator};
pub use table::{TARGETS, Target, named};
