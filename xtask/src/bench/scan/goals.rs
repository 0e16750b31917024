//! What each condition has to show. How it is measured is in the other modules.

use super::super::peer::Peer;
use super::super::table::{Goal, Row};
use super::arena::bottleneck_seconds;
use super::setting::{Condition, MASSCAN_FAST, MASSCAN_FASTEST, ZMAP};

/// Ports of one host.
const PORTS: f64 = 65_535.0;

/// The goals of a condition, with what was measured.
pub(super) fn goals(condition: Condition, rows: &[Row]) -> Vec<Goal> {
    let of = |peer: Peer| rows.iter().find(|row| row.peer == peer.name());
    let Some(own) = of(Peer::PortolanSyn) else {
        return Vec::new();
    };
    let made = |text: &str, measured: Option<f64>, at_most| Goal {
        text: format!("{condition:?}: {text}"),
        measured,
        at_most,
    };
    let mut goals = Vec::new();
    if own.open > 0 {
        let incomplete = u32::try_from(own.runs - own.complete_runs).ok();
        goals.push(made(
            &format!("runs that missed a port, of {}", own.runs),
            incomplete.map(f64::from),
            0.0,
        ));
    }
    let wrong = u32::try_from(own.false_max).ok().map(f64::from);
    goals.push(made("ports called open that are not, at most", wrong, 0.0));
    if let Some(seconds) = seconds_max(condition) {
        goals.push(made("seconds", Some(own.seconds), seconds));
    }
    // Where a peer was stopped, its time is at least what it had: the ratio is at most this.
    let times = |row: &Row| own.seconds / row.seconds;
    if let (Some(at_most), Some(nmap)) = (times_of_nmap(condition), of(Peer::NmapSyn)) {
        goals.push(made(
            "time, as a multiple of nmap",
            Some(times(nmap)),
            at_most,
        ));
    }
    match condition {
        Condition::AnswersEverything => {
            goals.push(made("runs without the label", own.aside_max, 0.0));
        }
        Condition::Hosts => {
            if let Some(zmap) = of(ZMAP) {
                goals.push(made("time, as a multiple of zmap", Some(times(zmap)), 0.5));
            }
        }
        Condition::Ports => {
            let masscan = [MASSCAN_FAST, MASSCAN_FASTEST].into_iter().filter_map(of);
            if let Some(best) = masscan.map(answered).reduce(f64::max) {
                let share = best / answered(own);
                let text = "answered probes a second of masscan, as a share of ours";
                goals.push(made(text, Some(share), 0.5));
            }
        }
        Condition::Ring => {
            goals.push(made("runs that did not tell of drops", own.aside_max, 0.0));
        }
        Condition::Shaped => {
            let least = bottleneck_seconds();
            goals.push(made(
                "time, as a multiple of the bottleneck's own",
                Some(own.seconds / least),
                1.5,
            ));
            goals.push(made("percent of pings lost, at most", own.aside_max, 1.0));
        }
        _ => {}
    }
    goals
}

const fn seconds_max(condition: Condition) -> Option<f64> {
    match condition {
        Condition::Clean | Condition::V6 => Some(0.8),
        Condition::Loss1 => Some(1.2),
        Condition::Loss5 => Some(1.6),
        Condition::Police20k => Some(1.1 * PORTS / 20_000.0),
        Condition::Police5k => Some(1.1 * PORTS / 5_000.0),
        Condition::Dropped => Some(1.8),
        Condition::DroppedLoss1 => Some(3.0),
        Condition::AnswersEverything => Some(2.0),
        Condition::Hosts | Condition::Ports | Condition::Ring | Condition::Shaped => None,
    }
}

const fn times_of_nmap(condition: Condition) -> Option<f64> {
    match condition {
        Condition::Clean => Some(0.8),
        Condition::Loss1 => Some(0.15),
        Condition::Loss5 => Some(0.03),
        _ => None,
    }
}

/// Probes a second that were answered, up to a factor that is the same for all who ask the same:
/// the share of the open ports that were found stands for the share of all.
fn answered(row: &Row) -> f64 {
    let found = u32::try_from(row.found_min).map_or(f64::NAN, f64::from);
    found / row.seconds
}

#[cfg(test)]
mod tests {
    use super::super::super::runs::tests::made;
    use super::super::super::runs::{Run, row};
    use super::*;

    /// 10 ports are open.
    fn check(condition: Condition, runs: &[Run], expected: &[bool]) {
        let peers = [Peer::PortolanSyn, Peer::NmapSyn, ZMAP, MASSCAN_FAST];
        let rows: Vec<Row> = peers
            .into_iter()
            .filter(|peer| runs.iter().any(|run| run.settings == *peer))
            .map(|peer| row(peer, runs, 10))
            .collect();
        let goals = goals(condition, &rows);
        let met: Vec<bool> = goals.iter().map(Goal::is_met).collect();
        assert_eq!(met, expected, "{condition:?}: {goals:?}");
    }

    fn own(seconds: f64, found: usize) -> Run {
        made(Peer::PortolanSyn, seconds, found)
    }

    #[test]
    fn goals_are_about_truth_time_and_nmap() {
        let nmap = made(Peer::NmapSyn, 1.0, 10);
        let runs = [own(0.7, 10), nmap.clone()];
        check(Condition::Clean, &runs, &[true, true, true, true]);
        let runs = [own(0.9, 9), nmap.clone()];
        check(Condition::Clean, &runs, &[false, true, false, false]);
        let runs = [own(0.7, 10), nmap];
        check(Condition::Loss5, &runs, &[true, true, true, false]);
        check(Condition::Police5k, &[own(14.0, 10)], &[true, true, true]);
        check(Condition::Police20k, &[own(14.0, 10)], &[true, true, false]);
    }

    #[test]
    fn many_hosts_are_compared_with_who_is_fast() {
        let runs = [own(1.0, 10), made(ZMAP, 2.1, 9)];
        check(Condition::Hosts, &runs, &[true, true, true]);
        let runs = [own(1.0, 10), made(ZMAP, 1.9, 9)];
        check(Condition::Hosts, &runs, &[true, true, false]);
        // Half as many found in the same time are half as many a second.
        let runs = [own(1.0, 10), made(MASSCAN_FAST, 1.0, 5)];
        check(Condition::Ports, &runs, &[true, true, true]);
        let runs = [own(1.0, 10), made(MASSCAN_FAST, 1.0, 6)];
        check(Condition::Ports, &runs, &[true, true, false]);
    }

    #[test]
    fn what_is_measured_besides_counts() {
        let aside = |aside| Run {
            aside: Some(aside),
            ..own(2.0, 10)
        };
        check(Condition::Shaped, &[aside(0.5)], &[true, true, true, true]);
        check(Condition::Shaped, &[aside(1.5)], &[true, true, true, false]);
        check(
            Condition::Ring,
            &[aside(0.0), aside(1.0)],
            &[true, true, false],
        );
        check(Condition::Ring, &[own(2.0, 10)], &[true, true, false]);
    }
}
