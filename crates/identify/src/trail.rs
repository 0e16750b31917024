//! What was tried on a port and how each try ended, so that a look without a result can say so.

use portolan_model::Text;
use std::fmt;
use std::time::Duration;

/// What a try was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// A question of a card.
    Card(&'static str),
    /// An HTTP request.
    Http,
    /// Nothing sent: does the server speak by itself?
    Listen,
    /// A TLS hello.
    Tls,
}

/// How a try ended without a word from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed the connection.
    Closed,
    /// No connection came about.
    NotConnected,
    /// The peer reset the connection.
    Reset,
    /// Nothing came within this time.
    Silent(Duration),
}

/// Tries in order. Bounded by the connections of a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    tries: Vec<(Tried, End)>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The driver ended the look before it was over.
    CutShort,
    /// Everything was tried.
    Exhausted,
    /// Nothing may be sent to this port.
    NeverSend(u16),
}

impl Trail {
    pub(crate) fn add(&mut self, tried: Tried, end: End) {
        self.tries.push((tried, end));
    }

    pub(crate) fn count(&self, wanted: Tried) -> usize {
        let of = |(tried, _): &&(Tried, End)| *tried == wanted;
        self.tries.iter().filter(of).count()
    }

    /// Whether the peer ended a connection on such a try.
    pub(crate) fn has_closed(&self, wanted: Tried) -> bool {
        let closed = |(tried, end): &(Tried, End)| {
            *tried == wanted && matches!(end, End::Closed | End::Reset)
        };
        self.tries.iter().any(closed)
    }

    /// Whether nothing but silence came of every try.
    pub(crate) fn is_all_silence(&self) -> bool {
        let silent = |(_, end): &(Tried, End)| matches!(end, End::Silent(_));
        self.tries.iter().all(silent)
    }

    /// The sentence that tells it all.
    pub(crate) fn sentence(&self, cause: Cause) -> Text {
        let mut parts = self.parts();
        if parts.is_empty() {
            parts.push("was not asked anything".to_owned());
        }
        let story = joined(&parts);
        Text::from(match cause {
            Cause::CutShort => format!("{story}; the look ended there, its time was over"),
            Cause::Exhausted => story,
            Cause::NeverSend(port) => {
                format!("listened only: port {port} gets no bytes; it {story}")
            }
        })
    }

    fn parts(&self) -> Vec<String> {
        if let [(_, End::NotConnected)] = self.tries.as_slice() {
            return vec!["was open when probed, but accepted no further connection".to_owned()];
        }
        let mut parts = Vec::new();
        if !self.tries.is_empty() {
            parts.push("accepted the connection".to_owned());
        }
        let silent = |(_, end): &(Tried, End)| matches!(end, End::Silent(_));
        let asked = |wanted| {
            let of = |it: &&(Tried, End)| it.0 == wanted;
            let mut of_it = self.tries.iter().filter(of).peekable();
            of_it.peek().is_some() && of_it.all(silent)
        };
        let neither = asked(Tried::Http) && asked(Tried::Tls);
        // Of silences the longest counts.
        let listened = self.tries.iter().filter_map(|it| match it {
            (Tried::Listen, End::Silent(wait)) => Some(*wait),
            _ => None,
        });
        let longest = listened.max();
        for (at, (tried, end)) in self.tries.iter().enumerate() {
            let before = self.tries.get(..at).unwrap_or_default();
            let repeated = before.last() == Some(&(*tried, *end));
            match (tried, end) {
                (Tried::Listen, End::Closed) if repeated => {
                    parts.push("did so again on a second one".to_owned());
                }
                (Tried::Listen, End::Silent(wait)) if Some(*wait) != longest => {}
                (Tried::Http | Tried::Tls, End::Silent(_)) if neither => {}
                (Tried::Card(_), _) => {}
                _ if before.iter().any(|it| it == &(*tried, *end)) => {}
                _ => parts.push(part(*tried, *end)),
            }
        }
        if neither {
            parts.push("answered neither HTTP nor a TLS hello".to_owned());
        }
        parts.extend(self.further());
        parts
    }

