//! One target as a user writes it: an address, a network, a range, a pattern of octets, or a host
//! name.
//!
//! Nothing that begins like a number is ever taken for a name: a system resolver reads `10.0.0` or
//! `0x7f.1` as an address of its own choice, and a run must not touch what nobody wrote. Names are
//! checked here and resolved elsewhere.

use portolan_model::{AddressSet, Text};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::octets;

/// Longest spec, in bytes.
pub const SPEC_BYTES_MAX: usize = 4096;
/// Most ranges that one pattern of octets may stand for.
pub const PATTERN_RANGES_MAX: usize = 65_536;
/// Shortest prefix of an IPv6 network that is probed address by address.
pub const IPV6_PREFIX_MIN: u8 = 96;

/// A target, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Addresses.
    Addresses(AddressSet),
    /// Whoever answers on the segment of the interface of this name; still to be asked.
    AllNodes(String),
    /// A host name as given, with its trailing dot if it has one; still to be resolved.
    Name(String),
}

/// A target that was not understood, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not a target: {problem}")]
pub struct SpecError {
    /// What was given, made printable.
    pub given: Text,
    /// What is wrong with it.
    pub problem: SpecProblem,
}

/// What is wrong with a target. Every sentence ends with the right form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecProblem {
    /// Brackets without an IPv6 address in them.
    #[error("brackets hold one IPv6 address, as in [2001:db8::7]")]
    BadBrackets,
    /// The parts of an IPv6 address do not fit.
    #[error("this is no IPv6 address; write it as in 2001:db8::7")]
    BadIpv6,
    /// A name that RFC 1123 §2.1 and RFC 1035 §2.3.4 rule out.
    #[error("{0}; write a host name as in www.example.com")]
    BadName(NameFault),
    /// Not a number where an octet should be.
    #[error("\"{0}\" is no octet; write numbers from 0 to 255, as in 10.0.0.1-20 or 10.0.0.1,5,9")]
    BadOctet(Text),
    /// The part after the slash is no number of bits.
    #[error("\"{0}\" is no prefix length; write it as in 10.0.0.0/24 or 2001:db8::/120")]
    BadPrefix(Text),
    /// Several addresses joined by commas.
    #[error("commas join octets only, as in 10.0.0.1,5,9; separate targets by spaces")]
    CommaBetweenTargets,
    /// Nothing.
    #[error("it is empty; write an address, a network or a name, as in 10.0.0.0/24")]
    Empty,
    /// A port is appended.
    #[error("it carries a port; write the host alone and the port as in --ports {0}")]
    HasPort(Text),
    /// Characters outside ASCII.
    #[error(
        "it has letters outside ASCII; write an international name in its A-label form, as in \
         xn--bcher-kva.example"
    )]
    International,
    /// An octet such as `010`.
    #[error(
        "\"{octet}\" has a leading zero, which some programs read as octal; write {octet} without it, \
         as in 10.0.0.8"
    )]
    LeadingZero {
        /// The octet.
        octet: Text,
    },
    /// A dotted mask after the slash.
    #[error("the mask is written as a number of bits: /{bits} in its place, as in 10.0.0.0/24")]
    Mask {
        /// The same mask as a prefix length.
        bits: u32,
    },
    /// A network prefix on a name.
    #[error("a name stands for addresses, not for a network; write the network, as in 10.0.0.0/24")]
    NameWithPrefix,
    /// A number where an address should be.
    #[error("an IPv4 address has four octets, this has {0}; write all four, as in 10.0.0.7")]
    OctetCount(usize),
    /// An octet above 255.
    #[error("{0} is greater than 255, the highest octet; write it as in 10.0.0.25")]
    OctetTooHigh(u32),
    /// A pattern that would fall into too many pieces.
    #[error(
        "the pattern falls into {ranges} separate ranges, more than {PATTERN_RANGES_MAX}; narrow the \
         first octets, as in 10.0.0-255.1"
    )]
    PatternTooWide {
        /// How many.
        ranges: usize,
    },
    /// A prefix longer than the address.
    #[error(
        "{given} is more than {most} bits, the length of the address; write it as in {example}"
    )]
    PrefixTooLong {
        /// As given.
        given: u32,
        /// The most.
        most: u8,
        /// The right form.
        example: &'static str,
    },
    /// A range or pattern with a prefix.
    #[error(
        "a range takes no prefix; write a network, as in 10.0.0.0/24, or a range, as in 10.0.0.1-20"
    )]
    RangeWithPrefix,
    /// The end lies before the beginning.
    #[error("the range ends before it begins; write the lower end first: {0}")]
    Reversed(Text),
    /// Spaces inside.
    #[error("it has a space in it; give each target by itself")]
    Space,
    /// Longer than any target.
    #[error(
        "it is {0} bytes long, more than {SPEC_BYTES_MAX}; give several targets, or a file with --input"
    )]
    TooLong(usize),
    /// An IPv6 network that cannot be probed address by address.
    #[error(
        "it has more than 2^32 addresses, which no run can probe one by one; list hosts that you know \
         of with --input (neighbour tables, DHCPv6 leases, DNS), name the neighbours of an interface, \
         as in ff02::1%eth0, or a network of /{IPV6_PREFIX_MIN} or longer, as in 2001:db8::/120"
    )]
    TooWide,
    /// A web address.
    #[error("it is a web address; write only its host: {0}")]
    Url(Text),
    /// A login before the host.
    #[error("it has an @ in it; write the host alone, as in www.example.com")]
    User,
    /// An address with an interface.
    #[error(
        "an address with a zone is known on one interface only; write the address alone and choose \
         the interface, as in fe80::1 --interface eth0; only ff02::1%eth0 is a target, for all IPv6 \
         neighbours on eth0"
    )]
    Zone,
}

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameFault {
    /// A character that names do not have.
    #[error("a name has letters, digits, hyphens and dots, not \"{0}\"")]
    Character(Text),
    /// Two dots in a row, or one at the beginning.
    #[error("a part between two dots is empty")]
    EmptyLabel,
    /// A label that begins or ends with a hyphen.
    #[error("the part \"{0}\" begins or ends with a hyphen")]
    Hyphen(Text),
    /// A label of more than 63 bytes.
    #[error("a part is {0} characters long, more than 63")]
    LongLabel(usize),
    /// A name of more than 253 bytes.
    #[error("the name is {0} characters long, more than 253")]
    LongName(usize),
    /// A number in hexadecimal.
    #[error("it is a number, not a name")]
    Number,
}

