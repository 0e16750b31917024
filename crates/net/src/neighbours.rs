//! The kernel's tables of neighbours (`arp(7)`, RFC 4861 §5.1). A socket hears of an absent
//! neighbour only as often as the kernel's limit of ICMP errors allows, which is far too seldom for
//! a whole network; and who builds frames needs the hardware addresses.

use crate::netlink::{AF_UNSPEC, Message, Netlink, NetlinkError, Question};
use crate::netlink::{address, attributes, u16_at, u32_at};
use portolan_wire::Mac;
use std::collections::HashSet;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};

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

/// What the kernel thinks of a neighbour (RFC 4861 §7.3.2; for IPv4 too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Stale, in use again, and about to be asked.
    Delay,
    /// Was asked and did not answer.
    Failed,
    /// Is being asked for the first time.
    Incomplete,
    /// Needs no asking, as on an interface without neighbours, or for a group.
    NoArp,
    /// Not asked for.
    None,
    /// Set by the administrator; never asked.
    Permanent,
    /// Is being asked again.
    Probe,
    /// Was reached lately.
    Reachable,
    /// Was reached some time ago.
    Stale,
}

impl NeighbourState {
    const fn of(bits: u16) -> Self {
        match bits {
            0x01 => Self::Incomplete,
            0x02 => Self::Reachable,
            0x04 => Self::Stale,
            0x08 => Self::Delay,
            0x10 => Self::Probe,
            0x20 => Self::Failed,
            0x40 => Self::NoArp,
            0x80 => Self::Permanent,
            _ => Self::None,
        }
    }

    /// Whether the hardware address was confirmed lately, or needs no confirmation. A neighbour that
    /// was reached some time ago may have left since, or have another address.
    pub const fn is_confirmed(self) -> bool {
        matches!(self, Self::NoArp | Self::Permanent | Self::Reachable)
    }

    /// Whether the kernel itself would send to the hardware address without waiting for an answer.
    pub const fn is_usable(self) -> bool {
        !matches!(self, Self::Failed | Self::Incomplete | Self::None)
    }
}

/// A neighbour on an attached segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface.
    pub interface: u32,
    /// IPv4 or IPv6 address.
    pub address: IpAddr,
    /// Its 48-bit hardware address, where it is known.
    pub mac: Option<Mac>,
    /// What the kernel thinks of it.
    pub state: NeighbourState,
}

/// The neighbours that the kernel knows, of both families and on every interface.
///
/// # Errors
/// When the kernel does not list them.
pub fn table() -> Result<Vec<Neighbour>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let mut table = Vec::new();
    let question = Question::all(RTM_GETNEIGH, &[AF_UNSPEC; NEIGHBOUR_HEADER_BYTES]);
    let answer = netlink.ask(question, |message| table.extend(neighbour(message)));
    match answer {
        // Entries come and go all the time; what was read is true of each that was read.
        Ok(()) | Err(NetlinkError::Changed) => Ok(table),
        Err(error) => Err(error),
    }
}

fn neighbour(message: Message<'_>) -> Option<Neighbour> {
    let payload = message.payload;
    if message.kind != RTM_NEWNEIGH {
        return None;
    }
    let of = |wanted| {
        attributes(payload, NEIGHBOUR_HEADER_BYTES)
            .find_map(|(kind, value)| (kind == wanted).then_some(value))
    };
    let state = NeighbourState::of(u16_at(payload, 8)?);
    let mac = of(NDA_LLADDR).and_then(|value| value.try_into().ok());
    Some(Neighbour {
        interface: u32_at(payload, 4)?,
        // Entries of bridges have hardware addresses there.
        address: address(of(NDA_DST)?)?,
        // What stands there is not meant while nobody has answered.
        mac: mac.map(Mac).filter(|_| state.is_usable()),
        state,
    })
}

/// `struct ndmsg`: family, padding, index, state, flags, type.
const NEIGHBOUR_HEADER_BYTES: usize = 12;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::messages;

    fn entry(state: u16) -> Question {
        let mut header = [0; NEIGHBOUR_HEADER_BYTES];
        header[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        header[8..10].copy_from_slice(&state.to_ne_bytes());
        Question::one(RTM_NEWNEIGH, &header).attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, 9])
    }

    #[test]
    fn entries_have_a_hardware_address_once_somebody_has_answered() {
        fn check(bits: u16, state: NeighbourState, known: bool) {
            for address in ["192.0.2.9", "2001:db8::9"] {
                let address = address.parse().unwrap();
                let mut message = entry(bits).address(NDA_DST, address);
                let expected = Neighbour {
                    interface: 3,
                    address,
                    mac: known.then_some(Mac([2, 0, 0, 0, 0, 9])),
                    state,
                };
                let found: Vec<_> = messages(message.finish(1)).filter_map(neighbour).collect();
                assert_eq!(found, [expected]);
            }
        }
        check(0x02, NeighbourState::Reachable, true);
        check(0x04, NeighbourState::Stale, true);
        check(0x08, NeighbourState::Delay, true);
        check(0x10, NeighbourState::Probe, true);
        check(0x40, NeighbourState::NoArp, true);
        check(0x80, NeighbourState::Permanent, true);
        check(0x20, NeighbourState::Failed, false);
        check(0x01, NeighbourState::Incomplete, false);
        check(0x00, NeighbourState::None, false);
    }

    #[test]
    fn a_cut_entry_never_panics() {
        let mut whole = entry(0x02).address(NDA_DST, "192.0.2.9".parse().unwrap());
        let bytes = whole.finish(1).to_vec();
        for length in 16..bytes.len() {
            let message = Message::for_test(RTM_NEWNEIGH, &bytes[16..length]);
            assert_eq!(neighbour(message), None, "{length}");
        }
    }

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
