//! A secret that many threads use at once and one takes away from all of them.

use std::{sync::Arc, thread};

use arc_swap::ArcSwapOption;

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
        let mut left = self.0.swap(None);
        while let Some(Err(in_use)) = left.map(Arc::try_unwrap) {
            thread::yield_now();
            left = Some(in_use);
        }
    }

    #[cfg(test)]
    pub(super) fn is_revoked(&self) -> bool {
        self.0.load().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct TellsOfItsEnd(mpsc::Sender<()>);

    impl Drop for TellsOfItsEnd {
        fn drop(&mut self) {
            drop(self.0.send(()));
        }
    }

    #[test]
    fn it_is_gone_when_revoking_returns_and_not_before_its_uses_have_ended() {
        let (ended, end) = mpsc::channel();
        let secret = Revocable::new(TellsOfItsEnd(ended));
        let (using, begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| {
                secret.with(|_| {
                    using.send(()).unwrap();
                    told.recv().unwrap();
                    assert!(end.try_recv().is_err(), "it lives as long as it is used");
                })
            });
            begun.recv().unwrap();
            let revoking = scope.spawn(|| secret.revoke());
            while secret.with(|_| ()).is_some() {
                thread::yield_now();
            }
            assert!(!revoking.is_finished(), "it waits for the use");
            go_on.send(()).unwrap();
            revoking.join().unwrap();
        });
        secret.revoke();
        assert!(secret.is_revoked() && secret.with(|_| ()).is_none());
    }

    #[test]
    fn however_many_threads_use_it_each_use_is_whole_or_refused() {
        let (ended, end) = mpsc::channel();
        let secret = Revocable::new(TellsOfItsEnd(ended));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while secret.with(|_| ()).is_some() {});
            }
            secret.revoke();
            assert_eq!(end.try_recv(), Ok(()), "dropped");
        });
    }
}
