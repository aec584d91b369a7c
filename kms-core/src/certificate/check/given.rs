//! What the one who checks brings along: `pin`, `mirror`, `policy`, and which risks stand for whom.

use std::collections::BTreeSet;

use super::{Case, Finding, Standing, need};
use crate::{
    certificate::{
        body::SaltedName,
        policy::Policy,
        replay::Replayed,
        risks::{self, Risk},
    },
    commitment::{NameSalt, salted_name},
    names::SubjectName,
    transparency::{Checkpoint, Note, VerifierKey, checkpoint::Origin, checkpoint::SignedCheckpoint},
};

/// What the one who checks brings along.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The log's key, from elsewhere than the certificate.
    pub key: Option<VerifierKey>,
    /// A checkpoint of the log, from elsewhere.
    pub pin: Option<Note>,
    /// The whole log.
    pub mirror: Option<Mirror>,
    /// Whose key it is to have been.
    pub name: Option<Named>,
    /// What is asked for, and which risks are accepted.
    pub policy: Option<Policy>,
}

/// A subject, and the salt that came with the certificate.
#[derive(Debug, Clone)]
pub struct Named {
    /// What the subject is called.
    pub name: SubjectName,
    /// The salt.
    pub salt: NameSalt,
}

/// A log that was read from its first entry on.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Its head.
    pub head: Note,
    /// What it came to, or what is wrong with it, as the rest of a sentence.
    pub replayed: Result<Replayed, String>,
}

/// `risks`: it names those that follow from what else it says.
pub(super) fn risks(case: &Case<'_>) -> Finding {
    let named: BTreeSet<Risk> = case.body.risks.iter().copied().collect();
    let missing: Vec<&str> =
        risks::follow(case.body).into_iter().filter(|risk| !named.contains(risk)).map(Risk::as_str).collect();
    need(missing.is_empty(), || {
        format!("It keeps silent about what follows from the rest of it: {}.", missing.join(", "))
    })?;
    Ok("It names every risk that follows from what else it says.".to_owned())
}

/// `pin`: the log is the one whose head the one who checks has seen.
pub(super) fn pin(case: &Case<'_>) -> Option<Finding> {
    case.given.pin.as_ref().map(|note| leads_from(case, note))
}

fn leads_from(case: &Case<'_>, note: &Note) -> Finding {
    let pinned =
        signed_head(case, note).map_err(|why| format!("The checkpoint that you gave with `--pin` {why}."))?;
    let proofs = &case.body.proofs;
    let head = (proofs.checkpoint.size, proofs.checkpoint.root);
    if (pinned.size, pinned.root) == head {
        return Ok("The checkpoint that you gave is the very head that the certificate rests on.".to_owned());
    }
    let earlier = proofs.consistency.iter().find(|earlier| earlier.size == pinned.size);
    if earlier.is_some_and(|earlier| earlier.root == pinned.root) {
        return Ok(format!(
            "The log that the certificate rests on goes on from the checkpoint that you gave, of {} entries.",
            pinned.size
        ));
    }
    let replayed = case.given.mirror.as_ref().and_then(|mirror| mirror.replayed.as_ref().ok());
    // `mirror` says whether the mirror leads to the head.
    if replayed.is_some_and(|log| log.roots.get(&pinned.size) == Some(&pinned.root)) {
        return Ok("The mirror leads from the checkpoint that you gave to the head that the certificate rests on, or from this to that.".to_owned());
    }
    let there = earlier.is_some()
        || pinned.size == head.0
        || replayed.is_some_and(|log| log.roots.contains_key(&pinned.size));
    Err(match there {
        true => format!(
            "The log that the certificate rests on is another one than that of the checkpoint that you gave, of {} entries: the log was forked.",
            pinned.size
        ),
        false if pinned.size < head.0 => format!(
            "The certificate does not lead from the checkpoint that you gave, of {} entries; get it again with `--since` and that checkpoint, or give a mirror.",
            pinned.size
        ),
        false => format!(
            "The checkpoint that you gave, of {} entries, is later than the certificate; give a mirror that leads to it, with `--mirror`.",
            pinned.size
        ),
    })
}

/// `mirror`: the whole log comes to the head, and every state in it to what was signed.
pub(super) fn mirror(case: &Case<'_>) -> Option<Finding> {
    case.given.mirror.as_ref().map(|mirror| replayed(case, mirror))
}

