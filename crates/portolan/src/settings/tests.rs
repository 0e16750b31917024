//! Which layer wins, and what is said about settings that are wrong. Files that cannot be read are
//! tested in `tests/it/config.rs`.

use super::*;
use crate::flags::{DepthArg, Engine, ScanArgs, When};
use crate::values::Rate;
use std::path::PathBuf;

const HERE: &str = "./portolan.toml";
const HOME: &str = "/etc/xdg/portolan/portolan.toml";

/// What a run finds around it.
#[derive(Default)]
struct Around {
    here: Option<&'static str>,
    home: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

impl Around {
    fn parse(&self, line: &str) -> Result<(Cli, Settings), ParseEnd> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let environment = self.environment.iter();
        let environment = environment
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        let file = |path: &str, folder: &str, text: Option<&str>| SettingsFile {
            path: path.to_owned(),
            folder: PathBuf::from(folder),
            text: text.map(str::to_owned),
        };
        parse_in(&arguments, &environment, || {
            Ok(vec![
                file(HERE, "", self.here),
                file(HOME, "/etc/xdg/portolan", self.home),
            ])
        })
    }

    fn ok(&self, line: &str) -> (Cli, Settings) {
        self.parse(line)
            .unwrap_or_else(|end| panic!("{line}: {end:?}"))
    }

