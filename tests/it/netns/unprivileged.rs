//! What a user without privileges gets: the same result, and the system's own words where it
//! refuses something.

use super::watch::{SYN, Watch, Watched};
use super::{Engine, Network, target};
use crate::program::{Program, path};
use crate::result::Document;
use portolan_lab::random_ports;

#[test]
fn an_unprivileged_user_finds_the_same() {
    let network = Network::new(Engine::Connect, random_ports(5, 200));
    let program = Program::unprivileged(&format!(
        "scan {} -p - --depth ports --format json --progress never --checkpoint checkpoint",
        target()
    ));
    let document = Document::of(&network.inside(program).expect_code(0));
    // The best engine that such a user may use.
    assert_eq!(document.0["run"]["engine"], "connect");
    assert_eq!(document.open(&target()), network.open);
    assert_eq!(document.count(&target(), "closed"), 65_535 - 200);
}

#[test]
fn a_checkpoint_that_may_not_be_read_is_not_called_something_else() {
    // Only the system knows what it is, and it does not tell.
    for content in ["portolan-checkpoint/1 2 0\n{}", "a letter"] {
        for arguments in [
            "127.0.0.1 -p 1 --checkpoint checkpoint",
            "--resume checkpoint",
        ] {
            check_unreadable(content, arguments);
        }
    }
}

/// Nothing is sent and nothing replaced, and the user learns what keeps the file from being read.
fn check_unreadable(content: &str, arguments: &str) {
    let ended = Program::unprivileged(&format!("scan {arguments} --format json"))
        .file("checkpoint", content)
        .close("checkpoint")
        .run()
        .expect_code(2);
    assert_eq!(ended.stdout, "", "{arguments}");
    let said = &ended.stderr;
    assert!(said.contains("Permission denied"), "{arguments}: {said}");
    assert!(!said.contains("is no checkpoint"), "{arguments}: {said}");
    assert_eq!(ended.file("checkpoint"), content, "{arguments}");
}

/// Root, all of whose other rights are left.
fn without_raw_packets(arguments: &str) -> Program {
    Program::of("setpriv")
        .arguments("--bounding-set=-net_raw --inh-caps=-net_raw")
        .argument(path())
        .arguments(arguments)
}

#[test]
fn a_scan_that_began_with_raw_packets_goes_on_without_the_right_to_them() {
    let network = Network::new(Engine::Syn, random_ports(6, 200));
    let start = Program::new(&format!(
        "scan {} -p - --rate 20000 --max-time 2s --depth ports --checkpoint checkpoint",
        target()
    ));
    let ended = network.inside(start).expect_code(3);
    let rest = without_raw_packets(
        "scan --resume checkpoint --checkpoint checkpoint --format json --progress never",
    );
    let rest = rest.file("checkpoint", &ended.file("checkpoint"));
    let ended = network.inside(rest).expect_code(0);
    assert!(
        ended.stderr.contains("goes on with connect"),
        "{}",
        ended.stderr
    );
    let document = Document::of(&ended);
    assert_eq!(document.0["run"]["engine"], "connect");
    assert_eq!(document.open(&target()), network.open);
    assert_eq!(document.count(&target(), "closed"), 65_535 - 200);
}

#[test]
fn raw_packets_without_the_right_to_them_are_refused() {
    let network = Network::new(Engine::Syn, vec![100]);
    let watched = [Watched {
        name: "syns",
        rule: SYN,
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    let scan = format!("scan {} -p 100 --depth ports --format json", target());
    let asked = format!("{scan} --engine syn");
    for program in [Program::unprivileged(&asked), without_raw_packets(&asked)] {
        let ended = network.inside(program).expect_code(2);
        assert_eq!(ended.stdout, "");
        assert!(
            ended.stderr.to_lowercase().contains("cap_net_raw"),
            "{}",
            ended.stderr
        );
        // The next step.
        assert!(ended.stderr.contains("setcap"), "{}", ended.stderr);
        assert!(ended.stderr.contains("--engine"), "{}", ended.stderr);
    }
    assert_eq!(watch.counted("syns"), 0);
    // Who does not ask for them gets connections.
    for program in [Program::unprivileged(&scan), without_raw_packets(&scan)] {
        let document = Document::of(&network.inside(program).expect_code(0));
        assert_eq!(document.0["run"]["engine"], "connect");
        assert_eq!(document.open(&target()), [100]);
    }
}
