//! Values and the canonical bytes that stand for them. The encodings are those of `kms_core::encoding`.

use std::{borrow::Cow, fmt};

use kms_core::{
    encoding::{self, Scalar},
    secret::Plaintext,
};
use zeroize::Zeroizing;

use super::FieldProblem;

/// The bytes of a value on its way to be sealed: borrowed, or wiped when dropped.
pub enum Encoded<'a> {
    /// The value's own.
    Borrowed(&'a [u8]),
    /// Written for this.
    Owned(Zeroizing<Vec<u8>>),
}

impl Encoded<'_> {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded(<{} bytes>)", self.as_bytes().len())
    }
}

/// A scalar: a type with one canonical encoding, that other languages write the same. Other types are sealed as JSON.
pub trait FieldValue: Sized {
    /// The encoding.
    ///
    /// # Errors
    /// Where the value has none.
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem>;

    /// Writes the same bytes behind what is there, of a value that names something and is no secret.
    ///
    /// # Errors
    /// Where the value has none.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldProblem> {
        out.extend_from_slice(self.encode()?.as_bytes());
        Ok(())
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it is not the encoding of a value of this type.
    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem>;
}

pub(super) fn written(scalar: Scalar<'_>) -> Result<Encoded<'static>, FieldProblem> {
    // The longest scalars that are written are 40 bytes: the buffer never moves, which would leave a copy behind.
    let mut out = Zeroizing::new(Vec::with_capacity(64));
    scalar.write(&mut out)?;
    Ok(Encoded::Owned(out))
}

impl FieldValue for String {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        Ok(Encoded::Borrowed(self.as_bytes()))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        // The bytes are the caller's from here on, as those of any `String`.
        Self::from_utf8(plaintext.expose_vec()).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            FieldProblem::Encoding(encoding::EncodingError::NotCanonical("UTF-8 text"))
        })
    }
}

impl FieldValue for Box<str> {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        Ok(Encoded::Borrowed(self.as_bytes()))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        String::decode(plaintext).map(Into::into)
    }
}

impl FieldValue for Cow<'static, str> {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        Ok(Encoded::Borrowed(self.as_bytes()))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        String::decode(plaintext).map(Into::into)
    }
}

impl FieldValue for Vec<u8> {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        Ok(Encoded::Borrowed(self))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        Ok(plaintext.expose_vec())
    }
}

impl<const N: usize> FieldValue for [u8; N] {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        Ok(Encoded::Borrowed(self))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        plaintext.as_bytes().try_into().map_err(|_| FieldProblem::Range)
    }
}

impl FieldValue for bool {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        written(Scalar::Boolean(*self))
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        Ok(encoding::boolean(&plaintext)?)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl FieldValue for $integer {
            fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
                written(Scalar::Integer(i128::from(*self)))
            }

            fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldProblem> {
                Ok(Scalar::Integer(i128::from(*self)).write(out)?)
            }

            fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
                encoding::integer(&plaintext)?.try_into().map_err(|_| FieldProblem::Range)
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl FieldValue for uuid::Uuid {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        written(Scalar::Uuid(*self.as_bytes()))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), FieldProblem> {
        Ok(Scalar::Uuid(*self.as_bytes()).write(out)?)
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        Ok(Self::from_bytes(encoding::uuid(&plaintext)?))
    }
}

impl FieldValue for time::OffsetDateTime {
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        written(Scalar::Time { seconds: self.unix_timestamp(), nanoseconds: self.nanosecond() })
    }

    /// In UTC: which offset it was given in is not kept.
    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        let (seconds, nanoseconds) = encoding::time(&plaintext)?;
        let time = Self::from_unix_timestamp(seconds).and_then(|time| time.replace_nanosecond(nanoseconds));
        time.map_err(|_| FieldProblem::Range)
    }
}

/// As JSON has a day; of other years nobody reads what would be written.
pub(super) fn date(year: i32, month: u32, day: u32) -> Result<Encoded<'static>, FieldProblem> {
    if !(0..=9_999).contains(&year) {
        return Err(encoding::EncodingError::Time.into());
    }
    Ok(Encoded::Owned(Zeroizing::new(format!("\"{year:04}-{month:02}-{day:02}\"").into_bytes())))
}

impl FieldValue for time::Date {
    /// No scalar, so JSON: `"2026-11-28"` with its quotes, as other languages' JSON has it.
    fn encode(&self) -> Result<Encoded<'_>, FieldProblem> {
        let (year, month, day) = self.to_calendar_date();
        date(year, u8::from(month).into(), day.into())
    }

    fn decode(plaintext: Plaintext) -> Result<Self, FieldProblem> {
        let text = encoding::text(&plaintext)?;
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        inner.and_then(super::migrate::date).ok_or(FieldProblem::Json { at: 0 })
    }
}
