//! A dishonest or failing key centre for the tests of this crate: real mTLS on a loopback port, and answers that tests twist.
//!
//! # Layout
//! - `ca`: certificates, made anew in each test.
//! - `server`: the listener, which can be stopped and started again on its port.
//! - `crypto`, `reveal`, `keys`: the services.

pub(crate) mod ca;
mod crypto;
mod keys;
mod reveal;
pub(crate) mod server;

use std::{sync::Arc, time::Duration};

pub(crate) use server::FakeServer;

use crate::{Builder, Column, Kms, Records, clock::ManualClock};

pub(crate) const TENANT: &str = "acme";
pub(crate) const ATTENDANCE: &str = "attendance";

/// A server, a client whose leases are on a clock of the test, and a key to seal with.
pub(crate) struct Scene {
    pub(crate) server: FakeServer,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) kms: Kms,
}

pub(crate) fn scene() -> Scene {
    scene_with(|builder| builder)
}

pub(crate) fn scene_with(settings: impl FnOnce(Builder) -> Builder) -> Scene {
    let server = FakeServer::start();
    let clock = Arc::new(ManualClock::new());
    let builder = Kms::builder(server.profile("attendance")).deadline(Duration::from_secs(30));
    let kms = settings(builder.clock(clock.clone())).build().unwrap();
    Scene { server, clock, kms }
}

impl Scene {
    pub(crate) fn records(&self) -> Records {
        self.kms.records(&TENANT.parse().unwrap(), &ATTENDANCE.parse().unwrap())
    }

    /// Another client of the same server, with nothing at hand.
    pub(crate) fn cold(&self) -> Kms {
        let builder = Kms::builder(self.server.profile("attendance")).clock(self.clock.clone());
        builder.build().unwrap()
    }
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
