//! The kernel's table of IPv4 neighbours (arp(7)). A socket hears of an absent neighbour only as
//! often as the kernel's limit of ICMP errors allows, which is far too seldom for a whole network.

use std::collections::HashSet;
use std::io::{self, Read};
use std::net::Ipv4Addr;

const TABLE: &str = "/proc/net/arp";
/// No table is longer: the kernel keeps 1,024 entries unless it is told otherwise.
const BYTES_MAX: u64 = 64 << 20;

/// IPv4 addresses on attached segments that were asked for and have not answered.
///
/// # Errors
/// When the table cannot be read.
pub fn unresolved() -> io::Result<HashSet<Ipv4Addr>> {
    let mut text = String::new();
    std::fs::File::open(TABLE)?
        .take(BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(parse(&text))
}

/// Address, hardware type, flags and more by columns; flags of 0 mean that there is no answer.
fn parse(table: &str) -> HashSet<Ipv4Addr> {
    let unresolved = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let address = columns.next()?.parse().ok()?;
        let flags = columns.nth(1)?;
        (flags == "0x0").then_some(address)
    });
    unresolved.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_without_an_answer_are_unresolved() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
198.18.0.2       0x1         0x2         02:00:00:00:00:01     *        lab0
198.18.0.7       0x1         0x0         00:00:00:00:00:00     *        lab0
198.18.0.8       0x1         0x6         02:00:00:00:00:02     *        lab0
nonsense
198.18.0.9
";
        assert_eq!(parse(table), HashSet::from([Ipv4Addr::new(198, 18, 0, 7)]));
        assert!(parse("").is_empty());
    }
}
