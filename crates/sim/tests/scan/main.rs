//! The connect engine against the simulated internet: what it finds, how soon, how politely, and
//! that it always ends. No network, clock or file.

#![cfg(test)]

mod limits;
mod pace;
mod recall;
mod replay;
mod scenario;
mod truth;
