//! Checkpoints of which one thing was changed.

use crate::checkpoint::{Checkpoint, SavedCounts};
use crate::collector::tests::{self, collector, find, plan};
use crate::ended::Brief;
use portolan_model::{AddressSet, PortSet, Reason, Scope, Shard, State, Transport};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

/// One host in full, one without an open port, one silent, one that waits for a look, and one of
/// the window under way.
fn checkpoint() -> Checkpoint {
    let plan = plan("192.0.2.0-192.0.2.255", "1-100");
    let mut collector = collector(&plan);
    collector.take(0, vec![find(1, 1, Reason::SynAck), find(1, 2, Reason::Rst)]);
    let look = collector.next_look().unwrap();
    collector.pass_over(look.endpoint, "this is a test");
    collector.take(0, vec![find(2, 1, Reason::Rst)]);
    collector.take(0, vec![find(3, 1, Reason::Timeout { probes: 2 })]);
    collector.end_window(0);
    let mut saved = tests::checkpoint(&collector, &plan, SavedCounts::default());
    // The plan has one window, so what is under way is of the first that has not ended.
    saved.windows_ended = 0;
    collector.take(0, vec![find(4, 1, Reason::SynAck)]);
    collector.take(0, (1..=90).map(|port| find(5, port, Reason::Rst)).collect());
    saved.hosts = tests::checkpoint(&collector, &plan, saved.counts).hosts;
    saved.hosts.sort_by_key(|host| host.ip);
    saved
}

