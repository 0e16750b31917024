//! What whoever sends by lines does with them, whatever the probes are: fills their queues and sends
//! them, counts what receivers had no room for, and waits until something arrives.
//!
//! What is not here: which probes are sent, and how their frames are written.

use super::{Clock, Line, Ways};
use portolan_model::Moment;
use portolan_net::raw::ring;
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// How long an interface may refuse every packet.
const REFUSED_MAX: Duration = Duration::from_secs(10);
/// A shorter wait is none.
const WAIT_MIN: Duration = Duration::from_micros(100);
/// Longest wait before whoever sends looks up again.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Probes whose frames are queued, by line.
#[derive(Debug)]
pub(crate) struct Queues<P>(Vec<Queue<P>>);

#[derive(Debug)]
struct Queue<P> {
    probes: Vec<P>,
    /// Since when nothing was taken from the line.
    refused: Option<Moment>,
}

impl<P> Queues<P> {
    /// Empty ones for every line of `ways`.
    pub(crate) fn of(ways: &Ways) -> Self {
        let empty = |_| Queue {
            probes: Vec::new(),
            refused: None,
        };
        Self(ways.lines.iter().map(empty).collect())
    }

    /// The frame of `probe` is queued at line `line`.
    pub(crate) fn push(&mut self, line: usize, probe: P) {
        if let Some(queue) = self.0.get_mut(line) {
            queue.probes.push(probe);
        }
    }

    /// Sends what is queued; `unsent` hears of what did not leave.
    ///
    /// # Errors
    /// When an interface has taken no packet for [`REFUSED_MAX`].
    pub(crate) fn flush(
        &mut self,
        ways: &mut Ways,
        now: Moment,
        mut unsent: impl FnMut(&P),
    ) -> io::Result<()> {
        for (line, queue) in ways.lines.iter_mut().zip(&mut self.0) {
            let sent = line.transmitter.flush();
            queue
                .probes
                .drain(..)
                .skip(sent.sent)
                .for_each(|it| unsent(&it));
            match sent.error {
                None => queue.refused = None,
                Some(_) if sent.sent > 0 => queue.refused = Some(now),
                Some(error) => {
                    let since = *queue.refused.get_or_insert(now);
                    if now.since(since) >= REFUSED_MAX {
                        return Err(refused(line, &error));
                    }
                }
            }
        }
        Ok(())
    }
}

fn refused(line: &Line, error: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "{} has taken no packet for {} seconds ({error}); look at `ip link`, and go on with --resume",
        line.link.name,
        REFUSED_MAX.as_secs()
    ))
}

impl Ways {
    /// Frames that receivers had no room for, so far.
    pub(crate) fn dropped(&mut self) -> u64 {
        let dropped = self.lines.iter_mut().map(|line| {
            // An interface that is down shows when packets are sent.
            let _ = line.ring.take_error();
            line.ring.dropped().map_or(0, |it| it.dropped)
        });
        dropped.sum()
    }

    /// Waits until something arrives, or until `until`, or for [`WAIT_MAX`].
    ///
    /// # Errors
    /// When the kernel does not let this thread wait.
    pub(crate) fn wait(&self, now: Moment, until: Option<Moment>) -> io::Result<()> {
        let patience = until.map_or(WAIT_MAX, |moment| moment.since(now).min(WAIT_MAX));
        if patience < WAIT_MIN {
            return Ok(());
        }
        ring::wait(self.lines.iter().map(|it| &it.ring), patience)
    }
}

impl Clock {
    /// This moment, of a run that began at `started`.
    ///
    /// # Errors
    /// When the clock of the machine stands before 1970.
    pub(crate) fn read(started: Instant) -> io::Result<Self> {
        Ok(Self {
            kernel: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_err(io::Error::other)?,
            run: started.elapsed(),
        })
    }
}
