//! The small language in which a card writes what is sent and what comes back.
//!
//! Words between blanks. In both: `0a1b` bytes, `00*16` a byte so many times, `'text'` its bytes,
//! `<id:4>` the first four of the sixteen bytes that only the asker knows, `<id:4@8>` four from the
//! eighth on, `<hexid:4>` their eight hexadecimal digits. What is sent may also have `<source>` and
//! `<target>` (the four bytes of an IPv4 address, zeros for IPv6), `<source-text>`,
//! `<target-text>`, and `<target-reverse>`, the labels of its name below `arpa`. What comes back may also have `?` and `?*6` (any byte), `[c0&80]` (the byte
//! under the mask c0 is 80), `[01-08]` (from, to), `i'text'` (letters of either case), `..` (any
//! bytes), `<say>`, `<say:9>` and `<say:len>` (any bytes, so many, as many as the byte before them
//! says; they are what is shown), and `<end>`. A reply may go on after what is written.

use portolan_model::Text;
use std::net::IpAddr;

/// Bytes of the number that only the asker knows.
pub const ID_BYTES: usize = 16;
/// Longest run of one byte that a form may write.
const RUN_MAX: usize = 1_400;

/// Who asks whom, with a number that a reply must repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Known to nobody else.
    pub id: [u8; ID_BYTES],
    /// The address the question leaves from.
    pub source: IpAddr,
    /// The address it goes to.
    pub target: IpAddr,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sends(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    HexId { from: usize, count: usize },
    Id { from: usize, count: usize },
    Source,
    SourceText,
    Target,
    TargetReverse,
    TargetText,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    segments: Vec<Segment>,
    is_whole: bool,
}

/// Bytes in a row, after a gap or right after the segment before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Segment {
    gap: Gap,
    bytes: Vec<Byte>,
    /// Where in the segment something is shown.
    say: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    #[default]
    None,
    Any,
    Say,
    /// As many bytes as the first of them says.
    SayCounted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Any,
    Between(u8, u8),
    EitherCase(u8),
    HexId { at: usize, low: bool },
    Id(usize),
    Is(u8),
    Masked { mask: u8, value: u8 },
}

impl Sends {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let piece = |word: &str| match word {
            "<source>" => Ok(Piece::Source),
            "<source-text>" => Ok(Piece::SourceText),
            "<target>" => Ok(Piece::Target),
            "<target-text>" => Ok(Piece::TargetText),
            "<target-reverse>" => Ok(Piece::TargetReverse),
            _ => match id_word(word)? {
                Some(IdWord {
                    from,
                    count,
                    hex: true,
                }) => Ok(Piece::HexId { from, count }),
                Some(IdWord {
                    from,
                    count,
                    hex: false,
                }) => Ok(Piece::Id { from, count }),
                None => literal(word).map(Piece::Bytes),
            },
        };
        let pieces = words(text)?.into_iter().map(piece);
        pieces.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the address that it leaves from is in it.
    pub(crate) fn names_source(&self) -> bool {
        let is_source = |piece: &Piece| matches!(piece, Piece::Source | Piece::SourceText);
        self.0.iter().any(is_source)
    }

    pub(crate) fn bytes(&self, asker: &Asker) -> Vec<u8> {
        let mut bytes = Vec::new();
        let id = |from: usize, count: usize| {
            let part = asker.id.get(from..from.saturating_add(count));
            part.unwrap_or_default().to_vec()
        };
        for piece in &self.0 {
            match piece {
                Piece::Bytes(piece) => bytes.extend_from_slice(piece),
                Piece::HexId { from, count } => {
                    for byte in id(*from, *count) {
                        bytes.extend_from_slice(format!("{byte:02x}").as_bytes());
                    }
                }
                Piece::Id { from, count } => bytes.extend(id(*from, *count)),
                Piece::Source => bytes.extend(four(asker.source)),
                Piece::Target => bytes.extend(four(asker.target)),
                Piece::SourceText => bytes.extend(in_text(asker.source)),
                Piece::TargetReverse => bytes.extend(reverse_labels(asker.target)),
                Piece::TargetText => bytes.extend(in_text(asker.target)),
            }
        }
        bytes
    }
}

