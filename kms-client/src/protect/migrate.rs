//! Plaintext and older schemes, while they last.

use kms_core::{field::text, secret::Plaintext};
use time::{Date, Month, OffsetDateTime};

use super::{FieldProblem, layout::LaidColumn, row::Stored};

/// What stands in a column: sealed, or never sealed.
pub(crate) enum Found<'a> {
    Sealed(std::borrow::Cow<'a, [u8]>),
    Never(&'a [u8]),
    Null,
}

/// Tells them apart by how they begin: a sealed value that was cut is still none that was never sealed.
pub(crate) fn look<'a>(stored: Stored<'a>) -> Result<Found<'a>, FieldProblem> {
    Ok(match stored {
        Stored::Null => Found::Null,
        Stored::Bytes(bytes @ [0x4B, 1..=3, ..]) => Found::Sealed(bytes.into()),
        Stored::Bytes(bytes) => Found::Never(bytes),
        Stored::Text(text) if text.starts_with(text::PREFIX) => {
            let malformed = crate::Error::Value { reason: kms_proto::reason::Reason::CiphertextMalformed };
            Found::Sealed(text::decode(text).map_err(|_| malformed)?.into())
        }
        Stored::Text(text) => Found::Never(text.as_bytes()),
    })
}

/// Takes a value that was never sealed, where and as long as the column says so.
// ATTACK: whoever writes to the database can write plaintext; until the date it is believed. So there is a date.
pub(super) fn take_plaintext(column: &LaidColumn, value: &[u8]) -> Result<Plaintext, FieldProblem> {
    match column.plaintext_until {
        None => Err(FieldProblem::Plaintext),
        Some(until) if OffsetDateTime::now_utc().date() <= until => Ok(Plaintext::from(value.to_vec())),
        Some(_) => {
            let until = column.schema.allow_plaintext_until.as_deref().unwrap_or_default();
            Err(FieldProblem::PlaintextNoMore { until: until.into() })
        }
    }
}

/// Reads `2027-01-31`, and nothing else.
pub(crate) fn date(text: &str) -> Option<Date> {
    let [y, y1, y2, y3, b'-', m, m1, b'-', d, d1] = *text.as_bytes() else { return None };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u16, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
        })
    };
    let month = Month::try_from(u8::try_from(number(&[m, m1])?).ok()?).ok()?;
    let day = u8::try_from(number(&[d, d1])?).ok()?;
    Date::from_calendar_date(number(&[y, y1, y2, y3])?.into(), month, day).ok()
}
