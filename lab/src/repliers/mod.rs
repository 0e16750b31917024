//! A target on whose TCP ports something speaks: well-known services played from their
//! specifications, and repliers that are hostile or mean nothing. Of each it is known what may
//! truthfully be said of it.
//!
//! What is not here: real daemons (`daemons`), and ports that say nothing at all (`responder`).

mod kind;
mod script;
mod serve;
mod service;

pub use kind::{Kind, Truth, Verdict};
pub use serve::{Ledger, PortLedger};
pub use service::Service;

use crate::{LabError, Namespace, Seed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// One port and who answers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replier {
    /// The port.
    pub port: u16,
    /// How it behaves.
    pub kind: Kind,
    /// Decides what is random in its words; the same on every connection.
    pub seed: u64,
}

impl Replier {
    /// Every kind of [`Kind::ADVERSE`] in turn on `ports`, in an order that `seed` decides.
    pub fn adverse(ports: &[u16], seed: u64) -> Vec<Self> {
        Self::in_turn(ports, &Kind::ADVERSE, seed)
    }

    /// Every service in turn on `ports`, in an order that `seed` decides.
    pub fn services(ports: &[u16], seed: u64) -> Vec<Self> {
        Self::in_turn(ports, &Service::ALL.map(Kind::Speaks), seed)
    }

    fn in_turn(ports: &[u16], kinds: &[Kind], seed: u64) -> Vec<Self> {
        let mut seed = Seed::new(seed);
        let mut shuffled: Vec<(u64, u16)> = ports.iter().map(|it| (seed.next(), *it)).collect();
        shuffled.sort_unstable();
        let pairs = shuffled.into_iter().zip(kinds.iter().cycle());
        pairs
            .map(|((seed, port), kind)| Self {
                port,
                kind: *kind,
                seed,
            })
            .collect()
    }
}

/// Repliers at work in a namespace, on one thread; dropping it ends them and closes their ports.
#[derive(Debug)]
pub struct Repliers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Ledger>>,
}

impl Repliers {
    /// Opens the ports of `repliers` on every IPv4 and IPv6 address of `namespace`. They are open
    /// when this returns. Takes an open file for each port and each connection.
    pub fn start(namespace: &Namespace, repliers: &[Replier]) -> Result<Self, LabError> {
        let posts = namespace.enter(|| serve::listen(repliers))??;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        // The sockets keep their namespace, whichever thread serves them.
        let thread = std::thread::spawn(move || serve::serve(posts, &asked));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends them and tells what they saw. A connection that still stands ends now.
    pub fn end(mut self) -> Ledger {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in there was printed by its thread; the ports are closed either way.
        self.thread.take()?.join().ok()
    }
}

impl Drop for Repliers {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_ports;

    #[test]
    fn every_kind_stands_on_some_port() {
        let ports = random_ports(5, Kind::ADVERSE.len());
        let repliers = Replier::adverse(&ports, 9);
        assert_eq!(repliers, Replier::adverse(&ports, 9));
        for kind in Kind::ADVERSE {
            assert!(repliers.iter().any(|it| it.kind == kind), "{kind:?}");
        }
        let mut theirs: Vec<u16> = repliers.iter().map(|it| it.port).collect();
        theirs.sort_unstable();
        assert_eq!(theirs, ports);
    }

    #[test]
    fn services_are_shared_out_evenly() {
        let repliers = Replier::services(&random_ports(5, 200), 9);
        for service in Service::ALL {
            let theirs = repliers
                .iter()
                .filter(|it| it.kind == Kind::Speaks(service));
            assert_eq!(theirs.count(), 20, "{service:?}");
        }
    }
}
