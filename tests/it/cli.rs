//! Wrong input, and the commands that scan nothing: exit codes, one clear sentence, nothing sent.

use crate::program::{Ended, Program, portolan};

/// A wrong command line must be refused with `code`, say `word`, and print no result.
fn refuse(program: Program, code: i32, word: &str) {
    let ended = program.run().expect_code(code);
    assert_eq!(ended.stdout, "", "a refused run prints no result");
    assert_sentence(&ended, word);
}

/// What the user reads is a few lines with the word that matters, and no program's inside.
fn assert_sentence(ended: &Ended, word: &str) {
    let text = &ended.stderr;
    assert!(text.contains(word), "{word:?} is not in: {text}");
    assert!(text.lines().count() <= 8, "too long to read: {text}");
    for inside in ["panicked", "RUST_BACKTRACE", "Err(", "Os {", "unwrap"] {
        assert!(!text.contains(inside), "{inside:?} is in: {text}");
    }
}

fn check_refused(arguments: &str, word: &str) {
    refuse(Program::new(arguments), 2, word);
}

#[test]
fn malformed_targets_are_refused() {
    check_refused("scan", "target");
    check_refused("scan 10.0.0.0/33 -p 80", "10.0.0.0/33");
    check_refused("scan 10.0.0.1/x -p 80", "10.0.0.1/x");
    check_refused("scan 10.0.0.20-1 -p 80", "10.0.0.20-1");
    check_refused("scan 2001:db8::/129 -p 80", "2001:db8::/129");
    check_refused("scan no-such-host.invalid -p 80", "no-such-host.invalid");
    check_refused("scan 127.0.0.1 -x 10.0.0.0/99 -p 80", "10.0.0.0/99");
}

#[test]
fn malformed_ports_are_refused() {
    check_refused("scan 127.0.0.1 -p 70000", "70000");
    check_refused("scan 127.0.0.1 -p 80-20", "80-20");
    check_refused("scan 127.0.0.1 -p no-such-service", "no-such-service");
    check_refused("scan 127.0.0.1 -p ,", "port");
    check_refused("scan 127.0.0.1 -p -5-x", "-5-x");
}

#[test]
fn malformed_options_are_refused() {
    check_refused("scan 127.0.0.1 --no-such-option", "--no-such-option");
    check_refused("scan 127.0.0.1 --format nonsense", "nonsense");
    check_refused("scan 127.0.0.1 --shard 3/2", "3/2");
    check_refused("scan 127.0.0.1 --shard 0/2", "0/2");
    check_refused("scan 127.0.0.1 --rate 0", "0");
    check_refused("scan 127.0.0.1 --seed x", "x");
    check_refused("scan 127.0.0.1 --max-time yesterday", "yesterday");
    check_refused("scan 127.0.0.1 -o result.unknown", "result.unknown");
    check_refused("no-such-command", "no-such-command");
    check_refused("local 70000", "70000");
}

#[test]
fn empty_and_missing_files_are_refused() {
    let scan = || Program::new("scan -p 80 -i targets");
    refuse(scan(), 2, "targets");
    refuse(scan().file("targets", ""), 2, "targets");
    refuse(scan().file("targets", "# nothing\n\n"), 2, "targets");
    refuse(
        scan().file("targets", "127.0.0.1\n10.0.0.0/40\n"),
        2,
        "10.0.0.0/40",
    );
    let scan = || Program::new("scan -p 80 -");
    refuse(
        scan().file("targets", "").stdin("targets"),
        2,
        "standard input",
    );
    let exclude = Program::new("scan 127.0.0.1 -p 80 --exclude-file missing");
    refuse(exclude, 2, "missing");
}

#[test]
fn a_target_that_is_excluded_whole_is_refused() {
    check_refused("scan 127.0.0.1 -x 127.0.0.0/8 -p 80", "127.0.0.");
}

#[test]
fn a_target_that_the_internet_routes_needs_a_scope() {
    // The dry run makes sure that a mistake here sends nothing either.
    let arguments = "scan 8.8.8.8 -p 80 --dry-run";
    check_refused(arguments, "8.8.8.8");
    check_refused(arguments, "--scope");
    check_refused(arguments, "--i-am-authorized");
    Program::new(arguments)
        .argument("--i-am-authorized")
        .argument("test of the dry run")
        .run()
        .expect_code(0);
}

