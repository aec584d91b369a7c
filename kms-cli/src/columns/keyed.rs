//! The key centre behind the table engine: leased data keys, sealing on the workers' own threads, a server call only where a lease
//! is missing. Under a key of class L4 the server seals and opens each cell itself.

use std::sync::{Mutex, PoisonError};

use kms_client::{
    Column, ColumnSealer, Error, KeyName, Pause, Reason, RecordId, Records, ToOpenField, ToSealField,
    VersionId,
};
use kms_core::field::{Header, Kind, text};
use tokio::runtime::Handle;

use super::{
    Action,
    cipher::{Answers, Cell, CellCipher},
};
use crate::failure::{Exit, Failure};

/// Turns cells with the keys of one key.
#[derive(Debug)]
pub struct KeyCentre {
    /// Runs the calls; the workers' threads are none of its own.
    runtime: Handle,
    records: Records,
    columns: Vec<Column>,
    action: Action,
    /// One sealer for each column, in sets that are not in use.
    idle: Mutex<Vec<Vec<ColumnSealer>>>,
}

impl KeyCentre {
    /// Must be made inside the runtime that makes the calls.
    pub fn new(records: Records, columns: Vec<Column>, action: Action) -> Self {
        Self { runtime: Handle::current(), records, columns, action, idle: Mutex::default() }
    }

