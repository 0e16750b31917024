//! The kernel's list of sockets over netlink (`sock_diag(7)`). Only reads; nothing is
//! joined to processes here.

use super::Listening;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_ESTABLISHED, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use portolan_model::Transport;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::{fmt, io};

/// Why a list of sockets could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiagError {
    /// No netlink socket, or the request could not be sent.
    #[error(
        "the kernel refuses netlink sock_diag ({reason}): a sandbox (seccomp, container) blocks \
         it, or the kernel lacks CONFIG_INET_DIAG; run outside the sandbox, or look with `ss -ltnu`"
    )]
    Refused {
        /// What the kernel said.
        reason: String,
    },
    /// The list was asked for and the kernel has no handler for it.
    #[error(
        "the kernel has no list of {list} sockets ({reason}); load its module with \
         `sudo modprobe {module}`"
    )]
    NoHandler {
        /// Which list.
        list: List,
        /// What the kernel said.
        reason: String,
        /// The module that answers this request.
        module: &'static str,
    },
    /// The kernel stopped answering in the middle, or answered what cannot be read.
    #[error("the list of {list} sockets ended early ({reason}); run the command again")]
    Broken {
        /// Which list.
        list: List,
        /// What was wrong.
        reason: String,
    },
}

/// One of the kernel's lists of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    transport: Transport,
    family: u8,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.family == AF_INET {
            "IPv4"
        } else {
            "IPv6"
        };
        write!(f, "{family} {}", self.transport)
    }
}

/// TCP connections whose local port is one asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open, opening or closing.
    pub live: usize,
    /// In TIME-WAIT (RFC 9293 §3.3.2).
    pub time_wait: usize,
    /// Bound, neither connected nor listening (Linux 6.8 and later tell).
    pub bound: usize,
}

/// Counts the TCP connections of this machine whose local port is `port`, listeners left out.
///
/// # Errors
/// When the kernel refuses the list.
pub fn connections(port: u16) -> Result<Connections, DiagError> {
    let mut count = Connections::default();
    for family in [AF_INET, AF_INET6] {
        let list = List {
            transport: Transport::Tcp,
            family,
        };
        let states = CONNECTED | BOUND_INACTIVE;
        let found = dump(Request { list, states, port })?.sockets;
        // Kernels differ in which states they compare the port for.
        for socket in found.iter().filter(|it| it.port == port) {
            let counter = match socket.state {
                TCP_TIME_WAIT => &mut count.time_wait,
                // Sockets asked for as BOUND_INACTIVE are listed as closed.
                TCP_CLOSE | TCP_BOUND_INACTIVE => &mut count.bound,
                _ => &mut count.live,
            };
            *counter = counter.saturating_add(1);
        }
    }
    Ok(count)
}

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    list: List,
    /// Bits by TCP state.
    states: u32,
    /// Local port, 0 for all.
    port: u16,
}

impl Request {
    /// The four lists that together hold whatever answers on a port.
    pub(super) const LISTENING: [Self; 4] = [
        Self::listening(Transport::Tcp, AF_INET),
        Self::listening(Transport::Tcp, AF_INET6),
        Self::listening(Transport::Udp, AF_INET),
        Self::listening(Transport::Udp, AF_INET6),
    ];

    const fn listening(transport: Transport, family: u8) -> Self {
        let states = match transport {
            Transport::Tcp => StateFlags::LISTEN.bits(),
            // An unconnected UDP socket is in state CLOSE; unbound ones are not in the list.
            Transport::Udp => StateFlags::CLOSE.bits(),
        };
        Self {
            list: List { transport, family },
            states,
            port: 0,
        }
    }

    fn packet(self) -> Vec<u8> {
        let mut socket_id = if self.list.family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        };
        socket_id.source_port = self.port;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let request = SockDiagMessage::InetRequest(InetRequest {
            family: self.list.family,
            protocol: match self.list.transport {
                Transport::Tcp => IPPROTO_TCP,
                Transport::Udp => IPPROTO_UDP,
            },
            // INET_DIAG_SKV6ONLY comes with every IPv6 listener without being asked for.
            extensions: ExtensionFlags::empty(),
            states: StateFlags::from_bits_retain(self.states),
            socket_id,
        });
        let mut message = NetlinkMessage::new(header, request.into());
        message.finalize();
        let mut packet = vec![0; message.buffer_len()];
        message.serialize(&mut packet);
        packet
    }

    fn module(self) -> &'static str {
        match self.list.transport {
            Transport::Tcp => "tcp_diag",
            Transport::Udp => "udp_diag",
        }
    }

    fn broken(self, reason: impl fmt::Display) -> DiagError {
        DiagError::Broken {
            list: self.list,
            reason: reason.to_string(),
        }
    }
}

