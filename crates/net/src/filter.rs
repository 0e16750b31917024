//! The classic BPF program that lets through what can answer a scan, and nothing else, so that other
//! traffic of the machine takes no room in the receive ring.
//!
//! What is not here: attaching it (see [`crate::raw::ring`]), and whether what comes through answers
//! a probe of this run, which its cookie shows.

use portolan_wire::LinkType;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// One instruction, as `struct sock_filter` of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size and mode.
    pub code: u16,
    /// Instructions to skip when a test holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Constant, offset or distance.
    pub value: u32,
}

/// What may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Link header of the frames.
    pub link_type: LinkType,
    /// Addresses that probes leave from.
    pub addresses: &'a [IpAddr],
    /// Ports that probes leave from.
    pub ports: RangeInclusive<u16>,
}

/// A program for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    instructions: Vec<Instruction>,
}

/// Why there is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The program would be longer than the kernel takes.
    #[error(
        "a receive filter tells at most {max} addresses apart, {asked} were asked for; scan from \
         fewer",
        max = Filter::ADDRESSES_MAX
    )]
    Addresses {
        /// Addresses that were asked for.
        asked: usize,
    },
}

impl Filter {
    /// Addresses that one filter can tell apart.
    pub const ADDRESSES_MAX: usize = 64;
    /// Bytes that are kept of a TCP segment, an ARP packet or a neighbour advertisement.
    pub const HEADER_BYTES_MAX: u32 = 256;
    /// Bytes that are kept of a UDP datagram or an ICMP message, which carry data.
    pub const DATAGRAM_BYTES_MAX: u32 = 2_048;

    /// Lets through what answers probes from these addresses and ports: TCP with SYN and ACK or with
    /// RST, and UDP, both to one of the ports; echo and timestamp replies and ICMP errors (RFC 792,
    /// RFC 4443); ARP replies (RFC 826) and neighbour advertisements with the hop limit of
    /// RFC 4861 §7.1.2. One VLAN tag is skipped (IEEE 802.1Q), as are up to two IPv6 extension
    /// headers. Later fragments, and frames too short for the header that tells, do not pass.
    ///
    /// # Errors
    /// When there are more than [`Filter::ADDRESSES_MAX`] addresses.
    pub fn for_scan(wanted: &Wanted<'_>) -> Result<Self, FilterError> {
        if wanted.addresses.len() > Self::ADDRESSES_MAX {
            return Err(FilterError::Addresses {
                asked: wanted.addresses.len(),
            });
        }
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for address in wanted.addresses {
            match address.to_canonical() {
                IpAddr::V4(address) => v4.push(address),
                IpAddr::V6(address) => v6.push(address),
            }
        }
        let program = Program {
            v4,
            v6,
            ports: wanted.ports.clone(),
        };
        let mut code = Code::default();
        match wanted.link_type {
            LinkType::Bare => program.bare(&mut code),
            LinkType::Ethernet => program.ethernet(&mut code),
        }
        Ok(Self {
            instructions: code.instructions,
        })
    }

    /// The program.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// What the parts of the program compare with. Each part ends every frame that reaches it.
struct Program {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    ports: RangeInclusive<u16>,
}

impl Program {
    fn bare(&self, code: &mut Code) {
        code.push(LOAD_BYTE, 0);
        code.push(AND, 0xf0);
        code.when(EQUAL, 0x40, |code| self.ipv4(code, 0));
        code.when(EQUAL, 0x60, |code| self.ipv6(code, 0));
        code.drop_frame();
    }

    fn ethernet(&self, code: &mut Code) {
        code.push(LOAD_HALF, 12);
        self.ether_type(code, 14);
        code.when_any(&[ETHERTYPE_VLAN, ETHERTYPE_SERVICE_VLAN], |code| {
            code.push(LOAD_HALF, 16);
            self.ether_type(code, 18);
            code.drop_frame();
        });
        code.drop_frame();
    }

