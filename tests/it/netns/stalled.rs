//! A reader of the result that stalls: the user can still end the run.

use super::{Engine, Network};
use crate::program::{Program, Running};
use crate::result::Document;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::PipeWriter;
use std::os::fd::AsFd as _;

/// Every address of it has an open port: more events than all queues hold.
const HOSTS: &str = "198.18.32.0/19";
const HOSTS_COUNT: usize = 8_192;

/// Whether whoever writes to the pipe has to wait.
fn is_full(pipe: &PipeWriter) -> bool {
    let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO).unwrap() == 0
}

/// A scan whose reader has never read, at the moment when it waits for it.
fn stall(network: &Network, program: Program, stdout: PipeWriter) -> Running {
    let kept = stdout.try_clone().unwrap();
    let start = || program.start_into(stdout.into());
    let mut running = network.wire.scanner.enter(start).unwrap();
    running.wait_until(|_| is_full(&kept));
    running
}

fn check_reader(engine: Engine) {
    let network = Network::new(engine, vec![100]);
    network.wire.route(HOSTS).unwrap();
    let (reader, stdout) = std::io::pipe().unwrap();
    let program = Program::new(&format!(
        "scan {HOSTS} -p 100 --engine {} --depth ports --format jsonl --checkpoint checkpoint",
        engine.name()
    ));
    let mut running = stall(&network, program, stdout);
    running.wait_until(|it| it.path("checkpoint").exists());
    running.signal("INT");
    running.wait_until(|it| it.stderr().contains("once more to quit at once"));
    running.signal("INT");
    let ended = running.end().expect_code(130);
    drop(reader);
    // What was found so far is not lost.
    let resumed = Program::new("scan --resume checkpoint --format json --progress never")
        .file("checkpoint", &ended.file("checkpoint"));
    let document = Document::of(&network.inside(resumed).expect_code(0));
    assert!(document.complete());
    assert_eq!(document.hosts().len(), HOSTS_COUNT);
    for host in document.hosts() {
        assert_eq!(host["ports"][0]["state"], "open", "{host}");
    }
}

#[test]
fn a_second_interrupt_quits_although_the_reader_stalls() {
    Engine::ALL.into_iter().for_each(check_reader);
}

/// 254 hosts: their events fit into the queue and not into the pipe, so the scan itself is over.
fn check_found(engine: Engine) {
    let network = Network::new(engine, vec![100]);
    network.wire.route("198.18.32.0/24").unwrap();
    for format in ["jsonl", "json"] {
        let (reader, stdout) = std::io::pipe().unwrap();
        let program = Program::new(&format!(
            "scan 198.18.32.0/24 -p 100,300-400 --engine {} --depth ports --format {format}",
            engine.name()
        ));
        let mut running = stall(&network, program, stdout);
        running.signal("INT");
        running.wait_until(|it| it.stderr().contains("once more to quit at once"));
        running.signal("INT");
        let ended = running.end().expect_code(130);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        drop(reader);
    }
}

#[test]
fn a_second_interrupt_quits_although_everything_is_found() {
    Engine::ALL.into_iter().for_each(check_found);
}
