//! What runs beside a measured program: a trickle for who waits for packets, and a ping that shares
//! a bottleneck with it.

use anyhow::{Context as _, Result};
use portolan_lab::Namespace;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two datagrams of a trickle.
const TRICKLE_EVERY: Duration = Duration::from_millis(20);

/// Time between two pings.
const PING_EVERY: Duration = Duration::from_millis(5);

/// How long the last ping is waited for.
const PING_PATIENCE: Duration = Duration::from_secs(1);

/// Pings of one run; more are not counted.
const PINGS_MAX: u32 = 1 << 17;

/// The port to which nothing answers (discard, RFC 863).
const DISCARD: u16 = 9;

/// Datagrams to a host that nobody wants, as long as it lives: some programs look at the clock only
/// when a packet arrives.
#[derive(Debug)]
pub(super) struct Trickle(Beside<()>);

impl Trickle {
    /// From `namespace` to `address`.
    pub(super) fn start(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        let socket = bound(namespace, address)?;
        Ok(Self(Beside::start(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                // Refused or lost, it has done its work.
                let _ = socket.send_to(&[0], (address, DISCARD));
                std::thread::sleep(TRICKLE_EVERY);
            }
        })))
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.0.end();
    }
}

/// Numbered datagrams to a host that sends them back.
#[derive(Debug)]
pub(super) struct Ping {
    asking: Beside<Pings>,
    answering: Beside<()>,
}

/// What became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pings {
    sent: u32,
    came_back: u32,
}

impl Ping {
    /// From `near` to `address`, which `far` has.
    pub(super) fn start(near: &Namespace, far: &Namespace, address: IpAddr) -> Result<Self> {
        let there = far.enter(|| UdpSocket::bind(SocketAddr::new(address, 0)))??;
        let target = there.local_addr()?;
        there.set_read_timeout(Some(PING_EVERY))?;
        let here = bound(near, address)?;
        here.connect(target)?;
        here.set_nonblocking(true)?;
        let answering = Beside::start(move |stop| {
            let mut bytes = [0; 16];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = there.recv_from(&mut bytes) {
                    // Lost on the way back is lost.
                    let _ = there.send_to(bytes.get(..length).unwrap_or_default(), from);
                }
            }
        });
        let asking = Beside::start(move |stop| {
            let mut pings = Pings::default();
            while !stop.load(Ordering::Relaxed) && pings.sent < PINGS_MAX {
                // What is not sent because a queue is full is lost as well.
                let _ = here.send(&pings.sent.to_be_bytes());
                pings.sent += 1;
                std::thread::sleep(PING_EVERY);
                pings.came_back += arrived(&here);
            }
            std::thread::sleep(PING_PATIENCE);
            pings.came_back += arrived(&here);
            pings
        });
        Ok(Self { asking, answering })
    }

    /// Ends it and tells how many of a hundred were lost.
    pub(super) fn lost_percent(self) -> Result<f64> {
        let pings = self.asking.end().context("the ping panicked")?;
        self.answering.end();
        Ok(pings.lost_percent())
    }
}

impl Pings {
    fn lost_percent(self) -> f64 {
        let lost = self.sent.saturating_sub(self.came_back);
        100.0 * f64::from(lost) / f64::from(self.sent.max(1))
    }
}

/// Datagrams that wait.
fn arrived(socket: &UdpSocket) -> u32 {
    let mut bytes = [0; 16];
    let mut count = 0;
    while count < PINGS_MAX && socket.recv(&mut bytes).is_ok() {
        count += 1;
    }
    count
}

/// A socket of a namespace that reaches `address`.
fn bound(namespace: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    Ok(namespace.enter(|| UdpSocket::bind(any))??)
}

/// A thread that is told when to end.
#[derive(Debug)]
struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || work(&asked));
        Self { stop, thread }
    }

    /// `None` when it panicked, which its thread has printed.
    fn end(self) -> Option<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_what_did_not_come_back() {
        let lost = |sent, came_back| Pings { sent, came_back }.lost_percent();
        assert!(lost(0, 0).abs() < f64::EPSILON);
        assert!((lost(200, 198) - 1.0).abs() < 1e-9);
        assert!(lost(1, 2).abs() < f64::EPSILON);
    }
}
