//! Scans of listening sockets that the test opens on loopback: states, formats, outputs, inputs,
//! order, limits of this machine.

use crate::listeners::{Listeners, Server, closed, own_address};
use crate::program::{Ended, Program, path, portolan};
use crate::result::{Document, list};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Open and closed ports on an address of their own.
struct Target {
    address: Ipv4Addr,
    listeners: Listeners,
    closed: Vec<u16>,
}

impl Target {
    fn new(open: usize, closed: usize) -> Self {
        let address = own_address();
        Self {
            address,
            // First what is open: else it might be given a port that was meant to be closed.
            listeners: Listeners::open(address, open),
            closed: self::closed(address, closed),
        }
    }

    fn open(&self) -> Vec<u16> {
        self.listeners.ports()
    }

    /// All its ports, as `--ports` takes them.
    fn ports(&self) -> String {
        list(&[self.open(), self.closed.clone()].concat())
    }

    fn program(&self, arguments: &str) -> Program {
        Program::new(&format!(
            "scan {} -p {} --depth ports --progress never {arguments}",
            self.address,
            self.ports()
        ))
    }

    fn scan(&self, arguments: &str) -> Ended {
        self.program(arguments).run().expect_code(0)
    }

    fn document(&self, arguments: &str) -> Document {
        Document::of(&self.scan(&format!("--format json {arguments}")))
    }

    fn assert_whole(&self, document: &Document) {
        let address = self.address.to_string();
        assert_eq!(document.open(&address), self.open());
        assert_eq!(
            document.count(&address, "closed"),
            u64::try_from(self.closed.len()).unwrap()
        );
    }
}

#[test]
fn open_and_closed_ports_have_their_reasons() {
    let target = Target::new(7, 9);
    let document = target.document("");
    target.assert_whole(&document);
    assert!(document.complete());
    let address = target.address.to_string();
    let ports = document.ports(&address);
    for port in target.open() {
        assert_eq!(
            (ports[&port].state.as_str(), ports[&port].reason.as_str()),
            ("open", "syn-ack")
        );
    }
    for port in &target.closed {
        assert_eq!(
            (ports[port].state.as_str(), ports[port].reason.as_str()),
            ("closed", "rst")
        );
    }
    assert_eq!(document.host(&address)["state"], "up");
    assert!(document.0["stats"]["probes"].as_u64().unwrap() >= 16);
}

#[test]
fn nothing_open_is_no_failure() {
    let target = Target::new(0, 5);
    target.assert_whole(&target.document(""));
}

#[test]
fn an_ipv6_address_is_scanned() {
    let listeners = Listeners::open(Ipv6Addr::LOCALHOST, 3);
    let ports = listeners.ports();
    let ended = portolan(&format!(
        "scan ::1 -p {} --depth ports --format json",
        list(&ports)
    ));
    assert_eq!(Document::of(&ended.expect_code(0)).open("::1"), ports);
}

#[test]
fn a_name_is_resolved_and_kept() {
    let listeners = Listeners::open(Ipv4Addr::LOCALHOST, 2);
    let ports = listeners.ports();
    let ended = portolan(&format!(
        "scan localhost -p {} --depth ports --format json",
        list(&ports)
    ));
    let document = Document::of(&ended.expect_code(0));
    assert_eq!(document.open("127.0.0.1"), ports);
    let names = &document.host("127.0.0.1")["names"];
    assert!(
        names.as_array().unwrap().contains(&"localhost".into()),
        "{names}"
    );
}

#[test]
fn all_ports_of_a_host_fit_into_a_small_limit_of_open_files() {
    let target = Target::new(40, 0);
    let address = target.address.to_string();
    for limit in ["ulimit -Sn 256", "ulimit -n 64"] {
        // The hard limit stays what it is in the first case and is as low in the second.
        let command = format!(
            "{limit}; exec {} scan {address} -p - --engine connect --depth ports --format json \
             --progress never",
            path().display()
        );
        let ended = Program::of("sh").argument("-c").argument(command).run();
        let document = Document::of(&ended.expect_code(0));
        let open: BTreeSet<u16> = document.open(&address).into_iter().collect();
        // Servers of this machine that listen everywhere show here too.
        assert!(
            target.open().iter().all(|port| open.contains(port)),
            "{limit}: {open:?}"
        );
        assert_eq!(document.count(&address, "not_tested"), 0, "{limit}");
        assert!(document.complete(), "{limit}");
    }
}