    /// By the `EtherType` in the accumulator; goes on behind when it is none of these.
    fn ether_type(&self, code: &mut Code, base: u32) {
        code.when(EQUAL, ETHERTYPE_IPV4, |code| self.ipv4(code, base));
        code.when(EQUAL, ETHERTYPE_IPV6, |code| self.ipv6(code, base));
        code.when(EQUAL, ETHERTYPE_ARP, |code| arp(code, base));
    }

    fn ipv4(&self, code: &mut Code, base: u32) {
        code.push(LOAD_BYTE, base);
        // Version 4, and a header of at least five words (RFC 791 §3.1).
        code.require(AT_LEAST, 0x45);
        code.refuse(AT_LEAST, 0x50);
        code.push(LOAD_HALF, base + 6);
        code.refuse(ANY_BIT, 0x1fff);
        code.push(LOAD_WORD, base + 16);
        let own = |code: &mut Code, address: &Ipv4Addr| {
            code.push_test(EQUAL, address.to_bits(), [0, 1]);
        };
        code.require_any(&self.v4, own);
        code.push(LOAD_X_IPV4_HEADER, base);
        code.push(LOAD_BYTE, base + 9);
        code.when(EQUAL, PROTOCOL_TCP, |code| self.tcp(code, base));
        code.when(EQUAL, PROTOCOL_UDP, |code| self.udp(code, base));
        code.when(EQUAL, PROTOCOL_ICMP, |code| {
            icmp(code, base, &ICMP_REPLIES, &ICMP_ERRORS, 20);
        });
        code.drop_frame();
    }

    fn ipv6(&self, code: &mut Code, base: u32) {
        code.push(LOAD_BYTE, base);
        code.push(AND, 0xf0);
        code.require(EQUAL, 0x60);
        code.push(LOAD_BYTE, base + 6);
        code.when(EQUAL, PROTOCOL_ICMPV6, |code| {
            // An advertisement may be for all nodes (RFC 4861 §7.2.4).
            code.push(LOAD_BYTE, base + IPV6_HEADER);
            code.when(EQUAL, NEIGHBOUR_ADVERTISEMENT, |code| {
                code.push(LOAD_BYTE, base + 7);
                code.require(EQUAL, 255);
                code.push(LOAD_BYTE, base + IPV6_HEADER + 23);
                code.accept(Filter::HEADER_BYTES_MAX);
            });
        });
        code.require_any(&self.v6, |code, address| {
            let words = address.to_bits().to_be_bytes();
            let words = words.as_chunks::<4>().0;
            for (at, word) in (base + 24..).step_by(4).zip(words) {
                code.push(LOAD_WORD, at);
                // Past the remaining words of this address, two instructions each, and the jump.
                let left = u8::try_from((base + 36).saturating_sub(at) / 2).unwrap_or(0);
                code.push_test(EQUAL, u32::from_be_bytes(*word), [0, left + 1]);
            }
        });
        code.push(LOAD_X, 0);
        code.push(LOAD_BYTE, base + 6);
        for _ in 0..EXTENSION_HEADERS_MAX {
            extension(code, base + IPV6_HEADER);
        }
        let base = base + IPV6_HEADER;
        code.when(EQUAL, PROTOCOL_TCP, |code| self.tcp(code, base));
        code.when(EQUAL, PROTOCOL_UDP, |code| self.udp(code, base));
        code.when(EQUAL, PROTOCOL_ICMPV6, |code| {
            icmp(code, base, &[ICMPV6_ECHO_REPLY], &ICMPV6_ERRORS, 40);
        });
        code.drop_frame();
    }

    /// TCP whose header begins at `base` and X.
    fn tcp(&self, code: &mut Code, base: u32) {
        self.require_port(code, base);
        // The header is whole (RFC 9293 §3.1).
        code.push(LOAD_BYTE_X, base + 19);
        code.push(LOAD_BYTE_X, base + 13);
        code.when(ANY_BIT, TCP_RST, |code| {
            code.accept(Filter::HEADER_BYTES_MAX);
        });
        code.push(AND, TCP_SYN_ACK);
        code.require(EQUAL, TCP_SYN_ACK);
        code.accept(Filter::HEADER_BYTES_MAX);
    }

