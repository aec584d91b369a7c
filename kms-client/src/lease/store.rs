//! The leases at hand, bounded; and for each one that is missing, the one fetch that all who want it wait for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use kms_core::names::TenantName;
use kms_proto::{
    reason::Reason,
    v1::open_data_keys_request::{SealReport, UseReport},
};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, watch as landing};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    Scope, Want, What,
    class::Classes,
    fetch::{self, Fetched},
    held::Lease,
    keeper::Due,
    purge::Purges,
    report::Reports,
    setback::Setbacks,
    watch,
};
use crate::{
    clock::{BootTime, Clock},
    error::Error,
    kms::Kms,
};

const KEPT_TO_SEAL: usize = 4_096;
const KEPT_TO_OPEN: usize = 16_384;

type Outcome = Result<Arc<Lease>, Error>;
type Flight = landing::Receiver<Option<Outcome>>;

/// All leases of a client.
#[derive(Debug)]
pub(crate) struct Leases {
    clock: Arc<dyn Clock>,
    /// By the name of a key, index keys too: few beside those that values name, which must not drive them out.
    to_seal: Cache<Want, Arc<Lease>>,
    to_open: Cache<Want, Arc<Lease>>,
    gone: Cache<Want, &'static str>,
    pub(super) classes: Classes,
    flights: Mutex<HashMap<Want, Flight>>,
    setbacks: Setbacks,
    reports: Arc<Reports>,
    pub(super) agenda: Mutex<BTreeMap<(BootTime, u64), Due>>,
    pub(super) agenda_changed: Arc<Notify>,
    pub(super) purges: Purges,
    /// Names this client to the server, which tells it what becomes of the keys that it was leased under this name.
    instance: Box<str>,
    /// Whether what becomes of them is still to be listened to.
    watch: AtomicBool,
    /// Ends that, once the leases are dropped.
    dropped: DropGuard,
}

impl Leases {
    /// `watch`: whether to listen to what becomes of the keys.
    pub(crate) fn new(clock: Arc<dyn Clock>, watch: bool) -> Self {
        Self {
            clock,
            to_seal: Cache::new(KEPT_TO_SEAL),
            to_open: Cache::new(KEPT_TO_OPEN),
            gone: Cache::new(KEPT_TO_SEAL),
            classes: Classes::keeping(KEPT_TO_SEAL),
            flights: Mutex::default(),
            setbacks: Setbacks::default(),
            reports: Arc::default(),
            agenda: Mutex::default(),
            agenda_changed: Arc::default(),
            purges: Purges::default(),
            instance: Uuid::new_v4().to_string().into(),
            watch: AtomicBool::new(watch),
            dropped: CancellationToken::new().drop_guard(),
        }
    }

    pub(crate) fn now(&self) -> BootTime {
        self.clock.now()
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// What is to be told about a tenant's keys: what ended leases left, and what running ones have done since.
    pub(super) fn reports_for(&self, tenant: &TenantName) -> Vec<SealReport> {
        for (want, lease) in self.to_seal.iter() {
            if want.scope.tenant == *tenant {
                self.reports.add(tenant, lease.version(), lease.data_key_id(), lease.take_report());
            }
        }
        self.reports.take(tenant)
    }

    /// What columns did with a tenant's keys, for the census.
    pub(super) fn uses_for(&self, tenant: &TenantName) -> Vec<UseReport> {
        for cache in [&self.to_seal, &self.to_open] {
            for (want, lease) in cache.iter() {
                if want.scope.tenant == *tenant {
                    lease.report_uses();
                }
            }
        }
        self.reports.take_uses(tenant)
    }

    /// Whether uses of a tenant's keys wait that did not fit into the last call.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn has_more_to_tell(&self, tenant: &TenantName) -> bool {
        self.reports.has_uses(tenant)
    }

    /// A lease that is at hand.
    fn at_hand(&self, want: &Want) -> Option<Arc<Lease>> {
        let lease = self.cache(want).get(want)?;
        lease.is_live().then(|| {
            lease.touch();
            lease
        })
    }

    fn cache(&self, want: &Want) -> &Cache<Want, Arc<Lease>> {
        match want.what {
            What::Seal { .. } | What::Index { .. } => &self.to_seal,
            What::Open { .. } | What::OpenNamed { .. } => &self.to_open,
        }
    }

    /// Lets go of this very lease, and remembers why for the next miss.
    pub(super) fn remove(&self, want: &Want, lease: &Arc<Lease>, why: &'static str) {
        if self.cache(want).remove_if(want, |held| Arc::ptr_eq(held, lease)).is_some() {
            self.gone.insert(want.clone(), why);
        }
    }

