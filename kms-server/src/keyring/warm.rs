//! Many cold reads at once: not on a worker of the runtime, which serves others meanwhile.

use std::sync::Arc;

use kms_core::id::VersionId;

use super::{KeyEntry, Keyring, LiveVersion, LookupError};

/// Cold versions that a request may open where it is: some 100 µs each.
const FEW_VERSIONS: usize = 8;
/// Names that a request may look up where it is: some 10 µs each where they are cold.
const FEW_NAMES: usize = 64;

/// Versions made warm, kept in memory until they are used although a cache may be too small for them.
#[derive(Default)]
#[must_use = "what is not held may be evicted before it is used"]
pub struct Held(#[expect(dead_code, reason = "held, not read")] Vec<Arc<LiveVersion>>);

impl Keyring {
    /// Opens those of the versions that are cold. A failure is not told: it is met again where the version is used.
    pub async fn warm<'k>(
        self: &Arc<Self>,
        versions: impl Iterator<Item = (&'k Arc<KeyEntry>, VersionId)>,
    ) -> Held {
        let mut last = None;
        let mut cold = Vec::new();
        for (key, id) in versions {
            if last != Some(id) && !self.versions.contains_key(&id) {
                cold.push((Arc::clone(key), id));
            }
            last = Some(id);
        }
        if cold.len() <= FEW_VERSIONS {
            return Held::default();
        }
        let open = move |keyring: &Self| {
            cold.iter().filter_map(|(key, id)| keyring.version_of(key, *id).ok()).collect()
        };
        Held(self.off_the_runtime(open).await.unwrap_or_default())
    }

    /// Looks up `count` names, some of which may be cold: where they are many, on a thread that may block.
    ///
    /// # Errors
    /// Where that thread ended badly.
    pub async fn read_many<T: Send + 'static>(
        self: &Arc<Self>,
        count: usize,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, LookupError> {
        if count <= FEW_NAMES { Ok(read(self)) } else { self.off_the_runtime(read).await }
    }

    async fn off_the_runtime<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, LookupError> {
        let keyring = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || read(&keyring)).await;
        done.map_err(|error| LookupError::Store(Box::new(error)))
    }
}
