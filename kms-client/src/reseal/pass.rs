//! One walk over the table: the next page is read, and the one before is written, while one is opened and sealed.

use std::{num::NonZeroU32, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    database::{Inspected, Start},
    error::ResealError,
    outcome::NO_RECORD_ID,
    pace::Pace,
    report::{Problem, Progress, Tally},
    row::Row,
    turn::{Turned, Turner},
};

/// Rows of the first page; the next ones have what fits into memory.
const FIRST_PAGE: usize = 128;
const LARGEST_PAGE: usize = 1_000;
/// Bytes that a page is to have at most. A value has no bound, so this is aimed at and not kept to the byte.
const PAGE_BYTES: usize = 4 << 20;

/// Who is told how far a run is.
pub(super) type Watcher = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What all passes of a run have in common.
#[derive(Clone)]
pub(super) struct Walk {
    pub(super) rows: Inspected,
    pub(super) id_column: String,
    pub(super) rate: Option<NonZeroU32>,
    pub(super) watcher: Watcher,
}

impl Walk {
    /// Walks the table once; `before` is how far the passes before it came.
    pub(super) async fn pass(&self, turner: &mut Turner, before: Progress) -> Result<Tally, ResealError> {
        let (to_turn, mut pages) = mpsc::channel(1);
        let (to_write, turned) = mpsc::channel(1);
        // Aborted where this future is dropped, or one of them fails: a transaction that is cut off never was.
        let reading = AbortOnDropHandle::new(tokio::spawn(read(self.rows.clone(), to_turn)));
        let writing = AbortOnDropHandle::new(tokio::spawn(write(self.clone(), before, turned)));
        while let Some(page) = pages.recv().await {
            if to_write.send(turner.turn(page).await?).await.is_err() {
                break;
            }
        }
        drop(to_write);
        drop(pages);
        let mut tally = writing.await.map_err(|_| ResealError::Lost)??;
        reading.await.map_err(|_| ResealError::Lost)??;
        tally.add(self.without_id().await?);
        Ok(tally)
    }

    /// Rows that a walk by the id never meets.
    async fn without_id(&self) -> Result<Tally, ResealError> {
        let (_, without) = self.rows.count().await?;
        let problem = Problem {
            id: "NULL".into(),
            column: self.id_column.clone(),
            reason: NO_RECORD_ID.into(),
            message: format!("{without} rows with a value have no id"),
            is_denied: false,
        };
        let problems = if without > 0 { vec![problem] } else { Vec::new() };
        Ok(Tally { rows: without, failed: without, problems, ..Tally::default() })
    }
}

/// Reads to the id that was the last one at the beginning: behind it there are rows of live writers only, and perhaps no end.
async fn read(rows: Inspected, pages: mpsc::Sender<Vec<Row>>) -> Result<(), ResealError> {
    let Some((first, last)) = rows.ends().await? else { return Ok(()) };
    let (mut from, mut most) = (Start::At(first), FIRST_PAGE);
    loop {
        let page = rows.page(&from, &last, most).await?;
        let Some(end) = page.last() else { return Ok(()) };
        from = Start::After(end.id.clone());
        let bytes: usize = page.iter().map(Row::bytes).sum();
        most = (PAGE_BYTES * page.len() / bytes.max(1)).clamp(1, LARGEST_PAGE);
        if pages.send(page).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes what was turned, a transaction a step, and counts.
async fn write(
    walk: Walk,
    mut progress: Progress,
    mut turned: mpsc::Receiver<Turned>,
) -> Result<Tally, ResealError> {
    let mut pace = Pace::new(walk.rate);
    let step = pace.step(walk.rows.step());
    let mut tally = Tally::default();
    while let Some(Turned { changes, tally: of_page }) = turned.recv().await {
        tally.add(of_page);
        for changes in changes.chunks(step) {
            pace.wait(changes.len()).await;
            let written = walk.rows.write(changes).await?;
            tally.overtaken += (changes.len() as u64).saturating_sub(written.rows);
            tally.add(Tally { written, ..Tally::default() });
        }
        progress.rows = tally.rows;
        (walk.watcher)(&Progress { written: progress.written + tally.written.rows, ..progress });
    }
    Ok(tally)
}
