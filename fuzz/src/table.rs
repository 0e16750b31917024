//! The table of fuzz targets. A new target is a function in `targets/`, a line here, a line in
//! `tests/targets.rs` and a folder of seeds.

use crate::targets::{checkpoint, frame, input, look, receive, udp, values};

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name on the command line, and of the folder under `corpus/`.
    pub name: &'static str,
    /// Panics when something does not hold for the bytes.
    pub run: fn(&[u8]),
    /// Pieces that mean something to what is tested.
    pub dictionary: &'static [&'static str],
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "address-set",
        run: values::address_set,
        dictionary: &[
            "\n",
            "-",
            "10.0.0.0",
            "255.255.255.255",
            "::",
            "::ffff:",
            "2001:db8::",
        ],
    },
    Target {
        name: "checkpoint",
        run: checkpoint::checkpoint,
        dictionary: &[
            "portolan-checkpoint/1 ",
            "\n",
            "null",
            "-1",
            "18446744073709551616",
            "\"timeout after 3 probes\"",
            "\"1-65535\"",
            "[]",
            "{}",
        ],
    },
    Target {
        name: "first-look",
        run: look::conversation,
        dictionary: LOOK_TOKENS,
    },
    Target {
        name: "first-look-inputs",
        run: look::inputs,
        dictionary: LOOK_TOKENS,
    },
    Target {
        name: "frame",
        run: frame::frame,
        dictionary: &[
            "\u{8}\0E\0",
            "\u{8}\u{6}\0\u{1}\u{8}\0\u{6}\u{4}\0",
            "`\0\0\0\0\u{8}",
            "\0\0\u{1}\u{4}\0\0\0\0",
            ",\0\0\u{1}",
            "<\0",
            "+\0",
            ":\0",
            "P\u{2}",
        ],
    },
    Target {
        name: "http-reply",
        run: look::http_reply,
        dictionary: LOOK_TOKENS,
    },
    Target {
        name: "port-set",
        run: values::port_set,
        dictionary: &["0", "65535", "65536", "-", ",", "1-1024"],
    },
    Target {
        name: "port-spec",
        run: input::port_spec,
        dictionary: &[
            "T:", "U:", "-", ",", "top", "top3", "dns", "http", "65535", "65536", "0",
        ],
    },
    Target {
        name: "reason",
        run: values::reason,
        dictionary: &[
            "timeout after ",
            " probes",
            " (v6)",
            "icmp type 3 code ",
            "255",
            "no route",
        ],
    },
    Target {
        name: "received-by-discovery",
        run: receive::hosts,
        dictionary: RECEIVED_TOKENS,
    },
    Target {
        name: "received-by-syn",
        run: receive::ports,
        dictionary: RECEIVED_TOKENS,
    },
    Target {
        name: "scope-file",
        run: input::scope_file,
        dictionary: &[
            "allow = [",
            "deny = [",
            "ports = ",
            "rate = ",
            "host_rate = ",
            "expires = ",
            "owner = ",
            "\"10.0.0.0/8\"",
            "2026-12-31T18:00:00Z",
            "9999-12-31",
            "+23:59",
            "\"",
            "]",
            "\n",
            "#",
            "\"\"\"",
        ],
    },
    Target {
        name: "service-reply",
        run: look::service_reply,
        dictionary: LOOK_TOKENS,
    },
    Target {
        name: "target-input",
        run: input::target_input,
        dictionary: &[
            "<nmaprun",
            "<host>",
            "</host>",
            "<address addr=\"",
            "addrtype=\"ipv4\"",
            "<!DOCTYPE",
            "<!--",
            "&#",
            "{\"schema\":\"portolan.run/1\"",
            "\"hosts\":[",
            "{\"ip\":\"",
            "\n",
            "#",
            "\u{feff}",
            "10.0.0.0/8",
        ],
    },
    Target {
        name: "target-spec",
        run: input::target_spec,
        dictionary: &[
            "/",
            "-",
            ",",
            "*",
            "0.0.0.0",
            "255",
            "/0",
            "/32",
            "/128",
            "::",
            "::ffff:",
            "%eth0",
            "[",
            "]",
            "xn--",
            "a.example",
            ".",
        ],
    },
    Target {
        name: "text",
        run: values::text,
        dictionary: &[
            "\u{1b}[2J",
            "\u{202e}",
            "\u{feff}",
            "\\",
            "\\x",
            "…",
            "\u{9b}",
            "\r\n",
        ],
    },
    Target {
        name: "tls-reply",
        run: look::tls_reply,
        dictionary: LOOK_TOKENS,
    },
    Target {
        name: "udp-reply",
        run: udp::reply,
        dictionary: &[
            "\u{1}\u{2}",
            "\u{1}\u{2}\u{3}\u{4}",
            "0102030405060708",
            "SIP/2.0 ",
            "z9hG4bK",
            "HTTP/1.1 200 OK\r\n",
            "server:",
            "VERSION ",
            "\u{7}version\u{4}bind\0",
            "\0\u{10}\0\u{3}",
        ],
    },
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Steps of eight bytes: right answers to the first probes, errors, a second of time.
const RECEIVED_TOKENS: &[&str] = &[
    "\u{3}\0\0\0\0\0\0\0",
    "\u{3}\u{1}\u{1}\0\0\0\0\0",
    "\u{3}\u{2}\u{3}\0\0\0\0\0",
    "\u{3}\u{3}\u{4}\u{3}\u{3}\0\0\0",
    "\u{3}\u{4}\u{4}\u{1}\u{4}\0\0\0",
    "\u{3}\u{5}\u{4}\u{b}\0\0\0\0",
    "\u{1}\u{3}\u{74}\0\0\0\0\0",
    "\u{2}\0\0\0\0\0\0\0",
    "\u{2}\u{1}\0\0\0\0\0\0",
    "\0\u{3c}\0\0\0\0\0\0",
];

const LOOK_TOKENS: &[&str] = &[
    "HTTP/1.1 ",
    "HTTP/1.0 ",
    "400 ",
    "200 OK",
    "\r\n",
    "\r\n\r\n",
    "Server: ",
    "nginx/1.22.1",
    "sent to HTTPS port",
    "Content-Length: ",
    "Transfer-Encoding: chunked",
    "\r\n0\r\n\r\n",
    "250-STARTTLS\r\n",
    "250 HELP\r\n",
    "-ERR unknown command '",
    "SSH-2.0-",
    "SSH-1.99-",
    "OpenSSH_",
    "220 ",
    "220-",
    "ESMTP",
    "FTP",
    "+OK",
    "* OK ",
    "IMAP4rev1",
    "RFB 003.",
    "\u{15}\u{3}\u{3}\0\u{2}\u{2}",
    "\u{16}\u{3}\u{3}\0",
    "\u{2}\0\0",
    "\0\u{2b}\0\u{2}\u{3}\u{4}",
    "\u{1e}",
];
