//! Settings and what is generated from the table of flags, as a user meets them: which layer wins,
//! what a wrong settings file says, completions that shells read, a man page that `man` reads.

use crate::program::{Ended, Program, path, portolan};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The user's configuration folder with settings in it.
fn home_settings(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("portolan")).unwrap();
    std::fs::write(folder.path().join("portolan/portolan.toml"), text).unwrap();
    folder
}

fn with_home(program: Program, folder: &Path) -> Program {
    program.environment("XDG_CONFIG_HOME", folder.to_str().unwrap())
}

/// The line of a setting must be `expected`, apart from blanks.
fn check_line(ended: &Ended, name: &str, expected: &str) {
    let mut lines = ended.stdout.lines();
    let line = lines.find(|line| line.starts_with(&format!("{name} = ")));
    let line = line.unwrap_or_else(|| panic!("no {name} in: {}", ended.stdout));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.join(" "), expected);
}

fn check_refused(program: Program, words: &[&str]) {
    let ended = program.run().expect_code(2);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?}: {}", ended.stderr);
    }
}

#[test]
fn each_layer_wins_over_those_below() {
    let home = home_settings("[scan]\nports = \"1\"\nrate = 1\nhost-rate = 1\n");
    let show = || with_home(Program::new("config show --origin"), home.path());
    let here = || {
        show().file(
            "portolan.toml",
            "color = 'never'\n[scan]\nrate = 2\nhost-rate = 2\n",
        )
    };

    let ended = show().run().expect_code(0);
    assert!(ended.stdout.contains("# ./portolan.toml: no such file\n"));
    assert!(ended.stdout.contains("portolan/portolan.toml: read\n"));
    // The origin is a long path, so it stands above the setting.
    let origin = format!(
        "# {}/portolan/portolan.toml line 3:\nrate = 1\n",
        home.path().display()
    );
    assert!(ended.stdout.contains(&origin), "{}", ended.stdout);

    let ended = here()
        .environment("PORTOLAN_HOST_RATE", "3")
        .run()
        .expect_code(0);
    check_line(&ended, "ports", "ports = 1");
    check_line(&ended, "rate", "rate = 2 # ./portolan.toml line 3");
    check_line(
        &ended,
        "host-rate",
        "host-rate = 3 # environment PORTOLAN_HOST_RATE",
    );
    check_line(
        &ended,
        "color",
        "color = \"never\" # ./portolan.toml line 1",
    );
    check_line(&ended, "engine", "engine = \"auto\" # default");

    let ended = here().argument("--color=always").run().expect_code(0);
    check_line(&ended, "color", "color = \"always\" # flag");
}

#[test]
fn settings_reach_the_scan_and_flags_replace_them() {
    let scan = || {
        let scan = Program::new("scan 127.0.0.1 --dry-run");
        scan.file("portolan.toml", "[scan]\nports = 70000\n")
    };
    check_refused(scan(), &["70000"]);
    scan().arguments("-p 80").run().expect_code(0);
    scan()
        .environment("PORTOLAN_PORTS", "80")
        .run()
        .expect_code(0);
    // An empty variable is none.
    check_refused(scan().environment("PORTOLAN_PORTS", ""), &["70000"]);
}

#[test]
fn settings_are_shown_as_sentences_too() {
    let show = Program::new("config show --origin").file("portolan.toml", "accessible = true\n");
    let ended = show.run().expect_code(0);
    for sentence in [
        "Settings file ./portolan.toml was read.\n",
        "accessible is on, from ./portolan.toml line 1.\n",
        "scan engine is auto, by default.\n",
        "scan scope is not set.\n",
    ] {
        assert!(
            ended.stdout.contains(sentence),
            "{sentence:?}: {}",
            ended.stdout
        );
    }
    assert!(!ended.stdout.contains("  "), "{}", ended.stdout);
}