    /// The questions of cards in a few words.
    fn further(&self) -> Option<String> {
        let names = self.tries.iter().filter_map(|(tried, _)| match tried {
            Tried::Card(name) => Some(*name),
            _ => None,
        });
        let names: Vec<&str> = names.collect();
        match names.as_slice() {
            [] => None,
            names if names.len() <= NAMES_MAX => {
                Some(format!("told nothing when asked for {}", names.join(", ")))
            }
            names => Some(format!(
                "told nothing when asked for {} and {} more",
                names.get(..NAMES_MAX).unwrap_or_default().join(", "),
                names.len().saturating_sub(NAMES_MAX)
            )),
        }
    }
}

fn part(tried: Tried, end: End) -> String {
    let what = match tried {
        Tried::Card(name) => name,
        Tried::Http => "an HTTP request",
        Tried::Listen => "a further connection",
        Tried::Tls => "a TLS hello",
    };
    match (tried, end) {
        (Tried::Listen, End::Silent(wait)) => format!("said nothing within {}", Within(wait)),
        (Tried::Listen, End::Closed) => "closed it without a word".to_owned(),
        (Tried::Listen, End::Reset) => "reset it without a word".to_owned(),
        (Tried::Listen, End::NotConnected) => "accepted no further one".to_owned(),
        (_, End::Silent(wait)) => format!("did not answer {what} within {}", Within(wait)),
        (_, End::Closed) => format!("closed it on {what}"),
        (_, End::Reset) => format!("reset it on {what}"),
        (_, End::NotConnected) => format!("accepted no further connection for {what}"),
    }
}

/// `a`, `a and b`, `a, b, and c`.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
    }
}

/// A wait as people read it: milliseconds below a second, tenths of a second above.
struct Within(Duration);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

/// Names of questions that a sentence holds.
const NAMES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tries: &[(Tried, End)], cause: Cause, expected: &str) {
        let trail = Trail {
            tries: tries.to_vec(),
        };
        assert_eq!(trail.sentence(cause).as_str(), expected);
    }

    const SHORT: End = End::Silent(Duration::from_millis(600));
    const LONG: End = End::Silent(Duration::from_millis(1500));

    #[test]
    fn the_sentence_says_exactly_what_was_tried() {
        check(
            &[
                (Tried::Listen, SHORT),
                (Tried::Http, LONG),
                (Tried::Tls, LONG),
                (Tried::Card("a"), LONG),
                (Tried::Card("b"), End::Closed),
                (Tried::Card("c"), LONG),
                (Tried::Card("d"), LONG),
                (Tried::Listen, LONG),
                (Tried::Http, LONG),
            ],
            Cause::Exhausted,
            "accepted the connection, said nothing within 1.5 s, answered neither HTTP nor a TLS \
             hello, and told nothing when asked for a, b, c and 1 more",
        );
        check(
            &[
                (Tried::Listen, SHORT),
                (Tried::Http, End::Closed),
                (Tried::Tls, LONG),
                (Tried::Card("a"), LONG),
            ],
            Cause::Exhausted,
            "accepted the connection, said nothing within 600 ms, closed it on an HTTP request, \
             did not answer a TLS hello within 1.5 s, and told nothing when asked for a",
        );
        check(
            &[(Tried::Listen, End::Closed), (Tried::Listen, End::Closed)],
            Cause::Exhausted,
            "accepted the connection, closed it without a word, and did so again on a second one",
        );
        check(
            &[(Tried::Listen, End::NotConnected)],
            Cause::Exhausted,
            "was open when probed, but accepted no further connection",
        );
    }

    #[test]
    fn a_port_that_gets_no_bytes_says_so() {
        check(
            &[(Tried::Listen, SHORT)],
            Cause::NeverSend(9100),
            "listened only: port 9100 gets no bytes; it accepted the connection and said nothing \
             within 600 ms",
        );
    }

    #[test]
    fn a_look_that_was_cut_short_says_so() {
        check(
            &[(Tried::Listen, SHORT)],
            Cause::CutShort,
            "accepted the connection and said nothing within 600 ms; the look ended there, its \
             time was over",
        );
        check(
            &[],
            Cause::CutShort,
            "was not asked anything; the look ended there, its time was over",
        );
    }
}
