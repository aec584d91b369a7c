//! What is to be resealed, and how.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use kms_core::names::KeyName;

use super::{
    columns::{ColumnNames, IndexColumn, Scheme, SealedColumn},
    database::Database,
    error::ResealError,
    pass::Walk,
    report::{Progress, Report, Tally},
    table::Table,
    turn::Turner,
};
use crate::records::{Column, Records};

/// Passes of one run, where nothing else is said. Those after the first look at headers only, and find what live writers did meanwhile.
const PASSES: u32 = 10;

/// A run over one table.
#[derive(Debug)]
pub struct Reseal {
    records: Records,
    database: Database,
    table: Table,
    columns: Vec<SealedColumn>,
    indexes: Vec<IndexColumn>,
    dry_run: bool,
    rate: Option<NonZeroU32>,
    passes: u32,
}

impl Reseal {
    /// A run that reseals under the key of `records`; name its columns next.
    pub fn new(records: Records, database: Database, table: Table) -> Self {
        Self {
            records,
            database,
            table,
            columns: Vec::new(),
            indexes: Vec::new(),
            dry_run: false,
            rate: None,
            passes: PASSES,
        }
    }

    /// A column to reseal: as the database names it, and as its values are sealed from now on.
    #[must_use]
    pub fn column(self, name: &str, column: Column) -> Self {
        let key = self.records.key().clone();
        self.column_under(name, column, &key)
    }

    /// The same for a column that has a key, or family, of its own.
    #[must_use]
    pub fn column_under(self, name: &str, column: Column, key: &KeyName) -> Self {
        let now = Scheme { column, key: key.clone(), shared: false };
        self.sealed_column(SealedColumn { stored_as: name.into(), now, described: None })
    }

    pub(super) fn sealed_column(mut self, column: SealedColumn) -> Self {
        self.columns.push(column);
        self
    }

    /// A blind index to make anew where it is not what the newest version of its key makes of the value. Every value of its column is
    /// opened for that, in every walk.
    #[must_use]
    pub fn index(mut self, index: IndexColumn) -> Self {
        self.indexes.push(index);
        self
    }

    /// Opens what is to be resealed, and writes nothing to the table. A subject that is due for a rotation gets its new version all the
    /// same: that is what its rows are compared with.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Writes at most so many rows a second.
    #[must_use]
    pub fn rate(mut self, rate: Option<NonZeroU32>) -> Self {
        self.rate = rate;
        self
    }

    /// Walks the table at most so often. Usual: ten times.
    #[must_use]
    pub fn passes(mut self, passes: u32) -> Self {
        self.passes = passes.max(1);
        self
    }

    /// Walks the table until a pass finds nothing to do. Dropped or killed at any moment it has lost nothing: run it again.
    ///
    /// # Errors
    /// Where the table or the key is not there or not usable, or one of the two servers goes away. What was resealed stays.
    pub async fn run(
        self,
        progress: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Result<Report, ResealError> {
        let began = Instant::now();
        self.check()?;
        let names = ColumnNames::of(&self.columns, &self.indexes);
        let rows = self.database.inspect(&self.table, &names).await?;
        let (of, _) = rows.count().await?;
        progress(&Progress { pass: 0, rows: 0, of, written: 0 });
        let mut turner = Turner::new(self.records, self.columns, self.indexes, self.dry_run);
        turner.prepare(self.table.per.is_some()).await?;
        let walk = Walk { rows, id_column: self.table.id, rate: self.rate, watcher: Arc::new(progress) };
        let mut report = Report { dry_run: self.dry_run, ..Report::default() };
        while !report.settled && report.passes < self.passes {
            report.passes += 1;
            let progress = Progress { pass: report.passes, rows: 0, of, written: report.written };
            (walk.watcher)(&progress);
            let found = walk.pass(&mut turner, progress).await?;
            report.after(found);
            if self.dry_run {
                break;
            }
        }
        turner.tell().await;
        report.elapsed = began.elapsed();
        Ok(report)
    }

    fn check(&self) -> Result<(), ResealError> {
        let usage = |text: String| Err(ResealError::Usage(text));
        if self.columns.is_empty() {
            return usage("no column is named that is to be resealed".into());
        }
        let names: Vec<&String> = self.columns.iter().map(|column| &column.stored_as).collect();
        for index in &self.indexes {
            if !names.contains(&&index.of) {
                return usage(format!(
                    "index `{}` is of column `{}`, which is not named",
                    index.stored_as, index.of
                ));
            }
        }
        let all: Vec<&String> =
            names.into_iter().chain(self.indexes.iter().map(|index| &index.stored_as)).collect();
        for (at, name) in all.iter().enumerate() {
            if self.table.key_columns().any(|key| key == *name) {
                return usage(format!("`{name}` binds values to their rows, and must stay readable"));
            }
            if all[..at].contains(name) {
                return usage(format!("column `{name}` is given twice"));
            }
        }
        Ok(())
    }
}

impl Report {
    /// Takes in a pass: rows are those of the last one, what was written adds up.
    fn after(&mut self, found: Tally) {
        let Tally { rows, written, overtaken, current, skipped, erased, failed, problems, erased_cells } =
            found;
        self.settled = written.rows == 0 && overtaken == 0;
        // What an earlier pass of this run wrote is not what it found to be current.
        self.already_current = current.saturating_sub(self.written);
        self.written += written.rows;
        self.resealed += written.resealed;
        self.reindexed += written.reindexed;
        self.from_previous += written.from_previous;
        self.from_plaintext += written.from_plaintext;
        (self.rows, self.skipped, self.erased, self.failed) = (rows, skipped, erased, failed);
        (self.problems, self.erased_cells, self.overtaken) = (problems, erased_cells, overtaken);
    }
}
