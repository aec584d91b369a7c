//! Looks for secrets where they must not be: raw, in hex, in Base64; text in UTF-16 too.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use aho_corasick::AhoCorasick;
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

    /// Every form of a text, also in UTF-16.
    pub fn of_text(text: &str) -> Self {
        let Self(mut forms) = Self::of(text.as_bytes());
        forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        forms.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
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

/// Needles of many secrets, looked for in one pass.
#[derive(Debug)]
pub struct ManyNeedles {
    automaton: AhoCorasick,
    /// Whose each pattern is.
    secrets: Vec<usize>,
}

impl ManyNeedles {
    /// Of these, numbered as they come.
    pub fn of(needles: &[Needles]) -> Self {
        let forms = needles
            .iter()
            .enumerate()
            .flat_map(|(secret, needles)| needles.forms().iter().map(move |form| (secret, form.as_slice())));
        let (secrets, forms): (Vec<usize>, Vec<&[u8]>) = forms.unzip();
        Self { automaton: AhoCorasick::new(forms).unwrap(), secrets }
    }

    /// The secrets of which any form is in there.
    pub fn found_in(&self, hay: &[u8]) -> BTreeSet<usize> {
        self.automaton
            .find_overlapping_iter(hay)
            .map(|found| self.secrets[found.pattern().as_usize()])
            .collect()
    }

    /// The secrets of which any form is in a file below a directory.
    pub fn found_below(&self, directory: &Path) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                found.extend(self.found_below(&entry.path()));
            } else if kind.is_file() {
                found.extend(self.found_in(&fs::read(entry.path()).unwrap()));
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

    #[test]
    fn many_secrets_are_told_apart_in_one_pass() {
        let texts = ["Zoë Übermüller", "138 0013 8000", "not in there"];
        let needles = ManyNeedles::of(&texts.map(Needles::of_text));
        let wide: Vec<u8> = texts[0].encode_utf16().flat_map(u16::to_be_bytes).collect();
        let hay = [&wide[..], b"..", hex::encode_upper(texts[1]).as_bytes()].concat();
        assert_eq!(needles.found_in(&hay), BTreeSet::from([0, 1]));
        assert_eq!(needles.found_in(&wide), BTreeSet::from([0]));
        assert!(needles.found_in(b"138 0013 800").is_empty());

        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        fs::write(dir.path().join("deep/file"), &wide[2..]).unwrap();
        assert!(needles.found_below(dir.path()).is_empty());
        fs::write(dir.path().join("deep/file"), STANDARD.encode(texts[1])).unwrap();
        assert_eq!(needles.found_below(dir.path()), BTreeSet::from([1]));
    }
}
