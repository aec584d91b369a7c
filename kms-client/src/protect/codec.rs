//! Which encoding a field has: the canonical one of its type, or JSON where the type is no scalar.
//!
//! The derive writes `(&Via::<T>::NEW).codec()`: the compiler takes the first trait that fits, [`ByValue`] before [`ByJson`].

use std::{io, marker::PhantomData};

use kms_core::secret::Plaintext;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, Zeroizing};

use super::{Encoded, FieldProblem, FieldValue};

/// Asks for the codec of a type.
#[derive(Debug, Clone, Copy)]
pub struct Via<T>(PhantomData<T>);

impl<T> Via<T> {
    /// The question.
    pub const NEW: Self = Self(PhantomData);
}

/// Writes and reads values of one type.
pub trait Codec<T> {
    /// The bytes that are sealed.
    ///
    /// # Errors
    /// Where the value has none.
    fn encode<'a>(&self, value: &'a T) -> Result<Encoded<'a>, FieldProblem>;

    /// The value that was sealed.
    ///
    /// # Errors
    /// Where the bytes are no value of this type.
    fn decode(&self, plaintext: Plaintext) -> Result<T, FieldProblem>;
}

/// The canonical encoding of a scalar.
#[derive(Debug, Clone, Copy)]
pub struct Canonical;

/// JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json;

/// Scalars have a canonical encoding.
pub trait ByValue {
    /// That encoding.
    fn codec(&self) -> Canonical {
        Canonical
    }
}

/// Everything else is JSON.
pub trait ByJson {
    /// JSON.
    fn codec(&self) -> Json {
        Json
    }
}

impl<T: FieldValue> ByValue for Via<T> {}
impl<T: Serialize + DeserializeOwned> ByJson for &Via<T> {}

impl<T: FieldValue> Codec<T> for Canonical {
    fn encode<'a>(&self, value: &'a T) -> Result<Encoded<'a>, FieldProblem> {
        value.encode()
    }

    fn decode(&self, plaintext: Plaintext) -> Result<T, FieldProblem> {
        T::decode(plaintext)
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn encode<'a>(&self, value: &'a T) -> Result<Encoded<'a>, FieldProblem> {
        let mut out = WipingWriter::default();
        serde_json::to_writer(&mut out, value).map_err(|error| problem(&error))?;
        Ok(Encoded::Owned(out.0))
    }

    fn decode(&self, plaintext: Plaintext) -> Result<T, FieldProblem> {
        serde_json::from_slice(&plaintext).map_err(|error| problem(&error))
    }
}

fn problem(error: &serde_json::Error) -> FieldProblem {
    FieldProblem::Json { at: error.column() }
}

/// Grows without leaving copies of what was written behind.
#[derive(Default)]
struct WipingWriter(Zeroizing<Vec<u8>>);

impl io::Write for WipingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two().max(256)));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        lat: f64,
        lon: f64,
    }

    fn sealed_as<T>(codec: &impl Codec<T>, value: &T) -> String {
        String::from_utf8(codec.encode(value).unwrap().as_bytes().to_vec()).unwrap()
    }

    fn again<T>(codec: &impl Codec<T>, bytes: &str) -> Result<T, FieldProblem> {
        codec.decode(Plaintext::from(bytes.as_bytes().to_vec()))
    }

    macro_rules! round_trips {
        ($($type:ty: $value:expr => $text:expr;)*) => {$(
            let codec = (&Via::<$type>::NEW).codec();
            let value: $type = $value;
            assert_eq!(sealed_as(&codec, &value), $text);
            assert_eq!(again::<$type>(&codec, $text).unwrap(), value);
        )*};
    }

    #[test]
    fn scalars_have_the_canonical_encoding_and_the_rest_is_json() {
        round_trips! {
            String: "李雷 \"x\"".into() => "李雷 \"x\"";
            Vec<u8>: b"raw".to_vec() => "raw";
            bool: false => "false";
            i64: -17 => "-17";
            u8: 255 => "255";
            uuid::Uuid: uuid::Uuid::from_u128(0xABCD) => "00000000-0000-0000-0000-00000000abcd";
            time::OffsetDateTime: time::macros::datetime!(2026-11-28 09:30:00.5 UTC) => "2026-11-28T09:30:00.5Z";
            time::Date: time::macros::date!(2026-02-03) => "\"2026-02-03\"";
            Point: Point { lat: 31.25, lon: 121.5 } => r#"{"lat":31.25,"lon":121.5}"#;
            Vec<String>: vec!["a".into(), "b".into()] => r#"["a","b"]"#;
            f64: 0.5 => "0.5";
        }
    }

    #[test]
    fn what_is_no_value_of_the_type_is_refused_and_not_shown() {
        let point = (&Via::<Point>::NEW).codec();
        for (problem, is_json) in [
            (again::<Point>(&point, r#"{"lat":"zebra","lon":1}"#).unwrap_err(), true),
            (again::<Point>(&point, "zebra").unwrap_err(), true),
            (again::<u8>(&Canonical, "256").unwrap_err(), false),
            (again::<u8>(&Canonical, "zebra").unwrap_err(), false),
            (again::<bool>(&Canonical, "zebra").unwrap_err(), false),
            (
                Canonical.decode(Plaintext::from(b"zebra\xFF".to_vec())).map(|_: String| ()).unwrap_err(),
                false,
            ),
            (again::<time::Date>(&Canonical, "\"2026-02-30\"").unwrap_err(), true),
        ] {
            assert_eq!(matches!(problem, FieldProblem::Json { .. }), is_json, "{problem}");
            assert!(!format!("{problem} {problem:?}").contains("zebra"), "{problem:?}");
        }
    }

    #[test]
    fn a_day_that_nobody_would_read_is_not_sealed() {
        let codec = Via::<time::Date>::NEW.codec();
        assert!(codec.encode(&time::Date::MIN).is_err(), "years before 0");
        assert_eq!(sealed_as(&codec, &time::macros::date!(0000 - 01 - 01)), "\"0000-01-01\"");
    }

    #[test]
    fn long_json_is_written_whole() {
        let long: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        assert_eq!(sealed_as(&Json, &long), serde_json::to_string(&long).unwrap());
    }
}
