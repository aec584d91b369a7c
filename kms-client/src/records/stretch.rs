//! Values sealed or opened one after another under one lease: what they have in common is looked up once.

use std::sync::Arc;

use kms_core::{
    field::{OpenError, SealError},
    names::RecordId,
    secret::Plaintext,
};

use super::Column;
use crate::lease::{Ciphers, Lease, Prepared, Stop};

/// Most seals that are taken from a budget at a time.
const MOST_TAKEN: u64 = 64;

/// Ends with an `await`, a [`Stop`] or the batch.
pub(super) struct Stretch<'a> {
    lease: &'a Lease,
    ciphers: Ciphers,
    met: Vec<Met<'a>>,
    /// Whether what is opened is to be sealed anew.
    moves: bool,
}

/// A column, and what was done with it.
struct Met<'a> {
    column: &'a Column,
    cipher: Cipher,
    sealed: u64,
    /// Seals taken from the budget and not made yet.
    taken: u64,
    opened: u64,
}

enum Cipher {
    /// Stands there among the lease's.
    Kept(usize),
    /// The lease has too many to keep it.
    Own(Arc<Prepared>),
}

impl<'a> Stretch<'a> {
    pub(super) fn new(lease: &'a Lease) -> Self {
        Self { lease, ciphers: lease.ciphers(), met: Vec::new(), moves: false }
    }

    /// The same, of which the census says whether it opens to seal anew.
    pub(super) fn moving(mut self, moves: bool) -> Self {
        self.moves = moves;
        self
    }

    pub(super) fn seal(
        &mut self,
        column: &'a Column,
        record: &RecordId,
        plaintext: &[u8],
    ) -> Result<Result<Vec<u8>, SealError>, Stop> {
        let at = self.meet(column)?;
        let (lease, met) = (self.lease, &mut self.met[at]);
        let cipher = met.cipher.of(&self.ciphers);
        if met.taken == 0 {
            // One at first, for most stretches are one row; then more at a time, for others take from the same budget.
            met.taken = lease.take_seals(cipher, met.sealed.clamp(1, MOST_TAKEN))?;
        }
        let sealed = lease.seal_taken(cipher, record, plaintext)?;
        met.taken -= 1;
        met.sealed += 1;
        Ok(sealed)
    }

    pub(super) fn open(
        &mut self,
        column: &'a Column,
        record: &RecordId,
        ciphertext: &[u8],
    ) -> Result<Result<Plaintext, OpenError>, Stop> {
        let at = self.meet(column)?;
        let met = &mut self.met[at];
        let opened = self.lease.open(met.cipher.of(&self.ciphers), record, ciphertext)?;
        met.opened += 1;
        Ok(opened)
    }

    /// Where the column stands among those met.
    fn meet(&mut self, column: &'a Column) -> Result<usize, Stop> {
        // Batches mostly name their columns by the same few references.
        let same = |met: &Met<'_>| std::ptr::eq(met.column, column);
        let equal =
            |met: &Met<'_>| met.column.table() == column.table() && met.column.column() == column.column();
        if let Some(at) = self.met.iter().position(same).or_else(|| self.met.iter().position(equal)) {
            return Ok(at);
        }
        let (table, name) = (column.table(), column.column());
        let cipher = match self.ciphers.position(table, name) {
            Some(at) => Cipher::Kept(at),
            None => {
                let prepared = self.lease.prepared(table, name)?;
                // What was added moved the others.
                self.settle();
                self.ciphers = self.lease.ciphers();
                self.ciphers.position(table, name).map_or(Cipher::Own(prepared), Cipher::Kept)
            }
        };
        self.met.push(Met { column, cipher, sealed: 0, taken: 0, opened: 0 });
        Ok(self.met.len() - 1)
    }

    /// Accounts for what was done.
    fn settle(&mut self) {
        for met in self.met.drain(..) {
            let cipher = met.cipher.of(&self.ciphers);
            if met.taken > 0 {
                cipher.give_back(met.taken);
            }
            match met.opened {
                0 => {}
                opened if self.moves => cipher.add_moved(opened),
                opened => cipher.add_opens(opened),
            }
        }
    }
}

impl Cipher {
    fn of<'c>(&'c self, ciphers: &'c Ciphers) -> &'c Prepared {
        match self {
            Self::Kept(at) => ciphers.at(*at),
            Self::Own(prepared) => prepared,
        }
    }
}

impl Drop for Stretch<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}
