//! A real client at each endpoint of the site: it connects, says what its protocol begins with, and
//! looks for what only a server that still works says.
//!
//! What is not here: the scan whose harm this would show (`check`).

use portolan_lab::Namespace;
use portolan_lab::site::{Tls, TrueEndpoint, Truth};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A conversation: the service, what is sent, what has to come. Where nothing has to come, a
/// connection (inside TLS where the endpoint has it) that is not ended at once is enough.
const CONVERSATIONS: &[(&str, &[u8], &[u8])] = &[
    ("ajp", b"\x12\x34\x00\x01\x0a", b"AB\x00\x01\x09"),
    ("amqp", b"AMQP\x00\x00\x09\x01", b"product"),
    ("beanstalkd", b"stats\r\n", b"OK "),
    ("chargen", b"", b"abcdef"),
    ("clamd", b"PING\n", b"PONG"),
    ("cvspserver", b"BEGIN AUTH REQUEST\n/none\nlab\nA\nEND AUTH REQUEST\n", b"no such"),
    ("daytime", b"", b":"),
    ("dict", b"", b"220 "),
    ("dns", b"\x00\x11\x12\x35\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01", b"\x12\x35"),
    ("echo", b"portolan\r\n", b"portolan"),
    ("epmd", b"\x00\x01n", b"\x00\x00"),
    ("fastcgi", b"\x01\x09\x00\x00\x00\x11\x07\x00\x0f\x00FCGI_MPXS_CONNS\x00\x00\x00\x00\x00\x00\x00", b"FCGI_MPXS_CONNS"),
    ("ftp", b"", b"220"),
    ("finger", b"\r\n", b"\n"),
    ("gearman", b"version\r\n", b"OK "),
    ("gopher", b"\r\n", b"\n"),
    ("gpsd", b"", b"VERSION"),
    ("http", b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1."),
    ("ident", b"1, 1\r\n", b"ERROR"),
    ("imap", b"a LOGOUT\r\n", b"* BYE"),
    ("irc", b"NICK portolan\r\nUSER portolan 0 * :portolan\r\n", b":"),
    ("lcdproc", b"hello\n", b"connect LCDproc"),
    ("ldap", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", b"\x02\x01\x01\x61"),
    ("lmtp", b"LHLO lab.test\r\n", b"250"),
    ("managesieve", b"", b"IMPLEMENTATION"),
    ("memcached", b"version\r\n", b"VERSION"),
    ("mpd", b"", b"OK MPD"),
    ("mqtt", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", b"\x20\x02"),
    ("munin", b"", b"# munin"),
    ("mysql", b"", b"mysql_native_password"),
    ("nats", b"", b"INFO"),
    ("nbd", b"", b"NBDMAGIC"),
    ("nfs", b"\x80\x00\x00\x28\x00\x00\x12\x34\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\x12\x34\x00\x00\x00\x01"),
    ("nntp", b"", b"20"),
    ("nut", b"VER\n", b"Network UPS"),
    ("pop3", b"", b"+OK"),
    ("postfix-policy", b"request=smtpd_access_policy\nprotocol_state=RCPT\n\n", b"action="),
    ("postgresql", b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"S"),
    ("rdp", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x01\x00\x00\x00", b"\x03\x00\x00"),
    ("redis", b"PING\r\n", b"+PONG"),
    ("rsync", b"", b"@RSYNCD"),
    ("sip", b"OPTIONS sip:lab.test SIP/2.0\r\nVia: SIP/2.0/TCP 198.18.0.1;branch=z9hG4bKlab\r\nMax-Forwards: 70\r\nFrom: <sip:a@lab.test>;tag=1\r\nTo: <sip:lab.test>\r\nCall-ID: lab\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", b"SIP/2.0 "),
    ("smb", b"\x00\x00\x00\x68\xfe\x53\x4d\x42\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x24\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02\x10\x02", b"\xfeSMB"),
    ("smtp", b"EHLO lab.test\r\n", b"250"),
    ("socks", b"\x05\x01\x00", b"\x05"),
    ("spamd", b"PING SPAMC/1.5\r\n\r\n", b"SPAMD/"),
    ("ssh", b"", b"SSH-2.0-"),
    ("sunrpc", b"\x80\x00\x00\x28\x00\x00\x12\x34\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa0\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\x12\x34\x00\x00\x00\x01"),
    ("svn", b"", b"( success"),
    ("telnet", b"", b"\xff"),
    ("vnc", b"", b"RFB "),
    ("x11", b"l\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\x01\x00\x0b\x00"),
    ("xmpp", b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='lab.test' version='1.0'>", b"stream:stream"),
    ("xmpp-server", b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='lab.test' version='1.0'>", b"stream:stream"),
    ("zabbix-agent", b"ZBXD\x01\x0a\x00\x00\x00\x00\x00\x00\x00agent.ping", b"ZBXD"),
    ("zookeeper", b"srvr", b"Zookeeper version"),
];

/// How long a conversation may take, and how many go on at once.
const PATIENCE: Duration = Duration::from_secs(15);
const AT_ONCE: usize = 12;
/// So much of what a server says is looked through.
const BYTES_MAX: usize = 64 * 1024;

/// What is wrong with each endpoint, in their order; `None`: it serves.
pub(super) fn visit(scanner: &Namespace, truth: &Truth) -> Vec<Option<String>> {
    let answers = Mutex::new(vec![None; truth.endpoints.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let visit_all = || {
                    while let Some((number, endpoint)) = take(&next, truth) {
                        let wrong = converse(endpoint).err();
                        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(answer) = answers.get_mut(number) {
                            *answer = wrong;
                        }
                    }
                };
                // A thread that cannot enter leaves its share to the others.
                let _ = scanner.enter(visit_all);
            });
        }
    });
    // What nobody visited is no success.
    if next.load(Ordering::Relaxed) < truth.endpoints.len() {
        return vec![Some("not visited".to_owned()); truth.endpoints.len()];
    }
    answers.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn take<'a>(next: &AtomicUsize, truth: &'a Truth) -> Option<(usize, &'a TrueEndpoint)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, truth.endpoints.get(number)?))
}

fn converse(endpoint: &TrueEndpoint) -> Result<(), String> {
    let known = CONVERSATIONS
        .iter()
        .find(|(service, ..)| *service == endpoint.service);
    let (send, expected) = known.map_or((&b""[..], &b""[..]), |(_, send, expected)| {
        (*send, *expected)
    });
    let address = SocketAddr::new(endpoint.address.into(), endpoint.port);
    if endpoint.tls == Some(Tls::Implicit) {
        inside_tls(address, send, expected)
    } else {
        plainly(address, send, expected)
    }
}

fn plainly(address: SocketAddr, send: &[u8], expected: &[u8]) -> Result<(), String> {
    let say = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(say)?;
    stream.write_all(send).map_err(say)?;
    if expected.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    let mut part = [0_u8; 4096];
    while !holds(&said, expected) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || said.len() > BYTES_MAX {
            return Err(without(&said));
        }
        stream.set_read_timeout(Some(left)).map_err(say)?;
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return Err(without(&said)),
            Ok(length) => said.extend(part.iter().take(length)),
        }
    }
    Ok(())
}

/// The same through `openssl`, which is no part of this project.
fn inside_tls(address: SocketAddr, send: &[u8], expected: &[u8]) -> Result<(), String> {
    let say = |error: std::io::Error| error.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-servername", "lab.test", "-connect"]);
    let mut child = command
        .arg(address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(say)?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("openssl has no streams".to_owned());
    };
    // The certificate is told of on the error stream once the handshake is done.
    let (from, expected) = if expected.is_empty() {
        (Box::new(stderr) as Box<dyn Read + Send>, &b"depth=0"[..])
    } else {
        (Box::new(stdout) as Box<dyn Read + Send>, expected)
    };
    let _ = stdin.write_all(send).and_then(|()| stdin.flush());
    let (sender, receiver) = mpsc::channel();
    let wanted = expected.to_vec();
    let reader = std::thread::spawn(move || {
        let result = read_until(from, &wanted);
        // Nobody listens when the time was over.
        let _ = sender.send(result);
    });
    let answer = receiver.recv_timeout(PATIENCE);
    let _ = child.kill();
    let _ = child.wait();
    let _ = reader.join();
    answer.unwrap_or_else(|_| Err("silence inside TLS".to_owned()))
}

fn read_until(mut from: Box<dyn Read + Send>, expected: &[u8]) -> Result<(), String> {
    let mut said = Vec::new();
    let mut part = [0_u8; 4096];
    while said.len() <= BYTES_MAX {
        match from.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => said.extend(part.iter().take(length)),
        }
        if holds(&said, expected) {
            return Ok(());
        }
    }
    Err(without(&said))
}

fn holds(said: &[u8], expected: &[u8]) -> bool {
    said.windows(expected.len())
        .any(|window| window == expected)
}

fn without(said: &[u8]) -> String {
    let start: Vec<u8> = said.iter().take(60).copied().collect();
    format!("said only {:?}", String::from_utf8_lossy(&start))
}
