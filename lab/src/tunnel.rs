//! Two namespaces joined by TUN interfaces, which carry packets without a link header, and a small
//! program that hands packets from one to the other, at once or after a delay. Needs `python3`.

use crate::wire::{await_answer, bring_up};
use crate::{LabError, Namespace};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Addresses of the target's end, from ranges that no network uses: 198.18.0.0/15 (RFC 2544) and
/// `2001:db8::/32` (RFC 3849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelAddresses {
    /// Of the target.
    pub target: Ipv4Addr,
    /// Of the target.
    pub target_v6: Ipv6Addr,
}

/// The pair. Dropping it removes both sides.
#[derive(Debug)]
pub struct Tunnel {
    /// Where the scan runs.
    pub scanner: Namespace,
    /// Where the ports are.
    pub target: Namespace,
    _relay: Relay,
}

/// The program between the two ends; dropping it ends it.
#[derive(Debug)]
struct Relay(Child);

/// Makes two TUN interfaces (`TUNSETIFF` with `IFF_TUN` and `IFF_NO_PI`), says so, and hands on
/// what comes out of either, in its order, so many seconds later as its argument says. It holds up to
/// 65,536 packets; further ones are lost.
const RELAY: &str = "
import collections, fcntl, os, select, struct, sys, time
delay = float(sys.argv[1])
ends = []
for name in (b'tun0', b'tun1'):
    end = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, 0x400454ca, struct.pack('16sH22x', name, 0x1001))
    ends.append(end)
other = {ends[0]: ends[1], ends[1]: ends[0]}
held = collections.deque()
print('ready', flush=True)
while True:
    wait = max(0.0, held[0][0] - time.monotonic()) if held else None
    for end in select.select(ends, [], [], wait)[0]:
        for _ in range(64):
            try:
                packet = os.read(end, 65536)
            except OSError:
                break  # Nothing more, or this end is down.
            if len(held) < 65536:
                held.append((time.monotonic() + delay, other[end], packet))
    now = time.monotonic()
    while held and held[0][0] <= now:
        _, end, packet = held.popleft()
        try:
            os.write(end, packet)
        except OSError:
            pass  # The other end is down, and a packet is lost.
";

impl Tunnel {
    /// Addresses of every tunnel: they are apart from each other, so all may have the same.
    pub const ADDRESSES: TunnelAddresses = TunnelAddresses {
        target: Ipv4Addr::new(198, 18, 6, 2),
        target_v6: Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2),
    };

    /// Makes the two and waits until the target can be reached.
    pub fn create() -> Result<Self, LabError> {
        Self::create_delayed(Duration::ZERO)
    }

    /// The same, with packets that take `each_way` longer in either direction.
    pub fn create_delayed(each_way: Duration) -> Result<Self, LabError> {
        let scanner = Namespace::create("scanner")?;
        let target = Namespace::create("target")?;
        let relay = scanner.enter(|| Relay::start(each_way))??;
        scanner.ip(&["link", "set", "tun1", "netns", target.name()])?;
        let near_v6 = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 1);
        bring_up(&scanner, "tun0", Ipv4Addr::new(198, 18, 6, 1), near_v6)?;
        let addresses = Self::ADDRESSES;
        bring_up(&target, "tun1", addresses.target, addresses.target_v6)?;
        scanner.enter(|| {
            await_answer(IpAddr::V4(addresses.target))?;
            await_answer(IpAddr::V6(addresses.target_v6))
        })??;
        Ok(Self {
            scanner,
            target,
            _relay: relay,
        })
    }
}

impl Relay {
    fn start(each_way: Duration) -> Result<Self, LabError> {
        let child = Command::new("python3")
            .args(["-c", RELAY, &each_way.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut relay = Self(child.map_err(|source| LabError::Start {
            command: "python3".to_owned(),
            source,
        })?);
        let mut said = String::new();
        if let Some(stdout) = relay.0.stdout.take() {
            // The end of the program ends the line too.
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        if said.trim_end() == "ready" {
            return Ok(relay);
        }
        let mut stderr = String::new();
        if let Some(mut last) = relay.0.stderr.take() {
            let _ = last.read_to_string(&mut stderr);
        }
        Err(LabError::Relay { stderr })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It has ended by itself, or is ended here; there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
