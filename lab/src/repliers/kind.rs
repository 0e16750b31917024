//! The ways in which a port answers, and what may truthfully be said of each. What each says, byte
//! by byte, is in `script`.

use super::Service;

/// How a port behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Says something meaningless once it has heard a number of bytes.
    AfterBytes,
    /// Something like an HTTP reply that breaks its grammar (RFC 9112 §4).
    BadHttp,
    /// Closes at once.
    Closes,
    /// Sends back whatever comes (RFC 862).
    Echo,
    /// Random bytes as fast as they are read, without end.
    Endless,
    /// A reply of many lines (`220-`) without end.
    EndlessReply,
    /// Text with the control sequences of terminals.
    Escapes,
    /// The same meaningless bytes whatever is asked, and nothing before.
    Fixed,
    /// FTP, true: the greeting in pieces, its last line 300 ms late.
    FtpLate,
    /// Closes its own side at once and listens on.
    HalfCloses,
    /// HTTP, true: the reply in pieces, 50 ms apart.
    HttpSplit,
    /// 64 KiB of random bytes, then closes.
    Large,
    /// A meaningless line, and another one 300 ms later.
    LateLine,
    /// A line without end.
    LongLine,
    /// Almost the greeting of a protocol, but not by its grammar.
    NearMiss,
    /// NUL bytes.
    Nuls,
    /// One random byte, then silence.
    OneByte,
    /// The first bytes of a protocol, too few to prove it, then silence.
    Prefix,
    /// Random bytes, of a random number, then silence.
    RandomBytes,
    /// Random printable lines, then silence.
    RandomLines,
    /// Random printable characters without a line end, then silence.
    RandomText,
    /// Resets the connection once it stands.
    Resets,
    /// Sends back whatever comes, from its end to its beginning.
    Reversed,
    /// Says nothing.
    Silent,
    /// SMTP, true: the greeting in pieces, 50 ms apart.
    SmtpSplit,
    /// A service as its specification has it.
    Speaks(Service),
    /// A meaningless line in pieces, 50 ms apart.
    SplitText,
    /// SSH, true: the identification byte by byte.
    SshByByte,
    /// Reads nothing, with the smallest window, and sends a byte a second without end.
    Tarpit,
    /// An alert of TLS, whatever comes, then closes (RFC 8446 §6).
    TlsAlert,
    /// A record header of TLS with garbage behind it.
    TlsGarbage,
    /// Closes without a word once a hello, or anything else, has come.
    TlsSilentClose,
    /// A line that is of two protocols at once.
    TwoProtocols,
    /// Random text with the words of protocols in the middle.
    WordsInside,
}

/// What may be said of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// This name or none, and no TLS.
    MayBe(&'static str),
    /// This name, and no TLS.
    Named(&'static str),
    /// No name, and no TLS.
    Nothing,
    /// TLS, and no name inside.
    Tls,
}

/// How what was said of a port compares with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A name that is not the port's.
    FalseName,
    /// TLS where none was shown.
    FalseTls,
    /// The name or the TLS that was shown is missing, and nothing false was said.
    Missed,
    /// As it is.
    Right,
}

impl Kind {
    /// All that are hostile, mean nothing, or are true protocols in odd pieces.
    pub const ADVERSE: [Self; 33] = [
        Self::AfterBytes,
        Self::BadHttp,
        Self::Closes,
        Self::Echo,
        Self::Endless,
        Self::EndlessReply,
        Self::Escapes,
        Self::Fixed,
        Self::FtpLate,
        Self::HalfCloses,
        Self::HttpSplit,
        Self::Large,
        Self::LateLine,
        Self::LongLine,
        Self::NearMiss,
        Self::Nuls,
        Self::OneByte,
        Self::Prefix,
        Self::RandomBytes,
        Self::RandomLines,
        Self::RandomText,
        Self::Resets,
        Self::Reversed,
        Self::Silent,
        Self::SmtpSplit,
        Self::SplitText,
        Self::SshByByte,
        Self::Tarpit,
        Self::TlsAlert,
        Self::TlsGarbage,
        Self::TlsSilentClose,
        Self::TwoProtocols,
        Self::WordsInside,
    ];

    /// What may truthfully be said of it.
    pub const fn truth(self) -> Truth {
        match self {
            Self::Echo => Truth::MayBe("echo"),
            Self::FtpLate => Truth::Named("ftp"),
            Self::HttpSplit => Truth::Named("http"),
            Self::SmtpSplit => Truth::Named("smtp"),
            Self::Speaks(service) => Truth::Named(service.name()),
            Self::SshByByte => Truth::Named("ssh"),
            Self::TlsAlert => Truth::Tls,
            _ => Truth::Nothing,
        }
    }
}

impl Truth {
    /// Judges what was said: the name of the service, and whether it is called TLS.
    pub fn judge(self, name: Option<&str>, tls: bool) -> Verdict {
        let (expected, may_lack) = match self {
            Self::MayBe(name) => (Some(name), true),
            Self::Named(name) => (Some(name), false),
            Self::Nothing | Self::Tls => (None, true),
        };
        let has_tls = self == Self::Tls;
        if name.is_some() && name != expected {
            Verdict::FalseName
        } else if tls && !has_tls {
            Verdict::FalseTls
        } else if (name.is_none() && !may_lack) || (has_tls && !tls) {
            Verdict::Missed
        } else {
            Verdict::Right
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_compared_with_the_truth() {
        let check = |truth: Truth, name, tls, expected| {
            assert_eq!(truth.judge(name, tls), expected, "{truth:?} {name:?} {tls}");
        };
        check(Truth::Nothing, None, false, Verdict::Right);
        check(Truth::Nothing, Some("ssh"), false, Verdict::FalseName);
        check(Truth::Nothing, None, true, Verdict::FalseTls);
        check(Truth::Named("ssh"), Some("ssh"), false, Verdict::Right);
        check(Truth::Named("ssh"), None, false, Verdict::Missed);
        check(Truth::Named("ssh"), Some("ftp"), false, Verdict::FalseName);
        check(Truth::Named("ssh"), Some("ssh"), true, Verdict::FalseTls);
        check(Truth::MayBe("echo"), None, false, Verdict::Right);
        check(Truth::MayBe("echo"), Some("echo"), false, Verdict::Right);
        check(Truth::MayBe("echo"), Some("ssh"), false, Verdict::FalseName);
        check(Truth::Tls, None, true, Verdict::Right);
        check(Truth::Tls, None, false, Verdict::Missed);
        check(Truth::Tls, Some("http"), true, Verdict::FalseName);
    }

    #[test]
    fn no_kind_is_listed_twice() {
        let mut kinds = Kind::ADVERSE.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, Kind::ADVERSE);
    }
}
