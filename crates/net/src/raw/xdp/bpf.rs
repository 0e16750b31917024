//! The kernel's eBPF machine (`bpf(2)`): loading programs, trying them on a frame, attaching them
//! to interfaces, and the map that leads from a receive queue to a socket. Everything ends with the
//! value that stands for it, also when the process is killed.
//!
//! What is not here: the programs (see [`super::assembler`] for how they are written).

use super::assembler::Instruction;
use nix::errno::Errno;
use nix::libc;
use std::ffi::{c_int, c_long};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// A call failed.
    #[error("{action} failed ({})", .errno.desc())]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The kernel does not hold the program for safe.
    #[error("the kernel refuses the program ({}): {said}", .errno.desc())]
    Unsafe {
        /// What the kernel said.
        errno: Errno,
        /// Its last words on it.
        said: String,
    },
}

/// What becomes of a frame (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action(pub u32);

impl Action {
    /// It is dropped.
    pub const DROP: Self = Self(1);
    /// The kernel goes on with it.
    pub const PASS: Self = Self(2);
    /// It goes to a socket or another interface.
    pub const REDIRECT: Self = Self(4);
    /// It goes back by the interface it came from.
    pub const TRANSMIT: Self = Self(3);

    /// As a program returns it.
    pub const fn value(self) -> i32 {
        self.0.cast_signed()
    }
}

/// A function that programs can call (`bpf-helpers(7)`): sends the frame to what stands in a map
/// under a number, or says what to do when nothing does.
pub const REDIRECT_BY_MAP: i32 = 51;

/// Where in the kernel a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the driver.
    Driver,
    /// Behind every driver, once the kernel has made its own form of the frame.
    Generic,
}

/// A loaded program for frames.
#[derive(Debug)]
pub struct Program {
    file: OwnedFd,
}

/// A program at work on an interface; dropping it takes it away.
#[derive(Debug)]
pub struct Attached {
    _file: OwnedFd,
}

/// Sockets by number of receive queue.
#[derive(Debug)]
pub struct SocketMap {
    file: OwnedFd,
}

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What it returned.
    pub action: Action,
    /// The frame after it.
    pub frame: Vec<u8>,
}

impl Program {
    /// Loads a program that the kernel lists under `name`, of which it keeps 15 bytes.
    ///
    /// # Errors
    /// When this process may not, or the kernel does not hold the program for safe.
    pub fn load(name: &str, instructions: &[Instruction]) -> Result<Self, BpfError> {
        let errno = match load(name, instructions, &mut []) {
            Ok(file) => return Ok(Self { file }),
            Err(errno) => errno,
        };
        if errno == Errno::EPERM {
            return Err(failed("loading a program")(errno));
        }
        let mut log = vec![0; LOG_BYTES];
        // Once more, for the reason.
        let again = load(name, instructions, &mut log);
        again
            .map(|file| Self { file })
            .map_err(|errno| BpfError::Unsafe {
                errno,
                said: last_words(&log),
            })
    }

    /// Has the program work on what arrives at the interface with this index, until the value is
    /// dropped. A program that is there already stays, and this one is refused (`EBUSY`).
    ///
    /// # Errors
    /// When the kernel, the driver, or another program stands against it.
    pub fn attach(&self, interface: u32, place: Place) -> Result<Attached, BpfError> {
        let request = LinkRequest {
            program: number(&self.file),
            interface,
            kind: ATTACH_XDP,
            flags: match place {
                Place::Driver => FLAG_DRIVER,
                Place::Generic => FLAG_GENERIC,
            },
        };
        let file = file_of(LINK_CREATE, request).map_err(failed("attaching a program"))?;
        Ok(Attached { _file: file })
    }

    /// Runs the program once on a frame that nobody receives. It has 14 bytes at least.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn try_on(&self, frame: &[u8]) -> Result<Trial, BpfError> {
        let mut out = vec![0; frame.len().saturating_add(TRIAL_SPARE_BYTES)];
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut request = TrialRequest {
            program: number(&self.file),
            bytes_in: length(frame),
            bytes_out: length(&out),
            data_in: address(frame.as_ptr()),
            data_out: address(out.as_mut_ptr()),
            repeat: 1,
            ..TrialRequest::default()
        };
        call(PROGRAM_TRY, &mut request).map_err(failed("trying a program"))?;
        out.truncate(usize::try_from(request.bytes_out).unwrap_or(0));
        Ok(Trial {
            action: Action(request.returned),
            frame: out,
        })
    }
}

impl SocketMap {
    /// A map for the queues with numbers below `queues`.
    ///
    /// # Errors
    /// When this process may not.
    pub fn create(queues: u32) -> Result<Self, BpfError> {
        let request = MapRequest {
            kind: MAP_OF_SOCKETS,
            key_bytes: 4,
            value_bytes: 4,
            entries: queues,
            flags: 0,
        };
        let file = file_of(MAP_CREATE, request).map_err(failed("making a map of sockets"))?;
        Ok(Self { file })
    }

