//! The one writer: it alone reads tree state, wraps, and commits; a destruction is an epoch.
//!
//! # Layout
//! - [`writer`]: the handle that use cases hold; [`change`]: what a change may do; [`snapshot`]: what request tasks read through.
//! - [`options`]: what a start is told, and what it answers.

pub mod change;
pub mod options;
pub mod snapshot;
pub mod view;
pub mod writer;

pub use change::{Change, ChangeError, Destruction, NewLeaf};
pub use options::{Options, StartError, Started};
pub use snapshot::{OpenVersionError, Snapshot};
pub use view::RecordError;
pub use writer::{CommitFailed, CommitNotice, Committed, WriteError, Writer};

pub use crate::records::Touched;
