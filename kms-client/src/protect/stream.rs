//! Rows opened as they come: while some are opened the database sends the next.

use futures_util::{Stream, StreamExt as _, stream, stream::BoxStream};
use tokio_util::task::AbortOnDropHandle;

use super::{Protect, ProtectError, SealedRow, seal::refuse_all};
use crate::{Error, Kms};

/// Most rows that are opened together. Fewer where the database has sent no more yet: a row never waits for those after it.
const CHUNK: usize = 512;
/// Chunks that are opened while another is read. With [`CHUNK`] it bounds how many rows are in memory.
const AHEAD: usize = 2;
/// Rows that were read and not yet taken, at most.
#[cfg(test)]
pub(super) const MOST_AT_ONCE: usize = AHEAD * CHUNK;

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
    /// Reads no more than some thousand rows ahead of whoever takes them. Makes no call where the data keys are at hand; a data key that
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
        let kms = self.clone();
        let opening = rows.ready_chunks(CHUNK).map(move |chunk| opened(&kms, chunk));
        opening.buffered(AHEAD).flat_map(stream::iter).boxed()
    }
}

/// Begins at once, in a task of its own.
fn opened<S, E>(
    kms: &Kms,
    chunk: Vec<Result<S, E>>,
) -> impl Future<Output = Vec<Result<Result<S::Plain, ProtectError>, E>>> + use<S, E>
where
    S: SealedRow + Send + Sync + 'static,
    S::Plain: Send,
{
    let mut rows = Vec::with_capacity(chunk.len());
    let places: Vec<Result<(), E>> = chunk.into_iter().map(|row| row.map(|row| rows.push(row))).collect();
    let (count, kms) = (rows.len(), kms.clone());
    let runtime = kms.shared.runtime.clone();
    let opening = AbortOnDropHandle::new(runtime.spawn(async move { kms.open_all(rows).await }));
    async move {
        let opened = opening.await.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => refuse_all(count, &ProtectError::new(&S::Plain::SCHEMA.stored_as, "", STOPPING)),
        });
        let mut opened = opened.into_iter();
        let result = |place| match place {
            Ok(()) => opened.next().map(Ok),
            Err(error) => Some(Err(error)),
        };
        places.into_iter().filter_map(result).collect()
    }
}

const STOPPING: Error = Error::Local("rows were left unopened; the runtime is stopping");
