//! Runs an engine against a network to its end, as a real driver would, in virtual time.
//!
//! Every loop has a bound: an engine that stalls, spins or never ends gives an error that says so.

use crate::Network;
use portolan_model::{Endpoint, Moment};
use portolan_scan::{Dial, DialId, Engine, Figures, ProbeTarget, Reply, Verdict};
use std::time::Duration;

/// How long an engine may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Virtual time that ends the run with an error.
    pub until: Moment,
    /// When the engine is told to begin nothing further.
    pub drain_at: Option<Moment>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Every verdict with the moment it was handed out, in that order.
    pub verdicts: Vec<(Moment, Verdict)>,
    /// Every attempt that this machine did not refuse, with the moment it began, in that order.
    pub dials: Vec<(Moment, Endpoint)>,
    /// Attempts that this machine had no room for.
    pub refused: u64,
    /// When the engine was done.
    pub ended: Moment,
    /// Most attempts under way at once.
    pub flying_max: u32,
    /// Most rounds in a row in which nothing happened and no time passed.
    pub idle_rounds_max: u64,
    /// The engine's own counts.
    pub figures: Figures,
}

/// Why a run was broken off.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// An attempt began under an id that is under way.
    #[error("attempt {id:?} began at {now:?} while one of that id was under way")]
    IdInUse {
        /// The id.
        id: DialId,
        /// When.
        now: Moment,
    },
    /// The bound on virtual time was reached.
    #[error("not done at {now:?}: {flying} under way, {figures:?}")]
    Late {
        /// When.
        now: Moment,
        /// Attempts under way.
        flying: u32,
        /// The engine's counts.
        figures: Figures,
    },
    /// The engine asks for rounds in which nothing happens.
    #[error("spinning at {now:?}: {flying} under way, {figures:?}")]
    Spinning {
        /// When.
        now: Moment,
        /// Attempts under way.
        flying: u32,
        /// The engine's counts.
        figures: Figures,
    },
    /// The engine waits for a reply, and none is under way.
    #[error("stalled at {now:?}: {flying} under way, {figures:?}")]
    Stalled {
        /// When.
        now: Moment,
        /// Attempts under way.
        flying: u32,
        /// The engine's counts.
        figures: Figures,
    },
}

/// Time that one attempt takes the driver to begin.
const DIAL_TIME: Duration = Duration::from_micros(20);
/// Attempts begun between two looks at the replies.
const DIALS_A_ROUND: u32 = 64;
/// Rounds in a row without any effect, after which an engine counts as spinning. The engine looks
/// at a few hundred positions a round and may pass over many.
const IDLE_ROUNDS_MAX: u64 = 100_000;

/// Runs `engine` until it is done.
pub fn drive<L: FnMut(u32) -> Option<ProbeTarget>>(
    engine: &mut Engine<L>,
    network: &mut Network,
    bounds: Bounds,
) -> Result<Outcome, Stuck> {
    let mut run = Run::new(bounds);
    while !engine.is_done() {
        run.round(engine, network)?;
    }
    let Run {
        mut outcome, now, ..
    } = run;
    outcome.ended = now;
    outcome.figures = engine.figures();
    Ok(outcome)
}

struct Run {
    now: Moment,
    until: Moment,
    drain_at: Option<Moment>,
    idle_rounds: u64,
    replies: Vec<(DialId, Reply)>,
    outcome: Outcome,
}

impl Run {
    fn new(bounds: Bounds) -> Self {
        let outcome = Outcome {
            verdicts: Vec::new(),
            dials: Vec::new(),
            refused: 0,
            ended: Moment::START,
            flying_max: 0,
            idle_rounds_max: 0,
            figures: Figures::default(),
        };
        Self {
            now: Moment::START,
            until: bounds.until,
            drain_at: bounds.drain_at,
            idle_rounds: 0,
            replies: Vec::new(),
            outcome,
        }
    }

    /// One round of the call order that the engine documents.
    fn round<L: FnMut(u32) -> Option<ProbeTarget>>(
        &mut self,
        engine: &mut Engine<L>,
        network: &mut Network,
    ) -> Result<(), Stuck> {
        let began = self.now;
        let mut effects = 0_u64;
        if self.drain_at.is_some_and(|moment| moment <= self.now) {
            self.drain_at = None;
            engine.drain();
        }
        engine.handle_timeout(self.now);
        while let Some(id) = engine.poll_abandoned() {
            network.give_up(id);
            effects += 1;
        }
        while let Some(verdict) = engine.poll_verdict() {
            if let Some(id) = verdict.connection {
                network.close(id);
            }
            self.outcome.verdicts.push((self.now, verdict));
            effects += 1;
        }
        self.begin_dials(engine, network)?;
        if self.replies.is_empty() {
            self.wait(engine, network)?;
        }
        network.advance(self.now, &mut self.replies);
        for (id, reply) in self.replies.drain(..) {
            engine.handle_reply(self.now, id, reply);
            effects += 1;
        }
        let idle = effects == 0 && self.now == began;
        self.idle_rounds = if idle { self.idle_rounds + 1 } else { 0 };
        self.outcome.idle_rounds_max = self.outcome.idle_rounds_max.max(self.idle_rounds);
        let (now, flying, figures) = (self.now, engine.flying(), engine.figures());
        if now > self.until {
            return Err(Stuck::Late {
                now,
                flying,
                figures,
            });
        }
        if self.idle_rounds > IDLE_ROUNDS_MAX {
            return Err(Stuck::Spinning {
                now,
                flying,
                figures,
            });
        }
        Ok(())
    }

    fn begin_dials<L: FnMut(u32) -> Option<ProbeTarget>>(
        &mut self,
        engine: &mut Engine<L>,
        network: &mut Network,
    ) -> Result<(), Stuck> {
        for _ in 0..DIALS_A_ROUND {
            let Some(Dial { id, endpoint, .. }) = engine.poll_dial(self.now) else {
                break;
            };
            if network.is_under_way(id) {
                return Err(Stuck::IdInUse { id, now: self.now });
            }
            let reply = network.begin(self.now, id, endpoint);
            if let Some(reply) = reply {
                self.replies.push((id, reply));
            }
            match reply {
                Some(Reply::LocalLimit) => self.outcome.refused += 1,
                Some(Reply::LocalPolicy | Reply::NoRoute) => {}
                _ => self.outcome.dials.push((self.now, endpoint)),
            }
            self.outcome.flying_max = self.outcome.flying_max.max(engine.flying());
            self.now = self.now + DIAL_TIME;
        }
        Ok(())
    }

    /// Lets time pass until something happens.
    fn wait<L: FnMut(u32) -> Option<ProbeTarget>>(
        &mut self,
        engine: &mut Engine<L>,
        network: &mut Network,
    ) -> Result<(), Stuck> {
        let moments = [
            network.next_event(),
            engine.poll_timeout(self.now),
            self.drain_at,
        ];
        let next = moments.into_iter().flatten().min();
        // An engine that became done in this round has nothing to wait for.
        if next.is_none() && !engine.is_done() {
            let (now, flying, figures) = (self.now, engine.flying(), engine.figures());
            return Err(Stuck::Stalled {
                now,
                flying,
                figures,
            });
        }
        self.now = self.now.max(next.unwrap_or(self.now));
        Ok(())
    }
}
