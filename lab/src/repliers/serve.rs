//! Carries out the scripts of all repliers on one thread, and keeps account of every port. Memory is
//! bounded by the number of connections, each of which holds its script and what it says next.
//!
//! What is not here: what is said (`script`, `service`).

use super::Replier;
use super::script::{Act, script};
use crate::LabError;
use nix::libc::linger;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, setsockopt, sockopt};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the repliers saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Every port.
    pub ports: BTreeMap<u16, PortLedger>,
    /// Connections that were closed at once because there were too many: what was said on those
    /// ports was not what their kind says.
    pub turned_away: u64,
}

/// What one port saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortLedger {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that stood at once, at most.
    pub at_once: u64,
    /// Bytes that came.
    pub heard: u64,
    /// Time during which connections stood, all together.
    pub stood: Duration,
    standing: u64,
}

/// A port that is listened on.
#[derive(Debug)]
pub(super) struct Post {
    replier: Replier,
    listener: TcpListener,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    port: u16,
    began: Instant,
    acts: Vec<Act>,
    /// The act that is next or under way.
    at: usize,
    /// What is to be sent, and how much of it is.
    saying: Vec<u8>,
    said: usize,
    heard: Vec<u8>,
    heard_total: usize,
    /// When its pause is over.
    paused_until: Option<Instant>,
    /// Whether it has more to do than its turn allowed.
    is_busy: bool,
    peer: Peer,
    /// Whether it takes what the peer sends.
    takes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Ended,
    There,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ends,
    GoesOn,
}

/// All of them.
struct Floor {
    epoll: Epoll,
    posts: Vec<Post>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    ledger: Ledger,
}

/// Opens the ports.
pub(super) fn listen(repliers: &[Replier]) -> Result<Vec<Post>, LabError> {
    let open = |replier: &Replier| {
        let listen = |source| LabError::Listen {
            port: replier.port,
            source,
        };
        let bind = TcpListener::bind((Ipv6Addr::UNSPECIFIED, replier.port));
        let listener = bind.map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let set = |result: nix::Result<()>| result.map_err(|errno| listen(errno.into()));
        // Connections inherit these, and a window is told with the first packet.
        if replier.kind == super::Kind::Tarpit {
            set(setsockopt(&listener, sockopt::RcvBuf, &1))?;
        }
        set(setsockopt(&listener, sockopt::SndBuf, &SEND_BUFFER))?;
        set(Backlog::new(BACKLOG).and_then(|backlog| nix::sys::socket::listen(&listener, backlog)))?;
        Ok(Post {
            replier: *replier,
            listener,
        })
    };
    repliers.iter().map(open).collect()
}

/// Serves until told to stop.
pub(super) fn serve(posts: Vec<Post>, stop: &AtomicBool) -> Ledger {
    let Some(mut floor) = Floor::open(posts) else {
        return Ledger::default();
    };
    let mut events = [EpollEvent::empty(); EVENTS_MAX];
    while !stop.load(Ordering::Relaxed) {
        let wait = EpollTimeout::from(floor.wait_ms());
        let count = floor.epoll.wait(&mut events, wait).unwrap_or(0);
        for event in events.iter().take(count) {
            floor.take(*event);
        }
        floor.go_on();
    }
    let standing: Vec<u64> = floor.connections.keys().copied().collect();
    for id in standing {
        floor.end(id);
    }
    floor.ledger
}

