//! What a scan may still do while it runs: rights are given up once nothing needs them any more, by
//! every thread, whoever started it, and what comes out is the same.

use super::watch::{SYN, Watch, Watched};
use super::{Engine, Network, target};
use crate::program::{Program, Running, path};
use crate::result::Document;
use portolan_lab::random_ports;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

/// Bits of capabilities(7).
const DAC_OVERRIDE: u64 = 1 << 1;
const NET_BIND_SERVICE: u64 = 1 << 10;

/// Somebody without rights.
const NOBODY: u32 = 65_534;

/// What `proc_pid_status(5)` tells of each thread, by the name of the thread.
fn threads(running: &Running) -> Vec<(String, BTreeMap<String, String>)> {
    let folder = format!("/proc/{}/task", running.id());
    let threads = std::fs::read_dir(folder).unwrap();
    let read = |thread: std::io::Result<std::fs::DirEntry>| {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let lines = text.lines().filter_map(|line| line.split_once(":\t"));
        let fields: BTreeMap<String, String> = lines
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Some((fields["Name"].clone(), fields))
    };
    threads.filter_map(read).collect()
}

/// What is left to a run in the middle of its probes: the main thread keeps `main` and the one that
/// sends datagrams `datagrams`, of all rights.
fn check_left(network: &Network, program: Program, main: u64, datagrams: u64) -> Document {
    let any = [Watched {
        name: "probes",
        rule: "ip protocol { tcp, udp }",
    }];
    let watch = Watch::start(&network.wire.target, &any);
    let mut running = network.wire.scanner.enter(|| program.start()).unwrap();
    running.wait_until(|_| watch.counted("probes") >= 500);
    let found = threads(&running);
    assert!(found.len() >= 3, "{found:?}");
    for (name, fields) in found {
        let kept = match name.as_str() {
            "portolan" if fields["Pid"] == fields["Tgid"] => main,
            "sweep-udp" => datagrams,
            _ => 0,
        };
        for set in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
            let mask = u64::from_str_radix(&fields[set], 16).unwrap();
            let expected = if matches!(set, "CapInh" | "CapAmb") {
                0
            } else {
                kept
            };
            // Only who may change that set can leave it; nothing is had from it in any case.
            let is_bound = set == "CapBnd" && fields["Uid"].starts_with(&NOBODY.to_string());
            assert!(is_bound || mask == expected, "{name} {set} {mask:x}");
        }
        assert_eq!(fields["NoNewPrivs"], "1", "{name}");
    }
    assert!(running.is_running());
    Document::of(&running.end().expect_code(0))
}

/// Ports and rate of a run that takes two seconds and more.
fn arguments(more: &str) -> String {
    format!(
        "scan {} -p 1-4000 --rate 1500 --depth ports --format json --progress never {more}",
        target()
    )
}

fn network() -> Network {
    let open = random_ports(71, 800).into_iter();
    Network::new(Engine::Syn, open.filter(|port| *port <= 4_000).collect())
}

fn check_found(network: &Network, document: &Document, engine: Engine) {
    assert!(document.complete(), "{}", document.0["run"]);
    assert_eq!(document.0["run"]["engine"], engine.name());
    assert_eq!(document.open(&target()), network.open);
    let closed = 4_000 - u64::try_from(network.open.len()).unwrap();
    assert_eq!(document.count(&target(), "closed"), closed);
}

#[test]
fn root_keeps_no_more_than_the_right_to_write_its_files() {
    let network = network();
    for way in ["packet", "auto", "xdp"] {
        let program = Program::new(&arguments(&format!("--engine syn --io {way}")));
        let document = check_left(&network, program, DAC_OVERRIDE, 0);
        check_found(&network, &document, Engine::Syn);
        assert!(document.notices().is_empty(), "{:?}", document.notices());
    }
    let program = Program::new(&arguments("--engine connect"));
    let document = check_left(&network, program, DAC_OVERRIDE, 0);
    check_found(&network, &document, Engine::Connect);
}

#[test]
fn datagrams_keep_the_right_to_the_ports_that_services_expect() {
    let network = network();
    let scan = format!(
        "scan {} localhost -p T:1-2000,U:1-1000 --rate 2000 --depth ports --format json \
         --progress never",
        target()
    );
    let program = Program::new(&scan);
    let document = check_left(&network, program, DAC_OVERRIDE, NET_BIND_SERVICE);
    let open = network.open.iter().copied();
    let open: Vec<u16> = open.filter(|port| *port <= 2_000).collect();
    assert_eq!(document.open(&target()), open);
}

