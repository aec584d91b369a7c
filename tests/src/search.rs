//! Looks for secrets where they must not be: raw, in hex, in Base64.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

/// What a secret may look like in a file.
#[derive(Debug)]
pub struct Needles(Vec<Vec<u8>>);

impl Needles {
    /// Every form of a secret of at least 8 bytes; shorter ones are found by accident.
    pub fn of(secret: &[u8]) -> Self {
        assert!(secret.len() >= 8);
        let lower = hex::encode(secret);
        let mut forms = vec![secret.to_vec(), lower.to_uppercase().into_bytes(), lower.into_bytes()];
        // Base64 of a secret in the midst of something depends on where it starts there; letters at the ends mix with what is
        // around it and are cut.
        for ahead in 0..3 {
            let text = STANDARD_NO_PAD.encode([&vec![0; ahead], secret].concat());
            let from = [0, 2, 3][ahead];
            let until = text.len() - [0, 1, 1][(ahead + secret.len()) % 3];
            let inner = text[from..until].to_owned();
            forms.push(inner.replace('+', "-").replace('/', "_").into_bytes());
            forms.push(inner.into_bytes());
        }
        Self(forms)
    }

    /// The forms themselves.
    pub fn forms(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Whether any form is in there.
    pub fn are_in(&self, hay: &[u8]) -> bool {
        self.0.iter().any(|form| memchr::memmem::find(hay, form).is_some())
    }

    /// The files below a directory that hold any form.
    pub fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(self.files(&path)),
                false if self.are_in(&fs::read(&path).unwrap()) => found.push(path),
                false => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_at_every_place() {
        let secret: Vec<u8> = (0xf0..=0xff).chain(0..16).collect();
        let needles = Needles::of(&secret);
        for ahead in 0..4 {
            for behind in 0..4 {
                let hay = [vec![7; ahead], secret.clone(), vec![9; behind]].concat();
                for text in
                    [STANDARD.encode(&hay), URL_SAFE.encode(&hay), hex::encode(&hay), hex::encode_upper(&hay)]
                {
                    assert!(needles.are_in(text.as_bytes()), "{ahead} {behind} {text}");
                }
                assert!(needles.are_in(&hay));
            }
        }
        assert!(!needles.are_in(&[0xf0; 200]));
    }
}