/// What a spec is for: what is probed is bounded, what limits a run is not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Target,
    Boundary,
}

impl Spec {
    /// Reads one target. IPv6 networks wider than [`IPV6_PREFIX_MIN`] are refused, because they
    /// cannot be probed address by address.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Self::parse_for(text, Purpose::Target)
    }

    /// Reads one entry of what limits a run: an exclusion, an allowed or a denied network. The
    /// same forms, with IPv6 networks of any size.
    pub fn parse_boundary(text: &str) -> Result<Self, SpecError> {
        Self::parse_for(text, Purpose::Boundary)
    }

    pub(crate) fn parse_for(text: &str, purpose: Purpose) -> Result<Self, SpecError> {
        let text = text.trim();
        parse(text, purpose).map_err(|problem| SpecError {
            given: Text::from(text),
            problem,
        })
    }
}

fn parse(text: &str, purpose: Purpose) -> Result<Spec, SpecProblem> {
    if text.is_empty() {
        return Err(SpecProblem::Empty);
    }
    if text.len() > SPEC_BYTES_MAX {
        return Err(SpecProblem::TooLong(text.len()));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return Err(SpecProblem::Url(Text::from(host)));
    }
    if text.contains(char::is_whitespace) {
        return Err(SpecProblem::Space);
    }
    if text.contains('@') {
        return Err(SpecProblem::User);
    }
    if text.starts_with('[') {
        return bracketed(text, purpose);
    }
    if text.contains(':') {
        return colons(text, purpose);
    }
    if looks_numeric(text) {
        return octets::parse(text).map(Spec::Addresses);
    }
    if text.contains('/') {
        return Err(if text.is_ascii() {
            SpecProblem::NameWithPrefix
        } else {
            SpecProblem::International
        });
    }
    check_name(text).map(|()| Spec::Name(text.to_owned()))
}