    /// Why there is no lease at hand, as metrics say it.
    fn why_missing(&self, want: &Want) -> &'static str {
        // Its end may be noticed before it is wiped.
        match self.peek(want) {
            Some(lease) if !lease.is_live() => "expired",
            _ => self.gone.get(want).unwrap_or("cold"),
        }
    }

    /// The lease in use, counted as no use.
    pub(crate) fn peek(&self, want: &Want) -> Option<Arc<Lease>> {
        self.cache(want).peek(want)
    }

    /// Whether this very lease is the one in use.
    pub(super) fn holds(&self, want: &Want, lease: &Arc<Lease>) -> bool {
        self.peek(want).is_some_and(|held| Arc::ptr_eq(&held, lease))
    }

    fn keep(&self, want: &Want, fetched: &Fetched) {
        self.gone.remove(want);
        self.classes.note(&want.scope.tenant, fetched.lease.key(), fetched.lease.class());
        self.cache(want).insert(want.clone(), fetched.lease.clone());
        self.plan(want, fetched);
    }

    /// Notes how a fetch went, and what it brought.
    fn settle(&self, want: &Want, fetched: Result<Fetched, Error>) -> Outcome {
        self.setbacks.note(want, fetched.as_ref().map(|_| ()), self.now());
        let outcome = match &fetched {
            Ok(_) => "leased",
            Err(error) if error.is_decision() => "denied",
            Err(_) => "failed",
        };
        metrics::counter!("kms_client_lease_fetches_total", "outcome" => outcome).increment(1);
        match fetched {
            Ok(fetched) => {
                self.keep(want, &fetched);
                // ORDER: kept first: an event that is heard from here on finds it.
                if self.purges.ended(&fetched) {
                    self.remove(want, &fetched.lease, "purged");
                    fetched.lease.wipe();
                }
                Ok(fetched.lease)
            }
            Err(error) => {
                if let (What::Seal { key, .. }, Some(Reason::ClassReleasesNoDataKeys)) =
                    (&want.what, error.reason())
                {
                    self.classes.note_none_released(&want.scope.tenant, key, self.now());
                }
                Err(error)
            }
        }
    }
}

impl Kms {
    /// A lease, at hand or fetched.
    pub(crate) async fn lease(&self, want: &Want) -> Outcome {
        if let Some(lease) = self.shared.leases.at_hand(want) {
            self.after_use(want, &lease);
            metrics::counter!("kms_client_lease_hits_total").increment(1);
            return Ok(lease);
        }
        let mut found = self.leases(&want.scope, std::slice::from_ref(want)).await;
        found.pop().unwrap_or(Err(Error::Local("no lease and no error")))
    }

    /// Leases of one scope, at hand or fetched in one call; results in order. Wants must differ.
    pub(crate) async fn leases(&self, scope: &Scope, wants: &[Want]) -> Vec<Outcome> {
        let leases = &self.shared.leases;
        let mut found: Vec<Option<Outcome>> = wants.iter().map(|want| leases.at_hand(want).map(Ok)).collect();
        let hits = found.iter().flatten().count();
        metrics::counter!("kms_client_lease_hits_total").increment(hits as u64);
        if hits < wants.len() {
            let missing = |(want, found): (&Want, &Option<Outcome>)| found.is_none().then(|| want.clone());
            let missing: Vec<Want> = wants.iter().zip(&found).filter_map(missing).collect();
            // Apart, for mostly nothing is missing.
            let mut fetched = Box::pin(self.fetched(scope, missing)).await.into_iter();
            for slot in found.iter_mut().filter(|slot| slot.is_none()) {
                *slot = fetched.next();
            }
        }
        found.into_iter().map(|found| found.unwrap_or(Err(Error::Local("no lease and no error")))).collect()
    }

