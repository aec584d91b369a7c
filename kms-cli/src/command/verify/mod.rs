//! `kms verify`: whether a certificate of destruction holds. Reads files and nothing else: no network, no profile.
//!
//! # Layout
//! - `policy`: what the one who checks asks for, from TOML; `mirror`: a whole log, from a directory.
//! - `text`: what was found, for people and for programs; [`report`]: the same as a page to file.

mod mirror;
mod policy;
pub mod report;
mod text;

use std::{fs, io::Read as _, path::Path, str::FromStr, time::SystemTime};

use kms_core::{
    certificate::{
        Certificate, MAX_FILE,
        check::{self, Given, Verdict, given::Named},
        replay::Watch,
    },
    commitment::NameSalt,
    transparency::{Checkpoint, Note, VerifierKey, note::MAX_NOTE},
};

use super::cert::save;
use crate::{
    args,
    failure::{Exit, Failure},
    session::Session,
    whole_file::open_input,
};

/// Checks a certificate, and says what was found.
///
/// # Errors
/// Where a file cannot be read or is not what it should be, and where the report cannot be written: wrong usage all of it, for 1 is
/// what an invalid certificate ends with.
pub fn run(what: &args::Verify, session: &Session) -> Result<Exit, Failure> {
    verify(what, session).map_err(|failure| Failure { exit: Exit::Usage, ..failure })
}

fn verify(what: &args::Verify, session: &Session) -> Result<Exit, Failure> {
    let file = read(&what.certificate, MAX_FILE + 1)?;
    let given = given(what, &file)?;
    let outcome = check::verify(&file, &given);
    if let Some(out) = &what.report {
        let page = report::page(&outcome, &given, &file, SystemTime::now());
        save(out, page.as_bytes())?;
    }
    session.answer(|| text::json(&outcome), || text::people(&outcome))?;
    Ok(match outcome.verdict {
        Verdict::Erased => Exit::Done,
        Verdict::Residual => Exit::Residual,
        Verdict::Pending => Exit::Pending,
        Verdict::Invalid => Exit::Failed,
    })
}

fn given(what: &args::Verify, certificate: &[u8]) -> Result<Given, Failure> {
    let key = what.key.as_deref().map(key).transpose()?;
    let policy = what.policy.as_deref().map(policy::load).transpose()?;
    let pin = what.pin.as_deref().map(checkpoint).transpose()?;
    let mirror = match &what.mirror {
        None => None,
        Some(dir) => {
            let read = Certificate::from_file(certificate);
            let mut watch = read.map(|certificate| Watch::of(&certificate)).unwrap_or_default();
            watch.sizes.extend(pin.as_ref().map(|(_, head)| head.size));
            Some(mirror::read(dir, watch)?)
        }
    };
    let name = match (&what.name, &what.salt) {
        (Some(name), Some(file)) => Some(Named { name: name.clone(), salt: salt(file)? }),
        _ => None,
    };
    Ok(Given { key, policy, pin: pin.map(|(note, _)| note), mirror, name })
}

/// A salt, a line of hexadecimal digits.
fn salt(file: &Path) -> Result<NameSalt, Failure> {
    let text = text(file)?;
    let bytes = hex::decode(text.strip_suffix('\n').unwrap_or(&text)).ok();
    bytes.and_then(|bytes| NameSalt::try_from(bytes).ok()).ok_or_else(|| {
        Failure::usage(format!(
            "`{}` is not a salt: `kms cert get` writes one beside the certificate of a subject",
            file.display()
        ))
    })
}

/// The log's key, a line.
fn key(file: &Path) -> Result<VerifierKey, Failure> {
    let text = text(file)?;
    VerifierKey::from_str(text.strip_suffix('\n').unwrap_or(&text)).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not the key of a log: {error}\n`kms log key` writes such a file",
            file.display()
        ))
    })
}

/// A checkpoint, with what it says; who signed it is for the check to say.
fn checkpoint(file: &Path) -> Result<(Note, Checkpoint), Failure> {
    let no = |why: String| {
        Failure::usage(format!(
            "`{}` is not a checkpoint: {why}\n`kms log checkpoint` writes such a file",
            file.display()
        ))
    };
    let note = Note::parse(&read(file, MAX_NOTE + 1)?).map_err(|error| no(error.to_string()))?;
    let head = Checkpoint::parse(note.text()).map_err(|error| no(error.to_string()))?;
    Ok((note, head))
}

/// A small file that a person may have written.
fn text(file: &Path) -> Result<String, Failure> {
    String::from_utf8(read(file, 1 << 20)?)
        .map_err(|_| Failure::usage(format!("`{}` is not text in UTF-8", file.display())))
}

/// A file, up to so many bytes.
fn read(file: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let read = open_input(file)?.take(most).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    Ok(bytes)
}

/// Whether there is a file to read at all.
fn is_there(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file())
}