    /// UDP whose header begins at `base` and X.
    fn udp(&self, code: &mut Code, base: u32) {
        self.require_port(code, base);
        code.push(LOAD_BYTE_X, base + 7);
        code.accept(Filter::DATAGRAM_BYTES_MAX);
    }

    fn require_port(&self, code: &mut Code, base: u32) {
        code.push(LOAD_HALF_X, base + 2);
        code.require(AT_LEAST, u32::from(*self.ports.start()));
        code.refuse(ABOVE, u32::from(*self.ports.end()));
    }
}

/// ICMP at `base` and X; errors quote an IP header of `quoted` bytes or more, and eight bytes of
/// what it carried.
fn icmp(code: &mut Code, base: u32, replies: &[u32], errors: &[u32], quoted: u32) {
    code.push(LOAD_BYTE_X, base);
    code.when_any(replies, |code| {
        code.push(LOAD_BYTE_X, base + 7);
        code.accept(Filter::DATAGRAM_BYTES_MAX);
    });
    code.when_any(errors, |code| {
        code.push(LOAD_BYTE_X, base + 8 + quoted + 7);
        code.accept(Filter::DATAGRAM_BYTES_MAX);
    });
    code.drop_frame();
}

fn arp(code: &mut Code, base: u32) {
    // Operation, and the last byte of the last field (RFC 826).
    code.push(LOAD_HALF, base + 6);
    code.require(EQUAL, ARP_REPLY);
    code.push(LOAD_BYTE, base + 27);
    code.accept(Filter::HEADER_BYTES_MAX);
}

/// Skips an IPv6 extension header whose number is in the accumulator (RFC 8200 §4): X grows by its
/// length, and the number of what follows is in the accumulator.
fn extension(code: &mut Code, base: u32) {
    let skip = |code: &mut Code| {
        // X is the old one until the next number has been read.
        code.push(ADD_X, 0);
        code.push(STORE, 0);
        code.push(LOAD_BYTE_X, base);
        code.push(STORE, 1);
        code.push(LOAD_SCRATCH, 0);
        code.push(A_TO_X, 0);
        code.push(LOAD_SCRATCH, 1);
    };
    code.when_any(&[HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS], |code| {
        code.push(LOAD_BYTE_X, base + 1);
        code.push(ADD, 1);
        code.push(SHIFT_LEFT, 3);
        skip(code);
    });
    code.when(EQUAL, FRAGMENT, |code| {
        code.push(LOAD_HALF_X, base + 2);
        code.refuse(ANY_BIT, 0xfff8);
        code.push(LOAD_VALUE, 8);
        skip(code);
    });
}

/// A program under construction.
#[derive(Default)]
struct Code {
    instructions: Vec<Instruction>,
}

impl Code {
    fn push(&mut self, code: u16, value: u32) {
        self.instructions.push(Instruction {
            code,
            jump_true: 0,
            jump_false: 0,
            value,
        });
    }

    /// A test with the instructions to skip when it holds and when it does not.
    fn push_test(&mut self, code: u16, value: u32, [jump_true, jump_false]: [u8; 2]) {
        self.instructions.push(Instruction {
            code,
            jump_true,
            jump_false,
            value,
        });
    }

    fn accept(&mut self, bytes: u32) {
        self.push(RETURN, bytes);
    }

    fn drop_frame(&mut self) {
        self.push(RETURN, 0);
    }

    /// Drops the frame unless the test holds.
    fn require(&mut self, test: u16, value: u32) {
        self.push_test(test, value, [1, 0]);
        self.drop_frame();
    }

    /// Drops the frame when the test holds.
    fn refuse(&mut self, test: u16, value: u32) {
        self.push_test(test, value, [0, 1]);
        self.drop_frame();
    }

    /// `body` when the test holds.
    fn when(&mut self, test: u16, value: u32, body: impl FnOnce(&mut Self)) {
        self.push_test(test, value, [1, 0]);
        self.over(body);
    }