#[test]
fn a_scope_file_is_the_limit() {
    let scan = |scope: &str| {
        Program::new("scan 127.0.0.1 -p 80 --dry-run --scope s.toml").file("s.toml", scope)
    };
    scan("allow = [\"127.0.0.0/8\"]\n").run().expect_code(0);
    refuse(scan("allow = [\"192.0.2.0/24\"]\n"), 2, "127.0.0.1");
    refuse(
        scan("allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.1\"]\n"),
        2,
        "127.0.0.1",
    );
    refuse(
        scan("allow = [\"127.0.0.0/8\"]\nexpires = \"2001-01-01T00:00:00Z\"\n"),
        2,
        "2001-01-01",
    );
    refuse(
        scan("allow = [\"127.0.0.0/8\"]\nports = \"443\"\n"),
        2,
        "80",
    );
    refuse(scan("allow = 7\n"), 2, "s.toml");
    refuse(scan("no toml"), 2, "s.toml");
    refuse(
        Program::new("scan 127.0.0.1 --scope missing.toml"),
        2,
        "missing.toml",
    );
}

#[test]
fn a_corrupt_checkpoint_is_refused() {
    let resume = || Program::new("scan --resume checkpoint");
    refuse(resume(), 2, "checkpoint");
    // A file that the program wrote itself and that is damaged is a failure of the system.
    for damaged in ["", "{\"schema\":", "{}", "\0\u{1}\u{2} noise"] {
        refuse(resume().file("checkpoint", damaged), 4, "checkpoint");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_said_before_anything_is_sent() {
    let into = |file: &str| Program::new("scan 127.0.0.1 -p 1 --format json -o").argument(file);
    // Nobody, root included, can make a file in these folders.
    refuse(into("missing/result.json"), 2, "missing/result.json");
    refuse(into("/proc/result.json"), 2, "/proc/result.json");
    refuse(into("/sys/result.json"), 2, "/sys/result.json");
}

#[test]
fn a_full_disk_is_an_error_of_the_system() {
    let scan = Program::new("scan 127.0.0.1 -p 1 --format json -o result.json -o full.json");
    let ended = scan.link("full.json", "/dev/full").run().expect_code(4);
    assert_sentence(&ended, "full.json");
    // What could be written is there.
    assert!(ended.file("result.json").contains("portolan.run/1"));
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error_too() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let ended = Program::new("scan 127.0.0.1 -p 1 --format json").run_into(full);
    assert_sentence(&ended.expect_code(4), "output");
}

fn check_prints(arguments: &str, words: &[&str]) {
    let ended = portolan(arguments).expect_code(0);
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?}: {}", ended.stdout);
    }
}

#[test]
fn commands_describe_themselves() {
    check_prints("--version", &["portolan 0.1.0"]);
    check_prints("--help", &["scan", "local", "doctor"]);
    check_prints(
        "scan --help",
        &["--ports", "--resume", "--dry-run", "--accessible"],
    );
    check_prints("man", &[".TH", "portolan"]);
    check_prints("completions bash", &["_portolan", "complete"]);
    check_prints("completions zsh", &["#compdef portolan"]);
    check_prints("completions fish", &["complete -c portolan"]);
}

#[test]
fn doctor_says_what_works_here() {
    check_prints("doctor", &["open files", "connect"]);
}

#[test]
fn settings_say_where_they_come_from() {
    let show = || Program::new("config show --origin");
    let ended = show().run().expect_code(0);
    assert!(ended.stdout.contains("default"), "{}", ended.stdout);
    let from_file = show().file("portolan.toml", "depth = \"ports\"\n");
    let ended = from_file.run().expect_code(0);
    assert!(ended.stdout.contains("portolan.toml"), "{}", ended.stdout);
    let from_environment = show().environment("PORTOLAN_DEPTH", "ports");
    let ended = from_environment.run().expect_code(0);
    assert!(ended.stdout.contains("PORTOLAN_DEPTH"), "{}", ended.stdout);
}

#[test]
fn a_wrong_settings_file_is_refused() {
    let scan = || Program::new("scan 127.0.0.1 -p 1");
    refuse(scan().file("portolan.toml", "depth ="), 2, "portolan.toml");
    refuse(
        scan().file("portolan.toml", "no-such-key = 1\n"),
        2,
        "no-such-key",
    );
}

#[test]
fn a_dry_run_counts_and_sends_nothing() {
    let ended = portolan("scan 10.0.0.0/8 -p - --dry-run --format json").expect_code(0);
    let text = ended.stdout.replace([',', '_', ' ', '\u{a0}', '\''], "");
    // 2^24 addresses times 65,535 ports; the network and broadcast address may be left out.
    let whole = (1_u64 << 24) * 65_535;
    let inner = ((1_u64 << 24) - 2) * 65_535;
    assert!(
        text.contains(&whole.to_string()) || text.contains(&inner.to_string()),
        "{}",
        ended.stdout
    );
}
