//! The same seed gives the same run.

use crate::scenario::{Scenario, all_ports, server};
use portolan_sim::{Path, PortAnswer, Share};
use std::time::Duration;

fn outcome(seed: u64, order: u64) -> portolan_sim::Outcome {
    let path = Path {
        jitter: Duration::from_millis(2),
        ..Path::of_rtt(Duration::from_millis(5)).losing(Share::percent(5))
    };
    Scenario::new(
        seed,
        vec![server(order, path, PortAnswer::Refuses)],
        all_ports(),
    )
    .run()
    .outcome
}

#[test]
fn the_same_seed_gives_the_same_dials_and_verdicts() {
    assert!(
        outcome(11, 0) == outcome(11, 0),
        "two runs of one seed differ"
    );
}

#[test]
fn another_seed_gives_another_run() {
    let (one, other) = (outcome(11, 0), outcome(12, 0));
    assert!(one.dials != other.dials);
    assert!(one.verdicts != other.verdicts);
}