fn four(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

/// As addresses stand in URIs (RFC 3986 §3.2.2).
fn in_text(address: IpAddr) -> Vec<u8> {
    let text = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    text.into_bytes()
}

/// The labels of the name that stands for an address (RFC 1035 §3.5, RFC 3596 §2.5), each after its
/// length, without the empty one at the end.
fn reverse_labels(address: IpAddr) -> Vec<u8> {
    let mut labels: Vec<String> = match address {
        IpAddr::V4(address) => address.octets().iter().map(u8::to_string).collect(),
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .flat_map(|it| [it >> 4, it & 15]);
            nibbles.map(|it| format!("{it:x}")).collect()
        }
    };
    labels.reverse();
    let family = if address.is_ipv4() { "in-addr" } else { "ip6" };
    labels.extend([family.to_owned(), "arpa".to_owned()]);
    let mut bytes = Vec::new();
    for label in labels {
        // No label has more than seven letters.
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label.into_bytes());
    }
    bytes
}

impl Form {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut segments = vec![Segment::default()];
        let mut is_whole = false;
        for word in words(text)? {
            if is_whole {
                return Err(format!("{word} stands after <end>"));
            }
            let gap = match word {
                ".." => Some(Gap::Any),
                "<say>" => Some(Gap::Say),
                "<say:len>" => Some(Gap::SayCounted),
                _ => None,
            };
            if let Some(gap) = gap {
                segments.push(Segment {
                    gap,
                    ..Segment::default()
                });
                continue;
            }
            if word == "<end>" {
                is_whole = true;
                continue;
            }
            let Some(segment) = segments.last_mut() else {
                continue;
            };
            if let Some(count) = word.strip_prefix("<say:") {
                let count = number(count.strip_suffix('>').unwrap_or_default(), RUN_MAX)?;
                segment.say = Some((segment.bytes.len(), count));
                segment.bytes.extend(std::iter::repeat_n(Byte::Any, count));
            } else {
                segment.bytes.extend(matchers(word)?);
            }
        }
        Ok(Self { segments, is_whole })
    }

    /// Whether `reply` has this form, and what of it is shown.
    pub(crate) fn recognise(&self, id: &[u8; ID_BYTES], reply: &[u8]) -> Option<Text> {
        let mut at = 0_usize;
        let mut shown: &[u8] = &[];
        let last = self.segments.len().saturating_sub(1);
        for (number, segment) in self.segments.iter().enumerate() {
            let length = segment.bytes.len();
            let is_last = number == last;
            let fits = |start: &usize| {
                let part = reply.get(*start..start.saturating_add(length));
                part.is_some_and(|part| segment.fits(id, part))
            };
            let end = reply.len().checked_sub(length)?;
            if segment.gap == Gap::SayCounted {
                let count = usize::from(*reply.get(at)?);
                let from = at.saturating_add(1);
                at = from.saturating_add(count);
                shown = reply.get(from..at)?;
            }
            let start = match (segment.gap, self.is_whole && is_last) {
                (Gap::None | Gap::SayCounted, false) => at,
                (Gap::None | Gap::SayCounted, true) if at == end => at,
                (Gap::None | Gap::SayCounted, true) => return None,
                (Gap::Any | Gap::Say, true) => end,
                // Without anything to look for, a gap goes on to the end.
                (Gap::Any | Gap::Say, false) if length == 0 => reply.len(),
                (Gap::Any | Gap::Say, false) => (at..=end).find(fits)?,
            };
            if start < at || !fits(&start) {
                return None;
            }
            if segment.gap == Gap::Say {
                shown = reply.get(at..start)?;
            }
            if let Some((from, count)) = segment.say {
                let from = start.saturating_add(from);
                shown = reply.get(from..from.saturating_add(count))?;
            }
            at = start.saturating_add(length);
        }
        Some(Text::from_bytes(trimmed(shown)))
    }
}

/// Without the blanks and zeros that fill a field.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = bytes.trim_ascii() {
        bytes = rest;
    }
    bytes.trim_ascii()
}

