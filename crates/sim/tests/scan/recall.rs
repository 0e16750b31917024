//! Nothing that is open is missed, whatever the path does, and it does not take forever.

use crate::scenario::{Ran, Scenario, address, all_ports, server, some_ports};
use portolan_model::{Moment, PortSet, Reason, State, Unreachable};
use portolan_sim::{Host, Path, Policer, PortAnswer, Presence, Share};
use std::time::Duration;

/// One way of a local network takes half of this.
const LAN: Duration = Duration::from_micros(300);

/// Scans one server for each seed; all 200 are to be found within `within` of virtual time.
fn check(name: &str, seeds: u64, within: Duration, host: impl Fn(u64) -> Host) {
    let mut slowest = Duration::ZERO;
    let mut most_probes = 0;
    for seed in 0..seeds {
        let ran = Scenario::new(seed, vec![host(seed)], all_ports()).run();
        assert_eq!(ran.open_true(), 200);
        ran.assert_recall();
        slowest = slowest.max(ended(&ran));
        most_probes = most_probes.max(ran.outcome.figures.probes);
    }
    assert!(
        slowest <= within,
        "{name}: {slowest:?}, {most_probes} probes"
    );
}

/// Half as long again as a policer of `rate` packets a second needs for one probe to each port.
fn policed(rate: u32) -> Duration {
    Duration::from_secs(u64::from(u16::MAX)) / rate * 3 / 2
}

fn ended(ran: &Ran) -> Duration {
    ran.outcome.ended.elapsed()
}

/// A device near by answers for some ports of a host that is far away: the first round trips say
/// nothing about the ones that matter.
fn check_behind(near: PortAnswer) {
    let far = PortAnswer::AcceptsAfter(Duration::from_millis(400));
    for seed in 0..10 {
        let host = Host::new(Path::of_rtt(LAN), PortAnswer::Silent)
            .with_ports(1..=500, near)
            .with_ports(5_000..=5_099, far);
        let ports = PortSet::union_of([PortSet::range(1, 999), PortSet::range(5_000, 5_199)]);
        let ran = Scenario::new(seed, vec![host], ports).run();
        assert_eq!(ran.open_true(), 100);
        ran.assert_recall();
    }
}

#[test]
fn a_near_firewall_that_refuses_hides_no_far_port() {
    check_behind(PortAnswer::Refuses);
}

#[test]
fn a_near_router_that_rejects_hides_no_far_port() {
    check_behind(PortAnswer::Rejects(Unreachable::V4(13)));
}

#[test]
fn a_path_that_becomes_slow_hides_no_port() {
    for seed in 0..10 {
        let host = server(seed, Path::of_rtt(LAN), PortAnswer::Refuses);
        let moment = Moment::after_start(Duration::from_millis(300));
        let host = host.slower_from(moment, Duration::from_millis(500));
        let ran = Scenario::new(seed, vec![host], all_ports()).run();
        ran.assert_recall();
        assert_eq!(
            ran.count(State::Filtered),
            0,
            "no closed port is called filtered"
        );
    }
}

#[test]
fn a_clean_path() {
    check("clean", 5, Duration::from_secs(2), |seed| {
        server(seed, Path::of_rtt(LAN), PortAnswer::Refuses)
    });
}

#[test]
fn one_percent_lost_each_way() {
    check("1 %", 10, Duration::from_millis(2_500), |seed| {
        server(
            seed,
            Path::of_rtt(LAN).losing(Share::percent(1)),
            PortAnswer::Refuses,
        )
    });
}

#[test]
fn five_percent_lost_each_way() {
    check("5 %", 20, Duration::from_millis(3_500), |seed| {
        server(
            seed,
            Path::of_rtt(LAN).losing(Share::percent(5)),
            PortAnswer::Refuses,
        )
    });
}

#[test]
fn closed_ports_are_dropped() {
    check("dropped", 5, Duration::from_secs(8), |seed| {
        server(seed, Path::of_rtt(LAN), PortAnswer::Silent)
    });
}

#[test]
fn closed_ports_are_dropped_and_one_percent_lost() {
    check("dropped, 1 %", 5, Duration::from_secs(10), |seed| {
        server(
            seed,
            Path::of_rtt(LAN).losing(Share::percent(1)),
            PortAnswer::Silent,
        )
    });
}

#[test]
fn closed_ports_are_dropped_and_five_percent_lost() {
    check("dropped, 5 %", 5, Duration::from_secs(15), |seed| {
        server(
            seed,
            Path::of_rtt(LAN).losing(Share::percent(5)),
            PortAnswer::Silent,
        )
    });
}

#[test]
fn a_policer_of_twenty_thousand_a_second() {
    check("20 k/s", 10, policed(20_000), |seed| {
        server(seed, Path::of_rtt(LAN), PortAnswer::Refuses).behind(Policer::new(20_000, 5))
    });
}

#[test]
fn a_policer_of_five_thousand_a_second() {
    check("5 k/s", 10, policed(5_000), |seed| {
        server(seed, Path::of_rtt(LAN), PortAnswer::Refuses).behind(Policer::new(5_000, 5))
    });
}

