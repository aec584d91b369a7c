//! chrono's times and days, written as those of `time` are: either library opens what the other sealed.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, Utc};
use kms_core::{
    encoding::{self, Scalar},
    secret::Plaintext,
};

use super::{
    Encoded, FieldProblem, FieldValue,
    value::{date, written},
};

impl FieldValue for DateTime<Utc> {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        // A leap second has no RFC 3339 that everybody reads, and is refused.
        written(Scalar::Time { seconds: self.timestamp(), nanoseconds: self.timestamp_subsec_nanos() })
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        let (seconds, nanoseconds) = encoding::time(&plaintext)?;
        Self::from_timestamp(seconds, nanoseconds).ok_or(FieldProblem::Range)
    }
}

impl FieldValue for DateTime<FixedOffset> {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        written(Scalar::Time { seconds: self.timestamp(), nanoseconds: self.timestamp_subsec_nanos() })
    }

    /// In UTC: which offset it was given in is not kept.
    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        DateTime::<Utc>::decode(plaintext).map(|time| time.fixed_offset())
    }
}

impl FieldValue for NaiveDate {
    /// As `time::Date`.
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        date(self.year(), self.month(), self.day())
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        let day = time::Date::decode(plaintext)?;
        let (year, month, day) = day.to_calendar_date();
        Self::from_ymd_opt(year, u8::from(month).into(), day.into()).ok_or(FieldProblem::Range)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;
    use crate::protect::codec::{ByValue as _, Codec as _, Via};

    fn opened<T: FieldValue>(encoded: &Encoded<'_>) -> T {
        T::decode(Plaintext::from(encoded.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn either_library_opens_what_the_other_sealed() {
        for time in [
            datetime!(2026-11-28 09:30:00.5 UTC),
            datetime!(1969-12-31 23:59:59.999_999_999 UTC),
            datetime!(0000-01-01 00:00:00 UTC),
            datetime!(9999-12-31 23:59:59 UTC),
        ] {
            let chrono: DateTime<Utc> = opened(&time.encode().unwrap());
            let codec = Via::<DateTime<Utc>>::NEW.codec();
            assert_eq!(codec.encode(&chrono).unwrap().as_bytes(), time.encode().unwrap().as_bytes());
            assert_eq!(opened::<time::OffsetDateTime>(&chrono.encode().unwrap()), time);
        }
        let day: NaiveDate = opened(&date!(2024 - 02 - 29).encode().unwrap());
        assert_eq!(day.encode().unwrap().as_bytes(), b"\"2024-02-29\"");
        assert_eq!(opened::<time::Date>(&day.encode().unwrap()), date!(2024 - 02 - 29));
    }

    #[test]
    fn an_offset_is_not_kept_but_the_moment_is() {
        let shanghai = FixedOffset::east_opt(8 * 3600).unwrap();
        let time = DateTime::from_timestamp(1_795_858_200, 0).unwrap().with_timezone(&shanghai);
        assert_eq!(time.encode().unwrap().as_bytes(), b"2026-11-28T09:30:00Z");
        let again: DateTime<FixedOffset> = opened(&time.encode().unwrap());
        assert_eq!((again, again.offset().local_minus_utc()), (time, 0));
    }

    #[test]
    fn what_nobody_reads_is_refused() {
        assert!(DateTime::<Utc>::MAX_UTC.encode().is_err(), "years beyond 9999");
        assert!(NaiveDate::MIN.encode().is_err());
        let leap = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap().and_hms_nano_opt(23, 59, 59, 1_500_000_000);
        assert!(leap.unwrap().and_utc().encode().is_err(), "a leap second");
    }
}
