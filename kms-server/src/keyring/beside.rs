//! Work that calls leave to be done beside them: bounded, and waited for by whoever needs its outcome.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much at a time.
const PLACES: u32 = 64;

/// A place for each piece of work.
pub struct Beside(Arc<Semaphore>);

impl Default for Beside {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES as usize)))
    }
}

impl Beside {
    /// A place, to be dropped when the work is done. None where all are taken: then the call does the work itself, and waits for it.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// Waits for all that was begun before.
    pub(super) async fn settled(&self) {
        // In the order of asking: what is begun meanwhile finds no place until it was this one's turn.
        drop(self.0.acquire_many(PLACES).await);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_waited_for_and_no_more_begins_than_there_are_places() {
        let beside = Beside::default();
        beside.settled().await;
        let begun: Vec<_> = (0..PLACES).map(|_| beside.place().unwrap()).collect();
        assert!(beside.place().is_none());
        {
            let mut settled = pin!(beside.settled());
            let mut is_settled = || settled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            for work in begun {
                assert!(!is_settled());
                drop(work);
            }
            assert!(is_settled());
        }
        assert!(beside.place().is_some());
    }
}
