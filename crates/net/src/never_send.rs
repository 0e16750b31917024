//! Ports that get no bytes. A connection to them is made and ended without a word, because what
//! listens there acts on whatever it is sent: printers print it.

/// The ports, first and last of each range.
const NEVER_SEND: &[(u16, u16)] = &[
    // Line printer daemon (RFC 1179).
    (515, 515),
    // Raw printing ("AppSocket", "JetDirect") and its further ports on multi-port print servers.
    (9100, 9107),
];

/// Whether a connection to `port` must stay without bytes from us.
pub fn gets_no_bytes(port: u16) -> bool {
    NEVER_SEND
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
            assert!(!gets_no_bytes(port), "{port}");
        }
    }
}
