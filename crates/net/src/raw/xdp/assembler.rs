//! Programs for the kernel's eBPF machine (RFC 9669), written as calls: instructions are data,
//! jumps go to labels.
//!
//! What is not here: loading them (see [`super::bpf`]), and what they are for.

/// One instruction, as `struct bpf_insn` of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, operation or size, and source or mode (RFC 9669 §3).
    pub code: u8,
    /// The destination, and the source in the other four bits.
    pub registers: u8,
    /// Instructions to skip, or bytes to add to an address.
    pub offset: i16,
    /// The constant.
    pub value: i32,
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Register {
    /// What a call returned, and what the program returns.
    R0,
    /// The first argument of a call or of the program; a call destroys it and the next four.
    R1,
    /// The second argument.
    R2,
    /// The third.
    R3,
    /// The fourth.
    R4,
    /// The fifth.
    R5,
    /// Outlives calls, as the next three.
    R6,
    /// Outlives calls.
    R7,
    /// Outlives calls.
    R8,
    /// Outlives calls.
    R9,
}

/// A register or a constant, which is extended by its sign to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// What a register holds.
    Of(Register),
    /// A constant.
    Value(i32),
}

/// Arithmetic (RFC 9669 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Sum, modulo 2^64.
    Add = 0x00,
    /// Product, modulo 2^64.
    Multiply = 0x20,
    /// Bits that either has.
    Or = 0x40,
    /// Bits that both have.
    And = 0x50,
    /// Towards the highest bit.
    ShiftLeft = 0x60,
    /// Towards the lowest, with zeros behind.
    ShiftRight = 0x70,
    /// What is left of a division of numbers without sign.
    Remainder = 0x90,
    /// Bits that one of both has.
    ExclusiveOr = 0xa0,
    /// The operand itself.
    Move = 0xb0,
}

/// A comparison of numbers without sign (RFC 9669 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Test {
    /// Both are alike.
    Equal = 0x10,
    /// The register is above the operand.
    Above = 0x20,
    /// They share a bit.
    AnyBit = 0x40,
    /// They differ.
    Differs = 0x50,
    /// The register is below the operand.
    Below = 0xa0,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// Four bytes.
    Word = 0x00,
    /// Two.
    Half = 0x08,
    /// One.
    Byte = 0x10,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why a program cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// A jump leads to a label that was never placed.
    #[error("the jump at instruction {0} leads nowhere")]
    Nowhere(usize),
    /// A jump is longer than an instruction can say.
    #[error("the jump at instruction {0} is too long")]
    TooFar(usize),
}

/// A program under construction.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    /// Where each label is.
    places: Vec<Option<usize>>,
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Of(register)
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Self {
        Self::Value(value)
    }
}

impl Assembler {
    /// Computes with all 64 bits; the result is in `into`.
    pub fn compute(&mut self, operation: Operation, into: Register, by: impl Into<Operand>) {
        self.arithmetic(CLASS_LONG, operation, into, by.into());
    }

    /// Computes with the lower 32 bits; the upper ones become zero.
    pub fn compute_word(&mut self, operation: Operation, into: Register, by: impl Into<Operand>) {
        self.arithmetic(CLASS_WORD, operation, into, by.into());
    }

    /// Sets a register to a register, or to a constant extended by its sign.
    pub fn set(&mut self, into: Register, to: impl Into<Operand>) {
        self.compute(Operation::Move, into, to);
    }

    /// Sets a register to 64 bits.
    pub fn set_long(&mut self, into: Register, value: u64) {
        self.push_long(into, 0, value);
    }

    /// Sets a register to the map that the open file `number` is, as a call takes it.
    pub fn set_map(&mut self, into: Register, number: i32) {
        self.push_long(into, SOURCE_MAP, u64::from(number.cast_unsigned()));
    }

    /// Loads from `offset` bytes behind the address in `from`, in the order of bytes of the
    /// machine; the upper bits become zero.
    pub fn load(&mut self, size: Size, into: Register, from: Register, offset: i16) {
        let code = CLASS_LOAD | MODE_MEMORY | size as u8;
        self.push(code, pair(into, from), offset, 0);
    }

