//! What is equal to what: text is brought to one form before it is hashed, when it is stored and when it is searched for.
//!
//! INVARIANT: what a normalizer does to a text never changes; rows indexed before would no longer be found. Another rule gets another
//! name. Characters that Unicode assigns later are the one exception that cannot be helped.

use std::{fmt, str::FromStr};

use kms_core::secret::Plaintext;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// A rule that brings text to one form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Normalizer {
    /// `none`: as it is.
    #[default]
    None,
    /// `lower`: NFC, lower case (Unicode, by no language's special rules), NFC, without white space at both ends.
    Lower,
    /// `digits`: the decimal digits, as ASCII; the rest is left out. ASCII, full-width and Arabic digits count.
    Digits,
    /// `phone`: digits, with `+` before them where the number starts with `+` or `00`, which is left out; after either, a trunk `(0)`
    /// is left out too. A national number stays one: it does not equal the same number with its country code.
    Phone,
    /// `email`: as `lower`, and without a full stop at the end. Two spellings of a local part that one provider holds for the same
    /// stay two.
    Email,
}

/// No normalizer has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no normalizer is called {0:?}; there are none, lower, digits, phone and email")]
pub struct UnknownNormalizer(Box<str>);

impl Normalizer {
    /// All there are.
    pub const ALL: &'static [Self] = &[Self::None, Self::Lower, Self::Digits, Self::Phone, Self::Email];

    /// Its name, as attributes and configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lower => "lower",
            Self::Digits => "digits",
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    /// A value as it is sealed, in its one form. What is no text has one form already.
    pub(crate) fn normalize_bytes(self, value: &[u8]) -> Plaintext {
        match std::str::from_utf8(value) {
            Ok(text) => self.normalize(text),
            Err(_) => value.to_vec().into(),
        }
    }

    /// The text in its one form; wiped when dropped.
    pub fn normalize(self, text: &str) -> Plaintext {
        match self {
            Self::None => text.as_bytes().to_vec().into(),
            Self::Lower => lower(text).trim().as_bytes().to_vec().into(),
            Self::Digits => written(text, text.chars().filter_map(digit)),
            Self::Phone => phone(text),
            Self::Email => {
                let lower = lower(text);
                let address = lower.trim();
                address.strip_suffix('.').unwrap_or(address).as_bytes().to_vec().into()
            }
        }
    }
}

/// Composed anew after lower case, which can leave text decomposed.
fn lower(text: &str) -> Zeroizing<String> {
    let composed = collected(text.nfc(), text);
    let lower = Zeroizing::new(composed.to_lowercase());
    collected(lower.nfc(), &lower)
}

fn phone(text: &str) -> Plaintext {
    let plus = |c: char| matches!(c, '+' | '＋');
    let rest = text.trim_start_matches(|c: char| !plus(c) && digit(c).is_none());
    let (international, rest) = match rest.strip_prefix(plus) {
        Some(rest) => (true, rest),
        None => after_two_zeros(rest).map_or((false, rest), |rest| (true, rest)),
    };
    if !international {
        return written(rest, rest.chars().filter_map(digit));
    }
    let (before, after) = rest.split_once("(0)").unwrap_or((rest, ""));
    written(text, std::iter::once('+').chain(before.chars().chain(after.chars()).filter_map(digit)))
}

/// What follows the international prefix `00`, whose zeros may stand apart.
fn after_two_zeros(text: &str) -> Option<&str> {
    let mut digits = text.char_indices().filter_map(|(at, c)| Some((at + c.len_utf8(), digit(c)?)));
    match (digits.next()?, digits.next()?) {
        ((_, '0'), (end, '0')) => text.get(end..),
        _ => None,
    }
}

/// A decimal digit, as ASCII.
fn digit(c: char) -> Option<char> {
    let zero = match c {
        '0'..='9' => '0',
        '\u{FF10}'..='\u{FF19}' => '\u{FF10}',
        '\u{0660}'..='\u{0669}' => '\u{0660}',
        '\u{06F0}'..='\u{06F9}' => '\u{06F0}',
        _ => return None,
    };
    char::from_digit(c as u32 - zero as u32, 10)
}

