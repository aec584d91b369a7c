//! What bytes stand for a value, so that every client, in every language, seals and binds the same ones.
//!
//! Scalars are canonical UTF-8: text as it is, integers decimal, booleans `true` and `false`, UUIDs in lower case with hyphens,
//! times RFC 3339 in UTC with the shortest fraction. Bytes are themselves; everything else is JSON text. A record id is the
//! scalar of its one column, or `u32 length || scalar` of each of several. Each value has one encoding only: reading refuses the
//! others, for an id that is written two ways is two ids.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::names::{NameError, RecordId};

/// A value before it is sealed, or bound as part of a record id.
#[derive(Clone, Copy)]
pub enum Scalar<'a> {
    /// UTF-8, neither trimmed nor normalized.
    Text(&'a str),
    /// Any bytes.
    Bytes(&'a [u8]),
    /// Decimal, a minus sign in front where it is negative.
    Integer(i128),
    /// `true` or `false`.
    Boolean(bool),
    /// The 16 bytes in the order they are written.
    Uuid([u8; 16]),
    /// Since 1970 in UTC, years 0 to 9999.
    Time {
        /// Whole seconds, rounded down.
        seconds: i64,
        /// And so many more, under 10^9.
        nanoseconds: u32,
    },
    /// Anything else, as the writer's JSON text.
    Json(&'a str),
}

/// What is wrong with an encoding. Shows nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// Before year 0, after 9999, or 10^9 nanoseconds.
    #[error("the time is outside the years 0 to 9999")]
    Time,
    /// Not the one encoding of a value of this type.
    #[error("the value is not {0}")]
    NotCanonical(&'static str),
}

/// Why no record id could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordIdError {
    /// A column's value has no encoding.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// Empty or too long.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Scalar<'_> {
    /// Writes the encoding behind what is there.
    ///
    /// # Errors
    /// Where a time is out of range; nothing is written then.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodingError> {
        match self {
            Self::Text(text) | Self::Json(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Integer(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Boolean(true) => out.extend_from_slice(b"true"),
            Self::Boolean(false) => out.extend_from_slice(b"false"),
            Self::Uuid(bytes) => out.extend_from_slice(&uuid_text(bytes)),
            Self::Time { seconds, nanoseconds } => {
                out.extend_from_slice(
                    time_text(*seconds, *nanoseconds).ok_or(EncodingError::Time)?.as_bytes(),
                );
            }
        }
        Ok(())
    }

    /// The encoding.
    ///
    /// # Errors
    /// Where a time is out of range.
    pub fn encode(&self) -> Result<Vec<u8>, EncodingError> {
        let mut out = Vec::new();
        self.write(&mut out)?;
        Ok(out)
    }
}

/// The record id of the bound columns, in the order in which the table declares them.
///
/// # Errors
/// Where it is empty or over 1,024 bytes, or a time is out of range.
pub fn record_id(columns: &[Scalar<'_>]) -> Result<RecordId, RecordIdError> {
    if let [Scalar::Bytes(only)] = columns {
        return Ok(RecordId::try_from(*only)?);
    }
    let mut id = Vec::new();
    for column in columns {
        bind(&mut id, columns.len(), |id| column.write(id))?;
    }
    Ok(RecordId::try_from(id.as_slice())?)
}

/// Adds the next of so many bound columns to a record id; `write` adds its scalar behind what is there.
///
/// # Errors
/// Those of `write`.
pub fn bind<E>(
    id: &mut Vec<u8>,
    columns: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    if columns == 1 {
        return write(id);
    }
    let start = id.len() + LENGTH;
    id.extend_from_slice(&[0; LENGTH]);
    write(id)?;
    let len = (id.len() - start) as u32;
    id[start - LENGTH..start].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

/// Bytes of the length before each of several columns.
const LENGTH: usize = 4;

/// Reads a text.
///
/// # Errors
/// Where it is not UTF-8.
pub fn text(encoded: &[u8]) -> Result<&str, EncodingError> {
    str::from_utf8(encoded).map_err(|_| EncodingError::NotCanonical("UTF-8 text"))
}

/// Reads an integer.
///
/// # Errors
/// Where it is not decimal, over 128 bits, or has a plus sign or zeros in front.
pub fn integer(encoded: &[u8]) -> Result<i128, EncodingError> {
    let sound = match encoded {
        [b'0'] | [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => str::from_utf8(encoded).ok(),
        _ => None,
    };
    // Most are short, and 64 bits are read in half the time.
    let parse = |text: &str| text.parse::<i64>().map(i128::from).or_else(|_| text.parse()).ok();
    sound.and_then(parse).ok_or(EncodingError::NotCanonical("a decimal integer"))
}

/// Reads a boolean.
///
/// # Errors
/// Where it is neither `true` nor `false`.
pub fn boolean(encoded: &[u8]) -> Result<bool, EncodingError> {
    match encoded {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(EncodingError::NotCanonical("`true` or `false`")),
    }
}

/// Reads a UUID.
///
/// # Errors
/// Where it is not lower case with hyphens.
pub fn uuid(encoded: &[u8]) -> Result<[u8; 16], EncodingError> {
    canonical(encoded, "a UUID in lower case with hyphens", uuid_bytes, uuid_text)
}

/// Reads a time: seconds since 1970, rounded down, and nanoseconds.
///
/// # Errors
/// Where it is not RFC 3339 in UTC, written `Z`, with the shortest fraction.
pub fn time(encoded: &[u8]) -> Result<(i64, u32), EncodingError> {
    const WHAT: &str = "an RFC 3339 time in UTC with the shortest fraction";
    let parse = |text: &str| {
        let time =
            OffsetDateTime::parse(text, &Rfc3339).ok().filter(|time| time.offset() == UtcOffset::UTC)?;
        Some((time.unix_timestamp(), time.nanosecond()))
    };
    canonical(encoded, WHAT, parse, |(seconds, nanoseconds)| {
        time_text(*seconds, *nanoseconds).unwrap_or_default()
    })
}

/// Reads what `parse` takes and `write` would write the same way again.
fn canonical<T, W: AsRef<[u8]>>(
    encoded: &[u8],
    what: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
    write: impl FnOnce(&T) -> W,
) -> Result<T, EncodingError> {
    str::from_utf8(encoded)
        .ok()
        .and_then(parse)
        .filter(|value| write(value).as_ref() == encoded)
        .ok_or(EncodingError::NotCanonical(what))
}

fn uuid_text(bytes: &[u8; 16]) -> [u8; 36] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|at| !matches!(at, 8 | 13 | 18 | 23));
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    for (at, digit) in places.zip(digits) {
        text[at] = DIGITS[usize::from(digit)];
    }
    text
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u32> =
        text.chars().filter(|&c| c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, &digit| byte << 4 | digit as u8));
    bytes.collect::<Vec<_>>().try_into().ok()
}

fn time_text(seconds: i64, nanoseconds: u32) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?.replace_nanosecond(nanoseconds).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::vectors;

    const VECTORS: &str = include_str!("../../tests/vectors/encoding_vectors.json");

    fn with_scalar<R>(vector: &Value, then: impl FnOnce(Scalar<'_>) -> R) -> R {
        let value = &vector["value"];
        let text = || value.as_str().unwrap();
        match vector["type"].as_str().unwrap() {
            "text" => then(Scalar::Text(text())),
            "json" => then(Scalar::Json(text())),
            "bytes" => then(Scalar::Bytes(&vectors::bytes(value))),
            "uuid" => then(Scalar::Uuid(vectors::bytes(value).try_into().unwrap())),
            "integer" => then(Scalar::Integer(text().parse().unwrap())),
            "boolean" => then(Scalar::Boolean(value.as_bool().unwrap())),
            "time" => {
                let (seconds, nanoseconds) = (value[0].as_i64().unwrap(), value[1].as_u64().unwrap());
                then(Scalar::Time { seconds, nanoseconds: nanoseconds.try_into().unwrap() })
            }
            other => panic!("{other}"),
        }
    }

    /// What reading `encoded` as `kind` and writing it again gives.
    fn again(kind: &str, encoded: &[u8]) -> Result<Vec<u8>, EncodingError> {
        match kind {
            "text" => Scalar::Text(text(encoded)?).encode(),
            "integer" => Scalar::Integer(integer(encoded)?).encode(),
            "boolean" => Scalar::Boolean(boolean(encoded)?).encode(),
            "uuid" => Scalar::Uuid(uuid(encoded)?).encode(),
            "time" => {
                let (seconds, nanoseconds) = time(encoded)?;
                Scalar::Time { seconds, nanoseconds }.encode()
            }
            _ => Ok(encoded.into()),
        }
    }

    #[test]
    fn scalars_are_as_in_the_vectors_and_read_back() {
        let vectors = vectors::parse(VECTORS);
        let scalars = vectors["scalars"].as_array().unwrap();
        for vector in scalars {
            let encoded = vectors::bytes(&vector["encoded"]);
            assert_eq!(with_scalar(vector, |scalar| scalar.encode().unwrap()), encoded, "{vector}");
            assert_eq!(again(vector["type"].as_str().unwrap(), &encoded).unwrap(), encoded, "{vector}");
        }
        assert!(scalars.len() > 30);
    }

    #[test]
    fn a_value_written_any_other_way_is_refused() {
        let vectors = vectors::parse(VECTORS);
        let refused = vectors["refused"].as_array().unwrap();
        for vector in refused {
            let (kind, encoded) = (vector["type"].as_str().unwrap(), vectors::bytes(&vector["encoded"]));
            assert!(matches!(again(kind, &encoded), Err(EncodingError::NotCanonical(_))), "{vector}");
        }
        assert!(refused.len() > 30);
    }

    #[test]
    fn record_ids_are_as_in_the_vectors() {
        let vectors = vectors::parse(VECTORS);
        for vector in vectors["record_ids"].as_array().unwrap() {
            let parts: Vec<_> = vector["columns"].as_array().unwrap().iter().collect();
            let encoded: Vec<_> =
                parts.iter().map(|part| with_scalar(part, |scalar| scalar.encode().unwrap())).collect();
            let columns: Vec<_> = encoded.iter().map(|bytes| Scalar::Bytes(bytes)).collect();
            assert_eq!(
                record_id(&columns).unwrap().as_bytes(),
                vectors::bytes(&vector["encoded"]),
                "{vector}"
            );
        }
    }

    #[test]
    fn an_empty_or_oversize_record_id_is_refused() {
        assert!(matches!(record_id(&[]), Err(RecordIdError::Name(NameError::Empty { .. }))));
        assert!(matches!(record_id(&[Scalar::Text("")]), Err(RecordIdError::Name(NameError::Empty { .. }))));
        let long = "x".repeat(1025);
        assert!(matches!(
            record_id(&[Scalar::Text(&long)]),
            Err(RecordIdError::Name(NameError::TooLong { .. }))
        ));
    }

    #[test]
    fn times_outside_the_calendar_have_no_encoding() {
        for (seconds, nanoseconds) in
            [(253_402_300_800, 0), (-62_167_219_201, 0), (i64::MAX, 0), (0, 1_000_000_000)]
        {
            assert_eq!(Scalar::Time { seconds, nanoseconds }.encode(), Err(EncodingError::Time), "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn numbers_uuids_and_times_come_back(
            number: i128, id: [u8; 16], seconds in -62_167_219_200i64..253_402_300_800, nanoseconds in 0u32..1_000_000_000,
        ) {
            prop_assert_eq!(integer(&Scalar::Integer(number).encode().unwrap()), Ok(number));
            prop_assert_eq!(uuid(&Scalar::Uuid(id).encode().unwrap()), Ok(id));
            let encoded = Scalar::Time { seconds, nanoseconds }.encode().unwrap();
            prop_assert_eq!(time(&encoded), Ok((seconds, nanoseconds)));
        }

        #[test]
        fn what_reads_is_what_would_be_written(bytes in "[-+0-9a-fA-FTZ:. ]{0,40}", kind in prop::sample::select(vec!["integer", "uuid", "time"])) {
            if let Ok(written) = again(kind, bytes.as_bytes()) {
                prop_assert_eq!(written, bytes.as_bytes());
            }
        }
    }
}
