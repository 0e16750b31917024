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
    check_refused("scan 127.0.0.1 -p 70000", "0 to 65535");
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
fn what_is_in_the_way_of_a_checkpoint_is_told() {
    let scan = |path: &str| {
        Program::new("scan 127.0.0.1 -p 1 --checkpoint")
            .argument(path)
            .file("letter", "Dear all,")
    };
    refuse(scan("letter"), 2, "letter is no checkpoint");
    refuse(scan("."), 2, "is no checkpoint");
    // A file has no entries.
    refuse(scan("letter/new"), 2, "Not a directory");
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
fn two_results_in_one_file_are_refused() {
    let scan = |arguments: &str| Program::new(&format!("scan 127.0.0.1 -p 1 {arguments}"));
    refuse(scan("-o a.json -o a.json"), 2, "a.json is named twice");
    refuse(scan("-o a.json -o b.xml -o ./a.json"), 2, "./a.json");
    refuse(
        scan("-o here/a.json -o a.json").link("here", "."),
        2,
        "twice",
    );
    refuse(scan("-o a.json --checkpoint ./a.json"), 2, "checkpoint");
    let ended = scan("-o a.json -o a.jsonl -o a.json.csv").run();
    let ended = ended.expect_code(0);
    assert!(ended.file("a.json").contains("portolan.run/1"));
}

#[test]
fn nothing_is_left_beside_an_output() {
    let ended = Program::new("scan 127.0.0.1 -p 1 -o a.json").run();
    let ended = ended.expect_code(0);
    let names = std::fs::read_dir(ended.folder.path()).unwrap();
    let names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".json"))
        .collect();
    assert_eq!(names, ["a.json"]);
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
fn the_checkpoint_stays_until_every_result_is_written() {
    // Long enough for a checkpoint, which is written every two seconds.
    let scan = Program::new("scan 127.0.0.1 -p 1-125 --rate 50 --depth ports -o full.json")
        .arguments("--checkpoint kept --format list");
    let ended = scan.link("full.json", "/dev/full").run().expect_code(4);
    assert!(ended.stderr.contains("--resume kept"), "{}", ended.stderr);
    let kept = ended.folder.path().join("kept");
    let again = Program::new("scan -o a.json --format list --resume").argument(&kept);
    let again = again.run().expect_code(0);
    let document = crate::result::Document::parse(&again.file("a.json"));
    assert!(document.complete());
    assert!(!kept.exists(), "nothing is left to go on with");
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

#[test]
fn a_dry_run_that_nobody_can_read_is_an_error_of_the_system() {
    for format in ["table", "json"] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let scan = Program::new("scan 127.0.0.1 -p 1 --dry-run --format").argument(format);
        assert_sentence(&scan.run_into(full).expect_code(4), "output");
    }
}

#[test]
fn a_closed_standard_output_is_refused_where_the_result_would_be_lost() {
    let closed = |arguments: &str| {
        let command = format!("exec {} {arguments} >&-", crate::program::path().display());
        Program::of("sh").argument("-c").argument(command).run()
    };
    for arguments in [
        "scan 127.0.0.1 -p 1",
        "scan 127.0.0.1 -p 1 --dry-run -o a.json",
        "local",
    ] {
        assert_sentence(
            &closed(arguments).expect_code(2),
            "standard output is closed",
        );
    }
    let ended = closed("scan 127.0.0.1 -p 1 -o a.json").expect_code(0);
    assert!(ended.file("a.json").contains("portolan.run/1"));
    // Who asks for nothing gets nothing, whichever way it was opened.
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let ended = Program::new("scan 127.0.0.1 -p 1").run_into(null);
    ended.expect_code(0);
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

#[test]
fn a_dry_run_counts_what_the_kernel_repeats() {
    let packets = |arguments: &str| {
        let scan = format!("scan 127.0.0.1 -p 1-10 --retries 1 --dry-run {arguments}");
        let ended = portolan(&format!("{scan} --format json")).expect_code(0);
        let preview: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        preview["packets_max"].as_u64().unwrap()
    };
    assert_eq!(packets("--timeout 500"), 20);
    assert_eq!(packets(""), 40);
    assert_eq!(packets("--timeout 2500"), 60);
}

#[test]
fn a_name_excludes_its_addresses() {
    let ended = portolan("scan 127.0.0.1-3 -x localhost -p 1 --dry-run --format json");
    let preview: serde_json::Value = serde_json::from_str(&ended.expect_code(0).stdout).unwrap();
    assert_eq!(preview["addresses"], 2);
    check_refused("scan 127.0.0.1 -x localhost -p 1 --dry-run", "127.0.0.1");
}