impl Floor {
    fn open(posts: Vec<Post>) -> Option<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?;
        for (id, post) in (0..).zip(&posts) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, id);
            epoll.add(&post.listener, event).ok()?;
        }
        let ports = posts
            .iter()
            .map(|it| (it.replier.port, PortLedger::default()));
        Some(Self {
            ledger: Ledger {
                ports: ports.collect(),
                turned_away: 0,
            },
            next: u64::try_from(posts.len()).ok()?,
            epoll,
            posts,
            connections: BTreeMap::new(),
        })
    }

    /// Until the next connection goes on by itself, or it is looked whether all should end.
    fn wait_ms(&self) -> u16 {
        let now = Instant::now();
        let due = self.connections.values().filter_map(|it| it.due(now)).min();
        let wait = due.map_or(STOP_LOOK, |due| due.saturating_duration_since(now));
        // Rounded up, so that a moment that has not come is not asked for again and again.
        let ms = wait.min(STOP_LOOK).as_micros().div_ceil(1_000);
        u16::try_from(ms).unwrap_or(u16::MAX)
    }

    fn take(&mut self, event: EpollEvent) {
        let id = event.data();
        let post = usize::try_from(id).ok().and_then(|at| self.posts.get(at));
        if post.is_some() {
            self.accept(id);
            return;
        }
        let ends = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP;
        if let Some(connection) = self.connections.get_mut(&id) {
            // Who takes what comes sees the end behind it.
            if !connection.takes && event.events().intersects(ends) {
                connection.peer = Peer::Ended;
            }
            self.drive(id);
        }
    }

    fn accept(&mut self, post: u64) {
        for _ in 0..ACCEPTS_MAX {
            let at = usize::try_from(post).unwrap_or(usize::MAX);
            let Some(Post { replier, listener }) = self.posts.get(at) else {
                return;
            };
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let replier = *replier;
            if self.connections.len() >= CONNECTIONS_MAX {
                self.ledger.turned_away = self.ledger.turned_away.saturating_add(1);
                continue;
            }
            let id = self.next;
            // Each piece is to be a segment of its own.
            let is_ready = stream.set_nonblocking(true).and_then(|()| {
                stream.set_nodelay(true)?;
                let wanted = EpollFlags::EPOLLIN
                    | EpollFlags::EPOLLOUT
                    | EpollFlags::EPOLLRDHUP
                    | EpollFlags::EPOLLET;
                Ok(self.epoll.add(&stream, EpollEvent::new(wanted, id))?)
            });
            // A peer that is gone already.
            if is_ready.is_err() {
                continue;
            }
            self.next = self.next.saturating_add(1);
            let ledger = self.ledger.ports.entry(replier.port).or_default();
            ledger.connections = ledger.connections.saturating_add(1);
            ledger.standing = ledger.standing.saturating_add(1);
            ledger.at_once = ledger.at_once.max(ledger.standing);
            self.connections
                .insert(id, Connection::new(stream, &replier));
            self.drive(id);
        }
    }

    /// Lets every connection go on whose time has come.
    fn go_on(&mut self) {
        let now = Instant::now();
        let due = self.connections.iter();
        let due = due.filter(|(_, it)| it.due(now).is_some_and(|due| due <= now));
        let due: Vec<u64> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.drive(id);
        }
    }

    fn drive(&mut self, id: u64) {
        let fate = self.connections.get_mut(&id).map(Connection::drive);
        if fate == Some(Fate::Ends) {
            self.end(id);
        }
    }

    fn end(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let ledger = self.ledger.ports.entry(connection.port).or_default();
        let heard = u64::try_from(connection.heard_total).unwrap_or(u64::MAX);
        ledger.heard = ledger.heard.saturating_add(heard);
        ledger.standing = ledger.standing.saturating_sub(1);
        ledger.stood = ledger.stood.saturating_add(connection.began.elapsed());
    }
}

impl Connection {
    fn new(stream: TcpStream, replier: &Replier) -> Self {
        Self {
            stream,
            port: replier.port,
            began: Instant::now(),
            acts: script(replier),
            at: 0,
            saying: Vec::new(),
            said: 0,
            heard: Vec::new(),
            heard_total: 0,
            paused_until: None,
            is_busy: false,
            peer: Peer::There,
            takes: replier.kind != super::Kind::Tarpit,
        }
    }

