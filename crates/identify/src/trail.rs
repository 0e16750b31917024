//! What was tried on a port and how each try ended, so that a look without a result can say so.

use portolan_model::Text;
use std::fmt;
use std::time::Duration;

/// What a try was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
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
    tries: Vec<(Question, End)>,
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
    pub(crate) fn add(&mut self, question: Question, end: End) {
        self.tries.push((question, end));
    }

    pub(crate) fn count(&self, question: Question) -> usize {
        let of = |(asked, _): &&(Question, End)| *asked == question;
        self.tries.iter().filter(of).count()
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
        let mut parts = Vec::new();
        if let [(_, End::NotConnected)] = self.tries.as_slice() {
            return vec!["was open when probed, but accepted no further connection".to_owned()];
        }
        if !self.tries.is_empty() {
            parts.push("accepted the connection".to_owned());
        }
        let neither = self.tries.iter().filter(|(question, end)| {
            *question != Question::Listen && matches!(end, End::Silent(_))
        });
        let neither = neither.count() == 2;
        for (at, (question, end)) in self.tries.iter().enumerate() {
            let repeated =
                at > 0 && self.tries.get(at.saturating_sub(1)) == Some(&(*question, *end));
            match (question, end) {
                (Question::Listen, End::Closed) if repeated => {
                    parts.push("did so again on a second one".to_owned());
                }
                (_, End::Silent(_)) if *question != Question::Listen && neither => {}
                _ => parts.push(part(*question, *end)),
            }
        }
        if neither {
            parts.push("answered neither HTTP nor a TLS hello".to_owned());
        }
        parts
    }
}

fn part(question: Question, end: End) -> String {
    let what = match question {
        Question::Http => "an HTTP request",
        Question::Listen => "a further connection",
        Question::Tls => "a TLS hello",
    };
    match (question, end) {
        (Question::Listen, End::Silent(wait)) => format!("said nothing within {}", Within(wait)),
        (Question::Listen, End::Closed) => "closed it without a word".to_owned(),
        (Question::Listen, End::Reset) => "reset it without a word".to_owned(),
        (Question::Listen, End::NotConnected) => "accepted no further one".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tries: &[(Question, End)], cause: Cause, expected: &str) {
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
                (Question::Listen, SHORT),
                (Question::Http, LONG),
                (Question::Tls, LONG),
            ],
            Cause::Exhausted,
            "accepted the connection, said nothing within 600 ms, and answered neither HTTP nor \
             a TLS hello",
        );
        check(
            &[
                (Question::Listen, SHORT),
                (Question::Http, End::Closed),
                (Question::Tls, LONG),
            ],
            Cause::Exhausted,
            "accepted the connection, said nothing within 600 ms, closed it on an HTTP request, \
             and did not answer a TLS hello within 1.5 s",
        );
        check(
            &[
                (Question::Listen, End::Closed),
                (Question::Listen, End::Closed),
            ],
            Cause::Exhausted,
            "accepted the connection, closed it without a word, and did so again on a second one",
        );
        check(
            &[(Question::Listen, End::NotConnected)],
            Cause::Exhausted,
            "was open when probed, but accepted no further connection",
        );
    }

    #[test]
    fn a_port_that_gets_no_bytes_says_so() {
        check(
            &[(Question::Listen, SHORT)],
            Cause::NeverSend(9100),
            "listened only: port 9100 gets no bytes; it accepted the connection and said nothing \
             within 600 ms",
        );
    }

    #[test]
    fn a_look_that_was_cut_short_says_so() {
        check(
            &[(Question::Listen, SHORT)],
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
