//! What cannot be in a checkpoint that one run left. A checksum shows that a file is whole, not
//! that this program wrote it.

use crate::checkpoint::Checkpoint;
use crate::host_record::{SavedHost, SavedOpen};
use crate::orders::Orders;
use crate::outcome::{LISTED_MAX, Outcome};
use portolan_model::{Plan, PortReport, PortSet, Reason, State, Transport, Unanswered};
use roaring::RoaringBitmap;
use std::collections::HashSet;
use std::net::IpAddr;

/// Most further probes that a user can ask for.
const RETRIES_MAX: u8 = 20;
/// Longest wait for one probe that a user can ask for, in milliseconds.
const TIMEOUT_MAX_MS: u32 = 60_000;
/// Longest name of a run.
const RUN_ID_MAX: usize = 64;

/// The first thing that does not fit, in words that go on "its content contradicts itself".
pub(crate) fn find_contradiction(checkpoint: &Checkpoint) -> Option<String> {
    check(checkpoint).err()
}

fn check(checkpoint: &Checkpoint) -> Result<(), String> {
    let plan = &checkpoint.plan;
    check_plan(plan)?;
    check_run(checkpoint)?;
    let orders = Orders::of(plan).map_err(|error| error.to_string())?;
    let windows = orders.windows();
    if checkpoint.windows_ended > windows {
        let ended = checkpoint.windows_ended;
        return Err(format!("{ended} of {windows} windows are done"));
    }
    let mut seen = HashSet::new();
    for host in &checkpoint.hosts {
        check_address(plan, host.ip, &mut seen)?;
        check_host(checkpoint, host).map_err(|what| format!("{}: {what}", host.ip))?;
    }
    check_ended(checkpoint, &mut seen)?;
    check_unanswered(plan, &checkpoint.unanswered, &seen)?;
    for (reason, _) in &checkpoint.not_tested {
        if reason.tcp_state() != State::NotTested {
            return Err(format!("ports count as not tested for the reason {reason}"));
        }
    }
    let duration = checkpoint.counts.duration_s;
    if !duration.is_finite() || duration < 0.0 {
        return Err("its duration is no time".to_owned());
    }
    Ok(())
}

fn check_plan(plan: &Plan) -> Result<(), String> {
    let scope = &plan.scope;
    if plan.addresses.is_empty() || (plan.tcp.is_empty() && plan.udp.is_empty()) {
        return Err("its plan has nothing to probe".to_owned());
    }
    if !plan.addresses.without(&scope.allowed).is_empty()
        || !plan.addresses.intersection(&scope.denied).is_empty()
    {
        return Err("its plan has addresses outside its scope".to_owned());
    }
    let outside = |ports: &PortSet| {
        !plan.tcp.without(ports).is_empty() || !plan.udp.without(ports).is_empty()
    };
    if scope.ports.as_ref().is_some_and(outside) {
        return Err("its plan has ports outside its scope".to_owned());
    }
    let pace = &plan.pace;
    let rates = [pace.rate, pace.host_rate, scope.rate, scope.host_rate];
    if rates.contains(&Some(0)) || pace.max_time_s == Some(0) {
        return Err("its plan has a rate or a time of nothing".to_owned());
    }
    if pace.retries.is_some_and(|retries| retries > RETRIES_MAX) {
        return Err(format!("its plan has more than {RETRIES_MAX} retries"));
    }
    let fits = |timeout| (1..=TIMEOUT_MAX_MS).contains(&timeout);
    if !pace.timeout_ms.is_none_or(fits) {
        return Err(format!(
            "its plan waits for a probe for no time, or more than {TIMEOUT_MAX_MS} ms"
        ));
    }
    Ok(())
}

fn check_run(checkpoint: &Checkpoint) -> Result<(), String> {
    let (run, plan) = (&checkpoint.run, &checkpoint.plan);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if run.id.is_empty() || run.id.len() > RUN_ID_MAX || !run.id.chars().all(plain) {
        return Err("the name of its run is none that this program gives".to_owned());
    }
    if run.ports != plan.tcp || run.udp_ports != plan.udp || run.seed != plan.seed {
        return Err("its run is of another plan".to_owned());
    }
    Ok(())
}

fn check_address(plan: &Plan, ip: IpAddr, seen: &mut HashSet<IpAddr>) -> Result<(), String> {
    if !plan.addresses.contains(ip) {
        Err(format!("{ip} is none of its addresses"))
    } else if !seen.insert(ip) {
        Err(format!("{ip} is there twice"))
    } else {
        Ok(())
    }
}

fn check_host(checkpoint: &Checkpoint, host: &SavedHost) -> Result<(), String> {
    let awaits_looks = host.open.iter().any(|open| open.look_pending);
    if host.window > checkpoint.windows_ended
        || (host.window < checkpoint.windows_ended && !awaits_looks)
    {
        return Err("its window is not under way".to_owned());
    }
    let mut decided = RoaringBitmap::new();
    for SavedOpen { report, .. } in &host.open {
        check_open(&checkpoint.plan, report, &mut decided)?;
    }
    if !host.outcome.open.is_empty() {
        return Err("its open ports are there twice".to_owned());
    }
    check_outcome(&checkpoint.plan, &host.outcome, decided)
}

