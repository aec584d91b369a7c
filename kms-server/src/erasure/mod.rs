//! The one writer: it alone reads tree state, wraps, and commits; a destruction is an epoch.
//!
//! # Layout
//! - [`writer`]: the handle that use cases hold; [`change`]: what a change may do; [`snapshot`]: what request tasks read through.
//! - [`options`]: what a start is told, and what it answers; `recovery`: the start itself, and `init`.
//! - `group`: the thread and what shares a commit; `room`: how much fits one; `state`: an ordinary commit; `epoch`: a destroying one; `evidence`: what is said of its effacement; `redo`: its redo file.
//! - `head`, `nodes`, `writes`, `collect`: what is stored, read, written and thrown away; `log`: the transparency log's right edge; `witness`: what an epoch leaves for proofs; `quiesce`: when its leases have ended; [`view`]: typed reads over it.
//! - `published`: what the writer's thread shows to others.

pub mod change;
mod collect;
mod epoch;
mod evidence;
mod group;
mod head;
mod log;
mod mistake;
mod nodes;
pub mod options;
mod published;
mod quiesce;
mod recovery;
mod redo;
mod room;
pub mod snapshot;
mod state;
#[cfg(test)]
mod tests;
pub mod view;
pub mod witness;
pub mod writer;
mod writes;

pub use change::{Change, ChangeError, Destroyed, Destruction, NewLeaf, NewTenant, What};
pub use options::{Adoption, Options, StartError, Started};
pub use published::LogHead;
pub use snapshot::{OpenVersionError, Snapshot};
pub use view::RecordError;
pub use writer::{CommitFailed, CommitNotice, Committed, WriteError, Writer};

pub use crate::records::Touched;
