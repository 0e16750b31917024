//! Receiving frames by sockets for frames (`AF_XDP`), one for each receive queue of an interface.
//!
//! What is not here: which frames come here (see [`super::program`]).

use super::area::Frames;
use super::bpf::Attached;
use super::ring::{Consumer, Descriptor, Producer};
use crate::raw::ring::Captured;
use rustix::net::{RecvFlags, recv, sockopt};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// The receiving half; dropping it leaves all frames to the kernel again.
#[derive(Debug)]
pub struct Receiver {
    queues: Vec<Queue>,
    /// The program that leads frames here.
    _attached: Attached,
    received: u64,
}

/// One receive queue of the interface.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) socket: OwnedFd,
    pub(super) arrived: Consumer<Descriptor>,
    pub(super) empty: Producer<u64>,
    pub(super) frames: Frames,
    pub(super) zero_copy: bool,
}

impl Receiver {
    pub(super) const fn new(queues: Vec<Queue>, attached: Attached) -> Self {
        Self {
            queues,
            _attached: attached,
            received: 0,
        }
    }

    /// Gives `each` up to `frames_max` frames that have arrived, the oldest of each queue first;
    /// how many. Does not wait. The kernel notes no time for them: it is that of this call.
    pub(crate) fn drain(&mut self, frames_max: usize, mut each: impl FnMut(Captured<'_>)) -> usize {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = at.unwrap_or(Duration::ZERO);
        let mut given = 0;
        for queue in &mut self.queues {
            given += queue.drain(frames_max.saturating_sub(given), at, &mut each);
        }
        self.received = self
            .received
            .saturating_add(u64::try_from(given).unwrap_or(u64::MAX));
        given
    }

    /// Frames that arrived so far, those that were dropped included, and those that were dropped.
    pub(crate) fn counted(&self) -> io::Result<(u64, u64)> {
        let mut dropped = 0_u64;
        for queue in &self.queues {
            dropped = dropped.saturating_add(queue.dropped()?);
        }
        Ok((self.received.saturating_add(dropped), dropped))
    }

    /// What to poll for reading.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queues.iter().map(|it| it.socket.as_fd())
    }
}

impl Queue {
    /// Hands every frame to the kernel, to be filled.
    pub(super) fn provide(&mut self) {
        let mut count = 0;
        let room = self.empty.room();
        for address in self.frames.addresses() {
            if count < room {
                self.empty.fill(count, address);
                count += 1;
            }
        }
        self.empty.hand_over(count);
    }

    fn drain(
        &mut self,
        frames_max: usize,
        at: Duration,
        each: &mut impl FnMut(Captured<'_>),
    ) -> usize {
        let most = u32::try_from(frames_max).unwrap_or(u32::MAX);
        // Every frame that arrived leaves room for itself among the empty ones.
        let count = self.arrived.filled().min(most).min(self.empty.room());
        let mut given = 0;
        for ahead in 0..count {
            let descriptor = self.arrived.entry(ahead);
            let length = usize::try_from(descriptor.length).unwrap_or(usize::MAX);
            if let Some(bytes) = self.frames.bytes(descriptor.address, length) {
                each(Captured {
                    bytes,
                    length,
                    vlan: None,
                    at,
                });
                given += 1;
            }
            self.empty.fill(ahead, descriptor.address);
        }
        if count > 0 {
            self.arrived.give_back(count);
            self.empty.hand_over(count);
            if self.zero_copy && self.empty.must_be_called() {
                // It has something to fill again; there is nothing to be read by this call.
                let _ = recv(&self.socket, &mut [0_u8; 0], RecvFlags::DONTWAIT);
            }
        }
        given
    }

    fn dropped(&self) -> io::Result<u64> {
        let counted = sockopt::xdp_statistics(&self.socket)?;
        // Where frames are copied, those that found none empty are among the dropped.
        let unfilled = counted
            .rx_fill_ring_empty_descs
            .filter(|_| self.zero_copy)
            .unwrap_or(0);
        Ok(counted
            .rx_dropped
            .saturating_add(counted.rx_ring_full.unwrap_or(0))
            .saturating_add(unfilled))
    }
}