    /// Leases of one scope, fetched whatever is at hand; results in order. Wants must differ.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) async fn leases_anew(&self, scope: &Scope, wants: &[Want]) -> Vec<Outcome> {
        let leases = &self.shared.leases;
        for want in wants {
            if let Some(before) = leases.peek(want) {
                leases.remove(want, &before, "asked");
            }
        }
        self.leases(scope, wants).await
    }

    async fn fetched(&self, scope: &Scope, missing: Vec<Want>) -> Vec<Outcome> {
        let leases = &self.shared.leases;
        for want in &missing {
            let why = leases.why_missing(want);
            metrics::counter!("kms_client_lease_misses_total", "reason" => why).increment(1);
        }
        let waiting = self.board(scope, missing, false);
        let mut outcomes = Vec::with_capacity(waiting.len());
        for passage in waiting {
            let outcome = match passage {
                Passage::Settled(outcome) => outcome,
                Passage::Flight(mut flight) => match flight.wait_for(Option::is_some).await {
                    Ok(outcome) => outcome.clone().unwrap_or(Err(CUT)),
                    Err(_) => Err(CUT),
                },
            };
            outcomes.push(outcome.inspect(|lease| lease.touch()));
        }
        outcomes
    }

    /// Fetches anew although leases are at hand. Does not wait.
    pub(super) fn renew(&self, scope: &Scope, wants: Vec<Want>) {
        drop(self.board(scope, wants, true));
    }

    /// Renews a lease whose budget runs low, beside its use.
    pub(crate) fn after_use(&self, want: &Want, lease: &Arc<Lease>) {
        if lease.runs_low() && lease.takes_early_renewal() {
            self.renew(&want.scope, vec![want.clone()]);
        }
    }

    /// Waits for another lease in place of one whose budget is spent or whose time is over.
    pub(crate) async fn lease_after(&self, want: &Want, worn: &Arc<Lease>) -> Outcome {
        self.shared.leases.remove(want, worn, if worn.is_live() { "budget" } else { "expired" });
        self.lease(want).await
    }

    /// Joins the fetches that are under way and starts one call for the rest.
    fn board(&self, scope: &Scope, wants: Vec<Want>, anew: bool) -> Vec<Passage> {
        let leases = &self.shared.leases;
        let now = leases.now();
        let (mut mine, mut passages) = (Vec::new(), Vec::with_capacity(wants.len()));
        let mut flights = leases.flights.lock();
        for want in wants {
            passages.push(if let Some(flight) = flights.get(&want) {
                Passage::Flight(flight.clone())
            // Since the first look a fetch may have landed.
            } else if !anew && let Some(lease) = leases.at_hand(&want) {
                Passage::Settled(Ok(lease))
            // The keeper has a pace of its own.
            } else if !anew && let Some(error) = leases.setbacks.in_force(&want, now) {
                Passage::Settled(Err(error))
            } else {
                let (landed, flight) = landing::channel(None);
                flights.insert(want.clone(), flight.clone());
                mine.push(Boarded { kms: self.clone(), want, landed: Some(landed) });
                Passage::Flight(flight)
            });
        }
        drop(flights);
        while !mine.is_empty() {
            let rest = mine.split_off(fetch::fitting(mine.iter().map(|one| &one.want)));
            // A task of its own: a caller that gives up does not take the others down with it.
            let boarded = std::mem::replace(&mut mine, rest);
            self.shared.runtime.spawn(fly(self.clone(), scope.clone(), boarded));
        }
        passages
    }
}

const CUT: Error = Error::Local("a fetch of data keys was cut off; the runtime is stopping");

enum Passage {
    Settled(Outcome),
    Flight(Flight),
}

/// One want of a fetch under way; leaves `flights` whatever happens to the fetch.
struct Boarded {
    kms: Kms,
    want: Want,
    landed: Option<landing::Sender<Option<Outcome>>>,
}

impl Boarded {
    /// Notes what the fetch brought, and tells those who wait.
    fn land(mut self, fetched: Result<Fetched, Error>) {
        let leases = &self.kms.shared.leases;
        // ORDER: the lease is kept and the fetch leaves `flights` at once. Who finds no fetch finds its lease; and whoever has that
        // lease and renews it does not join the fetch that brought it.
        let mut flights = leases.flights.lock();
        let outcome = leases.settle(&self.want, fetched);
        if outcome.is_ok() && leases.watch.swap(false, Relaxed) {
            let (shared, dropped) = (Arc::downgrade(&self.kms.shared), leases.dropped.token().clone());
            self.kms.shared.runtime.spawn(watch::watch(shared, dropped));
        }
        self.kms.renewal_settled(&self.want, outcome.as_ref().err());
        flights.remove(&self.want);
        drop(flights);
        if let Some(landed) = self.landed.take() {
            landed.send_replace(Some(outcome));
        }
    }
}

impl Drop for Boarded {
    fn drop(&mut self) {
        // What has landed has left; under its name there may be another by now.
        if self.landed.is_some() {
            self.kms.shared.leases.flights.lock().remove(&self.want);
        }
    }
}

async fn fly(kms: Kms, scope: Scope, boarded: Vec<Boarded>) {
    let wants: Vec<Want> = boarded.iter().map(|one| one.want.clone()).collect();
    let mut fetched = fetch::fetch(&kms, &scope, &wants).await;
    // A machine that was suspended during the call finds its leases over; the server is not to blame.
    // And one that an event ended on its way is asked for again, to hear what the server says of it now.
    let over = |fetched: &Result<Fetched, Error>| match fetched {
        Ok(fetched) => kms.shared.leases.purges.ended(fetched),
        Err(error) => fetch::was_over(error),
    };
    let again: Vec<usize> = (0..wants.len()).filter(|at| over(&fetched[*at])).collect();
    if !again.is_empty() {
        let wants: Vec<Want> = again.iter().map(|at| wants[*at].clone()).collect();
        for (at, anew) in again.into_iter().zip(fetch::fetch(&kms, &scope, &wants).await) {
            fetched[at] = anew;
        }
    }
    for (one, fetched) in boarded.into_iter().zip(fetched) {
        one.land(fetched);
    }
}