/// Whether the text is meant as an IPv4 address, network, range or pattern. No top-level domain
/// begins with a digit (RFC 3696 §2 has them alphabetic), but a host of the local network may.
fn looks_numeric(text: &str) -> bool {
    let address = text.split('/').next().unwrap_or_default();
    let address = address.strip_suffix('.').unwrap_or(address);
    if address
        .bytes()
        .all(|byte| b"0123456789.,-*".contains(&byte))
    {
        return true;
    }
    address.rsplit_once('.').is_some_and(|(_, last)| {
        last.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '*' | '-' | ','))
    })
}

fn bracketed(text: &str, purpose: Purpose) -> Result<Spec, SpecProblem> {
    let rest = text.strip_prefix('[').unwrap_or(text);
    let (inside, after) = rest.split_once(']').ok_or(SpecProblem::BadBrackets)?;
    if !inside.contains(':') {
        return Err(SpecProblem::BadBrackets);
    }
    if let Some(port) = after.strip_prefix(':') {
        return Err(SpecProblem::HasPort(Text::from(port)));
    }
    if after.is_empty() {
        return ipv6(inside, purpose);
    }
    if !after.starts_with('/') || inside.contains('/') {
        return Err(SpecProblem::BadBrackets);
    }
    ipv6(&format!("{inside}{after}"), purpose)
}

fn colons(text: &str, purpose: Purpose) -> Result<Spec, SpecProblem> {
    if let Some((host, port)) = text.split_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && host.contains(|c: char| c == '.' || c.is_ascii_alphabetic())
    {
        let port = if port.is_empty() { "80" } else { port };
        return Err(SpecProblem::HasPort(Text::from(port)));
    }
    ipv6(text, purpose)
}

fn ipv6(text: &str, purpose: Purpose) -> Result<Spec, SpecProblem> {
    if let Some((address, zone)) = text.split_once('%') {
        let all_nodes = address.parse() == Ok(ALL_NODES) && purpose == Purpose::Target;
        return if all_nodes && is_interface(zone) {
            Ok(Spec::AllNodes(zone.to_owned()))
        } else {
            Err(SpecProblem::Zone)
        };
    }
    let address = |text: &str| -> Result<IpAddr, SpecProblem> {
        let address = text.parse::<Ipv6Addr>();
        address.map(IpAddr::V6).map_err(|_| SpecProblem::BadIpv6)
    };
    let set = if let Some((network, prefix)) = text.split_once('/') {
        if network.contains('-') {
            return Err(SpecProblem::RangeWithPrefix);
        }
        let network = address(network)?;
        let prefix = prefix_length(prefix, PrefixForm::IPV6)?;
        AddressSet::network(network, prefix).ok_or(SpecProblem::TooWide)?
    } else if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        AddressSet::range(first, last).ok_or_else(|| SpecProblem::reversed(first, last))?
    } else {
        AddressSet::from_iter([address(text)?])
    };
    if purpose == Purpose::Target && set.len() > 1_u128 << (128 - IPV6_PREFIX_MIN) {
        return Err(SpecProblem::TooWide);
    }
    Ok(Spec::Addresses(set))
}

/// All nodes of a segment (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Longest name of an interface (`IFNAMSIZ` of Linux, without its end).
const INTERFACE_BYTES_MAX: usize = 15;

/// Whether Linux could have an interface of this name.
fn is_interface(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
    (1..=INTERFACE_BYTES_MAX).contains(&name.len())
        && name.chars().all(plain)
        && !matches!(name, "." | "..")
}

