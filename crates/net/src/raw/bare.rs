//! The least that sending can cost: the same frames again and again, made and checked once, with
//! nothing done between two calls. The measure of how the product sends; it sends nothing by this.
//!
//! What is not here: how the product sends (see [`super::transmit`]).

use super::packet::Prepared;
use super::xdp::Sender;
use std::io;

/// Frames that were checked, to be sent as often as is asked for.
#[derive(Debug)]
pub struct Bare(pub(super) Way);

/// What they leave by.
#[derive(Debug)]
pub(super) enum Way {
    Packets(Prepared),
    Frames { sender: Sender, length: usize },
}

impl Bare {
    /// Sends all of them once more, as far as there is room; how many.
    ///
    /// # Errors
    /// Why the interface takes none.
    pub fn send(&mut self) -> io::Result<usize> {
        match &mut self.0 {
            Way::Packets(prepared) => prepared.send(),
            Way::Frames { sender, length } => sender.send_prepared(*length),
        }
        .map_err(io::Error::from)
    }
}