#[test]
fn every_format_shows_what_is_open() {
    let target = Target::new(3, 4);
    let address = target.address;
    let table = target.scan("--format table").stdout;
    let list = target.scan("--format list").stdout;
    let csv = target.scan("--format csv").stdout;
    let xml = target.scan("--format xml").stdout;
    let expected: Vec<String> = target
        .open()
        .iter()
        .map(|port| format!("{address}:{port}"))
        .collect();
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);
    assert!(xml.starts_with("<?xml") && xml.contains("<nmaprun"));
    for port in target.open() {
        assert!(table.contains(&port.to_string()), "{table}");
        assert!(
            csv.lines()
                .any(|line| line.contains(&format!("tcp,{port},open,"))),
            "{csv}"
        );
        assert!(xml.contains(&format!("portid=\"{port}\"")), "{xml}");
    }
}

#[test]
fn the_table_fits_80_columns_and_has_no_colour_when_it_is_piped() {
    let target = Target::new(3, 4);
    for arguments in [
        "--format table",
        "--format table --accessible",
        "--format table --color never",
    ] {
        let ended = target.scan(arguments);
        assert!(
            !ended.stdout.contains('\u{1b}'),
            "{arguments}: {}",
            ended.stdout
        );
        // A screen reader has no columns.
        let columns = !arguments.contains("accessible");
        for line in ended.stdout.lines().filter(|_| columns) {
            assert!(line.chars().count() <= 80, "{arguments}: {line:?}");
        }
    }
    let ended = target.scan("--format table --color always");
    assert!(ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    let ended = target
        .program("--format table")
        .environment("NO_COLOR", "1")
        .run()
        .expect_code(0);
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
}

#[test]
fn a_screen_reader_gets_no_drawing() {
    let target = Target::new(3, 4);
    let ended = target.scan("--format table --accessible");
    for port in target.open() {
        assert!(ended.stdout.contains(&port.to_string()), "{}", ended.stdout);
    }
    let drawing = ended
        .stdout
        .chars()
        .find(|c| ('\u{2500}'..='\u{27bf}').contains(c));
    assert_eq!(drawing, None, "{}", ended.stdout);
}

#[test]
fn events_come_one_a_line_and_in_order() {
    let target = Target::new(3, 4);
    // Where nothing is asked for and nobody watches, events are the format.
    for arguments in ["--format jsonl", ""] {
        let ended = target.scan(arguments);
        let events: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            events
                .iter()
                .all(|event| event["schema"] == "portolan.event/1")
        );
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds.first(), Some(&"run-started"));
        assert_eq!(kinds.last(), Some(&"run-finished"));
        let open: BTreeSet<u64> = events
            .iter()
            .filter(|event| event["type"] == "port")
            .filter_map(|event| event["port"]["port"].as_u64())
            .collect();
        let expected: BTreeSet<u64> = target.open().into_iter().map(u64::from).collect();
        assert_eq!(open, expected, "{}", ended.stdout);
    }
}

#[test]
fn several_outputs_are_written_at_once() {
    let target = Target::new(2, 2);
    let ended = target.scan("--format list -o a.json -o b.xml -o c.csv -o d.jsonl");
    assert_eq!(ended.stdout.lines().count(), 2);
    target.assert_whole(&Document::parse(&ended.file("a.json")));
    assert!(ended.file("b.xml").contains("<nmaprun"));
    assert_eq!(
        ended
            .file("c.csv")
            .lines()
            .filter(|line| line.contains(",open,"))
            .count(),
        2
    );
    assert!(ended.file("d.jsonl").lines().count() >= 4);
}

