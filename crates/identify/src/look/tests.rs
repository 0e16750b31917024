//! Conversations with peers of every kind: whole, in pieces, cut off, and hostile.

use super::found::label;
use super::*;
use proptest::prelude::*;

/// How a connection of a scripted peer goes.
#[derive(Clone, Debug)]
struct Talk {
    /// What the peer says by itself, or to the first question on the connection.
    says: Vec<u8>,
    /// When it says it.
    when: When,
    /// What happens after it.
    then: Input<'static>,
    /// What it says inside TLS, and when; `None`: the handshake fails.
    inside: Option<(Vec<u8>, When)>,
    /// What it says to another question.
    also: Option<(Vec<u8>, When)>,
}

impl When {
    /// What a question is.
    fn of(question: &[u8]) -> Self {
        match question {
            [22, ..] => Self::AskedTls,
            [b'G', b'E', b'T', b' ', ..] => Self::AskedHttp,
            _ => Self::AskedOther,
        }
    }
}

impl Talk {
    /// What it says unasked.
    fn at_once(&self) -> Vec<u8> {
        match self.when {
            When::AtOnce => self.says.clone(),
            _ => Vec::new(),
        }
    }

    /// What happens when it has nothing more to say to such a question.
    fn after(&self, spoken: When) -> Input<'static> {
        let asked = self.when == When::Asked && spoken != When::AtOnce;
        if asked || self.when == When::AtOnce || self.when == spoken {
            self.then.clone()
        } else {
            Input::TimedOut
        }
    }

    fn also(mut self, says: &[u8], when: When) -> Self {
        self.also = Some((says.to_vec(), when));
        self
    }

    fn inside(mut self, says: &[u8], when: When) -> Self {
        self.inside = Some((says.to_vec(), when));
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    AtOnce,
    Asked,
    AskedHttp,
    AskedOther,
    AskedTls,
}

fn at_once(says: &[u8]) -> Talk {
    talk(says, When::AtOnce)
}

fn talk(says: &[u8], when: When) -> Talk {
    Talk {
        says: says.to_vec(),
        when,
        then: Input::TimedOut,
        inside: None,
        also: None,
    }
}

fn silent(then: Input<'static>) -> Talk {
    Talk {
        says: Vec::new(),
        when: When::AtOnce,
        then,
        inside: None,
        also: None,
    }
}

fn options(port: u16) -> LookOptions {
    LookOptions {
        port,
        rtt: Some(Duration::from_millis(1)),
        sends: Sends::Allowed,
        host: Some("a.example".to_owned()),
        address: IpAddr::from([192, 0, 2, 1]),
        seed: 1,
        unix_s: 1_800_000_000,
        keeps: Keeps::Replies,
    }
}

/// What a look did, besides its outcome.
#[derive(Debug, Default, PartialEq)]
struct Traffic {
    connections: usize,
    sent: Vec<Vec<u8>>,
    waited: Duration,
}

/// Drives a look against one script a connection; the last script serves all later ones. `cut`
/// says how long the next piece of `left` bytes is.
fn drive(
    options: LookOptions,
    talks: &[Talk],
    mut cut: impl FnMut(usize) -> usize,
) -> (Outcome, Traffic) {
    let mut look = Look::new(options);
    let mut traffic = Traffic::default();
    let mut steps = 0;
    let mut step = Step::Reconnect;
    let mut left: Vec<u8> = Vec::new();
    let mut talk = talks[0].clone();
    let mut spoken = When::AtOnce;
    loop {
        steps += 1;
        assert!(steps <= STEPS_MAX + 1, "the look does not end");
        match &step {
            Step::Done => return (look.finish(), traffic),
            Step::Secure { .. } => {
                step = match talk.inside.clone() {
                    None => look.step(Input::SecureFailed(Text::from("no cipher"))),
                    Some((says, when)) => {
                        talk.says = says;
                        talk.when = when;
                        left = talk.at_once();
                        spoken = When::AtOnce;
                        look.step(Input::Secured(tls_1_3()))
                    }
                };
                continue;
            }
            Step::Reconnect => {
                talk = talks[traffic.connections.min(talks.len() - 1)].clone();
                traffic.connections += 1;
                left = talk.at_once();
                spoken = When::AtOnce;
                step = look.step(match talk.then {
                    Input::ConnectFailed => Input::ConnectFailed,
                    _ => Input::Connected,
                });
                continue;
            }
            Step::Send { bytes, then_wait } => {
                traffic.sent.push(bytes.clone());
                traffic.waited += *then_wait;
                spoken = When::of(bytes);
                if talk.when == When::Asked || talk.when == spoken {
                    left = talk.says.clone();
                }
                if let Some((says, _)) = talk.also.as_ref().filter(|(_, when)| *when == spoken) {
                    left = says.clone();
                }
            }
            Step::Wait(wait) => {
                if left.is_empty() {
                    traffic.waited += *wait;
                }
            }
        }
        step = if left.is_empty() {
            look.step(talk.after(spoken))
        } else {
            let piece = cut(left.len()).clamp(1, left.len());
            let rest = left.split_off(piece);
            let step = look.step(Input::Bytes(&left));
            left = rest;
            step
        };
    }
}

