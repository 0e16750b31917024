//! Runs with raw packets that are interrupted where a count of packets says, and go on: together the
//! parts are an uninterrupted run.

use super::{Engine, Network, target};
use crate::netns::watch::{SYN, Watch, Watched};
use crate::program::{Ended, Program};
use crate::result::{Document, Port, numbers};
use portolan_lab::{Seed, random_ports};
use std::collections::BTreeMap;

/// Ports and rate of a run of eight seconds: a checkpoint is written after two of them.
const PORTS: u16 = 20_000;
const RATE: u32 = 2_500;

/// SYNs to ports that were asked before.
const AGAIN: &str = "tcp flags & (syn|ack) == syn ip daddr . tcp dport @asked";

fn start() -> Program {
    start_with(&format!("--rate {RATE}"))
}

fn start_with(words: &str) -> Program {
    Engine::Syn.scan(&format!(
        "{} -p 1-{PORTS} {words} --seed 7 --checkpoint checkpoint",
        target()
    ))
}

/// The run that goes on where an interrupted one ended.
fn next(ended: &Ended) -> Program {
    Program::new("scan --resume checkpoint --format json --progress never --checkpoint checkpoint")
        .file("checkpoint", &ended.file("checkpoint"))
}

/// State and reason of every port of a whole run.
fn ports(ended: &Ended) -> BTreeMap<u16, Port> {
    let document = Document::of(ended);
    assert!(document.complete(), "{}", ended.stdout);
    assert_eq!(document.0["run"]["engine"], "syn");
    document.ports(&target())
}

/// Ends a run and the one after it by `signal`, each at a number of packets that `seed` decides, and
/// lets the third go on to the end. Answers how many ports were asked more than once.
fn check_parts(network: &Network, signal: &str, seed: u64) -> u64 {
    let run = |program: Program| network.inside(program).expect_code(0);
    let expected = ports(&run(start_with("")));
    let found = expected.iter().filter(|(_, port)| port.state == "open");
    assert!(found.map(|(port, _)| port).eq(&network.open));
    let watched = [("syns", SYN), ("again", AGAIN)].map(|(name, rule)| Watched { name, rule });
    let watch = Watch::start(&network.wire.target, &watched);
    let mut seed = Seed::new(seed);
    let mut program = start();
    for _ in 0..2 {
        let mut running = network.wire.scanner.enter(|| program.start()).unwrap();
        running.wait_until(|it| it.path("checkpoint").exists());
        let enough = watch.counted("syns") + 100 + seed.below(2_500);
        running.wait_until(|_| watch.counted("syns") >= enough);
        running.signal(signal);
        let ended = running.end();
        let code = (signal == "INT").then_some(130);
        assert_eq!(ended.code, code, "{}", ended.stderr);
        program = next(&ended);
    }
    assert_eq!(ports(&run(program)), expected);
    watch.counted("again")
}

/// How many ports a checkpoint decides: those that are open, and the sets of others.
fn decided(checkpoint: &str) -> u64 {
    let (_, content) = checkpoint.split_once('\n').unwrap();
    let content: serde_json::Value = serde_json::from_str(content).unwrap();
    let count = |host: &serde_json::Value| {
        let groups = host["outcome"]["groups"].as_array().unwrap().iter();
        let groups = groups.map(|group| {
            let few = group["few"].as_array().unwrap().len();
            few + numbers(group["many"].as_str().unwrap()).len()
        });
        groups.sum::<usize>() + host["open"].as_array().unwrap().len()
    };
    let hosts = content["hosts"].as_array().unwrap();
    u64::try_from(hosts.iter().map(count).sum::<usize>()).unwrap()
}

#[test]
fn a_killed_run_loses_and_repeats_nothing_that_its_checkpoint_decides() {
    let network = network();
    let watched = [("syns", SYN), ("again", AGAIN)].map(|(name, rule)| Watched { name, rule });
    let watch = Watch::start(&network.wire.target, &watched);
    let mut running = network.wire.scanner.enter(|| start().start()).unwrap();
    running.wait_until(|it| it.path("checkpoint").exists());
    let enough = watch.counted("syns") + 2_000;
    running.wait_until(|_| watch.counted("syns") >= enough);
    running.signal("KILL");
    let ended = running.end();
    assert_eq!(ended.code, None);
    let (sent, known) = (watch.counted("syns"), decided(&ended.file("checkpoint")));
    assert!(known > 0 && known < sent, "{known} of {sent}");
    let found = ports(&network.inside(next(&ended)).expect_code(0));
    let open = found.iter().filter(|(_, port)| port.state == "open");
    assert!(open.map(|(port, _)| port).eq(&network.open));
    assert_eq!(found.len(), usize::from(PORTS));
    // Every port that is not decided is asked, once, and nothing else.
    assert_eq!(watch.counted("syns") - sent, u64::from(PORTS) - known);
    assert_eq!(watch.counted("again"), sent - known);
}

fn network() -> Network {
    let open = random_ports(41, 200).into_iter();
    Network::new(Engine::Syn, open.filter(|port| *port <= PORTS).collect())
}

#[test]
fn an_interrupted_run_goes_on_with_what_is_left() {
    // What is under way is waited for, so that nothing has to be asked again.
    assert_eq!(check_parts(&network(), "INT", 1), 0);
}

#[test]
fn a_killed_run_goes_on() {
    // What came after the last checkpoint is asked again, and nothing else.
    let again = check_parts(&network(), "KILL", 2);
    assert!(again > 0 && again < u64::from(PORTS), "{again}");
}

#[test]
fn an_interrupted_run_over_a_lossy_way_finds_the_same() {
    let network = network();
    network.wire.lose(2).unwrap();
    check_parts(&network, "INT", 3);
}

#[test]
fn a_killed_run_over_a_lossy_way_finds_the_same() {
    let network = network();
    network.wire.lose(2).unwrap();
    check_parts(&network, "KILL", 4);
}