impl Segment {
    fn fits(&self, id: &[u8; ID_BYTES], part: &[u8]) -> bool {
        self.bytes.iter().zip(part).all(|(form, byte)| {
            let byte = *byte;
            match *form {
                Byte::Any => true,
                Byte::Between(low, high) => (low..=high).contains(&byte),
                Byte::EitherCase(letter) => letter.eq_ignore_ascii_case(&byte),
                Byte::HexId { at, low } => {
                    let nibble = id.get(at).map(|it| if low { it & 15 } else { it >> 4 });
                    let digit = nibble.and_then(|it| char::from_digit(u32::from(it), 16));
                    digit.is_some_and(|digit| char::from(byte).eq_ignore_ascii_case(&digit))
                }
                Byte::Id(at) => id.get(at) == Some(&byte),
                Byte::Is(expected) => byte == expected,
                Byte::Masked { mask, value } => byte & mask == value,
            }
        })
    }
}

/// One word of what comes back, byte by byte.
fn matchers(word: &str) -> Result<Vec<Byte>, String> {
    if let Some(IdWord { from, count, hex }) = id_word(word)? {
        let range = from..from.saturating_add(count);
        return Ok(if hex {
            let digits = range.flat_map(|at| [false, true].map(|low| Byte::HexId { at, low }));
            digits.collect()
        } else {
            range.map(Byte::Id).collect()
        });
    }
    if let Some(run) = word.strip_prefix('?') {
        let count = match run.strip_prefix('*') {
            Some(count) => number(count, RUN_MAX)?,
            None if run.is_empty() => 1,
            None => return Err(format!("{word} is no run of bytes")),
        };
        return Ok(vec![Byte::Any; count]);
    }
    if let Some(inside) = word.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        let byte = |text: &str| one(text).ok_or_else(|| format!("{word} is no byte"));
        return if let Some((mask, value)) = inside.split_once('&') {
            let (mask, value) = (byte(mask)?, byte(value)?);
            Ok(vec![Byte::Masked { mask, value }])
        } else if let Some((low, high)) = inside.split_once('-') {
            Ok(vec![Byte::Between(byte(low)?, byte(high)?)])
        } else {
            Err(format!("{word} is neither a mask nor a range"))
        };
    }
    if let Some(text) = word.strip_prefix('i').filter(|it| it.starts_with('\'')) {
        return Ok(literal(text)?.into_iter().map(Byte::EitherCase).collect());
    }
    Ok(literal(word)?.into_iter().map(Byte::Is).collect())
}

/// `<id:4@8>` or `<hexid:4>`.
struct IdWord {
    from: usize,
    count: usize,
    hex: bool,
}

fn id_word(word: &str) -> Result<Option<IdWord>, String> {
    let (rest, hex) = match (word.strip_prefix("<id:"), word.strip_prefix("<hexid:")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return Ok(None),
    };
    let rest = rest.strip_suffix('>').unwrap_or_default();
    let (count, from) = rest.split_once('@').unwrap_or((rest, "0"));
    let (count, from) = (number(count, ID_BYTES)?, number(from, ID_BYTES)?);
    if count.saturating_add(from) > ID_BYTES {
        return Err(format!("{word} is longer than the number"));
    }
    Ok(Some(IdWord { from, count, hex }))
}

/// `'text'`, `0a1b` or `00*16`.
fn literal(word: &str) -> Result<Vec<u8>, String> {
    if let Some(text) = word.strip_prefix('\'') {
        let text = text.strip_suffix('\'').unwrap_or(text);
        return Ok(text.as_bytes().to_vec());
    }
    if let Some((byte, count)) = word.split_once('*') {
        let byte = one(byte).ok_or_else(|| format!("{word} is no run of bytes"))?;
        return Ok(vec![byte; number(count, RUN_MAX)?]);
    }
    let digits: Vec<char> = word.chars().collect();
    let bytes = digits
        .chunks(2)
        .map(|pair| one(&pair.iter().collect::<String>()));
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes.ok_or_else(|| format!("{word} is neither bytes nor text"))
}