fn tls_1_3() -> Secured {
    Secured {
        version: "TLS 1.3".to_owned(),
        certificate: b"no certificate".to_vec(),
    }
}

fn whole(port: u16, talks: &[Talk]) -> (Outcome, Traffic) {
    drive(options(port), talks, |left| left)
}

/// The outcome as one line.
fn told(outcome: &Outcome) -> String {
    match &outcome.service {
        None => format!("nothing: {}", outcome.incomplete[0].why),
        Some(service) => {
            let or_dash =
                |text: &Option<Text>| text.clone().map_or_else(|| "-".to_owned(), String::from);
            format!(
                "{} {} {} [{}]",
                service.label.as_deref().unwrap_or(match service.tls {
                    Some(_) => "tls",
                    None => "?",
                }),
                or_dash(&service.product),
                or_dash(&service.version),
                or_dash(&service.evidence)
            )
        }
    }
}

fn check(port: u16, talks: &[Talk], expected: &str) {
    assert_eq!(told(&whole(port, talks).0), expected);
}

const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: x\r\n\r\n<html>";
const HTTPS_ONLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n\r\n\
    <center>The plain HTTP request was sent to HTTPS port</center>";
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// Conversations whose result is known: port, scripts, what is told.
fn conversations() -> Vec<(u16, Vec<Talk>, &'static str)> {
    let mut all = greetings();
    all.extend(answers());
    all.extend(inside_tls());
    all
}

/// Servers that speak first.
fn greetings() -> Vec<(u16, Vec<Talk>, &'static str)> {
    vec![
        (
            22,
            vec![at_once(
                b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n\0\0\x04",
            )],
            "ssh OpenSSH 9.2p1 [SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2]",
        ),
        (
            443,
            vec![at_once(b"220 mx ESMTP\r\n")],
            "smtp - - [220 mx ESMTP]",
        ),
        (21, vec![at_once(b"220 ready\r\n")], "? - - [220 ready]"),
        (
            21,
            vec![at_once(b"220 (vsFTPd 3.0.3)\r\n")],
            "ftp vsftpd 3.0.3 [220 (vsFTPd 3.0.3)]",
        ),
        (
            23,
            vec![at_once(b"\xff\xfd\x18\xff\xfd\x20")],
            "telnet - - [\\xff\\xfd\\x18\\xff\\xfd ]",
        ),
        (110, vec![at_once(b"+OK ready\r\n")], "pop3 - - [+OK ready]"),
        (
            5900,
            vec![at_once(b"RFB 003.008\n")],
            "vnc - - [RFB 003.008]",
        ),
        (
            3306,
            vec![at_once(b"Z\0\0\0\n8.0\0")],
            "? - - [Z\\x00\\x00\\x00\\n8.0\\x00]",
        ),
    ]
}

