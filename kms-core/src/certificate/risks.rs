//! What a certificate leaves open, by name.

use super::part::words;

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
