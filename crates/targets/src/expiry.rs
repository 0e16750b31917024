//! The end of an authorisation as a scope file writes it (RFC 3339), as seconds since 1970.

use portolan_model::Text;
use serde::Deserialize;
use toml::value::{Datetime, Offset};

/// A date, or a date with a time, as TOML has them or as a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Expiry {
    Moment(Datetime),
    Text(String),
}

/// An end of an authorisation that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpiryError {
    /// No date at all.
    #[error("\"{0}\" is no date; write expires = 2030-12-31 or 2030-12-31T18:00:00Z")]
    NoDate(Text),
    /// A time of day without the offset from UTC.
    #[error("{0} does not say in which time zone; write the offset, as in {0}Z or {0}+02:00")]
    NoOffset(Text),
}

impl Expiry {
    /// The first second that is no longer authorised. A date alone lasts to its end in UTC.
    pub(crate) fn unix_s(self) -> Result<i64, ExpiryError> {
        let moment = match self {
            Self::Moment(moment) => moment,
            Self::Text(text) => match text.trim().parse() {
                Ok(moment) => moment,
                Err(_) => return Err(ExpiryError::NoDate(Text::from(text))),
            },
        };
        let Some(date) = moment.date else {
            return Err(ExpiryError::NoDate(Text::from(moment.to_string())));
        };
        let days = days_since_1970(i64::from(date.year), date.month.into(), date.day.into());
        let Some(time) = moment.time else {
            return Ok((days + 1) * DAY_S);
        };
        let offset_s = match moment.offset {
            None => return Err(ExpiryError::NoOffset(Text::from(moment.to_string()))),
            Some(Offset::Z) => 0,
            Some(Offset::Custom { minutes }) => i64::from(minutes) * 60,
        };
        let second = i64::from(time.second.unwrap_or(0));
        let of_day = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + second;
        Ok(days * DAY_S + of_day - offset_s)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Counts years from March, so that the
/// leap day is the last of its year.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let months_since_march = (month + 9) % 12;
    let days_before_month = (153 * months_since_march + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + days_before_month + day - 1 - DAYS_TO_1970
}

const DAY_S: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<i64, &str>) {
        let found = Expiry::Text(text.to_owned()).unix_s();
        let found = found.map_err(|error| error.to_string());
        match expected {
            Ok(unix_s) => assert_eq!(found, Ok(unix_s), "{text}"),
            Err(start) => assert!(found.unwrap_err().starts_with(start), "{text}"),
        }
    }

    #[test]
    fn dates_last_to_their_end_and_times_to_the_second() {
        check("1970-01-01", Ok(86_400));
        check("1970-01-01T00:00:00Z", Ok(0));
        check("1969-12-31T23:59:59Z", Ok(-1));
        check("2000-02-29T12:00:00Z", Ok(951_825_600));
        check("2024-03-01T00:00:00Z", Ok(1_709_251_200));
        check("2026-12-31", Ok(1_798_761_600));
        check("2038-01-19T03:14:08Z", Ok(1 << 31));
        check("2038-01-19T05:14:08.9+02:00", Ok(1 << 31));
        check("2038-01-18 21:44:08-05:30", Ok(1 << 31));
        check("9999-12-31T23:59:59Z", Ok(253_402_300_799));
        check("0000-01-01T00:00:00Z", Ok(-62_167_219_200));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        check("tomorrow", Err("\"tomorrow\" is no date"));
        check("", Err("\"\" is no date"));
        check("2026-13-01", Err("\"2026-13-01\" is no date"));
        check("2026-02-30", Err("\"2026-02-30\" is no date"));
        check("2025-02-29", Err("\"2025-02-29\" is no date"));
        check("12:00:00", Err("\"12:00:00\" is no date"));
        check("31.12.2026", Err("\"31.12.2026\" is no date"));
        check(
            "2026-12-31T18:00:00",
            Err("2026-12-31T18:00:00 does not say in which time zone"),
        );
    }

    #[test]
    fn days_follow_each_other_through_four_centuries() {
        let mut expected = days_since_1970(1600, 1, 1);
        for year in 1600_i64..2001 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = [
                31,
                if leap { 29 } else { 28 },
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days_since_1970(year, month, day), expected);
                    expected += 1;
                }
            }
        }
    }
}
