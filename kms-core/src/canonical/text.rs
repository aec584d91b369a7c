//! Strings and instants of canonical JSON.

use std::{fmt, str::FromStr};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// Printable ASCII without `"` and `\`: a string that is spelled one way only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(String);

/// A string that canonical JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string holds something other than printable ASCII, or a quote or backslash")]
pub struct TextError;

impl Text {
    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The string with everything that may not stand in it replaced by `?`.
    pub fn lossy(text: &str) -> Self {
        Self(text.chars().map(|char| if allowed(char) { char } else { '?' }).collect())
    }
}

fn allowed(char: char) -> bool {
    matches!(char, ' '..='~') && !matches!(char, '"' | '\\')
}

impl FromStr for Text {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        match text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(TextError),
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A moment, in milliseconds since 1970 in UTC, up to the end of the year 9999: `2026-11-27T12:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    const END: u64 = 253_402_300_799_999;

    /// A moment; one that is out of range becomes the nearest.
    pub fn from_millis(millis: i64) -> Self {
        Self(u64::try_from(millis).unwrap_or(0).min(Self::END))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| fmt::Error)?;
        let (date, time) = (at.date(), at.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second, milli) = time.as_hms_milli();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl FromStr for Instant {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let read = || {
            let part = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
            let small = |from, to| u8::try_from(part(from, to)?).ok();
            let month = Month::try_from(small(5, 7)?).ok()?;
            let date = Date::from_calendar_date(part(0, 4)?.into(), month, small(8, 10)?).ok()?;
            let time =
                Time::from_hms_milli(small(11, 13)?, small(14, 16)?, small(17, 19)?, part(20, 23)?).ok()?;
            let millis = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp_nanos() / 1_000_000;
            let instant = Self(u64::try_from(millis).ok()?);
            // What stands between the digits, and a sign before them, shows here.
            (instant.to_string() == text).then_some(instant)
        };
        read().ok_or(TextError)
    }
}
