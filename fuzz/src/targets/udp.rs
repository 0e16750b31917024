//! What recognises replies over UDP, against peers that say anything.

use portolan_catalog::services::{self, Question};

/// How many prefixes of one input are tried: the work grows with the square.
const PREFIXES_MAX: usize = 64;

/// The first byte chooses a question, the rest is a reply to it: what it shows is printable, and a
/// reply that is cut short breaks nothing.
pub(crate) fn reply(data: &[u8]) {
    let Some((choice, reply)) = data.split_first() else {
        return;
    };
    let questions: Vec<&Question> = services::cards()
        .iter()
        .flat_map(services::Card::questions)
        .collect();
    let number = usize::from(*choice) % questions.len().max(1);
    let Some(question) = questions.get(number) else {
        return;
    };
    // The number that the seeds were made for.
    let id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    for length in (0..=reply.len()).rev().take(PREFIXES_MAX) {
        if let Some(found) = question.recognise(&id, reply.get(..length).unwrap_or(reply)) {
            super::assert_printable(found.evidence.as_str());
            assert!(!found.evidence.is_empty());
        }
    }
}
