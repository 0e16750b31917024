//! A target that answers for every address of a network and costs next to nothing: a program in the
//! kernel turns each SYN around where it arrives. Which ports are open is a hash of address and
//! port, which whoever asks can compute as well.
//!
//! What is not here: targets with real listeners (see `responder`).

use crate::{LabError, Namespace};
use nix::net::if_::if_nametoindex;
use portolan_net::raw::xdp::assembler::{Assembler, Instruction, Label, Operation, Register};
use portolan_net::raw::xdp::assembler::{Size, Test};
use portolan_net::raw::xdp::bpf::{Action, Attached, Place, Program};
use std::net::Ipv4Addr;

/// Answers for [`PrefixResponder::NETWORK`] on one interface; dropping it ends that.
#[derive(Debug)]
pub struct PrefixResponder {
    _attached: Attached,
    open_one_in: u32,
}

impl PrefixResponder {
    /// What it answers for, from the range that no network uses (RFC 2544): 198.18.0.0/15 but for
    /// the first 256 addresses, which belong to the ends of the wires.
    pub const NETWORK: &str = "198.18.0.0/15";

    /// Begins to answer SYNs that arrive at `interface` of `namespace` for the network: by SYN-ACK
    /// where [`is_open`](Self::is_open) holds, and else by RST. Whatever else comes for the network
    /// is dropped; all other packets are left to the kernel. The way to the network is the
    /// scanner's matter: a route by the address that the kernel has on the interface.
    ///
    /// One port in `open_one_in` is open, none when it is 0.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        open_one_in: u32,
    ) -> Result<Self, LabError> {
        let answer = |source| LabError::Answer {
            interface: interface.to_owned(),
            source,
        };
        let attached = namespace.enter(|| {
            let index = if_nametoindex(interface).map_err(|errno| LabError::Interface {
                interface: interface.to_owned(),
                source: errno.into(),
            })?;
            let program = Program::load("lab_responder", &program(open_one_in)).map_err(answer)?;
            // In the driver of a veth each frame would be copied first, and answers would be dropped
            // unless the other end had a program too (or GRO).
            program.attach(index, Place::Generic).map_err(answer)
        })??;
        Ok(Self {
            _attached: attached,
            open_one_in,
        })
    }

    /// Whether it says that this port is open.
    pub fn is_open(&self, address: Ipv4Addr, port: u16) -> bool {
        is_open(address, port, self.open_one_in)
    }
}

/// The truth that [`program`] computes in the kernel.
fn is_open(address: Ipv4Addr, port: u16, open_one_in: u32) -> bool {
    let hash = u64::from(address.to_bits()) << 16 | u64::from(port);
    let hash = hash.wrapping_mul(FIRST_FACTOR);
    let hash = (hash ^ hash >> SHIFT).wrapping_mul(SECOND_FACTOR) >> 32;
    hash.checked_rem(open_one_in.into()) == Some(0)
}

/// Turns a SYN around. Offsets are those of Ethernet (14 bytes), IPv4 without options (20) and TCP.
fn program(open_one_in: u32) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let [pass, drop] = [code.label(), code.label()];
    classify(&mut code, pass, drop);
    judge(&mut code, open_one_in);
    answer(&mut code);
    turn_around(&mut code);
    code.end(Action::TRANSMIT.value());
    code.place(drop);
    code.end(Action::DROP.value());
    code.place(pass);
    code.end(Action::PASS.value());
    // Every label is placed above, a few dozen instructions from its jumps.
    code.finish().unwrap_or_default()
}

/// Goes on with SYNs for the network: the frame in R2, the address in R5.
fn classify(code: &mut Assembler, pass: Label, drop: Label) {
    use Register::{R1, R2, R3, R4, R5};
    code.load(Size::Word, R2, R1, CONTEXT_DATA);
    code.load(Size::Word, R3, R1, CONTEXT_DATA_END);
    code.set(R4, R2);
    code.compute(Operation::Add, R4, FRAME_BYTES_MIN);
    code.jump_if(R4, Test::Above, R3, pass);
    code.load(Size::Half, R4, R2, ETHER_TYPE);
    code.turn(Size::Half, R4);
    code.jump_if(R4, Test::Differs, 0x0800, pass);
    code.load(Size::Byte, R4, R2, IP_VERSION);
    code.jump_if(R4, Test::Differs, 0x45, pass);
    code.load(Size::Byte, R4, R2, IP_PROTOCOL);
    code.jump_if(R4, Test::Differs, 6, pass);
    code.load(Size::Half, R4, R2, IP_FRAGMENT);
    code.turn(Size::Half, R4);
    code.jump_if(R4, Test::AnyBit, 0x3fff, pass);
    code.load(Size::Word, R5, R2, IP_DESTINATION);
    code.turn(Size::Word, R5);
    code.set(R4, R5);
    code.compute(Operation::ShiftRight, R4, 17);
    code.jump_if(R4, Test::Differs, NETWORK, pass);
    code.set(R4, R5);
    code.compute(Operation::ShiftRight, R4, 8);
    code.jump_if(R4, Test::Equal, WIRES, pass);
    code.load(Size::Byte, R4, R2, TCP_FLAGS);
    code.compute(Operation::And, R4, FIN | SYN | RST | ACK);
    code.jump_if(R4, Test::Differs, SYN, drop);
}

