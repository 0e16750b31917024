//! The first looks under way: how many at once, in all and at one host, and what is left of one
//! that fails.

use crate::collector::{Collector, PendingLook};
use crate::fingerprints::{Exchange, refine};
use crate::look::look;
use crate::sweep::Control;
use portolan_catalog::recog::Fingerprints;
use portolan_identify::{Keeps, LookOptions, Outcome, Sends};
use portolan_model::Endpoint;
use portolan_net::dial::Dialer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::{Id, JoinError, JoinSet};

/// First looks under way at one host.
const LOOKS_AT_HOST_MAX: u32 = 48;

/// The first looks under way.
pub(crate) struct Looks {
    dialer: Dialer,
    control: Arc<Control>,
    max: usize,
    seed: u64,
    fingerprints: Option<Arc<Fingerprints>>,
    tasks: JoinSet<Outcome>,
    under_way: HashMap<Id, UnderWay>,
    at_host: HashMap<IpAddr, u32>,
    lost: u64,
}

struct UnderWay {
    endpoint: Endpoint,
    connection: Handed,
}

/// Whether a look began on a connection that the sweep handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handed {
    No,
    Over,
}

impl Looks {
    /// No look yet, and at most `max` at once.
    pub(crate) fn new(dialer: Dialer, control: Arc<Control>, max: usize, seed: u64) -> Self {
        Self {
            dialer,
            control,
            max,
            seed,
            fingerprints: None,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            at_host: HashMap::new(),
            lost: 0,
        }
    }

    /// What the user knows of services is asked, too.
    pub(crate) fn with(self, fingerprints: Option<Arc<Fingerprints>>) -> Self {
        Self {
            fingerprints,
            ..self
        }
    }

    /// Begins looks that wait in `collector`, as many as there is room for.
    pub(crate) fn start(&mut self, collector: &mut Collector) {
        for _ in 0..collector.looks_waiting() {
            if self.tasks.len() >= self.max {
                break;
            }
            let Some(pending) = collector.next_look() else {
                break;
            };
            let ip = pending.endpoint.address;
            if collector.is_mute(ip) {
                self.release(u32::from(pending.connection.is_some()));
                collector.pass_over_mute(pending.endpoint);
            } else if self.at_host.get(&ip).copied().unwrap_or(0) >= LOOKS_AT_HOST_MAX {
                collector.put_back(pending);
            } else {
                self.start_one(pending);
            }
        }
    }

    fn start_one(&mut self, pending: PendingLook) {
        let PendingLook {
            endpoint,
            rtt,
            name,
            connection,
        } = pending;
        let handed = if connection.is_some() {
            Handed::Over
        } else {
            Handed::No
        };
        let options = LookOptions {
            port: endpoint.port,
            rtt,
            sends: if self.dialer.may_send(endpoint.port) {
                Sends::Allowed
            } else {
                Sends::Never
            },
            host: name,
            address: endpoint.address,
            seed: self.seed ^ u64::from(endpoint.port),
            unix_s: seconds_since_1970(),
            keeps: match self.fingerprints {
                Some(_) => Keeps::Replies,
                None => Keeps::Evidence,
            },
        };
        let dialer = self.dialer.clone();
        let fingerprints = self.fingerprints.clone();
        let talk = async move {
            let (mut outcome, said) = look(dialer, endpoint, connection, options).await;
            if let (Some(service), Some(fingerprints)) = (&mut outcome.service, fingerprints) {
                let heard = said.iter().map(|said| Exchange {
                    protocol: None,
                    received: &said.bytes,
                });
                let heard: Vec<Exchange<'_>> = heard.collect();
                refine(service, &heard, &fingerprints);
            }
            outcome
        };
        self.spawn(endpoint, handed, talk);
    }

    fn spawn(
        &mut self,
        endpoint: Endpoint,
        connection: Handed,
        talk: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let at_host = self.at_host.entry(endpoint.address).or_default();
        *at_host = at_host.saturating_add(1);
        let id = self.tasks.spawn(talk).id();
        self.under_way.insert(
            id,
            UnderWay {
                endpoint,
                connection,
            },
        );
    }

    /// The next look that ends; `None`: none is under way. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<(Id, Outcome), JoinError>> {
        self.tasks.join_next_with_id().await
    }

    /// Takes the end of a look to `collector`.
    pub(crate) fn end(
        &mut self,
        looked: Result<(Id, Outcome), JoinError>,
        collector: &mut Collector,
    ) {
        let id = match &looked {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(UnderWay {
            endpoint,
            connection,
        }) = self.under_way.remove(&id)
        else {
            return;
        };
        self.release(u32::from(connection == Handed::Over));
        if let Some(at_host) = self.at_host.get_mut(&endpoint.address) {
            *at_host = at_host.saturating_sub(1);
            if *at_host == 0 {
                self.at_host.remove(&endpoint.address);
            }
        }
        match looked {
            Ok((_, outcome)) => collector.take_look(endpoint, outcome),
            Err(error) if error.is_panic() => {
                self.lost = self.lost.saturating_add(1);
                collector.pass_over(
                    endpoint,
                    "the look failed, which is a fault of this program",
                );
            }
            // A look that was given up is held when the run is resumed.
            Err(_) => {}
        }
    }

    /// Gives up the looks under way.
    pub(crate) fn give_up(&mut self) {
        self.tasks.abort_all();
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Looks that failed by a fault of the program.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Tells the sweep that `count` connections that it handed over are closed.
    pub(crate) fn release(&self, count: u32) {
        self.control.held.fetch_sub(count, Ordering::AcqRel);
    }
}

/// A clock before 1970 tells no time.
fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[path = "looks_tests.rs"]
mod tests;
