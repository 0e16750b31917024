//! Plain values of the model: what is read back is what was written.

use super::assert_printable;
use portolan_model::{AddressSet, PortSet, Reason, Text};

/// Most entries of a set in one input: each costs little, many cost much.
const ENTRIES_MAX: usize = 200;

/// Lines of addresses and ranges as documents hold them.
pub(crate) fn address_set(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<String> = text
        .split('\n')
        .take(ENTRIES_MAX)
        .map(str::to_owned)
        .collect();
    let set = match AddressSet::try_from(lines.clone()) {
        Ok(set) => set,
        Err(message) => return assert_printable(&message),
    };
    assert_eq!(set.is_empty(), set.first().is_none());
    assert_eq!(
        AddressSet::try_from(Vec::from(set.clone())).as_ref(),
        Ok(&set)
    );
    let index = set.addresses();
    assert_eq!(index.len(), set.len());
    assert_eq!(index.nth(0), set.first());
    // The length stops counting at its greatest value.
    assert!(index.len() == u128::MAX || index.nth(index.len()).is_none());
    for (first, last) in set.ranges() {
        assert!(first <= last && set.contains(first) && set.contains(last));
    }
    let (even, odd) = halves(lines);
    assert!(even.without(&odd).intersection(&odd).is_empty());
    assert_eq!(AddressSet::union_of([even.without(&odd), odd]), set);
}

fn halves(lines: Vec<String>) -> (AddressSet, AddressSet) {
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for (at, line) in lines.into_iter().enumerate() {
        if at % 2 == 0 {
            even.push(line);
        } else {
            odd.push(line);
        }
    }
    let of = |lines| AddressSet::try_from(lines).unwrap_or_default();
    (of(even), of(odd))
}

/// A port set as documents hold it.
pub(crate) fn port_set(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let set = match PortSet::try_from(text) {
        Ok(set) => set,
        Err(message) => return assert_printable(&message),
    };
    assert_eq!(PortSet::try_from(set.to_string()).as_ref(), Ok(&set));
    let mut count = 0;
    let mut before: Option<u16> = None;
    for (first, last) in set.ranges() {
        assert!(first <= last);
        let gap = before.is_none_or(|before| u32::from(before) + 1 < u32::from(first));
        assert!(gap, "ranges are sorted, disjoint and not adjacent");
        count += u32::from(last) - u32::from(first) + 1;
        before = Some(last);
    }
    assert_eq!(set.len(), count);
    assert!(set.len() <= 65_536);
    assert_eq!(set.is_empty(), count == 0);
}

/// The text form of a reason.
pub(crate) fn reason(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Reason>() {
        Ok(reason) => {
            assert_eq!(String::from(reason).parse::<Reason>(), Ok(reason));
            assert_printable(&reason.to_string());
        }
        Err(message) => assert_printable(&message),
    }
}

/// What a peer says, made printable.
pub(crate) fn text(data: &[u8]) {
    let text = Text::from_bytes(data);
    assert!(text.as_str().chars().count() <= Text::CHARS_MAX);
    assert_eq!(text.is_empty(), data.is_empty());
    assert!(!text.as_str().chars().any(char::is_control));
    let hidden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.as_str().chars().any(hidden));
    assert_eq!(Text::from(String::from(text.clone())), text, "reading back");
    let own = Text::from(String::from_utf8_lossy(data).into_owned());
    assert!(!own.as_str().chars().any(char::is_control));
    assert!(own.as_str().chars().count() <= Text::CHARS_MAX);
}
