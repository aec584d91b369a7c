//! JSON Lines: where the values of a line's object stand in its bytes, and how a value becomes a plaintext and comes back.
//!
//! A plaintext follows the encoding that all parts of the product share: text raw, everything else as its JSON stands. So that a
//! number comes back as a number, what was not text is sealed into an array of one string, `["kf1.…"]`: JSON programs and
//! databases that write the value again keep that apart from the string (docs/decisions/0080).

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Tells the place of each value of the object in `line` to `value`, with the name it stands under.
pub(super) fn split_object<'a>(
    line: &'a str,
    mut value: impl FnMut(Cow<'a, str>, usize, usize) -> Result<(), String>,
) -> Result<(), String> {
    let mut scan = Scan { line, at: 0 };
    scan.expect(b'{', "does not hold a JSON object")?;
    if !scan.takes(b'}') {
        loop {
            let name = scan.name()?;
            scan.expect(b':', "has a name without `:` and a value")?;
            let start = scan.skip_space();
            scan.take::<IgnoredAny>()?;
            value(name, start, scan.at)?;
            if scan.takes(b'}') {
                break;
            }
            scan.expect(b',', "has neither `,` nor `}` after a value")?;
        }
    }
    match scan.skip_space() == line.len() {
        true => Ok(()),
        false => Err("has something after its object".into()),
    }
}

struct Scan<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn skip_space(&mut self) -> usize {
        let rest = &self.line.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at
    }

    fn takes(&mut self, byte: u8) -> bool {
        let at = self.skip_space();
        let found = self.line.as_bytes().get(at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, problem: &str) -> Result<(), String> {
        if self.takes(byte) { Ok(()) } else { Err(problem.into()) }
    }

    fn name(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.skip_space();
        if self.line.as_bytes().get(start) != Some(&b'"') {
            return Err("has a value without a quoted name".into());
        }
        let name = self.take::<String>()?;
        let inside = &self.line[start + 1..self.at - 1];
        Ok(if inside == name { Cow::Borrowed(inside) } else { Cow::Owned(name) })
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, String> {
        let mut values = serde_json::Deserializer::from_str(&self.line[self.at..]).into_iter::<T>();
        let value = values.next();
        let length = values.byte_offset();
        match value {
            Some(Ok(value)) => {
                self.at += length;
                Ok(value)
            }
            _ => Err(format!("is not JSON from byte {} on", self.at + 1)),
        }
    }
}

/// A value as a plaintext; `null` is a missing value and is not sealed.
pub(super) fn plaintext(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    if raw == b"null" { None } else { Some(text(raw).unwrap_or(Cow::Borrowed(raw))) }
}

/// A string's text. JSON can write strings that are none, such as half a surrogate pair: like all that is not text, they are
/// their JSON as it stands.
pub(super) fn text(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let [b'"', inside @ .., b'"'] = raw else { return None };
    match memchr::memchr(b'\\', inside) {
        None => Some(Cow::Borrowed(inside)),
        Some(_) => serde_json::from_slice::<String>(raw).ok().map(|text| Cow::Owned(text.into_bytes())),
    }
}

/// A record id: text raw, an integer as decimal; anything else names no record.
pub(super) fn record_id(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    match raw {
        [b'"', ..] => text(raw),
        [b'-', digits @ ..] | digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Some(Cow::Borrowed(raw))
        }
        _ => None,
    }
}

/// The sealed text of a value, and whether it stands for text: a string does, an array of just one `kf1.` string does not. What is
/// neither is sealed by nobody, and is answered as it stands.
pub(super) fn sealed(raw: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if let Some(text) = text(raw) {
        return (text, true);
    }
    let alone = raw.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).map(<[u8]>::trim_ascii);
    match alone.and_then(text) {
        // INVARIANT: `kf1.` text holds no quote; with one inside, these are two strings.
        Some(text) if text.starts_with(b"kf1.") && !text.contains(&b'"') => (text, false),
        _ => (Cow::Borrowed(raw), true),
    }
}