fn one(text: &str) -> Option<u8> {
    let is_hex = text.len() == 2 && text.chars().all(|it| it.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

fn number(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|it| (0..=most).contains(it));
    number.ok_or_else(|| format!("{text:?} is no number up to {most}"))
}

/// The words of a form; blanks inside quotes belong to the word.
fn words(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let quote = rest.find('\'').filter(|at| *at <= 1);
        let end = match quote {
            Some(at) => {
                let after = at.saturating_add(1);
                let inside = rest.get(after..).unwrap_or_default();
                let close = inside.find('\'');
                let close = close.ok_or_else(|| format!("{rest} has no closing quote"))?;
                after.saturating_add(close).saturating_add(1)
            }
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        if !behind.is_empty() && !behind.starts_with(char::is_whitespace) {
            return Err(format!("no blank after {word}"));
        }
        found.push(word);
        rest = behind.trim_start();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; ID_BYTES] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xab];

    fn check(form: &str, reply: &[u8], expected: Option<&str>) {
        let found = Form::parse(form).unwrap().recognise(&ID, reply);
        assert_eq!(found.as_ref().map(Text::as_str), expected, "{form}");
    }

    #[test]
    fn a_reply_has_a_form_or_not() {
        check("0a0b", &[10, 11, 12], Some(""));
        check("0a0b", &[10], None);
        check("0a0b <end>", &[10, 11, 12], None);
        check("0a0b <end>", &[10, 11], Some(""));
        check("<id:2> [80&80]", &[1, 2, 0x85], Some(""));
        check("<id:2> [80&80]", &[2, 1, 0x85], None);
        check("<id:2> [80&80]", &[1, 2, 0x05], None);
        check("<id:1@15> [01-03]", &[0xab, 3], Some(""));
        check("<id:1@15> [01-03]", &[0xab, 4], None);
        check("<hexid:1@15>", b"aB", Some(""));
        check("<hexid:1@15>", b"ac", None);
        check("?*2 i'ok'", b"..Ok", Some(""));
        check("'a' <say> 0d0a", b"ab c\r\nd", Some("b c"));
        check("'a' <say> 0d0a", b"ab c\rd", None);
        check("'a' <say> 'z' <end>", b"abz1z", Some("bz1"));
        check("'a' <say>", b"a the rest\n", Some("the rest"));
        check(".. 'x' <say:2>", b"abxcde", Some("cd"));
        check(".. 'x' <say:2>", b"abxc", None);
        check("'a' <say:len> 'z'", b"a\x02b\0z", Some("b"));
        check("'a' <say:len> 'z'", b"a\x03b\0z", None);
        check("'a' <say:len>", b"a\x09b", None);
        check("", b"", Some(""));
    }

    #[test]
    fn what_is_sent_has_the_parts_that_change() {
        let asker = Asker {
            id: ID,
            source: IpAddr::from([192, 0, 2, 1]),
            target: IpAddr::from([192, 0, 2, 2]),
        };
        let form = "ff00*2 'a b' <id:2@1> <hexid:1@15> <source> <target> <source-text>";
        assert!(Sends::parse(form).is_err());
        let form = form.replace("ff00*2", "ff 00*2");
        let bytes = Sends::parse(&form).unwrap().bytes(&asker);
        let expected = [
            &[255, 0, 0][..],
            b"a b",
            &[2, 3],
            b"ab",
            &[192, 0, 2, 1, 192, 0, 2, 2],
            b"192.0.2.1",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn an_address_has_a_name_below_arpa() {
        let check = |address: &str, expected: &[u8]| {
            assert_eq!(
                reverse_labels(address.parse().unwrap()),
                expected,
                "{address}"
            );
        };
        check("192.0.2.10", b"\x0210\x012\x010\x03192\x07in-addr\x04arpa");
        let v6 = reverse_labels("2001:db8::1".parse().unwrap());
        assert!(v6.starts_with(b"\x011\x010\x010") && v6.ends_with(b"\x010\x012\x03ip6\x04arpa"));
        assert_eq!(v6.len(), 64 + 9);
    }

    #[test]
    fn faults_are_told() {
        for form in [
            "0", "0g", "'a", "00*x", "00*1401", "<id:17>", "<id:9@8>", "'a'0b", "<what>",
        ] {
            assert!(Sends::parse(form).is_err(), "{form}");
        }
        for form in ["[80]", "[zz&00]", "?x", "<end> 00", "<say:x>", "i0a"] {
            assert!(Form::parse(form).is_err(), "{form}");
        }
    }
}