/// Servers that speak when they are asked.
fn answers() -> Vec<(u16, Vec<Talk>, &'static str)> {
    let tls = tls::samples::tls_1_3();
    let tls_alpn = tls::samples::record(&tls::samples::Sample {
        random: [1; 32],
        extensions: b"\x00\x10\x00\x05\x00\x03\x02h2",
    });
    vec![
        (
            80,
            vec![talk(NGINX, When::AskedHttp)],
            "http nginx 1.22.1 [HTTP/1.1 200 OK · nginx/1.22.1]",
        ),
        (
            8443,
            vec![talk(NGINX, When::AskedHttp)],
            "http nginx 1.22.1 [HTTP/1.1 200 OK · nginx/1.22.1]",
        ),
        (
            443,
            vec![talk(&tls, When::AskedTls).also(HTTPS_ONLY, When::AskedHttp)],
            "https nginx 1.22.1 [TLS 1.3 · HTTP/1.1 400 Bad Request · nginx/1.22.1]",
        ),
        (
            1234,
            vec![talk(&tls, When::AskedTls).also(HTTPS_ONLY, When::AskedHttp)],
            "https nginx 1.22.1 [TLS 1.3 · HTTP/1.1 400 Bad Request · nginx/1.22.1]",
        ),
        (
            990,
            vec![
                talk(b"HTTP/1.1 400 Bad Request\r\n\r\n", When::AskedTls)
                    .also(NGINX, When::AskedHttp),
            ],
            "http nginx 1.22.1 [HTTP/1.1 200 OK · nginx/1.22.1]",
        ),
        (
            991,
            vec![talk(
                b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n\r\n",
                When::AskedTls,
            )],
            "http nginx 1.22.1 [HTTP/1.1 400 Bad Request · nginx/1.22.1]",
        ),
        (
            1235,
            vec![talk(HTTPS_ONLY, When::AskedHttp)],
            "http nginx 1.22.1 [HTTP/1.1 400 Bad Request · nginx/1.22.1]",
        ),
        (
            443,
            vec![talk(&tls_alpn, When::AskedTls)],
            "tls - - [TLS 1.2]",
        ),
        (
            4433,
            vec![talk(ALERT, When::Asked), talk(ALERT, When::Asked)],
            "tls - - [TLS alert: handshake failure]",
        ),
        (
            40_379,
            vec![talk(b"-ERR unknown command 'GET'\r\n", When::AskedHttp)],
            "redis - - [-ERR unknown command 'GET']",
        ),
        (
            2525,
            vec![talk(b"220 slow ESMTP\r\n500 what\r\n", When::Asked)],
            "smtp - - [220 slow ESMTP]",
        ),
    ]
}

/// Servers inside TLS.
fn inside_tls() -> Vec<(u16, Vec<Talk>, &'static str)> {
    let hello = talk(&tls::samples::tls_1_3(), When::AskedTls);
    let inside = |says: &[u8], when| hello.clone().inside(says, when);
    vec![
        (
            443,
            vec![inside(NGINX, When::AskedHttp)],
            "https nginx 1.22.1 [TLS 1.3 · HTTP/1.1 200 OK · nginx/1.22.1]",
        ),
        (
            40_000,
            vec![inside(NGINX, When::AskedHttp)],
            "https nginx 1.22.1 [TLS 1.3 · HTTP/1.1 200 OK · nginx/1.22.1]",
        ),
        (
            465,
            vec![inside(b"220 mx ESMTP Exim 4.96\r\n", When::AtOnce)],
            "smtps Exim 4.96 [TLS 1.3 · 220 mx ESMTP Exim 4.96]",
        ),
        (
            40_001,
            vec![inside(b"-ERR unknown command 'GET'\r\n", When::AskedHttp)],
            "redis - - [TLS 1.3 · -ERR unknown command 'GET']",
        ),
    ]
}

#[test]
fn each_conversation_tells_what_it_shows() {
    for (port, talks, expected) in conversations() {
        check(port, &talks, expected);
    }
}

#[test]
fn pieces_of_any_size_change_nothing() {
    for (port, talks, _) in conversations() {
        let expected = whole(port, &talks);
        let (by_byte, traffic) = drive(options(port), &talks, |_| 1);
        assert_eq!(by_byte, expected.0, "port {port}, byte by byte");
        assert_eq!(traffic.sent, expected.1.sent);
        let longest = talks.iter().map(|talk| talk.says.len()).max().unwrap();
        for first in 1..longest {
            let mut at_start = true;
            let (split, traffic) = drive(options(port), &talks, |left| {
                let piece = if at_start { first } else { left };
                at_start = !at_start;
                piece
            });
            assert_eq!(split, expected.0, "port {port}, split at {first}");
            assert_eq!(traffic.sent, expected.1.sent);
        }
    }
}

