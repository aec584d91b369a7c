//! The text form of a sealed value, for text columns: `kf1.` and unpadded base64url (RFC 4648 section 5).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::FormatError;

/// What every text form begins with.
pub const PREFIX: &str = "kf1.";

/// The text form of a ciphertext.
pub fn encode(ciphertext: &[u8]) -> String {
    let mut text = String::with_capacity(PREFIX.len() + ciphertext.len().div_ceil(3) * 4);
    text.push_str(PREFIX);
    BASE64_URL_SAFE_NO_PAD.encode_string(ciphertext, &mut text);
    text
}

/// As [`encode`], at the end of a buffer that is used again.
pub fn append(ciphertext: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(PREFIX.as_bytes());
    let start = out.len();
    out.resize(start + (ciphertext.len() * 4).div_ceil(3), 0);
    let written = BASE64_URL_SAFE_NO_PAD.encode_slice(ciphertext, &mut out[start..]);
    // INVARIANT: the room is what unpadded base64 takes.
    debug_assert_eq!(written.ok(), Some(out.len() - start));
}

/// The ciphertext of a text form. Each ciphertext has one text form only: padding and spare bits are refused.
///
/// # Errors
/// Where it is not `kf1.` and unpadded base64url.
pub fn decode(text: &str) -> Result<Vec<u8>, FormatError> {
    let body = text.strip_prefix(PREFIX).ok_or(FormatError::Text)?;
    BASE64_URL_SAFE_NO_PAD.decode(body).map_err(|_| FormatError::Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_form_is_read() {
        assert_eq!(encode(&[0x4B, 0x01, 0xFF]), "kf1.SwH_");
        assert_eq!(decode("kf1.SwH_").unwrap(), [0x4B, 0x01, 0xFF]);
        for other in [
            "",
            "kf1",
            "SwH_",
            "KF1.SwH_",
            "kf1.SwH/",
            "kf1.SwE=",
            "kf1.SwF",
            "kf1. SwH_",
            "kf1.SwH_\n",
            "kf2.SwH_",
        ] {
            assert_eq!(decode(other), Err(FormatError::Text), "{other}");
        }
    }

    proptest! {
        #[test]
        fn text_comes_back_as_it_was(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut appended = b"before".to_vec();
            append(&bytes, &mut appended);
            prop_assert_eq!(appended, format!("before{}", encode(&bytes)).into_bytes());
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn reading_text_never_panics(text in "(kf1\\.)?\\PC{0,40}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