/// `decided` are the host's open ports.
fn check_outcome(plan: &Plan, outcome: &Outcome, mut decided: RoaringBitmap) -> Result<(), String> {
    let shows = |transport| {
        let answer = outcome.first_answer;
        answer.is_some_and(|answer| answer.shows_host(transport))
    };
    let any = outcome.first_answer.is_none_or(Reason::is_answer);
    // What shows the host over UDP may come from a device on the way over TCP, and it may be known
    // to be up by another answer than the first.
    let is_icmp = matches!(outcome.first_answer, Some(Reason::Icmp(_)));
    let may_be_up =
        is_icmp || shows(Transport::Tcp) || (shows(Transport::Udp) && !plan.udp.is_empty());
    let is_fit = if outcome.is_up {
        may_be_up
    } else {
        !shows(Transport::Tcp)
    };
    if !is_fit || !any {
        return Err("its answer does not show its state".to_owned());
    }
    for group in &outcome.groups {
        if group.state() == State::Open {
            return Err("an open port is counted among those that are not".to_owned());
        }
        if group.few.len() > LISTED_MAX || group.few.is_empty() == group.many.is_empty() {
            return Err("its ports are neither listed nor counted".to_owned());
        }
        for port in group.ports() {
            if !decides(plan, &mut decided, group.transport, port) {
                return Err(format!("port {port} was not asked, or is there twice"));
            }
        }
    }
    Ok(())
}

/// Takes a port among `decided`; `false`: it was not asked, or is there already.
fn decides(plan: &Plan, decided: &mut RoaringBitmap, transport: Transport, port: u16) -> bool {
    let number = u32::from(port);
    match transport {
        Transport::Tcp => plan.tcp.contains(port) && decided.insert(number),
        Transport::Udp => plan.udp.contains(port) && decided.insert(UDP_FROM + number),
    }
}

/// UDP ports stand behind the TCP ports.
const UDP_FROM: u32 = 1 << 16;

/// Takes an open port among `decided`.
fn check_open(plan: &Plan, port: &PortReport, decided: &mut RoaringBitmap) -> Result<(), String> {
    let number = port.port;
    let asked = match port.transport {
        Transport::Tcp => &plan.tcp,
        Transport::Udp => &plan.udp,
    };
    if !asked.contains(number) {
        Err(format!("port {number} was not asked"))
    } else if port.state != port.reason.state(port.transport) {
        Err(format!(
            "the reason of port {number} does not show its state"
        ))
    } else if port.state != State::Open || !decides(plan, decided, port.transport, number) {
        Err(format!("port {number} is not open, or there twice"))
    } else {
        Ok(())
    }
}

fn check_ended(checkpoint: &Checkpoint, seen: &mut HashSet<IpAddr>) -> Result<(), String> {
    let ended = &checkpoint.ended;
    for outcome in ended.outcomes.iter() {
        check_ended_outcome(&checkpoint.plan, &outcome)
            .map_err(|what| format!("a host that is done: {what}"))?;
    }
    let outcomes = ended.outcomes.len();
    let v4 = ended.v4.iter().map(|it| (IpAddr::from(it.0), it.1));
    let v6 = ended.v6.iter().map(|it| (IpAddr::from(it.0), it.1));
    for (ip, number) in v4.chain(v6) {
        check_address(&checkpoint.plan, ip, seen)?;
        if usize::try_from(number).is_ok_and(|number| number >= outcomes) {
            return Err(format!("{ip} ended in no way that is there"));
        }
    }
    if let Some(ip) = ended.macs.keys().find(|ip| !seen.contains(ip)) {
        return Err(format!("{ip} has a hardware address and is not there"));
    }
    Ok(())
}

fn check_ended_outcome(plan: &Plan, outcome: &Outcome) -> Result<(), String> {
    if outcome.first_answer.is_none() {
        return Err("nothing came back from it".to_owned());
    }
    let mut decided = RoaringBitmap::new();
    for report in &outcome.open {
        check_open(plan, report, &mut decided)?;
    }
    check_outcome(plan, outcome, decided)
}

fn check_unanswered(
    plan: &Plan,
    unanswered: &Unanswered,
    seen: &HashSet<IpAddr>,
) -> Result<(), String> {
    if !unanswered.addresses.without(&plan.addresses).is_empty() {
        return Err("addresses that did not answer are none of its own".to_owned());
    }
    if let Some(ip) = seen.iter().find(|ip| unanswered.addresses.contains(**ip)) {
        return Err(format!(
            "{ip} is among those that answered and those that did not"
        ));
    }
    if let Some((reason, _)) = unanswered.reasons.iter().find(|(it, _)| it.is_answer()) {
        return Err(format!("addresses that did not answer said {reason}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "contradiction_tests.rs"]
mod tests;
