//! Which probes look for hosts, and which of them have been answered on this network so far.

use std::cmp::Ordering;
use std::net::IpAddr;

/// What a probe that looks for hosts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// A TCP segment with ACK alone: a host without such a connection resets it (RFC 9293
    /// §3.5.2).
    Ack,
    /// An echo request (RFC 792, RFC 4443 §4.1).
    Echo,
    /// A TCP SYN: a host accepts or resets.
    Syn,
    /// A timestamp request (RFC 792), in IPv4 alone.
    Timestamp,
    /// A datagram without data to a port on which nothing is likely to listen: a host says so
    /// (RFC 1122 §4.1.3.1, RFC 4443 §3.1).
    Udp,
}

/// One question of the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) kind: ProbeKind,
    /// Port of the target; 0 where there is none, or the probe has one of its own.
    pub(crate) port: u16,
    /// Share of hosts that are thought to answer before anything is known, in sixteenths.
    prior: u32,
}

impl Question {
    const fn new(kind: ProbeKind, port: u16, prior: u32) -> Self {
        Self { kind, port, prior }
    }

    /// Whether it can be asked of `address` at all.
    pub(crate) const fn fits(self, address: IpAddr) -> bool {
        address.is_ipv4() || !matches!(self.kind, ProbeKind::Timestamp)
    }
}

/// How many questions there are.
pub(crate) const QUESTIONS: usize = 8;

/// All questions, the most worthwhile first.
pub(crate) const LIST: [Question; QUESTIONS] = [
    Question::new(ProbeKind::Echo, 0, 12),
    Question::new(ProbeKind::Syn, 443, 8),
    Question::new(ProbeKind::Ack, 80, 7),
    Question::new(ProbeKind::Timestamp, 0, 6),
    Question::new(ProbeKind::Syn, 80, 5),
    Question::new(ProbeKind::Syn, 22, 4),
    Question::new(ProbeKind::Syn, 445, 3),
    Question::new(ProbeKind::Udp, 0, 2),
];

/// What was learnt of a network: which questions are answered there, and how soon. A further
/// window of the same run begins with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Experience {
    /// Hosts that were asked and had time to answer, by question.
    asked: [u32; QUESTIONS],
    /// Those of them that are there.
    ended: [u32; QUESTIONS],
    /// Those of them that answered it.
    answered: [u32; QUESTIONS],
    pub(crate) waits: super::timing::Waits,
}

/// The weight of what is thought beforehand, in hosts.
const PRIOR_WEIGHT: u32 = 16;
/// Hosts that leave a question unanswered before it is asked no more …
const DROP_AFTER: u32 = 4_096;
/// … unless it is among so many best ones.
const KEPT: usize = 3;

impl Experience {
    /// A host was asked question `question` and had time to answer.
    pub(crate) fn asked(&mut self, question: usize) {
        count(&mut self.asked, question);
    }

    /// A host that is there was asked question `question` and had time to answer.
    pub(crate) fn ended(&mut self, question: usize) {
        count(&mut self.ended, question);
    }

    /// A host answered question `question`.
    pub(crate) fn answered(&mut self, question: usize) {
        count(&mut self.answered, question);
    }

    /// The questions to ask, best first. Those that nobody ever answered are left out after a
    /// while.
    pub(crate) fn ranked(&self) -> impl Iterator<Item = usize> + use<> {
        let mut order: [usize; QUESTIONS] = std::array::from_fn(|at| at);
        // The sort is stable: where nothing is known the order is that of the list.
        order.sort_by(|one, other| self.compare(*one, *other));
        let this = *self;
        order.into_iter().enumerate().filter_map(move |(rank, at)| {
            let kept = rank < KEPT || !this.is_useless(at);
            kept.then_some(at)
        })
    }

    fn is_useless(&self, question: usize) -> bool {
        let of = |counts: &[u32; QUESTIONS]| counts.get(question).copied().unwrap_or(0);
        of(&self.answered) == 0 && of(&self.asked) >= DROP_AFTER
    }

    /// The better one first, by the share of the hosts that are there which answer.
    fn compare(&self, one: usize, other: usize) -> Ordering {
        let [(a, b), (c, d)] = [one, other].map(|at| self.share(at));
        // a / b against c / d.
        (c.saturating_mul(b)).cmp(&(a.saturating_mul(d)))
    }

    /// Answers and hosts, with what is thought beforehand among them.
    fn share(&self, question: usize) -> (u64, u64) {
        let of = |counts: &[u32; QUESTIONS]| counts.get(question).copied().unwrap_or(0);
        let prior = LIST.get(question).map_or(0, |it| it.prior);
        let answered = u64::from(of(&self.answered));
        let ended = u64::from(of(&self.ended)).max(answered);
        (
            answered + u64::from(prior * PRIOR_WEIGHT / 16),
            ended + u64::from(PRIOR_WEIGHT),
        )
    }
}

fn count(counts: &mut [u32; QUESTIONS], question: usize) {
    if let Some(count) = counts.get_mut(question) {
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(experience: &Experience) -> Vec<(ProbeKind, u16)> {
        let ranked = experience.ranked();
        ranked.map(|at| (LIST[at].kind, LIST[at].port)).collect()
    }

    #[test]
    fn what_is_answered_comes_first() {
        let mut experience = Experience::default();
        assert_eq!(ranks(&experience).first(), Some(&(ProbeKind::Echo, 0)));
        for _ in 0..50 {
            experience.ended(0);
            experience.ended(6);
            experience.answered(6);
        }
        let ranks = ranks(&experience);
        assert_eq!(ranks.first(), Some(&(ProbeKind::Syn, 445)));
        let echo = ranks.iter().position(|it| it.0 == ProbeKind::Echo);
        assert_eq!(echo, Some(6), "{ranks:?}");
    }

    #[test]
    fn what_is_never_answered_is_dropped_but_the_best_are_kept() {
        let mut experience = Experience::default();
        for question in 0..QUESTIONS {
            for _ in 0..DROP_AFTER - 1 {
                experience.asked(question);
            }
        }
        assert_eq!(ranks(&experience).len(), QUESTIONS);
        for question in 0..QUESTIONS {
            experience.asked(question);
        }
        assert_eq!(ranks(&experience).len(), KEPT);
        experience.answered(7);
        assert_eq!(ranks(&experience).last(), Some(&(ProbeKind::Udp, 0)));
        assert_eq!(ranks(&experience).len(), KEPT + 1);
    }
}
