//! Whether the fingerprints prove of their examples what their cards say.

use super::{Card, QuestionId, cards, embedded, recognise_at};
use crate::fingerprint::Example;
use crate::matcher::{Recognition, part};
use portolan_model::Text;

/// What is wrong with the examples of all cards, each with file and line: an example that does not
/// prove what stands beside it, over the fingerprints of all cards; a counterexample that matches;
/// a fingerprint without example.
pub fn faults() -> Vec<String> {
    let mut faults = Vec::new();
    for ((file, _), (number, card)) in embedded::FILES.iter().zip(cards().iter().enumerate()) {
        for fingerprint in &card.tcp.shows {
            let place = format!("data/services/{file}:{}", fingerprint.line);
            let after = fingerprint.after.first().copied();
            let after = after.unwrap_or(QuestionId::Nothing);
            if fingerprint.examples.is_empty() {
                faults.push(format!("{place}: there is no example"));
            }
            for example in &fingerprint.examples {
                let fault = examine(card, number, after, example);
                faults.extend(fault.map(|fault| format!("{place}: {fault}")));
            }
            let matches = |said: &Vec<u8>| {
                let part = part(said, fingerprint.part);
                part.is_some_and(|part| fingerprint.pattern.is_match(part))
            };
            for said in fingerprint.counters.iter().filter(|said| matches(said)) {
                let said = Text::from_bytes(said);
                faults.push(format!("{place}: matches its counterexample {said}"));
            }
        }
    }
    faults
}

/// What is wrong with an example.
fn examine(card: &Card, number: usize, after: QuestionId, example: &Example) -> Option<String> {
    let said = Text::from_bytes(&example.said);
    let known = match recognise_at(after, &example.said, EXAMPLES_UNIX_S) {
        Some(Recognition::One(known)) => known,
        other => return Some(format!("{said} proves {other:?}")),
    };
    let text = |text: &Option<Text>| text.as_ref().map(|it| it.as_str().to_owned());
    let found = (
        known.protocol.as_str(),
        text(&known.product),
        text(&known.version),
        text(&known.os),
    );
    let expected = (
        card.protocol(),
        example.product.clone(),
        example.version.clone(),
        example.os.clone(),
    );
    let is_own = card.tcp.speaks.is_none() || known.card == number;
    (found != expected || !is_own).then(|| {
        let by = super::card(known.card).map_or("", |card| card.name.as_str());
        format!("{said} proves {found:?} by card {by}, and not {expected:?}")
    })
}

/// When what stands in the examples was said.
const EXAMPLES_UNIX_S: u64 = 1_800_000_000;