/// The bounds of a prefix length of one address family.
#[derive(Clone, Copy)]
pub(crate) struct PrefixForm {
    most: u8,
    example: &'static str,
}

impl PrefixForm {
    pub(crate) const IPV4: Self = Self {
        most: 32,
        example: "10.0.0.0/24",
    };
    const IPV6: Self = Self {
        most: 128,
        example: "2001:db8::/120",
    };
}

pub(crate) fn prefix_length(text: &str, form: PrefixForm) -> Result<u8, SpecProblem> {
    if let Ok(mask) = text.parse::<Ipv4Addr>()
        && mask
            .to_bits()
            .leading_ones()
            .saturating_add(mask.to_bits().trailing_zeros())
            >= 32
    {
        let bits = mask.to_bits().leading_ones();
        return Err(SpecProblem::Mask { bits });
    }
    let number = digits(text).ok_or_else(|| SpecProblem::BadPrefix(Text::from(text)))?;
    match u8::try_from(number) {
        Ok(prefix) if prefix <= form.most => Ok(prefix),
        _ => Err(SpecProblem::PrefixTooLong {
            given: number,
            most: form.most,
            example: form.example,
        }),
    }
}

/// A number of decimal digits and nothing else; what does not fit 32 bits becomes the greatest.
pub(crate) fn digits(text: &str) -> Option<u32> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().unwrap_or(u32::MAX))
}

impl SpecProblem {
    pub(crate) fn reversed(first: IpAddr, last: IpAddr) -> Self {
        Self::Reversed(Text::from(format!("{last}-{first}")))
    }
}

/// RFC 1123 §2.1 and RFC 1035 §2.3.4, with the underscore that real zones have.
fn check_name(text: &str) -> Result<(), SpecProblem> {
    if !text.is_ascii() {
        return Err(SpecProblem::International);
    }
    name_fault(text).map_or(Ok(()), |fault| Err(SpecProblem::BadName(fault)))
}

fn name_fault(text: &str) -> Option<NameFault> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > NAME_BYTES_MAX {
        return Some(NameFault::LongName(name.len()));
    }
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = name.to_ascii_lowercase();
    if number.strip_prefix("0x").is_some_and(hexadecimal) {
        return Some(NameFault::Number);
    }
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if let Some(character) = name.chars().find(odd) {
        return Some(NameFault::Character(Text::from(character.to_string())));
    }
    name.split('.').find_map(|label| {
        if label.is_empty() {
            Some(NameFault::EmptyLabel)
        } else if label.len() > LABEL_BYTES_MAX {
            Some(NameFault::LongLabel(label.len()))
        } else if label.starts_with('-') || label.ends_with('-') {
            Some(NameFault::Hyphen(Text::from(label)))
        } else {
            None
        }
    })
}

