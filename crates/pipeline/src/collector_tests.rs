//! What becomes of finds and looks.

use super::*;
use portolan_model::{
    AddressSet, EngineChoice, Hosts as _, IoChoice, Pace, PortSet, Scope, Service,
};
use portolan_scan::Verdict;

pub(crate) fn plan(addresses: &str, ports: &str) -> Plan {
    let addresses: AddressSet = serde_json::from_value(serde_json::json!([addresses])).unwrap();
    let tcp: PortSet = serde_json::from_value(serde_json::json!(ports)).unwrap();
    Plan {
        scope: Scope::of(addresses.clone()),
        addresses,
        names: Vec::new(),
        tcp,
        udp: PortSet::default(),
        ask_anyway: PortSet::default(),
        seed: 1,
        shard: Shard::WHOLE,
        engine: EngineChoice::Connect,
        io: IoChoice::Auto,
        discovery: portolan_model::Discovery::Never,
        pace: Pace::default(),
        depth: Depth::Identify,
        source_address: None,
        source_port: None,
        interface: None,
    }
}

pub(crate) fn run_of(plan: &Plan) -> Run {
    Run {
        id: "20260101T000000Z-0123abcd".to_owned(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        finished: None,
        command: "portolan scan".to_owned(),
        seed: plan.seed,
        plan_hash: String::new(),
        engine: "connect".to_owned(),
        ports: plan.tcp.clone(),
        udp_ports: plan.udp.clone(),
        complete: false,
        notices: Vec::new(),
    }
}

pub(crate) fn find(last: u8, port: u16, reason: Reason) -> Find {
    Find {
        verdict: Verdict {
            host: 0,
            endpoint: Endpoint::tcp(IpAddr::from([192, 0, 2, last]), port),
            reason,
            probes: 1,
            rtt: None,
            connection: None,
        },
        connection: None,
    }
}

pub(crate) fn collector(plan: &Plan) -> Collector {
    Collector::new(plan, Own::nothing())
}

/// The checkpoint that a resumed run would read.
pub(crate) fn checkpoint(collector: &Collector, plan: &Plan, counts: SavedCounts) -> Checkpoint {
    let run = run_of(plan);
    let written = serde_json::to_vec(&collector.save(&run, counts)).unwrap();
    Checkpoint::parse_content(&written).unwrap()
}

fn said(service: Option<Service>) -> Outcome {
    Outcome {
        service,
        incomplete: Vec::new(),
    }
}

fn service() -> Service {
    Service {
        name: Some("ssh".to_owned()),
        label: None,
        tls: None,
        product: None,
        version: None,
        os: None,
        confidence: 100,
        evidence: None,
    }
}

fn events(collector: &mut Collector) -> Vec<Event> {
    std::iter::from_fn(|| collector.next_event()).collect()
}

#[test]
fn untested_ports_count_whether_or_not_their_host_answered() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let mut collector = collector(&plan);
    collector.take(
        0,
        vec![
            find(1, 1, Reason::Rst),
            find(1, 2, Reason::LocalLimit),
            find(2, 1, Reason::LocalLimit),
            find(2, 2, Reason::NoNeighbour),
        ],
    );
    collector.end_window(0);
    assert_eq!(collector.not_tested(Reason::LocalLimit), 2);
    // The counts of the part before the resumption stay.
    let saved = checkpoint(&collector, &plan, SavedCounts::default());
    let mut resumed = self::collector(&plan);
    resumed.resume(saved);
    resumed.take(1, vec![find(3, 1, Reason::LocalLimit)]);
    resumed.end_window(1);
    assert_eq!(resumed.not_tested(Reason::LocalLimit), 3);
    assert_eq!(resumed.not_tested(Reason::NoNeighbour), 1);
}

#[test]
fn what_the_end_of_a_run_leaves_is_not_counted_by_reason() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let mut collector = collector(&plan);
    collector.take(
        0,
        vec![find(1, 1, Reason::Rst), find(1, 2, Reason::LocalLimit)],
    );
    assert_eq!(collector.end_early(Reason::LocalLimit), 0);
    assert_eq!(collector.not_tested(Reason::LocalLimit), 1);
    let (hosts, _) = collector.finish();
    let untested = hosts.by_address().map(|it| it.other_ports.not_tested);
    assert_eq!(untested.collect::<Vec<_>>(), [99]);
}

