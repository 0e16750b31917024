//! A target with many open ports: accepts on each and closes at once. It says nothing, so a scan
//! of its ports measures the scanner.

use crate::{LabError, Namespace};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::Backlog;
use std::net::{Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How often the thread looks whether it should end, in milliseconds.
const STOP_LOOK_MS: u16 = 50;

/// Listeners that are ready in one turn of the loop.
const READY_MAX: usize = 256;

/// Connections that wait to be accepted: what Linux allows unless it is told otherwise
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Listening ports in a namespace; dropping it closes them.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Opens `ports` on every IPv4 and IPv6 address of `namespace`. They are open when this
    /// returns.
    pub fn start(namespace: &Namespace, ports: &[u16]) -> Result<Self, LabError> {
        let listeners = namespace.enter(|| listen(ports))??;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        // The sockets keep their namespace, whichever thread serves them.
        let thread = std::thread::spawn(move || serve(&listeners, &asked));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed by its thread; the ports are closed either way.
            let _ = thread.join();
        }
    }
}

fn listen(ports: &[u16]) -> Result<Vec<TcpListener>, LabError> {
    ports
        .iter()
        .map(|port| {
            let listen = |source| LabError::Listen {
                port: *port,
                source,
            };
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).map_err(listen)?;
            listener.set_nonblocking(true).map_err(listen)?;
            // The standard library's queue of 128 overflows when a million hosts share it.
            let backlog = Backlog::new(BACKLOG).map_err(|error| listen(error.into()))?;
            nix::sys::socket::listen(&listener, backlog).map_err(|error| listen(error.into()))?;
            Ok(listener)
        })
        .collect()
}

fn serve(listeners: &[TcpListener], stop: &AtomicBool) {
    let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else {
        return;
    };
    for (index, listener) in listeners.iter().enumerate() {
        let data = u64::try_from(index).unwrap_or(u64::MAX);
        if epoll
            .add(listener, EpollEvent::new(EpollFlags::EPOLLIN, data))
            .is_err()
        {
            return;
        }
    }
    let mut ready = [EpollEvent::empty(); READY_MAX];
    while !stop.load(Ordering::Relaxed) {
        let count = epoll
            .wait(&mut ready, EpollTimeout::from(STOP_LOOK_MS))
            .unwrap_or(0);
        for event in ready.iter().take(count) {
            let index = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(listener) = listeners.get(index) {
                // Until the queue is empty: each accepted connection is dropped, which closes it.
                while listener.accept().is_ok() {}
            }
        }
    }
}
