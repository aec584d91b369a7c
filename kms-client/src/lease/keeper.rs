//! Renews leases that are in use ahead of their end, each at a moment of its own; wipes those that have ended, used or not.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{Scope, Want, fetch::Fetched, held::Lease, store::Leases};
use crate::{
    call::jittered,
    clock::BootTime,
    error::Error,
    kms::{Kms, Shared, Terms},
};

/// Renewals due this close together share a call.
const TOGETHER: Duration = Duration::from_millis(500);
/// How long after a failed renewal the next is tried, at most; a quarter of what is left of the lease where that is shorter.
const RETRY: Duration = Duration::from_secs(10);

/// Something to be done with a lease.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) want: Want,
    pub(super) lease: Weak<Lease>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Renew,
    End,
}

impl Leases {
    /// Plans renewal and end of a lease.
    pub(super) fn plan(&self, want: &Want, fetched: &Fetched) {
        let Fetched { lease, sent, .. } = fetched;
        let whole = sent.until(lease.deadline());
        // Between six and eight tenths of the lease: clients that started together do not renew together.
        let ahead = whole.mul_f64(0.4) + jittered(whole.mul_f64(0.4));
        self.schedule(sent.after(ahead), want, lease, Step::Renew);
        self.schedule(lease.deadline(), want, lease, Step::End);
    }

    fn schedule(&self, at: BootTime, want: &Want, lease: &Arc<Lease>, step: Step) {
        static SEQUENCE: AtomicU64 = AtomicU64::new(0);
        let due = Due { want: want.clone(), lease: Arc::downgrade(lease), step };
        self.agenda.lock().insert((at, SEQUENCE.fetch_add(1, Relaxed)), due);
        self.agenda_changed.notify_one();
    }

    /// Does what is due; says what is to be renewed, and when to come back.
    fn turn(&self) -> (HashMap<Scope, Vec<Want>>, Option<BootTime>) {
        let now = self.now();
        let mut renew: HashMap<Scope, Vec<Want>> = HashMap::new();
        let mut agenda = self.agenda.lock();
        while let Some(entry) = agenda.first_entry() {
            let ((at, _), step) = (*entry.key(), entry.get().step);
            let early = step == Step::Renew && at <= now.after(TOGETHER) && !renew.is_empty();
            if at > now && !early {
                return (renew, Some(at));
            }
            let Due { want, lease, step } = entry.remove();
            let Some(lease) = lease.upgrade() else { continue };
            match step {
                Step::End => {
                    lease.wipe();
                    self.remove(&want, &lease, "expired");
                }
                Step::Renew if lease.was_touched() && self.holds(&want, &lease) => {
                    renew.entry(want.scope.clone()).or_default().push(want);
                }
                Step::Renew => {}
            }
        }
        (renew, None)
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.agenda_changed.notify_one();
    }
}

impl Kms {
    /// After a fetch that may have been a renewal: a decision ends the lease at hand, other failures let it run on.
    pub(super) fn renewal_settled(&self, want: &Want, failed: Option<&Error>) {
        let Some(error) = failed else { return };
        let leases = &self.shared.leases;
        let Some(held) = leases.peek(want) else { return };
        if error.is_decision() {
            // ATTACK: whoever was denied or whose key was destroyed does not work on until the lease would have ended.
            held.wipe();
            leases.remove(want, &held, "refused");
            return;
        }
        let left = leases.now().until(held.deadline());
        let next = leases.now().after(jittered(RETRY.min(left / 4)));
        if next < held.deadline() && !left.is_zero() {
            leases.schedule(next, want, &held, Step::Renew);
        }
    }
}

/// Keeps the leases of a client for as long as it lives.
pub(crate) async fn keep(shared: Weak<Shared>, terms: Terms) {
    let Some((clock, changed)) =
        shared.upgrade().map(|shared| (shared.leases.clock().clone(), shared.leases.agenda_changed.clone()))
    else {
        return;
    };
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let (renew, next) = shared.leases.turn();
        let kms = Kms { shared, terms: terms.clone() };
        for (scope, wants) in renew {
            metrics::counter!("kms_client_lease_renewals_total").increment(wants.len() as u64);
            kms.renew(&scope, wants);
        }
        drop(kms);
        let wait = async {
            match next {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = changed.notified() => {}
        }
    }
}