fn written(text: &str, chars: impl Iterator<Item = char>) -> Plaintext {
    std::mem::take(&mut *collected(chars, text)).into_bytes().into()
}

/// With room for all from the start: a string that grows leaves copies of its beginning behind.
fn collected(chars: impl Iterator<Item = char>, of: &str) -> Zeroizing<String> {
    let mut collected = Zeroizing::new(String::with_capacity(4 * of.len() + 8));
    chars.for_each(|c| collected.push(c));
    collected
}

impl fmt::Display for Normalizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Normalizer {
    type Err = UnknownNormalizer;
    fn from_str(name: &str) -> Result<Self, UnknownNormalizer> {
        let named = Self::ALL.iter().find(|normalizer| normalizer.as_str() == name);
        named.copied().ok_or_else(|| UnknownNormalizer(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(normalizer: Normalizer, text: &str) -> String {
        String::from_utf8(normalizer.normalize(text).to_vec()).unwrap()
    }

    /// Normalizer, text, its one form. Lines are only added: rows are indexed by these rules.
    const VECTORS: &[(Normalizer, &str, &str)] = &[
        (Normalizer::None, "", ""),
        (Normalizer::None, " Zoë ", " Zoë "),
        (Normalizer::Lower, "", ""),
        (Normalizer::Lower, "  MÜLLER\t", "müller"),
        (Normalizer::Lower, "Zoe\u{308}", "zoë"),
        (Normalizer::Lower, "ΟΔΟΣ", "οδος"),
        (Normalizer::Lower, "İzmir", "i\u{307}zmir"),
        (Normalizer::Lower, "STRASSE", "strasse"),
        (Normalizer::Lower, "Straße", "straße"),
        (Normalizer::Lower, "\u{3000}王 小明\u{3000}", "王 小明"),
        (Normalizer::Digits, "078-05-1120", "078051120"),
        (Normalizer::Digits, "１３８ 0013", "1380013"),
        (Normalizer::Digits, "٠١٢ ۳۴۵", "012345"),
        (Normalizer::Digits, "none", ""),
        (Normalizer::Phone, "138 0013 8000", "13800138000"),
        (Normalizer::Phone, "+86 138-0013-8000", "+8613800138000"),
        (Normalizer::Phone, "0086 (138) 0013.8000", "+8613800138000"),
        (Normalizer::Phone, "＋86１３８00138000", "+8613800138000"),
        (Normalizer::Phone, "tel:+44 (0)20 7946 0018", "+442079460018"),
        (Normalizer::Phone, "(020) 7946 0018", "02079460018"),
        (Normalizer::Phone, "(+44) 20 7946 0018", "+442079460018"),
        (Normalizer::Phone, "0", "0"),
        (Normalizer::Phone, "", ""),
        (Normalizer::Email, " Anna.Li+x@Example.COM. ", "anna.li+x@example.com"),
        (Normalizer::Email, "Ø@EXAMPLE.com", "ø@example.com"),
    ];

    #[test]
    fn texts_come_to_the_forms_of_the_vectors_and_forms_stay_as_they_are() {
        for (normalizer, text, form) in VECTORS {
            assert_eq!(normalized(*normalizer, text), *form, "{normalizer} of {text:?}");
            assert_eq!(normalized(*normalizer, form), *form, "{normalizer} of its own {form:?}");
        }
    }

    #[test]
    fn unequal_values_keep_unequal_forms() {
        let differ = [
            (Normalizer::None, "a", "A"),
            (Normalizer::Lower, "a b", "ab"),
            (Normalizer::Digits, "12", "21"),
            (Normalizer::Phone, "138 0013 8000", "+86 138 0013 8000"),
            (Normalizer::Phone, "020 7946", "20 7946"),
            (Normalizer::Email, "a.b@example.com", "ab@example.com"),
        ];
        for (normalizer, one, other) in differ {
            assert_ne!(normalized(normalizer, one), normalized(normalizer, other), "{normalizer}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_refused() {
        for normalizer in Normalizer::ALL {
            assert_eq!(normalizer.to_string().parse(), Ok(*normalizer));
        }
        let error = "Phone".parse::<Normalizer>().unwrap_err();
        assert!(error.to_string().contains("none, lower, digits, phone and email"), "{error}");
    }
}
