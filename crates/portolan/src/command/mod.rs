//! The commands, one module each.

pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod local;
pub(crate) mod scan;