    /// Sends what a program redirects to `queue` to this socket (`AF_XDP`).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn insert(&self, queue: u32, socket: impl AsFd) -> Result<(), BpfError> {
        let value = socket.as_fd().as_raw_fd();
        let mut request = EntryRequest {
            map: number(&self.file),
            _pad: 0,
            key: address(std::ptr::from_ref(&queue)),
            value: address(std::ptr::from_ref(&value)),
            flags: 0,
        };
        call(MAP_UPDATE, &mut request).map_err(failed("putting a socket into a map"))?;
        Ok(())
    }

    /// The number of the open file, for [`super::assembler::Assembler::set_map`].
    pub fn number(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

fn failed(action: &'static str) -> impl Fn(Errno) -> BpfError {
    move |errno| BpfError::Kernel { action, errno }
}

/// Loads a program; what the kernel has to say about it goes to `log`, unless that is empty.
fn load(name: &str, instructions: &[Instruction], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut request = ProgramRequest {
        kind: PROGRAM_XDP,
        instructions: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        first: address(instructions.as_ptr()),
        licence: address(LICENCE.as_ptr()),
        name: [0; NAME_BYTES],
        expected: ATTACH_XDP,
        ..ProgramRequest::default()
    };
    if !log.is_empty() {
        request.log_level = 1;
        request.log_bytes = u32::try_from(log.len()).unwrap_or(u32::MAX);
        request.log = address(log.as_mut_ptr());
    }
    // The last byte ends the name.
    let room = request.name.iter_mut().take(NAME_BYTES - 1);
    for (place, byte) in room.zip(name.bytes()) {
        *place = byte;
    }
    file_of(PROGRAM_LOAD, request)
}

/// The end of what the kernel says about a program that it refuses.
fn last_words(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.trim_end_matches('\0').lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    lines.get(first..).unwrap_or_default().join("; ")
}

/// A call that answers with an open file.
fn file_of<T: Request>(command: c_int, mut request: T) -> Result<OwnedFd, Errno> {
    let file = c_int::try_from(call(command, &mut request)?).map_err(|_| Errno::EBADF)?;
    #[expect(unsafe_code, reason = "the call has no safe interface")]
    // SAFETY: the kernel has just opened this file for the caller (with close-on-exec, as it always
    // does for this call), and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// The part of `union bpf_attr` that a command reads and writes.
///
/// # Safety
/// The type has the layout that the kernel documents for the command it is used with, without
/// padding, every pattern of bits is a value of it, and every address in it is that of memory which
/// is as long as the request says and lives until the end of the call.
#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
unsafe trait Request {}

#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
// SAFETY: the layout is that of `bpf(2)` for `BPF_MAP_CREATE`; there are no addresses.
unsafe impl Request for MapRequest {}

#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
// SAFETY: the layout is that of `bpf(2)` for `BPF_MAP_UPDATE_ELEM`. Both addresses are of four bytes
// on the stack of the caller, as the map's key and value are long.
unsafe impl Request for EntryRequest {}

#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
// SAFETY: the layout is that of `bpf(2)` for `BPF_PROG_LOAD`. The addresses are those of slices that
// the caller borrows for the call and of a constant; their lengths stand beside them, and the
// licence ends with a zero.
unsafe impl Request for ProgramRequest {}

#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
// SAFETY: the layout is that of `bpf(2)` for `BPF_PROG_TEST_RUN`. The addresses are those of the
// frame, which is only read, and of a buffer; their lengths stand beside them.
unsafe impl Request for TrialRequest {}

#[expect(unsafe_code, reason = "what the kernel reads and writes in place")]
// SAFETY: the layout is that of `bpf(2)` for `BPF_LINK_CREATE`; there are no addresses.
unsafe impl Request for LinkRequest {}

fn call<T: Request>(command: c_int, request: &mut T) -> Result<c_long, Errno> {
    #[expect(unsafe_code, reason = "the call has no safe interface")]
    // SAFETY: the pointer and the length describe `request`, which is borrowed for the call. What
    // the kernel may do with it and with the addresses in it is what `Request` promises.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(request),
            size_of::<T>(),
        )
    };
    Errno::result(result)
}

fn number(file: &OwnedFd) -> u32 {
    // An open file has a number from 0 on.
    file.as_raw_fd().cast_unsigned()
}

fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.expose_provenance()).unwrap_or(0)
}

/// For `BPF_MAP_CREATE`.
#[repr(C)]
struct MapRequest {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

/// For `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct EntryRequest {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// For `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgramRequest {
    kind: u32,
    instructions: u32,
    first: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
    interface: u32,
    expected: u32,
}

/// For `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TrialRequest {
    program: u32,
    returned: u32,
    bytes_in: u32,
    bytes_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// For `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkRequest {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

const MAP_CREATE: c_int = 0;
const MAP_UPDATE: c_int = 2;
const PROGRAM_LOAD: c_int = 5;
const PROGRAM_TRY: c_int = 10;
const LINK_CREATE: c_int = 28;
/// `BPF_MAP_TYPE_XSKMAP`.
const MAP_OF_SOCKETS: u32 = 17;
/// `BPF_PROG_TYPE_XDP`.
const PROGRAM_XDP: u32 = 6;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE`.
const FLAG_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`.
const FLAG_DRIVER: u32 = 1 << 2;
const NAME_BYTES: usize = 16;
/// No function is called that asks for more.
const LICENCE: &[u8] = b"MIT\0";
/// What is read of the kernel's reasons.
const LOG_BYTES: usize = 256 << 10;
const LOG_LINES: usize = 4;
/// What a program may add to a frame.
const TRIAL_SPARE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_layout_of_the_kernel() {
        assert_eq!(size_of::<MapRequest>(), 20);
        assert_eq!(size_of::<EntryRequest>(), 32);
        assert_eq!(std::mem::offset_of!(ProgramRequest, name), 48);
        assert_eq!(size_of::<ProgramRequest>(), 72);
        assert_eq!(std::mem::offset_of!(TrialRequest, data_in), 16);
        assert_eq!(size_of::<TrialRequest>(), 40);
        assert_eq!(size_of::<LinkRequest>(), 16);
    }

    #[test]
    fn the_end_of_a_long_reason_is_kept() {
        let log = b"one\ntwo\nthree\nfour\nfive\n\0\0\0";
        assert_eq!(last_words(log), "two; three; four; five");
        assert_eq!(last_words(&[0; 8]), "");
    }
}
