//! Open and closed ports on loopback that a test makes for itself.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// Listening sockets on addresses of this machine alone; dropping them closes them.
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
}

/// A server that treats every connection in one way, for as long as the test runs.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Runs until the process of the test ends.
    _thread: JoinHandle<()>,
}

impl Listeners {
    /// `count` listening sockets on `address`, each on a port that the system chooses.
    pub(crate) fn open(address: impl Into<IpAddr>, count: usize) -> Self {
        let address = address.into();
        let bind = |_| TcpListener::bind(SocketAddr::new(address, 0)).unwrap();
        Self {
            sockets: (0..count).map(bind).collect(),
        }
    }

    /// Their ports, in ascending order.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self
            .sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        ports.sort_unstable();
        ports
    }
}

/// An address of 127.0.0.0/8 that no other test uses, so that tests may run side by side.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 64;
    let [_, high, middle, low] = ((std::process::id() % 0xffff) * 64 + number).to_be_bytes();
    // .0 and .255 at the end look like a network and a broadcast.
    Ipv4Addr::new(127, 64 + high, middle, low.clamp(1, 254))
}

/// Ports on `address` that refuse: they were free a moment ago.
pub(crate) fn closed(address: impl Into<IpAddr>, count: usize) -> Vec<u16> {
    Listeners::open(address, count).ports()
}

impl Server {
    /// A server on `address` that hands every connection to `treat`, each on a thread of its own.
    pub(crate) fn start(address: Ipv4Addr, treat: fn(TcpStream)) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || treat(stream));
            }
        });
        Self {
            port,
            _thread: thread,
        }
    }

    /// A server that says `greeting` and then waits.
    pub(crate) fn greeting(address: Ipv4Addr, greeting: &'static [u8]) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    // The scanner may have gone already, which is its right.
                    let _ = stream.write_all(greeting);
                    wait_for_end(&mut stream);
                });
            }
        });
        Self {
            port,
            _thread: thread,
        }
    }
}

/// Reads until the other side closes.
pub(crate) fn wait_for_end(stream: &mut TcpStream) {
    let _ = std::io::copy(stream, &mut std::io::sink());
}
