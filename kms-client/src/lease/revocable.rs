//! A secret that many threads use at once and one takes away from all of them.

use std::{sync::Arc, thread, time::Duration};

use arc_swap::ArcSwapOption;

/// How often to look without pausing.
const PATIENCE: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(1);

/// Uses meet at no lock and no counter: each notes what it looks at in a place of its thread's own.
pub(super) struct Revocable<T>(ArcSwapOption<T>);

impl<T> Revocable<T> {
    pub(super) fn new(secret: T) -> Self {
        Self(ArcSwapOption::from_pointee(secret))
    }

    /// Shows it to `use_it`, unless it was taken away. `use_it` must not wait for others: [`Self::revoke`] waits for it.
    pub(super) fn with<R>(&self, use_it: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.load().as_deref().map(use_it)
    }

    /// Takes it away and drops it, once the uses under way have ended.
    pub(super) fn revoke(&self) {
        let Some(mut secret) = self.0.swap(None) else { return };
        let mut looks = 0;
        while let Err(used) = Arc::try_unwrap(secret) {
            secret = used;
            // Users tell nobody that they are done, which is what makes them quick; most are within a microsecond.
            if looks < PATIENCE {
                looks += 1;
                thread::yield_now();
            } else {
                thread::sleep(PAUSE);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_revoked(&self) -> bool {
        self.0.load().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use super::*;

    struct TellsOfItsEnd<'a>(&'a AtomicBool);

    impl Drop for TellsOfItsEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn it_is_gone_when_revoking_returns_and_not_before_its_uses_have_ended() {
        let (ended, begun, go_on) = (AtomicBool::new(false), Barrier::new(2), Barrier::new(2));
        let secret = Revocable::new(TellsOfItsEnd(&ended));
        thread::scope(|scope| {
            scope.spawn(|| {
                secret.with(|_| {
                    begun.wait();
                    go_on.wait();
                    assert!(!ended.load(SeqCst), "it lives as long as it is used");
                })
            });
            begun.wait();
            let revoking = scope.spawn(|| secret.revoke());
            while secret.with(|_| ()).is_some() {
                thread::yield_now();
            }
            assert!(!revoking.is_finished() && !ended.load(SeqCst), "it waits for the use");
            go_on.wait();
            revoking.join().unwrap();
            assert!(ended.load(SeqCst));
        });
        secret.revoke();
        assert!(secret.is_revoked());
    }

    #[test]
    fn however_many_threads_use_it_it_is_gone_when_revoking_returns() {
        let ended = AtomicBool::new(false);
        let secret = Revocable::new(TellsOfItsEnd(&ended));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while secret.with(|held| assert!(!held.0.load(SeqCst))).is_some() {});
            }
            secret.revoke();
            assert!(ended.load(SeqCst));
        });
    }
}
