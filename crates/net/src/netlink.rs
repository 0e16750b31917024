//! Questions to the kernel over a route netlink socket (`rtnetlink(7)`): messages, their attributes,
//! and the conversation itself.
//!
//! What is not here: which questions there are and what the answers mean (see `route`, `link` and
//! `neighbours`).

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Why the kernel did not tell what was asked over netlink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The kernel understood the question and answers with an error.
    #[error("the kernel answers {}", .0.desc())]
    Answered(Errno),
    /// The kernel stopped answering in the middle, or answered what cannot be read.
    #[error("the kernel's answer over netlink ended early ({reason}); run the command again")]
    Broken {
        /// What was wrong.
        reason: String,
    },
    /// What was listed changed meanwhile; the list may lack entries.
    #[error("the kernel's list changed while it was read; run the command again")]
    Changed,
    /// No netlink socket, or the request could not be sent.
    #[error(
        "the kernel refuses netlink route ({}): a sandbox (seccomp, container) blocks it; run \
         outside the sandbox, or without raw packets",
        .0.desc()
    )]
    Refused(Errno),
}

impl NetlinkError {
    fn broken(reason: &str) -> Self {
        Self::Broken {
            reason: reason.to_owned(),
        }
    }
}

/// An open conversation with the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket to the kernel.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(NetlinkError::Refused)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(NetlinkError::Refused)?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(ANSWER_TIMEOUT_S, 0),
        )
        .map_err(NetlinkError::Refused)?;
        Ok(Self {
            socket,
            sequence: 0,
            answer: vec![0; ANSWER_BYTES_MAX],
        })
    }

    /// Asks, and gives every message of the answer to `each`.
    pub(crate) fn ask(
        &mut self,
        mut question: Question,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = question.finish(self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), bytes, &kernel, MsgFlags::empty())
            .map_err(NetlinkError::Refused)?;
        let mut changed = false;
        loop {
            let length = receive(&self.socket, &mut self.answer)?;
            let datagram = self
                .answer
                .get(..length)
                .ok_or_else(|| NetlinkError::broken("a message is longer than its buffer"))?;
            for message in messages(datagram) {
                // The rest of an answer that was given up earlier has another number.
                if message.sequence != self.sequence {
                    continue;
                }
                changed |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_NOOP => continue,
                    NLMSG_OVERRUN => return Err(NetlinkError::broken("answers were lost")),
                    NLMSG_ERROR | NLMSG_DONE => return end(message, changed),
                    _ => each(message),
                }
                if message.flags & NLM_F_MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// One datagram of the answer; its length, which may exceed the buffer.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, NetlinkError> {
    loop {
        match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(NetlinkError::broken("no answer in time")),
            Err(errno) => return Err(NetlinkError::broken(errno.desc())),
        }
    }
}

/// How the last message of an answer ends it. Both kinds begin with an error number, 0 for none.
fn end(message: Message<'_>, changed: bool) -> Result<(), NetlinkError> {
    let code = u32_at(message.payload, 0).map_or(0, u32::cast_signed);
    if code != 0 {
        Err(NetlinkError::Answered(Errno::from_raw(
            code.saturating_neg(),
        )))
    } else if changed {
        Err(NetlinkError::Changed)
    } else {
        Ok(())
    }
}

/// A message to the kernel under construction.
#[derive(Debug)]
pub(crate) struct Question {
    bytes: Vec<u8>,
}

impl Question {
    /// A question for one object.
    pub(crate) fn one(kind: u16, header: &[u8]) -> Self {
        Self::with_flags(kind, NLM_F_REQUEST, header)
    }

    /// A question for all objects.
    pub(crate) fn all(kind: u16, header: &[u8]) -> Self {
        Self::with_flags(kind, NLM_F_REQUEST | NLM_F_DUMP, header)
    }

    fn with_flags(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(header);
        let mut question = Self { bytes };
        question.align();
        question
    }

    /// Adds an attribute.
    #[must_use]
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = value.len().saturating_add(ATTRIBUTE_HEADER_BYTES);
        // Values are addresses and numbers; the kernel refuses a length that is cut.
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.align();
        self
    }

    /// Adds an attribute that holds an address.
    #[must_use]
    pub(crate) fn address(self, kind: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The message with its length and number.
    pub(crate) fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        for (at, value) in [(0, length), (8, sequence)] {
            if let Some(field) = self.bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&value.to_ne_bytes());
            }
        }
        &self.bytes
    }
}