    fn seal(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        let Some(mut sealers) = self.sealers()? else { return self.seal_remotely(cells, answers) };
        let mut row = Row::default();
        for cell in cells {
            let sealed = self.seal_one(&mut sealers, row.record(cell.record)?, cell)?;
            match sealed {
                Ok(sealed) => answers.done(|out| text::append(&sealed, out)),
                Err(error) => answers.failed(self.failure(cell, error)),
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sealers);
        Ok(())
    }

    /// Seals one cell, waiting for a lease where the one at hand is used up.
    fn seal_one(
        &self,
        sealers: &mut [ColumnSealer],
        record: &RecordId,
        cell: &Cell<'_>,
    ) -> Result<Result<Vec<u8>, Error>, Failure> {
        let sealer = &mut sealers[cell.column];
        loop {
            match sealer.seal(record, cell.content) {
                Ok(sealed) => return Ok(Ok(sealed)),
                Err(Pause::Renew) => self.runtime.block_on(sealer.renew())?,
                Err(Pause::Failed(error)) if error.is_about_one_value() => return Ok(Err(error)),
                Err(Pause::Failed(error)) => return Err(error.into()),
            }
        }
    }

    /// A set of sealers; `None` where the key releases no data keys.
    fn sealers(&self) -> Result<Option<Vec<ColumnSealer>>, Failure> {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(Some(idle));
        }
        let made = async {
            let mut sealers = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                match self.records.sealer(column).await? {
                    Some(sealer) => sealers.push(sealer),
                    None => return Ok(None),
                }
            }
            Ok::<_, Error>(Some(sealers))
        };
        Ok(self.runtime.block_on(made)?)
    }

    fn seal_remotely(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        let records = record_ids(cells)?;
        let item = |(cell, record)| to_seal(&self.columns, cell, record);
        let items: Vec<_> = cells.iter().zip(&records).map(item).collect();
        for (cell, sealed) in cells.iter().zip(self.runtime.block_on(self.records.seal_batch(&items))) {
            self.answer(cell, sealed, answers, text::append)?;
        }
        Ok(())
    }

    fn open(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        for (cell, opened) in cells.iter().zip(self.opened(cells)?) {
            self.answer(cell, opened.content, answers, |plaintext, out| out.extend_from_slice(plaintext))?;
        }
        Ok(())
    }

    fn opened(&self, cells: &[Cell<'_>]) -> Result<Vec<Opened>, Failure> {
        let records = record_ids(cells)?;
        let decoded: Vec<_> = cells.iter().map(|cell| decode(cell.content)).collect();
        let item = |((cell, record), decoded)| {
            let ciphertext: &Option<Vec<u8>> = decoded;
            let (cell, record): (&Cell<'_>, &_) = (cell, record);
            ciphertext.as_deref().map(|ciphertext| ToOpenField {
                column: &self.columns[cell.column],
                record,
                ciphertext,
            })
        };
        let items: Vec<ToOpenField<'_>> = cells.iter().zip(&records).zip(&decoded).filter_map(item).collect();
        let mut results = self.runtime.block_on(self.records.open_batch(&items)).into_iter();
        let opened = decoded.iter().map(|decoded| {
            let result = if decoded.is_some() { results.next() } else { None };
            let header = decoded.as_deref().and_then(|ciphertext| Header::parse(ciphertext).ok());
            Opened {
                header,
                content: result.unwrap_or(Err(Error::Value { reason: Reason::CiphertextMalformed })),
            }
        });
        Ok(opened.collect())
    }

    /// Opens every cell, also those that need no reseal: a cell that was moved here must not pass for a current one.
    fn reseal(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        let current = self.current()?;
        let mut stale = Vec::new();
        let mut contents = Vec::with_capacity(cells.len());
        for (cell, opened) in cells.iter().zip(self.opened(cells)?) {
            let is_current = match (&current[cell.column], &opened.header) {
                (Some(sealing), Some(header)) => sealing.is_that_of(header),
                _ => false,
            };
            contents.push(match opened.content {
                Ok(_) if is_current => Content::Current,
                Ok(plaintext) => {
                    stale.push(plaintext);
                    Content::Stale
                }
                Err(error) if error.is_about_one_value() => Content::Failed(error),
                Err(error) => return Err(error.into()),
            });
        }
        let mut plaintexts = stale.iter();
        let of_stale = cells.iter().zip(&contents).filter(|(_, content)| matches!(content, Content::Stale));
        let to_seal: Vec<Cell<'_>> = of_stale
            .zip(&mut plaintexts)
            .map(|((cell, _), plaintext)| Cell { content: plaintext, ..*cell })
            .collect();
        let mut sealed = Answers::default();
        self.seal(&to_seal, &mut sealed)?;
        let mut sealed = sealed.iter();
        for (cell, content) in cells.iter().zip(contents) {
            match content {
                Content::Current => answers.done(|out| out.extend_from_slice(cell.content)),
                Content::Failed(error) => answers.failed(self.failure(cell, error)),
                Content::Stale => match sealed.next() {
                    Some(Ok(sealed)) => answers.done(|out| out.extend_from_slice(sealed)),
                    Some(Err(failure)) => answers.failed(failure.clone()),
                    None => return Err(Failure::failed("INTERNAL", "a cell was left without a result")),
                },
            }
        }
        Ok(())
    }

    /// Answers with a result; what does not concern this cell only stops the run.
    fn answer<T: AsRef<[u8]>>(
        &self,
        cell: &Cell<'_>,
        result: Result<T, Error>,
        answers: &mut Answers,
        write: impl FnOnce(&[u8], &mut Vec<u8>),
    ) -> Result<(), Failure> {
        match result {
            Ok(bytes) => answers.done(|out| write(bytes.as_ref(), out)),
            Err(error) if error.is_about_one_value() => answers.failed(self.failure(cell, error)),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What a value is bound to that does not open: the caller gave two of the three, and can have mistaken them.
    fn failure(&self, cell: &Cell<'_>, error: Error) -> Failure {
        if let Error::OtherKey { sealed_under, named } = &error
            && named.subject().is_none()
            && sealed_under.family() == named.family()
        {
            return of_family(named);
        }
        let is_rejected = error.reason() == Some(Reason::CiphertextRejected);
        if !is_rejected || matches!(error, Error::OtherKey { .. }) {
            return error.into();
        }
        let table = self.columns[cell.column].table();
        let message = format!(
            "it does not open here: check `--table {table}` and `--id`, which it is bound to when sealed; or it was \
             moved or changed"
        );
        Failure { message, ..error.into() }
    }

    /// For each column the kind and version that seal now; `None` where only the server knows.
    fn current(&self) -> Result<Vec<Option<Sealing>>, Failure> {
        let asked = async {
            let mut current = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                let kind = if column.is_deterministic() { Kind::Deterministic } else { Kind::Randomized };
                current.push(match self.records.sealing_version(column).await {
                    Ok(version) => Some(Sealing { kind, version }),
                    Err(error) if error.reason() == Some(Reason::ClassReleasesNoDataKeys) => None,
                    Err(error) => return Err(error),
                });
            }
            Ok(current)
        };
        Ok(self.runtime.block_on(asked)?)
    }
}

impl CellCipher for KeyCentre {
    fn turn(&self, cells: &[Cell<'_>], answers: &mut Answers) -> Result<(), Failure> {
        match self.action {
            Action::Seal => self.seal(cells, answers),
            Action::Open => self.open(cells, answers),
            Action::Reseal => self.reseal(cells, answers),
        }
    }
}

/// A family seals nothing itself, and what its subjects' keys seal opens in the name of each alone.
pub fn of_family(family: &KeyName) -> Failure {
    let message = format!(
        "`{family}` is a family: a file with rows of one subject takes `--key {family}/SUBJECT`, so divide the file by subjects; a table in \
         a database is resealed whole by `kms reseal --key {family} --per COLUMN`"
    );
    Failure::new(Exit::Failed, Reason::KeyIsFamily.as_str(), message)
}

struct Opened {
    header: Option<Header>,
    content: Result<kms_core::secret::Plaintext, Error>,
}

/// What comes of a cell that is to be resealed.
enum Content {
    Current,
    Stale,
    Failed(Error),
}

/// What seals a column now.
struct Sealing {
    kind: Kind,
    version: VersionId,
}

impl Sealing {
    fn is_that_of(&self, header: &Header) -> bool {
        self.kind == header.kind && self.version == header.version
    }
}

/// The record id of the row at hand, made once a row.
#[derive(Default)]
struct Row(Option<RecordId>);

impl Row {
    fn record(&mut self, id: &[u8]) -> Result<&RecordId, Failure> {
        if self.0.as_ref().is_none_or(|record| record.as_bytes() != id) {
            self.0 = Some(RecordId::try_from(id).map_err(Failure::usage)?);
        }
        self.0.as_ref().ok_or_else(|| Failure::failed("INTERNAL", "a row without record id"))
    }
}

fn record_ids(cells: &[Cell<'_>]) -> Result<Vec<RecordId>, Failure> {
    let id = |cell: &Cell<'_>| RecordId::try_from(cell.record).map_err(Failure::usage);
    cells.iter().map(id).collect()
}

fn to_seal<'a>(columns: &'a [Column], cell: &Cell<'a>, record: &'a RecordId) -> ToSealField<'a> {
    ToSealField { column: &columns[cell.column], record, plaintext: cell.content }
}

fn decode(content: &[u8]) -> Option<Vec<u8>> {
    text::decode(std::str::from_utf8(content).ok()?).ok()
}
