//! `kms encrypt`, `kms decrypt`, `kms reveal`, `kms reencrypt`: bytes from stdin to stdout.

use std::io::{IsTerminal as _, Read as _};

use kms_client::{
    Column, RecordId,
    api::{Binding, Masked, ReEncrypt},
    text,
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{args, failure::Failure, print, session::Session, words};

/// Most bytes of a value that one call takes.
const MAX_PAYLOAD: usize = 64 << 10;
/// Most bytes of a sealed value as text.
const MAX_TEXT: usize = (MAX_PAYLOAD + OVERHEAD).div_ceil(3) * 4 + 8;
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

/// Shows what may be seen of stdin.
///
/// # Errors
/// Those of the call.
pub async fn reveal(command: args::Reveal, session: &Session) -> Result<(), Failure> {
    let args::Reveal { with, table, column, record } = command;
    let names = |error: kms_client::NameError| Failure::usage(error.to_string());
    let column = Column::randomized(table.as_str(), column.as_str()).map_err(names)?;
    let record = RecordId::try_from(record.as_bytes()).map_err(names)?;
    let kms = session.connect().await?;
    let ciphertext = sealed_value(&stdin(MAX_TEXT)?)?;
    let records = kms.records(&with.tenant, &with.key);
    let masked = records.reveal(&column, &record, &ciphertext).await?;
    let Masked { text, form, version } = &masked;
    session.answer(|| json!({ "text": text, "form": form, "version": version }), || print::harmless(text))
}

/// A ciphertext in either of its forms.
fn sealed_value(given: &[u8]) -> Result<Vec<u8>, Failure> {
    match std::str::from_utf8(given).map(str::trim) {
        Ok(typed) if typed.starts_with(text::PREFIX) => text::decode(typed).map_err(|_| {
            Failure::failed("CIPHERTEXT_MALFORMED", "standard input is no `kf1.` text, or was cut")
        }),
        _ => Ok(given.to_vec()),
    }
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