fn check(expected: &str, change: impl FnOnce(&mut Checkpoint)) {
    let mut saved = checkpoint();
    assert_eq!(saved.validate(), Ok(()));
    change(&mut saved);
    let said = saved.validate().unwrap_err();
    assert!(
        said.starts_with("its content contradicts itself: "),
        "{said}"
    );
    assert!(said.contains(expected), "{said}");
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn one(ip: IpAddr) -> AddressSet {
    [ip].into_iter().collect()
}

#[test]
fn a_plan_stays_inside_its_scope() {
    let nothing = "nothing to probe";
    check(nothing, |it| it.plan.tcp = PortSet::default());
    check(nothing, |it| it.plan.addresses = AddressSet::new());
    check("addresses outside its scope", |it| {
        it.plan.scope = Scope::of(one(address(1)));
    });
    check("addresses outside its scope", |it| {
        it.plan.scope.denied = one(address(7));
    });
    check("ports outside its scope", |it| {
        it.plan.scope.ports = Some(PortSet::range(1, 99));
    });
}

#[test]
fn limits_are_those_that_a_user_can_set() {
    let nothing = "a rate or a time of nothing";
    check(nothing, |it| it.plan.pace.rate = Some(0));
    check(nothing, |it| it.plan.pace.host_rate = Some(0));
    check(nothing, |it| it.plan.scope.rate = Some(0));
    check(nothing, |it| it.plan.scope.host_rate = Some(0));
    check(nothing, |it| it.plan.pace.max_time_s = Some(0));
    check("20 retries", |it| it.plan.pace.retries = Some(21));
    check("60000 ms", |it| it.plan.pace.timeout_ms = Some(0));
    check("60000 ms", |it| it.plan.pace.timeout_ms = Some(60_001));
    for shard in [(0, 1), (2, 1), (1, 0)] {
        check("shard", |it| {
            it.plan.shard = Shard {
                index: shard.0,
                count: shard.1,
            };
        });
    }
}

#[test]
fn a_run_has_a_name_of_its_own_and_the_plan_of_the_checkpoint() {
    for id in ["", "../../etc/passwd", "a b", "a\n", &"a".repeat(65)] {
        check("name of its run", |it| id.clone_into(&mut it.run.id));
    }
    check("another plan", |it| it.run.seed = 2);
    check("another plan", |it| it.run.ports = PortSet::range(1, 2));
}

#[test]
fn windows_are_those_of_the_order() {
    check("2 of 1 windows", |it| it.windows_ended = 2);
    check("window is not under way", |it| it.hosts[0].window = 1);
    // A host of an earlier window waits for a look; the second waits for none.
    let mut saved = checkpoint();
    saved.windows_ended = 1;
    saved.hosts.truncate(1);
    assert_eq!(saved.validate(), Ok(()));
    check("192.0.2.5: its window is not under way", |it| {
        it.windows_ended = 1;
    });
}

#[test]
fn hosts_are_of_the_plan_and_there_once() {
    let stranger = IpAddr::from([198, 51, 100, 1]);
    check("none of its addresses", |it| it.hosts[0].ip = stranger);
    check("none of its addresses", |it| {
        it.ended.v4[0].0 = Ipv4Addr::new(198, 51, 100, 1);
    });
    check("none of its own", |it| {
        it.unanswered.addresses = one(stranger);
    });
    check("there twice", |it| it.hosts[0].ip = address(5));
    check("there twice", |it| it.hosts[0].ip = address(1));
    check("there twice", |it| it.ended.v4.push(it.ended.v4[0]));
    check("and those that did not", |it| it.hosts[0].ip = address(3));
    check("in no way", |it| {
        it.ended
            .v4
            .push(Brief(Ipv4Addr::new(192, 0, 2, 9), 7, NonZeroU32::new(1)));
    });
}

#[test]
fn udp_ports_are_of_the_plan_as_well() {
    check("port 1 was not asked", |it| {
        it.hosts[0].open[0].report.transport = Transport::Udp;
    });
    check("was not asked, or is there twice", |it| {
        it.hosts[1].outcome.groups[0].transport = Transport::Udp;
    });
    check("another plan", |it| {
        it.run.udp_ports = PortSet::range(53, 53);
    });
    check("ports outside its scope", |it| {
        it.plan.scope.ports = Some(PortSet::range(1, 100));
        it.plan.udp = PortSet::range(100, 101);
    });
    // What was asked over UDP is no contradiction.
    let mut saved = checkpoint();
    saved.plan.udp = PortSet::range(1, 100);
    saved.run.udp_ports = saved.plan.udp.clone();
    let report = &mut saved.hosts[0].open[0].report;
    (report.transport, report.reason) = (Transport::Udp, Reason::UdpResponse);
    saved.hosts[0].outcome.first_answer = Some(Reason::UdpResponse);
    assert_eq!(saved.validate(), Ok(()));
}

#[test]
fn ports_are_of_the_plan_and_there_once() {
    check("port 101 was not asked", |it| {
        it.hosts[0].open[0].report.port = 101;
    });
    check("port 101 was not asked", |it| {
        it.ended.outcomes.change(0, |it| it.open[0].port = 101);
    });
    check("port 101 was not asked", |it| {
        it.hosts[1].outcome.groups[0].many = PortSet::range(90, 101);
    });
    check("port 101 was not asked", |it| {
        let outcomes = &mut it.ended.outcomes;
        outcomes.change(1, |it| it.groups[0].few = vec![(101, 1)]);
    });
    check("there twice", |it| {
        let open = it.hosts[0].open[0].clone();
        it.hosts[0].open.push(open);
    });
    check("there twice", |it| {
        let group = it.hosts[1].outcome.groups[0].clone();
        it.hosts[1].outcome.groups.push(group);
    });
    check("there twice", |it| {
        it.ended.outcomes.change(0, |it| it.open[0].port = 2);
    });
    check("open ports are there twice", |it| {
        let open = it.hosts[0].open[0].report.clone();
        it.hosts[0].outcome.open.push(open);
    });
    check("neither listed nor counted", |it| {
        it.hosts[1].outcome.groups[0].many = PortSet::default();
    });
    check("neither listed nor counted", |it| {
        it.hosts[1].outcome.groups[0].many = PortSet::default();
        it.hosts[1].outcome.groups[0].few = (1..=26).map(|port| (port, 1)).collect();
    });
}

#[test]
fn states_are_what_their_reasons_show() {
    let unshown = "does not show its state";
    check(unshown, |it| {
        it.hosts[0].open[0].report.reason = Reason::Rst;
    });
    check(unshown, |it| {
        let outcomes = &mut it.ended.outcomes;
        outcomes.change(0, |it| it.open[0].reason = Reason::Rst);
    });
    check(unshown, |it| it.hosts[0].outcome.is_up = false);
    check(unshown, |it| {
        it.hosts[0].outcome.is_up = false;
        it.hosts[0].outcome.first_answer = Some(Reason::NoRoute);
    });
    check("not open", |it| {
        it.hosts[0].open[0].report.reason = Reason::Rst;
        it.hosts[0].open[0].report.state = State::Closed;
    });
    check("among those that are not", |it| {
        let outcomes = &mut it.ended.outcomes;
        outcomes.change(0, |it| it.groups[0].reason = Reason::SynAck);
    });
    check("nothing came back", |it| {
        let outcomes = &mut it.ended.outcomes;
        outcomes.change(1, |it| {
            it.is_up = false;
            it.first_answer = None;
        });
    });
    check("count as not tested", |it| {
        it.not_tested = vec![(Reason::Rst, 1)];
    });
    check("did not answer said", |it| {
        it.unanswered.reasons = vec![(Reason::Rst, 1)];
    });
}

#[test]
fn times_are_times() {
    for wrong in [f64::NAN, f64::INFINITY, -1.0] {
        check("duration", |it| it.counts.duration_s = wrong);
    }
}

#[test]
fn what_was_written_can_be_read_and_a_contradiction_cannot() {
    let whole = |saved: &Checkpoint| {
        let content = saved.content().unwrap();
        let sum = crate::checkpoint::sha256(&content);
        let head = format!("portolan-checkpoint/1 {} {sum}\n", content.len());
        [head.into_bytes(), content].concat()
    };
    let mut saved = checkpoint();
    let read = Checkpoint::parse(&whole(&saved)).unwrap();
    assert_eq!(read.content().unwrap(), saved.content().unwrap());
    saved.run.id = "..".to_owned();
    let why = Checkpoint::parse(&whole(&saved)).unwrap_err();
    assert!(why.contains("contradicts itself"), "{why}");
}
