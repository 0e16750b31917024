//! One host that is looked for: which questions it was asked, and when.

use super::REPEATED;
use super::kinds::QUESTIONS;
use super::mark::{TIMES, Tag};
use crate::pace::CohortId;
use portolan_model::{Moment, Unreachable};
use std::time::Duration;

/// A host that is looked for. Sets of questions are bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    /// Its first two probes and its last two, and when they were sent.
    times: [Option<(Moment, Tag)>; 4],
    /// Questions that it was asked.
    asked: u8,
    /// Questions that it was asked a second time.
    repeated: u8,
    /// Questions of the wave under way.
    pub(crate) current: u8,
    /// Questions that it answered.
    pub(crate) answered: u8,
    /// Questions for which a device on the way said that there is no way to it.
    pub(crate) refusals: u8,
    /// What such a device said last.
    pub(crate) refused: Option<Unreachable>,
    /// Waves that have begun.
    pub(crate) wave: u8,
    /// Waves that were asked again.
    redone: u8,
    /// Probes of the wave that are still to be sent.
    pub(crate) unsent: u8,
    pub(crate) probes: u8,
    /// Set: answers to the wave under way may have been lost here.
    pub(crate) redo: bool,
    pub(crate) decided: bool,
    /// Its wave was sent, and is waited for.
    pub(crate) waits: bool,
    /// Its part in the judgement of the pace, until its first wave has ended.
    pub(crate) cohort: Option<CohortId>,
}

/// Most questions of one wave.
const WAVE_MAX: usize = QUESTIONS + REPEATED;
const REPEATED_BITS: u32 = 2;
/// Waves of one host that are asked again because this machine lost answers.
const REDONE_MAX: u8 = TIMES - 2;

impl Host {
    /// The questions of the next wave: `size` of the best that it was not asked, and with the last
    /// of them the best once more. None: it had all.
    pub(crate) fn next_wave(
        &mut self,
        ranked: impl Iterator<Item = usize>,
        size: usize,
    ) -> [Option<Tag>; WAVE_MAX] {
        let mut tags = [None; WAVE_MAX];
        let mut best = [None; REPEATED];
        let mut count = 0;
        let mut left_out = false;
        for (rank, question) in ranked.enumerate() {
            if let Some(best) = best.get_mut(rank) {
                *best = Some(question);
            }
            if self.asked & bit(question) != 0 {
                continue;
            }
            match tags.get_mut(count) {
                Some(tag) if count < size => {
                    *tag = Some(Tag::new(question, self.redone));
                    self.asked |= bit(question);
                    count += 1;
                }
                _ => left_out = true,
            }
        }
        if !left_out && self.wave > 0 {
            for question in best.into_iter().flatten() {
                if self.repeated & bit(question) == 0
                    && self.repeated.count_ones() < REPEATED_BITS
                    && count < size
                    && let Some(tag) = tags.get_mut(count)
                {
                    *tag = Some(Tag::new(question, self.redone.saturating_add(1)));
                    self.repeated |= bit(question);
                    count += 1;
                }
            }
        }
        if count > 0 {
            self.wave = self.wave.saturating_add(1);
        }
        self.unsent = u8::try_from(count).unwrap_or(u8::MAX);
        tags
    }

    /// Its wave is to be asked once more; `false`: that was done often enough.
    pub(crate) fn ask_again(&mut self) -> bool {
        self.redo = false;
        if self.redone >= REDONE_MAX {
            return false;
        }
        self.redone = self.redone.saturating_add(1);
        self.asked &= !self.current;
        self.repeated &= !self.current;
        self.current = 0;
        self.wave = self.wave.saturating_sub(1);
        true
    }

    /// Whether it was asked question `question`.
    pub(crate) fn was_asked(&self, question: usize) -> bool {
        self.asked & bit(question) != 0
    }

    /// A probe to it leaves.
    pub(crate) fn sent(&mut self, now: Moment, tag: Tag) {
        // The first two stay; of the others the last two.
        let at = match self.probes {
            first @ (0 | 1) => usize::from(first),
            later => 2 + usize::from(later % 2),
        };
        if let Some(place) = self.times.get_mut(at) {
            *place = Some((now, tag));
        }
        self.current |= bit(tag.question());
        self.probes = self.probes.saturating_add(1);
    }

    /// Time since the probe `tag` was sent, when that is still known.
    pub(crate) fn since_sent(&self, now: Moment, tag: Tag) -> Option<Duration> {
        let sent = self.times.iter().flatten().find(|(_, it)| *it == tag);
        sent.map(|(sent, _)| now.since(*sent))
    }
}

/// A question as a member of a set.
pub(crate) fn bit(question: usize) -> u8 {
    u32::try_from(question).map_or(0, |at| 1_u8.checked_shl(at).unwrap_or(0))
}
