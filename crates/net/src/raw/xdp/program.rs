//! The program that hands answers to probes to sockets of this process before the kernel makes
//! anything of them, and leaves every other frame to the kernel.
//!
//! What is not here: the filter of the packet socket, which hears what the kernel keeps (see
//! [`crate::filter`]).

use super::assembler::{AssembleError, Assembler, Instruction, Label, Operation, Register};
use super::assembler::{Size, Test};
use super::bpf::{Action, REDIRECT_BY_MAP};
use crate::filter::Wanted;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which segments are taken from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Only those that end a connection. The kernel hears the others, and ends half-open
    /// connections by a RST of its own.
    Refusals,
    /// All that answer a SYN.
    Answers,
}

/// A program for frames with Ethernet headers. It sends to the socket that the map numbered `map`
/// has for the receive queue what is `taken` of TCP to one of the addresses and ports, where the
/// headers are plain: no tag or a tag of priority alone (IEEE 802.1Q §9.6: VLAN identifier 0), no IP
/// options or extension headers, no fragment. Every other frame is the kernel's, and so is all where
/// the map has no socket.
///
/// # Errors
/// When there are more addresses than a jump can pass.
pub fn program(
    wanted: &Wanted<'_>,
    taken: Taken,
    map: i32,
) -> Result<Vec<Instruction>, AssembleError> {
    use Register::{R1, R2, R3, R5, R6};
    let mut code = Assembler::default();
    let labels = Labels {
        pass: code.label(),
        segment: code.label(),
    };
    let [by_type, ipv4, ipv6] = [code.label(), code.label(), code.label()];
    // The context outlives the call; the packet begins in R2 and ends at R3.
    code.set(R6, R1);
    code.load(Size::Word, R2, R1, CONTEXT_DATA);
    code.load(Size::Word, R3, R1, CONTEXT_DATA_END);
    labels.require(&mut code, 14);
    code.load(Size::Half, R5, R2, 12);
    code.turn(Size::Half, R5);
    code.compute(Operation::Add, R2, 14);
    code.jump_if(R5, Test::Differs, ETHER_TYPE_VLAN, by_type);
    labels.require(&mut code, 4);
    code.load(Size::Half, R5, R2, 0);
    code.turn(Size::Half, R5);
    code.jump_if(R5, Test::AnyBit, VLAN_IDENTIFIER, labels.pass);
    code.load(Size::Half, R5, R2, 2);
    code.turn(Size::Half, R5);
    code.compute(Operation::Add, R2, 4);
    code.place(by_type);
    code.jump_if(R5, Test::Equal, ETHER_TYPE_IPV4, ipv4);
    code.jump_if(R5, Test::Equal, ETHER_TYPE_IPV6, ipv6);
    code.jump(labels.pass);
    code.place(ipv4);
    in_ipv4(&mut code, wanted, labels);
    code.place(ipv6);
    in_ipv6(&mut code, wanted, labels);
    code.place(labels.segment);
    in_segment(&mut code, wanted, taken, labels);
    code.set_map(R1, map);
    code.load(Size::Word, R2, R6, CONTEXT_QUEUE);
    // What becomes of the frame where the map has no socket.
    code.set(R3, Action::PASS.value());
    code.call(REDIRECT_BY_MAP);
    code.end_here();
    code.place(labels.pass);
    code.end(Action::PASS.value());
    code.finish()
}

#[derive(Clone, Copy)]
struct Labels {
    /// The frame is the kernel's.
    pass: Label,
    /// A segment of TCP for one of the addresses begins in R2.
    segment: Label,
}

impl Labels {
    /// Goes on when there are `bytes` from R2 on.
    fn require(self, code: &mut Assembler, bytes: i32) {
        code.set(Register::R4, Register::R2);
        code.compute(Operation::Add, Register::R4, bytes);
        code.jump_if(Register::R4, Test::Above, Register::R3, self.pass);
    }
}

fn in_ipv4(code: &mut Assembler, wanted: &Wanted<'_>, labels: Labels) {
    use Register::{R2, R5};
    labels.require(code, IPV4_HEADER);
    code.load(Size::Byte, R5, R2, 0);
    code.jump_if(R5, Test::Differs, 0x45, labels.pass);
    code.load(Size::Byte, R5, R2, 9);
    code.jump_if(R5, Test::Differs, PROTOCOL_TCP, labels.pass);
    // More fragments, or an offset (RFC 791 §3.1).
    code.load(Size::Half, R5, R2, 6);
    code.turn(Size::Half, R5);
    code.jump_if(R5, Test::AnyBit, 0x3fff, labels.pass);
    code.load(Size::Word, R5, R2, 16);
    code.turn(Size::Word, R5);
    code.compute(Operation::Add, R2, IPV4_HEADER);
    for address in wanted.addresses {
        if let IpAddr::V4(address) = address.to_canonical() {
            code.jump_if_word(R5, Test::Equal, bits(address), labels.segment);
        }
    }
    code.jump(labels.pass);
}

