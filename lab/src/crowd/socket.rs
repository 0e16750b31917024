//! The packet socket of a crowd and the thread that serves it. What is answered is decided in
//! `respond`.

use super::respond::Stage;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, bind,
    recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Frames that are received or sent by one call.
const BATCH: usize = 64;

/// Longest frame that is read; what is longer is cut.
const FRAME_MAX: usize = 2_048;

/// Bytes of frames that wait to be read, as the kernel counts them: some 50,000 SYNs.
const RECEIVE_BYTES: usize = 32 << 20;

/// How often the thread looks whether it should end.
const STOP_LOOK: Duration = Duration::from_millis(20);

/// A socket on one interface, which hears every frame there.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    buffers: Vec<Vec<u8>>,
}

impl Socket {
    /// Opens one in the namespace of the calling thread.
    pub(super) fn open(interface: &str) -> Result<Self, Errno> {
        let address = link_address(interface)?;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BYTES)?;
        bind(socket.as_raw_fd(), &address)?;
        Ok(Self {
            socket,
            buffers: vec![vec![0; FRAME_MAX]; BATCH],
        })
    }

    /// Hears and answers until `stop`.
    pub(super) fn serve(&mut self, stage: &Mutex<Stage>, stop: &AtomicBool) {
        let mut due = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // Nothing there, or the interface is down for a while: both are no reason to end.
            let lengths = self.receive().unwrap_or_default();
            let now = Instant::now();
            let next = {
                let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
                for (buffer, length) in self.buffers.iter().zip(&lengths) {
                    if let Some(frame) = buffer.get(..*length) {
                        stage.hear(now, frame);
                    }
                }
                stage.take_due(now, &mut due)
            };
            for batch in due.chunks(BATCH) {
                self.send(batch);
            }
            if lengths.is_empty() && due.is_empty() {
                self.wait(next);
            }
            due.clear();
        }
    }

    /// Lengths of the frames that were there.
    fn receive(&mut self) -> Result<Vec<usize>, Errno> {
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        Ok(received.map(|message| message.bytes).collect())
    }

    /// Sends frames; what the interface does not take is lost, as on a network.
    fn send(&self, frames: &[Vec<u8>]) {
        let mut sent = 0;
        while let Some(rest) = frames.get(sent..)
            && !rest.is_empty()
        {
            let slices: Vec<_> = rest.iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut headers = MultiHeaders::<()>::preallocate(rest.len(), None);
            let taken = sendmmsg(
                self.socket.as_raw_fd(),
                &mut headers,
                &slices,
                vec![None; rest.len()],
                [],
                MsgFlags::empty(),
            );
            // Where one is refused, those behind it are tried without it.
            sent += taken.map_or(1, |taken| taken.count().max(1));
        }
    }

    fn wait(&self, next: Option<Instant>) {
        let until = next.map_or(STOP_LOOK, |next| {
            next.saturating_duration_since(Instant::now())
        });
        let patience = TimeSpec::from_duration(until.min(STOP_LOOK));
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // An interrupted wait is a short one.
        let _ = ppoll(&mut polled, Some(patience), None);
    }
}

/// The address by which a packet socket is bound to an interface.
fn link_address(interface: &str) -> Result<LinkAddr, Errno> {
    getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .ok_or(Errno::ENODEV)
}
