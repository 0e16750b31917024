//! Stretches of time in which probes are sent, each with a source port of its own: the port that an
//! answer comes back to tells when its probe was sent, without a note of any probe.

use portolan_model::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// Source ports of one scan. They begin at a multiple of their number.
pub const SOURCE_PORTS: u16 = 256;
/// How long one is used before the next: all of them last two seconds, and no port is asked twice
/// from the same one sooner. A Linux host ignores a further SYN from the same port for half a
/// second (`tcp_invalid_ratelimit`).
const LENGTH: Duration = Duration::from_millis(8);
/// The same where answers take long: an answer is known only while its port is not used again.
const LENGTH_MAX: Duration = Duration::from_millis(64);

/// One stretch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// Its place in the row of all, counted from 1.
    pub(crate) number: u64,
    /// Which sending of its ports, counted from 0.
    pub(crate) pass: u8,
    pub(crate) began: Moment,
    pub(crate) last: Moment,
    sent: u32,
    answered: u32,
    /// Its silent probes are believed silent.
    ended: bool,
}

/// The epochs of the last [`SOURCE_PORTS`] source ports.
#[derive(Debug)]
pub(crate) struct Epochs {
    first_port: u16,
    length: Duration,
    /// Number of the newest epoch, counted from 1; the oldest that is kept comes first.
    newest: u64,
    kept: VecDeque<Epoch>,
    /// Probes in epochs that have not ended, without an answer.
    pub(crate) flying: u32,
}

impl Epochs {
    pub(crate) fn new(first_port: u16) -> Self {
        Self {
            first_port,
            length: LENGTH,
            newest: 0,
            kept: VecDeque::new(),
            flying: 0,
        }
    }

    /// Number of the newest epoch; 0: there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Answers may take as long as `round_trip`: epochs that begin from now on last long enough
    /// for four times that before their port is used again.
    pub(crate) fn stretch(&mut self, round_trip: Duration) {
        let wanted = round_trip.saturating_mul(4) / u32::from(SOURCE_PORTS);
        self.length = self.length.max(wanted.min(LENGTH_MAX));
    }

    /// The number of the epoch of a probe that is sent now.
    pub(crate) fn number_at(&self, now: Moment, pass: u8) -> u64 {
        let fits = |epoch: &Epoch| epoch.pass == pass && now.since(epoch.began) < self.length;
        if self.kept.back().is_some_and(fits) {
            self.newest
        } else {
            self.newest.wrapping_add(1)
        }
    }

    /// When the next epoch may begin: sooner the source ports would be used again too soon.
    pub(crate) fn next_begins(&self) -> Moment {
        let newest = self.kept.back();
        newest.map_or(Moment::START, |epoch| epoch.began + self.length)
    }

    /// The source port of a probe that is sent now, which is counted.
    pub(crate) fn send(&mut self, now: Moment, pass: u8) -> u16 {
        if self.number_at(now, pass) != self.newest {
            if self.kept.len() >= usize::from(SOURCE_PORTS) {
                self.forget_oldest();
            }
            self.newest = self.newest.wrapping_add(1);
            self.kept.push_back(Epoch {
                number: self.newest,
                pass,
                began: now,
                last: now,
                sent: 0,
                answered: 0,
                ended: false,
            });
        }
        if let Some(epoch) = self.kept.back_mut() {
            if std::mem::take(&mut epoch.ended) {
                // What was silent of it does not fly any more.
                (epoch.sent, epoch.answered) = (0, 0);
            }
            epoch.last = now;
            epoch.sent = epoch.sent.saturating_add(1);
        }
        self.flying = self.flying.saturating_add(1);
        self.first_port + self.offset_of_newest()
    }

    /// The epoch that `source_port` stands for; `None` for a port that was not used lately.
    pub(crate) fn of_port(&self, source_port: u16) -> Option<&Epoch> {
        self.kept.get(self.index_of(source_port)?)
    }

    /// Counts an answer to a probe from `source_port`.
    pub(crate) fn answered(&mut self, source_port: u16) {
        let index = self.index_of(source_port);
        let epoch = index.and_then(|index| self.kept.get_mut(index));
        if let Some(epoch) = epoch.filter(|it| !it.ended && it.answered < it.sent) {
            epoch.answered += 1;
            self.flying = self.flying.saturating_sub(1);
        }
    }