/// A copy of the program with `rights` of its own, started by a user without any.
fn with_rights(rights: &str, arguments: &str) -> Program {
    let program = Program::of("setpriv");
    let folder = program.path(".");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let copy = program.path("portolan");
    std::fs::copy(path(), &copy).unwrap();
    let set = Command::new("setcap")
        .arg(format!("{rights}+ep"))
        .arg(&copy)
        .status();
    assert!(set.unwrap().success());
    program
        .arguments(&format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups"))
        .argument(copy)
        .arguments(arguments)
}

#[test]
fn a_user_scans_by_the_rights_of_the_program_and_keeps_none() {
    let network = network();
    for (rights, way) in [
        ("cap_net_raw", "packet"),
        ("cap_net_raw", "auto"),
        ("cap_net_raw,cap_net_admin,cap_bpf", "auto"),
        // The memory of its rings is more than users may lock elsewhere.
        ("cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock", "xdp"),
    ] {
        let arguments = arguments(&format!("--io {way} --checkpoint checkpoint"));
        let document = check_left(&network, with_rights(rights, &arguments), 0, 0);
        check_found(&network, &document, Engine::Syn);
        assert!(document.notices().is_empty(), "{:?}", document.notices());
    }
}

#[test]
fn root_writes_results_into_the_folder_of_a_user() {
    let network = network();
    let watched = [Watched {
        name: "syns",
        rule: SYN,
    }];
    let watch = Watch::start(&network.wire.target, &watched);
    let program = Program::new(&arguments(
        "--engine syn --checkpoint theirs/checkpoint -o theirs/result.json",
    ));
    let theirs = program.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut running = network.wire.scanner.enter(|| program.start()).unwrap();
    // Each is written under another name first, and renamed.
    running.wait_until(|it| it.path("theirs/checkpoint").exists());
    assert!(watch.counted("syns") < 4_000);
    let ended = running.end().expect_code(0);
    assert_eq!(ended.file("theirs/result.json"), ended.stdout);
}

/// What is said on standard error of a scan that is told to say more.
fn said(network: &Network, program: Program) -> String {
    let ended = network.inside(program).expect_code(0);
    ended.stderr
}

#[test]
fn the_engine_and_the_ways_out_are_told_with_their_reasons() {
    let network = Network::new(Engine::Syn, vec![100]);
    let scan = |more: &str| {
        format!(
            "scan {} -v -p 100 --depth ports --format json {more}",
            target()
        )
    };
    let check = |program: Program, expected: &[&str]| {
        let said = said(&network, program);
        for words in expected {
            assert!(said.contains(words), "{words}: {said}");
        }
    };
    check(
        Program::new(&scan("")),
        &[
            "the engine is syn: raw packets may be sent",
            "packets leave lab0 by an XDP socket",
        ],
    );
    check(
        Program::new(&scan("--io packet --engine syn")),
        &[
            "the engine is syn: it was asked for",
            "packets leave lab0 by a packet socket: packet sockets were asked for",
        ],
    );
    check(
        Program::new(&scan("127.0.0.1")),
        &["packets leave lo by a packet socket: lo is the loopback interface"],
    );
    check(
        Program::new(&scan("--source-port 61441")),
        &["the engine is connect: raw packets come from a block of 256 ports"],
    );
    check(
        Program::unprivileged(&scan("")),
        &[
            "the engine is connect: packet sockets need the right cap_net_raw",
            "setcap",
        ],
    );
    // Who does not ask for it is not told.
    let quiet = said(&network, Program::new(&scan("").replace(" -v", "")));
    assert!(
        !quiet.contains("engine") && !quiet.contains("lab0"),
        "{quiet}"
    );
}

#[test]
fn the_doctor_tells_what_the_rights_of_a_program_allow() {
    let network = Network::new(Engine::Syn, vec![100]);
    for (rights, expected) in [
        (
            "cap_net_raw",
            "this process lacks cap_bpf and cap_net_admin",
        ),
        (
            "cap_net_raw,cap_net_admin,cap_bpf",
            "`--io xdp` receives by them as well",
        ),
    ] {
        let ended = network.inside(with_rights(rights, "doctor --format json"));
        let found: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let text = found.to_string();
        assert!(text.contains("SYNs of their own"), "{text}");
        assert!(
            text.contains("less cost") && text.contains("lab0"),
            "{text}"
        );
        assert!(text.contains(expected), "{text}");
        // What is missing can be had.
        assert_eq!(
            text.contains("cap_ipc_lock"),
            rights == "cap_net_raw",
            "{text}"
        );
    }
}
