//! The log's key on disk.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use kms_core::{id::InstanceId, secret::SigningSeed, transparency::NoteSigner};

const KEY_FILE: &str = "log.key";
/// The verifier key, for people to take along.
pub const PUBLIC_FILE: &str = "log.pub";

/// Draws a key and writes both files, neither of which may be there.
pub(super) fn create(directory: &Path, instance: InstanceId) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let seed = SigningSeed::random().map_err(io::Error::other)?;
    write_new(&directory.join(KEY_FILE), 0o600, seed.expose_secret())?;
    let signer = signer(seed, instance)?;
    write_new(&directory.join(PUBLIC_FILE), 0o644, format!("{}\n", signer.verifier()).as_bytes())?;
    fs::File::open(directory)?.sync_all()
}

/// Reads the key, and sees to it that the public file belongs to it.
pub(super) fn load(directory: &Path, instance: InstanceId) -> io::Result<NoteSigner> {
    let mut file = fs::File::open(directory.join(KEY_FILE))?;
    let seed = SigningSeed::filled(|bytes| file.read_exact(bytes))?;
    if file.read(&mut [0])? != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not hold 32 bytes"));
    }
    let signer = signer(seed, instance)?;
    let public = format!("{}\n", signer.verifier());
    if fs::read_to_string(directory.join(PUBLIC_FILE)).ok().as_ref() != Some(&public) {
        tracing::warn!("`{PUBLIC_FILE}` was missing or another one; it is written anew");
        replace(&directory.join(PUBLIC_FILE), public.as_bytes())?;
    }
    Ok(signer)
}

fn signer(seed: SigningSeed, instance: InstanceId) -> io::Result<NoteSigner> {
    let name = format!("keycentre/{instance}").parse().map_err(io::Error::other)?;
    NoteSigner::new(name, seed).map_err(io::Error::other)
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts a whole file in the place of another; durable on return.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_read_again_and_readable_by_its_owner_only() {
        let (dir, instance) = (tempfile::tempdir().unwrap(), InstanceId([1; 16]));
        create(dir.path(), instance).unwrap();
        assert!(create(dir.path(), instance).is_err());
        let mode = fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let public = fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
        assert!(public.starts_with(&format!("keycentre/{instance}+")));
        fs::write(dir.path().join(PUBLIC_FILE), "another").unwrap();
        let read = load(dir.path(), instance).unwrap();
        assert_eq!(format!("{}\n", read.verifier()), public);
        assert_eq!(fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap(), public);
        fs::write(dir.path().join(KEY_FILE), [1; 31]).unwrap();
        assert!(load(dir.path(), instance).is_err());
    }
}
