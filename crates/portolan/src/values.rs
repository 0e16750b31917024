//! Values on the command line that need more than a number: rates, waits, durations, shards.

use portolan_model::Shard;
use std::str::FromStr;

/// Probes a second; `None` adapts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

/// A wait in milliseconds; `None` adapts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Option<u32>);

/// A span of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duration {
    /// At least 1.
    pub(crate) seconds: u64,
}

/// Part K of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardArg(pub(crate) Shard);

/// Longest wait for one probe.
const TIMEOUT_MAX_MS: u32 = 60_000;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(rate) if rate > 0 => Ok(Self(Some(rate))),
            _ => Err("write auto, or probes a second from 1 on, as in 500".to_owned()),
        }
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(ms) if (1..=TIMEOUT_MAX_MS).contains(&ms) => Ok(Self(Some(ms))),
            _ => Err(format!(
                "write auto, or milliseconds from 1 to {TIMEOUT_MAX_MS}, as in 500"
            )),
        }
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a duration as in 90s, 10m or 1h30m".to_owned();
        let span: jiff::SignedDuration = match text.parse::<i64>() {
            Ok(seconds) => jiff::SignedDuration::from_secs(seconds),
            Err(_) => text.parse().map_err(|_| wrong())?,
        };
        let whole = span.as_secs() + i64::from(span.subsec_nanos() > 0);
        match u64::try_from(whole) {
            Ok(seconds) if seconds > 0 => Ok(Self { seconds }),
            _ => Err(wrong()),
        }
    }
}

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .map(|(index, count)| (index.parse(), count.parse()));
        match parts {
            Some((Ok(index), Ok(count))) if 1 <= index && index <= count => {
                Ok(Self(Shard { index, count }))
            }
            _ => Err("write K/N with K from 1 to N, as in 2/5".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(
                text.parse().ok(),
                seconds.map(|seconds| Duration { seconds }),
                "{text}"
            );
        };
        check("90s", Some(90));
        check("90", Some(90));
        check("10m", Some(600));
        check("1h30m", Some(5_400));
        check("500ms", Some(1));
        check("0", None);
        check("-5s", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn rates_waits_and_shards_refuse_what_makes_no_sense() {
        assert_eq!("auto".parse(), Ok(Rate(None)));
        assert_eq!("500".parse(), Ok(Rate(Some(500))));
        assert!("0".parse::<Rate>().is_err());
        assert!("-1".parse::<Rate>().is_err());
        assert!("0".parse::<Timeout>().is_err());
        assert!("60001".parse::<Timeout>().is_err());
        assert_eq!("2/5".parse(), Ok(ShardArg(Shard { index: 2, count: 5 })));
        for wrong in ["0/5", "6/5", "1/0", "1", "a/b", "1/5/7"] {
            assert!(wrong.parse::<ShardArg>().is_err(), "{wrong}");
        }
    }
}
