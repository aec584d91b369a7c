//! Every 32 bytes that might be a key: of raw bytes at every place, and of what runs of hex and Base64 digits decode to.
//!
//! Left out is what has fewer than 16 different byte values, such as zeros and counters, and what is all text: of keys, which are 32
//! random bytes, one in 10^10 has so few values, and one in 10^13 is text.

use crate::Secret;

const WINDOW: usize = 32;
const FEWEST_VALUES: usize = 16;
/// Digits that spell 32 bytes.
const HEX_RUN: usize = 2 * WINDOW;
const BASE64_RUN: usize = (4 * WINDOW).div_ceil(3);

/// The different windows of all stretches, in order.
pub fn of<'a>(stretches: impl IntoIterator<Item = &'a [u8]>) -> Vec<Secret> {
    let mut windows = Vec::new();
    for bytes in stretches {
        slide(bytes, &mut windows);
        for digits in runs(bytes, hex_digit, HEX_RUN) {
            for digits in [&digits[..], &digits[1..]] {
                let decoded: Vec<u8> =
                    digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect();
                slide(&decoded, &mut windows);
            }
        }
        for digits in runs(bytes, base64_digit, BASE64_RUN) {
            for ahead in 0..4 {
                slide(&sextets(&digits[ahead..]), &mut windows);
            }
        }
    }
    windows.sort_unstable();
    windows.dedup();
    windows
}

fn slide(bytes: &[u8], windows: &mut Vec<Secret>) {
    let (mut counts, mut values, mut binary) = ([0u8; 256], 0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        let count = &mut counts[usize::from(*byte)];
        values += usize::from(*count == 0);
        *count += 1;
        binary += usize::from(!is_text(*byte));
        if at + 1 < WINDOW {
            continue;
        }
        let window = &bytes[at + 1 - WINDOW..=at];
        if values >= FEWEST_VALUES
            && binary > 0
            && let Ok(window) = window.try_into()
        {
            windows.push(window);
        }
        let count = &mut counts[usize::from(window[0])];
        *count -= 1;
        values -= usize::from(*count == 0);
        binary -= usize::from(!is_text(window[0]));
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// Values of digits that follow each other, over the ends of lines too.
fn runs(bytes: &[u8], digit: impl Fn(u8) -> Option<u8>, shortest: usize) -> Vec<Vec<u8>> {
    let (mut runs, mut run) = (Vec::new(), Vec::new());
    for byte in bytes.iter().copied().chain([0]) {
        match digit(byte) {
            Some(value) => run.push(value),
            None if byte == b'\n' || byte == b'\r' => {}
            None if run.len() >= shortest => runs.push(std::mem::take(&mut run)),
            None => run.clear(),
        }
    }
    runs
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn base64_digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// What Base64 digits decode to; of the last group as many bytes as are whole.
fn sextets(digits: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(digits.len());
    let (mut bits, mut held) = (0u32, 0);
    for digit in digits {
        (bits, held) = (bits << 6 | u32::from(*digit), held + 6);
        if held >= 8 {
            held -= 8;
            decoded.push((bits >> held) as u8);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE},
    };

    use super::*;

    fn key() -> Secret {
        std::array::from_fn(|at| (at * 37 + 200) as u8)
    }

    #[test]
    fn a_key_is_found_raw_in_hex_and_in_base64_at_every_place() {
        for ahead in 0..4 {
            let hay = [&vec![0xF7; ahead][..], &key(), b"tail"].concat();
            let mut lines = STANDARD.encode(&hay);
            lines.insert_str(20, "\r\n");
            let texts = [
                hex::encode(&hay),
                hex::encode_upper(&hay),
                STANDARD.encode(&hay),
                URL_SAFE.encode(&hay),
                lines,
            ];
            for text in texts {
                let windows = of([format!("x={text};").as_bytes()]);
                assert!(windows.binary_search(&key()).is_ok(), "{ahead} {text}");
            }
            assert!(of([&hay[..]]).binary_search(&key()).is_ok());
            assert!(of([format!("a{}", hex::encode(key())).as_bytes()]).binary_search(&key()).is_ok());
        }
    }

    #[test]
    fn windows_are_few_values_left_out_and_doubles_once() {
        assert!(of([&[0; 500][..], &[1, 2, 3, 4].repeat(50)]).is_empty());
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(of([&bytes[..], &bytes]).len(), 256 - 31 - (95 - 31));
        assert!(of([&bytes[..31]]).is_empty());
        assert!(of([&bytes[0x20..0x7f]]).is_empty());
        assert_eq!(of([&bytes[0x20..0x80]]).len(), 1, "one is not all text");
    }
}
