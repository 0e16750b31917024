//! Stretches of time in which probes are sent, each with a source port of its own: the port that an
//! answer comes back to tells when its probe was sent, without a note of any probe.

use crate::pace::CohortId;
use portolan_model::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// Source ports of one scan. They begin at a multiple of their number.
pub const SOURCE_PORTS: u16 = 256;
/// How long one is used before the next: all of them last two seconds, and no port is asked twice
/// from the same one sooner. A Linux host ignores a further SYN from the same port for half a
/// second (`tcp_invalid_ratelimit`).
const LENGTH: Duration = Duration::from_millis(8);

/// One stretch.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// Which sending of its ports, counted from 0.
    pub(crate) pass: u8,
    pub(crate) began: Moment,
    pub(crate) last: Moment,
    /// What was sent in it, in order.
    parts: Vec<Part>,
    /// Its silent probes are believed silent.
    ended: bool,
}

/// What the pace judges a probe with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The first probe to a port.
    First(CohortId),
    Repeat,
}

/// Probes of one epoch that the pace judges together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) group: Group,
    pub(crate) sent: u32,
    pub(crate) answered: u32,
}

/// The epochs of the last [`SOURCE_PORTS`] source ports.
#[derive(Debug)]
pub(crate) struct Epochs {
    first_port: u16,
    /// Number of the newest epoch, counted from 1; the oldest that is kept comes first.
    newest: u64,
    kept: VecDeque<Epoch>,
    /// What was in epochs whose source port was needed again before they ended.
    forgotten: Vec<Part>,
    /// Probes in epochs that have not ended, without an answer.
    pub(crate) flying: u32,
}

impl Epochs {
    pub(crate) fn new(first_port: u16) -> Self {
        Self {
            first_port,
            newest: 0,
            kept: VecDeque::new(),
            forgotten: Vec::new(),
            flying: 0,
        }
    }

    /// The source port of a probe that is sent now.
    pub(crate) fn source_port(&mut self, now: Moment, pass: u8) -> u16 {
        let fits = self.kept.back().is_some_and(|epoch| {
            epoch.pass == pass && !epoch.ended && now.since(epoch.began) < LENGTH
        });
        if !fits {
            if self.kept.len() >= usize::from(SOURCE_PORTS) {
                self.forget_oldest();
            }
            self.newest = self.newest.wrapping_add(1);
            self.kept.push_back(Epoch {
                pass,
                began: now,
                last: now,
                parts: Vec::new(),
                ended: false,
            });
        }
        self.first_port + self.offset_of_newest()
    }

    /// Counts a probe of the newest epoch.
    pub(crate) fn sent(&mut self, now: Moment, group: Group) {
        let Some(epoch) = self.kept.back_mut() else {
            return;
        };
        epoch.last = now;
        match epoch.parts.last_mut() {
            Some(part) if part.group == group => part.sent = part.sent.saturating_add(1),
            _ => epoch.parts.push(Part {
                group,
                sent: 1,
                answered: 0,
            }),
        }
        self.flying = self.flying.saturating_add(1);
    }

    /// The epoch that `source_port` stands for; `None` for a port that was not used lately.
    pub(crate) fn of_port(&self, source_port: u16) -> Option<&Epoch> {
        self.kept.get(self.index_of(source_port)?)
    }

    /// Counts an answer to a probe from `source_port`; tells its group, when
    /// its silence was not believed yet.
    pub(crate) fn answered(&mut self, source_port: u16) -> Option<Group> {
        let index = self.index_of(source_port)?;
        let epoch = self.kept.get_mut(index).filter(|epoch| !epoch.ended)?;
        // Which of its probes was answered is not known, and makes no difference to the counts.
        let part = epoch.parts.iter_mut().find(|it| it.answered < it.sent)?;
        part.answered += 1;
        self.flying = self.flying.saturating_sub(1);
        Some(part.group)
    }

    /// Takes back a probe of the newest epoch that did not leave this machine; tells its group.
    pub(crate) fn withdraw(&mut self, source_port: u16) -> Option<Group> {
        let index = self.index_of(source_port)?;
        let epoch = self.kept.get_mut(index).filter(|epoch| !epoch.ended)?;
        let mut parts = epoch.parts.iter_mut().rev();
        let part = parts.find(|it| it.answered < it.sent)?;
        part.sent -= 1;
        self.flying = self.flying.saturating_sub(1);
        Some(part.group)
    }

    /// Ends the epochs whose last probe was sent before `moment`, and tells what was in them and in
    /// those that were forgotten.
    pub(crate) fn end_before(&mut self, moment: Moment) -> Vec<Part> {
        let mut ended = std::mem::take(&mut self.forgotten);
        let mut flying = self.flying;
        for epoch in self.kept.iter_mut().filter(|epoch| !epoch.ended) {
            if epoch.last >= moment {
                break;
            }
            epoch.ended = true;
            for part in &epoch.parts {
                flying = flying.saturating_sub(part.sent - part.answered);
                ended.push(*part);
            }
        }
        self.flying = flying;
        ended
    }

    /// When the oldest epoch that has not ended was last sent in.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        let mut epochs = self.kept.iter();
        epochs.find(|epoch| !epoch.ended).map(|epoch| epoch.last)
    }

    fn forget_oldest(&mut self) {
        if let Some(epoch) = self.kept.pop_front()
            && !epoch.ended
        {
            let silent = epoch.parts.iter().map(|it| it.sent - it.answered);
            self.flying = self.flying.saturating_sub(silent.sum());
            self.forgotten.extend(epoch.parts);
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
        let mut ports = Vec::new();
        for step in 0..600 {
            let port = epochs.source_port(at(step * 10), 0);
            epochs.sent(at(step * 10), Group::Repeat);
            ports.push(port);
        }
        for (step, port) in ports.iter().enumerate().skip(600 - 256) {
            let began = epochs.of_port(*port).unwrap().began;
            assert_eq!(began, at(u64::try_from(step).unwrap() * 10));
        }
        assert!(epochs.of_port(61_439).is_none());
        assert!(epochs.of_port(61_696).is_none());
        assert_eq!(epochs.flying, 256);
    }

    #[test]
    fn a_pass_never_shares_a_port_with_the_one_before() {
        let mut epochs = Epochs::new(61_440);
        let first = epochs.source_port(at(0), 0);
        assert_eq!(epochs.source_port(at(7), 0), first);
        let second = epochs.source_port(at(7), 1);
        assert_ne!(second, first);
        assert_ne!(epochs.source_port(at(16), 1), second);
    }

    #[test]
    fn what_flies_is_what_has_neither_answer_nor_end() {
        let mut epochs = Epochs::new(61_440);
        let early = epochs.source_port(at(0), 0);
        (0..10).for_each(|_| epochs.sent(at(0), Group::Repeat));
        let late = epochs.source_port(at(20), 0);
        (0..5).for_each(|_| epochs.sent(at(20), Group::Repeat));
        assert_eq!(epochs.answered(early), Some(Group::Repeat));
        assert_eq!(epochs.withdraw(late), Some(Group::Repeat));
        assert_eq!(epochs.flying, 13);
        let ended = epochs.end_before(at(20));
        assert_eq!((ended.len(), ended[0].sent, ended[0].answered), (1, 10, 1));
        assert_eq!((epochs.flying, epochs.answered(early)), (4, None));
        assert!(epochs.end_before(at(20)).is_empty());
        // No more answers than probes.
        for _ in 0..4 {
            assert!(epochs.answered(late).is_some());
        }
        assert_eq!((epochs.answered(late), epochs.flying), (None, 0));
    }
}
