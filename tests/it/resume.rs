//! Interrupted runs: at any moment, by `^C` or by a kill that leaves no time for anything, a run can
//! be resumed, and together the parts are an uninterrupted run.

use crate::listeners::{Listeners, own_address};
use crate::program::{Ended, Program, Running};
use crate::result::{Document, Port};
use portolan_lab::Seed;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Ports of a run and its rate: it takes about two seconds, long enough to be interrupted anywhere.
const PORTS: &str = "20000-40000";
const RATE: u32 = 10_000;

/// Moments at which the runs are interrupted, in milliseconds after the start.
const MOMENTS_MS: u64 = 1_800;

/// How a run is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Interrupt,
    Kill,
}

fn start(address: Ipv4Addr) -> Program {
    Program::new(&format!(
        "scan {address} -p {PORTS} --rate {RATE} --depth ports --seed 7 --format json \
         --progress never --checkpoint checkpoint"
    ))
}

/// State and reason of every port of the run.
fn ports(ended: &Ended, address: Ipv4Addr) -> BTreeMap<u16, Port> {
    let document = Document::of(ended);
    assert!(document.complete(), "{}", ended.stdout);
    document.ports(&address.to_string())
}

/// Interrupts a run again and again at moments that `seed` decides, resumes it each time, and
/// compares what comes out with an uninterrupted run.
fn check_resumed(seed: u64, ending: Ending) {
    let address = own_address();
    let _listeners = Listeners::open(address, 300);
    let expected = ports(&start(address).run().expect_code(0), address);
    let mut seed = Seed::new(seed);
    let mut program = start(address);
    let mut resumed = 0;
    let ended = loop {
        let running = program.start();
        std::thread::sleep(Duration::from_millis(20 + seed.below(MOMENTS_MS)));
        running.signal(match ending {
            Ending::Interrupt => "INT",
            Ending::Kill => "KILL",
        });
        let ended = running.end();
        if ended.code == Some(0) {
            break ended;
        }
        program = next(&ended, ending, address);
        resumed += 1;
        if resumed == 4 {
            break program.run().expect_code(0);
        }
    };
    assert_eq!(ports(&ended, address), expected);
}

/// The run that goes on where an interrupted one ended.
fn next(ended: &Ended, ending: Ending, address: Ipv4Addr) -> Program {
    let checkpoint = ended.folder.path().join("checkpoint");
    if ending == Ending::Interrupt {
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert!(ended.stderr.contains("--resume"), "{}", ended.stderr);
        assert!(checkpoint.exists(), "{}", ended.stderr);
    } else if !checkpoint.exists() {
        // Killed before the first checkpoint: there is nothing to go on from.
        return start(address);
    }
    let text = std::fs::read_to_string(&checkpoint).unwrap();
    Program::new("scan --resume checkpoint --format json --progress never --checkpoint checkpoint")
        .file("checkpoint", &text)
}

#[test]
fn an_interrupted_run_can_be_resumed() {
    check_resumed(1, Ending::Interrupt);
}

#[test]
fn an_interrupted_run_can_be_resumed_at_other_moments() {
    check_resumed(2, Ending::Interrupt);
}

#[test]
fn a_killed_run_can_be_resumed() {
    check_resumed(3, Ending::Kill);
}

#[test]
fn a_killed_run_can_be_resumed_at_other_moments() {
    check_resumed(4, Ending::Kill);
}

#[test]
fn an_interrupted_run_shows_what_it_found() {
    let address = own_address();
    let listeners = Listeners::open(address, 300);
    let mut running = start(address).start();
    wait_until_scanning(&mut running);
    running.signal("INT");
    let ended = running.end().expect_code(130);
    let document = Document::of(&ended);
    assert!(!document.complete());
    let open = listeners.ports();
    let found = document.open(&address.to_string());
    assert!(
        found
            .iter()
            .all(|port| open.contains(port) || !(20_000..=40_000).contains(port))
    );
}

#[test]
fn a_second_interrupt_quits() {
    let address = own_address();
    let mut running = start(address).start();
    wait_until_scanning(&mut running);
    running.signal("INT");
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn a_checkpoint_that_was_changed_is_refused() {
    let address = own_address();
    let mut running = start(address).start();
    wait_until_scanning(&mut running);
    running.signal("INT");
    let ended = running.end().expect_code(130);
    let text = ended.file("checkpoint");
    assert!(text.contains(&address.to_string()), "{text}");
    // A change of one character, and every beginning of the file, would be a scan that nobody
    // asked for.
    let (first, rest) = text.split_once("127.").unwrap();
    check_refused(&format!("{first}126.{rest}"));
    let mut seed = Seed::new(6);
    let length = u64::try_from(text.len()).unwrap();
    for _ in 0..10 {
        let end = usize::try_from(seed.below(length)).unwrap();
        check_refused(&text[..end]);
    }
}

fn check_refused(checkpoint: &str) {
    let refused = Program::new("scan --resume checkpoint --format json")
        .file("checkpoint", checkpoint)
        .run()
        .expect_code(4);
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
}

/// Waits until the first checkpoint is there or, where a run writes none so early, a moment.
fn wait_until_scanning(running: &mut Running) {
    for _ in 0..50 {
        assert!(
            running.is_running(),
            "the run ended before it was interrupted"
        );
        if running.path("checkpoint").exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
