//! Ports that get no bytes. A connection to them is made and ended without a word, because what
//! listens there acts on whatever it is sent (printers print it), or fails easily (controllers of
//! machines).

/// Ports that get nothing over any transport, first and last of each range.
const NEVER_SEND: &[(u16, u16)] = &[
    // Line printer daemon (RFC 1179).
    (515, 515),
    // Raw printing ("AppSocket", "JetDirect") and its further ports on multi-port print servers.
    (9100, 9107),
];

/// Ports whose TCP services get nothing, first and last of each range.
const FRAGILE_TCP: &[(u16, u16)] = &[
    // Siemens S7 over ISO-on-TCP (RFC 1006).
    (102, 102),
    // Modbus/TCP.
    (502, 502),
    // Crimson (Red Lion).
    (789, 789),
    // Niagara Fox, in clear and inside TLS.
    (1911, 1911),
    (4911, 4911),
    // PCWorx.
    (1962, 1962),
    // IEC 60870-5-104.
    (2404, 2404),
    // CODESYS.
    (2455, 2455),
    // HART-IP.
    (5094, 5094),
    // Raw printing by further makers.
    (9109, 9109),
    (9112, 9116),
    // OMRON FINS.
    (9600, 9600),
    // GE SRTP.
    (18_245, 18_246),
    // DNP3.
    (20_000, 20_000),
    // PROFINET.
    (34_962, 34_964),
    // EtherNet/IP.
    (44_818, 44_818),
];

/// Whether a connection or a datagram to `port` must stay without bytes from us.
pub fn gets_no_bytes(port: u16) -> bool {
    holds(NEVER_SEND, port)
}

/// Whether a TCP connection to `port` must stay without bytes from us.
pub fn gets_no_bytes_over_tcp(port: u16) -> bool {
    gets_no_bytes(port) || holds(FRAGILE_TCP, port)
}

fn holds(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printers_get_no_bytes() {
        for port in [515, 9100, 9103, 9107] {
            assert!(gets_no_bytes(port), "{port}");
        }
        for port in [514, 516, 9099, 9108, 80] {
            assert!(!gets_no_bytes_over_tcp(port), "{port}");
        }
    }

    #[test]
    fn controllers_get_no_bytes_over_tcp() {
        for port in [102, 502, 9100, 9114, 20_000, 44_818] {
            assert!(gets_no_bytes_over_tcp(port), "{port}");
        }
        for port in [101, 503, 9111, 9117, 44_819] {
            assert!(!gets_no_bytes_over_tcp(port), "{port}");
        }
    }
}
