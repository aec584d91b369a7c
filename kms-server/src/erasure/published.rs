//! What the writer shows to request tasks: roots that are durable, and values that are not replaced before their commit is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use kms_core::{
    commitment::Hash,
    id::{CommitNumber, Epoch, InstanceId},
    secret::WrappingKey,
};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{view::Overlay, writer::CommitNotice};
use crate::store::Store;

/// Where a walk through the trees begins.
pub(super) struct Roots {
    pub(super) instance: InstanceId,
    pub(super) revision: CommitNumber,
    pub(super) epoch: Epoch,
    pub(super) root: Arc<WrappingKey>,
    pub(super) top_height: u8,
    pub(super) next_tenant: u32,
    pub(super) log: LogHead,
}

/// How far the transparency log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

type Listener = Box<dyn Fn(&CommitNotice) + Send + Sync>;

/// Shared by the writer's thread and every snapshot.
pub(super) struct Published {
    pub(super) store: Arc<dyn Store>,
    roots: ArcSwap<Roots>,
    /// Values as they were before a commit that is not durable yet.
    before: ArcSwap<Overlay>,
    stopped: AtomicBool,
    listeners: RwLock<Vec<Listener>>,
    commits: watch::Sender<CommitNumber>,
}

impl Published {
    pub(super) fn new(store: Arc<dyn Store>, roots: Roots) -> Self {
        let commits = watch::Sender::new(roots.revision);
        Self {
            store,
            commits,
            roots: ArcSwap::from_pointee(roots),
            before: ArcSwap::default(),
            stopped: AtomicBool::new(false),
            listeners: RwLock::default(),
        }
    }

    pub(super) fn roots(&self) -> Arc<Roots> {
        self.roots.load_full()
    }

    /// Values that a commit in flight replaces. To be read *after* the store.
    pub(super) fn before(&self) -> Arc<Overlay> {
        self.before.load_full()
    }

    // ORDER: before the store is handed the commit, so that whoever sees a new value also finds the old one here.
    pub(super) fn hide(&self, before: Arc<Overlay>) {
        self.before.store(before);
    }

    pub(super) fn reveal(&self) {
        self.before.store(Arc::default());
    }

    /// The commit is durable: from here on nobody starts a walk from the roots before.
    pub(super) fn swap(&self, roots: Roots) {
        self.roots.store(Arc::new(roots));
    }

    pub(super) fn tell(&self, notice: &CommitNotice) {
        self.listeners.read().iter().for_each(|listener| listener(notice));
        self.commits.send_replace(notice.revision);
    }

    /// The last commit that was told to every listener.
    pub(super) fn heard(&self) -> CommitNumber {
        *self.commits.borrow()
    }

    pub(super) fn commits(&self) -> watch::Receiver<CommitNumber> {
        self.commits.subscribe()
    }

    pub(super) fn listen(&self, listener: Listener) {
        self.listeners.write().push(listener);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn set_stopped(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}