#[test]
fn half_the_ports_dropped_behind_a_policer() {
    check("half dropped, 5 k/s", 3, Duration::from_secs(150), |seed| {
        let host = Host::new(Path::of_rtt(LAN), PortAnswer::Refuses)
            .with_ports(1..=32_767, PortAnswer::Silent)
            .with_ports(some_ports(seed, 200), PortAnswer::Accepts);
        host.behind(Policer::new(5_000, 5))
    });
}

#[test]
fn a_policer_of_one_thousand_a_second() {
    check("1 k/s", 3, policed(1_000), |seed| {
        server(seed, Path::of_rtt(LAN), PortAnswer::Refuses).behind(Policer::new(1_000, 5))
    });
}

#[test]
fn distant_hosts() {
    for (rtt_ms, within_s) in [(100, 3), (600, 10), (1_200, 20)] {
        check(
            &format!("rtt {rtt_ms} ms"),
            3,
            Duration::from_secs(within_s),
            |seed| {
                server(
                    seed,
                    Path::of_rtt(Duration::from_millis(rtt_ms)),
                    PortAnswer::Refuses,
                )
            },
        );
    }
}

#[test]
fn jitter_and_reordering() {
    let path = Path {
        jitter: Duration::from_millis(20),
        held: Share::percent(5),
        held_for: Duration::from_millis(30),
        ..Path::of_rtt(Duration::from_millis(40))
    };
    check("jitter", 5, Duration::from_secs(4), |seed| {
        server(seed, path, PortAnswer::Refuses)
    });
    let lossy = path.losing(Share::percent(5));
    check("jitter, 5 %", 5, Duration::from_secs(6), |seed| {
        server(seed, lossy, PortAnswer::Refuses)
    });
}

#[test]
fn services_that_are_slow_to_accept() {
    check("slow accept", 3, Duration::from_secs(4), |seed| {
        let late = PortAnswer::AcceptsAfter(Duration::from_millis(200));
        Host::new(Path::of_rtt(LAN), PortAnswer::Refuses).with_ports(some_ports(seed, 200), late)
    });
}

/// Ten live hosts of 254; the others are absent.
fn network(seed: u64, path: Path, missing: &Host) -> Scenario {
    let live = Host::new(path, PortAnswer::Refuses).with_ports(
        (1..=1_000).filter(|port| port % 50 == 7),
        PortAnswer::Accepts,
    );
    let hosts = (0..254)
        .map(|at| {
            if at % 25 == 3 {
                live.clone()
            } else {
                missing.clone()
            }
        })
        .collect();
    Scenario::new(seed, hosts, PortSet::range(1, 1_000))
}

/// When the last live host was through.
fn live_ended(ran: &Ran) -> Duration {
    let of_live = ran
        .outcome
        .verdicts
        .iter()
        .filter(|(_, verdict)| verdict.reason.is_answer());
    of_live.map(|(moment, _)| moment.elapsed()).max().unwrap()
}

#[test]
fn a_network_of_few_live_hosts_and_absent_neighbours() {
    let missing = Host::missing(Presence::AbsentNeighbour);
    for percent in [0, 5] {
        let path = Path::of_rtt(LAN).losing(Share::percent(percent));
        for seed in 0..3 {
            let ran = network(seed, path, &missing).run();
            ran.assert_recall();
            let timeouts = ran.outcome.verdicts.iter();
            let timeouts = timeouts
                .filter(|(_, v)| matches!(v.reason, Reason::Timeout { .. }))
                .count();
            assert_eq!(timeouts, 0, "an absent neighbour is not a silent host");
            assert!(ended(&ran) < Duration::from_secs(5), "{:?}", ended(&ran));
        }
    }
}

#[test]
fn a_network_of_few_live_hosts_and_silence() {
    let missing = Host::new(Path::default(), PortAnswer::Silent);
    let ran = network(1, Path::of_rtt(LAN), &missing).run();
    ran.assert_recall();
    assert!(
        live_ended(&ran) < Duration::from_secs(1),
        "{:?}",
        live_ended(&ran)
    );
}

#[test]
fn one_dead_host_does_not_hold_up_the_live_ones() {
    let live = Host::new(Path::of_rtt(LAN), PortAnswer::Refuses)
        .with_ports([22, 80, 443], PortAnswer::Accepts);
    let dead = Host::new(Path::default(), PortAnswer::Silent);
    let ports = PortSet::range(1, 5_000);
    let alone = Scenario::new(1, vec![live.clone(); 10], ports.clone()).run();
    for place in [0, 5, 10] {
        let mut hosts = vec![live.clone(); 10];
        hosts.insert(place, dead.clone());
        let ran = Scenario::new(1, hosts, ports.clone()).run();
        let of_dead = |endpoint: portolan_model::Endpoint| endpoint.address == address(place);
        assert!(
            ran.outcome
                .verdicts
                .iter()
                .all(|(_, v)| v.reason.is_answer() != of_dead(v.endpoint))
        );
        let allowed = ended(&alone) * 3 / 2 + Duration::from_millis(200);
        assert!(
            live_ended(&ran) < allowed,
            "{:?}, alone {:?}",
            live_ended(&ran),
            ended(&alone)
        );
    }
}