#[test]
fn open_ports_that_no_look_was_held_at_are_counted_at_the_end() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let mut collector = collector(&plan);
    collector.take(
        0,
        (1..=3).map(|port| find(1, port, Reason::SynAck)).collect(),
    );
    let look = collector.next_look().unwrap();
    collector.take_look(look.endpoint, said(Some(service())));
    assert_eq!(collector.end_early(Reason::Interrupted), 2);
}

#[test]
fn ports_decided_before_a_resumption_stay_decided() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let mut collector = collector(&plan);
    let ports = (1..=60).map(|port| find(1, port, Reason::Rst));
    collector.take(0, ports.collect());
    collector.take(0, vec![find(1, 1, Reason::Rst)]);
    assert_eq!(collector.decided_in_window(), 60);
    let mut resumed = self::collector(&plan);
    resumed.resume(checkpoint(&collector, &plan, SavedCounts::default()));
    assert_eq!(resumed.decided_in_window(), 60);
    resumed.end_window(0);
    assert_eq!(
        (resumed.decided_in_window(), resumed.windows_ended()),
        (0, 1)
    );
}

#[test]
fn a_host_that_says_nothing_is_not_looked_at_forever() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let ip = IpAddr::from([192, 0, 2, 1]);
    let mut collector = collector(&plan);
    let open = (1..=70).map(|port| find(1, port, Reason::SynAck));
    collector.take(0, open.collect());
    let look = |collector: &mut Collector, service| {
        let pending = collector.next_look().unwrap();
        collector.take_look(pending.endpoint, said(service));
    };
    look(&mut collector, None);
    look(&mut collector, Some(service()));
    for _ in 1..MUTE_LOOKS_MAX {
        look(&mut collector, None);
        assert!(!collector.is_mute(ip));
    }
    look(&mut collector, None);
    assert!(collector.is_mute(ip));
    // Ports found open from now on wait for no look at all.
    let waiting = collector.looks_waiting();
    events(&mut collector);
    collector.take(0, vec![find(1, 99, Reason::SynAck)]);
    assert_eq!(collector.looks_waiting(), waiting);
    let told = events(&mut collector);
    let [Event::Port { .. }, Event::Service { incomplete, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        incomplete[0].why.as_str(),
        "not looked at: 64 ports of this host before it said nothing"
    );
}

#[test]
fn a_queue_that_is_full_leaves_no_room_until_it_is_told() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-65535");
    let mut collector = collector(&plan);
    assert!(collector.has_room());
    let open = (1..=5_000).map(|port| find(1, port, Reason::SynAck));
    collector.take(0, open.collect());
    assert!(!collector.has_room());
    events(&mut collector);
    assert!(
        collector.has_room(),
        "looks of one host are bounded by themselves"
    );
}

#[test]
fn looks_that_wait_leave_no_room_until_they_are_held() {
    let plan = plan("192.0.2.0-192.0.2.255", "1-65535");
    let mut collector = collector(&plan);
    for last in 1..=5 {
        let open = (1..=1_000).map(|port| find(last, port, Reason::SynAck));
        collector.take(0, open.collect());
    }
    events(&mut collector);
    assert!(!collector.has_room());
    for _ in 0..1_000 {
        let look = collector.next_look().unwrap();
        collector.take_look(look.endpoint, said(Some(service())));
    }
    events(&mut collector);
    assert!(collector.has_room());
}

#[test]
fn figures_that_wait_are_replaced_and_the_start_comes_first() {
    let plan = plan("192.0.2.1", "80");
    let mut collector = collector(&plan);
    collector.tell(Event::RunStarted {
        run: run_of(&plan),
        addresses: 1,
        ports: 1,
    });
    for done in 1..=3 {
        collector.tell_progress(Progress {
            done,
            ..Progress::default()
        });
    }
    collector.take(0, vec![find(1, 80, Reason::Rst)]);
    collector.end_window(0);
    let told = events(&mut collector);
    assert!(matches!(
        told.as_slice(),
        [
            Event::RunStarted { .. },
            Event::Progress {
                progress: Progress { done: 3, .. }
            },
            Event::Host { .. }
        ]
    ));
}