/// A socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) transport: Transport,
    pub(super) state: u8,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Interface index, 0 for all.
    pub(super) interface: u32,
    pub(super) one_family: Option<bool>,
    pub(super) inode: u64,
    pub(super) uid: u32,
    pub(super) receive_queue: u32,
    pub(super) send_queue: u32,
}

/// The sockets of one list.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) sockets: Vec<Socket>,
    /// Whether [`Listening::SOCKETS_MAX`] ended it.
    pub(super) cut: bool,
}

/// Asks the kernel and reads the whole answer.
pub(super) fn dump(request: Request) -> Result<Dump, DiagError> {
    let refused = |error: io::Error| DiagError::Refused {
        reason: reason(&error),
    };
    let mut netlink = netlink_sys::Socket::new(NETLINK_SOCK_DIAG).map_err(refused)?;
    netlink.bind_auto().map_err(refused)?;
    let kernel = netlink_sys::SocketAddr::new(0, 0);
    netlink.connect(&kernel).map_err(refused)?;
    netlink.send(&request.packet(), 0).map_err(refused)?;
    let mut dump = Dump::default();
    loop {
        wait(&netlink).map_err(|error| request.broken(reason(&error)))?;
        let (datagram, _) = netlink
            .recv_from_full()
            .map_err(|error| request.broken(reason(&error)))?;
        if read_datagram(request, &datagram, &mut dump)? == Progress::Done {
            return Ok(dump);
        }
    }
}

fn wait(netlink: &netlink_sys::Socket) -> io::Result<()> {
    let mut ready = [PollFd::new(netlink.as_fd(), PollFlags::POLLIN)];
    match nix::poll::poll(&mut ready, PollTimeout::from(ANSWER_TIMEOUT_MS)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Takes the messages out of one datagram.
fn read_datagram(
    request: Request,
    datagram: &[u8],
    dump: &mut Dump,
) -> Result<Progress, DiagError> {
    let mut rest = datagram;
    // The shortest netlink message is its header.
    while rest.len() >= NETLINK_HEADER_BYTES {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
            .map_err(|error| request.broken(error))?;
        match message.payload {
            NetlinkPayload::Done(done) if done.code < 0 => {
                let error = io::Error::from_raw_os_error(done.code.saturating_neg());
                return Err(rejected(request, &error));
            }
            NetlinkPayload::Done(_) => return Ok(Progress::Done),
            NetlinkPayload::Error(error) if error.code.is_some() => {
                return Err(rejected(request, &error.to_io()));
            }
            NetlinkPayload::Overrun(_) => return Err(request.broken("answers were lost")),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                if dump.sockets.len() >= Listening::SOCKETS_MAX {
                    dump.cut = true;
                    return Ok(Progress::Done);
                }
                dump.sockets.push(socket(request.list, &response));
            }
            _ => {}
        }
        // Messages are aligned to four bytes (netlink(7)).
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        let next = length.max(NETLINK_HEADER_BYTES).next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(Progress::More)
}

fn rejected(request: Request, error: &io::Error) -> DiagError {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::ENOENT | nix::errno::Errno::EINVAL) => DiagError::NoHandler {
            list: request.list,
            reason: reason(error),
            module: request.module(),
        },
        _ => DiagError::Refused {
            reason: reason(error),
        },
    }
}

fn socket(list: List, response: &InetResponse) -> Socket {
    let header = &response.header;
    let id = &header.socket_id;
    let one_family = match id.source_address {
        IpAddr::V4(_) => Some(true),
        IpAddr::V6(_) => response.nlas.iter().find_map(|nla| match nla {
            Nla::SkV6Only(only) => Some(*only),
            _ => None,
        }),
    };
    Socket {
        transport: list.transport,
        state: header.state,
        address: id.source_address,
        port: id.source_port,
        interface: id.interface_id,
        one_family,
        inode: u64::from(header.inode),
        uid: header.uid,
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
    }
}

