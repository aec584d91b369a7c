//! `kms encrypt`, `kms decrypt`, `kms reencrypt`: bytes from stdin to stdout.

use std::io::{IsTerminal as _, Read as _};

use kms_client::api::{Binding, ReEncrypt};
use zeroize::Zeroizing;

use crate::{args, failure::Failure, print, session::Session, words};

/// Most bytes of a value that one call takes.
const MAX_PAYLOAD: usize = 64 << 10;
/// What sealing adds at most.
const OVERHEAD: usize = 74;

/// Seals stdin.
///
/// # Errors
/// Those of the call; where the value is too long for one.
pub async fn encrypt(command: args::Crypt, session: &Session) -> Result<(), Failure> {
    refuse_terminal()?;
    let binding = Binding::Direct(words::context(&command.context)?);
    let with = command.with;
    let kms = session.connect().await?;
    let plaintext = stdin(MAX_PAYLOAD)?;
    let sealed = kms.encrypt(&with.tenant, &with.key, &binding, &plaintext).await?;
    print::bytes(&sealed.ciphertext)
}

/// Opens stdin.
///
/// # Errors
/// Those of the call.
pub async fn decrypt(command: args::Crypt, session: &Session) -> Result<(), Failure> {
    let binding = Binding::Direct(words::context(&command.context)?);
    let with = command.with;
    let kms = session.connect().await?;
    let ciphertext = stdin(MAX_PAYLOAD + OVERHEAD)?;
    let opened = kms.decrypt(&with.tenant, &with.key, &binding, &ciphertext).await?;
    print::bytes(&opened.plaintext)
}

/// Opens and seals stdin again.
///
/// # Errors
/// Those of the call.
pub async fn reencrypt(command: args::Reencrypt, session: &Session) -> Result<(), Failure> {
    refuse_terminal()?;
    let args::Reencrypt { from, to_key, to_context, no_context } = command;
    let source_binding = Binding::Direct(words::context(&from.context)?);
    let moves = no_context || !to_context.is_empty();
    let destination_binding = if moves { Some(Binding::Direct(words::context(&to_context)?)) } else { None };
    let kms = session.connect().await?;
    let ciphertext = stdin(MAX_PAYLOAD + OVERHEAD)?;
    let how = ReEncrypt { source_binding, destination_key: to_key, destination_binding };
    let sealed = kms.reencrypt(&from.with.tenant, &from.with.key, &ciphertext, &how).await?;
    print::bytes(&sealed.ciphertext)
}

/// A ciphertext is binary: a terminal would obey it, and nobody could copy it from there.
fn refuse_terminal() -> Result<(), Failure> {
    match std::io::stdout().is_terminal() {
        true => Err(Failure::usage(
            "the ciphertext is binary and stdout is a terminal; send it to a file: `> FILE`",
        )),
        false => Ok(()),
    }
}

fn stdin(most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    std::io::stdin()
        .lock()
        .take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::failed("INPUT_OUTPUT", format!("cannot read standard input: {e}")))?;
    match bytes.len() > most {
        true => Err(Failure::new(
            crate::failure::Exit::Usage,
            "PAYLOAD_TOO_LARGE",
            "standard input holds more than 64 KiB; use `kms seal-file` and `kms open-file`",
        )),
        false => Ok(bytes),
    }
}