#[test]
fn a_conversation_cut_anywhere_ends_the_same_way_in_any_pieces() {
    for (port, talks, _) in conversations() {
        let longest = talks.iter().map(|talk| talk.says.len()).max().unwrap();
        for length in 0..longest {
            for then in [Input::TimedOut, Input::Closed, Input::Reset] {
                let mut talks = talks.clone();
                for talk in &mut talks {
                    talk.says.truncate(length);
                    talk.then = then.clone();
                }
                let (outcome, traffic) = whole(port, &talks);
                let (by_byte, _) = drive(options(port), &talks, |_| 1);
                assert_eq!(outcome, by_byte, "port {port}, cut at {length}");
                within_limits(&traffic);
                let spoke = !talks[0].says.is_empty() && talks[0].when == When::AtOnce;
                assert!(
                    !spoke || outcome.service.is_some(),
                    "what was said is shown"
                );
            }
        }
    }
}

fn within_limits(traffic: &Traffic) {
    assert!(traffic.connections <= CONNECTIONS_MAX);
    assert!(traffic.sent.concat().len() <= SENT_MAX);
}

#[test]
fn tls_on_a_port_for_mail_is_not_asked_for_http() {
    let tls = [talk(&tls::samples::tls_1_3(), When::AskedTls)];
    let requests = |port| {
        let (_, traffic) = whole(port, &tls);
        let requests = traffic.sent.iter().filter(|sent| sent.starts_with(b"GET "));
        requests.count()
    };
    assert_eq!(requests(993), 0);
    assert_eq!(requests(443), 1);
}

#[test]
fn a_protocol_inside_tls_has_the_name_people_use() {
    for (name, inside) in [("http", "https"), ("imap", "imaps"), ("pop3", "pop3s")] {
        assert_eq!(label(name, None), name);
        assert_eq!(label(name, Some(Tunnel::Implicit)), inside);
        assert_eq!(label(name, Some(Tunnel::StartTls)), name);
    }
}

#[test]
fn a_silent_port_tells_what_was_tried() {
    let talks = [silent(Input::TimedOut)];
    let (outcome, traffic) = whole(12345, &talks);
    let told = told(&outcome);
    let start = "nothing: accepted the connection, said nothing within 4.0 s, answered neither \
                 HTTP nor a TLS hello, and told nothing when asked for ";
    assert!(told.starts_with(start), "{told}");
    assert!(traffic.sent[0].starts_with(b"GET / HTTP/1.1\r\nHost: a.example:12345\r\n"));
    assert_eq!(traffic.sent[1][0], 22);
    let requests = traffic.sent.iter().filter(|sent| sent.starts_with(b"GET "));
    assert_eq!(
        requests.count(),
        2,
        "once in a hurry and once with patience"
    );
    within_limits(&traffic);
}

#[test]
fn the_slowest_silence_stays_inside_the_time_of_a_look() {
    let mut slow = options(12345);
    slow.rtt = Some(Duration::from_mins(1));
    let (_, traffic) = drive(slow, &[silent(Input::TimedOut)], |left| left);
    assert!(traffic.waited <= CONVERSATION_MAX, "{traffic:?}");
}

#[test]
fn a_port_that_must_get_no_bytes_gets_none() {
    for says in [&b""[..], b"hello", b"\x16\x03", b"HTTP/1.1 400 Bad\r\n\r\n"] {
        for then in [Input::TimedOut, Input::Closed, Input::Reset] {
            let mut printer = options(9100);
            printer.sends = Sends::Never;
            let mut peer = at_once(says);
            peer.then = then.clone();
            let (outcome, traffic) = drive(printer, &[peer], |left| left);
            assert!(traffic.sent.is_empty());
            assert_eq!(outcome.service.is_some(), !says.is_empty());
            if says.is_empty() {
                let why = outcome.incomplete[0].why.as_str();
                assert!(why.starts_with("listened only: port 9100 gets no bytes"));
            }
        }
    }
}

#[test]
fn a_port_that_hangs_up_is_tried_once_more() {
    check(
        22,
        &[silent(Input::Reset), at_once(b"SSH-2.0-Cisco_1.25\r\n")],
        "ssh Cisco SSH 1.25 [SSH-2.0-Cisco_1.25]",
    );
    check(
        22,
        &[silent(Input::Closed)],
        "nothing: accepted the connection, closed it without a word, and did so again on a \
         second one",
    );
    check(
        22,
        &[silent(Input::ConnectFailed)],
        "nothing: was open when probed, but accepted no further connection",
    );
}