    /// Stores the lower bits of `what` to `offset` bytes behind the address in `to`.
    pub fn store(&mut self, size: Size, to: Register, offset: i16, what: Register) {
        let code = CLASS_STORE | MODE_MEMORY | size as u8;
        self.push(code, pair(to, what), offset, 0);
    }

    /// Turns the lower bits from the order of bytes of the machine to that of the network, or
    /// back; the upper bits become zero.
    pub fn turn(&mut self, size: Size, register: Register) {
        let bits = match size {
            Size::Byte => return,
            Size::Half => 16,
            Size::Word => 32,
        };
        self.push(CODE_TO_BIG_ENDIAN, register as u8, 0, bits);
    }

    /// A new label, which is nowhere yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts a label before the next instruction.
    pub fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) {
        self.push_jump(CLASS_JUMP, 0, Operand::Value(0), label);
    }

    /// Goes on at `label` when the test of all 64 bits holds.
    pub fn jump_if(&mut self, it: Register, test: Test, than: impl Into<Operand>, label: Label) {
        self.push_jump(CLASS_JUMP | test as u8, it as u8, than.into(), label);
    }

    /// Goes on at `label` when the test of the lower 32 bits holds.
    pub fn jump_if_word(
        &mut self,
        it: Register,
        test: Test,
        than: impl Into<Operand>,
        label: Label,
    ) {
        self.push_jump(CLASS_JUMP_WORD | test as u8, it as u8, than.into(), label);
    }

    /// Calls a function of the kernel by its number (`bpf-helpers(7)`).
    pub fn call(&mut self, function: i32) {
        self.push(CODE_CALL, 0, 0, function);
    }

    /// Ends with `value`.
    pub fn end(&mut self, value: i32) {
        self.set(Register::R0, value);
        self.end_here();
    }

    /// Ends with what [`Register::R0`] holds.
    pub fn end_here(&mut self) {
        self.push(CODE_EXIT, 0, 0, 0);
    }

    /// The program.
    ///
    /// # Errors
    /// When a jump leads nowhere, or too far.
    pub fn finish(mut self) -> Result<Vec<Instruction>, AssembleError> {
        for (at, label) in &self.jumps {
            let place = self.places.get(label.0).copied().flatten();
            let place = place.ok_or(AssembleError::Nowhere(*at))?;
            let distance = place.checked_signed_diff(at + 1);
            let distance = distance.and_then(|it| i16::try_from(it).ok());
            if let Some(jump) = self.instructions.get_mut(*at) {
                jump.offset = distance.ok_or(AssembleError::TooFar(*at))?;
            }
        }
        Ok(self.instructions)
    }

    fn arithmetic(&mut self, class: u8, operation: Operation, into: Register, by: Operand) {
        let (source, registers, value) = operand(into as u8, by);
        self.push(class | operation as u8 | source, registers, 0, value);
    }

    fn push_jump(&mut self, code: u8, it: u8, than: Operand, label: Label) {
        let (source, registers, value) = operand(it, than);
        self.jumps.push((self.instructions.len(), label));
        self.push(code | source, registers, 0, value);
    }

    /// A constant of 64 bits takes the place of two instructions (RFC 9669 §5.4).
    fn push_long(&mut self, into: Register, source: u8, value: u64) {
        let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0).cast_signed();
        let registers = into as u8 | source << 4;
        self.push(CODE_LOAD_LONG, registers, 0, half(value));
        self.push(0, 0, 0, half(value >> 32));
    }

    fn push(&mut self, code: u8, registers: u8, offset: i16, value: i32) {
        self.instructions.push(Instruction {
            code,
            registers: in_order(registers),
            offset,
            value,
        });
    }
}

/// The bit for the kind of operand, the registers, and the constant.
const fn operand(it: u8, other: Operand) -> (u8, u8, i32) {
    match other {
        Operand::Of(register) => (SOURCE_REGISTER, it | (register as u8) << 4, 0),
        Operand::Value(value) => (0, it, value),
    }
}

const fn pair(destination: Register, source: Register) -> u8 {
    destination as u8 | (source as u8) << 4
}

/// The destination is in the lower four bits, but in the upper ones on machines that store the
/// highest byte first.
const fn in_order(registers: u8) -> u8 {
    if cfg!(target_endian = "little") {
        registers
    } else {
        registers.rotate_left(4)
    }
}