#[test]
fn a_resumed_run_tells_again_what_was_found() {
    let plan = plan("192.0.2.0-192.0.2.255", "80");
    let mut collector = collector(&plan);
    collector.take(
        0,
        vec![find(1, 80, Reason::SynAck), find(2, 80, Reason::Rst)],
    );
    let look = collector.next_look().unwrap();
    collector.take_look(look.endpoint, said(Some(service())));
    collector.end_window(0);
    let first = events(&mut collector);
    let mut resumed = self::collector(&plan);
    resumed.resume(checkpoint(&collector, &plan, SavedCounts::default()));
    assert_eq!(events(&mut resumed), first);
    assert_eq!(resumed.open(), 1);
    let finished = |collector: Collector| {
        let (hosts, unanswered) = collector.finish();
        let hosts: Vec<_> = hosts
            .by_address()
            .map(std::borrow::Cow::into_owned)
            .collect();
        (hosts, unanswered)
    };
    assert_eq!(finished(resumed), finished(collector));
}

fn seen(ip: &str, reason: Reason) -> crate::discovery::Seen {
    crate::discovery::Seen {
        address: ip.parse().unwrap(),
        is_up: reason.is_of_host(),
        reason,
        rtt: Some(Duration::from_millis(3)),
        mac: Some([2, 0, 0, 0, 0, 7]),
    }
}

/// One host that answers, one of which a router says something, and one that is silent.
fn looked() -> Looked {
    let unreachable = Reason::Icmp(portolan_model::Unreachable::V4(1));
    let addresses = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse().unwrap());
    Looked {
        seen: vec![
            seen("192.0.2.0", Reason::EchoReply),
            seen("192.0.2.1", unreachable),
        ],
        undiscovered: addresses.to_vec(),
        probes: 22,
    }
}

#[test]
fn hosts_that_were_looked_for_in_vain_are_counted_and_hold_nothing() {
    let mut collector = collector(&plan("192.0.2.0-192.0.2.2", "1-1000"));
    collector.take_hosts(0, looked());
    assert_eq!(collector.decided_in_window(), 2_000);
    assert_eq!(collector.known().len(), 1);
    collector.end_window(0);
    assert_eq!(collector.not_tested(Reason::NotDiscovered), 2_000);
    let (hosts, unanswered) = collector.finish();
    let silent: AddressSet = ["192.0.2.2".parse().unwrap()].into_iter().collect();
    assert_eq!(unanswered.addresses, silent);
    assert_eq!(unanswered.reasons, [(Reason::NotDiscovered, 1_000)]);
    let hosts: Vec<_> = hosts.by_address().collect();
    assert_eq!(hosts.len(), 2);
    let up = (hosts[0].state, hosts[0].reason, hosts[0].rtt_ms);
    let expected = (
        portolan_model::HostState::Up,
        Some(Reason::EchoReply),
        Some(3.0),
    );
    assert_eq!(up, expected);
    assert_eq!(hosts[0].mac.as_deref(), Some("02:00:00:00:00:07"));
    assert_eq!(hosts[1].state, portolan_model::HostState::Unknown);
    assert_eq!(hosts[1].other_ports.not_tested, 1_000);
}

#[test]
fn an_interrupted_window_looks_for_its_hosts_again() {
    let plan = plan("192.0.2.0-192.0.2.2", "1-1000");
    let mut first = collector(&plan);
    first.take_hosts(0, looked());
    let run = run_of(&plan);
    let saved = serde_json::to_vec(&first.save(&run, SavedCounts::default())).unwrap();
    let saved = Checkpoint::parse_content(&saved).unwrap();
    saved.validate().unwrap();
    let mut second = collector(&plan);
    second.resume(saved);
    // Who answered is known; the silent one is looked for again, and may be there now.
    assert!(second.known().contains(&"192.0.2.0".parse().unwrap()));
    assert_eq!(second.not_tested(Reason::NotDiscovered), 0);
    second.take_hosts(0, looked());
    second.end_window(0);
    assert_eq!(second.not_tested(Reason::NotDiscovered), 2_000);
    let (hosts, unanswered) = second.finish();
    assert_eq!((hosts.count(), unanswered.addresses.len()), (2, 1));
}