#[test]
fn what_is_shown_can_be_narrowed_to_open_ports() {
    let target = Target::new(2, 5);
    let document = target.document("--only open");
    let host = document.host(&target.address.to_string());
    let states: Vec<&Value> = host["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| &port["state"])
        .collect();
    assert_eq!(states, ["open", "open"]);
}

#[test]
fn nothing_but_results_goes_to_standard_output() {
    let target = Target::new(1, 1);
    let quiet = target.scan("--format list -q");
    assert_eq!(quiet.stderr, "");
    let talkative = target.scan("--format json -v");
    target.assert_whole(&Document::of(&talkative));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let target = Target::new(60, 0);
    for format in ["list", "jsonl", "json", "csv", "xml", "table"] {
        let whole = target.scan(&format!("--format {format}"));
        assert!(
            whole.stdout.lines().count() > 1,
            "there is something to read"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = target
            .program(&format!("--format {format}"))
            .run_into(writer);
        let ended = ended.expect_code(0);
        assert!(
            !ended.stderr.to_lowercase().contains("pipe"),
            "{format}: {}",
            ended.stderr
        );
        assert!(
            !ended.stderr.contains("panicked"),
            "{format}: {}",
            ended.stderr
        );
    }
}

#[test]
fn targets_come_from_files_and_standard_input() {
    let target = Target::new(2, 1);
    let scan = |arguments: &str| {
        let ports = target.ports();
        Program::new(&format!(
            "scan -p {ports} --depth ports --format json {arguments}"
        ))
    };
    let listed = format!("# ours\n\n{} # here\n", target.address);
    let from_file = scan("-i targets").file("targets", &listed);
    target.assert_whole(&Document::of(&from_file.run().expect_code(0)));
    let from_stdin = scan("-").file("targets", &listed).stdin("targets");
    target.assert_whole(&Document::of(&from_stdin.run().expect_code(0)));
    let json = target.scan("--format json").stdout;
    let from_json = scan("-i run.json").file("run.json", &json);
    target.assert_whole(&Document::of(&from_json.run().expect_code(0)));
    let xml = target.scan("--format xml").stdout;
    let from_xml = scan("-i run.xml").file("run.xml", &xml);
    target.assert_whole(&Document::of(&from_xml.run().expect_code(0)));
}

#[test]
fn an_excluded_address_is_left_out() {
    let listeners = Listeners::open(Ipv4Addr::UNSPECIFIED, 1);
    let port = listeners.ports()[0];
    let scan = |exclusion: &str, list: &str| {
        let ended = Program::new(&format!(
            "scan 127.8.8.1-4 -p {port} --depth ports --format json {exclusion}"
        ));
        let document = Document::of(&ended.file("list", list).run().expect_code(0));
        let hosts: BTreeSet<String> = document
            .hosts()
            .iter()
            .map(|host| host["ip"].as_str().unwrap().to_owned())
            .collect();
        hosts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(scan("", "").len(), 4);
    assert_eq!(scan("-x 127.8.8.2-3", ""), ["127.8.8.1", "127.8.8.4"]);
    assert_eq!(
        scan(
            "--exclude-file list -x 127.8.8.1",
            "127.8.8.2\n127.8.8.4/32\n"
        ),
        ["127.8.8.3"]
    );
}

#[test]
fn shards_are_disjoint_and_complete() {
    let target = Target::new(90, 60);
    let mut seen = BTreeSet::new();
    let mut closed = 0;
    for shard in 1..=3 {
        let document = target.document(&format!("--seed 11 --shard {shard}/3"));
        let address = target.address.to_string();
        for port in document.open(&address) {
            assert!(seen.insert(port), "{port} is in two shards");
        }
        closed += document.count(&address, "closed");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), target.open());
    assert_eq!(closed, 60);
}

#[test]
fn a_seed_is_kept_in_the_result() {
    let target = Target::new(1, 1);
    let document = target.document("--seed 42");
    assert_eq!(document.0["run"]["seed"], 42);
    let again = target.document("--seed 42");
    assert_eq!(document.0["run"]["plan_hash"], again.0["run"]["plan_hash"]);
    let other = target.document("--seed 43");
    assert_ne!(document.0["run"]["plan_hash"], other.0["run"]["plan_hash"]);
}

#[test]
fn a_first_look_shows_what_a_server_says() {
    let address = own_address();
    let ftp = Server::greeting(address, b"220 (vsFTPd 3.0.3)\r\n");
    let ssh = Server::greeting(address, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
    let http = Server::start(address, |mut stream| {
        use std::io::{Read as _, Write as _};
        let mut request = [0_u8; 2048];
        // Only a client that asks first is answered.
        if stream.read(&mut request).is_ok_and(|count| count > 0) && request.starts_with(b"GET ") {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let ports = list(&[ftp.port, ssh.port, http.port]);
    let ended = portolan(&format!(
        "scan {address} -p {ports} --depth identify --format json --progress never"
    ));
    let document = Document::of(&ended.expect_code(0));
    let service = |port: u16| &document.port(&address.to_string(), port)["service"];
    assert_eq!(service(ftp.port)["evidence"], "220 (vsFTPd 3.0.3)");
    assert_eq!(service(ssh.port)["name"], "ssh");
    assert_eq!(service(http.port)["name"], "http");
    assert!(
        service(http.port)["evidence"]
            .as_str()
            .unwrap()
            .contains("404"),
        "{}",
        service(http.port)
    );
}

#[test]
fn an_own_port_shows_its_process() {
    let target = Target::new(1, 0);
    let document = target.document("");
    let process = &document.port(&target.address.to_string(), target.open()[0])["process"];
    assert_eq!(process["pid"], std::process::id(), "{process}");
}

/// Waits for a question and hangs up, so that a first look asks again over another connection.
fn hang_up(mut stream: TcpStream) {
    use std::io::Read as _;
    let mut request = [0_u8; 64];
    let _ = stream.read(&mut request);
}

#[test]
fn first_looks_keep_to_the_rate() {
    const OPEN: u32 = 6;
    /// The ports of all connections so far.
    static CONNECTIONS: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let address = own_address();
    let treat = |stream: TcpStream| {
        let port = stream.local_addr().unwrap().port();
        let mut connections = CONNECTIONS.lock().unwrap();
        let first = !connections.contains(&port);
        connections.push(port);
        drop(connections);
        // Who is cut off at once looks two more times.
        if !first {
            hang_up(stream);
        }
    };
    let servers: Vec<Server> = (0..OPEN).map(|_| Server::start(address, treat)).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    for limit in [
        "--rate 20",
        "--host-rate 20",
        "--rate 1000 --scope slow.toml",
    ] {
        CONNECTIONS.lock().unwrap().clear();
        let scan = Program::new(&format!(
            "scan {address} -p {} --format json --progress never {limit}",
            list(&ports)
        ));
        let scan = scan.file("slow.toml", "allow = [\"127.0.0.0/8\"]\nhost_rate = 20\n");
        let start = Instant::now();
        let document = Document::of(&scan.run().expect_code(0));
        let took = start.elapsed();
        assert_eq!(document.open(&address.to_string()).len(), ports.len());
        // The probes themselves are the first connections; all others take turns.
        let all = u32::try_from(CONNECTIONS.lock().unwrap().len()).unwrap();
        let turns = all - OPEN;
        assert!(turns >= 2 * OPEN, "{limit}: only {all} connections");
        let least = Duration::from_millis(50) * (turns - 1);
        assert!(took >= least, "{limit}: {turns} turns in {took:?}");
    }
}

#[test]
fn first_looks_leave_from_the_wanted_port() {
    static PORTS: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let address = own_address();
    let server = Server::start(address, |stream| {
        let port = stream.peer_addr().unwrap().port();
        PORTS.lock().unwrap().push(port);
        hang_up(stream);
    });
    let wanted = closed(own_address(), 1)[0];
    let ended = portolan(&format!(
        "scan {address} -p {} --format json --progress never --source-port {wanted}",
        server.port
    ));
    let document = Document::of(&ended.expect_code(0));
    assert_eq!(document.open(&address.to_string()), [server.port]);
    let ports = PORTS.lock().unwrap();
    assert!(ports.len() >= 2, "{ports:?}");
    assert!(ports.iter().all(|port| *port == wanted), "{ports:?}");
}