#[test]
fn a_wrong_setting_is_named_with_its_place() {
    let check = |text: &str, words: &[&str]| {
        check_refused(Program::new("local").file("portolan.toml", text), words);
        let home = home_settings(text);
        check_refused(
            with_home(Program::new("scan ::1"), home.path()),
            &words[1..],
        );
    };
    check(
        "\n[scan]\nport = 1\n",
        &["./portolan.toml, line 3", "did you mean ports?"],
    );
    check(
        "[scan]\nretries = 99\n",
        &["./portolan.toml, line 2", "99", "0..=20"],
    );
    check(
        "[scan]\ni-am-authorized = 'me'\n",
        &["./portolan.toml, line 2", "for each scan"],
    );
    check("[scan\n", &["./portolan.toml, line 1", "TOML"]);
    let scan = Program::new("scan ::1").environment("PORTOLAN_ENGINE", "fast");
    check_refused(scan, &["PORTOLAN_ENGINE", "fast", "connect"]);
}

#[test]
fn a_settings_file_that_cannot_be_read_is_an_error() {
    let show = || Program::new("config show");
    let file = "./portolan.toml";
    check_refused(show().link("portolan.toml", "/"), &[file, "not a file"]);
    check_refused(
        show().link("portolan.toml", "/dev/zero"),
        &[file, "not a file"],
    );
    check_refused(
        show().link("portolan.toml", "portolan.toml"),
        &[file, "cannot be read"],
    );
    let large = "#".repeat((1 << 20) + 1);
    check_refused(show().file("portolan.toml", &large), &[file, "1 MiB"]);
    show()
        .file("portolan.toml", &large[1..])
        .run()
        .expect_code(0);
    let latin = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(latin.path(), b"# one\n# caf\xe9\n").unwrap();
    let latin = latin.path().to_str().unwrap();
    check_refused(
        show().link("portolan.toml", latin),
        &[file, "line 2", "UTF-8"],
    );
}

#[test]
fn generated_text_does_not_need_settings() {
    for arguments in [
        "man",
        "completions bash",
        "--help",
        "scan --help",
        "--version",
    ] {
        let program = Program::new(arguments).file("portolan.toml", "broken");
        let ended = program
            .environment("PORTOLAN_COLOR", "pink")
            .run()
            .expect_code(0);
        assert_eq!(ended.stdout, portolan(arguments).stdout);
    }
}

/// Whether a program is installed here.
fn installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

#[test]
fn completions_are_scripts_that_shells_read() {
    for (shell, check) in [
        ("bash", &["bash", "-n"][..]),
        ("elvish", &["elvish", "-compileonly"]),
        ("fish", &["fish", "--no-execute"]),
        ("powershell", &[]),
        ("zsh", &["zsh", "-n"]),
    ] {
        let ended = portolan(&format!("completions {shell}")).expect_code(0);
        assert!(ended.stdout.contains("dry-run"), "{shell}");
        let Some((program, arguments)) = check.split_first() else {
            continue;
        };
        // bash is on every machine that runs these tests; the others where someone uses them.
        if *program == "bash" || installed(program) {
            let script = ended.folder.path().join("stdout");
            let checked = Command::new(program)
                .args(arguments)
                .arg(script)
                .output()
                .unwrap();
            assert!(checked.status.success(), "{shell}: {checked:?}");
        }
    }
}

#[test]
fn bash_completes_options_of_scan() {
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(portolan scan --dry); COMP_CWORD=2; \
                  _portolan portolan --dry scan; echo \"${COMPREPLY[@]}\"";
    let bash = Program::of("bash")
        .argument("-c")
        .argument(script)
        .argument(path());
    assert_eq!(bash.run().expect_code(0).stdout, "--dry-run\n");
}

#[test]
fn the_man_page_says_what_help_says() {
    let ended = portolan("man").expect_code(0);
    let page = ended.stdout.replace("\\-", "-");
    for word in [
        "\n.TH PORTOLAN 1 \"\" \"portolan ",
        "--host-rate",
        "PORTOLAN_HOST_RATE",
        "130",
    ] {
        assert!(page.contains(word), "{word:?}: {page}");
    }
    if installed("mandoc") {
        let script = ended.folder.path().join("stdout");
        let lint = Command::new("mandoc")
            .args(["-T", "lint"])
            .arg(script)
            .output()
            .unwrap();
        let lint = String::from_utf8(lint.stdout).unwrap();
        // The page has no date, so that it is the same in each build.
        let faults: Vec<&str> = lint.lines().filter(|line| !line.contains("date")).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
}
