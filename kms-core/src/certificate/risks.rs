//! What a certificate leaves open, by name.

use super::{
    body::{Body, MediumClass, Scope},
    part::words,
};
use crate::state::KeyClass;

// INVARIANT: variants stand in the order of their names, so that a sorted list of them is a list sorted by name.
words! {
    /// A residual risk.
    Risk {
        /// The audit of the key's uses was written without waiting for the disk.
        AuditWritten = "audit-written",
        /// Material crossed a connection that a later quantum computer could open.
        ClassicalKeyExchange = "classical-key-exchange",
        /// Nobody but the key centre vouches for the times.
        ClockUnproven = "clock-unproven",
        /// Data keys that the version derived were handed out.
        DerivedCopies = "derived-copies",
        /// The material was exported while it lived.
        Exported = "exported",
        /// The material came from elsewhere, where it may still lie.
        ImportedOriginal = "imported-original",
        /// A blind index or deterministic column under a longer-lived key outlives this one.
        IndexValues = "index-values",
        /// The log's key was not compared with one from elsewhere.
        LogKeyUnconfirmed = "log-key-unconfirmed",
        /// The whole log was not read.
        LogNotReplayed = "log-not-replayed",
        /// The medium is of a kind that overwriting does not surely reach.
        MediumNone = "medium-none",
        /// Memory, swap or a core dump may hold a copy.
        MemorySwapCore = "memory-swap-core",
        /// A subject's name can be guessed and compared, while its tenant lives.
        NameGuessable = "name-guessable",
        /// The store could be replaced by an older one without this being noticed.
        NoRollbackProtection = "no-rollback-protection",
        /// No independent witness has seen the checkpoint.
        NoWitness = "no-witness",
        /// A restored backup could have brought the key back, unseen.
        RestoreUnwitnessed = "restore-unwitnessed",
        /// Sealed rows of one subject can still be grouped.
        RowsLinkable = "rows-linkable",
        /// The token may have a backup.
        TokenBackup = "token-backup",
        /// The token is software.
        TokenSoftware = "token-software",
    }
}

/// Those that follow from what else a certificate says: one that does not name them is invalid.
pub fn follow(body: &Body) -> Vec<Risk> {
    let media = &body.effaceable;
    let unwitnessed = body.proofs.checkpoint.cosignatures.is_empty();
    let class = body.key().map(|key| key.class);
    let of_subject = body.key().is_some_and(|key| key.key.subject().is_some());
    // Where it went with its tenant, so did what a guess is tested against.
    let tenant_lived = body.request.iter().any(|request| request.scope != Scope::Tenant);
    let facts = [
        (Risk::AuditWritten, matches!(class, Some(KeyClass::L1 | KeyClass::L2))),
        (Risk::DerivedCopies, body.versions().iter().any(|version| version.data_keys_issued > 0)),
        (Risk::MediumNone, media.iter().any(|medium| medium.class == MediumClass::None)),
        (Risk::NameGuessable, of_subject && tenant_lived),
        (Risk::NoWitness, unwitnessed),
        (Risk::RestoreUnwitnessed, unwitnessed),
        (Risk::RowsLinkable, of_subject),
        (Risk::TokenSoftware, media.iter().any(|medium| medium.assurance.as_str().contains("software"))),
    ];
    facts.into_iter().filter(|(_, holds)| *holds).map(|(risk, _)| risk).collect()
}

impl Risk {
    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AuditWritten => {
                "Uses of the key were recorded without waiting for the disk (class L1 or L2): a power loss can have taken the last lines of the audit."
            }
            Self::ClassicalKeyExchange => {
                "Key material crossed a connection without post-quantum key exchange: whoever recorded it may open it one day."
            }
            Self::ClockUnproven => "All times are those of the key centre's own clock.",
            Self::DerivedCopies => {
                "Data keys were handed out to applications; whether those forgot theirs when the lease ended is theirs to say."
            }
            Self::Exported => "The key was exported while it lived, and may live on where it went.",
            Self::ImportedOriginal => "The key was made elsewhere, and may live on where it came from.",
            Self::IndexValues => {
                "Blind indexes and deterministic columns under another key still say which rows were equal."
            }
            Self::LogKeyUnconfirmed => {
                "The log's public key was taken from the certificate itself: anybody could have made such a certificate with a key of their own."
            }
            Self::LogNotReplayed => {
                "Only the entries that the certificate carries were read: that the rest of the log makes no second copy was not checked."
            }
            Self::MediumNone => {
                "The secret lay on a medium where overwriting does not surely reach every old copy (a flash or virtual disk, for example)."
            }
            Self::MemorySwapCore => "A memory image, swap space or core dump taken earlier may hold a copy.",
            Self::NameGuessable => {
                "Who guesses a subject's name can test the guess against the key centre's index, as long as the tenant lives."
            }
            Self::NoRollbackProtection => {
                "The key centre could be started from an older copy of its own state without noticing."
            }
            Self::NoWitness => {
                "No independent witness that you trust has signed this state of the log: the key centre could show others a different one."
            }
            Self::RestoreUnwitnessed => {
                "A restored backup could have brought the key back without anybody outside having seen it."
            }
            Self::RowsLinkable => {
                "Encrypted rows that remain can still be grouped by the key that sealed them."
            }
            Self::TokenBackup => "The token that held the secret may have a backup.",
            Self::TokenSoftware => "The token that held the secret is a program and not a device.",
        }
    }

    /// What would lift it, for people.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::AuditWritten => "Use class L3 or L4 for keys whose every use must be on record.",
            Self::ClassicalKeyExchange => "Allow connections with X25519MLKEM768 only.",
            Self::ClockUnproven => "Have a witness cosign the log: its signature carries its own time.",
            Self::DerivedCopies => {
                "Use class L4, whose data keys never leave the key centre, or have the applications confirm."
            }
            Self::Exported => "Obtain a confirmation of destruction from whoever received it.",
            Self::ImportedOriginal => "Obtain a confirmation of destruction from whoever made it.",
            Self::IndexValues => "Clear those columns in the rows concerned.",
            Self::LogKeyUnconfirmed => {
                "Obtain the log's key from somewhere else than the certificate, and check again with `--key`."
            }
            Self::LogNotReplayed => "Take a mirror with `kms log mirror`, and check again with `--mirror`.",
            Self::MediumNone => {
                "Keep epoch secrets on a physical magnetic disk or in a hardware token, or destroy the medium."
            }
            Self::MemorySwapCore => {
                "Switch swap and core dumps off on the key centre's machine, and keep no memory images."
            }
            Self::NameGuessable => "It ends when the tenant is destroyed.",
            Self::NoRollbackProtection => {
                "Keep checkpoints outside the key centre, and check again with `--pin`."
            }
            Self::NoWitness => {
                "Have an independent witness cosign the log, name its key in a policy, and check again with `--policy`."
            }
            Self::RestoreUnwitnessed => "Have an independent witness cosign the log.",
            Self::RowsLinkable => "Delete the rows.",
            Self::TokenBackup => "Obtain the confirmation that no backup of the token exists.",
            Self::TokenSoftware => "Use a hardware token.",
        }
    }
}
