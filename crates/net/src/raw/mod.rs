//! What no safe interface gives. The only place of the workspace with unsafe code, each piece with
//! its reason.

pub mod start;
