//! The handle on the writer: changes go in, and come back once they would survive power loss.

use std::{
    error::Error,
    sync::{Arc, mpsc},
    time::Instant,
};

use kms_core::{
    id::{CommitNumber, Epoch, InstanceId, TenantSlot},
    secret::SealSecret,
};
use kms_proto::storage::PurgesRecord;
use tokio::sync::{oneshot, watch};

use super::{
    change::{Change, Destroyed, Destruction},
    group::{Finish, Job, Message, Outcome},
    options::{Options, StartError, Started},
    published::Published,
    quiesce::Quiesce,
    recovery,
    snapshot::Snapshot,
};
use crate::{effaceable::Effaceable, records::Touched, running::BootTime, store::Store};

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<R> {
    /// What the change gave.
    pub value: R,
    /// Number of its commit.
    pub revision: CommitNumber,
    /// The epoch since that commit.
    pub epoch: Epoch,
    /// Of a destruction: the secrets of every other epoch are unreadable. If not, that is tried again, and the erasure is pending.
    pub effaced: bool,
}

/// A change that is not durable.
#[derive(Debug, thiserror::Error)]
pub enum CommitFailed<E> {
    /// The change itself said no; nothing of it was written.
    #[error("{0}")]
    Change(E),
    /// The commit it shared failed; nothing of it was written.
    #[error(transparent)]
    Write(Arc<WriteError>),
    /// It writes more than one commit takes; nothing of it was written, nor ever can be.
    #[error("the change is larger than one commit takes")]
    TooLarge,
    /// The outcome is unknown; the process stops, and its restart decides.
    #[error("the outcome of the commit is unknown; it is decided when the server starts again")]
    Unknown,
    /// The writer has stopped; nothing was written.
    #[error("the store takes no changes until the server starts again")]
    Stopped,
    /// The change panicked; nothing of it was written.
    #[error("the change failed unexpectedly")]
    Panicked,
}

/// Why a commit failed before it was handed to the store.
#[derive(Debug, thiserror::Error)]
#[error("nothing was written: {why}")]
pub struct WriteError {
    why: Box<str>,
    full: bool,
}

impl WriteError {
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes =
            std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
        Self { why: error.to_string().into(), full: causes.any(is_full) }
    }

    /// Whether room is what is missing: on the disk, in a quota, below a limit of file sizes.
    pub fn is_full(&self) -> bool {
        self.full
    }
}

fn is_full(cause: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind as Kind;
    let cause = cause.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| {
        matches!(cause.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge)
    })
}

/// What a durable commit changed.
#[derive(Debug, Clone)]
pub struct CommitNotice {
    /// Number of the commit.
    pub revision: CommitNumber,
    /// The epoch since then.
    pub epoch: Epoch,
    /// What copies must be forgotten.
    pub touched: Arc<[Touched]>,
    /// What it destroyed.
    pub destroyed: Arc<[Destroyed]>,
}

/// The one writer. Clones are handles on the same one; it stops when the last is gone, or at [`Writer::stop`].
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    pub(super) published: Arc<Published>,
}

impl Writer {
    /// Opens a key centre, or recovers it: see the specification of the epoch protocol. Blocks.
    ///
    /// # Errors
    /// Where no root opens, or the store does not belong to the medium. Nothing is deleted or effaced then.
    pub fn start(
        store: Arc<dyn Store>,
        medium: Box<dyn Effaceable>,
        seal: SealSecret,
        options: Options,
    ) -> Result<(Self, Started), StartError> {
        recovery::start(store, medium, seal, options)
    }

    /// Makes a new instance, for `init`: its first epoch and an empty tree. Blocks.
    ///
    /// # Errors
    /// Where the store or the medium already holds one, or cannot be written.
    pub fn create(
        store: &dyn Store,
        medium: &mut dyn Effaceable,
        seal: &SealSecret,
        instance: InstanceId,
    ) -> Result<(), StartError> {
        recovery::create(store, medium, seal, instance)
    }

    pub(super) fn new(queue: mpsc::Sender<Message>, published: Arc<Published>) -> Self {
        Self { queue, published }
    }

