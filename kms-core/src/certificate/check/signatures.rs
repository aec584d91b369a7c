//! `certificate-signature`, `log-key`, `checkpoint`: who signed what.

use super::{Case, Finding, need};
use crate::{
    certificate::{body::Body, proofs::Cosignature},
    transparency::{
        Checkpoint, KeyId, NoteSignature, VerifierKey, WitnessKey, checkpoint::Origin, key::KeyError,
    },
};

/// The log's key, as the certificate says it.
pub(super) fn key(body: &Body) -> Result<VerifierKey, String> {
    let key = body.log.key.as_str().parse();
    key.map_err(|error: KeyError| {
        format!("The log's key in the certificate is none that signs a log: {error}.")
    })
}

pub(super) fn certificate(case: &Case<'_>) -> Finding {
    need(case.key.has_signed(&case.body.message(), case.signature), || {
        "The signature is not one of the log's key over this certificate: it was changed, or never signed."
            .to_owned()
    })?;
    Ok(format!("The log's key {}+{} signed the certificate as it stands.", case.key.name(), case.key.id()))
}

pub(super) fn log_key(case: &Case<'_>) -> Finding {
    let own = format!("keycentre/{}", case.body.instance);
    need(case.key.name().as_str() == own, || {
        "The log's key belongs to another key centre than the one that the certificate names.".to_owned()
    })?;
    match &case.given.key {
        Some(given) => {
            need(*given == case.key, || {
                "The log's key in the certificate is not the one that you gave with `--key`.".to_owned()
            })?;
            Ok("The log's key is the one that you gave, and belongs to the key centre named.".to_owned())
        }
        None => Ok("The log's key belongs to the key centre named.".to_owned()),
    }
}

pub(super) fn checkpoint(case: &Case<'_>) -> Finding {
    let head = &case.body.proofs.checkpoint;
    let text = text(case)?;
    let (id, signature) = split::<4>(&head.signature);
    let line = NoteSignature::new(case.key.name().clone(), KeyId(id), signature);
    case.key.verify(&text, &line).map_err(|_| "The log's head is not signed by the log's key.".to_owned())?;
    let mut names = Vec::new();
    for cosignature in &head.cosignatures {
        names.push(cosigned(&text, cosignature)?);
    }
    Ok(match names.as_slice() {
        [] => format!("The log's key signed the log's head, of {} entries.", head.size),
        names => format!(
            "The log's key signed the log's head, of {} entries, and so did {}.",
            head.size,
            names.join(", ")
        ),
    })
}

/// The head as it is signed.
fn text(case: &Case<'_>) -> Result<String, String> {
    let head = &case.body.proofs.checkpoint;
    let origin: Origin = case
        .key
        .name()
        .as_str()
        .parse()
        .map_err(|_| "The log's key has a name that no log can have.".to_owned())?;
    Ok(Checkpoint { origin, size: head.size, root: head.root }.to_string())
}

fn cosigned(text: &str, cosignature: &Cosignature) -> Finding {
    let key = cosignature.key.as_str();
    let witness: WitnessKey =
        key.parse().map_err(|error| format!("The key of a witness, `{key}`, is none: {error}."))?;
    let (id, signature) = split::<4>(&cosignature.signature);
    let line = NoteSignature::new(witness.name().clone(), KeyId(id), signature);
    let held = witness.verify(text, &line);
    held.map_err(|_| {
        format!("The signature of the witness {} does not belong to this head.", witness.name())
    })?;
    Ok(witness.name().to_string())
}

fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    bytes.split_first_chunk().map_or(([0; N], bytes), |(first, rest)| (*first, rest))
}