/// Writes `kf1.` text in the place of a value.
pub(super) fn write_sealed(sealed: &[u8], is_text: bool, out: &mut Vec<u8>) {
    let (before, after): (&[u8], &[u8]) = if is_text { (b"\"", b"\"") } else { (b"[\"", b"\"]") };
    // INVARIANT: `kf1.` text needs no escapes.
    out.extend_from_slice(before);
    out.extend_from_slice(sealed);
    out.extend_from_slice(after);
}

/// Writes an opened plaintext in the place of its sealed text; `false` where JSON cannot hold it.
pub(super) fn write_opened(plaintext: &[u8], is_text: bool, out: &mut Vec<u8>) -> bool {
    let Ok(text) = std::str::from_utf8(plaintext) else { return false };
    // ATTACK: the array is not authenticated; it may choose how a value is written, never break out of its place.
    let one_line = memchr::memchr(b'\n', plaintext).is_none();
    if !is_text && one_line && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        out.extend_from_slice(plaintext);
    } else {
        write_text(text, out);
    }
    true
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // INVARIANT: writing a string to memory does not fail.
    if let Ok(json) = serde_json::to_string(text) {
        out.extend_from_slice(json.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(line: &str) -> Result<Vec<(String, String)>, String> {
        let mut found = Vec::new();
        split_object(line, |name, start, end| {
            found.push((name.into_owned(), line[start..end].to_owned()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn each_value_is_found_as_it_stands() {
        let line = r#" { "id" : 17 , "n\u0061me":"Zo\u00eb \"x\"","a":[1, {"b":2}] ,"z":1.50,"t":true } "#;
        let found = values(line).unwrap();
        let expected = [
            ("id", "17"),
            ("name", r#""Zo\u00eb \"x\"""#),
            ("a", r#"[1, {"b":2}]"#),
            ("z", "1.50"),
            ("t", "true"),
        ];
        assert_eq!(found, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(values("{}").unwrap(), []);
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for line in [
            "[1]",
            "17",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1}}",
            "{\"a\":1,}",
            "{1:1}",
            "{\"a\":01}",
        ] {
            assert!(values(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_record_id_is_text_or_an_integer() {
        assert_eq!(record_id(b"\"a\\u0062\"").unwrap().as_ref(), b"ab");
        assert_eq!(record_id(b"-17").unwrap().as_ref(), b"-17");
        for not in ["1.0", "1e3", "true", "null", "{}", "[1]", "-"] {
            assert!(record_id(not.as_bytes()).is_none(), "{not}");
        }
    }

    #[test]
    fn an_array_of_one_sealed_string_is_a_sealed_value_that_is_no_text() {
        for raw in [r#"["kf1.AA"]"#, "[ \t\"kf1.AA\"\r ]", r#"["\u006bf1.AA"]"#] {
            assert_eq!(sealed(raw.as_bytes()), (Cow::Borrowed(&b"kf1.AA"[..]), false), "{raw}");
        }
        assert_eq!(sealed(br#""kf1.AA""#), (Cow::Borrowed(&b"kf1.AA"[..]), true));
        for not in [r#"["kf1.AA","kf1.AA"]"#, r#"["kf1.AA",1]"#, r#"[["kf1.AA"]]"#, r#"["text"]"#, "[]", "41"]
        {
            assert_eq!(sealed(not.as_bytes()), (Cow::Borrowed(not.as_bytes()), true), "{not}");
        }
    }

    proptest! {
        #[test]
        fn values_are_those_that_serde_json_sees(names in proptest::collection::vec(".{0,6}", 0..5), text in ".*", n: i64) {
            let mut object = serde_json::Map::new();
            for (i, name) in names.iter().enumerate() {
                object.insert(name.clone(), if i % 2 == 0 { text.clone().into() } else { n.into() });
            }
            let line = serde_json::to_string(&object).unwrap();
            let found = values(&line).unwrap();
            prop_assert_eq!(found.len(), object.len());
            for ((name, raw), (n, v)) in found.iter().zip(&object) {
                prop_assert_eq!(name, n);
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(raw).unwrap(), v);
            }
        }
    }
}
