//! A node while a plan works on it.

use std::sync::Arc;

use super::{
    node::{Children, Node},
    payload::ChildKey,
    place::FAN_OUT,
};

/// A node of a plan: read, changed or new.
pub(super) struct Work {
    pub(super) key: ChildKey,
    pub(super) children: Children,
    /// What was read, if it stood before.
    pub(super) read: Option<Arc<Node>>,
    /// The key was drawn in this plan.
    pub(super) fresh: bool,
    /// Nothing was ever written here under this key generation.
    pub(super) first_write: bool,
    /// The payload changed.
    pub(super) dirty: bool,
    /// The hash of a child changed.
    pub(super) stale: bool,
    /// Something below is destroyed: the key must not live on.
    pub(super) rekey: bool,
}

impl Work {
    pub(super) fn new(key: ChildKey, fresh: bool) -> Self {
        let children = [const { None }; FAN_OUT];
        Self { key, children, read: None, fresh, first_write: true, dirty: true, stale: true, rekey: false }
    }

    pub(super) fn read(node: Arc<Node>) -> Self {
        let (key, children) = (node.key.clone(), node.children.clone());
        let read = Some(node);
        Self {
            key,
            children,
            read,
            fresh: false,
            first_write: false,
            dirty: false,
            stale: false,
            rekey: false,
        }
    }
}