/// The hash in R0, and in R1 the flags of the answer.
fn judge(code: &mut Assembler, open_one_in: u32) {
    use Register::{R0, R1, R2, R3, R4, R5};
    code.load(Size::Half, R4, R2, TCP_DESTINATION);
    code.turn(Size::Half, R4);
    code.set(R0, R5);
    code.compute(Operation::ShiftLeft, R0, 16);
    code.compute(Operation::Or, R0, R4);
    code.set_long(R3, FIRST_FACTOR);
    code.compute(Operation::Multiply, R0, R3);
    code.set(R3, R0);
    code.compute(Operation::ShiftRight, R3, SHIFT);
    code.compute(Operation::ExclusiveOr, R0, R3);
    code.set_long(R3, SECOND_FACTOR);
    code.compute(Operation::Multiply, R0, R3);
    code.compute(Operation::ShiftRight, R0, 32);
    code.set(R1, RST | ACK);
    if open_one_in > 0 {
        let closed = code.label();
        code.set(R3, R0);
        code.compute_word(Operation::Remainder, R3, open_one_in.cast_signed());
        code.jump_if(R3, Test::Differs, 0, closed);
        code.set(R1, SYN | ACK);
        code.place(closed);
    }
}

/// Writes sequence numbers and flags, and brings the checksum up to date (RFC 1624 §3). What was
/// offered as options is accepted as it stands.
fn answer(code: &mut Assembler) {
    use Register::{R0, R1, R2, R3, R4};
    code.load(Size::Half, R4, R2, TCP_CHECKSUM);
    code.compute(Operation::ExclusiveOr, R4, 0xffff);
    for place in [TCP_SEQUENCE, TCP_ACKNOWLEDGEMENT, TCP_FLAGS_WORD] {
        code.load(Size::Word, R3, R2, place);
        code.compute_word(Operation::ExclusiveOr, R3, -1);
        code.compute(Operation::Add, R4, R3);
    }
    code.load(Size::Word, R3, R2, TCP_SEQUENCE);
    code.turn(Size::Word, R3);
    code.compute_word(Operation::Add, R3, 1);
    code.turn(Size::Word, R3);
    code.store(Size::Word, R2, TCP_ACKNOWLEDGEMENT, R3);
    code.store(Size::Word, R2, TCP_SEQUENCE, R0);
    code.store(Size::Byte, R2, TCP_FLAGS, R1);
    for place in [TCP_SEQUENCE, TCP_ACKNOWLEDGEMENT, TCP_FLAGS_WORD] {
        code.load(Size::Word, R3, R2, place);
        code.compute(Operation::Add, R4, R3);
    }
    // Six words and a half: below 2^35, and so folded by four steps.
    for _ in 0..4 {
        code.set(R3, R4);
        code.compute(Operation::And, R4, 0xffff);
        code.compute(Operation::ShiftRight, R3, 16);
        code.compute(Operation::Add, R4, R3);
    }
    code.compute(Operation::ExclusiveOr, R4, 0xffff);
    code.store(Size::Half, R2, TCP_CHECKSUM, R4);
}

/// Source and destination change places, which no checksum shows.
fn turn_around(code: &mut Assembler) {
    let pairs = [
        (Size::Word, 0, 6),
        (Size::Half, 4, 10),
        (Size::Word, IP_SOURCE, IP_DESTINATION),
        (Size::Half, TCP_SOURCE, TCP_DESTINATION),
    ];
    for (size, one, other) in pairs {
        code.load(size, Register::R3, Register::R2, one);
        code.load(size, Register::R4, Register::R2, other);
        code.store(size, Register::R2, one, Register::R4);
        code.store(size, Register::R2, other, Register::R3);
    }
}

const FIRST_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND_FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
const SHIFT: i32 = 29;
/// 198.18.0.0/15, and 198.18.0.0/24.
const NETWORK: i32 = (FIRST.to_bits() >> 17).cast_signed();
const WIRES: i32 = (FIRST.to_bits() >> 8).cast_signed();
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

// Places in `struct xdp_md`.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;

// Places in the frame.
const ETHER_TYPE: i16 = 12;
const IP_VERSION: i16 = 14;
const IP_FRAGMENT: i16 = 20;
const IP_PROTOCOL: i16 = 23;
const IP_SOURCE: i16 = 26;
const IP_DESTINATION: i16 = 30;
const TCP_SOURCE: i16 = 34;
const TCP_DESTINATION: i16 = 36;
const TCP_SEQUENCE: i16 = 38;
const TCP_ACKNOWLEDGEMENT: i16 = 42;
/// Offset of the data, flags and window.
const TCP_FLAGS_WORD: i16 = 46;
const TCP_FLAGS: i16 = 47;
const TCP_CHECKSUM: i16 = 50;
const FRAME_BYTES_MIN: i32 = 54;

const FIN: i32 = 0x01;
const SYN: i32 = 0x02;
const RST: i32 = 0x04;
const ACK: i32 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(open_one_in: u32, expected: std::ops::RangeInclusive<usize>) {
        let addresses = (0..16).map(|last| Ipv4Addr::new(198, 19, 7, last));
        let open = addresses
            .flat_map(|address| (1..=4_096).map(move |port| (address, port)))
            .filter(|(address, port)| is_open(*address, *port, open_one_in))
            .count();
        assert!(expected.contains(&open), "{open} of 65536");
    }

    #[test]
    fn about_as_many_ports_are_open_as_were_asked_for() {
        check(0, 0..=0);
        check(1, 65_536..=65_536);
        check(2, 32_000..=33_500);
        check(256, 200..=312);
    }
}