    /// `body` when the accumulator is one of the few `values`.
    fn when_any(&mut self, values: &[u32], body: impl FnOnce(&mut Self)) {
        for (value, left) in values.iter().zip((1..=values.len()).rev()) {
            // Past the tests that are left, and the jump over the body.
            let past = u8::try_from(left).unwrap_or(u8::MAX);
            self.push_test(EQUAL, *value, [past, 0]);
        }
        self.over(body);
    }

    /// Drops the frame unless one of `items` fits: `test` falls through when it does, and else skips
    /// the one instruction that follows it.
    fn require_any<T>(&mut self, items: &[T], test: impl Fn(&mut Self, &T)) {
        let mut jumps = Vec::with_capacity(items.len());
        for item in items {
            test(self, item);
            jumps.push(self.instructions.len());
            self.push(JUMP, 0);
        }
        self.drop_frame();
        for at in jumps {
            self.land(at);
        }
    }

    /// A jump over `body`.
    fn over(&mut self, body: impl FnOnce(&mut Self)) {
        let at = self.instructions.len();
        self.push(JUMP, 0);
        body(self);
        self.land(at);
    }

    /// Lets the jump at `at` land behind the last instruction.
    fn land(&mut self, at: usize) {
        // A program has at most 4,096 instructions.
        let distance = self.instructions.len().saturating_sub(at + 1);
        if let Some(jump) = self.instructions.get_mut(at) {
            jump.value = u32::try_from(distance).unwrap_or(u32::MAX);
        }
    }
}

/// Later ones hide what they carry; such frames do not pass.
const EXTENSION_HEADERS_MAX: usize = 2;
const IPV6_HEADER: u32 = 40;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_VLAN: u32 = 0x8100;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ETHERTYPE_SERVICE_VLAN: u32 = 0x88a8;
const ARP_REPLY: u32 = 2;
const HOP_BY_HOP: u32 = 0;
const PROTOCOL_ICMP: u32 = 1;
const PROTOCOL_TCP: u32 = 6;
const PROTOCOL_UDP: u32 = 17;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const PROTOCOL_ICMPV6: u32 = 58;
const DESTINATION_OPTIONS: u32 = 60;
const TCP_RST: u32 = 0x04;
const TCP_SYN_ACK: u32 = 0x12;
/// Echo and timestamp replies.
const ICMP_REPLIES: [u32; 2] = [0, 14];
/// Unreachable, source quench, redirect, time exceeded, parameter problem.
const ICMP_ERRORS: [u32; 5] = [3, 4, 5, 11, 12];
const ICMPV6_ECHO_REPLY: u32 = 129;
/// Unreachable, too big, time exceeded, parameter problem.
const ICMPV6_ERRORS: [u32; 4] = [1, 2, 3, 4];
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

// Codes of `linux/bpf_common.h`: class, size or operation, and mode or operand.
const LOAD_VALUE: u16 = 0x00;
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_X: u16 = 0x48;
const LOAD_BYTE_X: u16 = 0x50;
const LOAD_SCRATCH: u16 = 0x60;
const LOAD_X: u16 = 0x01;
/// X becomes four times the low half of the byte.
const LOAD_X_IPV4_HEADER: u16 = 0xb1;
const STORE: u16 = 0x02;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const ABOVE: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const A_TO_X: u16 = 0x07;

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_wire::arp::ArpRequest;
    use portolan_wire::icmp::EchoRequest;
    use portolan_wire::ndp::NeighbourSolicitation;
    use portolan_wire::tcp::AckProbe;
    use portolan_wire::udp::UdpProbe;
    use portolan_wire::{Addresses, Envelope, Framing, Mac};

    const OWN: [&str; 4] = ["192.0.2.2", "192.0.2.3", "2001:db8::2", "2001:db8::3"];
    const PORT: u16 = 41_000;
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ETHERNET: Framing = Framing::Ethernet {
        source: MAC,
        destination: MAC,
    };
    /// Offset of the TCP flags in the TCP header.
    const FLAGS: usize = 13;
    const SYN_ACK: u8 = 0x12;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn filter(link_type: LinkType, own: &[&str]) -> Filter {
        let addresses: Vec<_> = own.iter().map(|it| ip(it)).collect();
        Filter::for_scan(&Wanted {
            link_type,
            addresses: &addresses,
            ports: 40_960..=45_055,
        })
        .unwrap()
    }

