//! The small door between the table engine and whatever seals: the engine knows no keys, and the tests know no server.

use crate::failure::Failure;

/// One cell of a batch.
#[derive(Clone, Copy)]
pub struct Cell<'a> {
    /// Place of its column among the columns asked for.
    pub column: usize,
    /// The record id.
    pub record: &'a [u8],
    /// Plaintext to seal, or `kf1.` text to open.
    pub content: &'a [u8],
}

/// Turns cells into what belongs in their place.
pub trait CellCipher: Sync {
    /// Answers each cell in order, by `answers.done(..)` or `answers.failed(..)`.
    ///
    /// # Errors
    /// Where the whole run must stop.
    fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure>;
}

/// One answer a cell, in order; the bytes stand in one buffer that is used again.
#[derive(Default)]
pub struct Answers {
    bytes: Vec<u8>,
    ends: Vec<Result<usize, Box<Failure>>>,
}

impl Answers {
    /// Answers the next cell with what `write` appends.
    pub fn done(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(Ok(self.bytes.len()));
    }

    /// The next cell cannot be turned.
    pub fn failed(&mut self, failure: Failure) {
        self.ends.push(Err(Box::new(failure)));
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Answers so far.
    #[expect(clippy::len_without_is_empty, reason = "only ever compared with the number of cells")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The answers in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<&[u8], &Failure>> {
        let mut start = 0;
        self.ends.iter().map(move |end| match end {
            Ok(end) => {
                let answer = &self.bytes[start..*end];
                start = *end;
                Ok(answer)
            }
            Err(failure) => Err(&**failure),
        })
    }
}