fn in_ipv6(code: &mut Assembler, wanted: &Wanted<'_>, labels: Labels) {
    use Register::{R0, R1, R2, R4, R5};
    labels.require(code, IPV6_HEADER);
    code.load(Size::Byte, R5, R2, 0);
    code.compute(Operation::And, R5, 0xf0);
    code.jump_if(R5, Test::Differs, 0x60, labels.pass);
    code.load(Size::Byte, R5, R2, 6);
    code.jump_if(R5, Test::Differs, PROTOCOL_TCP, labels.pass);
    let words = [(R0, 24), (R1, 28), (R4, 32), (R5, 36)];
    for (register, place) in words {
        code.load(Size::Word, register, R2, place);
        code.turn(Size::Word, register);
    }
    code.compute(Operation::Add, R2, IPV6_HEADER);
    for address in wanted.addresses {
        if let IpAddr::V6(address) = address.to_canonical() {
            let next = code.label();
            for ((register, _), word) in words.into_iter().zip(words_of(address)) {
                code.jump_if_word(register, Test::Differs, word, next);
            }
            code.jump(labels.segment);
            code.place(next);
        }
    }
    code.jump(labels.pass);
}

/// Goes on with what is taken.
fn in_segment(code: &mut Assembler, wanted: &Wanted<'_>, taken: Taken, labels: Labels) {
    use Register::{R2, R5};
    labels.require(code, TCP_HEADER);
    code.load(Size::Half, R5, R2, 2);
    code.turn(Size::Half, R5);
    let [first, last] = [wanted.ports.start(), wanted.ports.end()].map(|it| i32::from(*it));
    code.jump_if(R5, Test::Below, first, labels.pass);
    code.jump_if(R5, Test::Above, last, labels.pass);
    let take = code.label();
    code.load(Size::Byte, R5, R2, 13);
    code.jump_if(R5, Test::AnyBit, RST, take);
    match taken {
        Taken::Refusals => code.jump(labels.pass),
        Taken::Answers => {
            code.compute(Operation::And, R5, SYN_ACK);
            code.jump_if(R5, Test::Differs, SYN_ACK, labels.pass);
        }
    }
    code.place(take);
}

fn bits(address: Ipv4Addr) -> i32 {
    address.to_bits().cast_signed()
}

/// The four words of an address, the first first.
fn words_of(address: Ipv6Addr) -> [i32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| {
        let word = bits >> shift & u128::from(u32::MAX);
        u32::try_from(word).unwrap_or(0).cast_signed()
    })
}

// Places in `struct xdp_md`.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

const ETHER_TYPE_IPV4: i32 = 0x0800;
const ETHER_TYPE_VLAN: i32 = 0x8100;
const ETHER_TYPE_IPV6: i32 = 0x86dd;
/// In the tag control information.
const VLAN_IDENTIFIER: i32 = 0x0fff;
const IPV4_HEADER: i32 = 20;
const IPV6_HEADER: i32 = 40;
const TCP_HEADER: i32 = 20;
const PROTOCOL_TCP: i32 = 6;
const RST: i32 = 0x04;
const SYN_ACK: i32 = 0x12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_addresses_fit_as_a_filter_tells_apart() {
        let address = |last: usize| {
            let last = u16::try_from(last).unwrap();
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
        };
        let addresses: Vec<IpAddr> = (0..crate::filter::Filter::ADDRESSES_MAX)
            .map(address)
            .collect();
        let wanted = Wanted {
            link_type: portolan_wire::LinkType::Ethernet,
            addresses: &addresses,
            ports: 40_000..=40_255,
        };
        let code = program(&wanted, Taken::Answers, 3).unwrap();
        assert!(code.len() < 4_096, "{}", code.len());
    }

    #[test]
    fn words_keep_their_order_and_their_bits() {
        let address = "8001:203:405:607:809:a0b:c0d:feff".parse().unwrap();
        assert_eq!(
            words_of(address).map(i32::cast_unsigned),
            [0x8001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_feff]
        );
    }
}