/// What the kernel said, without Rust's "(os error n)".
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Longest wait for the next part of an answer. The kernel answers from memory.
const ANSWER_TIMEOUT_MS: u16 = 5_000;
const NETLINK_HEADER_BYTES: usize = 16;
/// `TCP_BOUND_INACTIVE` of the kernel's `tcp_states.h`.
const TCP_BOUND_INACTIVE: u8 = 13;
const BOUND_INACTIVE: u32 = 1 << TCP_BOUND_INACTIVE;
/// Every state from ESTABLISHED to CLOSING but CLOSE and LISTEN.
const CONNECTED: u32 = {
    let all = (1_u32 << 12) - (1 << TCP_ESTABLISHED);
    all & !StateFlags::CLOSE.bits() & !StateFlags::LISTEN.bits()
};

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{DoneMessage, ErrorMessage};
    use netlink_packet_sock_diag::inet::InetResponseHeader;
    use std::num::NonZeroI32;

    const TCP6: Request = Request::listening(Transport::Tcp, AF_INET6);

    fn answer(address: &str, only: Option<bool>) -> NetlinkPayload<SockDiagMessage> {
        let address: IpAddr = address.parse().unwrap();
        let mut socket_id = SocketId::new_v6();
        socket_id.source_address = address;
        socket_id.source_port = 80;
        let response = InetResponse {
            header: InetResponseHeader {
                family: if address.is_ipv4() { AF_INET } else { AF_INET6 },
                state: 10,
                timer: None,
                socket_id,
                recv_queue: 1,
                send_queue: 128,
                uid: 33,
                inode: 4_000_000_000,
            },
            nlas: only.map(Nla::SkV6Only).into_iter().collect(),
        };
        SockDiagMessage::InetResponse(Box::new(response)).into()
    }

    fn datagram(payloads: Vec<NetlinkPayload<SockDiagMessage>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
            message.finalize();
            let at = bytes.len();
            bytes.resize(at + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[at..at + message.buffer_len()]);
        }
        bytes
    }

    fn error(code: i32) -> NetlinkPayload<SockDiagMessage> {
        let mut message = ErrorMessage::default();
        message.code = NonZeroI32::new(code);
        message.header = vec![0; 16];
        NetlinkPayload::Error(message)
    }

    fn check(bytes: &[u8], expected: &[(&str, Option<bool>)]) {
        let mut dump = Dump::default();
        let progress = read_datagram(TCP6, bytes, &mut dump).unwrap();
        assert_eq!(progress, Progress::Done);
        let found: Vec<_> = dump
            .sockets
            .iter()
            .map(|it| (it.address.to_string(), it.one_family))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(address, only)| ((*address).to_owned(), *only))
            .collect();
        assert_eq!(found, expected);
        for socket in dump.sockets {
            assert_eq!(
                (socket.port, socket.uid, socket.inode),
                (80, 33, 4_000_000_000)
            );
            assert_eq!((socket.receive_queue, socket.send_queue), (1, 128));
        }
    }

    #[test]
    fn every_message_of_a_datagram_is_read() {
        let done = || NetlinkPayload::Done(DoneMessage::default());
        let all = vec![
            answer("::", Some(false)),
            answer("::1", Some(true)),
            answer("fe80::1", None),
            answer("127.0.0.1", None),
            done(),
        ];
        check(
            &datagram(all),
            &[
                ("::", Some(false)),
                ("::1", Some(true)),
                ("fe80::1", None),
                ("127.0.0.1", Some(true)),
            ],
        );
        check(&datagram(vec![done()]), &[]);
    }

    #[test]
    fn a_cut_datagram_is_an_error_or_a_shorter_list_and_never_a_panic() {
        let whole = datagram(vec![answer("::", Some(false)), answer("::1", Some(true))]);
        for length in 0..whole.len() {
            let mut dump = Dump::default();
            let _ = read_datagram(TCP6, &whole[..length], &mut dump);
            assert!(dump.sockets.len() <= 1, "{length}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_load_or_that_a_sandbox_is_in_the_way() {
        let ask = |code| {
            let bytes = datagram(vec![error(code)]);
            read_datagram(TCP6, &bytes, &mut Dump::default())
                .unwrap_err()
                .to_string()
        };
        assert!(ask(-2).contains("modprobe tcp_diag"), "{}", ask(-2));
        assert!(ask(-2).contains("IPv6 tcp"), "{}", ask(-2));
        assert!(ask(-1).contains("sandbox"), "{}", ask(-1));
    }

    #[test]
    fn a_request_names_port_and_states() {
        let request = Request {
            list: TCP6.list,
            states: CONNECTED | BOUND_INACTIVE,
            port: 443,
        };
        let packet = request.packet();
        // After the 16 bytes of the header: family, protocol, extensions, padding, states, port.
        assert_eq!(&packet[16..18], &[AF_INET6, IPPROTO_TCP]);
        assert_eq!(packet[20..24], 0x2b7e_u32.to_ne_bytes());
        assert_eq!(packet[24..26], 443_u16.to_be_bytes());
    }
}