// Classes, modes and codes (RFC 9669 §3, §4, §5).
const CLASS_LOAD: u8 = 0x01;
const CLASS_STORE: u8 = 0x03;
const CLASS_WORD: u8 = 0x04;
const CLASS_JUMP: u8 = 0x05;
const CLASS_JUMP_WORD: u8 = 0x06;
const CLASS_LONG: u8 = 0x07;
const MODE_MEMORY: u8 = 0x60;
const SOURCE_REGISTER: u8 = 0x08;
const SOURCE_MAP: u8 = 1;
const CODE_LOAD_LONG: u8 = 0x18;
const CODE_TO_BIG_ENDIAN: u8 = 0xdc;
const CODE_CALL: u8 = 0x85;
const CODE_EXIT: u8 = 0x95;

#[cfg(test)]
mod tests {
    use super::Register::{R0, R1, R2, R3, R7};
    use super::*;

    fn check(write: impl FnOnce(&mut Assembler), expected: &[(u8, u8, i16, i32)]) {
        let mut code = Assembler::default();
        write(&mut code);
        let found: Vec<_> = code
            .finish()
            .unwrap()
            .iter()
            .map(|it| (it.code, in_order(it.registers), it.offset, it.value))
            .collect();
        assert_eq!(found, expected);
    }

    /// The numbers are those that other assemblers give for the same.
    #[test]
    fn instructions_are_those_of_the_standard() {
        check(|code| code.set(R2, R1), &[(0xbf, 0x12, 0, 0)]);
        check(|code| code.set(R7, -5), &[(0xb7, 0x07, 0, -5)]);
        check(
            |code| code.compute(Operation::Add, R1, R2),
            &[(0x0f, 0x21, 0, 0)],
        );
        check(
            |code| code.compute_word(Operation::Remainder, R1, 7),
            &[(0x94, 0x01, 0, 7)],
        );
        check(
            |code| code.load(Size::Half, R3, R2, 12),
            &[(0x69, 0x23, 12, 0)],
        );
        check(
            |code| code.load(Size::Word, R3, R2, -4),
            &[(0x61, 0x23, -4, 0)],
        );
        check(
            |code| code.store(Size::Byte, R2, 9, R3),
            &[(0x73, 0x32, 9, 0)],
        );
        check(|code| code.turn(Size::Half, R3), &[(0xdc, 0x03, 0, 16)]);
        check(|code| code.turn(Size::Word, R3), &[(0xdc, 0x03, 0, 32)]);
        check(|code| code.call(51), &[(0x85, 0, 0, 51)]);
        check(|code| code.end(2), &[(0xb7, 0, 0, 2), (0x95, 0, 0, 0)]);
    }

    #[test]
    fn a_constant_of_64_bits_takes_two_places() {
        check(
            |code| code.set_long(R1, 0x8000_0001_0000_0002),
            &[(0x18, 0x01, 0, 2), (0, 0, 0, i32::MIN + 1)],
        );
        check(
            |code| code.set_map(R1, 9),
            &[(0x18, 0x11, 0, 9), (0, 0, 0, 0)],
        );
    }

    #[test]
    fn jumps_lead_to_their_labels_forwards_and_back() {
        check(
            |code| {
                let [back, on] = [code.label(), code.label()];
                code.place(back);
                code.jump_if(R1, Test::Above, R2, on);
                code.jump_if_word(R1, Test::Equal, -1, on);
                code.jump(back);
                code.place(on);
                code.set(R0, 0);
            },
            &[
                (0x2d, 0x21, 2, 0),
                (0x16, 0x01, 1, -1),
                (0x05, 0, -3, 0),
                (0xb7, 0, 0, 0),
            ],
        );
    }

    #[test]
    fn a_jump_without_a_place_or_beyond_reach_is_refused() {
        let mut code = Assembler::default();
        let label = code.label();
        code.end(0);
        code.jump(label);
        assert_eq!(code.clone().finish(), Err(AssembleError::Nowhere(2)));
        for _ in 0..=i16::MAX {
            code.set(R0, 0);
        }
        code.place(label);
        assert_eq!(code.finish(), Err(AssembleError::TooFar(2)));
    }
}