fn replayed(case: &Case<'_>, mirror: &Mirror) -> Finding {
    let head =
        signed_head(case, &mirror.head).map_err(|why| format!("The checkpoint of the mirror {why}."))?;
    let log = mirror.replayed.as_ref().map_err(|why| format!("In the mirror, {why}."))?;
    need((log.size, log.root) == (head.size, head.root), || {
        "The entries of the mirror do not come to its checkpoint.".to_owned()
    })?;
    need(log.instance == case.body.instance, || {
        "The log in the mirror was begun by another key centre.".to_owned()
    })?;
    let own = &case.body.proofs.checkpoint;
    need(own.size <= log.size, || {
        format!(
            "The mirror has {} entries, and the certificate rests on a log of {}; run `kms log mirror` again.",
            log.size, own.size
        )
    })?;
    need(log.roots.get(&own.size) == Some(&own.root), || {
        "The mirror is of another log than the one that the certificate rests on: the log was forked."
            .to_owned()
    })?;
    Ok(format!(
        "All {} entries of the mirror were read; they come to its head and to the certificate's, and the committed states of all {} epochs follow from them.",
        log.size, log.epochs
    ))
}

/// The head that a note is, if the log's key signed it.
fn signed_head(case: &Case<'_>, note: &Note) -> Result<Checkpoint, String> {
    let origin: Origin = case.key.name().as_str().parse().map_err(|_| "has no log".to_owned())?;
    let keys = [case.key.clone()];
    let opened = SignedCheckpoint::open(note.to_string().as_bytes(), &origin, &keys);
    match opened {
        Ok(signed) => Ok(signed.checkpoint().clone()),
        Err(error) => Err(format!("is not one that this log's key signed: {error}")),
    }
}

/// `name`: the key was that of the subject whom the one who checks names.
pub(super) fn name(case: &Case<'_>) -> Option<Finding> {
    case.given.name.as_ref().map(|given| was_of(case, given))
}

fn was_of(case: &Case<'_>, Named { name, salt }: &Named) -> Finding {
    let carried = case.body.key().and_then(|key| key.name.as_ref());
    let Some(SaltedName { subject_name }) = carried else {
        return Err("It carries no subject's name; ask for it by the name, and not by the id.".to_owned());
    };
    need(*subject_name == salted_name(salt, name), || {
        "The name that you gave does not come, with this salt, to the one that it carries: it is about somebody else, or the salt is that of another certificate.".to_owned()
    })?;
    Ok("The key centre signed that the key was that of the subject whom you named.".to_owned())
}

/// `policy`: what the one who checks asks for.
pub(super) fn policy(case: &Case<'_>) -> Option<Finding> {
    case.given.policy.as_ref().map(|policy| satisfies(case, policy))
}

fn satisfies(case: &Case<'_>, policy: &Policy) -> Finding {
    let body = case.body;
    if let Some(key) = &policy.log_key {
        need(*key == case.key, || "The log's key is not the one that the policy names.".to_owned())?;
    }
    for medium in &body.effaceable {
        need(medium.class >= policy.minimum_class, || {
            format!(
                "The medium of entry {} is of class `{}`, and the policy asks for `{}` at least.",
                medium.effacement, medium.class, policy.minimum_class
            )
        })?;
    }
    for request in &body.request {
        let approvals: BTreeSet<&str> = request.approvals.iter().map(|who| who.as_str()).collect();
        need(approvals.len() as u64 >= policy.approvals, || {
            format!(
                "The destruction of entry {} has {} approvals, and the policy asks for {}.",
                request.destroy,
                approvals.len(),
                policy.approvals
            )
        })?;
    }
    Ok("It is what the policy asks for.".to_owned())
}

/// The risks that stand for the one who checks: some of those that it names, and some that only they can lift.
pub(super) fn standing(case: &Case<'_>) -> Vec<Standing> {
    let (given, body) = (case.given, case.body);
    let none = Policy::default();
    let policy = given.policy.as_ref().unwrap_or(&none);
    let mut risks: BTreeSet<Risk> = body.risks.iter().copied().collect();
    let mut stands = |risk, stands| {
        if stands {
            risks.insert(risk)
        } else {
            risks.remove(&risk)
        };
    };
    stands(Risk::LogNotReplayed, given.mirror.is_none());
    stands(Risk::LogKeyUnconfirmed, given.key.is_none() && given.pin.is_none() && policy.log_key.is_none());
    let trusted: BTreeSet<String> = policy.witnesses.iter().map(ToString::to_string).collect();
    let cosignatures = &body.proofs.checkpoint.cosignatures;
    if !cosignatures.iter().any(|cosignature| trusted.contains(cosignature.key.as_str())) {
        risks.extend([Risk::NoWitness, Risk::RestoreUnwitnessed]);
    }
    let accepted = |risk: &Risk| policy.accept.contains(risk);
    risks.iter().map(|risk| Standing { risk: *risk, accepted: accepted(risk) }).collect()
}