    /// What the kernel does with a program (`linux/filter.h`): bytes to keep, 0 to drop.
    fn run(filter: &Filter, frame: &[u8]) -> u32 {
        let load = |at: u32, bytes: usize| {
            let at = usize::try_from(at).unwrap();
            let field = frame.get(at..at + bytes)?;
            Some(
                field
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        let (mut a, mut x, mut scratch, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
        loop {
            let it = filter.instructions[at];
            let k = it.value;
            let loaded = match it.code {
                LOAD_WORD => Some(load(k, 4)),
                LOAD_HALF => Some(load(k, 2)),
                LOAD_BYTE => Some(load(k, 1)),
                LOAD_HALF_X => Some(load(x + k, 2)),
                LOAD_BYTE_X => Some(load(x + k, 1)),
                _ => None,
            };
            let jump = |holds| usize::from(if holds { it.jump_true } else { it.jump_false });
            match (it.code, loaded) {
                (_, Some(Some(value))) => a = value,
                (_, Some(None)) => return 0,
                (LOAD_VALUE, _) => a = k,
                (LOAD_SCRATCH, _) => a = scratch[k as usize],
                (LOAD_X, _) => x = k,
                (LOAD_X_IPV4_HEADER, _) => match load(k, 1) {
                    Some(byte) => x = 4 * (byte & 0x0f),
                    None => return 0,
                },
                (STORE, _) => scratch[k as usize] = a,
                (ADD, _) => a += k,
                (ADD_X, _) => a += x,
                (AND, _) => a &= k,
                (SHIFT_LEFT, _) => a <<= k,
                (A_TO_X, _) => x = a,
                (JUMP, _) => at += k as usize,
                (EQUAL, _) => at += jump(a == k),
                (ABOVE, _) => at += jump(a > k),
                (AT_LEAST, _) => at += jump(a >= k),
                (ANY_BIT, _) => at += jump(a & k != 0),
                (RETURN, _) => return k,
                (code, _) => panic!("unknown code {code:#x}"),
            }
            at += 1;
        }
    }

    /// A kind of frame that answers, and the bytes without which it is nothing.
    struct Answer {
        name: &'static str,
        frame: Vec<u8>,
        needed: usize,
        kept: u32,
    }

    fn envelope(framing: Framing, own: &str) -> Envelope {
        let destination = ip(own);
        let source = if destination.is_ipv4() {
            ip("198.51.100.7")
        } else {
            ip("2001:db8:7::7")
        };
        Envelope {
            framing,
            addresses: Addresses {
                source,
                destination,
            },
            hop_limit: 64,
            mtu: 1_500,
        }
    }

    fn ip_header(own: &str) -> usize {
        if ip(own).is_ipv4() { 20 } else { 40 }
    }

    fn tcp(framing: Framing, own: &str, port: u16, flags: u8) -> Vec<u8> {
        let mut frame = [0; 128];
        let probe = AckProbe {
            envelope: envelope(framing, own),
            source_port: 80,
            destination_port: port,
            sequence: 1,
            acknowledgement: 2,
        };
        let length = probe.write(&mut frame).unwrap();
        frame[framing.header_length() + ip_header(own) + FLAGS] = flags;
        frame[..length].to_vec()
    }

    fn udp(framing: Framing, own: &str, port: u16) -> Vec<u8> {
        let mut frame = [0; 128];
        let probe = UdpProbe {
            envelope: envelope(framing, own),
            source_port: 53,
            destination_port: port,
            payload: b"answer",
        };
        let length = probe.write(&mut frame).unwrap();
        frame[..length].to_vec()
    }

    fn icmp(framing: Framing, own: &str, kind: u8, data: usize) -> Vec<u8> {
        let mut frame = [0; 256];
        let probe = EchoRequest {
            envelope: envelope(framing, own),
            identifier: 1,
            sequence: 2,
            payload: &[0; 100][..data],
        };
        let length = probe.write(&mut frame).unwrap();
        frame[framing.header_length() + ip_header(own)] = kind;
        frame[..length].to_vec()
    }

    fn advertisement() -> Vec<u8> {
        let mut frame = [0; NeighbourSolicitation::FRAME_LENGTH];
        let solicitation = NeighbourSolicitation {
            mac: MAC,
            source: "2001:db8::9".parse().unwrap(),
            target: "2001:db8::2".parse().unwrap(),
        };
        let length = solicitation.write(&mut frame).unwrap();
        frame[14 + 40] = 136;
        frame[..length].to_vec()
    }

    fn arp_packet(operation: u8) -> Vec<u8> {
        let mut frame = [0; ArpRequest::FRAME_LENGTH];
        let request = ArpRequest {
            mac: MAC,
            source: Ipv4Addr::new(192, 0, 2, 9),
            target: Ipv4Addr::new(192, 0, 2, 2),
        };
        let length = request.write(&mut frame).unwrap();
        frame[21] = operation;
        frame[..length].to_vec()
    }

    /// Every kind of answer to each own address.
    fn answers(framing: Framing) -> Vec<Answer> {
        let mut answers = Vec::new();
        for own in OWN {
            let start = framing.header_length() + ip_header(own);
            let mut add = |name, frame, needed, kept| {
                answers.push(Answer {
                    name,
                    frame,
                    needed: start + needed,
                    kept,
                });
            };
            for flags in [SYN_ACK, 0x52, 0x04, 0x14] {
                for port in [40_960, PORT, 45_055] {
                    add("tcp", tcp(framing, own, port, flags), 20, 256);
                }
            }
            add("udp", udp(framing, own, PORT), 8, 2_048);
            let (replies, errors, quoted) = match ip(own) {
                IpAddr::V4(_) => (&[0_u8, 14][..], &[3_u8, 4, 5, 11, 12][..], 36),
                IpAddr::V6(_) => (&[129][..], &[1, 2, 3, 4][..], 56),
            };
            for kind in replies {
                add("reply", icmp(framing, own, *kind, 4), 8, 2_048);
            }
            for kind in errors {
                add("error", icmp(framing, own, *kind, 60), quoted, 2_048);
            }
        }
        if framing != Framing::Bare {
            answers.push(Answer {
                name: "arp",
                frame: arp_packet(2),
                needed: 42,
                kept: 256,
            });
            answers.push(Answer {
                name: "advertisement",
                frame: advertisement(),
                needed: 14 + 64,
                kept: 256,
            });
        }
        answers
    }

    /// The frame with a VLAN tag.
    fn tagged(frame: &[u8], ether_type: [u8; 2]) -> Vec<u8> {
        let tag = [ether_type[0], ether_type[1], 0, 42];
        [&frame[..12], &tag, &frame[12..]].concat()
    }

    /// The IPv6 frame with extension headers, as (number, eight bytes).
    fn extended(frame: &[u8], base: usize, headers: &[(u8, [u8; 8])]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        for (number, bytes) in headers.iter().rev() {
            let mut bytes = *bytes;
            bytes[0] = std::mem::replace(&mut frame[base + 6], *number);
            frame.splice(base + 40..base + 40, bytes);
        }
        frame
    }

    #[test]
    fn every_answer_passes_and_is_dropped_when_it_is_cut() {
        for framing in [ETHERNET, Framing::Bare] {
            let filter = filter(framing.link_type(), &OWN);
            for answer in answers(framing) {
                let Answer { name, frame, .. } = &answer;
                assert_eq!(run(&filter, frame), answer.kept, "{name} {frame:02x?}");
                assert_eq!(run(&filter, &frame[..answer.needed]), answer.kept, "{name}");
                for length in 0..answer.needed {
                    assert_eq!(run(&filter, &frame[..length]), 0, "{name} {length}");
                }
            }
        }
    }

    #[test]
    fn one_vlan_tag_is_skipped() {
        let filter = filter(LinkType::Ethernet, &OWN);
        for answer in answers(ETHERNET) {
            for ether_type in [[0x81, 0x00], [0x88, 0xa8]] {
                let once = tagged(&answer.frame, ether_type);
                assert_eq!(run(&filter, &once), answer.kept, "{}", answer.name);
                let twice = tagged(&once, ether_type);
                assert_eq!(run(&filter, &twice), 0, "{}", answer.name);
                for length in 0..answer.needed + 4 {
                    assert_eq!(run(&filter, &once[..length]), 0, "{}", answer.name);
                }
            }
        }
    }

    /// What is near to an answer and is none.
    fn near_misses(framing: Framing) -> Vec<Vec<u8>> {
        let start = framing.header_length();
        let mut frames = Vec::new();
        for own in OWN {
            // SYN, ACK, FIN with ACK, PSH with ACK, nothing, FIN.
            for flags in [0x02, 0x10, 0x11, 0x18, 0x00, 0x01] {
                frames.push(tcp(framing, own, PORT, flags));
            }
            for port in [40_959, 45_056, 0, 80, u16::MAX] {
                frames.push(tcp(framing, own, port, SYN_ACK));
                frames.push(tcp(framing, own, port, 0x04));
                frames.push(udp(framing, own, port));
            }
            let kinds: &[u8] = match ip(own) {
                IpAddr::V4(_) => &[8, 9, 10, 13, 17, 129],
                IpAddr::V6(_) => &[0, 128, 133, 134, 135, 137, 5],
            };
            for kind in kinds {
                frames.push(icmp(framing, own, *kind, 60));
            }
            // Another protocol.
            let protocol = start + if ip(own).is_ipv4() { 9 } else { 6 };
            let mut other = tcp(framing, own, PORT, SYN_ACK);
            other[protocol] = 132;
            frames.push(other);
            // Another version.
            let mut version = tcp(framing, own, PORT, SYN_ACK);
            version[start] ^= 0x10;
            frames.push(version);
        }
        for foreign in ["192.0.2.4", "193.0.2.2", "2001:db8::4", "2001:db9::2"] {
            for flags in [SYN_ACK, 0x04] {
                frames.push(tcp(framing, foreign, PORT, flags));
            }
            frames.push(udp(framing, foreign, PORT));
            frames.push(icmp(framing, foreign, 3, 60));
        }
        // The first word of one address with the rest of another.
        let mut mixed = tcp(framing, "2001:db8::2", PORT, SYN_ACK);
        mixed[start + 24 + 11] = 1;
        frames.push(mixed);
        // A later fragment, and a header that is shorter than its least.
        let mut fragment = tcp(framing, "192.0.2.2", PORT, SYN_ACK);
        fragment[start + 7] = 1;
        frames.push(fragment);
        let mut short = tcp(framing, "192.0.2.2", PORT, SYN_ACK);
        short[start] = 0x44;
        frames.push(short);
        frames
    }

    #[test]
    fn near_misses_do_not_pass() {
        for framing in [ETHERNET, Framing::Bare] {
            let filter = filter(framing.link_type(), &OWN);
            for frame in near_misses(framing) {
                assert_eq!(run(&filter, &frame), 0, "{frame:02x?}");
            }
        }
        let filter = filter(LinkType::Ethernet, &OWN);
        for operation in [0, 1, 3] {
            assert_eq!(run(&filter, &arp_packet(operation)), 0);
        }
        let mut forwarded = advertisement();
        forwarded[14 + 7] = 254;
        assert_eq!(run(&filter, &forwarded), 0);
        let mut other_type = tcp(ETHERNET, OWN[0], PORT, SYN_ACK);
        other_type[13] = 0x35;
        assert_eq!(run(&filter, &other_type), 0);
    }

    #[test]
    fn first_fragments_and_options_pass() {
        let filter = filter(LinkType::Ethernet, &OWN);
        let mut first = tcp(ETHERNET, OWN[0], PORT, SYN_ACK);
        // More fragments follow.
        first[14 + 6] |= 0x20;
        assert_eq!(run(&filter, &first), 256);
        let mut options = tcp(ETHERNET, OWN[0], PORT, SYN_ACK);
        options[14] = 0x4f;
        options.splice(34..34, [1; 40]);
        assert_eq!(run(&filter, &options), 256);
        assert_eq!(run(&filter, &options[..options.len() - 1]), 0);
    }

    #[test]
    fn up_to_two_extension_headers_are_skipped() {
        fn check(headers: &[(u8, [u8; 8])], passes: bool) {
            for framing in [ETHERNET, Framing::Bare] {
                let base = framing.header_length();
                let filter = filter(framing.link_type(), &OWN);
                let answers = [
                    (tcp(framing, OWN[2], PORT, SYN_ACK), 256),
                    (udp(framing, OWN[2], PORT), 2_048),
                    (icmp(framing, OWN[2], 1, 60), 2_048),
                ];
                for (frame, kept) in answers {
                    let frame = extended(&frame, base, headers);
                    let expected = if passes { kept } else { 0 };
                    assert_eq!(run(&filter, &frame), expected, "{headers:?} {frame:02x?}");
                }
            }
        }
        let options = [0; 8];
        let later = [0, 0, 0, 8, 0, 0, 0, 1];
        for number in [0, 43, 60] {
            check(&[(number, options)], true);
            check(&[(0, options), (number, options)], true);
            check(&[(number, options), (44, options)], true);
        }
        check(&[(44, options)], true);
        // The last three bits of the offset's field are flags.
        check(&[(44, [0, 0, 0, 7, 0, 0, 0, 1])], true);
        check(&[(44, later)], false);
        check(&[(0, options), (44, later)], false);
        check(&[(0, options), (43, options), (60, options)], false);
        check(&[(51, options)], false);
        check(&[(59, options)], false);
    }

    #[test]
    fn longer_extension_headers_are_skipped_whole() {
        let filter = filter(LinkType::Bare, &OWN);
        let mut frame = tcp(Framing::Bare, OWN[2], PORT, SYN_ACK);
        let mut header = vec![0; 8 * 6];
        header[0] = std::mem::replace(&mut frame[6], 60);
        header[1] = 5;
        frame.splice(40..40, header);
        assert_eq!(run(&filter, &frame), 256);
        frame[41] = 4;
        assert_eq!(run(&filter, &frame), 0);
    }

    #[test]
    fn a_family_without_own_address_does_not_pass() {
        for (own, other) in [(OWN[0], OWN[2]), (OWN[2], OWN[0])] {
            let filter = filter(LinkType::Bare, &[own]);
            assert_eq!(run(&filter, &tcp(Framing::Bare, own, PORT, SYN_ACK)), 256);
            assert_eq!(run(&filter, &tcp(Framing::Bare, other, PORT, SYN_ACK)), 0);
        }
        let none = filter(LinkType::Ethernet, &[]);
        assert_eq!(run(&none, &tcp(ETHERNET, OWN[0], PORT, SYN_ACK)), 0);
        assert_eq!(run(&none, &arp_packet(2)), 256);
    }

    #[test]
    fn as_many_addresses_as_promised_fit_the_kernel() {
        let addresses = |count: u16| -> Vec<IpAddr> {
            let each = (0..count).map(|it| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, it));
            each.map(IpAddr::from).collect()
        };
        let filter = |addresses: &[IpAddr]| {
            Filter::for_scan(&Wanted {
                link_type: LinkType::Ethernet,
                addresses,
                ports: 40_960..=45_055,
            })
        };
        let most = filter(&addresses(64)).unwrap();
        // BPF_MAXINSNS.
        assert!(most.instructions().len() <= 4_096);
        let last = tcp(ETHERNET, "2001:db8::3f", PORT, SYN_ACK);
        assert_eq!(run(&most, &last), 256);
        let error = FilterError::Addresses { asked: 65 };
        assert_eq!(filter(&addresses(65)), Err(error));
    }
}
