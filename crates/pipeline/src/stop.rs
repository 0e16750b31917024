//! Why a run ends early or misses something, and the sentences that say so.

use portolan_model::Reason;
use std::fmt;
use std::io;

/// Why a run ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The system or a fault of the program.
    Failed(io::Error),
    /// The user.
    Interrupted,
    /// The authorisation is over since then, in seconds since 1970-01-01 UTC.
    ScopeExpired(i64),
    /// The time that the user gave.
    TimeLimit,
}

/// Reasons for which a port goes untested although its host may be there. Ports that miss for one
/// of them make a run partial.
pub(crate) const LOCAL_REASONS: [Reason; 6] = [
    Reason::WentSilent,
    Reason::NoRoute,
    Reason::LocalPolicy,
    Reason::LocalLimit,
    Reason::TimeLimit,
    Reason::Interrupted,
];

impl Stop {
    /// Why ports that are undecided stay so.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Failed(_) => Reason::LocalLimit,
            Self::Interrupted => Reason::Interrupted,
            Self::ScopeExpired(_) | Self::TimeLimit => Reason::TimeLimit,
        }
    }

    /// Whether the run could not go on.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Interrupted => f.write_str("the scan was interrupted"),
            Self::TimeLimit => f.write_str("the time limit was reached"),
            Self::ScopeExpired(expires) => match jiff::Timestamp::from_second(*expires) {
                Ok(moment) => write!(f, "the scope expired at {moment}"),
                Err(_) => f.write_str("the scope expired"),
            },
        }
    }
}

/// What is said of `count` ports that were not tested for `reason`; `None` where the end of the
/// run says it.
pub(crate) fn notice_of(reason: Reason, count: u64) -> Option<String> {
    let why = match reason {
        Reason::NoRoute => "for want of a route; check it with `ip route get ADDRESS`",
        Reason::LocalPolicy => "because a rule of this machine forbade the packets",
        Reason::LocalLimit => {
            "because this machine ran out of descriptors, ports or buffers; `portolan doctor` \
             tells which"
        }
        Reason::WentSilent => {
            "because their hosts, or the way to them, stopped answering during the scan; scan \
             them again, with a lower --rate if it happens again"
        }
        _ => return None,
    };
    Some(format!("{count} ports were not tested {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stop_says_why() {
        let check = |stop: &Stop, reason: Reason, sentence: &str| {
            assert_eq!(
                (stop.reason(), stop.to_string().as_str()),
                (reason, sentence)
            );
        };
        check(
            &Stop::ScopeExpired(0),
            Reason::TimeLimit,
            "the scope expired at 1970-01-01T00:00:00Z",
        );
        check(
            &Stop::ScopeExpired(i64::MAX),
            Reason::TimeLimit,
            "the scope expired",
        );
        check(
            &Stop::TimeLimit,
            Reason::TimeLimit,
            "the time limit was reached",
        );
        check(
            &Stop::Interrupted,
            Reason::Interrupted,
            "the scan was interrupted",
        );
        let failed = Stop::Failed(io::Error::other("a worker failed"));
        check(&failed, Reason::LocalLimit, "a worker failed");
        assert!(failed.is_failure());
    }

    #[test]
    fn local_reasons_are_those_that_are_not_results() {
        assert!(!LOCAL_REASONS.contains(&Reason::NoNeighbour));
        for reason in LOCAL_REASONS {
            assert_eq!(reason.tcp_state(), portolan_model::State::NotTested);
        }
    }
}
