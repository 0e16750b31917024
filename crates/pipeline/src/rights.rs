//! What each thread of a run may still do once it is under way, and where the rest is given up.
//! Sockets that need a right are open by then.
//!
//! What is not here: how rights are given up (`portolan-net`).

use portolan_net::privilege::Capability;
use portolan_net::rights::keep_only;

/// Ports below this one are privileged, unless the system has another bound (ip(7),
/// `ip_unprivileged_port_start`).
const PRIVILEGED_BELOW: u16 = 1_024;

/// A thread of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    /// Makes connections.
    Connections,
    /// Sends datagrams, some from the port that their service expects.
    Datagrams,
    /// Sends raw packets by sockets that are all open.
    Packets,
    /// Sends raw packets by sockets that open when the way to a target shows them.
    PacketsOnTheWay,
    /// Owns the run: writes checkpoints and results, and looks at open ports.
    Run,
}

/// Gives up what the calling thread, which is `thread`, does not need for `source_port`. Answers what
/// the user should know.
pub(crate) fn give_up(thread: Thread, source_port: Option<u16>) -> Option<String> {
    let refused = keep_only(&kept(thread, source_port)).err()?;
    Some(format!(
        "the system did not let this program give up its rights ({refused}), so it scans with all \
         of them; a sandbox that forbids capset(2) or prctl(2) does that"
    ))
}

/// What `thread` goes on to need.
fn kept(thread: Thread, source_port: Option<u16>) -> Vec<Capability> {
    let mut kept = Vec::new();
    let is_privileged = source_port.is_some_and(|port| port < PRIVILEGED_BELOW);
    match thread {
        Thread::Connections => {}
        Thread::Datagrams => kept.push(Capability::NetBindService),
        // Their ports are held already.
        Thread::Packets => return kept,
        Thread::PacketsOnTheWay => {
            // Buffers larger than usual are an administrator's.
            return vec![Capability::Bpf, Capability::NetAdmin, Capability::NetRaw];
        }
        // Folders of other users are written to under sudo.
        Thread::Run => kept.push(Capability::DacOverride),
    }
    if is_privileged && thread != Thread::Datagrams {
        kept.push(Capability::NetBindService);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(thread: Thread, source_port: Option<u16>, expected: &[Capability]) {
        assert_eq!(kept(thread, source_port), expected, "{thread:?}");
    }

    #[test]
    fn a_thread_keeps_what_it_needs() {
        check(Thread::Packets, None, &[]);
        check(Thread::Packets, Some(512), &[]);
        check(Thread::Connections, None, &[]);
        check(Thread::Connections, Some(1_024), &[]);
        check(Thread::Connections, Some(20), &[Capability::NetBindService]);
        check(Thread::Datagrams, None, &[Capability::NetBindService]);
        check(Thread::Datagrams, Some(53), &[Capability::NetBindService]);
        check(Thread::Run, None, &[Capability::DacOverride]);
        check(
            Thread::Run,
            Some(20),
            &[Capability::DacOverride, Capability::NetBindService],
        );
    }
}
