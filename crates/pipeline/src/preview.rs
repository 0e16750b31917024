//! What a plan would do, worked out without sending anything.

use crate::limits::Limits;
use crate::orders::Orders;
use portolan_model::{Discovery, Endpoint, Plan, Preview, Shard, Transport};
use portolan_targets::{Order, OrderError};

/// Probes that are shown as an example of the order.
const FIRST_SHOWN: u64 = 5;
/// Connects a second that one thread begins at best; `docs/benchmarks.md` has the measurement.
const CONNECTS_A_SECOND: u64 = 40_000;
/// Probes that look for one host.
const PROBES_THAT_LOOK: u64 = 10;
/// Datagrams that the UDP engine sends a second.
const DATAGRAMS_A_SECOND: u64 = 20_000;
/// What the passes of the UDP engine wait for silent ports, all together.
const UDP_WAITS_S: u64 = 2;
/// Packets of a connect that a host refuses: the SYN and its reset.
const PACKETS_MIN: u64 = 2;
/// Probes to a port that stays silent: how often the engine asks without loss.
const PROBES_SILENT: u64 = 3;

/// Seconds after which the kernel repeats a SYN that nobody answers (tcp(7), `tcp_syn_retries`):
/// five times a second apart (`tcp_syn_linear_timeouts`), then after twice the time. Kernels that
/// double the time from the first repeat on send fewer.
const SYN_REPEATS_S: [u64; 6] = [1, 2, 3, 4, 5, 7];
/// Wait for a silent port while nothing is known of its host, in milliseconds.
const WAIT_MS: u32 = 1_300;

/// Works out what `plan` would do.
pub fn preview(plan: &Plan) -> Result<Preview, OrderError> {
    let orders = Orders::of(plan)?;
    let probes = orders.total();
    let limits = Limits::of(plan, probes);
    let first = |order: &Option<Order>, transport| {
        let window = order.as_ref().and_then(|order| order.window(0));
        let slots = window.into_iter().flat_map(move |window| {
            (0..FIRST_SHOWN).filter_map(move |at| {
                let slot = window.slot(at)?;
                let address = window.address(slot.host)?;
                Some(Endpoint::new(address, transport, slot.port).to_string())
            })
        });
        slots.collect::<Vec<String>>()
    };
    let first = [
        first(&orders.tcp, Transport::Tcp),
        first(&orders.udp, Transport::Udp),
    ];
    let udp_probes = orders.udp.as_ref().map_or(0, Order::total);
    let tcp_probes = probes.saturating_sub(udp_probes);
    let addresses = u64::try_from(plan.addresses.len()).unwrap_or(u64::MAX);
    let by_pace = CONNECTS_A_SECOND.saturating_mul(u64::from(limits.workers));
    let asked = least(plan.pace.rate, plan.scope.rate);
    let rate = least(asked, Some(by_pace)).unwrap_or(by_pace).max(1);
    let per_host = if plan.shard == Shard::WHOLE {
        u64::from(plan.tcp.len()).saturating_add(u64::from(plan.udp.len()))
    } else {
        probes.div_ceil(addresses.max(1))
    };
    let host_rate = least(plan.pace.host_rate, plan.scope.host_rate);
    let by_rate = probes.div_ceil(rate);
    let by_host = host_rate.map_or(0, |rate| per_host.div_ceil(rate.max(1)));
    let retries = plan
        .pace
        .retries
        .map_or(PROBES_SILENT, |retries| u64::from(retries) + 1);
    let packets_silent = retries.saturating_mul(packets_unanswered(wait_ms(plan)));
    let packets_silent = packets_silent.max(PACKETS_MIN);
    let silent_s = silent_seconds(plan, tcp_probes.saturating_mul(retries), limits);
    Ok(Preview {
        addresses,
        ports: plan.tcp.len(),
        udp_ports: plan.udp.len(),
        probes,
        packets_min: probes.saturating_mul(PACKETS_MIN),
        packets_max: tcp_probes
            .saturating_mul(packets_silent.max(PACKETS_MIN))
            .saturating_add(udp_probes.saturating_mul(retries))
            .saturating_add(packets_that_look(plan.discovery, addresses)),
        seconds_min: by_rate.max(by_host),
        seconds_max: silent_s
            .max(udp_silent_seconds(plan, udp_probes.saturating_mul(retries)))
            .max(by_host.saturating_mul(retries)),
        hardest: plan.addresses.first(),
        hardest_probes: per_host,
        first: first.concat(),
        seed: plan.seed,
    })
}

/// Packets that look for hosts, when each host answers the last of them.
fn packets_that_look(discovery: Discovery, addresses: u64) -> u64 {
    match discovery {
        Discovery::Always => addresses.saturating_mul(PROBES_THAT_LOOK),
        Discovery::Never => 0,
    }
}

/// Time when nothing answers: every probe holds its place for the whole wait.
fn silent_seconds(plan: &Plan, probes: u64, limits: Limits) -> u64 {
    let places = u64::from(limits.capacity).saturating_mul(3) / 4;
    let by_places = probes.saturating_mul(wait_ms(plan)) / places.max(1) / 1_000;
    let rate = least(plan.pace.rate, plan.scope.rate);
    let by_rate = rate.map_or(0, |rate| probes / rate.max(1));
    by_places.max(by_rate).saturating_add(1)
}

/// The same for UDP, which waits for no port alone.
fn udp_silent_seconds(plan: &Plan, probes: u64) -> u64 {
    let rate = least(plan.pace.rate, plan.scope.rate);
    let rate = least(rate, Some(DATAGRAMS_A_SECOND)).unwrap_or(DATAGRAMS_A_SECOND);
    if probes == 0 {
        return 0;
    }
    (probes / rate.max(1)).saturating_add(UDP_WAITS_S)
}

fn wait_ms(plan: &Plan) -> u64 {
    u64::from(plan.pace.timeout_ms.unwrap_or(WAIT_MS))
}

/// Packets of one connect that nobody answers and that is taken back after `wait_ms`: the SYN, and
/// how often the kernel repeats it by then.
fn packets_unanswered(wait_ms: u64) -> u64 {
    let repeats = SYN_REPEATS_S.iter().filter(|at| **at * 1_000 < wait_ms);
    1_u64.saturating_add(u64::try_from(repeats.count()).unwrap_or(u64::MAX))
}

/// The stricter of two rates.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repeats_of_the_kernel_are_counted() {
        let check = |wait_ms, packets| assert_eq!(packets_unanswered(wait_ms), packets);
        check(500, 1);
        check(1_000, 1);
        check(1_300, 2);
        check(2_000, 2);
        check(2_500, 3);
        check(60_000, 7);
    }

    #[test]
    fn the_stricter_rate_holds() {
        assert_eq!(least(Some(20), Some(5)), Some(5));
        assert_eq!(least(None, Some(5)), Some(5));
        assert_eq!(least(Some(20), None), Some(20));
        assert_eq!(least(None, None), None);
    }
}