    fn scan(&self, line: &str) -> ScanArgs {
        match self.ok(line).0.command {
            crate::flags::Command::Scan(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn source(&self, line: &str, name: &str) -> Source {
        let settings = self.ok(line).1;
        let setting = settings.list.iter().find(|setting| setting.name == name);
        setting.unwrap().source.clone()
    }
}

fn check_refused(around: &Around, line: &str, words: &[&str]) {
    match around.parse(line) {
        Err(ParseEnd::Setting(sentence)) => {
            for word in words {
                assert!(sentence.contains(word), "{word:?} is not in: {sentence}");
            }
            assert!(!sentence.contains('\n'), "{sentence}");
        }
        other => panic!("{line}: {other:?}"),
    }
}

fn check_file_refused(text: &'static str, words: &[&str]) {
    let here = Around {
        here: Some(text),
        ..Around::default()
    };
    check_refused(&here, "portolan scan ::1", words);
    let home = Around {
        home: Some(text),
        ..Around::default()
    };
    check_refused(&home, "portolan config show", &[HOME]);
}

#[test]
fn each_layer_wins_over_those_below() {
    let home = "color = \"never\"\n[scan]\nrate = 1\nports = \"1\"\n";
    let here = "[scan]\nrate = 2\nports = 2";
    let check = |around: &Around, line: &str, rate: Option<u64>, ports: Option<&str>| {
        let args = around.scan(line);
        assert_eq!(args.rate, Rate(rate), "{line}");
        assert_eq!(args.ports.as_deref(), ports, "{line}");
    };
    let mut around = Around::default();
    check(&around, "portolan scan ::1", None, None);
    around.home = Some(home);
    check(&around, "portolan scan ::1", Some(1), Some("1"));
    around.here = Some(here);
    check(&around, "portolan scan ::1", Some(2), Some("2"));
    around.environment = &[("PORTOLAN_RATE", "3"), ("PORTOLAN_PORTS", "")];
    check(&around, "portolan scan ::1", Some(3), Some("2"));
    check(&around, "portolan scan ::1 --rate 4", Some(4), Some("2"));
    check(&around, "portolan scan ::1 -p -", Some(3), Some("-"));
    assert_eq!(around.ok("portolan scan ::1").0.show.color, When::Never);
    assert_eq!(around.ok("portolan local").0.show.color, When::Never);
}

#[test]
fn each_setting_knows_where_it_comes_from() {
    let around = Around {
        here: Some("\nquiet = true\n\n[scan]\n# here\nhost_rate = 7\n"),
        home: Some("[scan]\nhost-rate = 8\nengine = 'connect'"),
        environment: &[("PORTOLAN_DEPTH", "ports"), ("PORTOLAN_COLOR", "")],
    };
    let check = |name: &str, expected: &str| {
        let found = around.source("portolan config show --accessible", name);
        assert_eq!(found.to_string(), expected, "{name}");
    };
    check("accessible", "flag");
    check("color", "default");
    check("depth", "environment PORTOLAN_DEPTH");
    check("engine", "/etc/xdg/portolan/portolan.toml line 3");
    check("host-rate", "./portolan.toml line 6");
    check("ports", "default");
    check("quiet", "./portolan.toml line 2");
    let source = around.source("portolan scan ::1 --depth identify", "depth");
    assert_eq!(source, Source::Flag);
}

#[test]
fn values_of_every_kind_are_taken() {
    let around = Around {
        here: Some(concat!(
            "verbose = true\n",
            "[scan]\n",
            "exclude = [\"10.0.0.1\", \"10.0.0.2 10.0.0.3\"]\n",
            "exclude_file = \"never\"\n",
            "ports = '-'\n",
            "retries = 0x10\n",
            "tcp = true\n",
            "max-time = \"1h\"\n",
        )),
        ..Around::default()
    };
    let (cli, _) = around.ok("portolan scan ::1");
    assert!(cli.show.verbose);
    let args = around.scan("portolan scan ::1");
    assert_eq!(args.exclude, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert_eq!(args.exclude_file, [PathBuf::from("never")]);
    assert_eq!(args.ports.as_deref(), Some("-"));
    assert_eq!(args.retries, Some(16));
    assert!(args.tcp && !args.udp);
    assert_eq!(args.max_time.unwrap().seconds, 3600);
    let args = around.scan("portolan scan ::1 -x 10.9.9.9");
    assert_eq!(args.exclude, ["10.9.9.9"]);
}

#[test]
fn an_empty_list_undoes_the_list_below() {
    let around = Around {
        here: Some("scan.exclude = []"),
        home: Some("scan.exclude = ['10.0.0.1']"),
        ..Around::default()
    };
    assert!(around.scan("portolan scan ::1").exclude.is_empty());
    let source = around.source("portolan scan ::1", "exclude");
    assert_eq!(source.to_string(), "./portolan.toml line 1");
}

#[test]
fn paths_are_relative_to_their_file() {
    let check = |around: &Around, expected: &str| {
        let scope = around.scan("portolan scan ::1").scope;
        assert_eq!(scope, Some(PathBuf::from(expected)));
    };
    let mut around = Around {
        home: Some("[scan]\nscope = 'scope.toml'"),
        ..Around::default()
    };
    check(&around, "/etc/xdg/portolan/scope.toml");
    around.here = Some("[scan]\nscope = 'scope.toml'");
    check(&around, "scope.toml");
    around.here = Some("[scan]\nscope = '/etc/scope.toml'");
    check(&around, "/etc/scope.toml");
}

#[test]
fn options_of_scan_may_stand_at_the_top() {
    let around = Around {
        here: Some("depth = 'ports'\n[scan]\nengine = 'connect'"),
        ..Around::default()
    };
    let args = around.scan("portolan scan ::1");
    assert_eq!(args.depth, DepthArg::Ports);
    assert_eq!(args.engine, Engine::Connect);
    check_file_refused(
        "depth = 'ports'\n[scan]\ndepth = 'ports'",
        &["line 3", "line 1"],
    );
}

#[test]
fn switches_in_the_environment_are_read_as_people_write_them() {
    for (value, expected) in [("1", true), ("Yes", true), ("false", false), ("off", false)] {
        let environment = Box::leak(Box::new([("PORTOLAN_QUIET", value)]));
        let around = Around {
            environment,
            ..Around::default()
        };
        assert_eq!(
            around.ok("portolan local").0.show.quiet,
            expected,
            "{value}"
        );
    }
    let around = Around {
        environment: &[("PORTOLAN_QUIET", "maybe")],
        ..Around::default()
    };
    check_refused(
        &around,
        "portolan local",
        &["PORTOLAN_QUIET", "maybe", "true or false"],
    );
}

#[test]
fn a_flag_replaces_settings_that_exclude_it() {
    let around = Around {
        here: Some("quiet = true\n[scan]\nexclude = ['10.0.0.1']"),
        environment: &[("PORTOLAN_PORTS", "80")],
        ..Around::default()
    };
    let (cli, _) = around.ok("portolan scan ::1 -v");
    assert!(cli.show.verbose && !cli.show.quiet);
    let args = around.scan("portolan scan --resume file");
    assert_eq!((args.ports, args.exclude.len()), (None, 0));
    // Two flags that exclude each other still do.
    let end = around.parse("portolan scan ::1 -q -v").unwrap_err();
    assert!(matches!(end, ParseEnd::CommandLine(error) if error.exit_code() == 2));
}

#[test]
fn of_settings_that_exclude_each_other_the_stronger_is_kept() {
    let around = Around {
        here: Some("quiet = true"),
        environment: &[("PORTOLAN_VERBOSE", "1")],
        ..Around::default()
    };
    let (cli, _) = around.ok("portolan local");
    assert!(cli.show.verbose && !cli.show.quiet);
    check_file_refused(
        "quiet = true\nverbose = true",
        &["line 1", "line 2", "exclude"],
    );
    let around = Around {
        here: Some("quiet = true\nverbose = false"),
        ..Around::default()
    };
    assert!(around.ok("portolan local").0.show.quiet);
}

#[test]
fn a_scope_does_not_give_way_silently() {
    let around = Around {
        here: Some("[scan]\nscope = 'scope.toml'"),
        ..Around::default()
    };
    let line = "portolan scan 192.0.2.1 --i-am-authorized me";
    check_refused(&around, line, &["scope.toml", "./portolan.toml line 2"]);
    assert!(Around::default().scan(line).i_am_authorized.is_some());
}

#[test]
fn a_wrong_value_in_a_file_is_named_with_its_line() {
    let file = "./portolan.toml, line 2";
    check_file_refused(
        "[scan]\nengine = 'fast'",
        &[file, "engine = 'fast'", "auto, connect or syn"],
    );
    check_file_refused("[scan]\nrate = 0", &[file, "rate = 0", "probes a second"]);
    check_file_refused("[scan]\nretries = 21", &[file, "retries = 21", "0..=20"]);
    check_file_refused("[scan]\nretries = 1.5", &[file, "1.5"]);
    check_file_refused("[scan]\nsource-ip = 'x'", &[file, "IP address"]);
    check_file_refused("[scan]\nformat = 'nonsense'", &[file, "jsonl"]);
    check_file_refused("[scan]\nmax-time = 'soon'", &[file, "1h30m"]);
    check_file_refused("[scan]\nscope = ''", &[file, "scope", "write a value"]);
    check_file_refused("[scan]\nports = [80]", &[file, "one string or number"]);
    check_file_refused("[scan]\nports = true", &[file, "one string or number"]);
    check_file_refused(
        "[scan]\nports = 2001-01-01",
        &[file, "one string or number"],
    );
    check_file_refused("[scan]\nports = {a = 1}", &[file, "one string or number"]);
    check_file_refused("[scan]\nexclude = [[1]]", &[file, "list of strings"]);
    check_file_refused("[scan]\ntcp = 'yes'", &[file, "true or false"]);
    check_file_refused("\ncolor = 'pink'", &[file, "always, auto or never"]);
    check_file_refused("\nquiet = 1", &[file, "true or false"]);
}

#[test]
fn a_wrong_key_is_named_with_the_nearest() {
    check_file_refused("[scan]\nport = 80", &["line 2", "no setting port", "ports"]);
    check_file_refused("[scan]\nhost_rat = 80", &["line 2", "host-rate"]);
    check_file_refused("\n\ncolour = 'auto'", &["line 3", "did you mean color?"]);
    check_file_refused("no-such-key = 1", &["line 1", "no-such-key", "--help"]);
    check_file_refused("[scam]\nports = 1", &["line 1", "scam"]);
    check_file_refused("scan = 1", &["line 1", "[scan]"]);
    check_file_refused("[[scan]]\nports = 1", &["line 1", "[scan]"]);
    check_file_refused("[scan]\ncolor = 'auto'", &["line 2", "above [scan]"]);
    check_file_refused(
        "[scan]\nhost-rate = 1\nhost_rate = 2",
        &["line 3", "line 2"],
    );
    check_file_refused("\"a\\u001bb\" = 1", &["line 1", "a\\u{1b}b"]);
}

#[test]
fn options_of_one_run_are_refused_with_the_reason() {
    for key in [
        "targets",
        "input",
        "resume",
        "dry_run",
        "i_am_authorized",
        "seed",
        "shard",
        "output",
        "help",
        "version",
    ] {
        let name = key.replace('_', "-");
        let text: &'static str = Box::leak(format!("[scan]\n{key} = 'x'").into_boxed_str());
        check_file_refused(text, &["line 2", &name, "cannot be set in a file; "]);
    }
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    check_file_refused("[scan]\nports =", &["./portolan.toml, line 2", "not TOML"]);
    check_file_refused("[scan]\nports = 1\nports = 2", &["line 3", "not TOML"]);
    check_file_refused("no toml", &["line 1", "not TOML"]);
    check_file_refused("a = \"\0\"", &["line 1", "not TOML"]);
}

#[test]
fn a_file_that_is_cut_anywhere_is_read_or_refused() {
    let text = "quiet = true\n[scan]\nexclude = [\"é\", 'b']\nrate = 10\nmax_time = \"1h\"\n";
    let table = Table::of(&apart_from_environment(Cli::command()), &Cli::command());
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let file = SettingsFile {
            path: HERE.to_owned(),
            folder: PathBuf::new(),
            text: Some(text[..end].to_owned()),
        };
        match file::values(&table, &file, 0) {
            Ok(values) => assert!(values.len() <= 4),
            Err(sentence) => assert!(sentence.starts_with(HERE), "{sentence}"),
        }
    }
}

#[test]
fn a_wrong_variable_is_named() {
    let around = Around {
        environment: &[("PORTOLAN_RATE", "-1\u{1b}[31m")],
        ..Around::default()
    };
    let words = ["PORTOLAN_RATE", "--rate", "probes a second", "\\u{1b}"];
    check_refused(&around, "portolan scan ::1", &words);
    check_refused(&around, "portolan config show", &words);
    // What does not matter to a command does not stop it.
    around.ok("portolan local");
}

#[test]
fn help_and_generated_files_do_not_depend_on_settings() {
    let around = Around {
        here: Some("broken"),
        environment: &[("PORTOLAN_COLOR", "pink")],
        ..Around::default()
    };
    around.ok("portolan man");
    around.ok("portolan completions bash");
    for (line, code, word) in [
        ("portolan --version", 0, "portolan 0"),
        ("portolan scan --help", 0, "[env: PORTOLAN_PORTS]"),
        ("portolan scan --nonsense", 2, "--nonsense"),
        ("portolan", 2, "Usage"),
    ] {
        match around.parse(line) {
            Err(ParseEnd::CommandLine(error)) => {
                assert_eq!(error.exit_code(), code, "{line}");
                let text = error.to_string();
                assert!(text.contains(word), "{line}: {text}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn what_is_shown_is_a_settings_file_that_says_the_same() {
    let around = Around {
        here: Some("quiet = true\n[scan]\nexclude = ['a\"b', '7']\nretries = 3\ninterface = '007'"),
        environment: &[("PORTOLAN_DEPTH", "ports"), ("PORTOLAN_PORTS", "80")],
        ..Around::default()
    };
    let before = around.ok("portolan config show").1;
    for origin in [
        crate::command::config::Origin::Hidden,
        crate::command::config::Origin::Shown,
    ] {
        let mut text = Vec::new();
        let layout = portolan_report::Layout::Columns;
        crate::command::config::show(&before, origin, layout, &mut text).unwrap();
        let text: &'static str = Box::leak(String::from_utf8(text).unwrap().into_boxed_str());
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let again = Around {
            here: Some(text),
            ..Around::default()
        };
        let after = again.ok("portolan config show").1;
        let values = |settings: &Settings| -> Vec<_> {
            let list = settings.list.iter();
            list.map(|it| (it.name.clone(), it.values.clone()))
                .collect()
        };
        assert_eq!(values(&before), values(&after), "{text}");
    }
}