#[cfg(test)]
impl Question {
    /// What follows the netlink header, for attributes that hold attributes.
    pub(crate) fn attributes(&self) -> &[u8] {
        &self.bytes[NETLINK_HEADER_BYTES..]
    }
}

#[cfg(test)]
impl<'a> Message<'a> {
    /// A message that is the only one of an answer.
    pub(crate) const fn for_test(kind: u16, payload: &'a [u8]) -> Self {
        Self {
            kind,
            flags: 0,
            sequence: 1,
            payload,
        }
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram; ends at the first that is not whole.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let message = Message {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            sequence: u32_at(rest, 8)?,
            payload: rest.get(NETLINK_HEADER_BYTES..length)?,
        };
        rest = after(rest, length);
        Some(message)
    })
}

/// The attributes of a message behind its fixed header, as (kind, value); ends at the first that is
/// not whole.
pub(crate) fn attributes(bytes: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes.get(header..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & ATTRIBUTE_KIND;
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        rest = after(rest, length);
        Some((kind, value))
    })
}

/// What follows the first `length` bytes; messages and attributes are aligned to four bytes.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The 16-bit number at `at` in the order of this machine.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|it| u16::from_ne_bytes(*it))
}

/// The 32-bit number at `at` in the order of this machine.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|it| u32::from_ne_bytes(*it))
}

/// The address that an attribute holds.
pub(crate) fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(value).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

/// The family of `address` as netlink writes it.
pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// `AF_UNSPEC`, in one byte as netlink headers have it.
pub(crate) const AF_UNSPEC: u8 = 0;
/// `AF_INET`.
pub(crate) const AF_INET: u8 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u8 = 10;

/// Longest wait for the next part of an answer. The kernel answers from memory.
const ANSWER_TIMEOUT_S: i64 = 5;
/// The kernel fills at most 32 KiB with one part of a list.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const NETLINK_HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Without the two flags above it (`NLA_TYPE_MASK`).
const ATTRIBUTE_KIND: u16 = 0x3fff;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_MULTI: u16 = 0x02;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        let mut first = Question::all(24, &[7; 12])
            .attribute(1, &[1, 2, 3, 4])
            .attribute(0x8002, &[5, 6, 7])
            .address(3, "2001:db8::1".parse().unwrap());
        let mut bytes = first.finish(9).to_vec();
        bytes.extend_from_slice(Question::one(25, &[8; 4]).finish(10));
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = datagram();
        let found: Vec<_> = messages(&bytes).collect();
        let heads: Vec<_> = found.iter().map(|it| (it.kind, it.sequence)).collect();
        assert_eq!(heads, [(24, 9), (25, 10)]);
        assert_eq!(found[0].payload[..12], [7; 12]);
        let attributes: Vec<_> = attributes(found[0].payload, 12).collect();
        assert_eq!(attributes[0], (1, &[1, 2, 3, 4][..]));
        assert_eq!(attributes[1], (2, &[5, 6, 7][..]));
        assert_eq!(
            address(attributes[2].1),
            Some("2001:db8::1".parse().unwrap())
        );
        assert_eq!(attributes.len(), 3);
        assert_eq!(found[1].payload, [8; 4]);
    }

    #[test]
    fn a_cut_datagram_has_fewer_messages_and_never_panics() {
        let bytes = datagram();
        for length in 0..bytes.len() {
            let found: Vec<_> = messages(&bytes[..length]).collect();
            assert!(found.len() < 2, "{length}");
            for message in found {
                for cut in 0..=message.payload.len() {
                    assert!(attributes(&message.payload[..cut], 12).count() <= 3);
                }
            }
        }
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for length in [0_u32, 1, 15, 17, u32::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.resize(16, 0);
            assert_eq!(messages(&bytes).count(), 0, "{length}");
        }
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.resize(8, 0);
            assert_eq!(attributes(&bytes, 0).count(), 0, "{length}");
        }
    }

    #[test]
    fn the_last_message_says_how_it_ended() {
        fn check(code: i32, changed: bool, expected: &Result<(), NetlinkError>) {
            let payload = code.to_ne_bytes();
            let message = Message {
                kind: NLMSG_DONE,
                flags: 0,
                sequence: 1,
                payload: &payload,
            };
            assert_eq!(&end(message, changed), expected);
        }
        check(0, false, &Ok(()));
        check(0, true, &Err(NetlinkError::Changed));
        check(
            -101,
            false,
            &Err(NetlinkError::Answered(Errno::ENETUNREACH)),
        );
        check(
            i32::MIN,
            false,
            &Err(NetlinkError::Answered(Errno::UnknownErrno)),
        );
    }
}