/// 255 bytes on the wire less the root label and one length byte (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `expected` is the set as text, `name …`, or the beginning of what is wrong.
    fn check(text: &str, expected: &str) {
        let found = match Spec::parse(text) {
            Ok(Spec::Addresses(set)) => set.to_string(),
            Ok(Spec::AllNodes(name)) => format!("neighbours on {name}"),
            Ok(Spec::Name(name)) => format!("name {name}"),
            Err(error) => {
                assert!(error.to_string().contains("is not a target: "));
                let found = error.problem.to_string();
                assert!(
                    !expected.is_empty() && found.starts_with(expected),
                    "{text}: {found}"
                );
                return;
            }
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn addresses_and_networks() {
        check("192.0.2.7", "192.0.2.7");
        check(" 192.0.2.7\t", "192.0.2.7");
        check("0.0.0.0", "0.0.0.0");
        check("10.0.0.0/8", "10.0.0.0-10.255.255.255");
        check("10.0.0.77/24", "10.0.0.0-10.0.0.255");
        check("10.0.0.77/32", "10.0.0.77");
        check("10.0.0.77/0", "0.0.0.0-255.255.255.255");
        check("2001:db8::7", "2001:db8::7");
        check("2001:DB8::7", "2001:db8::7");
        check("::", "::");
        check("::1", "::1");
        check("[2001:db8::7]", "2001:db8::7");
        check("[2001:db8::7]/127", "2001:db8::6-2001:db8::7");
        check("[2001:db8::7/127]", "2001:db8::6-2001:db8::7");
        check("2001:db8::7/120", "2001:db8::-2001:db8::ff");
        check("2001:db8::/96", "2001:db8::-2001:db8::ffff:ffff");
        check("2001:db8::1-2001:db8::ff", "2001:db8::1-2001:db8::ff");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7/120", "192.0.2.0-192.0.2.255");
        check("64:ff9b::192.0.2.7", "64:ff9b::c000:207");
    }

    #[test]
    fn neighbours_of_an_interface() {
        check("ff02::1%eth0", "neighbours on eth0");
        check("[FF02:0::1%br-lan.7]", "neighbours on br-lan.7");
        let zone = "an address with a zone";
        for wrong in [
            "ff02::1%",
            "ff02::1%/etc",
            "ff02::1%a%b",
            "ff02::1%0123456789abcdef",
            "ff02::2%eth0",
            "fe80::1%eth0",
            "ff02::1/128%eth0",
        ] {
            check(wrong, zone);
        }
        // Whoever is to be left out has an address.
        let boundary = Spec::parse_boundary("ff02::1%eth0").unwrap_err();
        assert_eq!(boundary.problem, SpecProblem::Zone);
    }

    #[test]
    fn ranges_and_patterns_of_octets() {
        check("10.0.0.1-20", "10.0.0.1-10.0.0.20");
        check("10.0.0.1-10.0.0.20", "10.0.0.1-10.0.0.20");
        check("10.0.0.200-10.0.1.5", "10.0.0.200-10.0.1.5");
        check(
            "10.0.0-1.254-255",
            "10.0.0.254-10.0.0.255, 10.0.1.254-10.0.1.255",
        );
        check("10.0.0-1.0-255", "10.0.0.0-10.0.1.255");
        check("10.0.0.1,5,9", "10.0.0.1, 10.0.0.5, 10.0.0.9");
        check("10.0.0.9,1,5-7,6-8", "10.0.0.1, 10.0.0.5-10.0.0.9");
        check("10.0,2.0.1", "10.0.0.1, 10.2.0.1");
        check("10.0.0.*", "10.0.0.0-10.0.0.255");
        check("10.*.*.*", "10.0.0.0-10.255.255.255");
        check("10.0.0.-", "10.0.0.0-10.0.0.255");
        check("10.0.0.250-", "10.0.0.250-10.0.0.255");
        check("10.0.0.-5", "10.0.0.0-10.0.0.5");
        check("-.-.-.-", "0.0.0.0-255.255.255.255");
        check("10.0.0.7-7", "10.0.0.7");
    }

    #[test]
    fn host_names() {
        check("localhost", "name localhost");
        check("www.example.com", "name www.example.com");
        check("www.example.com.", "name www.example.com.");
        check("WWW.Example.COM", "name WWW.Example.COM");
        check("_dmarc.example.com", "name _dmarc.example.com");
        check("xn--bcher-kva.example", "name xn--bcher-kva.example");
        check("3com", "name 3com");
        check("7of9.lan", "name 7of9.lan");
        check("1.0.0.127.in-addr.arpa", "name 1.0.0.127.in-addr.arpa");
        check("host-1", "name host-1");
        check("10-0-0-1.example", "name 10-0-0-1.example");
        check("dead.beef", "name dead.beef");
        check(&"a.".repeat(126), &format!("name {}", "a.".repeat(126)));
        check(
            &format!("{}.example", "a".repeat(64)),
            "a part is 64 characters long",
        );
        check(&"abcd.".repeat(51), "the name is 254 characters long");
        check(".", "an IPv4 address has four octets");
        check("a..example", "a part between two dots is empty");
        check(".example", "a part between two dots is empty");
        check("-a.example", "the part \"-a\" begins or ends");
        check("a-.example", "the part \"a-\" begins or ends");
        check(
            "a$b",
            "a name has letters, digits, hyphens and dots, not \"$\"",
        );
        check("--help", "the part \"--help\"");
        check("bücher.example", "it has letters outside ASCII");
        check("例え.テスト", "it has letters outside ASCII");
        check("10.0.0.１", "it has letters outside ASCII");
    }

    #[test]
    fn what_begins_like_a_number_is_never_a_name() {
        check("10.0.0.256", "256 is greater than 255");
        check("10.0.0.99999999999", "4294967295 is greater than 255");
        check("10.0.0", "an IPv4 address has four octets, this has 3");
        check("10.0.0.0.1", "an IPv4 address has four octets, this has 5");
        check("10.0.0.1.", "an IPv4 address has four octets, this has 5");
        check("10", "an IPv4 address has four octets, this has 1");
        check("3232235777", "an IPv4 address has four octets, this has 1");
        check("-", "an IPv4 address has four octets, this has 1");
        check("10..0.1", "\"\" is no octet");
        check("10.0.0.1a", "\"1a\" is no octet");
        check("10.0.0.0x1", "\"0x1\" is no octet");
        check("0x7f000001", "it is a number, not a name");
        check("0x7f.1", "an IPv4 address has four octets, this has 2");
        check("010.0.0.1", "\"010\" has a leading zero");
        check("10.0.0.01-20", "\"01\" has a leading zero");
        check("10.0.0.1,", "\"\" is no octet");
        check("10.0.0.1-2-3", "\"2-3\" is no octet");
        check("10.0.0.**", "\"**\" is no octet");
        check(
            "10.0.0.1-10.0.0",
            "an IPv4 address has four octets, this has 3",
        );
        check(
            "10.0.0.+1",
            "a name has letters, digits, hyphens and dots, not \"+\"",
        );
        check("example.1", "an IPv4 address has four octets, this has 2");
    }

    #[test]
    fn prefixes_that_do_not_fit() {
        check("1.2.3.4/33", "33 is more than 32 bits");
        check("1.2.3.4/999999999999", "4294967295 is more than 32 bits");
        check("1.2.3.4/", "\"\" is no prefix length");
        check("1.2.3.4/-1", "\"-1\" is no prefix length");
        check("1.2.3.4/+8", "\"+8\" is no prefix length");
        check("1.2.3.4/24/25", "\"24/25\" is no prefix length");
        check("10/8", "an IPv4 address has four octets, this has 1");
        check(
            "10.0.0.0/255.255.255.0",
            "the mask is written as a number of bits: /24",
        );
        check(
            "10.0.0.0/255.0.255.0",
            "\"255.0.255.0\" is no prefix length",
        );
        check("10.0.0.1-20/24", "a range takes no prefix");
        check("10.0.0.*/24", "a range takes no prefix");
        check("2001:db8::/129", "129 is more than 128 bits");
        check("2001:db8::/x", "\"x\" is no prefix length");
        check("2001:db8::1-2001:db8::2/120", "a range takes no prefix");
        check("example.com/24", "a name stands for addresses");
    }

    #[test]
    fn what_is_too_wide_to_probe_may_still_be_a_boundary() {
        for wide in [
            "2001:db8::/95",
            "2001:db8::/64",
            "::/0",
            "2001:db8::-2001:db8::1:0:0",
        ] {
            check(wide, "it has more than 2^32 addresses");
            assert!(
                matches!(Spec::parse_boundary(wide), Ok(Spec::Addresses(set)) if set.len() > 1 << 32)
            );
        }
        check("*.*.*.1", "the pattern falls into 16777216 separate ranges");
        assert!(Spec::parse_boundary("*.*.*.1").is_err());
        let Ok(Spec::Addresses(most)) = Spec::parse("10.0-255.0-255.1") else {
            panic!("65,536 ranges are allowed")
        };
        assert_eq!(most.len(), 65_536);
        check("10,11.0-255.0-255.1", "the pattern falls into 131072");
    }

    #[test]
    fn near_misses_say_what_is_meant() {
        check("", "it is empty");
        check("   ", "it is empty");
        check(
            "10.0.0.20-10.0.0.1",
            "the range ends before it begins; write the lower end first: 10.0.0.1-10.0.0.20",
        );
        check(
            "10.0.0.20-1",
            "the range ends before it begins; write the lower end first: 1-20",
        );
        check("2001:db8::2-2001:db8::1", "the range ends before it begins");
        check("10.0.0.1,10.0.0.2", "commas join octets only");
        check("10.0.0.1 10.0.0.2", "it has a space in it");
        check(
            "10.0.0.1:80",
            "it carries a port; write the host alone and the port as in --ports 80",
        );
        check("example.com:8080", "it carries a port");
        check("example.com:", "it carries a port");
        check(
            "[2001:db8::7]:443",
            "it carries a port; write the host alone and the port as in --ports 443",
        );
        check(
            "https://www.example.com/a?b",
            "it is a web address; write only its host: www.example.com",
        );
        check("root@example.com", "it has an @ in it");
        check("fe80::1%eth0", "an address with a zone");
        check("[fe80::1%25eth0]", "an address with a zone");
        check("[10.0.0.1]", "brackets hold one IPv6 address");
        check("[::1", "brackets hold one IPv6 address");
        check("[::1]x", "brackets hold one IPv6 address");
        check("2001:db8:::1", "this is no IPv6 address");
        check("2001:db8::12345", "this is no IPv6 address");
        check("1:2:3:4:5:6:7:8:9", "this is no IPv6 address");
        check(&"1".repeat(5000), "it is 5000 bytes long");
    }

    #[test]
    fn a_message_shows_what_was_given_without_obeying_it() {
        let error = Spec::parse("a\u{1b}[2Jb").unwrap_err().to_string();
        assert!(
            error.starts_with("\"a\\x1b[2Jb\" is not a target: a name has"),
            "{error}"
        );
        assert!(!error.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn addresses_come_back_as_written(v4: u32, v6: u128, prefix in 96_u8..=128) {
            let v4 = IpAddr::from(Ipv4Addr::from_bits(v4));
            let set = AddressSet::from_iter([v4]);
            prop_assert_eq!(Spec::parse(&v4.to_string()), Ok(Spec::Addresses(set)));
            let v6 = Ipv6Addr::from_bits(v6);
            let set = AddressSet::network(v6.into(), prefix).unwrap();
            prop_assert_eq!(Spec::parse(&format!("{v6}/{prefix}")), Ok(Spec::Addresses(set)));
        }

        #[test]
        fn a_pattern_holds_what_its_octets_hold(
            octets in prop::collection::vec(prop::collection::btree_set(0_u8..6, 1..4), 4),
            tried in prop::collection::vec(0_u8..7, 4),
        ) {
            let part = |octet: &std::collections::BTreeSet<u8>| {
                octet.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
            };
            let text = octets.iter().map(part).collect::<Vec<_>>().join(".");
            let Ok(Spec::Addresses(set)) = Spec::parse(&text) else { panic!("{text}") };
            let count: usize = octets.iter().map(std::collections::BTreeSet::len).product();
            prop_assert_eq!(set.len(), count as u128);
            let inside = octets.iter().zip(&tried).all(|(octet, value)| octet.contains(value));
            let address = Ipv4Addr::new(tried[0], tried[1], tried[2], tried[3]);
            prop_assert_eq!(set.contains(address.into()), inside);
        }

        #[test]
        fn noise_never_panics_and_never_becomes_an_odd_name(text in "\\PC{0,40}", near in "[0-9a-fx.:,/*%@\\[\\]-]{0,24}") {
            for text in [text, near] {
                if let Ok(Spec::Name(name)) = Spec::parse(&text) {
                    prop_assert!(name.is_ascii() && !name.starts_with('-'));
                    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
                    prop_assert!(!last.bytes().all(|byte| byte.is_ascii_digit()));
                }
            }
        }
    }
}
