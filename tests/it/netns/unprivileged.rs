//! What a user without privileges gets: the same result, and the system's own words where it
//! refuses something.

use super::{Network, target};
use crate::program::Program;
use crate::result::Document;
use portolan_lab::random_ports;

#[test]
fn an_unprivileged_user_finds_the_same() {
    let network = Network::new(random_ports(5, 200));
    let program = Program::unprivileged(&format!(
        "scan {} -p - --depth ports --format json --progress never --checkpoint checkpoint",
        target()
    ));
    let document = Document::of(&network.inside(program).expect_code(0));
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