    /// When it goes on without an event of its socket.
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.is_busy {
            Some(now)
        } else {
            self.paused_until
        }
    }

    /// Does what can be done now.
    fn drive(&mut self) -> Fate {
        self.is_busy = self.takes && !self.read();
        let mut turns = 0;
        while turns < ACTS_MAX {
            match self.write() {
                Written::All => {}
                Written::Broken => return Fate::Ends,
                Written::Waits => break,
            }
            if self.paused_until.is_some_and(|it| it > Instant::now()) {
                break;
            }
            self.paused_until = None;
            match self.act() {
                Done::Ends => return Fate::Ends,
                Done::Next => {}
                Done::Waits => break,
            }
            turns += 1;
        }
        self.is_busy |= turns == ACTS_MAX;
        match self.peer {
            Peer::Ended => Fate::Ends,
            Peer::There => Fate::GoesOn,
        }
    }

    /// Takes what has come; `false`: there may be more, of which no event will tell.
    fn read(&mut self) -> bool {
        let mut buffer = [0_u8; BUFFER];
        for _ in 0..READS_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.peer = Peer::Ended,
                Ok(length) => {
                    self.heard_total = self.heard_total.saturating_add(length);
                    let room = HEARD_MAX.saturating_sub(self.heard.len()).min(length);
                    self.heard
                        .extend_from_slice(buffer.get(..room).unwrap_or_default());
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.peer = Peer::Ended,
            }
            return true;
        }
        false
    }

    fn write(&mut self) -> Written {
        while let Some(rest @ [_, ..]) = self.saying.get(self.said..) {
            match self.stream.write(rest) {
                Ok(length) => self.said = self.said.saturating_add(length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Written::Waits,
                Err(_) => return Written::Broken,
            }
        }
        self.saying.clear();
        self.said = 0;
        Written::All
    }

    /// Carries out the next act.
    fn act(&mut self) -> Done {
        let Some(act) = self.acts.get_mut(self.at) else {
            return Done::Ends;
        };
        match act {
            Act::Answer(manner) => {
                let full = self.heard.len() >= HEARD_MAX;
                let Some(answer) = manner.answer(&self.heard) else {
                    return if full { Done::Ends } else { Done::Waits };
                };
                self.heard.drain(..answer.consumed.min(self.heard.len()));
                self.saying = answer.bytes;
                if answer.closes {
                    self.acts.truncate(0);
                }
                return Done::Next;
            }
            Act::Close => return Done::Ends,
            Act::HalfClose => {
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            Act::Hear(count) => {
                if self.heard_total < *count {
                    return Done::Waits;
                }
                self.heard.clear();
            }
            Act::Linger => {
                self.heard.clear();
                return Done::Waits;
            }
            Act::Pause(time) => self.paused_until = Some(Instant::now() + *time),
            Act::Repeat { bytes, every } => {
                self.saying.clone_from(bytes);
                self.heard.clear();
                self.paused_until = (!every.is_zero()).then(|| Instant::now() + *every);
                return Done::Next;
            }
            Act::Reset => {
                let abort = linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                let _ = setsockopt(&self.stream, sockopt::Linger, &abort);
                return Done::Ends;
            }
            Act::Say(bytes) => self.saying = std::mem::take(bytes),
        }
        self.at = self.at.saturating_add(1);
        Done::Next
    }
}

/// What came of an act.
enum Done {
    Ends,
    Next,
    Waits,
}

enum Written {
    All,
    Broken,
    /// The peer takes nothing now.
    Waits,
}

/// How often it is looked whether all should end.
const STOP_LOOK: Duration = Duration::from_millis(50);
/// Events in one turn of the loop, and connections accepted for one.
const EVENTS_MAX: usize = 256;
const ACCEPTS_MAX: usize = 256;
/// Connections that wait to be accepted, and those that are served at once.
const BACKLOG: i32 = 4_096;
const CONNECTIONS_MAX: usize = 4_096;
/// What the kernel keeps for a peer that does not read, in bytes.
const SEND_BUFFER: usize = 32 * 1_024;
/// What is read at once, how often in one turn, and what is kept of it.
const BUFFER: usize = 4_096;
const READS_MAX: usize = 64;
const HEARD_MAX: usize = 4_096;
/// Acts of one connection in one turn: after that the others have theirs.
const ACTS_MAX: usize = 64;