#[test]
fn a_server_that_echoes_is_neither_http_nor_tls() {
    let (_, asked) = whole(7, &[silent(Input::TimedOut)]);
    let echoes = asked.sent.iter().map(|sent| talk(sent, When::Asked));
    let (outcome, _) = whole(7, &echoes.collect::<Vec<_>>());
    let service = outcome.service.unwrap();
    assert!(matches!(service.name.as_deref(), None | Some("echo")));
}

#[test]
fn a_name_with_line_ends_never_reaches_the_wire() {
    let mut evil = options(80);
    evil.host = Some("a\r\nX-Evil: 1".to_owned());
    let (_, traffic) = drive(evil, &[silent(Input::TimedOut)], |left| left);
    let request = String::from_utf8(traffic.sent[0].clone()).unwrap();
    assert!(request.contains("\r\nHost: 192.0.2.1\r\n"));
    assert!(!request.contains("Evil"));
}

#[test]
fn the_longest_name_keeps_what_is_sent_inside_the_limit() {
    let mut long = options(65535);
    long.host = Some(format!("{}.example", vec!["a".repeat(60); 4].join(".")));
    let (_, traffic) = drive(long, &[silent(Input::TimedOut)], |left| left);
    within_limits(&traffic);
}

#[test]
fn endless_peers_are_left() {
    let endless = [
        vec![b'a'; 100_000],
        vec![b'\n'; 100_000],
        vec![0; 100_000],
        [
            &b"\x16\x03\x03\x40\x00\x02\x00\xff\xff"[..],
            &vec![0; 100_000],
        ]
        .concat(),
        [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(20_000)].concat(),
        [22, 3, 3, 0, 1, 2].repeat(20_000),
    ];
    for says in endless {
        for when in [When::AtOnce, When::Asked] {
            // Whoever is asked is heard on many connections.
            let smallest = if when == When::AtOnce { 1 } else { 61 };
            for piece in [smallest, 100_000] {
                let peer = talk(&says, when);
                let (outcome, traffic) = drive(options(80), &[peer], |_| piece);
                within_limits(&traffic);
                assert!(outcome.service.is_some());
            }
        }
    }
}

#[test]
fn a_look_that_is_ended_early_tells_what_it_heard() {
    let mut look = Look::new(options(22));
    look.step(Input::Connected);
    look.step(Input::Bytes(b"SSH-2.0-Open"));
    let service = look.finish().service.unwrap();
    assert_eq!(service.name.as_deref(), Some("ssh"));
    assert_eq!(service.product, None);
    let look = Look::new(options(22));
    assert!(
        look.finish().incomplete[0]
            .why
            .as_str()
            .contains("time was over")
    );
}

fn inputs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let starts = prop::sample::select(vec![
        &b""[..],
        b"HTTP/1.1 400 x\r\n\r\n",
        b"\x16\x03\x03\x00\x30\x02\x00\x00\x2c\x03\x03",
        b"220 ",
        b"\xff\xfb",
    ]);
    let bytes = (starts, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(start, noise)| [start, &noise].concat());
    prop::collection::vec((any::<u8>(), bytes), 0..60)
}

proptest! {
    #[test]
    fn inputs_in_any_order_end_and_stay_inside_the_limits(inputs in inputs(), port: u16) {
        let mut look = Look::new(options(port));
        let (mut sent, mut connections) = (0, 1);
        for (kind, bytes) in &inputs {
            let step = look.step(match kind % 9 {
                8 => Input::SecureFailed(Text::from("no")),
                0 => Input::Closed,
                1 => Input::Reset,
                2 => Input::ConnectFailed,
                3 => Input::TimedOut,
                4 | 5 => Input::Connected,
                _ => Input::Bytes(bytes),
            });
            match step {
                Step::Send { bytes, .. } => sent += bytes.len(),
                Step::Reconnect => connections += 1,
                Step::Done | Step::Secure { .. } | Step::Wait(_) => {}
            }
        }
        prop_assert!(sent <= SENT_MAX);
        prop_assert!(connections <= CONNECTIONS_MAX);
        let outcome = look.finish();
        prop_assert!(outcome.service.is_some() || !outcome.incomplete.is_empty());
    }

    #[test]
    fn noise_is_never_named(noise in prop::collection::vec(128_u8..=254, 1..300), port: u16) {
        let (outcome, _) = whole(port, &[at_once(&noise)]);
        let service = outcome.service.unwrap();
        prop_assert_eq!(service.name, None);
        prop_assert_eq!(service.tls, None);
    }
}
