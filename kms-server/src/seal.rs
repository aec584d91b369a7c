//! The seal file: the secret that wraps all others, 32 bytes in hex or Base64, for its owner's eyes only.
//!
//! Never shows a byte of it, in no error either. Other seals (hardware, shares) take this file's place later.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kms_core::secret::SealSecret;
use zeroize::Zeroizing;

/// 32 bytes in hex take 64, with some room for blanks; longer is another file.
const LONGEST: u64 = 256;

/// Why there is no seal.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read.
    #[error("cannot read the seal file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error("the seal file `{}` has mode {mode:04o}: others can reach it; make it private with `chmod 600`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a regular file.
    #[error("the seal `{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It does not hold 32 bytes in hex or Base64.
    #[error("the seal file `{}` must hold 32 random bytes: 64 digits of hex, or 44 characters of Base64", path.display())]
    WrongForm {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the seal file `{}`: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the seal.
///
/// # Errors
/// When it is absent, exposed, or not 32 bytes.
pub fn load(path: &Path) -> Result<SealSecret, SealError> {
    let unreadable = |source| SealError::Unreadable { path: path.into(), source };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    // The opened file is asked, not the path, which may by now name another.
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(SealError::NotAFile { path: path.into() });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(SealError::Exposed { path: path.into(), mode: facts.mode() & 0o7777 });
    }
    let wrong = || SealError::WrongForm { path: path.into() };
    let mut text = Zeroizing::new(Vec::with_capacity(512));
    Read::by_ref(&mut file).take(LONGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
    let text = text.trim_ascii();
    SealSecret::filled(|secret| match text.len() {
        64 => hex::decode_to_slice(text, secret).map_err(|_| wrong()),
        44 => {
            // 44 characters decode to at most 33 bytes.
            let mut bytes = Zeroizing::new([0; 33]);
            match STANDARD.decode_slice(text, &mut *bytes) {
                Ok(32) => secret.copy_from_slice(&bytes[..32]),
                _ => return Err(wrong()),
            }
            Ok(())
        }
        _ => Err(wrong()),
    })
}

/// Makes a new seal, never over a file that is there, and returns once it would survive power loss.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn create(path: &Path) -> Result<SealSecret, SealError> {
    let unwritable = |source| SealError::Unwritable { path: path.into(), source };
    let secret = SealSecret::random().map_err(|error| unwritable(io::Error::other(error)))?;
    let mut text = Zeroizing::new([0; 65]);
    hex::encode_to_slice(secret.expose_secret(), &mut text[..64])
        .map_err(|error| unwritable(io::Error::other(error)))?;
    text[64] = b'\n';
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(unwritable)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    file.write_all(&*text).map_err(unwritable)?;
    file.sync_all().map_err(unwritable)?;
    // ORDER: a store wrapped under a seal whose name is not on the disk would be lost.
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(unwritable)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_seal_made_here_is_read_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/seal");
        let made = create(&path).unwrap();
        assert_eq!(load(&path).unwrap().expose_secret(), made.expose_secret());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(create(&path), Err(SealError::Unwritable { .. })), "never written over");
        assert_eq!(load(&path).unwrap().expose_secret(), made.expose_secret());
    }

    #[test]
    fn hex_and_base64_are_read_with_blanks_around_them() {
        let bytes: Vec<u8> = (0..32).collect();
        for text in [hex::encode(&bytes), STANDARD.encode(&bytes), format!("  {}\r\n", hex::encode(&bytes))] {
            let (_dir, path) = written(text.as_bytes(), 0o600);
            assert_eq!(load(&path).unwrap().expose_secret()[..], bytes);
        }
    }

    #[test]
    fn another_length_or_alphabet_is_refused_without_showing_it() {
        let long = hex::encode([7; 33]);
        let texts: [&[u8]; 7] = [
            b"",
            b"secret",
            &long.as_bytes()[..62],
            long.as_bytes(),
            &[b'z'; 64],
            &[b'A'; 44],
            &[b'0'; 5000],
        ];
        for text in texts {
            let (_dir, path) = written(text, 0o600);
            let error = load(&path).unwrap_err();
            assert!(matches!(error, SealError::WrongForm { .. }), "{error}");
            assert!(text.len() < 3 || !error.to_string().contains(&*String::from_utf8_lossy(text)));
        }
    }

    #[test]
    fn a_seal_that_others_can_reach_is_refused() {
        for mode in [0o640, 0o604, 0o666, 0o620] {
            let (_dir, path) = written(hex::encode([7; 32]).as_bytes(), mode);
            assert!(matches!(load(&path), Err(SealError::Exposed { mode: m, .. }) if m == mode));
        }
    }

    #[test]
    fn an_absent_seal_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(&dir.path().join("seal")), Err(SealError::Unreadable { .. })));
        assert!(matches!(load(dir.path()), Err(SealError::NotAFile { .. })));
    }
}