    /// Takes back a probe from `source_port` that did not leave this machine; tells its epoch.
    pub(crate) fn withdraw(&mut self, source_port: u16) -> Option<u64> {
        let index = self.index_of(source_port)?;
        let epoch = self.kept.get_mut(index)?;
        if !epoch.ended && epoch.answered < epoch.sent {
            epoch.sent -= 1;
            self.flying = self.flying.saturating_sub(1);
        }
        Some(epoch.number)
    }

    /// Ends the epochs whose last probe was sent before `moment`.
    pub(crate) fn end_before(&mut self, moment: Moment) {
        let mut flying = self.flying;
        for epoch in self.kept.iter_mut().rev() {
            if epoch.ended {
                break;
            }
            if epoch.last < moment {
                epoch.ended = true;
                flying = flying.saturating_sub(epoch.sent - epoch.answered);
            }
        }
        self.flying = flying;
    }

    /// When the oldest epoch that has not ended was last sent in.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        let open = self.kept.iter().rev().take_while(|epoch| !epoch.ended);
        open.last().map(|epoch| epoch.last)
    }

    fn forget_oldest(&mut self) {
        if let Some(epoch) = self.kept.pop_front()
            && !epoch.ended
        {
            self.flying = self.flying.saturating_sub(epoch.sent - epoch.answered);
        }
    }

    fn offset_of_newest(&self) -> u16 {
        u16::try_from(self.newest % u64::from(SOURCE_PORTS)).unwrap_or(0)
    }

    fn index_of(&self, source_port: u16) -> Option<usize> {
        let offset = source_port
            .checked_sub(self.first_port)
            .filter(|offset| *offset < SOURCE_PORTS)?;
        let newest = self.offset_of_newest();
        let age = (newest + SOURCE_PORTS - offset) % SOURCE_PORTS;
        let last = self.kept.len().checked_sub(1)?;
        last.checked_sub(usize::from(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn an_answer_finds_the_epoch_of_its_probe_by_the_source_port() {
        let mut epochs = Epochs::new(61_440);
        let ports: Vec<u16> = (0..600).map(|step| epochs.send(at(step * 10), 0)).collect();
        for (step, port) in ports.iter().enumerate().skip(600 - 256) {
            let epoch = epochs.of_port(*port).unwrap();
            let step = u64::try_from(step).unwrap();
            assert_eq!((epoch.began, epoch.number), (at(step * 10), step + 1));
        }
        assert!(epochs.of_port(61_439).is_none());
        assert!(epochs.of_port(61_696).is_none());
        assert_eq!(epochs.flying, 256);
    }

    #[test]
    fn a_pass_never_shares_a_port_with_the_one_before() {
        let mut epochs = Epochs::new(61_440);
        let first = epochs.send(at(0), 0);
        assert_eq!(epochs.send(at(7), 0), first);
        let second = epochs.send(at(7), 1);
        assert_ne!(second, first);
        assert_ne!(epochs.send(at(16), 1), second);
    }

    #[test]
    fn long_round_trips_leave_a_port_alone_for_longer() {
        let mut epochs = Epochs::new(61_440);
        epochs.stretch(Duration::from_secs(1));
        let first = epochs.send(at(0), 0);
        assert_eq!(epochs.send(at(15), 0), first);
        assert_ne!(epochs.send(at(16), 0), first);
        epochs.stretch(Duration::from_hours(1));
        epochs.send(at(63), 0);
        assert_eq!(epochs.newest(), 2);
        epochs.send(at(96), 0);
        assert_eq!(epochs.newest(), 3);
    }

    #[test]
    fn what_flies_is_what_has_neither_answer_nor_end() {
        let mut epochs = Epochs::new(61_440);
        let early = epochs.send(at(0), 0);
        (0..9).for_each(|_| assert_eq!(epochs.send(at(0), 0), early));
        let late = epochs.send(at(20), 0);
        (0..4).for_each(|_| assert_eq!(epochs.send(at(20), 0), late));
        epochs.answered(early);
        assert_eq!(epochs.withdraw(late), Some(2));
        assert_eq!((epochs.flying, epochs.oldest()), (13, Some(at(0))));
        epochs.end_before(at(20));
        assert_eq!((epochs.flying, epochs.oldest()), (4, Some(at(20))));
        epochs.answered(early);
        epochs.end_before(at(20));
        assert_eq!(epochs.flying, 4);
        // No more answers than probes.
        (0..9).for_each(|_| epochs.answered(late));
        assert_eq!(epochs.flying, 0);
    }
}
