//! What the tests of this crate begin with: a key centre in memory with a tenant and keys, a client, an operator.

use std::time::Duration;

use tonic::Status;

use super::{InMemoryKeyCentre, faults::Faults, ledger::NewKey};
use crate::{
    Builder, Column, DestroyReason, KeyName, Kms, Records, TenantName,
    api::{Change, DestroyKey, DestroyTarget, RotateKey},
};

pub(crate) const TENANT: &str = "acme";
pub(crate) const ATTENDANCE: &str = "attendance";
/// How long the keys are leased for.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// After a rotation of an index key, until its new version takes rows.
pub(crate) const SETTLING: Duration = Duration::from_secs(62);

/// A key centre, a client whose leases are on its clock, and somebody who manages keys.
pub(crate) struct Scene {
    pub(crate) centre: InMemoryKeyCentre,
    pub(crate) kms: Kms,
    pub(crate) operator: Kms,
}

pub(crate) fn scene() -> Scene {
    scene_with(|builder| builder)
}

pub(crate) fn scene_with(settings: impl FnOnce(Builder) -> Builder) -> Scene {
    let scene = Scene::over(InMemoryKeyCentre::new(), settings);
    scene.create(["attendance", "payroll", "secrets", "attendance.index"]);
    scene
}

/// The same, where `attendance` and `payroll` are families.
pub(crate) fn scene_of_families() -> Scene {
    let scene = Scene::over(InMemoryKeyCentre::new(), |builder| builder);
    for family in ["attendance", "payroll"] {
        let how = NewKey { family: true, lease: Some(LEASE), ..NewKey::default() };
        scene.centre.create(TENANT, family, how).unwrap();
    }
    scene
}

impl Scene {
    fn over(centre: InMemoryKeyCentre, settings: impl FnOnce(Builder) -> Builder) -> Self {
        centre.create_tenant(TENANT).unwrap();
        let builder = centre.client_builder(ATTENDANCE).deadline(Duration::from_secs(30));
        let (kms, operator) = (settings(builder).build().unwrap(), centre.client("operator"));
        Self { centre, kms, operator }
    }

    /// More keys.
    pub(crate) fn create<const N: usize>(&self, keys: [&str; N]) {
        for key in keys {
            let how = NewKey { lease: Some(LEASE), ..NewKey::default() };
            self.centre.create(TENANT, key, how).unwrap();
        }
    }

    pub(crate) fn records(&self) -> Records {
        records(&self.kms)
    }

    /// Another client of the same key centre, with nothing at hand.
    pub(crate) fn cold(&self) -> Kms {
        self.centre.client(ATTENDANCE)
    }

    pub(crate) fn calls(&self, call: &str) -> u64 {
        self.centre.calls_of(call)
    }

    pub(crate) fn faults(&self) -> &Faults {
        self.centre.faults()
    }

    /// Calls wait from now on.
    pub(crate) fn hold_calls(&self) {
        self.faults().hold_calls();
    }

    /// They go on.
    pub(crate) fn release_calls(&self) {
        self.faults().release_calls();
    }

    /// Answers to the next calls, whatever they are.
    pub(crate) fn fail(&self, with: impl IntoIterator<Item = Status>) {
        self.faults().fail(with);
    }

    /// Declares masks of columns of the scene's key: table, column, form.
    pub(crate) fn declare_masks(&self, masks: &[(&str, &str, &str)]) {
        let mask = |(table, column, form): &(&str, &str, &str)| {
            format!(
                "[[mask]]\nkey = {ATTENDANCE:?}\ntable = {table:?}\ncolumn = {column:?}\nform = {form:?}\n"
            )
        };
        let masks: String = masks.iter().map(mask).collect();
        self.centre.declare_masks(&format!("version = 1\n{masks}")).unwrap();
    }

    /// Makes another version of a key; clients know of it.
    pub(crate) async fn rotate(&self, key: &str) {
        self.operator.rotate_key(&tenant(), &self::key(key), RotateKey::default()).await.unwrap();
        assert!(self.centre.purged().await);
    }

    /// Suspends a key; clients know of it.
    pub(crate) async fn suspend(&self, key: &str) {
        self.operator.suspend_key(&tenant(), &self::key(key), Change::default()).await.unwrap();
        assert!(self.centre.purged().await);
    }

    pub(crate) async fn resume(&self, key: &str) {
        self.operator.resume_key(&tenant(), &self::key(key), Change::default()).await.unwrap();
    }

    /// Destroys versions of a key; clients have purged them.
    pub(crate) async fn destroy(&self, key: &str, target: DestroyTarget) {
        self.destroy_unpurged(key, target).await;
        assert!(self.centre.purged().await);
    }

    /// The same, without waiting for clients.
    pub(crate) async fn destroy_unpurged(&self, key: &str, target: DestroyTarget) {
        let how = DestroyKey {
            target,
            reason: DestroyReason::Test,
            ticket: String::new(),
            force: true,
            window: None,
            change: Change::default(),
        };
        self.operator.destroy_key(&tenant(), &self::key(key), how).await.unwrap();
    }
}

pub(crate) fn tenant() -> TenantName {
    TENANT.parse().unwrap()
}

pub(crate) fn key(name: &str) -> KeyName {
    name.parse().unwrap()
}

/// What a client seals and opens under the key of the scene.
pub(crate) fn records(kms: &Kms) -> Records {
    kms.records(&tenant(), &key(ATTENDANCE))
}

pub(crate) fn phone() -> Column {
    Column::randomized("checkins", "phone").unwrap()
}

pub(crate) fn row(name: &str) -> crate::RecordId {
    crate::RecordId::try_from(name.as_bytes()).unwrap()
}

/// Lets other tasks run until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < patience, "never: {what}");
        tokio::task::yield_now().await;
    }
}
