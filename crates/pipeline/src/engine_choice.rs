//! Which engine probes: raw packets where they may be sent, and connections elsewhere.

use crate::prepare::PrepareError;
use portolan_model::{EngineChoice, IoChoice, Plan};
use portolan_net::privilege::{NoPackets, file_limit, may_use_packets};
use portolan_scan::SOURCE_PORTS;

/// Open files that raw packets need, to hold the ports that they come from beside everything else.
const FILES_MIN: u64 = 512;

/// The engine for a scan: `wished`, or raw packets where this process may use them, and connections
/// elsewhere. With raw packets `source_port` begins a block.
pub(crate) fn choose(
    wished: Option<EngineChoice>,
    source_port: Option<u16>,
) -> Result<EngineChoice, PrepareError> {
    // Where the limit cannot be read, what it is shows when files are opened.
    let files = file_limit().map_or(u64::MAX, |limit| limit.hard);
    decide(wished, source_port, files, may_use_packets)
}

/// Whether `engine` sends by what was wished for.
///
/// # Errors
/// When XDP sockets were asked for, and nothing would use them.
pub(crate) fn check_io(io: IoChoice, engine: EngineChoice) -> Result<(), PrepareError> {
    match (io, engine) {
        (IoChoice::Xdp, EngineChoice::Connect) => Err(PrepareError::FramesByConnect),
        _ => Ok(()),
    }
}

fn decide(
    wished: Option<EngineChoice>,
    source_port: Option<u16>,
    files: u64,
    may_use_packets: impl FnOnce() -> Result<(), NoPackets>,
) -> Result<EngineChoice, PrepareError> {
    let odd = source_port.filter(|port| !begins_block(*port));
    match (wished, odd) {
        (Some(EngineChoice::Connect), _) => Ok(EngineChoice::Connect),
        (None, odd) => {
            let may = odd.is_none() && files >= FILES_MIN && may_use_packets().is_ok();
            Ok(if may {
                EngineChoice::Syn
            } else {
                EngineChoice::Connect
            })
        }
        (Some(EngineChoice::Syn), Some(port)) => Err(PrepareError::SourceBlock {
            port,
            near: (port - port % SOURCE_PORTS).saturating_add(SOURCE_PORTS),
        }),
        (Some(EngineChoice::Syn), None) => {
            may_use_packets().map_err(PrepareError::Packets)?;
            Ok(EngineChoice::Syn)
        }
    }
}

/// Which engine asks the TCP ports of `plan` when the user wished for `wished`, and why that one;
/// `None`: there are no such ports.
pub fn engine_reason(plan: &Plan, wished: Option<EngineChoice>) -> Option<String> {
    if plan.tcp.is_empty() {
        return None;
    }
    let files = file_limit().map_or(u64::MAX, |limit| limit.hard);
    let why = why(plan, wished, files, may_use_packets);
    Some(format!("the engine is {}: {why}", plan.engine.as_str()))
}

fn why(
    plan: &Plan,
    wished: Option<EngineChoice>,
    files: u64,
    may_use_packets: impl FnOnce() -> Result<(), NoPackets>,
) -> String {
    match (wished, plan.engine, plan.source_port) {
        (Some(_), ..) => "it was asked for".to_owned(),
        (None, EngineChoice::Syn, _) => "raw packets may be sent".to_owned(),
        (None, EngineChoice::Connect, Some(port)) if !begins_block(port) => format!(
            "raw packets come from a block of {SOURCE_PORTS} ports, which {port} does not begin"
        ),
        (None, EngineChoice::Connect, _) if files < FILES_MIN => {
            format!("raw packets need {FILES_MIN} open files, and this process may have {files}")
        }
        (None, EngineChoice::Connect, _) => match may_use_packets() {
            Err(why) => why.to_string(),
            Ok(()) => "the scan began with it".to_owned(),
        },
    }
}

/// Whether a block of source ports can begin with `port`.
const fn begins_block(port: u16) -> bool {
    port != 0 && port.is_multiple_of(SOURCE_PORTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: Option<EngineChoice> = Some(EngineChoice::Connect);
    const SYN: Option<EngineChoice> = Some(EngineChoice::Syn);

    fn check(
        wished: Option<EngineChoice>,
        port: Option<u16>,
        may: bool,
        expected: Result<EngineChoice, &str>,
    ) {
        let may = || may.then_some(()).ok_or(NoPackets::NoCapability);
        let decided = decide(wished, port, 1_024, may).map_err(|error| error.to_string());
        match (&decided, expected) {
            (Err(said), Err(word)) => assert!(said.contains(word), "{said}"),
            (decided, expected) => assert_eq!(decided.as_ref().ok(), expected.ok().as_ref()),
        }
    }

    #[test]
    fn what_connections_do_not_use_is_not_asked_for_in_vain() {
        for io in [IoChoice::Auto, IoChoice::Packet, IoChoice::Xdp] {
            assert!(check_io(io, EngineChoice::Syn).is_ok());
            let by_connect = check_io(io, EngineChoice::Connect);
            assert_eq!(by_connect.is_err(), io == IoChoice::Xdp);
        }
    }

    #[test]
    fn few_open_files_leave_connections() {
        let decided = |wished| decide(wished, None, FILES_MIN - 1, || Ok(())).ok();
        assert_eq!(decided(None), CONNECT);
        assert_eq!(decided(SYN), SYN);
    }

    #[test]
    fn raw_packets_are_used_where_they_may_be() {
        check(None, None, true, Ok(EngineChoice::Syn));
        check(None, None, false, Ok(EngineChoice::Connect));
        check(None, Some(61_440), true, Ok(EngineChoice::Syn));
        check(None, Some(61_441), true, Ok(EngineChoice::Connect));
        check(CONNECT, None, true, Ok(EngineChoice::Connect));
        check(SYN, Some(61_440), true, Ok(EngineChoice::Syn));
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_is_an_error() {
        check(SYN, None, false, Err("packet sockets need the right"));
        check(SYN, Some(61_441), true, Err("61696"));
        check(SYN, Some(0), true, Err("256"));
    }
}
