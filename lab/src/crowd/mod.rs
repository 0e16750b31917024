//! Many hosts that one thread plays: each with ports, a hardware address and a way of its own, and
//! with any fault that a network can have. It hears and speaks on one interface of one namespace,
//! and answers only what was sent to its hosts.
//!
//! Real kernels as targets are in `wire` and `routed`; how frames are made is in `frame`, what is
//! answered in `respond`, and what was heard in `record`.

mod frame;
mod host;
mod record;
mod respond;
mod segment;
mod socket;

pub use host::{Closed, Cut, Deaf, Host, Icmp, Move, Noise, Noisy, Policer, Ports, Talk, Way};
pub use record::{Heard, Record, Syn};
pub use segment::{Segment, SegmentAddresses};

use crate::{LabError, Namespace};
use respond::Stage;
use socket::Socket;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The hosts and the thread that plays them; dropping it ends both.
#[derive(Debug)]
pub struct Crowd {
    stage: Arc<Mutex<Stage>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Plays `hosts` on an interface of a namespace, which must be up and have no address of its
    /// own. They answer when this returns. `seed` decides which packets get lost.
    ///
    /// # Errors
    /// When the interface is not there or may not be listened to.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        hosts: Vec<Host>,
        seed: u64,
    ) -> Result<Self, LabError> {
        let socket = namespace.enter(|| Socket::open(interface))?;
        let mut socket = socket.map_err(|errno| LabError::Play {
            interface: interface.to_owned(),
            source: errno.into(),
        })?;
        let stage = Arc::new(Mutex::new(Stage::new(hosts, seed)));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, asked) = (Arc::clone(&stage), Arc::clone(&stop));
        // The socket keeps its namespace, whichever thread serves it.
        let thread = std::thread::spawn(move || socket.serve(&shared, &asked));
        Ok(Self {
            stage,
            stop,
            thread: Some(thread),
        })
    }

    /// Changes a host under way: `false` when there is no such host.
    pub fn change(&self, address: IpAddr, change: impl FnOnce(&mut Host)) -> bool {
        self.stage().change(address, change)
    }

    /// Changes what every packet to any host meets, whichever host it is for.
    pub fn change_path(&self, change: impl FnOnce(&mut Way)) {
        self.stage().change_path(change);
    }

    /// SYNs that were heard so far, for any address.
    pub fn syns(&self) -> u64 {
        self.stage().record().syns()
    }

    /// What was heard so far.
    pub fn record(&self) -> Record {
        self.stage().record().clone()
    }

    /// Forgets what was heard, for a further run over the same hosts. What is counted for cuts and
    /// moves begins anew as well.
    pub fn forget(&self) {
        self.stage().forget();
    }

    /// Keeps single SYNs no longer, only counts: for runs of many millions.
    pub fn count_only(&self) {
        self.stage().count_only();
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // A test that panicked while it asked has changed nothing by halves.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed by its thread; the hosts are gone either way.
            let _ = thread.join();
        }
    }
}
