//! What is to be resealed, and how.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use super::{
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
    columns: Vec<(String, Column)>,
    dry_run: bool,
    rate: Option<NonZeroU32>,
    passes: u32,
}

impl Reseal {
    /// A run that reseals under the key of `records`; name its columns next.
    pub fn new(records: Records, database: Database, table: Table) -> Self {
        Self { records, database, table, columns: Vec::new(), dry_run: false, rate: None, passes: PASSES }
    }

    /// A column to reseal: as the database names it, and as its values are sealed from now on.
    #[must_use]
    pub fn column(mut self, name: &str, column: Column) -> Self {
        self.columns.push((name.into(), column));
        self
    }

    /// Opens what is to be resealed, and writes nothing.
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
        let names: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let rows = self.database.inspect(&self.table, &names).await?;
        let mut turner = Turner::new(self.records, &self.columns, self.dry_run).await?;
        let (of, _) = rows.count().await?;
        let walk = Walk { rows, id_column: self.table.id, rate: self.rate, watcher: Arc::new(progress) };
        let mut report = Report { dry_run: self.dry_run, ..Report::default() };
        while !report.settled && report.passes < self.passes {
            report.passes += 1;
            let progress = Progress { pass: report.passes, rows: 0, of, resealed: report.resealed };
            (walk.watcher)(&progress);
            let found = walk.pass(&mut turner, progress).await?;
            report.after(found);
            if self.dry_run {
                break;
            }
        }
        report.elapsed = began.elapsed();
        Ok(report)
    }

    fn check(&self) -> Result<(), ResealError> {
        let usage = |text: String| Err(ResealError::Usage(text));
        if self.columns.is_empty() {
            return usage("no column is named that is to be resealed".into());
        }
        for (at, (name, _)) in self.columns.iter().enumerate() {
            if self.table.key_columns().any(|key| key == name) {
                return usage(format!("`{name}` binds values to their rows, and must stay readable"));
            }
            if self.columns[..at].iter().any(|(other, _)| other == name) {
                return usage(format!("column `{name}` is given twice"));
            }
        }
        Ok(())
    }
}

impl Report {
    /// Takes in a pass: rows are those of the last one, what was written adds up.
    fn after(&mut self, found: Tally) {
        let Tally { rows, resealed, overtaken, current, skipped, failed, problems } = found;
        self.settled = resealed == 0 && overtaken == 0;
        // What an earlier pass of this run wrote is not what it found to be current.
        self.already_current = current.saturating_sub(self.resealed);
        self.resealed += resealed;
        (self.rows, self.skipped, self.failed) = (rows, skipped, failed);
        (self.problems, self.overtaken) = (problems, overtaken);
    }
}
