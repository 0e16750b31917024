//! Who may connect when, so that connections keep to a rate in total and to each host.
//!
//! What is not here: the pace of the probes, which is the engine's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rates that are kept by everybody who asks the same value.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Shortest time between two connections.
    apart: Option<Duration>,
    /// Shortest time between two connections to one host.
    apart_at_host: Option<Duration>,
    next: Mutex<Next>,
}

/// The moments from which the next connection may begin.
#[derive(Debug, Default)]
struct Next {
    anywhere: Option<Instant>,
    at_host: HashMap<IpAddr, Instant>,
}

/// Hosts whose next moment is remembered. One whose moment has passed is forgotten for another.
const HOSTS_MAX: usize = 4_096;
/// A turn that was taken late moves the following ones by so much less: timers have a grain of a
/// millisecond, which high rates would else be held back by.
const LATE_MAX: Duration = Duration::from_millis(5);
/// Wait for a place among the hosts when all of them are busy.
const CROWDED: Duration = Duration::from_millis(10);

impl Turns {
    /// Turns for so many connections a second, in total and to one host; `None`: any number.
    pub(crate) fn new(rate: Option<u64>, host_rate: Option<u64>) -> Self {
        Self {
            apart: rate.map(apart),
            apart_at_host: host_rate.map(apart),
            next: Mutex::default(),
        }
    }

    /// Waits for a turn at `host`. A wait that is given up takes no turn.
    pub(crate) async fn wait(&self, host: IpAddr) {
        while let Some(pause) = self.take(Instant::now(), host) {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes a turn at `host`, or says after what time to ask again.
    fn take(&self, now: Instant, host: IpAddr) -> Option<Duration> {
        if self.apart.is_none() && self.apart_at_host.is_none() {
            return None;
        }
        // What is inside is whole after every statement, whoever panicked.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at_host = next.at_host.get(&host).copied();
        let ready = [next.anywhere, at_host].into_iter().flatten().max();
        if let Some(ready) = ready.filter(|ready| *ready > now) {
            return Some(ready.saturating_duration_since(now));
        }
        if let Some(apart) = self.apart_at_host {
            if at_host.is_none() && next.at_host.len() >= HOSTS_MAX {
                next.at_host.retain(|_, moment| *moment > now);
                if next.at_host.len() >= HOSTS_MAX {
                    return Some(CROWDED);
                }
            }
            next.at_host.insert(host, after(at_host, now, apart));
        }
        if let Some(apart) = self.apart {
            next.anywhere = Some(after(next.anywhere, now, apart));
        }
        None
    }
}

fn apart(rate: u64) -> Duration {
    Duration::from_nanos(1_000_000_000_u64.div_ceil(rate.max(1)))
}

/// The turn after one that was due at `due` and is taken `now`.
fn after(due: Option<Instant>, now: Instant, apart: Duration) -> Instant {
    let earliest = now.checked_sub(LATE_MAX).unwrap_or(now);
    let from = due.map_or(now, |due| due.max(earliest));
    from.checked_add(apart).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + number))
    }

    /// Turns taken within ten seconds when somebody asks every half millisecond for each of
    /// `hosts` hosts.
    fn taken(rate: Option<u64>, host_rate: Option<u64>, hosts: u32) -> u64 {
        let turns = Turns::new(rate, host_rate);
        let start = Instant::now();
        let mut count = 0;
        for step in 0..20_000_u32 {
            let now = start + Duration::from_micros(500) * step;
            for number in 0..hosts {
                count += u64::from(turns.take(now, host(number)).is_none());
            }
        }
        count
    }

    #[test]
    fn the_rate_in_total_is_kept_and_reached() {
        assert_eq!(taken(Some(20), None, 3), 200);
        assert_eq!(taken(Some(1), None, 1), 10);
        let many = taken(Some(1_500), None, 2);
        assert!((14_990..=15_001).contains(&many), "{many}");
    }

    #[test]
    fn the_rate_to_a_host_is_kept_for_each() {
        assert_eq!(taken(None, Some(5), 1), 50);
        assert_eq!(taken(None, Some(5), 4), 200);
        // The stricter of the two holds.
        assert_eq!(taken(Some(8), Some(5), 4), 80);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        assert_eq!(taken(None, None, 2), 40_000);
    }

    #[test]
    fn who_must_wait_is_told_how_long_and_takes_nothing() {
        let turns = Turns::new(Some(20), None);
        let now = Instant::now();
        assert_eq!(turns.take(now, host(1)), None);
        for _ in 0..3 {
            assert_eq!(turns.take(now, host(2)), Some(Duration::from_millis(50)));
        }
        assert_eq!(turns.take(now + Duration::from_millis(50), host(2)), None);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let turns = Turns::new(Some(20), None);
        let start = Instant::now();
        assert_eq!(turns.take(start, host(1)), None);
        let late = start + Duration::from_mins(1);
        assert_eq!(turns.take(late, host(1)), None);
        assert!(turns.take(late, host(1)).is_some());
    }

    #[test]
    fn hosts_beyond_the_bound_wait_until_others_are_forgotten() {
        let turns = Turns::new(None, Some(1));
        let now = Instant::now();
        for number in 0..u32::try_from(HOSTS_MAX).unwrap() {
            assert_eq!(turns.take(now, host(number)), None);
        }
        assert_eq!(turns.take(now, host(9_999)), Some(CROWDED));
        let later = now + Duration::from_secs(1);
        assert_eq!(turns.take(later, host(9_999)), None);
        assert_eq!(turns.next.lock().unwrap().at_host.len(), 1);
    }
}
