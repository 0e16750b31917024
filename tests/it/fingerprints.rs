//! Fingerprints of the user, as a user gives them: what is wrong is told with file and line before
//! anything is sent, and examples are tried when asked for.

use crate::program::{Ended, Program};

const GOOD: &str = r#"<fingerprints matches="ssh.banner" preference="0.9">
<fingerprint pattern="^Acme_([\d.]+)">
<description>Acme</description>
<example service.version="1.2">Acme_1.2</example>
<example _filename="acme.txt" service.version="3"/>
<param pos="0" name="service.product" value="Acme"/>
<param pos="1" name="service.version"/>
</fingerprint>
</fingerprints>
"#;

/// `arguments` in a folder with `prints/`, which has a file of this text.
fn with_file(arguments: &str, text: &str) -> Program {
    let program = Program::new(arguments);
    std::fs::create_dir(program.path("prints")).unwrap();
    std::fs::write(program.path("prints/acme.txt"), "Acme_3").unwrap();
    std::fs::write(program.path("prints/note.txt"), "no XML").unwrap();
    program.file("prints/ssh.xml", text)
}

fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?}: {}", ended.stderr);
    }
}

#[test]
fn a_scan_takes_them() {
    let scan = "scan 127.0.0.1 -p 9 --depth ports --format json --fingerprints prints";
    let ended = with_file(scan, GOOD).run().expect_code(0);
    assert_eq!(ended.stderr, "");
    let other = GOOD.replace("ssh.banner", "other.kind");
    let ended = with_file(scan, &other).run().expect_code(0);
    let told = "fingerprints for other.kind are not used";
    assert_eq!(ended.stderr.matches(told).count(), 1, "{}", ended.stderr);
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let scan = "scan 127.0.0.1 -p 9 --fingerprints prints";
    for arguments in [scan, "doctor --fingerprints prints"] {
        let check = |from: &str, to: &str, words: &[&str]| {
            let ended = with_file(arguments, &GOOD.replacen(from, to, 1)).run();
            assert_refused(&ended, words);
        };
        check("+)", "+", &["prints/ssh.xml, line 2: ", "unclosed group"]);
        check(
            "pos=\"1\"",
            "pos=\"2\"",
            &["prints/ssh.xml, line 7: ", "groups"],
        );
        check(
            "</fingerprints>",
            "",
            &["prints/ssh.xml, line 10: ", "close every element"],
        );
    }
    let ended = Program::new(scan).run();
    assert_refused(&ended, &["prints", "cannot be read", "check the path"]);
    let ended = with_file("scan 127.0.0.1 -p 9 --fingerprints prints/note.txt", GOOD).run();
    assert_refused(&ended, &["prints/note.txt", "cannot be read"]);
    let empty = Program::new(scan);
    std::fs::create_dir(empty.path("prints")).unwrap();
    assert_refused(&empty.run(), &["no file that ends in .xml"]);
}

#[test]
fn they_may_be_set_beside_the_flag() {
    let scan = "scan 127.0.0.1 -p 9 --dry-run";
    let wrong = GOOD.replacen("+)", "+", 1);
    let ended = with_file(scan, &wrong)
        .environment("PORTOLAN_FINGERPRINTS", "prints")
        .run();
    assert_refused(&ended, &["ssh.xml, line 2: "]);
    let ended = with_file(scan, &wrong)
        .file("portolan.toml", "[scan]\nfingerprints = 'prints'\n")
        .run();
    assert_refused(&ended, &["ssh.xml, line 2: "]);
}

#[test]
fn the_doctor_tries_the_examples() {
    let doctor = "doctor --fingerprints prints";
    let ended = with_file(doctor, GOOD).run().expect_code(0);
    assert!(ended.stdout.contains("2 of 2 hold"), "{}", ended.stdout);
    let json = format!("{doctor} --format json");
    let check = |from: &str, to: &str, words: &str| {
        let ended = with_file(&json, &GOOD.replacen(from, to, 1))
            .run()
            .expect_code(1);
        assert!(ended.stdout.contains("1 of 2 hold"), "{}", ended.stdout);
        assert!(ended.stdout.contains(words), "{}", ended.stdout);
    };
    check(
        ">Acme_1.2",
        ">Other",
        "prints/ssh.xml, line 4: the pattern does not match",
    );
    check(
        "\"3\"",
        "\"4\"",
        "prints/ssh.xml, line 5: service.version should be",
    );
    check(
        "=\"acme.txt",
        "=\"../../acme.txt",
        "leads out of the folder",
    );
}
