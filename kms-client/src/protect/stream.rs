//! Rows opened as they come: while some are opened the database sends the next.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures_util::{Stream, StreamExt as _, stream, stream::BoxStream};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::{Protect, ProtectError, SealedRow, seal::refuse_all};
use crate::{Error, Kms};

/// Most rows that are opened together. Fewer while nobody opens any: a row never waits for those after it.
const CHUNK: usize = 256;
/// Chunks that are opened while another is read.
const AHEAD: usize = 2;
/// Rows that were read and not yet taken, at most: one chunk that is gathered, those being opened, and one that was.
#[cfg(test)]
pub(super) const MOST_AT_ONCE: usize = (AHEAD + 2) * CHUNK;

impl Kms {
    /// Opens rows as they come, in order, beside the task that reads them. Outside are the errors of the source, passed on where they
    /// came; inside is what became of each row, as in [`Self::open_all`].
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    /// # use kms_client::{Kms, protect::SealedRow};
    /// # async fn example<S>(kms: Kms, pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>>
    /// # where S: SealedRow + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Sync + Unpin + 'static, S::Plain: Send {
    /// # type SealedCheckIn<S> = S;
    /// let mut rows = kms.open_stream(sqlx::query_as::<_, SealedCheckIn<S>>("SELECT * FROM checkins").fetch(&pool));
    /// while let Some(row) = rows.try_next().await? {
    ///     match row {
    ///         Ok(row) => { /* show it */ }
    ///         Err(error) => eprintln!("a row that does not open: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Reads some thousand rows ahead of whoever takes them, at most. Makes no call where the data keys are at hand; a data key that
    /// is not comes in one call, however many rows wait for it. Dropped, it reads no further and opens nothing more.
    pub fn open_stream<'r, S, E>(
        &self,
        rows: impl Stream<Item = Result<S, E>> + Send + 'r,
    ) -> BoxStream<'r, Result<Result<S::Plain, ProtectError>, E>>
    where
        S: SealedRow + Send + Sync + 'static,
        S::Plain: Send,
        E: Send + 'r,
    {
        let mut rows = OpenedAsTheyCome {
            kms: self.clone(),
            source: rows.boxed(),
            ended: false,
            gathered: Vec::new(),
            opening: VecDeque::with_capacity(AHEAD),
            opened: Vec::new().into_iter(),
        };
        stream::poll_fn(move |context| rows.poll(context)).boxed()
    }
}

/// What becomes of a row: outside the errors of the source.
type Became<S, E> = Result<Result<<S as SealedRow>::Plain, ProtectError>, E>;

struct OpenedAsTheyCome<'r, S: SealedRow, E> {
    kms: Kms,
    source: BoxStream<'r, Result<S, E>>,
    ended: bool,
    /// Read, and not being opened yet.
    gathered: Vec<Result<S, E>>,
    opening: VecDeque<Opening<S, E>>,
    /// Not yet taken.
    opened: vec::IntoIter<Became<S, E>>,
}

impl<S, E> OpenedAsTheyCome<'_, S, E>
where
    S: SealedRow + Send + Sync + 'static,
    S::Plain: Send,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Became<S, E>>> {
        loop {
            if let Some(row) = self.opened.next() {
                return Poll::Ready(Some(row));
            }
            self.gather(context);
            match self.opening.front_mut() {
                Some(first) => {
                    self.opened = ready!(first.poll(context)).into_iter();
                    self.opening.pop_front();
                    // What has come meanwhile is opened while these are taken.
                    self.gather(context);
                }
                None if self.ended => return Poll::Ready(None),
                None => return Poll::Pending,
            }
        }
    }

    /// Reads what is there, and has it opened: at once where nobody opens any, else as a whole chunk, so that a task is begun for
    /// many rows as soon as they come faster than they are opened.
    fn gather(&mut self, context: &mut Context<'_>) {
        loop {
            while !self.ended && self.gathered.len() < CHUNK {
                match self.source.poll_next_unpin(context) {
                    Poll::Ready(Some(row)) => self.gathered.push(row),
                    Poll::Ready(None) => self.ended = true,
                    Poll::Pending => break,
                }
            }
            let full = self.gathered.len() == CHUNK;
            let due = match self.opening.len() {
                0 => !self.gathered.is_empty(),
                some => full && some < AHEAD,
            };
            if !due {
                return;
            }
            self.opening.push_back(Opening::begin(&self.kms, mem::take(&mut self.gathered)));
            if !full {
                return;
            }
        }
    }
}

/// Rows that are opened in a task of their own.
struct Opening<S: SealedRow, E> {
    /// Where the source gave a row, and where an error.
    places: Vec<Result<(), E>>,
    rows: AbortOnDropHandle<Vec<Result<S::Plain, ProtectError>>>,
}

impl<S, E> Opening<S, E>
where
    S: SealedRow + Send + Sync + 'static,
    S::Plain: Send,
{
    fn begin(kms: &Kms, chunk: Vec<Result<S, E>>) -> Self {
        let mut rows = Vec::with_capacity(chunk.len());
        let places = chunk.into_iter().map(|row| row.map(|row| rows.push(row))).collect();
        let opener = kms.clone();
        let opening: JoinHandle<_> = kms.shared.runtime.spawn(async move { opener.open_all(rows).await });
        Self { places, rows: AbortOnDropHandle::new(opening) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Vec<Became<S, E>>> {
        let places = &self.places;
        let opened = ready!(Pin::new(&mut self.rows).poll(context)).unwrap_or_else(|ended| {
            let count = places.iter().filter(|place| place.is_ok()).count();
            match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => refuse_all(count, &ProtectError::new(&S::Plain::SCHEMA.stored_as, "", STOPPING)),
            }
        });
        let mut opened = opened.into_iter();
        let became = |place| match place {
            Ok(()) => opened.next().map(Ok),
            Err(error) => Some(Err(error)),
        };
        Poll::Ready(mem::take(&mut self.places).into_iter().filter_map(became).collect())
    }
}

const STOPPING: Error = Error::Local("rows were left unopened; the runtime is stopping");
