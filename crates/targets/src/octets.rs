//! IPv4 in every written form: address, network, range, and patterns with a list, a range or a
//! star in each octet.

use crate::spec::{PATTERN_RANGES_MAX, PrefixForm, SpecProblem, digits, prefix_length};
use portolan_model::{AddressSet, Text};
use std::net::{IpAddr, Ipv4Addr};

/// Reads a text that is meant as IPv4.
pub(crate) fn parse(text: &str) -> Result<AddressSet, SpecProblem> {
    if let Some((network, prefix)) = text.split_once('/') {
        if network.contains(['-', ',', '*']) {
            return Err(SpecProblem::RangeWithPrefix);
        }
        let network = address(network)?;
        let prefix = prefix_length(prefix, PrefixForm::IPV4)?;
        return AddressSet::network(network, prefix)
            .ok_or_else(|| SpecProblem::BadPrefix(Text::from(text)));
    }
    if let Some((first, last)) = text.split_once('-')
        && first.matches('.').count() == 3
        && last.contains('.')
    {
        let (first, last) = (address(first)?, address(last)?);
        return AddressSet::range(first, last).ok_or_else(|| SpecProblem::reversed(first, last));
    }
    pattern(text)
}

/// One address without any pattern in it.
fn address(text: &str) -> Result<IpAddr, SpecProblem> {
    let mut bits = 0_u32;
    for octet in four(text)? {
        bits = bits.wrapping_shl(8) | u32::from(number(octet)?);
    }
    Ok(IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

fn pattern(text: &str) -> Result<AddressSet, SpecProblem> {
    if text.contains(',')
        && text.split(',').any(|part| part.matches('.').count() >= 3)
        && text.matches('.').count() > 3
    {
        return Err(SpecProblem::CommaBetweenTargets);
    }
    // Ranges of what follows the octet at hand, as numbers of `width` bits. From the right, so
    // that `10.*.*.*` stays one range.
    let mut ranges = vec![(0_u32, 0_u32)];
    let mut width = 0_u32;
    for octet in four(text)?.into_iter().rev() {
        let octets = items(octet)?;
        let whole = ones(width);
        let shifted = |value: u8| u32::from(value).wrapping_shl(width);
        ranges = if ranges == [(0, whole)] {
            let of = |(first, last): &(u8, u8)| (shifted(*first), shifted(*last) | whole);
            octets.iter().map(of).collect()
        } else {
            let values = || octets.iter().flat_map(|(first, last)| *first..=*last);
            let count = values().count().saturating_mul(ranges.len());
            if count > PATTERN_RANGES_MAX {
                return Err(SpecProblem::PatternTooWide { ranges: count });
            }
            let under = |value| {
                let add = move |(first, last): &(u32, u32)| {
                    (shifted(value) | first, shifted(value) | last)
                };
                ranges.iter().map(add)
            };
            values().flat_map(under).collect()
        };
        width = width.saturating_add(8);
    }
    let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
    Ok(AddressSet::union_of(ranges.into_iter().filter_map(
        |(first, last)| AddressSet::range(address(first), address(last)),
    )))
}

fn four(text: &str) -> Result<[&str; 4], SpecProblem> {
    let octets: Vec<&str> = text.split('.').collect();
    let count = octets.len();
    octets
        .try_into()
        .map_err(|_| SpecProblem::OctetCount(count))
}

/// The ranges of one octet, sorted, without overlap: `7`, `1-20`, `1,5,9`, `-`, `100-`, `-9`, `*`.
fn items(octet: &str) -> Result<Vec<(u8, u8)>, SpecProblem> {
    let mut ranges = Vec::new();
    for item in octet.split(',') {
        let (first, last) = match item.split_once('-') {
            _ if item == "*" => (0, u8::MAX),
            None => (number(item)?, number(item)?),
            Some((first, last)) => (
                if first.is_empty() { 0 } else { number(first)? },
                if last.is_empty() {
                    u8::MAX
                } else {
                    number(last)?
                },
            ),
        };
        if first > last {
            let right = format!("{last}-{first}");
            return Err(SpecProblem::Reversed(Text::from(right)));
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u8, u8)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    Ok(merged)
}

fn number(octet: &str) -> Result<u8, SpecProblem> {
    let value = digits(octet).ok_or_else(|| SpecProblem::BadOctet(Text::from(octet)))?;
    if octet.len() > 1 && octet.starts_with('0') {
        let octet = Text::from(octet);
        return Err(SpecProblem::LeadingZero { octet });
    }
    u8::try_from(value).map_err(|_| SpecProblem::OctetTooHigh(value))
}

fn ones(width: u32) -> u32 {
    1_u32.checked_shl(width).unwrap_or(0).wrapping_sub(1)
}