    /// Runs a change on the writer's thread, merged with others into one durable commit. Its error rolls back its own writes only.
    ///
    /// # Errors
    /// Those of the change, and those of the commit.
    pub async fn commit<R, E>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<Committed<R>, CommitFailed<E>>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        let run = |destruction: &mut Destruction<'_>| change(destruction);
        self.submit(false, run).await
    }

    /// Runs a change that may destroy. Its commit is an epoch, shared with destructions that arrive within the erasure interval;
    /// it returns once the epoch before is effaced, or that has failed and is pending.
    ///
    /// # Errors
    /// Those of the change, and those of the commit.
    pub async fn destroy<R, E>(
        &self,
        change: impl FnOnce(&mut Destruction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<Committed<R>, CommitFailed<E>>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        self.submit(true, change).await
    }

    async fn submit<R, E>(
        &self,
        destroys: bool,
        change: impl FnOnce(&mut Destruction<'_>) -> Result<R, E> + Send + 'static,
    ) -> Result<Committed<R>, CommitFailed<E>>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let run = move |destruction: &mut Destruction<'_>| {
            let value = change(destruction);
            let kept = value.is_ok();
            let finish: Finish = Box::new(move |outcome| {
                let answer = match (value, outcome) {
                    (Err(error), _) => Err(CommitFailed::Change(error)),
                    (Ok(value), Outcome::Durable { revision, epoch, effaced }) => {
                        Ok(Committed { value, revision, epoch, effaced })
                    }
                    (Ok(_), Outcome::NotWritten(why)) => Err(CommitFailed::Write(why)),
                    (Ok(_), Outcome::TooLarge) => Err(CommitFailed::TooLarge),
                    (Ok(_), Outcome::Unknown) => Err(CommitFailed::Unknown),
                };
                // The caller may have gone away; what it asked for is done all the same.
                drop(reply.send(answer));
            });
            (kept, finish)
        };
        let job = Job { destroys, run: Box::new(run) };
        if self.queue.send(Message::Job(job)).is_err() {
            return Err(CommitFailed::Stopped);
        }
        // The reply is dropped unsent where the change panicked, or the writer stopped before it ran.
        result.await.unwrap_or_else(|_| match self.published.is_stopped() {
            true => Err(CommitFailed::Stopped),
            false => Err(CommitFailed::Panicked),
        })
    }

    /// What request tasks read through.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.published.clone())
    }

    /// Number of the last durable commit of which every listener has heard.
    // ATTACK: a moment before, a copy of what it destroyed can still be in use. A data key that is leased under its number would pass
    // for one that was leased after it, and a client that has confirmed the purge would keep it.
    pub fn revision(&self) -> CommitNumber {
        self.published.heard()
    }

    /// The slot that the next tenant will have: they are given away in rising order.
    pub fn next_tenant(&self) -> TenantSlot {
        TenantSlot(self.published.roots().next_tenant)
    }

    /// Tells when the last client will have purged what an epoch destroyed, or its lease will have ended, and how that comes: each time
    /// more is known. It can only come nearer than the longest lease.
    pub fn quiesces(&self, epoch: Epoch, at: BootTime, purges: Option<PurgesRecord>) {
        let left = at.0.saturating_sub(BootTime::now().0);
        let quiesce = Quiesce { at: Instant::now() + left, purges };
        // An error means the writer's thread is gone; the next process waits for the longest lease.
        self.queue.send(Message::Quiesces(epoch, quiesce)).ok();
    }

    /// The epoch in force.
    pub fn epoch(&self) -> Epoch {
        self.published.roots().epoch
    }

    /// Calls `listener` on the writer's thread after each durable commit, before those who asked for it get their reply.
    pub fn on_commit(&self, listener: impl Fn(&CommitNotice) + Send + Sync + 'static) {
        self.published.listen(Box::new(listener));
    }

    /// Tells of each durable commit, to whoever waits for what one may bring.
    pub fn commits(&self) -> watch::Receiver<CommitNumber> {
        self.published.commits()
    }

    /// Has destructions that wait for others to share their epoch carried out now, and later ones at once: a stop is near.
    pub fn hurry(&self) {
        // An error means the writer's thread is gone, and nothing waits.
        self.queue.send(Message::Hurry).ok();
    }

    /// Ends the writer once what is queued is done, and waits for it. Blocks. Later changes are refused.
    pub fn stop(&self) {
        let (ended, end) = mpsc::channel();
        if self.queue.send(Message::Stop(ended)).is_ok() {
            // An error means the writer's thread is gone, which is what was asked for.
            end.recv().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error as IoError, ErrorKind as Kind};

    use kms_proto::reason::Reason;

    use super::*;
    use crate::{effaceable::EffaceableError, store::CommitError, usecase::refused::Refused};

    #[test]
    fn a_full_disk_is_told_from_one_that_fails_wherever_it_is_met() {
        for (kind, reason) in [
            (Kind::StorageFull, Reason::StorageFull),
            (Kind::QuotaExceeded, Reason::StorageFull),
            (Kind::FileTooLarge, Reason::StorageFull),
            (Kind::PermissionDenied, Reason::StoreUnavailable),
        ] {
            let store = CommitError::NotWritten(IoError::new(kind, "of the store").into());
            let medium = EffaceableError::Io(kind.into());
            let redo = IoError::from(kind);
            let causes: [&(dyn Error + 'static); 3] = [&store, &medium, &redo];
            for cause in causes {
                let failed = CommitFailed::Write(Arc::new(WriteError::of(cause)));
                assert_eq!(Refused::from(failed).reason(), reason, "{cause}");
            }
        }
    }
}
