//! `kms cert get`

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use kms_client::api::Gone;
use kms_core::{
    state::LifecycleState,
    transparency::{Checkpoint, Note},
};
use serde_json::json;

use crate::{
    args::GetCert,
    failure::{Exit, Failure},
    print,
    session::Session,
    whole_file::{Readers, WholeFile},
};

/// Gets a certificate into a file.
///
/// # Errors
/// Those of the call, and where the file cannot be written.
pub async fn get(what: GetCert, session: &Session) -> Result<Exit, Failure> {
    let earlier = what.since.iter().map(|file| size(file)).collect::<Result<Vec<_>, _>>()?;
    let kms = session.connect().await?;
    let gone = match (what.key, what.version) {
        (None, _) => match what.uid {
            Some(uid) => Gone::FormerTenant(what.tenant, uid),
            None => Gone::Tenant(what.tenant),
        },
        (Some(key), None) => Gone::Key(what.tenant, key),
        (Some(key), Some(version)) => Gone::Version(what.tenant, key, version),
    };
    if let Some(wait) = what.wait {
        let until = Instant::now() + wait;
        // One call waits no longer than its deadline allows.
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now()).min(session.longest_wait());
            if kms.wait_for_erasure(&gone, left).await? == LifecycleState::Erased {
                break;
            }
        }
    }
    let certificate = kms.certificate(&gone, &earlier).await?;
    save(&what.out, &certificate.file)?;
    if !certificate.name_salt.is_empty() {
        save_salt(what.salt.as_deref(), &what.out, &certificate.name_salt)?;
    }
    if what.out != Path::new("-") {
        let state = if certificate.erased { "erased" } else { "pending" };
        session.answer(
            || json!({ "state": state, "file": what.out }),
            || match certificate.erased {
                true => format!("erased: the certificate is in {}; check it with `kms verify`", what.out.display()),
                false => format!(
                    "pending: leases run still, or secrets are to be effaced; what is known so far is in {}; get it again later, or with `--wait`",
                    what.out.display()
                ),
            },
        )?;
    }
    Ok(Exit::Done)
}

/// Writes a salt as a line of hexadecimal digits, for its owner only: with it, guesses at the name can be tested.
fn save_salt(salt: Option<&Path>, out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = || {
        let mut name = out.as_os_str().to_owned();
        name.push(".salt");
        PathBuf::from(name)
    };
    let place = match salt {
        Some(salt) => salt.to_owned(),
        // Beside standard output there is no place; without the salt the name is as good as not in it.
        None if out == Path::new("-") => return Ok(()),
        None => beside(),
    };
    let mut file = WholeFile::create(&place, Readers::Owner)?;
    file.write_all(format!("{}\n", hex::encode(bytes)).as_bytes()).and_then(|()| file.finish()).map_err(
        |error| Failure::failed("INPUT_OUTPUT", format!("cannot write to `{}`: {error}", place.display())),
    )
}

/// How many entries a checkpoint speaks of.
fn size(file: &Path) -> Result<u64, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    let read = Note::parse(&bytes).ok().and_then(|note| Checkpoint::parse(note.text()).ok());
    let read = read.ok_or_else(|| Failure::usage(format!("`{}` is not a checkpoint", file.display())))?;
    Ok(read.size)
}

/// Writes a public file, whole or not at all.
pub(super) fn save(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if out == Path::new("-") {
        return print::bytes(bytes);
    }
    let mut file = WholeFile::create(out, Readers::Mode(0o644))?;
    file.write_all(bytes).and_then(|()| file.finish()).map_err(|error| {
        Failure::failed("INPUT_OUTPUT", format!("cannot write to `{}`: {error}", out.display()))
    })
}
